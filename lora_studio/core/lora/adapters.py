"""Facts about an adapter that need no model, and how to combine several adapters."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from re import _constants, _parser  # type: ignore[attr-defined]  # the only parser of expressions
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lora_studio.core import limits
from lora_studio.core.lora.spec import LoraSpec
from lora_studio.core.messages import NO_TEXT, Template, Text, listed, text
from lora_studio.core.problems import (
    InvalidContentError,
    Problem,
    ProblemError,
    Where,
    fail,
    warning,
)
from lora_studio.core.spec import get_facts
from lora_studio.core.system.foreign_files import read_json

#: Ways to combine adapters, as PEFT's `add_weighted_adapter` names them.
Method = Literal["linear", "cat", "svd", "ties", "dare_linear", "dare_ties", "magnitude_prune"]

METHODS: dict[Method, Template] = {
    "cat": "Concatenates: the exact weighted sum of the updates. The ranks add up.",
    "svd": "Finds the best approximation of the weighted sum at the rank you choose (SVD).",
    "linear": "Adds A and B separately: small and fast, but a rough approximation. Needs equal ranks.",
    "ties": "Drops small values and resolves signs by majority (TIES). Needs equal ranks.",
    "dare_linear": "Drops random values, rescales the rest, and adds them (DARE).",
    "dare_ties": "Drops random values and resolves signs by majority (DARE with TIES).",
    "magnitude_prune": "Drops small values and adds the rest. Needs equal ranks.",
}


#: PEFT's task of adapters with a head for classification, such as those of reward models.
CLASSIFIES = "SEQ_CLS"
#: PEFT's task of adapters that turn texts into vectors.
EMBEDS = "FEATURE_EXTRACTION"

#: What the model of an adapter does with a text: continue it, give it a vector, or scores or a label.
AdapterUse = Literal["generation", "embedding", "classification"]


def get_use(config: Mapping[str, Any]) -> AdapterUse:
    """Return what PEFT's settings of an adapter say that its model does."""
    task = config.get("task_type")
    if task == EMBEDS:
        return "embedding"
    return "classification" if task == CLASSIFIES else "generation"


def require_mergeable(config: Mapping[str, Any], *, has_labels: bool = False) -> None:
    """Raise ProblemError if the settings of an adapter say that it scores text.

    The adapter of a classifier can be merged if its folder says which labels it has, as an import writes it.
    """
    if config.get("task_type") == CLASSIFIES and not has_labels:
        raise fail(
            "lora.only_scores",
            "This adapter scores answers and can't write them: it belongs to a reward model or a classifier.",
            "Import a classifier with “Import adapter…” on Merge or `lora-studio import --adapter`, then classify "
            "texts or merge it. Load a reward model with PEFT as a sequence classification model. Neither can be "
            "exported as GGUF, run in Ollama, used in a chat, combined with others, or trained further.",
            where=Where(step="lora"),
        )


def require_generative(config: Mapping[str, Any]) -> None:
    """Raise ProblemError if the settings of an adapter say that it scores text or turns it into vectors, and
    can't write any.
    """
    require_mergeable(config)
    if config.get("task_type") == EMBEDS:
        raise fail(
            "lora.only_embeds",
            "This adapter turns texts into vectors and can't write any: it belongs to an embedding model.",
            "Load it with PEFT as a feature extraction model, or choose another adapter. It can be merged and "
            "exported, but not used in a chat or trained further.",
            where=Where(step="lora"),
        )


class _Facts(BaseModel):
    model_config = ConfigDict(
        defer_build=True, frozen=True, extra="forbid", ser_json_inf_nan="strings"
    )


class WeightedAdapter(_Facts):
    """An adapter's folder and weight; 1 is as trained."""

    folder: str
    weight: float = Field(1.0, allow_inf_nan=False)


class AdapterMix(_Facts):
    """Named adapters active together on one base model; none is the base model alone."""

    name: str
    adapters: tuple[WeightedAdapter, ...] = ()


class LayerFacts(_Facts):
    """The update of one module; `norm` is the Frobenius norm of scale · B·A."""

    module: str
    rank: int
    scale: float
    shape_a: tuple[int, ...]
    shape_b: tuple[int, ...]
    norm: float | None = None
    dora: bool = False


