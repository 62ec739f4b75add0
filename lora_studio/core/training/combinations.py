"""Rules for incompatible choices: the field that shows the problem, the reason, and a fix."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

from lora_studio.core.lora.spec import LoraSpec
from lora_studio.core.messages import Template, Text, text
from lora_studio.core.model.spec import ModelSpec
from lora_studio.core.problems import Fix, Problem, Step, Where, error
from lora_studio.core.spec import Spec, get_facts
from lora_studio.core.training.spec import TrainingSpec


class Combination(NamedTuple):
    """The three steps whose choices depend on each other."""

    model: ModelSpec
    lora: LoraSpec
    training: TrainingSpec


@dataclass(frozen=True)
class CombinationRule:
    """One reason why choices are incompatible; `when` returns whether it applies to a project."""

    code: str
    step: Step
    field: str
    when: Callable[[Combination], bool]
    what: Template | Text
    remedy: Template
    fix: Fix | None = None

    def problem(self) -> Problem:
        """Return the problem to show at the rule's field."""
        return error(
            self.code,
            self.what,
            self.remedy,
            where=Where(step=self.step, field=self.field),
            fix=self.fix,
        )


_USUAL_START = Fix(
    label="Use the default initialization", step="lora", field="init", value="default"
)
_OPEN = Fix(
    label="Choose the backend automatically", step="training", field="backend", value="auto"
)
#: Settings of LoRA that MiSS lacks, with the values at which they do nothing.
_ONLY_LORA: tuple[tuple[Step, str, Any], ...] = (
    ("lora", "use_rslora", False),
    ("lora", "use_dora", False),
    ("lora", "init", "default"),
    ("lora", "bias", "none"),
    ("lora", "own_ranks", ()),
    ("training", "lora_plus_ratio", 1.0),
)
_SPECS: dict[Step, type[Spec]] = {"lora": LoraSpec, "training": TrainingSpec}
#: Layers with a row for each token, as modules are named in common architectures.
_TOKEN_LAYERS = ("embed_tokens", "lm_head", "wte", "embed_in", "embed_out", "word_embeddings")
_OR_PEFT = "Change it, or set the backend to Automatic."


def _get_title(step: Step, field: str) -> Text:
    return text(get_facts(_SPECS[step], field).title)


