"""An evaluation in a run folder with known results, as a worker would have written it."""

from __future__ import annotations

import random
from collections.abc import Sequence

from lora_studio.core.chat import AdapterChatModel, GgufChatModel, OllamaChatModel
from lora_studio.core.evaluation import run_verdict, storage
from lora_studio.core.evaluation.columns import Column
from lora_studio.core.evaluation.forgetting import KEY, load_forgetting_items
from lora_studio.core.evaluation.items import OWN_METRIC, EvaluationItem, create_item
from lora_studio.core.evaluation.metrics import create_metric
from lora_studio.core.evaluation.plan import EvaluationPlan, JudgeSettings
from lora_studio.core.evaluation.results import (
    ColumnReport,
    EvaluationFacts,
    ItemResult,
    Judgment,
)
from lora_studio.core.evaluation.storage import EvaluationFolder
from lora_studio.core.evaluation.test_sets import ForgettingSet, HeldoutRows, TestSetReport
from lora_studio.core.runs import checksums
from lora_studio.core.runs.chat_models import create_adapter_chat_model
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.tasks.samples import Message

_QUESTIONS = (
    "How do I reset my password?", "Where is my order {n}?", "Can I return the {n} I bought?",
    "Which plan includes {n} seats?", "Why was invoice {n} charged twice?",
)  # fmt: skip


def ask(number: int) -> str:
    """Return the question of an item."""
    return _QUESTIONS[number % 5].format(n=100 + number)


_ANSWERS = ("account", "orders", "returns", "billing", "billing")
#: Shares of right answers on the task and in general abilities, of each column.
SHARES: dict[str, tuple[float, float]] = {
    "base": (0.55, 0.74),
    "adapter": (0.88, 0.71),
    "Q4_K_M": (0.86, 0.55),
}


def make_task_items(rows: int) -> list[EvaluationItem]:
    """Return support questions whose answers are labels."""
    return [
        create_item(
            test_set="heldout",
            messages=(Message(role="user", content=f"{ask(n)} (#{n})"),),
            reference=_ANSWERS[n % 5],
            source="heldout.jsonl",
            row=n + 1,
        )
        for n in range(rows)
    ]


def plant(
    run: RunFolder,
    *,
    rows: int = 60,
    general: int = 60,
    complete: bool = True,
    columns: Sequence[str] = tuple(SHARES),
    judged: bool = False,
) -> EvaluationFolder:
    """Write an evaluation of a run; without `complete`, the last column is half done.

    With `judged`, a judge preferred the right answers.

    `general` is the number of items about general abilities, of all categories.
    """
    models = {
        "base": AdapterChatModel(),
        "adapter": create_adapter_chat_model(run.adapter),
        "Q4_K_M": GgufChatModel(file=str(run.gguf / "support-bot-Q4_K_M.gguf")),
    }
    plan = EvaluationPlan(
        columns=tuple(Column(key=key, model=models[key]) for key in columns),
        test_sets=(HeldoutRows(), ForgettingSet()),
        judge=JudgeSettings(model=OllamaChatModel(name="judge:8b"), baseline="base")
        if judged
        else None,
    )
    folder = storage.create_evaluation(run.evaluations_folder, plan)
    items = [*make_task_items(rows), *_choose_general_items(general)]
    folder.write_items(items)
    generator = random.Random(4)
    with folder.append(folder.answers_file) as writer:
        for key in columns:
            ends = len(items) if complete or key != columns[-1] else len(items) // 2
            for item in items[:ends]:
                writer.write(_answer(item, key, generator))
    if judged:
        _judge(folder, items[:rows], columns)
    reports = (
        TestSetReport(
            key="heldout", title=HeldoutRows().title, rows=rows + 6, items=rows, trained=6,
            suggested=("exact", "contains", "token_f1"),
        ),
        TestSetReport(key=KEY, title=ForgettingSet().title, rows=324, items=len(items) - rows, suggested=("perplexity",)),
    )  # fmt: skip
    facts = EvaluationFacts(
        created=1_795_000_000,
        finished=1_795_000_400 if complete else None,
        test_sets=reports,
        columns=tuple(
            ColumnReport(
                key=key,
                seconds=60,
                complete=complete,
                recorded=run_verdict.digest_model(
                    models[key], run.path.name, checksums.read_recorded(run)
                ),
            )
            for key in columns
        ),
        metrics={"heldout": ("exact", "token_f1"), KEY: (OWN_METRIC, "perplexity")},
    )
    folder.write_facts(facts)
    return folder


def _judge(
    folder: EvaluationFolder, items: Sequence[EvaluationItem], columns: Sequence[str]
) -> None:
    """Write judgments on the task: the column with the right answer wins, the last item has no verdict."""
    answers = folder.read().answers
    with folder.append(folder.judgments_file) as writer:
        for key in columns:
            for item in items if key != "base" else ():
                scores = [answers[item.id, each].scores["exact"] for each in ("base", key)]
                winner = "" if scores[0] == scores[1] else ("base", key)[scores[1] > scores[0]]
                replies = ("It answers the question.\n[[B]]", "[[A]]")
                judgment = Judgment(
                    item=item.id, first="base", second=key, winner=winner, replies=replies
                )
                is_last = item is items[-1]
                writer.write(judgment.model_copy(update={"winner": None}) if is_last else judgment)


def _choose_general_items(number: int) -> list[EvaluationItem]:
    items = load_forgetting_items()
    questions = [item for item in items if not item.is_text]
    return questions[:: len(questions) // number] + [item for item in items if item.is_text][:10]


def _answer(item: EvaluationItem, key: str, generator: random.Random) -> ItemResult:
    task, general = SHARES[key]
    is_right = generator.random() < (task if item.test_set == "heldout" else general)
    if item.is_text:
        scores = {"perplexity": 12.0 + 3 * generator.random() + (1.5 if key == "Q4_K_M" else 0)}
        return ItemResult(item=item.id, column=key, scores=scores, seconds=0.2)
    answer = item.reference or "" if is_right else "I'm sorry, I don't know that."
    if item.test_set == "heldout":
        names = ("exact", "token_f1")
        scores = {name: create_metric(name).score(item, answer) or 0.0 for name in names}
    else:
        scores = {OWN_METRIC: float(is_right)}
    return ItemResult(
        item=item.id, column=key, answer=answer, tokens=1 + len(answer.split()), ending="end",
        scores=scores, seconds=0.3,
    )  # fmt: skip
