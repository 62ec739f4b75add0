"""Open the rewards of a recipe, and rate answers with all of them."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from lora_studio.core import limits
from lora_studio.core.evaluation.items import EvaluationItem
from lora_studio.core.evaluation.metrics import AnswerMetric, create_metric, list_words
from lora_studio.core.messages import Text, text
from lora_studio.core.problems import Problem, ProblemError
from lora_studio.core.rewards.spec import (
    LANGUAGES,
    RatedAnswer,
    RewardSpec,
    adjust,
    find_equivalent_metric,
    name_rewards,
)
from lora_studio.engine.rewards.failures import FailureList, RewardFailure
from lora_studio.engine.rewards.function import open_function
from lora_studio.engine.rewards.judge import open_judge
from lora_studio.engine.runtime.channel import JobContext


class OpenReward(Protocol):
    """A reward that notes why it has no value for an answer; see `Reward`."""

    name: str
    failures: FailureList

    def score(self, answers: Sequence[RatedAnswer]) -> list[float | None]:
        """Return the value of each answer, None where the reward failed."""


@dataclass(frozen=True)
class ScoredAnswers:
    """The ratings of some answers, in their order.

    `totals` are Σ weight · value over all rewards, None for an answer without all of its values.
    `values` has the clipped values of each reward by its name, before weighting. `failures` says why
    values are missing.
    """

    totals: list[float | None]
    values: dict[str, list[float | None]]
    failures: tuple[RewardFailure, ...]


class WeightedRewards:
    """The rewards of a recipe, with their weights, scales, and limits."""

    def __init__(self, rewards: Sequence[tuple[RewardSpec, OpenReward]]) -> None:
        """Take open rewards; `open_rewards` creates them."""
        self._rewards = list(rewards)

    @property
    def names(self) -> list[str]:
        """The names of the rewards, in their order."""
        return [reward.name for _, reward in self._rewards]

    def score(self, answers: Sequence[RatedAnswer]) -> ScoredAnswers:
        """Return the ratings of some answers; raises nothing but a cancel or a pause.

        A reward that fails costs only the values of the answers concerned.
        """
        values: dict[str, list[float | None]] = {}
        failures: list[RewardFailure] = []
        totals: list[float | None] = [0.0] * len(answers)
        for spec, reward in self._rewards:
            rated = [adjust(spec, value) for value in _score_safely(reward, answers)]
            reasons = reward.failures.take_all()
            values[reward.name] = rated
            for index, value in enumerate(rated):
                so_far = totals[index]
                if value is None:
                    reason = reasons.get(index, text("The reward must be a finite number."))
                    failures.append(RewardFailure(reward.name, index, reason))
                    totals[index] = None
                elif so_far is not None:
                    totals[index] = so_far + spec.weight * value
        return ScoredAnswers(totals, values, tuple(failures))


def _score_safely(reward: OpenReward, answers: Sequence[RatedAnswer]) -> list[float | None]:
    """Return the values of a reward; one that raises a problem has none, for its reason."""
    try:
        return reward.score(answers)
    except ProblemError as error:
        for index in range(len(answers)):
            reward.failures.add_failure(index, error.problems[0].what)
        return [None] * len(answers)


@contextmanager
def open_rewards(specs: Sequence[RewardSpec], job: JobContext) -> Iterator[WeightedRewards]:
    """Yield the rewards of a recipe, ready to rate answers; raises ProblemError with every fault."""
    with ExitStack() as stack:
        rewards: list[tuple[RewardSpec, OpenReward]] = []
        problems: list[Problem] = []
        for spec, name in zip(specs, name_rewards(specs), strict=True):
            try:
                rewards.append((spec, _open_reward(spec, name, job, stack)))
            except ProblemError as error:
                problems += error.problems
        if problems:
            raise ProblemError(problems)
        yield WeightedRewards(rewards)


def _open_reward(spec: RewardSpec, name: str, job: JobContext, stack: ExitStack) -> OpenReward:
    """Return one reward; what it opens is closed with `stack`."""
    match spec.kind:
        case "length":
            return LengthReward(name, spec)
        case "format":
            return TagReward(name, spec)
        case "language":
            return LanguageReward(name, spec)
        case "judge":
            return open_judge(spec, name, job)
        case "python":
            function = open_function(spec, name, job)
            stack.callback(function.close)
            return function
    return create_metric_reward(spec, name)


#: Characters that are enough to recognize a language.
_MOST_CHARACTERS = 5000


@dataclass
class LengthReward:
    """1 for a length within a range, 0 at a distance of `length_margin` from it, linear between."""

    name: str
    spec: RewardSpec
    failures: FailureList = field(default_factory=FailureList)

    def score(self, answers: Sequence[RatedAnswer]) -> list[float | None]:
        """Return the value of each answer."""
        return [self._rate(self._measure(answer)) for answer in answers]

    def _measure(self, answer: RatedAnswer) -> int:
        match self.spec.length_unit:
            case "tokens":
                return answer.tokens
            case "words":
                return len(list_words(answer.answer))
        return len(answer.answer)

    def _rate(self, length: int) -> float:
        distance = max(self.spec.min_length - length, length - self.spec.max_length, 0)
        if distance == 0:
            return 1.0
        return max(0.0, 1 - distance / self.spec.length_margin) if self.spec.length_margin else 0.0


@dataclass
class TagReward:
    """The share of opening and closing tags that occur exactly once and in order.

    With `only_tags`, text outside the tags counts as one more fault.
    """

    name: str
    spec: RewardSpec
    failures: FailureList = field(default_factory=FailureList)

    def score(self, answers: Sequence[RatedAnswer]) -> list[float | None]:
        """Return the value of each answer."""
        return [self._rate(answer.answer) for answer in answers]

    def _rate(self, answer: str) -> float:
        marks = [mark for tag in self.spec.tags for mark in (f"<{tag}>", f"</{tag}>")]
        position = passed = 0
        for mark in marks:
            start = answer.find(mark, position)
            if start >= 0 and answer.count(mark) == 1:
                passed += 1
                position = start + len(mark)
        if not self.spec.only_tags:
            return passed / len(marks)
        return (passed + self._has_nothing_outside(answer)) / (len(marks) + 1)

    def _has_nothing_outside(self, answer: str) -> bool:
        rest = answer
        for tag in self.spec.tags:
            rest = re.sub(f"<{tag}>.*?</{tag}>", "", rest, count=1, flags=re.DOTALL)
        return not rest.strip()


@dataclass
class LanguageReward:
    """1 for an answer in a language, as langid recognizes it, else 0.

    Source: Lui and Baldwin, langid.py: An Off-the-shelf Language Identification Tool (2012).
    """

    name: str
    spec: RewardSpec
    failures: FailureList = field(default_factory=FailureList)

    def score(self, answers: Sequence[RatedAnswer]) -> list[float | None]:
        """Return the value of each answer; an answer without letters is in no language."""
        return [self._rate(index, answer) for index, answer in enumerate(answers)]

    def _rate(self, index: int, answer: RatedAnswer) -> float | None:
        written = extract_tag(answer.answer, self.spec.answer_tag)
        if not any(map(str.isalpha, written)):
            return 0.0
        try:
            recognized = _get_identifier().classify(written[:_MOST_CHARACTERS])[0]
        except ImportError:
            return self.failures.add_failure(index, text("The package py3langid isn't installed."))
        return float(_SAME.get(recognized, recognized) == self.spec.language)


#: Norwegian has a second written language with a code of its own.
_SAME = {"nn": "no"}


@functools.cache
def _get_identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE)
    identifier.set_languages([*LANGUAGES, *_SAME])
    return identifier


@dataclass
class MetricReward:
    """Rates an answer with a metric; see `Reward`.

    The expected text is `text` if there is one, else that of the `column`, else the reference. With
    `tag`, only the content of that tag is rated, which is empty for an answer without it.
    `needs_reference` is False for metrics that look at the answer alone.
    """

    name: str
    metric: AnswerMetric
    text: str = ""
    column: str = ""
    tag: str = ""
    needs_reference: bool = True
    failures: FailureList = field(default_factory=FailureList)

    def score(self, answers: Sequence[RatedAnswer]) -> list[float | None]:
        """Return the metric's score of each answer, None without an expected text."""
        return [self._score_one(index, answer) for index, answer in enumerate(answers)]

    def _score_one(self, index: int, answer: RatedAnswer) -> float | None:
        expected = self.text or get_expected(answer, self.column)
        if self.needs_reference and expected is None:
            return self.failures.add_failure(index, self._describe_missing())
        rated = extract_tag(answer.answer, self.tag)
        item = EvaluationItem(id="", messages=answer.prompt, reference=expected)
        try:
            value = self.metric.score(item, rated)
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
        return text("The completion can't be compared with “{expected}”.", expected=(expected or "")[:200])  # fmt: skip


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


def create_metric_reward(spec: RewardSpec, name: str) -> MetricReward:
    """Return the reward of a kind that a metric computes; raises ProblemError for invalid settings."""
    metric = find_equivalent_metric(spec)
    assert metric is not None, spec.kind
    return MetricReward(
        name,
        create_metric(metric),
        text=spec.text if spec.kind == "contains" else "",
        column=spec.column,
        tag=spec.answer_tag,
        needs_reference=spec.kind not in ("regex", "json_schema"),
    )