_RULES: tuple[CombinationRule, ...] = (
    *(
        CombinationRule(
            "lora.init_needs_exact_base",
            "lora",
            "init",
            lambda chosen, init=init: _is_initialization(chosen, init) and _is_quantized(chosen),  # type: ignore[misc]  # mypy infers no lambda with a default
            text("{name} initializes from the base weights, which are quantized.", name=name),
            "Use 16-bit precision, or the default initialization.",
            _USUAL_START,
        )
        for init, name in (("pissa", "PiSSA"), ("olora", "OLoRA"))
    ),
    CombinationRule(
        "lora.loftq_needs_4bit",
        "lora",
        "init",
        lambda chosen: _is_initialization(chosen, "loftq") and chosen.model.precision != "4bit",
        "LoftQ compensates for the error of 4-bit weights, but the base model isn't loaded in 4-bit.",
        "Use 4-bit precision, or the default initialization.",
        _USUAL_START,
    ),
    CombinationRule(
        "lora.dora_on_8bit",
        "lora",
        "use_dora",
        lambda chosen: (
            chosen.lora.use_dora and not chosen.lora.start_from and chosen.model.precision == "8bit"
        ),
        "DoRA can't be used with 8-bit weights: it needs the norms of their rows.",
        "Use 4-bit or 16-bit precision, or turn DoRA off.",
        Fix(label="Turn DoRA off", step="lora", field="use_dora", value=False),
    ),
    CombinationRule(
        "lora.orthogonal_on_quantized",
        "lora",
        "init",
        lambda chosen: _is_initialization(chosen, "orthogonal") and _is_quantized(chosen),
        "Orthogonal initialization can't be used with a quantized base model.",
        "Use 16-bit precision, or the default initialization.",
        _USUAL_START,
    ),
    CombinationRule(
        "lora.orthogonal_needs_even_ranks",
        "lora",
        "init",
        lambda chosen: (
            _is_initialization(chosen, "orthogonal")
            and any(rank % 2 for rank in (chosen.lora.rank, *chosen.lora.rank_pattern.values()))
        ),
        "Orthogonal initialization needs even ranks.",
        "Use even ranks, or the default initialization.",
        _USUAL_START,
    ),
    *(
        CombinationRule(
            f"lora.miss_{field}",
            step,
            field,
            lambda chosen, step=step, field=field, unused=unused: (  # type: ignore[misc]  # see above
                _is_miss(chosen) and getattr(getattr(chosen, step), field) != unused
            ),
            text("MiSS doesn't support this setting: {setting}.", setting=_get_title(step, field)),
            "Reset it, or choose LoRA as the adapter type.",
            Fix(
                label=text("Reset {setting}", setting=_get_title(step, field)),
                step=step,
                field=field,
                value=unused,
            ),
        )
        for step, field, unused in _ONLY_LORA
    ),
    *(
        CombinationRule(
            f"lora.new_tokens_{name}",
            "lora",
            "new_tokens",
            lambda chosen, applies=applies: bool(chosen.lora.new_tokens) and applies(chosen),  # type: ignore[misc]  # see above
            what,
            "Remove the new tokens, or change that setting.",
        )
        for name, applies, what in (
            ("miss", lambda chosen: _is_miss(chosen), text("MiSS can't train new tokens.")),
            (
                "start",
                lambda chosen: bool(chosen.lora.start_from),
                text("New tokens can't be added to an existing adapter."),
            ),
            (
                "whole",
                lambda chosen: any(map(_has_token_rows, chosen.lora.modules_to_save)),
                text(
                    "New tokens can't be combined with embeddings or an output layer that are trained in full."
                ),
            ),
            (
                "teacher",
                lambda chosen: bool(chosen.training.teacher.strip()),
                text("A teacher doesn't know new tokens."),
            ),
            (
                "sharding",
                lambda chosen: chosen.model.sharding == "shard",
                text("New tokens can't be trained while the weights are sharded across devices."),
            ),
        )
    ),
    CombinationRule(
        "model.sharding_quantized",
        "model",
        "sharding",
        lambda chosen: chosen.model.sharding == "shard" and _is_quantized(chosen),
        "Quantized weights can't be sharded across devices.",
        "Use 16-bit precision, or replicate the weights.",
        Fix(label="Replicate the weights", step="model", field="sharding", value="replicate"),
    ),
    CombinationRule(
        "training.checkpointing_of_unsloth",
        "training",
        "gradient_checkpointing",
        lambda chosen: (
            chosen.training.gradient_checkpointing == "unsloth"
            and chosen.training.backend != "unsloth"
        ),
        "Unsloth's gradient checkpointing needs the Unsloth backend.",
        "Set gradient checkpointing to On, or the backend to Unsloth.",
        Fix(
            label="Set gradient checkpointing to On",
            step="training",
            field="gradient_checkpointing",
            value="on",
        ),
    ),
)