class AdapterFacts(_Facts):
    """Facts about an adapter. Sizes in bytes; `ranks` are the lowest and the highest of its layers.

    `run` is the run that contains it; `problem` says why it can't be used, `note` which feature
    needs PEFT.
    """

    folder: str
    run: str | None = None
    kind: str = "LoRA"  # LoRA, rsLoRA, DoRA, or PEFT's name for the type
    use: AdapterUse = "generation"
    base: str = ""
    rank: int = 0
    ranks: tuple[int, int] = (0, 0)
    alpha: float = 0.0
    modules: tuple[str, ...] = ()
    trained_whole: tuple[str, ...] = ()
    parameters: int = 0
    bytes: int = 0
    changed: float = 0.0  # modification time of its file, seconds since 1970
    note: Text | None = None
    problem: Problem | None = None
    layers: tuple[LayerFacts, ...] = ()


class AdapterFit(_Facts):
    """Whether an adapter fits a model; `reason` says why not, `warning` is a caveat if it does."""

    model: str
    fits: bool
    reason: Text = NO_TEXT
    warning: Text = NO_TEXT


def parse_weighted(text: str) -> WeightedAdapter:
    """Parse `DIR` or `DIR=weight`; raises ProblemError when the weight isn't a number."""
    folder, equals, weight = text.rpartition("=")
    if not equals or not folder:
        return WeightedAdapter(folder=text)
    try:
        value = float(weight)
    except ValueError:
        if "/" in weight or "\\" in weight:  # the = belongs to the name of a folder
            return WeightedAdapter(folder=text)
        value = math.nan
    if not math.isfinite(value):
        raise fail(
            "adapters.weight",
            "“{weight}” isn't a weight.",
            "Enter only the folder, or folder=number, such as adapters/style=0.5.",
            weight=weight,
        )
    return WeightedAdapter(folder=folder, weight=value)


CONFIG = "adapter_config.json"
_WEIGHTS = "adapter_model.safetensors"
_WHERE = Where(step="lora", field="start_from")

#: Fields that the adapter overrides, and the matching key of PEFT's settings, if any.
TAKEN: dict[str, str | None] = {
    "adapter_type": None,
    "rank": "r",
    "alpha": "lora_alpha",
    "use_rslora": "use_rslora",
    "use_dora": "use_dora",
    "bias": "bias",
    "targets": None,
    "target_names": None,
    "init": None,
    "blocks": None,
    "own_ranks": None,
    "modules_to_save": "modules_to_save",
}

#: Initializations that change the base weights, including those that only PEFT supports.
_CHANGING = ("pissa", "olora", "corda", "loftq", "lora_ga")


def writes_text(folder: Path) -> bool:
    """Return whether a folder has an adapter that writes text, unlike those that score it or turn it into vectors."""
    try:
        config = read_json(folder / CONFIG)
    except (OSError, ValueError):
        return False
    return isinstance(config, dict) and config.get("task_type") not in (CLASSIFIES, EMBEDS)


def read_config(folder: Path) -> dict[str, Any]:
    """Return PEFT's settings of the adapter in a folder; raises ProblemError if it can't be
    continued from."""
    if not folder.is_dir():
        raise _adapter_error(
            "The folder {path} doesn't exist.", "Choose it again if it was moved.", path=str(folder)
        )
    try:
        config = read_json(folder / CONFIG)
    except (OSError, ValueError):
        config = None
    if not isinstance(config, dict) or not (folder / _WEIGHTS).is_file():
        raise _adapter_error(
            "{folder} doesn't contain a LoRA adapter.",
            "Choose a folder with {config} and {weights}.",
            folder=folder.name,
            config=CONFIG,
            weights=_WEIGHTS,
        )
    if config.get("peft_type") != "LORA" or not isinstance(config.get("r"), int):
        raise _adapter_error(
            "Training can't start from an adapter of type {kind}.",
            "Choose a LoRA adapter.",
            kind=str(config.get("peft_type")),
        )
    require_generative(config)
    try:
        check_settings(config)
    except InvalidContentError as error:
        raise _adapter_error(
            "The adapter's {file} can't be used: {reason}.",
            "Ask its author for an adapter whose settings list the module names.",
            file=CONFIG,
            reason=error.reason,
        ) from error
    _require_plain(config)
    return config


