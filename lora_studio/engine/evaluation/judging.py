"""Let a model judge which of two answers is better, each pair in both orders."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lora_studio.core.chat import Sampling
from lora_studio.core.dataset.spec import Message
from lora_studio.core.evaluation.items import EvaluationItem, create_item
from lora_studio.core.evaluation.judge_prompt import build_judge_prompt
from lora_studio.core.evaluation.plan import JudgeSettings
from lora_studio.core.evaluation.results import EvaluationResults, ItemResult, Judgment
from lora_studio.core.evaluation.storage import EvaluationFolder
from lora_studio.core.messages import text
from lora_studio.core.problems import ProblemError
from lora_studio.engine.evaluation.answer_cache import AnswerCache
from lora_studio.engine.evaluation.runners import AnswerRequest, ColumnRunner
from lora_studio.engine.runtime.channel import JobContext
from lora_studio.engine.servers.replies import Reply

#: Greedy, and long enough for a few words before the verdict.
_SAMPLING = Sampling(temperature=0.0, top_p=1.0, max_tokens=512)

#: The last verdict in a reply: [[A]], [[B]], or [[tie]].
_VERDICT = re.compile(r"\[\[\s*(a|b|tie)\s*\]\]", re.IGNORECASE)
#: A reply of one word.
_BARE = re.compile(r"\W*(?:answer\s+)?(a|b|tie)\W*", re.IGNORECASE)


@dataclass(frozen=True)
class _Pair:
    """Two columns' answers to an item, in the order in which the judge sees them."""

    item: EvaluationItem
    first: str
    second: str


def judge(
    folder: EvaluationFolder,
    settings: JudgeSettings,
    runner: ColumnRunner,
    database: sqlite3.Connection | None,
    job: JobContext,
) -> None:
    """Compare every column with the baseline on every item, and append the judgments; raises
    ProblemError if the judge fails altogether. Equal answers are a tie that the judge isn't asked about.
    """
    results = folder.read()
    pairs = list(_iter_pairs(results, settings))
    asked = [pair for pair in pairs if not _is_same(pair, results)]
    cache = AnswerCache(database, runner.model_hash)
    replies: dict[_Pair, Reply] = {}
    both = [each for pair in asked for each in (pair, _swap(pair))]
    with folder.append(folder.judgments_file) as writer:
        for pair in pairs:
            if pair not in asked:
                writer.write(
                    Judgment(item=pair.item.id, first=pair.first, second=pair.second, winner="")
                )
        for done, (pair, reply) in enumerate(_ask(both, results, settings, runner, cache)):
            replies[pair] = reply
            job.report_progress(text("judging answers"), done, len(both), "replies")
            if _swap(pair) in replies:
                ordered = pair if pair in asked else _swap(pair)
                writer.write(_decide(ordered, replies[ordered], replies[_swap(ordered)]))


def _iter_pairs(results: EvaluationResults, settings: JudgeSettings) -> Iterator[_Pair]:
    """Yield the pairs that aren't judged yet and have two answers."""
    baseline = settings.baseline or results.plan.columns[0].key
    judged = {(each.item, each.first, each.second) for each in results.judgments if each.problem is None}  # fmt: skip
    for item in results.items:
        for column in results.plan.columns:
            if item.is_text or column.key == baseline or (item.id, baseline, column.key) in judged:
                continue
            rows = [results.answers.get((item.id, key)) for key in (baseline, column.key)]
            if all(row is not None and row.problem is None for row in rows):
                yield _Pair(item, baseline, column.key)


def _is_same(pair: _Pair, results: EvaluationResults) -> bool:
    first, second = (results.answers[pair.item.id, key].answer for key in (pair.first, pair.second))
    return first.strip() == second.strip()


def _swap(pair: _Pair) -> _Pair:
    return _Pair(pair.item, pair.second, pair.first)


def _ask(
    pairs: Sequence[_Pair],
    results: EvaluationResults,
    settings: JudgeSettings,
    runner: ColumnRunner,
    cache: AnswerCache,
) -> Iterator[tuple[_Pair, Reply]]:
    """Yield the judge's reply to each pair, from the cache where it has it."""
    pending: list[tuple[_Pair, AnswerRequest, bytes]] = []
    for pair in pairs:
        answers = [results.answers[pair.item.id, key].answer for key in (pair.first, pair.second)]
        prompt = build_judge_prompt(pair.item, answers[0], answers[1], settings.criteria)
        item = create_item(test_set="judge", messages=(Message(role="user", content=prompt),))
        try:
            request = AnswerRequest(item, runner.render(item))
        except ProblemError as error:
            yield pair, Reply(problem=error.problems[0])
            continue
        key = cache.get_key(request.prompt, _SAMPLING)
        if (stored := cache.find(key)) is not None:
            yield pair, Reply(text=stored.get("answer", ""))
        else:
            pending.append((pair, request, key))
    if not pending:
        return
    for index, reply in runner.answer([request for _, request, _ in pending], _SAMPLING):
        pair, _, key = pending[index]
        cache.store(key, ItemResult(item="", column="", answer=reply.text, problem=reply.problem))
        yield pair, reply


def _decide(pair: _Pair, reply: Reply, swapped: Reply) -> Judgment:
    """Return the judgment from the replies in both orders; replies that contradict are a tie."""
    problem = reply.problem or swapped.problem
    verdicts = [parse_verdict(reply.text), parse_verdict(swapped.text)]
    winner: str | None = None
    if problem is None and None not in verdicts:
        straight = {"a": pair.first, "b": pair.second, "tie": ""}[str(verdicts[0])]
        reverse = {"a": pair.second, "b": pair.first, "tie": ""}[str(verdicts[1])]
        winner = straight if straight == reverse else ""
    return Judgment(
        item=pair.item.id,
        first=pair.first,
        second=pair.second,
        winner=winner,
        replies=(reply.text, swapped.text),
        problem=problem,
    )


def parse_verdict(reply: str) -> str | None:
    """Return "a", "b", or "tie", or None if a reply names no winner."""
    if marks := _VERDICT.findall(reply):
        return str(marks[-1]).lower()
    lines = reply.strip().splitlines()
    match = _BARE.fullmatch(lines[-1]) if lines else None
    return match[1].lower() if match else None
