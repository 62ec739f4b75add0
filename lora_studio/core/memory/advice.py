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
    """Settings that reduce a training's memory: a description, the changes as step, field and value, and the
    plan with them.
    """

    plan: MemoryPlan
    title: Text = NO_TEXT
    changes: tuple[tuple[Step, str, Any], ...] = ()

    @property
    def fix(self) -> Fix:
        """The change as a fix that applies with one click; its label is short, however many settings change."""
        (step, field, value), *others = self.changes
        label = text("Reduce memory use")
        return Fix(label=label, step=step, field=field, value=value, also=tuple(others))

    def add_settings(self, title: Text, *fields: tuple[Step, str, Any]) -> MemoryChange:
        """Return the change with further settings."""
        plan = self.plan
        for step, name, value in fields:
            spec = None if step == "dataset" else getattr(plan, step)
            changed: Any = spec and {step: spec.model_copy(update={name: value})}
            plan = replace(plan, **(changed or {"limit": value}))
        names = {each[:2] for each in fields}
        kept = (each for each in self.changes if each[:2] not in names)
        if self.title:
            title = text("{first}, {second}", first=self.title, second=title)
        return MemoryChange(plan, title, (*kept, *fields))


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
    change = MemoryChange(plan)
    yield from _with_smaller_micro_batch(change)
    for title, field in _list_steps(plan):
        change = change.add_settings(title, field)
        yield change
        yield from _with_smaller_micro_batch(change)
    for longest in (MemoryChange(plan), _with_micro_batch(change, 1)):
        if limit := _find_longest_limit(longest.plan):
            title = text("Max. sequence length {limit}", limit=limit)
            if not TASKS[plan.rows.task].is_document:  # those are split
                title = text(
                    "Max. sequence length {limit} (truncates {share:percent} of the rows)",
                    limit=limit,
                    share=plan.rows.compute_share_over(limit),
                )
            yield longest.add_settings(title, ("dataset", "max_length", limit))


def _list_steps(plan: MemoryPlan) -> Iterator[tuple[Text, tuple[Step, str, Any]]]:
    """Yield the settings that this plan can still change, by rising cost."""
    if not plan.checkpoints:
        yield text("Gradient checkpointing"), ("training", "gradient_checkpointing", "on")
    if plan.training.optimizer == "adamw" and plan.kind != "mps":
        yield text("8-bit AdamW"), ("training", "optimizer", "adamw_8bit")
    sharded = replace(plan, model=plan.model.model_copy(update={"sharding": "shard"}))
    is_shardable = plan.kind == "cuda" and not is_sharded(plan) and is_sharded(sharded)
    if is_shardable:
        yield text("Weights sharded across the GPUs"), ("model", "sharding", "shard")
    is_quantized = plan.precision == "4bit" or plan.inspected.prequantized is not None
    # 4-bit weights can't be sharded. Apple's GPUs have none, and some initializations need exact ones.
    stays = is_shardable or (plan.processes > 1 and plan.model.sharding == "shard")
    if not (is_quantized or stays or plan.kind == "mps" or plan.lora.changes_base):
        yield text("4-bit weights"), ("model", "precision", "4bit")


def _with_smaller_micro_batch(change: MemoryChange) -> Iterator[MemoryChange]:
    """Yield the change to the largest smaller micro-batch that fits, if there is one."""
    size = find_largest_micro_batch(change.plan)
    if size is not None and size < change.plan.training.micro_batch:
        yield _with_micro_batch(change, size)


def _with_micro_batch(change: MemoryChange, size: int) -> MemoryChange:
    accumulation = with_micro_batch(change.plan, size).training.gradient_accumulation
    return change.add_settings(
        text("Micro-batch {size} × accumulation {accumulation}", size=size, accumulation=accumulation),
        ("training", "micro_batch", size),
        ("training", "gradient_accumulation", accumulation),
    )  # fmt: skip


def _find_longest_limit(plan: MemoryPlan) -> int | None:
    """Return the longest sequence length that fits, by bisection; None if it is too short to be useful."""
    fitting, too_long = 0, min(plan.limit, max(plan.rows.longest, _SHORTEST)) // _GRAIN
    while too_long - fitting > 1:
        middle = (fitting + too_long) // 2
        if estimate(replace(plan, limit=middle * _GRAIN)).fits:
            fitting = middle
        else:
            too_long = middle
    limit = fitting * _GRAIN
    return limit if limit >= _SHORTEST else None


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
