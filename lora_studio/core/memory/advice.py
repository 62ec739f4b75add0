"""Suggest changes that make a training fit its device: the largest micro-batch, the cheapest
change.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from lora_studio.core.memory.estimate import estimate
from lora_studio.core.memory.plan import MemoryPlan
from lora_studio.core.memory.weights import is_sharded
from lora_studio.core.messages import NO_TEXT, Text, text
from lora_studio.core.problems import Fix, Problem, Step, Where, warning
from lora_studio.core.protocol.training import MemoryEstimate
from lora_studio.core.tasks.table import TASKS

#: Upper bounds of the two fields, and the shortest sequence length worth proposing, in tokens.
_MICRO_BATCH, _ACCUMULATION, _SHORTEST, _GRAIN = 1024, 4096, 64, 8


@dataclass(frozen=True)
class MemoryChange:
    """Settings that reduce a training's memory: a description, and the changes as step, field and
    value.
    """

    title: Text
    changes: tuple[tuple[Step, str, Any], ...]
    plan: MemoryPlan

    @property
    def fix(self) -> Fix:
        """The change as a fix that applies with one click; its label is short, however many settings change."""
        (step, field, value), *others = self.changes
        label = text("Reduce memory use")
        return Fix(label=label, step=step, field=field, value=value, also=tuple(others))


def with_micro_batch(plan: MemoryPlan, micro_batch: int) -> MemoryPlan:
    """Return the recipe with another micro-batch and the same effective batch, which `micro_batch`
    has to divide.
    """
    accumulation = plan.training.effective_batch // micro_batch
    update = {"micro_batch": micro_batch, "gradient_accumulation": accumulation}
    return replace(plan, training=plan.training.model_copy(update=update))


def list_micro_batches(plan: MemoryPlan) -> list[int]:
    """Return the micro-batches that divide the effective batch, the largest first."""
    whole = plan.training.effective_batch
    return [
        size
        for size in range(min(whole, _MICRO_BATCH), 0, -1)
        if whole % size == 0 and whole // size <= _ACCUMULATION
    ]


def find_largest_micro_batch(plan: MemoryPlan) -> int | None:
    """Return the largest micro-batch that fits with the same effective batch, or None.

    Uses bisection, since a smaller micro-batch never needs more memory.
    """
    sizes = list_micro_batches(plan)
    index = bisect.bisect_left(
        sizes, 1, key=lambda size: int(bool(estimate(with_micro_batch(plan, size)).fits))
    )
    return sizes[index] if index < len(sizes) else None


def find_cheapest_change(plan: MemoryPlan) -> MemoryChange | None:
    """Return the cheapest change that makes the training fit, or None.

    Except for micro-batches, changes add up. They are tried in order of their cost: smaller micro-batches (a little time),
    recomputing activations (a third of the speed), both, an 8-bit optimizer, weights sharded across
    several GPUs (communication), a 4-bit base (some quality), and a shorter sequence length (part
    of the data).
    """
    for change in _iter_changes(plan):
        if estimate(change.plan).fits:
            return change
    return None


def check_fit(plan: MemoryPlan, estimate: MemoryEstimate) -> Problem | None:
    """Return a problem with a suggested change if a training doesn't fit; None if it fits."""
    if estimate.fits is not False or estimate.available is None:
        return None
    change = find_cheapest_change(plan)
    largest = max(estimate.parts, key=lambda name: estimate.parts[name])
    where = change.changes[0] if change else ("model", "source", None)
    remedy = (
        text("Settings that fit: {change}.", change=change.title)
        if change
        else _NO_CHANGE[largest == "weights"]
    )
    return warning(
        "training.does_not_fit",
        "Training needs about {needed:memory}, but {device} has only {available:memory} free.",
        remedy,
        where=Where(step=where[0], field=where[1]),
        fix=change.fix if change else None,
        needed=estimate.total,
        device=plan.device.title,
        available=estimate.available,
    )


_NO_CHANGE = {
    True: "Even 4-bit weights and the smallest settings don't fit. Choose a smaller model.",
    False: "Changing settings isn't enough. Choose a smaller model, or free up memory.",
}


def _iter_changes(plan: MemoryPlan) -> Iterator[MemoryChange]:
    """Yield changes by rising cost, each combined with the largest micro-batch that fits if that
    helps.
    """
    yield from _with_smaller_micro_batch(MemoryChange(NO_TEXT, (), plan))
    current = MemoryChange(NO_TEXT, (), plan)
    for make_change in (_enable_checkpointing, _switch_optimizer, _shard_weights, _quantize):
        if (next_one := make_change(current)) is None:
            continue
        current = next_one
        yield current
        yield from _with_smaller_micro_batch(current)
    if (shorter := _shorten_sequences(MemoryChange(NO_TEXT, (), plan))) is not None:
        yield shorter
    if (
        shorter := _shorten_sequences(_add_change(current, *_change_micro_batch(current.plan, 1)))
    ) is not None:
        yield shorter


def _with_smaller_micro_batch(change: MemoryChange) -> Iterator[MemoryChange]:
    """Return the change to the largest smaller micro-batch that fits."""
    size = find_largest_micro_batch(change.plan)
    if size is not None and size < change.plan.training.micro_batch:
        yield _add_change(change, *_change_micro_batch(change.plan, size))


def _change_micro_batch(
    plan: MemoryPlan, size: int
) -> tuple[Text, MemoryPlan, list[tuple[Step, str, Any]]]:
    smaller = with_micro_batch(plan, size)
    accumulation = smaller.training.gradient_accumulation
    changes: list[tuple[Step, str, Any]] = [
        ("training", "micro_batch", size),
        ("training", "gradient_accumulation", accumulation),
    ]
    title = text(
        "Micro-batch {size} × accumulation {accumulation}", size=size, accumulation=accumulation
    )
    return title, smaller, changes


