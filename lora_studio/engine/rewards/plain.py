"""Rewards that look at the answer alone: its length, its tags, and its language."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from lora_studio.core.evaluation.measures.normalization import list_words
from lora_studio.core.messages import text
from lora_studio.core.rewards.base import RatedAnswer
from lora_studio.core.rewards.spec import LANGUAGES, RewardSpec
from lora_studio.engine.rewards.failures import FailureList
from lora_studio.engine.rewards.measured import extract_tag

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
