"""Every metric by its name, and which ones suit a test set."""

from __future__ import annotations

import functools
import json
import math
import re
import statistics
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict

from lora_studio.core import limits
from lora_studio.core.evaluation.items import EvaluationItem
from lora_studio.core.messages import Text, text
from lora_studio.core.problems import ProblemError, fail
from lora_studio.core.system.foreign_files import read_text


class Logprobs(BaseModel):
    """Log-likelihoods of one item under one model, in nats; sums over tokens.

    `choices` has one sum for each choice, given the prompt. `reference` is the sum over the tokens of
    the reference answer, `reference_tokens` their number.
    """

    model_config = ConfigDict(
        defer_build=True, frozen=True, extra="ignore", ser_json_inf_nan="strings"
    )

    choices: tuple[float, ...] = ()
    reference: float | None = None
    reference_tokens: int = 0


class AnswerMetric(Protocol):
    """Scores answers. `name` is what plans and files call it, with its parameter after a colon, such as
    "number:0.01".

    `needs_logprobs`: it reads log-likelihoods, which the engine computes, instead of the answer.
    `is_binary`: a score is 0 or 1, so that right and wrong answers can be counted. `lower_is_better`
    holds for perplexity. Scores are between 0 and 1, except for perplexity.
    """

    name: str
    title: Text
    needs_logprobs: bool
    is_binary: bool
    lower_is_better: bool

    def score(self, item: EvaluationItem, answer: str) -> float | None:
        """Return the score of an answer, None where the metric doesn't apply to the item."""

    def score_logprobs(self, item: EvaluationItem, logprobs: Logprobs) -> float | None:
        """Return the score from log-likelihoods, None where the metric doesn't apply to the item."""


class ReferenceMetric:
    """Base of metrics that compare an answer with the reference; higher is better."""

    needs_logprobs = False
    is_binary = True
    lower_is_better = False
    #: Whether a parameter may follow the name.
    has_parameter = False

    def __init__(self, kind: str, title: Text, parameter: str = "") -> None:
        """Store the name: the `kind`, followed by the parameter if there is one."""
        self.name = f"{kind}:{parameter}" if parameter else kind
        self.title, self.parameter = title, parameter

    def score(self, item: EvaluationItem, answer: str) -> float | None:
        """Return the score of an answer, None without a reference."""
        return None if item.reference is None else self.compare(item.reference, answer)

    def compare(self, reference: str, answer: str) -> float | None:
        """Return the score of an answer given the reference, None where the metric doesn't apply."""
        raise NotImplementedError  # metrics that compare answers have their own

    def score_logprobs(self, item: EvaluationItem, logprobs: Logprobs) -> float | None:
        """Return None: answers are scored instead."""
        return None


class LogprobMetric:
    """Base of metrics that need log-likelihoods instead of an answer."""

    needs_logprobs = True
    is_binary = True
    lower_is_better = False
    has_parameter = False

    def __init__(self, kind: str, title: Text, parameter: str = "") -> None:
        """Store the name; these metrics have no parameter."""
        self.name, self.title, self.parameter = kind, title, parameter

    def score(self, item: EvaluationItem, answer: str) -> float | None:
        """Return None: log-likelihoods are scored instead."""
        return None

    def score_logprobs(self, item: EvaluationItem, logprobs: Logprobs) -> float | None:
        """Return the score from log-likelihoods, None where the metric doesn't apply to the item."""
        raise NotImplementedError  # metrics of log-likelihoods have their own


_NUMBER = re.compile(r"[-+−]?(?:\d+(?:[.,'’\u202f\u00a0]\d+)*|[.,]\d+)(?:[eE][-+]?\d{1,3})?")
_BOXED = re.compile(r"\\boxed\{([^{}]*)\}")
_GROUPED = re.compile(r"\d{1,3}(?:[.,]\d{3})+")
#: Differences of rounding that are never an error, relative to the number.
_EQUAL = 1e-9