def _require_plain(config: dict[str, Any]) -> None:
    """Raise ProblemError for an adapter that fits only a changed base model."""
    if config.get("trainable_token_indices"):
        raise _adapter_error(
            "Training can't start from an adapter with new tokens.",
            "Merge it, and train on the merged model.",
        )
    initial = str(config.get("init_lora_weights")).lower()
    if initial.startswith(_CHANGING):
        raise _adapter_error(
            "The adapter was initialized with {initial}, which changes the base model, and wasn't converted "
            "to a plain LoRA adapter.",
            "Save it again in PEFT with save_pretrained(…, "
            "path_initial_model_for_weight_conversion=…).",
            initial=initial,
        )


def resolve_lora(spec: LoraSpec) -> LoraSpec:
    """Return the LoRA shape that training will use: that of the starting adapter if there is one.

    Returns the spec itself if that adapter can't be read, or has a shape that the settings can't
    express.
    """
    if not spec.start_from:
        return spec
    try:
        config = read_config(Path(spec.start_from))
    except ProblemError:
        return spec
    modules = config.get("target_modules")
    names = [str(name).rpartition(".")[2] for name in modules] if isinstance(modules, list) else []
    changes: dict[str, Any] = {
        field: config[key] for field, key in TAKEN.items() if key and config.get(key) is not None
    }
    changes |= {
        "adapter_type": "lora",
        "targets": "names" if names else "all_linear",
        "target_names": tuple(dict.fromkeys(sorted(names))),
        "init": "default",
        "blocks": _format_blocks(config.get("layers_to_transform")),
        "own_ranks": _read_own_ranks(config),
        "modules_to_save": tuple(config.get("modules_to_save") or ()),
    }
    try:
        return LoraSpec.model_validate(spec.model_dump() | changes)
    except ValidationError:
        return spec


def _format_blocks(layers: Any) -> str:
    numbers = [layers] if isinstance(layers, int) else layers
    return ", ".join(str(number) for number in numbers) if isinstance(numbers, list) else ""


def _read_own_ranks(config: dict[str, Any]) -> tuple[str, ...]:
    """Return ranks by plain module names; PEFT's regex patterns have no equivalent setting here."""
    ranks, alphas = config.get("rank_pattern") or {}, config.get("alpha_pattern") or {}
    return tuple(
        f"{name.rpartition('.')[2]}={rank}" + (f":{alphas[name]}" if name in alphas else "")
        for name, rank in ranks.items()
        if re.fullmatch(r"[\w.]+", name)
    )


def describe(config: dict[str, Any]) -> Text:
    """Return the shape in words: rank 8, alpha 16, q_proj, v_proj."""
    parts = [
        text("rank {rank}", rank=config["r"]),
        text("alpha {alpha}", alpha=str(config.get("lora_alpha"))),
    ]
    parts += [text(name) for key, name in (("use_rslora", "rsLoRA"), ("use_dora", "DoRA")) if config.get(key)]  # fmt: skip
    modules = config.get("target_modules")
    if isinstance(modules, list) and modules:
        names = dict.fromkeys(sorted(name.rpartition(".")[2] for name in modules))
        parts.append(text("{names}", names=" ".join(names)))
    if whole := config.get("modules_to_save"):
        parts.append(text("{names} trained in full", names=" ".join(whole)))
    return listed(parts)


def list_unused_settings(config: dict[str, Any], spec: LoraSpec) -> list[Text]:
    """Return titles and values of the settings that differ from the starting adapter and are
    ignored."""
    differing = []
    for field, key in TAKEN.items():
        about, value = get_facts(LoraSpec, field), getattr(spec, field)
        same = key is not None and _to_plain(config.get(key)) == _to_plain(value)
        if value == about.default or same:
            continue
        label = about.choices.get(str(value), value)
        differing.append(
            text(
                "{title} {value}",
                title=text(about.title),
                value=" ".join(value) if isinstance(value, tuple) else text(str(label)),
            )
        )
    return differing


def check(spec: LoraSpec) -> list[Problem]:
    """Return why training can't continue from the adapter, or a warning about ignored settings."""
    if not spec.start_from:
        return []
    try:
        config = read_config(Path(spec.start_from))
    except ProblemError as error:
        return error.problems
    ignored = list_unused_settings(config, spec)
    if not ignored:
        return []
    return [
        warning(
            "lora.taken_from_start",
            "The adapter determines these settings: {settings}.",
            "Ignored: {ignored}. To use them, clear “Start from adapter”.",
            where=_WHERE,
            settings=describe(config),
            ignored=listed(ignored),
        )
    ]


def _to_plain(value: Any) -> Any:
    return list(value or ()) if isinstance(value, list | tuple) or value is None else value