def _enable_checkpointing(change: MemoryChange) -> MemoryChange | None:
    if change.plan.checkpoints:
        return None
    return _add_change(change, *_change_recipe(change.plan, text("Gradient checkpointing"), "gradient_checkpointing", "on"))  # fmt: skip


def _switch_optimizer(change: MemoryChange) -> MemoryChange | None:
    if change.plan.training.optimizer != "adamw" or change.plan.kind == "mps":
        return None
    return _add_change(
        change, *_change_recipe(change.plan, text("8-bit AdamW"), "optimizer", "adamw_8bit")
    )


def _change_recipe(
    plan: MemoryPlan, title: Text, field: str, value: str
) -> tuple[Text, MemoryPlan, list[tuple[Step, str, Any]]]:
    training = plan.training.model_copy(update={field: value})
    return title, replace(plan, training=training), [("training", field, value)]


def _shard_weights(change: MemoryChange) -> MemoryChange | None:
    """Return the change that shards the weights across the GPUs."""
    plan = change.plan
    model = plan.model.model_copy(update={"sharding": "shard"})
    after = replace(plan, model=model)
    if plan.kind != "cuda" or is_sharded(plan) or not is_sharded(after):
        return None
    return _add_change(
        change, text("Weights sharded across the GPUs"), after, [("model", "sharding", "shard")]
    )


def _quantize(change: MemoryChange) -> MemoryChange | None:
    """Return the change to 4-bit; not on Apple's GPUs, nor for initializations that need exact
    weights."""
    plan = change.plan
    done = plan.precision == "4bit" or plan.inspected.prequantized is not None
    done = done or (plan.processes > 1 and plan.model.sharding == "shard")  # 4-bit can't be sharded
    if done or plan.kind == "mps" or plan.lora.changes_base:
        return None
    model = plan.model.model_copy(update={"precision": "4bit"})
    return _add_change(change, text("4-bit weights"), replace(plan, model=model), [("model", "precision", "4bit")])  # fmt: skip


def _shorten_sequences(change: MemoryChange) -> MemoryChange | None:
    """Return the change to the longest sequence length that fits, by bisection."""
    plan = change.plan
    fitting, too_long = 0, min(plan.limit, max(plan.rows.longest, _SHORTEST)) // _GRAIN
    while too_long - fitting > 1:
        middle = (fitting + too_long) // 2
        if estimate(replace(plan, limit=middle * _GRAIN)).fits:
            fitting = middle
        else:
            too_long = middle
    limit = fitting * _GRAIN
    if limit < _SHORTEST:
        return None
    title = text(
        "Max. sequence length {limit} (truncates {share:percent} of the rows)",
        limit=limit,
        share=plan.rows.compute_share_over(limit),
    )
    return _add_change(
        change, title, replace(plan, limit=limit), [("dataset", "max_length", limit)]
    )


def _add_change(
    change: MemoryChange, title: Text, plan: MemoryPlan, fields: list[tuple[Step, str, Any]]
) -> MemoryChange:
    """Return a change with one more setting added."""
    remaining = tuple(
        item for item in change.changes if item[:2] not in {each[:2] for each in fields}
    )
    both = text("{first}, {second}", first=change.title, second=title) if change.title else title
    return MemoryChange(both, (*remaining, *fields), plan)


# How many tokens to compute at once: more than the largest micro-batch has, where memory allows it.
#
# Each micro-batch reads all weights, dequantizes 4-bit ones, and starts every operation, whatever the number
# of its tokens. The rows of a step can share fewer micro-batches without changing the result, except for rounding.

#: Kind of device -> tokens from which a larger micro-batch is at most a few percent faster. On a Xeon with AMX,
#: 16 rows of about 85 tokens at once take a fifth less processor time than in two halves (SmolLM2-135M in 16 bits);
#: in 32 bits or without AMX, no more time.
_ENOUGH = {"cuda": 8192, "cpu": 2048}

#: Share of the free memory that a larger micro-batch may use: estimates are off by up to 15 %.
_USABLE = 0.8

_TOKEN_GRAIN = 256


def fill_micro_batches(plan: MemoryPlan) -> MemoryPlan:
    """Return the plan with the tokens up to which short rows fill micro-batches.

    On GPUs with CUDA and CPUs, where rows of supervised training are packed; elsewhere, or if memory is short,
    the plan stays as it is.
    """
    if not can_fill(plan):
        return plan
    most = min(_ENOUGH[plan.kind], plan.step_tokens)
    sizes = (
        [*range(plan.tokens + _TOKEN_GRAIN, most, _TOKEN_GRAIN), most] if most > plan.tokens else []
    )
    count = bisect.bisect_left(sizes, 1, key=lambda tokens: int(not _has_room(plan, tokens)))
    return replace(plan, least_tokens=sizes[count - 1]) if count else plan


def can_fill(plan: MemoryPlan) -> bool:
    """Return whether the rows of a step can share micro-batches on this device."""
    trains_head = any("head" in name for name in plan.lora.modules_to_save)
    is_supervised = TASKS[plan.rows.task].is_supervised
    return plan.kind in _ENOUGH and plan.training.packing and is_supervised and not trains_head


def _has_room(plan: MemoryPlan, tokens: int) -> bool:
    larger = estimate(replace(plan, least_tokens=tokens))
    return larger.available is not None and larger.total <= _USABLE * larger.available
