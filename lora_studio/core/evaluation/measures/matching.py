"""Right or wrong: equal texts, a text that contains another, a pattern, a number, a choice."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from lora_studio.core import limits
from lora_studio.core.evaluation.items import EvaluationItem
from lora_studio.core.evaluation.measures.base import LogprobMeasure, Logprobs, ReferenceMeasure
from lora_studio.core.evaluation.measures.normalization import list_words, normalize
from lora_studio.core.messages import Text
from lora_studio.core.problems import fail

_NUMBER = re.compile(r"[-+−]?(?:\d+(?:[.,'’\u202f\u00a0]\d+)*|[.,]\d+)(?:[eE][-+]?\d{1,3})?")
_BOXED = re.compile(r"\\boxed\{([^{}]*)\}")
_GROUPED = re.compile(r"\d{1,3}(?:[.,]\d{3})+")
#: Differences of rounding that are never an error, relative to the number.
_EQUAL = 1e-9


class Exact(ReferenceMeasure):
    """1 for an answer that equals the reference after normalization; "exact:verbatim" skips that."""

    has_parameter = True

    def __init__(self, kind: str, title: Text, parameter: str = "") -> None:
        """Create the measure; raises ProblemError for another parameter than "verbatim"."""
        super().__init__(kind, title, parameter)
        if parameter not in ("", "verbatim"):
            raise fail(
                "evaluation.invalid_parameter",
                "The measure {measure} has no option {parameter}.",
                "Use exact or exact:verbatim.",
                measure=kind,
                parameter=parameter,
            )

    def compare(self, reference: str, answer: str) -> float:
        """Return whether both are equal."""
        if self.parameter:
            return float(reference == answer)
        return float(normalize(reference) == normalize(answer))


class Contains(ReferenceMeasure):
    """1 for an answer that contains the words of the reference in a row."""

    def compare(self, reference: str, answer: str) -> float | None:
        """Return whether the reference occurs as whole words; None for a reference without words."""
        words, wanted = list_words(answer), list_words(reference)
        if not wanted:
            return None
        # Words contain no spaces, so joined by spaces they only match at word boundaries.
        return float(f" {' '.join(wanted)} " in f" {' '.join(words)} ")


class Pattern(ReferenceMeasure):
    """1 for an answer in which a regular expression matches; the reference isn't used."""

    has_parameter = True

    def __init__(self, kind: str, title: Text, parameter: str = "") -> None:
        """Compile the pattern; raises ProblemError if it is missing or invalid."""
        super().__init__(kind, title, parameter)
        try:
            re.compile(parameter)
        except (re.error, OverflowError, RecursionError) as error:
            raise _invalid_pattern(parameter, str(error)) from error
        if not parameter:
            raise _invalid_pattern(parameter, "it is empty")

    def score(self, item: EvaluationItem, answer: str) -> float | None:
        """Return whether the pattern matches anywhere; None if that takes too long."""
        import regex  # has timeouts, so that a pattern can't block the evaluation

        try:
            return float(
                regex.search(self.parameter, answer, timeout=limits.PATTERN_SECONDS) is not None
            )
        except (TimeoutError, regex.error):
            return None


class Number(ReferenceMeasure):
    """1 for an answer whose number is that of the reference, within a tolerance.

    The number of an answer is its last one, or that in its last `\\boxed{…}`. "number:0.01" allows an
    absolute difference of 0.01, "number:1%" a relative one.
    """

    has_parameter = True

    def __init__(self, kind: str, title: Text, parameter: str = "") -> None:
        """Parse the tolerance; raises ProblemError if it isn't a number."""
        super().__init__(kind, title, parameter)
        self._relative = parameter.endswith("%")
        try:
            value = float(parameter.rstrip("% ") or 0)
        except ValueError:
            value = -1.0
        if not 0 <= value < math.inf:
            raise fail(
                "evaluation.invalid_parameter",
                "{parameter} is not a tolerance.",
                "Enter a number such as number:0.01, or a percentage such as number:1%.",
                parameter=parameter,
            )
        self._tolerance = value / 100 if self._relative else value

    def compare(self, reference: str, answer: str) -> float | None:
        """Return whether the numbers agree; None for a reference without a number."""
        wanted = find_numbers(reference)
        if not wanted:
            return None
        return float(any(self._agrees(a, b) for a in wanted for b in find_numbers(answer)))

    def _agrees(self, wanted: float, number: float) -> bool:
        allowed = self._tolerance * abs(wanted) if self._relative else self._tolerance
        return abs(number - wanted) <= allowed + _EQUAL * max(1.0, abs(wanted))


class Choice(LogprobMeasure):
    """1 if the right choice is the most likely one, as lm-eval's `acc`."""

    def score_logprobs(self, item: EvaluationItem, logprobs: Logprobs) -> float | None:
        """Return whether the choice with the highest log-likelihood is the right one."""
        return self._choose(item, logprobs.choices)

    def _choose(self, item: EvaluationItem, scores: Sequence[float]) -> float | None:
        correct = item.correct
        if correct is None or len(scores) != len(item.choices) or not 0 <= correct < len(scores):
            return None
        if any(math.isnan(score) for score in scores):
            return None
        # The first of equal scores counts, as in numpy's argmax.
        return float(max(range(len(scores)), key=lambda index: scores[index]) == correct)


class NormalizedChoice(Choice):
    """1 if the right choice is the most likely one per character, as lm-eval's `acc_norm`.

    Without this, short choices have an advantage: log pᵢ / |cᵢ| with the length |cᵢ| in characters.
    """

    def score_logprobs(self, item: EvaluationItem, logprobs: Logprobs) -> float | None:
        """Return whether the choice with the highest log-likelihood per character is the right one."""
        if len(logprobs.choices) != len(item.choices):
            return None
        pairs = zip(logprobs.choices, item.choices, strict=True)
        return self._choose(item, [score / max(1, len(choice)) for score, choice in pairs])


def find_numbers(answer: str) -> list[float]:
    """Return the number that an answer ends with, in every way that it can be read; [] without one.

    1.234 is 1234 in German and 1,234 is 1234 in English, so such a number has two readings. GSM8K's
    `####` and LaTeX's `\\boxed{…}` mark the number where there are several.
    """
    boxed = _BOXED.findall(answer)
    part = boxed[-1] if boxed else answer.rpartition("####")[2]
    found = _NUMBER.findall(part[-10_000:])
    return _read_number(found[-1]) if found else []


def _read_number(written: str) -> list[float]:
    plain = re.sub(r"['’\u202f\u00a0]", "", written.replace("−", "-").lstrip("+"))
    digits = plain.lstrip("-").partition("e")[0].partition("E")[0]
    if "," in digits and "." in digits:
        decimal = max(digits.rfind(","), digits.rfind("."))
        mark = digits[decimal]
        readings = [plain.replace("." if mark == "," else ",", "").replace(",", ".")]
    elif _GROUPED.fullmatch(digits):
        readings = [plain.replace(",", "").replace(".", "")]
        if digits.count(",") + digits.count(".") == 1:
            readings.append(plain.replace(",", "."))
    else:
        readings = [plain.replace(",", ".")]
    numbers = []
    for reading in readings:
        try:
            numbers.append(float(reading))
        except ValueError:
            continue
    return [number for number in numbers if math.isfinite(number)]


def _invalid_pattern(pattern: str, reason: str) -> Exception:
    return fail(
        "evaluation.invalid_pattern",
        "The regular expression {pattern} is invalid: {reason}.",
        "Correct the expression after regex:, for example regex:^(yes|no)$.",
        pattern=pattern,
        reason=reason,
    )