def _adapter_error(what: Template, remedy: Template, **values: Any) -> ProblemError:
    return fail("lora.start_not_usable", what, remedy, where=_WHERE, **values)


#: Settings whose keys are regular expressions, with numbers.
_TABLES = ("rank_pattern", "alpha_pattern")

#: Settings that are one regular expression or a list: of names, and in the last of expressions.
_LISTS = ("target_modules", "exclude_modules", "layers_pattern")

#: Settings that are lists of names, and those that are one whole number or several.
_NAMES = ("modules_to_save", "target_parameters")
_NUMBERS = ("layers_to_transform",)

#: The share of inputs that training drops, and ranges of layers that replace all layers.
_DROPOUT, _REPLICATION = "lora_dropout", "layer_replication"

#: PEFT's name for all linear layers but the output layer.
ALL_LINEAR = "all-linear"

#: Length of a long name: in so many ways an open repetition may end.
_LENGTH = 200

_REPEATS = (_constants.MAX_REPEAT, _constants.MIN_REPEAT, _constants.POSSESSIVE_REPEAT)


def check_settings(config: dict[str, Any]) -> None:
    """Raise InvalidContentError for a setting of a wrong type or size, and for an expression that is invalid or
    could take very long.
    """
    for name in (*_TABLES, *_LISTS, *_NAMES, *_NUMBERS, _DROPOUT, _REPLICATION):
        value = config.get(name)
        if value is not None and not _has_right_type(name, value):
            raise InvalidContentError("the setting {name} is invalid", name=name)
        if isinstance(value, dict | list) and len(value) > limits.PATTERNS:
            raise InvalidContentError(
                "the setting {name} has {count:d} items, more than {limit:d}",
                name=name,
                count=len(value),
                limit=limits.PATTERNS,
            )
    for table in _TABLES:
        for pattern in config.get(table) or {}:
            check_pattern(pattern)
    for name in _LISTS:
        value = config.get(name)
        expressions = value if name == "layers_pattern" and isinstance(value, list) else [value]
        for pattern in expressions:
            if isinstance(pattern, str):
                check_pattern(pattern)


def _has_right_type(name: str, value: Any) -> bool:
    if name in _TABLES:
        return isinstance(value, dict) and all(isinstance(x, int | float) for x in value.values())
    if name in _NUMBERS:
        numbers = value if isinstance(value, list) else [value]
        return all(isinstance(x, int) and 0 <= x < limits.MODEL_LAYERS for x in numbers)
    if name == _DROPOUT:
        return isinstance(value, int | float) and 0 <= value < 1
    if name == _REPLICATION:
        return isinstance(value, list) and _count_replicated_layers(value) <= limits.MODEL_LAYERS
    if name in _LISTS and isinstance(value, str):
        return True
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _count_replicated_layers(ranges: list[Any]) -> float:
    """Return how many layers a model has after its layers were copied, infinite for an invalid range."""
    layers = 0
    for span in ranges:
        if not isinstance(span, list) or [type(end) for end in span] != [int, int]:
            return math.inf
        if not 0 <= span[0] < span[1]:
            return math.inf
        layers += span[1] - span[0]
    return layers


