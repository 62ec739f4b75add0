"""The judge's verdicts, and pairs that are judged in both orders."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from lora_studio.core.chat import AdapterChatModel, OllamaChatModel, Sampling
from lora_studio.core.evaluation import storage
from lora_studio.core.evaluation.columns import Column
from lora_studio.core.evaluation.items import EvaluationItem, create_item
from lora_studio.core.evaluation.metrics import Logprobs
from lora_studio.core.evaluation.plan import EvaluationPlan, JudgeSettings
from lora_studio.core.evaluation.results import ItemResult, Judgment
from lora_studio.core.tasks.samples import Message
from lora_studio.engine.evaluation import evaluation
from lora_studio.engine.evaluation.runners import AnswerRequest, cut_at_stops
from lora_studio.engine.servers.openai_client import Reply
from tests.helpers.runs.jobs import make_job

SETTINGS = JudgeSettings(model=OllamaChatModel(name="judge"))


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [
        ("A names the harbor. [[A]]", "a"),
        ("[[A]] at first, but then\n[[b]]", "b"),
        ("[[ Tie ]]", "tie"),
        ("Answer B", "b"),
        ("**A**", "a"),
        ("Both are fine.", None),
        ("A is a letter.", None),
        ("", None),
    ],
)
def test_verdict_is_the_last_mark_or_a_bare_word(reply: str, verdict: str | None) -> None:
    assert evaluation.parse_verdict(reply) == verdict


class FakeJudge:
    """Replies by a function of the prompt."""

    model_hash = device = ""

    def __init__(self, replies: dict[str, str]) -> None:
        """Reply by which answer the prompt shows first."""
        self._replies = replies

    def render(self, item: EvaluationItem) -> str:
        return item.question

    def generate(
        self, requests: Sequence[AnswerRequest], sampling: Sampling
    ) -> Iterator[tuple[int, Reply]]:
        for index, request in enumerate(requests):
            first = request.prompt.partition("<answer_a>\n")[2].partition("\n")[0]
            yield index, Reply(self._replies[first])

    def score(self, requests: Sequence[AnswerRequest]) -> Iterator[tuple[int, Logprobs]]:
        return iter(())

    def close(self) -> None:
        pass


def judge(
    tmp_path: Path, replies: dict[str, str], answers: tuple[str, str] = ("by base", "by tuned")
) -> Judgment:
    columns = (Column(key="base", model=AdapterChatModel()), Column(key="tuned", model=OllamaChatModel(name="t")))  # fmt: skip
    folder = storage.create_evaluation(tmp_path / "e", EvaluationPlan(columns=columns))
    item = create_item(test_set="heldout", messages=(Message(role="user", content="Q"),))
    folder.write_items([item])
    with folder.append(folder.answers_file) as writer:
        for key, answer in zip(("base", "tuned"), answers, strict=True):
            writer.write(ItemResult(item=item.id, column=key, answer=answer))
    evaluation.judge(folder, SETTINGS, FakeJudge(replies), None, make_job())
    evaluation.judge(folder, SETTINGS, FakeJudge({}), None, make_job())  # nothing is left to judge
    (judgment,) = folder.read().judgments
    return judgment


@pytest.mark.parametrize(
    ("base_first", "tuned_first", "winner"),
    [
        pytest.param("[[B]]", "[[A]]", "tuned", id="agree on tuned"),
        pytest.param("[[A]]", "[[B]]", "base", id="agree on base"),
        pytest.param("[[A]]", "[[A]]", "", id="prefers the first"),
        pytest.param("[[tie]]", "[[A]]", "", id="unsure"),
        pytest.param("I can't say.", "[[A]]", None, id="nonsense"),
    ],
)
def test_both_orders_decide_together(
    tmp_path: Path, base_first: str, tuned_first: str, winner: str | None
) -> None:
    judgment = judge(tmp_path, {"by base": base_first, "by tuned": tuned_first})
    assert judgment.winner == winner


def test_equal_answers_are_a_tie_without_asking(tmp_path: Path) -> None:
    assert judge(tmp_path, {}, answers=("the same", "the same ")).winner == ""


@pytest.mark.parametrize(
    ("answer", "stops", "expected"),
    [
        ("one\nQ: two", ("Q:", "\n"), ("one", True)),
        ("one", ("\n",), ("one", False)),
        ("one", (), ("one", False)),
        ("\nQ", ("\n", ""), ("", True)),
    ],
)
def test_answer_ends_before_the_first_stop(
    answer: str, stops: tuple[str, ...], expected: tuple[str, bool]
) -> None:
    assert cut_at_stops(answer, stops) == expected
