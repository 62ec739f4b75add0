"""Settings of one reward: its kind, its weight, and what the kind needs."""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol
from urllib.parse import urlsplit

from pydantic import SerializerFunctionWrapHandler, model_serializer

from lora_studio.core import limits
from lora_studio.core.messages import Text, text
from lora_studio.core.problems import Problem, ProblemError, Where, error, fail
from lora_studio.core.spec import Spec, setting
from lora_studio.core.system import consent
from lora_studio.core.system.consent import ForeignCode
from lora_studio.core.system.files import describe_os_error
from lora_studio.core.system.foreign_files import read_bytes
from lora_studio.core.tasks.samples import Message

RewardKind = Literal[
    "exact", "number", "contains", "regex", "json_schema", "length", "format", "language",
    "similarity", "judge", "python",
]  # fmt: skip

#: Titles of the kinds, in the order of a menu.
TITLES: dict[RewardKind, str] = {
    "exact": "Exact match",
    "number": "Number",
    "contains": "Contains",
    "regex": "Regular expression",
    "json_schema": "JSON schema",
    "length": "Length",
    "format": "Tags in order",
    "language": "Language",
    "similarity": "Similarity",
    "judge": "Judge model",
    "python": "Python function",
}

#: A sentence on each kind.
DETAILS: dict[RewardKind, str] = {
    "exact": "1 for a completion that equals the reference.",
    "number": "1 for a completion whose last number is that of the reference.",
    "contains": "1 for a completion that contains a text, or the reference.",
    "regex": "1 for a completion in which a regular expression matches.",
    "json_schema": "1 for a completion that is JSON and follows a schema.",
    "length": "1 for a completion whose length is in a range.",
    "format": "The share of tags that the completion uses once each, and in order.",
    "language": "1 for a completion in a language.",
    "similarity": "How similar the completion is to the reference, from 0 to 1.",
    "judge": "The grade that another model gives the completion, from 0 to 1.",
    "python": "The value that a function in your Python file returns.",
}

#: Languages that can be recognized, by their ISO 639-1 codes.
LANGUAGES: dict[str, str] = {
    "ar": "Arabic", "bn": "Bengali", "bg": "Bulgarian", "zh": "Chinese", "hr": "Croatian",
    "cs": "Czech", "da": "Danish", "nl": "Dutch", "en": "English", "et": "Estonian",
    "fi": "Finnish", "fr": "French", "de": "German", "el": "Greek", "he": "Hebrew", "hi": "Hindi",
    "hu": "Hungarian", "id": "Indonesian", "it": "Italian", "ja": "Japanese", "ko": "Korean",
    "lv": "Latvian", "lt": "Lithuanian", "no": "Norwegian", "fa": "Persian", "pl": "Polish",
    "pt": "Portuguese", "ro": "Romanian", "ru": "Russian", "sr": "Serbian", "sk": "Slovak",
    "sl": "Slovenian", "es": "Spanish", "sv": "Swedish", "ta": "Tamil", "th": "Thai",
    "tr": "Turkish", "uk": "Ukrainian", "ur": "Urdu", "vi": "Vietnamese",
}  # fmt: skip

#: Fields that every kind has.
_COMMON = ("name", "weight", "scale", "lowest", "highest")
#: Fields of kinds that compare an answer with a text of the row.
_COMPARED = ("column", "answer_tag")

#: The fields that each kind uses, in the order of a form.
USED_FIELDS: dict[RewardKind, tuple[str, ...]] = {
    "exact": ("verbatim", *_COMPARED, *_COMMON),
    "number": ("tolerance", "tolerance_unit", *_COMPARED, *_COMMON),
    "contains": ("text", *_COMPARED, *_COMMON),
    "regex": ("pattern", "answer_tag", *_COMMON),
    "json_schema": ("schema_file", "answer_tag", *_COMMON),
    "length": ("min_length", "max_length", "length_unit", "length_margin", *_COMMON),
    "format": ("tags", "only_tags", *_COMMON),
    "language": ("language", "answer_tag", *_COMMON),
    "similarity": ("similarity", *_COMPARED, *_COMMON),
    "judge": ("server", "address", "model", "key_variable", "criteria", "seconds", *_COMMON),
    "python": ("code_file", "function", "seconds", "memory_mb", *_COMMON),
}

_TAG = re.compile(r"[A-Za-z][\w-]*\Z")
_IDENTIFIER = re.compile(r"[A-Za-z_]\w*\Z")