class ModuleFilter:
    """Tells which modules of a base model the settings of an adapter select, as PEFT selects them.

    Without any names, PEFT takes those that it knows for the type of the model; here, these are all modules.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        """Prepare for settings that `check_settings` has accepted."""
        targets = config.get("target_modules")
        has_no_names = targets is None and not config.get("target_parameters")
        if has_no_names or str(targets).lower() == ALL_LINEAR:
            targets = ALL_LINEAR
        self._targets, self._excluded = map(_index_names, (targets, config.get("exclude_modules")))
        self._trained_whole = [f".{name}." for name in config.get("modules_to_save") or ()]
        layers = config.get("layers_to_transform")
        self._layers = {layers} if isinstance(layers, int) else set(layers or ())
        patterns = config.get("layers_pattern") or ()
        patterns = [patterns] if isinstance(patterns, str) else patterns
        self._layer_patterns = [rf"(?:^|.*?\.)(?:{pattern})" for pattern in patterns]

    def selects(self, module: str) -> bool:
        """Return whether PEFT adapts a module of this name."""
        is_trained_whole = any(name in f".{module}." for name in self._trained_whole)
        if is_trained_whole or _is_named(module, self._excluded):
            return False
        if self._targets != ALL_LINEAR and not _is_named(module, self._targets):
            return False
        if isinstance(self._targets, str) or module in self._targets or not self._layers:
            return True
        for pattern in self._layer_patterns or [r".*?\.[^.]*"]:
            if match := re.match(rf"{pattern}\.(\d+)\.", module):
                return int(match[match.re.groups]) in self._layers
        return False


def _index_names(names: str | list[str] | None) -> str | frozenset[str]:
    return names if isinstance(names, str) else frozenset(names or ())


def _is_named(module: str, names: str | frozenset[str]) -> bool:
    """Return whether an expression matches a module, or its name or the end of it is among the names."""
    if isinstance(names, str):
        return re.fullmatch(names, module) is not None
    parts = module.split(".")
    return any(".".join(parts[start:]) in names for start in range(len(parts)))


def check_pattern(pattern: str) -> None:
    """Raise InvalidContentError for an expression that is invalid or could take very long.

    Python's matcher tries every way to split a text among repetitions. With one inside another the
    number of ways grows exponentially.
    """
    try:
        if len(pattern) > limits.PATTERN:
            raise InvalidContentError("one of its module patterns is too long")
        re.compile(rf"(.*\.)?({pattern})$")  # as it is matched: flags may only be at the start
        ways = _count_ways(_parser.parse(pattern))
    except (re.error, RecursionError, OverflowError):
        raise InvalidContentError(
            "the module pattern “{pattern}” is invalid", pattern=pattern
        ) from None
    if ways > limits.PATTERN_WAYS:
        raise InvalidContentError(
            "the module pattern “{pattern}” could take very long", pattern=pattern[:200]
        )


def _count_ways(parsed: Any) -> float:
    """Return in how many ways the matcher may try an expression, infinite for one that multiplies.

    A repetition of something that itself has several ways takes exponential time. Open repetitions after one
    another share the length of the name: k of them can end in about lengthᵏ / k! ways, and each only before the
    word that follows it.
    """
    choices, opened, checks = 1.0, 0, 0.0  # opened: open repetitions
    operators = list(_iter_flat(parsed))
    for index, (operator, argument) in enumerate(operators):
        if operator in _REPEATS:
            least, most, body = argument
            inner, lengths = _count_ways(body), most - least + 1
            if most > 1 and inner > 1:
                return math.inf
            if most > 1 and lengths >= _LENGTH:
                opened += 1
                choices /= max(1, _measure_word(operators[index + 1 :]))
            elif most == 1:
                choices *= (most - least) + inner
            else:
                choices *= lengths
        elif operator is _constants.BRANCH:
            choices *= _count_branches(argument[1])
        elif operator in (_constants.ASSERT, _constants.ASSERT_NOT):
            # It is tried once for each way that leads to it, and only succeeds or fails.
            checks = max(checks, _combine(choices, opened) * _count_ways(argument[1]))
        elif operator in (_constants.GROUPREF, _constants.GROUPREF_EXISTS):
            return math.inf
    return max(_combine(choices, opened), checks)


def _iter_flat(parsed: Any) -> Iterator[tuple[Any, Any]]:
    """Yield the operators of an expression, those of its groups as if they had no parentheses."""
    for operator, argument in parsed:
        if operator is _constants.SUBPATTERN:
            yield from _iter_flat(argument[3])
        elif operator is _constants.ATOMIC_GROUP:
            yield from _iter_flat(argument)
        else:
            yield operator, argument


def _measure_word(operators: list[tuple[Any, Any]]) -> int:
    """Return the least length of the word, or of the words to choose from, at the start of an expression."""
    length = 0
    for operator, argument in operators:
        if operator is _constants.BRANCH:
            return length + min(_measure_word(list(branch)) for branch in argument[1])
        if operator is not _constants.LITERAL:
            break
        length += 1
    return length


def _combine(choices: float, repetitions: int) -> float:
    """Return in how many ways choices and open repetitions can be combined."""
    counted = min(repetitions, 50)  # more don't fit any limit
    return float(choices * (_LENGTH**counted / math.factorial(counted)))


def _count_branches(branches: list[Any]) -> float:
    """Return in how many ways a choice between branches can match at one place.

    Of plain words, only those match together of which one begins with the other.
    """
    words = [tuple(character for _, character in branch) for branch in branches]
    if all(operator is _constants.LITERAL for branch in branches for operator, _ in branch):
        return max(sum(word[: len(other)] == other for other in words) for word in words)
    return sum(map(_count_ways, branches))