#: Features that Unsloth lacks or doesn't speed up: rules if it is selected.
_UNSLOTH: tuple[CombinationRule, ...] = tuple(
    CombinationRule(
        f"training.unsloth_{code}", cast(Step, step), field, when, what, _OR_PEFT, _OPEN
    )
    for code, step, field, when, what in (
        (
            "device",
            "model",
            "device",
            lambda chosen: chosen.model.device == "mps",
            text("Unsloth can't train on Apple GPUs."),
        ),
        (
            "several",
            "model",
            "device",
            lambda chosen: len(chosen.model.devices) > 1,
            text("Unsloth trains on one device only."),
        ),
        (
            "8bit",
            "model",
            "precision",
            lambda chosen: chosen.model.precision == "8bit",
            text("Unsloth supports 4-bit and 16-bit precision, not 8-bit."),
        ),
        (
            "fp4",
            "model",
            "quant_type",
            lambda chosen: chosen.model.precision == "4bit" and chosen.model.quant_type != "nf4",
            text("Unsloth's 4-bit weights always use NF4."),
        ),
        (
            "single_quant",
            "model",
            "double_quant",
            lambda chosen: chosen.model.precision == "4bit" and not chosen.model.double_quant,
            text("Unsloth's 4-bit weights always use double quantization."),
        ),
        (
            "code",
            "model",
            "trust_remote_code",
            lambda chosen: chosen.model.trust_remote_code,
            text("Unsloth doesn't support models with remote code."),
        ),
        (
            "miss",
            "lora",
            "adapter_type",
            lambda chosen: _is_miss(chosen),
            text("Unsloth can't train MiSS adapters."),
        ),
        (
            "init",
            "lora",
            "init",
            lambda chosen: (
                not chosen.lora.start_from
                and chosen.lora.init not in ("default", "gaussian", "orthogonal")
            ),
            text("Unsloth doesn't support initialization from weights or data."),
        ),
        (
            "bias",
            "lora",
            "bias",
            lambda chosen: not chosen.lora.start_from and chosen.lora.bias != "none",
            text("Unsloth can't train biases."),
        ),
        (
            "whole",
            "lora",
            "modules_to_save",
            lambda chosen: (
                not chosen.lora.start_from
                and not all(map(_can_unsloth_train_fully, chosen.lora.modules_to_save))
            ),
            text("Unsloth can only train embed_tokens, lm_head, and norms in full."),
        ),
        (
            "tokens",
            "lora",
            "new_tokens",
            lambda chosen: bool(chosen.lora.new_tokens),
            text("Unsloth can't train the rows of new tokens alone."),
        ),
        (
            "start",
            "lora",
            "start_from",
            lambda chosen: bool(chosen.lora.start_from),
            text("Unsloth can't start from an existing adapter."),
        ),
        (
            "teacher",
            "training",
            "teacher",
            lambda chosen: bool(chosen.training.teacher.strip()),
            text("Unsloth can't learn from a teacher."),
        ),
    )
)


def check(model: ModelSpec, lora: LoraSpec, training: TrainingSpec) -> list[Problem]:
    """Return a problem for every choice that can't be combined with another one, at its field."""
    chosen = Combination(model, lora, training)
    rules = (*_RULES, *_UNSLOTH) if training.backend == "unsloth" else _RULES
    return [rule.problem() for rule in rules if rule.when(chosen)]


def find_blocked_values(
    chosen: Combination, step: Step, field: str, values: list[Any]
) -> dict[Any, Text]:
    """Return which values of a field can't be combined with the other choices, and why."""
    return _find_blocked_values(_select_choices(chosen), step, field, tuple(values))


def _select_choices(chosen: Combination) -> Combination:
    """Return the choices without the numbers that no rule reads, so that moving a slider hits the
    cache."""
    update = {"rank": 2 + chosen.lora.rank % 2, "alpha": 1, "dropout": 0.0}
    return chosen._replace(lora=chosen.lora.model_copy(update=update))


@functools.lru_cache(maxsize=256)
def _find_blocked_values(
    chosen: Combination, step: Step, field: str, values: tuple[Any, ...]
) -> dict[Any, Text]:
    return {value: why for value in values for why in _iter_reasons(chosen, step, field, value)}


def _iter_reasons(chosen: Combination, step: Step, field: str, value: Any) -> Iterator[Text]:
    """Return reasons that a field's new value adds to those that apply anyway."""
    spec = getattr(chosen, step)
    with_value = chosen._replace(**{step: spec.model_copy(update={field: value})})
    if getattr(spec, field) == value:
        return
    current = {str(problem) for problem in check(*chosen)}
    for problem in check(*with_value):
        if str(problem) not in current:
            yield problem.what
            return


def _is_initialization(chosen: Combination, init: str) -> bool:
    return chosen.lora.init == init and not chosen.lora.start_from


def _is_miss(chosen: Combination) -> bool:
    return chosen.lora.adapter_type == "miss" and not chosen.lora.start_from


def _is_quantized(chosen: Combination) -> bool:
    return chosen.model.precision in ("4bit", "8bit")


def _has_token_rows(module: str) -> bool:
    return module.rpartition(".")[2] in _TOKEN_LAYERS


def _can_unsloth_train_fully(name: str) -> bool:
    last = name.rpartition(".")[2]
    return last in ("embed_tokens", "lm_head") or "norm" in last