class Exact(ReferenceMetric):
    """1 for an answer that equals the reference after normalization; "exact:verbatim" skips that."""

    has_parameter = True

    def __init__(self, kind: str, title: Text, parameter: str = "") -> None:
        """Create the metric; raises ProblemError for another parameter than "verbatim"."""
        super().__init__(kind, title, parameter)
        if parameter not in ("", "verbatim"):
            raise fail(
                "evaluation.invalid_parameter",
                "The metric {metric} has no option {parameter}.",
                "Use exact or exact:verbatim.",
                metric=kind,
                parameter=parameter,
            )

    def compare(self, reference: str, answer: str) -> float:
        """Return whether both are equal."""
        if self.parameter:
            return float(reference == answer)
        return float(normalize(reference) == normalize(answer))


class Contains(ReferenceMetric):
    """1 for an answer that contains the words of the reference in a row."""

    def compare(self, reference: str, answer: str) -> float | None:
        """Return whether the reference occurs as whole words; None for a reference without words."""
        words, wanted = list_words(answer), list_words(reference)
        if not wanted:
            return None
        # Words contain no spaces, so joined by spaces they only match at word boundaries.
        return float(f" {' '.join(wanted)} " in f" {' '.join(words)} ")


class Pattern(ReferenceMetric):
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


class Number(ReferenceMetric):
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


class Choice(LogprobMetric):
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


#: Stands for an answer that is no JSON; JSON has no such value.
_INVALID = object()