class RewardSpec(Spec):
    """How one reward rates an answer: value = weight · clip(scale · rating, lowest, highest)."""

    kind: RewardKind = setting(
        "exact", "Reward", "What is rated.", choices=TITLES, choice_details=DETAILS  # type: ignore[arg-type]  # their keys are strings
    )  # fmt: skip
    name: str = setting(
        "",
        "Name",
        "Shown in lists and curves. Empty for the name of its kind.",
        max_length=60,
    )
    weight: float = setting(
        1.0,
        "Weight",
        "Factor of this reward in the total. A negative weight penalizes.",
        ge=-1000.0,
        le=1000.0,
        step=0.1,
    )
    scale: float = setting(
        1.0,
        "Scale",
        "Factor before clipping. 0.1 turns grades from 0 to 10 into values from 0 to 1.",
        ge=-1e6,
        le=1e6,
        step=0.1,
        advanced=True,
    )
    lowest: float | None = setting(
        None, "Lowest value", "Smaller values are clipped to it. Leave empty for no limit.", ge=-1e9, le=1e9, advanced=True
    )  # fmt: skip
    highest: float | None = setting(
        None, "Highest value", "Larger values are clipped to it. Leave empty for no limit.", ge=-1e9, le=1e9, advanced=True
    )  # fmt: skip
    verbatim: bool = setting(
        False,
        "Exact text",
        "Case, spaces, quotes, and final punctuation count as well.",
    )
    tolerance: float = setting(
        0.0, "Tolerance", "Largest difference that still counts as equal.", ge=0.0, le=1e9, step=0.01
    )  # fmt: skip
    tolerance_unit: Literal["absolute", "percent"] = setting(
        "absolute",
        "Tolerance unit",
        "Whether the tolerance is a number or a share of the reference.",
        choices={"absolute": "Absolute", "percent": "Percent"},
    )
    text: str = setting("", "Text", "What the completion has to contain. Empty for the reference.", max_length=10_000)  # fmt: skip
    pattern: str = setting(
        "",
        "Pattern",
        "Regular expression that has to match somewhere in the completion, such as ^(yes|no)$.",
        max_length=10_000,
    )
    schema_file: str = setting(
        "", "Schema file", "File with a JSON schema. Empty for any valid JSON.", path="file"
    )
    min_length: int = setting(0, "Min. length", "Shorter completions are rated lower.", ge=0, le=1_000_000)  # fmt: skip
    max_length: int = setting(200, "Max. length", "Longer completions are rated lower.", ge=0, le=1_000_000)  # fmt: skip
    length_unit: Literal["tokens", "words", "characters"] = setting(
        "words",
        "Length unit",
        "What the length counts.",
        choices={"tokens": "Tokens", "words": "Words", "characters": "Characters"},
    )
    length_margin: int = setting(
        0,
        "Margin",
        "Distance from the range over which the value falls from 1 to 0.",
        ge=0,
        le=1_000_000,
    )
    tags: tuple[str, ...] = setting(
        ("think", "answer"),
        "Tags",
        "Names of the tags, in the order in which the completion has to use them.",
    )
    only_tags: bool = setting(
        False, "Nothing outside", "Text outside the tags counts as a fault."
    )  # fmt: skip
    language: str = setting("en", "Language", "Language of the completion.", choices=LANGUAGES)
    similarity: Literal["chrf", "rouge_l", "token_f1"] = setting(
        "chrf",
        "Metric",
        "How to compare the completion with the reference.",
        choices={"chrf": "chrF", "rouge_l": "ROUGE-L", "token_f1": "Token F1"},
        choice_details={
            "chrf": "Character sequences in common.",
            "rouge_l": "Words in common, in the same order.",
            "token_f1": "Words in common, in any order.",
        },
    )
    column: str = setting(
        "",
        "Compare with",
        "Column of your data with the expected text. Empty for the reference answer.",
        max_length=1000,
    )
    answer_tag: str = setting(
        "",
        "Only inside tag",
        "Rates only the text inside this tag, such as answer. Empty for the whole answer.",
        max_length=100,
    )
    server: Literal["ollama", "openai"] = setting(
        "ollama",
        "Server",
        "Where the judge runs.",
        choices={"ollama": "Ollama", "openai": "OpenAI-compatible"},
    )
    address: str = setting(
        "http://localhost:11434",
        "Address",
        "Address of the server. For OpenAI-compatible servers, up to /v1.",
        max_length=2000,
    )
    model: str = setting("", "Model", "Name of the judge on the server.", max_length=500)
    key_variable: str = setting(
        "",
        "Key variable",
        "Environment variable with the key of the server. Empty if it needs none.",
        max_length=200,
    )
    criteria: str = setting("", "Criteria", "What makes a good answer.", max_length=20_000)
    code_file: str = setting("", "Python file", "File with the function.", path="file")
    function: str = setting(
        "reward",
        "Function",
        "Its arguments can be prompt, answer, reference, and columns. It returns a number.",
        max_length=100,
    )
    seconds: float = setting(
        10.0,
        "Time limit",
        "Longest time for one completion.",
        unit="seconds",
        gt=0.0,
        le=3600.0,
    )
    memory_mb: int = setting(
        1024, "Memory limit", "Most memory that the function may use.", unit="MB", ge=64, le=1_000_000
    )  # fmt: skip

    @model_serializer(mode="wrap")
    def _drop_defaults(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Return the kind and what isn't at its default: project files stay short, and TOML has no null."""
        defaults = {name: about.default for name, about in type(self).model_fields.items()}
        return {
            name: value
            for name, value in handler(self).items()
            if name == "kind" or getattr(self, name) != defaults[name]
        }


def find_fault(spec: RewardSpec) -> Text | None:
    """Return what is wrong with the settings of a reward as a sentence, None if nothing is."""
    if spec.lowest is not None and spec.highest is not None and spec.lowest > spec.highest:
        return text("The lowest value is above the highest one.")
    if "/" in spec.name or any(unicodedata.category(each) == "Cc" for each in spec.name):
        return text("Its name can't have a slash or a line break.")
    if _parse_name_of_kind(spec.name.strip()) is not None:
        return text("Its name is reserved for a kind of reward.")
    match spec.kind:
        case "regex":
            return _find_pattern_fault(spec.pattern)
        case "length" if spec.min_length > spec.max_length:
            return text("The shortest length is above the longest one.")
        case "format" if not spec.tags:
            return text("Enter at least one tag.")
        case "format" if len(set(spec.tags)) < len(spec.tags):
            return text("A tag is listed twice.")
        case "format" if not all(map(_TAG.match, spec.tags)):
            return text("A tag is a name such as think, without brackets.")
        case "language" if spec.language not in LANGUAGES:
            return text("This language can't be recognized.")
        case "judge":
            return _find_judge_fault(spec)
        case "python" if not spec.code_file:
            return text("Choose the Python file.")
        case "python" if not _IDENTIFIER.match(spec.function):
            return text("Enter the name of a function.")
    if spec.answer_tag and not _TAG.match(spec.answer_tag):
        return text("A tag is a name such as think, without brackets.")
    return None


def _find_pattern_fault(pattern: str) -> Text | None:
    if not pattern:
        return text("Enter a regular expression.")
    try:
        re.compile(pattern)
    except (re.error, OverflowError, RecursionError):
        return text("The regular expression is invalid.")
    return None


def _find_judge_fault(spec: RewardSpec) -> Text | None:
    try:
        parts = urlsplit(spec.address)
        is_address = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        return text("The address of the server is invalid.")
    if not is_address:
        return text("The address of the server begins with http:// or https://.")
    if parts.username or parts.password:
        return text("Remove the password from the address, and use a key variable.")
    return None if spec.model.strip() else text("Enter the name of the judge model.")


def name_rewards(specs: Sequence[RewardSpec]) -> list[str]:
    """Return a unique name for each reward: its own or its kind, with a number from the second on."""
    counts: Counter[str] = Counter()
    names: list[str] = []
    for spec in specs:
        own = spec.name.strip() or spec.kind
        counts[own] += 1
        name = own if counts[own] == 1 else f"{own}_{counts[own]}"
        while name in names:
            counts[own] += 1
            name = f"{own}_{counts[own]}"
        names.append(name)
    return names


def find_equal_title(specs: Sequence[RewardSpec]) -> Text | None:
    """Return a title that two rewards share, None if all differ."""
    titles = Counter(
        spec.name.strip() or str(describe_reward(name))
        for spec, name in zip(specs, name_rewards(specs), strict=True)
    )
    return next((text("{name}", name=title) for title, n in titles.items() if n > 1), None)


def describe_reward(name: str) -> Text:
    """Return the title of a reward by its name in a recipe: its own, or that of `exact` or `exact_2`."""
    match _parse_name_of_kind(name):
        case kind, 1:
            return text(TITLES[kind])
        case kind, number:
            return text("{reward} {number:d}", reward=text(TITLES[kind]), number=number)
    return text("{name}", name=name)


def _parse_name_of_kind(name: str) -> tuple[RewardKind, int] | None:
    """Return the kind and the number in the name of a reward without its own, None for other names."""
    for kind in TITLES:
        number = name.removeprefix(f"{kind}_")
        if name == kind:
            return kind, 1
        if number != name and number.isdecimal():
            return kind, int(number)
    return None


def find_equivalent_metric(spec: RewardSpec) -> str | None:
    """Return the name of the metric of evaluations that rates an answer alike, None if there is none."""
    match spec.kind:
        case "exact":
            return "exact:verbatim" if spec.verbatim else "exact"
        case "number":
            unit = "%" if spec.tolerance_unit == "percent" else ""
            return f"number:{spec.tolerance!r}{unit}"
        case "contains":
            return "contains"
        case "regex":
            return f"regex:{spec.pattern}"
        case "json_schema":
            return f"json_schema:{spec.schema_file}" if spec.schema_file else "json"
        case "similarity":
            return spec.similarity
    return None


def adjust(spec: RewardSpec, rating: float | None) -> float | None:
    """Return the scaled and clipped value of a rating, None for one that isn't finite.

    value = min(highest, max(lowest, scale · rating)).
    """
    if rating is None or not math.isfinite(rating):
        return None
    value = spec.scale * rating
    if spec.lowest is not None:
        value = max(spec.lowest, value)
    if spec.highest is not None:
        value = min(spec.highest, value)
    return value if math.isfinite(value) else None


def map_reward_paths(spec: RewardSpec, change: Callable[[str], str]) -> RewardSpec:
    """Return the reward with each of its paths replaced by `change(path)`."""
    changes = {
        name: change(path) for name in ("schema_file", "code_file") if (path := getattr(spec, name))
    }
    return spec.model_copy(update=changes)


def resolve_reward(spec: RewardSpec, folder: Path) -> RewardSpec:
    """Return the reward with its paths made absolute against `folder`."""
    return map_reward_paths(spec, lambda path: str((folder / Path(path).expanduser()).resolve()))


@dataclass(frozen=True)
class RatedAnswer:
    """An answer that the model has written while it trains, and the row whose prompt it answers.

    `reference` is the expected answer of the row, None if it has none. `columns` are its further
    columns as text. `ended` is False for an answer that was cut at the longest length; `tokens` is its
    length.
    """

    prompt: tuple[Message, ...]
    answer: str
    reference: str | None
    columns: Mapping[str, str]
    ended: bool
    tokens: int


class Reward(Protocol):
    """Rates answers. `name` is unique in a recipe, and the name of the reward's curves."""

    name: str

    def score(self, answers: Sequence[RatedAnswer]) -> list[float | None]:
        """Return the value of each answer, None where the reward failed."""


def find_code(file: Path) -> ForeignCode:
    """Return the code of a reward's file; raises OSError."""
    return _identify(file, read_bytes(file, limits.CODE_BYTES))


def read_trusted_source(file: Path) -> str:
    """Return exactly the source that the user has allowed; raises ProblemError."""
    try:
        content = read_bytes(file, limits.CODE_BYTES)
        source = content.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as failure:
        reason = describe_os_error(failure) if isinstance(failure, OSError) else str(failure)
        raise fail(
            "training.reward_unreadable",
            "Couldn't read the reward's Python file {file}: {reason}.",
            "Choose another file.",
            where=Where(step="training", field="rewards", file=str(file)),
            file=str(file),
            reason=reason,
        ) from failure
    code = _identify(file, content)
    if not consent.is_trusted(code):
        raise ProblemError(untrusted_problem(code))
    return source


def untrusted_problem(code: ForeignCode) -> Problem:
    """Return the problem of a reward whose code the user hasn't allowed to run."""
    return error(
        "training.code_not_trusted",
        "The reward in {name} is Python code that would run on this computer. You haven't allowed it yet.",
        "Review the code. If you trust it, allow it on the Train page, or run "
        "`lora-studio --trust {digest} …`. Otherwise, remove this reward.",
        where=Where(step="training", field="rewards", file=str(code.folder / code.files[0])),
        name=code.files[0],
        digest=code.digest,
    )


def _identify(file: Path, content: bytes) -> ForeignCode:
    return consent.identify_contents("reward", file.parent, {file.name: content})
