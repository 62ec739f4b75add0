"""Rewards that a measure of evaluations computes: equal texts, numbers, patterns, schemas, similarity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from lora_studio.core import limits
from lora_studio.core.evaluation.items import EvaluationItem
from lora_studio.core.evaluation.measures import AnswerMeasure, measure_by_name
from lora_studio.core.messages import Text, text
from lora_studio.core.problems import ProblemError
from lora_studio.core.rewards.base import RatedAnswer
from lora_studio.core.rewards.spec import RewardSpec, name_measure
from lora_studio.engine.rewards.failures import FailureList


@dataclass
class MeasureReward:
    """Rates an answer with a measure; see `Reward`.

    The expected text is `text` if there is one, else that of the `column`, else the reference. With
    `tag`, only the content of that tag is rated, which is empty for an answer without it.
    `needs_reference` is False for measures that look at the answer alone.
    """

    name: str
    measure: AnswerMeasure
    text: str = ""
    column: str = ""
    tag: str = ""
    needs_reference: bool = True
    failures: FailureList = field(default_factory=FailureList)

    def score(self, answers: Sequence[RatedAnswer]) -> list[float | None]:
        """Return the measure's score of each answer, None without an expected text."""
        return [self._score_one(index, answer) for index, answer in enumerate(answers)]

    def _score_one(self, index: int, answer: RatedAnswer) -> float | None:
        expected = self.text or get_expected(answer, self.column)
        if self.needs_reference and expected is None:
            return self.failures.add_failure(index, self._describe_missing())
        rated = extract_tag(answer.answer, self.tag)
        item = EvaluationItem(id="", messages=answer.prompt, reference=expected)
        try:
            value = self.measure.score(item, rated)
        except ProblemError as error:
            return self.failures.add_failure(index, error.problems[0].what)
        if value is None:
            return self.failures.add_failure(index, self._describe_unscored(expected))
        return value

    def _describe_missing(self) -> Text:
        if self.column:
            return text("The row has no value in the column “{column}”.", column=self.column)
        return text("The row has no reference answer.")

    def _describe_unscored(self, expected: str | None) -> Text:
        if not self.needs_reference:
            seconds = limits.PATTERN_SECONDS
            return text("The expression took longer than {seconds} s.", seconds=seconds)
        return text("The answer can't be compared with “{expected}”.", expected=(expected or "")[:200])  # fmt: skip


def get_expected(answer: RatedAnswer, column: str) -> str | None:
    """Return the text that an answer is compared with: that of a column, or the reference."""
    return answer.columns.get(column) if column else answer.reference


def extract_tag(answer: str, tag: str) -> str:
    """Return the content of the last `<tag>…</tag>`, "" without one; the whole answer if `tag` is empty."""
    if not tag:
        return answer
    start = answer.rfind(f"<{tag}>")
    end = answer.find(f"</{tag}>", start + 1)
    return answer[start + len(tag) + 2 : end].strip() if 0 <= start < end else ""


def create_measured(spec: RewardSpec, name: str) -> MeasureReward:
    """Return the reward of a kind that a measure computes; raises ProblemError for invalid settings."""
    measure = name_measure(spec)
    assert measure is not None, spec.kind
    return MeasureReward(
        name,
        measure_by_name(measure),
        text=spec.text if spec.kind == "contains" else "",
        column=spec.column,
        tag=spec.answer_tag,
        needs_reference=spec.kind not in ("regex", "json_schema"),
    )