def parse_json(answer: str) -> Any:
    """Return the value of an answer in JSON, `_INVALID` if it isn't JSON.

    One Markdown code block around it is accepted; NaN and Infinity, which JSON lacks, are not.
    """
    try:
        return json.loads(remove_fence(answer), parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return _INVALID


def is_json_object(answer: str) -> bool:
    """Return whether an answer is a JSON object or array."""
    return isinstance(parse_json(answer), dict | list)


class ValidJson(ReferenceMetric):
    """1 for an answer that is JSON; the reference isn't used."""

    def score(self, item: EvaluationItem, answer: str) -> float | None:
        """Return whether the answer can be parsed."""
        return float(parse_json(answer) is not _INVALID)


class JsonSchema(ReferenceMetric):
    """1 for an answer in JSON that follows a JSON schema, given in a file or in the name itself."""

    has_parameter = True

    def __init__(self, kind: str, title: Text, parameter: str = "") -> None:
        """Read the schema; raises ProblemError if it is missing or invalid."""
        super().__init__(kind, title, parameter)
        self._schema = _read_schema(parameter)
        self._validator: Any = None

    def score(self, item: EvaluationItem, answer: str) -> float | None:
        """Return whether the answer is valid; raises ProblemError for a schema that can't be used."""
        value = parse_json(answer)
        if value is _INVALID:
            return 0.0
        if self._validator is None:
            self._validator = _make_validator(self._schema, self.parameter)
        try:
            return float(self._validator.is_valid(value))
        except RecursionError:
            return 0.0
        except (
            Exception
        ) as error:  # such as a reference to another document, which is never fetched
            raise _invalid_schema(self.parameter, str(error)) from error


class EqualFields(ReferenceMetric):
    """The share of equal fields of two JSON objects, of all that either has.

    "fields:name,total" looks at these fields only. Fields of nested objects and items of lists count
    by themselves. Numbers are equal regardless of how they are written, and texts after Unicode's
    NFKC normalization, without spaces around them.
    """

    is_binary = False
    has_parameter = True

    def compare(self, reference: str, answer: str) -> float | None:
        """Return the share of equal fields; None for a reference that isn't a JSON object or array."""
        wanted = parse_json(reference)
        if not isinstance(wanted, dict | list):
            return None
        found = parse_json(answer)
        if not isinstance(found, dict | list):
            return 0.0
        try:
            return self._compare_values(self._select(wanted), self._select(found))
        except RecursionError:
            return 0.0

    def _select(self, value: Any) -> Any:
        names = [name.strip() for name in self.parameter.split(",") if name.strip()]
        if not names or not isinstance(value, dict):
            return value
        return {name: value[name] for name in names if name in value}

    def _compare_values(self, wanted: Any, found: Any) -> float | None:
        expected, given = dict(_list_leaves(wanted)), dict(_list_leaves(found))
        if not expected:
            return None if self.parameter else float(not given)
        equal = sum(
            path in given and _is_equal(value, given[path]) for path, value in expected.items()
        )
        return equal / len(expected.keys() | given.keys())


def _list_leaves(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[Any, Any]]:
    """Yield the path and value of every field that isn't itself an object or a list with content."""
    if isinstance(value, dict) and value:
        for name, part in value.items():
            yield from _list_leaves(part, (*path, name))
    elif isinstance(value, list) and value:
        for index, part in enumerate(value):
            yield from _list_leaves(part, (*path, index))
    elif path or not isinstance(value, dict | list):
        yield path, value


def _is_equal(first: Any, second: Any) -> bool:
    if isinstance(first, bool) or isinstance(second, bool):
        return first is second
    if isinstance(first, int | float) and isinstance(second, int | float):
        try:
            return math.isclose(first, second, rel_tol=1e-9, abs_tol=1e-12)
        except OverflowError:  # an integer beyond the range of floats
            return first == second
    if isinstance(first, str) and isinstance(second, str):
        return _normalize(first) == _normalize(second)
    return bool(first == second)


def _normalize(value: str) -> str:
    return unicodedata.normalize("NFKC", value).strip()


def _refuse_constant(name: str) -> Any:
    raise ValueError(name)


def _read_schema(parameter: str) -> Any:
    if not parameter:
        raise _invalid_schema(parameter, "no schema is given")
    try:
        content = parameter if parameter.lstrip().startswith("{") else read_text(Path(parameter))
        schema = json.loads(content)
    except (OSError, ValueError, RecursionError) as error:
        raise _invalid_schema(parameter, str(error)) from error
    if not isinstance(schema, dict):
        raise _invalid_schema(parameter, "it is not a JSON object")
    return schema


def _make_validator(schema: Any, parameter: str) -> Any:
    """Return a validator that fetches nothing: a reference to another document is an error."""
    import jsonschema
    from jsonschema_specifications import REGISTRY

    kind = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
    try:
        kind.check_schema(schema)
    except (jsonschema.SchemaError, RecursionError) as error:
        raise _invalid_schema(parameter, getattr(error, "message", str(error))) from error
    return kind(schema, registry=REGISTRY)


def _invalid_schema(parameter: str, reason: str) -> ProblemError:
    return fail(
        "evaluation.invalid_schema",
        "The JSON schema {schema} can't be used: {reason}.",
        "Enter the path of a JSON schema after json_schema:, or the schema itself.",
        schema=parameter[:200],
        reason=reason[:300],
    )


class TokenF1(ReferenceMetric):
    """F1 of the words that both have, in any order, as for SQuAD.

    F1 = 2·s/(a + r), where s words are shared and a and r are the words of answer and reference.
    Source: Rajpurkar et al., SQuAD (2016), section 6.1, without its removal of English articles.
    """

    is_binary = False

    def compare(self, reference: str, answer: str) -> float | None:
        """Return F1; None for a reference without words."""
        words, wanted = list_words(answer), list_words(reference)
        shared = (Counter(words) & Counter(wanted)).total()
        return 2 * shared / (len(words) + len(wanted)) if wanted else None


class RougeL(ReferenceMetric):
    """F1 of the longest common subsequence of words: the same words in the same order.

    F1 = 2·l/(a + r), where l is the length of that subsequence. Equal to the rouge-score library's
    rougeL without stemming. Source: Lin, ROUGE (2004), section 3, with β = 1.
    """

    is_binary = False

    def compare(self, reference: str, answer: str) -> float | None:
        """Return F1; None for a reference without words."""
        words, wanted = list_words(answer), list_words(reference)
        if not wanted:
            return None
        return 2 * count_common_subsequence(wanted, words) / (len(words) + len(wanted))


class ChrF(ReferenceMetric):
    """F2 of shared character sequences of 1 to 6 characters: also for word forms and other scripts.

    Computed by sacrebleu. Source: Popović, chrF (2015).
    """

    is_binary = False

    def compare(self, reference: str, answer: str) -> float | None:
        """Return chrF from 0 to 1; None for an empty reference."""
        if not reference.strip():
            return None
        score: float = _get_chrf().sentence_score(answer, [reference]).score
        return score / 100


def count_common_subsequence(first: Sequence[str], second: Sequence[str]) -> int:
    """Return the length of the longest common subsequence, in O(n·m/64).

    Each bit of a number stands for a position of `first`. Source: Hyyrö, Bit-parallel LCS-length
    computation revisited (2004).
    """
    positions: dict[str, int] = {}
    for index, word in enumerate(first):
        positions[word] = positions.get(word, 0) | 1 << index
    everything = (1 << len(first)) - 1
    row = everything
    for word in second:
        matches = row & positions.get(word, 0)
        row = ((row + matches) | (row - matches)) & everything
    return len(first) - row.bit_count()


@functools.cache
def _get_chrf() -> Any:
    from sacrebleu.metrics.chrf import CHRF

    return CHRF()


class Perplexity(LogprobMetric):
    """exp(−log p(reference | prompt) / tokens); 1 is certainty, lower is better."""

    is_binary = False
    lower_is_better = True

    def score_logprobs(self, item: EvaluationItem, logprobs: Logprobs) -> float | None:
        """Return the perplexity per token; None without a reference, and where it is infinite."""
        if logprobs.reference is None or not logprobs.reference_tokens:
            return None
        try:
            perplexity = math.exp(-logprobs.reference / logprobs.reference_tokens)
        except OverflowError:
            return None
        return perplexity if math.isfinite(perplexity) else None


#: Share of the references that must look alike to choose metrics for all of them.
_MOST = 0.8
#: Words up to which an answer is a label or a name, and up to which it is a sentence.
_LABEL_WORDS, _SENTENCE_WORDS = 4, 40


@dataclass(frozen=True)
class MetricInfo:
    """A metric to choose: its name, title, and description, and an example of a parameter."""

    kind: str
    title: Text
    about: Text
    type: type[ReferenceMetric] | type[LogprobMetric]
    example: str = ""

    @property
    def needs_parameter(self) -> bool:
        """Whether the metric can't be used without a parameter."""
        return self.kind in ("regex", "json_schema")


_METRICS = (
    MetricInfo(
        "exact", text("Exact match"),
        text("Equal to the reference, apart from case, spaces, quotes, and final punctuation."),
        Exact, "verbatim",
    ),
    MetricInfo(
        "contains", text("Contains"),
        text("The words of the reference occur in the answer, in this order."), Contains,
    ),
    MetricInfo(
        "regex", text("Regular expression"), text("A pattern matches somewhere in the answer."),
        Pattern, "^(yes|no)$",
    ),
    MetricInfo(
        "number", text("Number"),
        text("The last number of the answer is that of the reference, within a tolerance."),
        Number, "0.01",
    ),
    MetricInfo(
        "choice", text("Multiple choice"), text("The right choice is the most likely one."),
        Choice,
    ),
    MetricInfo(
        "choice_norm", text("Multiple choice, length-normalized"),
        text("The right choice is the most likely one per character."), NormalizedChoice,
    ),
    MetricInfo(
        "json", text("Valid JSON"), text("The answer can be parsed as JSON."), ValidJson,
    ),
    MetricInfo(
        "json_schema", text("JSON schema"), text("The answer follows a JSON schema."),
        JsonSchema, "schema.json",
    ),
    MetricInfo(
        "fields", text("Equal JSON fields"),
        text("The share of JSON fields that equal those of the reference."),
        EqualFields, "name,total",
    ),
    MetricInfo(
        "token_f1", text("Token F1"), text("Words in common with the reference, in any order."),
        TokenF1,
    ),
    MetricInfo(
        "rouge_l", text("ROUGE-L"), text("Words in common with the reference, in the same order."),
        RougeL,
    ),
    MetricInfo(
        "chrf", text("chrF"), text("Character sequences in common with the reference."),
        ChrF,
    ),
    MetricInfo(
        "perplexity", text("Perplexity of the reference"),
        text("How surprising the reference is to the model; lower is better."), Perplexity,
    ),
)  # fmt: skip

#: Every metric by its name without a parameter.
METRICS: dict[str, MetricInfo] = {info.kind: info for info in _METRICS}


def create_metric(spec: str) -> AnswerMetric:
    """Return the metric that a name such as "contains" or "number:0.01" stands for.

    Raises ProblemError for an unknown name or an invalid parameter.
    """
    kind, _, parameter = spec.strip().partition(":")
    info = METRICS.get(kind)
    if info is None:
        raise fail(
            "evaluation.unknown_measure",
            "Unknown metric: {name}.",
            "Choose one of these: {known}.",
            name=kind,
            known=", ".join(METRICS),
        )
    if parameter and not info.type.has_parameter:
        raise fail(
            "evaluation.invalid_parameter",
            "The metric {metric} has no option {parameter}.",
            "Use its name alone.",
            metric=kind,
            parameter=parameter,
        )
    return info.type(kind, info.title, parameter)


def suggest_metrics(items: Sequence[EvaluationItem]) -> tuple[str, ...]:
    """Return the names of the metrics that suit the references of some items, the main one first.

    Items that name their own metric aren't considered. () without a reference.
    """
    open_items = [item for item in items if not item.metric]
    choices = [item for item in open_items if item.choices and item.correct is not None]
    if open_items and len(choices) >= _MOST * len(open_items):
        return ("choice", "choice_norm")
    asked = [item for item in open_items if not item.is_text]
    references = [item.reference for item in asked if item.reference and item.reference.strip()]
    if not references:
        return ("perplexity",) if any(item.is_text and item.reference for item in items) else ()
    return _suggest_for_references(references)


def _suggest_for_references(references: Sequence[str]) -> tuple[str, ...]:
    enough = _MOST * len(references)
    if sum(is_json_object(reference) for reference in references) >= enough:
        return ("fields", "json", "exact")
    if sum(map(_ends_with_number, references)) >= enough:
        return ("number", "exact")
    length = statistics.median(len(list_words(reference)) for reference in references)
    if length <= _LABEL_WORDS:
        return ("exact", "contains", "token_f1")
    if length <= _SENTENCE_WORDS:
        return ("token_f1", "rouge_l", "chrf", "perplexity")
    return ("rouge_l", "chrf", "perplexity")


def _ends_with_number(reference: str) -> bool:
    """Return whether a reference is a number with at most a unit, or ends with one as in GSM8K."""
    if "####" in reference:
        return bool(find_numbers(reference))
    words = reference.split()
    return len(words) <= 2 and bool(find_numbers(reference)) and reference.strip()[:1] in "+-−$€£0123456789.,"  # fmt: skip


#: Punctuation and quotes that may surround an answer without changing it.
_AROUND = " \t\n\r.,;:!?¡¿…\"'`*_“”„‘’‚«»‹›()[]"

#: Letters of scripts without spaces between words: each counts as a word.
_UNSPACED = "\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W_{_UNSPACED}]+")

_FENCE = re.compile(r"\A\s*```[\w+-]*[ \t]*\n(.*?)\n?```\s*\Z", re.DOTALL)


def normalize(answer: str) -> str:
    """Return an answer in lower case and Unicode's NFKC form, with single spaces, and without quotes or
    punctuation around it. Punctuation inside stays, so that 3.5 differs from 35.
    """
    folded = unicodedata.normalize("NFKC", answer).casefold()
    return " ".join(folded.split()).strip(_AROUND)


def list_words(answer: str) -> list[str]:
    """Return the words of an answer in lower case, without punctuation.

    For ASCII, these are the tokens of the rouge-score library. Each letter of a script without spaces
    is a word.
    """
    return _WORD.findall(unicodedata.normalize("NFKC", answer).lower())


def remove_fence(answer: str) -> str:
    """Return the content of an answer that consists of one Markdown code block, or the answer itself."""
    match = _FENCE.match(answer)
    return match.group(1) if match else answer.strip()
