"""Choices that cannot go together, one rule each: where it is said, why, and the way out."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

from lora_studio.core.lora.spec import LoraSpec
from lora_studio.core.model.spec import ModelSpec
from lora_studio.core.problems import Fix, Problem, Step, Where
from lora_studio.core.training.spec import TrainingSpec


class Combination(NamedTuple):
    """The three steps whose choices depend on each other."""

    model: ModelSpec
    lora: LoraSpec
    training: TrainingSpec


@dataclass(frozen=True)
class CombinationRule:
    """One reason why choices cannot go together; `when` tells whether it holds for a project."""

    code: str
    step: Step
    field: str
    when: Callable[[Combination], bool]
    what: str
    remedy: str
    fix: Fix | None = None

    def problem(self) -> Problem:
        """The rule as it is shown at its field."""
        return Problem(
            code=self.code,
            what=self.what,
            remedy=self.remedy,
            where=Where(step=self.step, field=self.field),
            fix=self.fix,
        )


_USUAL_START = Fix(label="Begin as usual", step="lora", field="init", value="default")
_OPEN = Fix(label="Leave the backend open", step="training", field="backend", value="auto")
_OR_PEFT = "Change it, or leave the choice of the backend open."

_RULES: tuple[CombinationRule, ...] = (
    *(
        CombinationRule(
            "lora.init_needs_exact_base",
            "lora",
            "init",
            lambda chosen, init=init: _begins(chosen, init) and _is_quantised(chosen),  # type: ignore[misc]  # mypy infers no lambda with a default
            f"{name} takes its initial values out of the base weights, which are quantised.",
            "Hold the base in 16-bit, or begin as usual.",
            _USUAL_START,
        )
        for init, name in (("pissa", "PiSSA"), ("olora", "OLoRA"))
    ),
    CombinationRule(
        "lora.loftq_needs_4bit",
        "lora",
        "init",
        lambda chosen: _begins(chosen, "loftq") and chosen.model.precision != "4bit",
        "LoftQ makes up for what 4-bit weights lose, and the base is not held in 4-bit.",
        "Hold the base in 4-bit, or begin as usual.",
        _USUAL_START,
    ),
    CombinationRule(
        "lora.dora_on_8bit",
        "lora",
        "use_dora",
        lambda chosen: (
            chosen.lora.use_dora and not chosen.lora.start_from and chosen.model.precision == "8bit"
        ),
        "DoRA needs the lengths of the weights' rows, which 8-bit weights do not give.",
        "Hold the base in 4 or 16 bits, or do without DoRA.",
        Fix(label="Do without DoRA", step="lora", field="use_dora", value=False),
    ),
    CombinationRule(
        "lora.orthogonal_on_quantised",
        "lora",
        "init",
        lambda chosen: _begins(chosen, "orthogonal") and _is_quantised(chosen),
        "PEFT makes orthogonal initial values in the format of the base, and quantised ones have none.",
        "Hold the base in 16-bit, or begin as usual.",
        _USUAL_START,
    ),
    CombinationRule(
        "lora.orthogonal_needs_even_ranks",
        "lora",
        "init",
        lambda chosen: (
            _begins(chosen, "orthogonal")
            and any(rank % 2 for rank in (chosen.lora.rank, *chosen.lora.rank_pattern().values()))
        ),
        "Orthogonal initial values need even ranks.",
        "Make every rank even, or begin as usual.",
        _USUAL_START,
    ),
    CombinationRule(
        "model.sharding_quantised",
        "model",
        "sharding",
        lambda chosen: chosen.model.sharding == "shard" and _is_quantised(chosen),
        "Quantised weights cannot be divided among devices.",
        "Hold the base in 16-bit, or let every device hold all of it.",
        Fix(label="All on each", step="model", field="sharding", value="replicate"),
    ),
    CombinationRule(
        "training.checkpointing_of_unsloth",
        "training",
        "gradient_checkpointing",
        lambda chosen: (
            chosen.training.gradient_checkpointing == "unsloth"
            and chosen.training.backend == "peft"
        ),
        "Unsloth's gradient checkpointing comes with the backend Unsloth alone.",
        "Switch checkpointing on as usual, or leave the choice of the backend open.",
        Fix(label="Use the usual one", step="training", field="gradient_checkpointing", value="on"),
    ),
)

#: What Unsloth lacks or is no faster with. Rules for whoever asks for it, reasons against it else.
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
            "Unsloth does not train on an Apple GPU here.",
        ),
        (
            "several",
            "model",
            "device",
            lambda chosen: len(chosen.model.devices) > 1,
            "Unsloth trains on one device, not on several at once.",
        ),
        (
            "8bit",
            "model",
            "precision",
            lambda chosen: chosen.model.precision == "8bit",
            "Unsloth holds a base in 4 or 16 bits, not in 8.",
        ),
        (
            "fp4",
            "model",
            "quant_type",
            lambda chosen: chosen.model.precision == "4bit" and chosen.model.quant_type != "nf4",
            "Unsloth's 4-bit weights are always of the type NF4.",
        ),
        (
            "single_quant",
            "model",
            "double_quant",
            lambda chosen: chosen.model.precision == "4bit" and not chosen.model.double_quant,
            "Unsloth's 4-bit weights are always quantised twice.",
        ),
        (
            "code",
            "model",
            "trust_remote_code",
            lambda chosen: chosen.model.trust_remote_code,
            "Unsloth has no kernels for a model with code of its own.",
        ),
        (
            "init",
            "lora",
            "init",
            lambda chosen: (
                not chosen.lora.start_from
                and chosen.lora.init not in ("default", "gaussian", "orthogonal")
            ),
            "Initial values that are taken from the weights or the data cannot be converted from "
            "Unsloth's layers.",
        ),
        (
            "bias",
            "lora",
            "bias",
            lambda chosen: not chosen.lora.start_from and chosen.lora.bias != "none",
            "Unsloth's fast layers train no biases.",
        ),
        (
            "whole",
            "lora",
            "modules_to_save",
            lambda chosen: (
                not chosen.lora.start_from
                and not all(map(_unsloth_trains_whole, chosen.lora.modules_to_save))
            ),
            "Unsloth trains only embed_tokens, lm_head and norms whole.",
        ),
        (
            "start",
            "lora",
            "start_from",
            lambda chosen: bool(chosen.lora.start_from),
            "Unsloth does not go on from an adapter that was made elsewhere.",
        ),
    )
)


def check(model: ModelSpec, lora: LoraSpec, training: TrainingSpec) -> list[Problem]:
    """Every choice that cannot go together with another one, at its field."""
    chosen = Combination(model, lora, training)
    rules = (*_RULES, *_UNSLOTH) if training.backend == "unsloth" else _RULES
    return [rule.problem() for rule in rules if rule.when(chosen)]


def against_unsloth(model: ModelSpec, lora: LoraSpec, training: TrainingSpec) -> str | None:
    """Why Unsloth would not do, as the end of a sentence; None where no choice speaks against it."""
    chosen = Combination(model, lora, training)
    found = next((rule.what.rstrip(".") for rule in _UNSLOTH if rule.when(chosen)), None)
    if found is None or found.startswith("Unsloth"):
        return found
    return found[0].lower() + found[1:]


def blocked(chosen: Combination, step: Step, field: str, values: list[Any]) -> dict[Any, str]:
    """Which of the values of a field cannot go with the other choices, and why."""
    return _blocked(_looked_at(chosen), step, field, tuple(values))


def _looked_at(chosen: Combination) -> Combination:
    """The choices without numbers that no rule looks at: while a slider moves, all is known already."""
    update = {"rank": 2 + chosen.lora.rank % 2, "alpha": 1, "dropout": 0.0}
    return chosen._replace(lora=chosen.lora.model_copy(update=update))


@functools.lru_cache(maxsize=256)
def _blocked(
    chosen: Combination, step: Step, field: str, values: tuple[Any, ...]
) -> dict[Any, str]:
    return {value: why for value in values for why in _against(chosen, step, field, value)}


def _against(chosen: Combination, step: Step, field: str, value: Any) -> Iterator[str]:
    """Reasons that come up when a field takes a value, beyond those that hold anyway."""
    spec = getattr(chosen, step)
    tried = chosen._replace(**{step: spec.model_copy(update={field: value})})
    if getattr(spec, field) == value:
        return
    current = {str(problem) for problem in check(*chosen)}
    for problem in check(*tried):
        if str(problem) not in current:
            yield str(problem.what)
            return


def _begins(chosen: Combination, init: str) -> bool:
    return chosen.lora.init == init and not chosen.lora.start_from


def _is_quantised(chosen: Combination) -> bool:
    return chosen.model.precision in ("4bit", "8bit")


def _unsloth_trains_whole(name: str) -> bool:
    last = name.rpartition(".")[2]
    return last in ("embed_tokens", "lm_head") or "norm" in last
