"""How many tokens to compute at once on a GPU: more than the largest micro-batch has, where memory allows it.

Each micro-batch reads all weights, and dequantizes 4-bit ones, whatever the number of its tokens. The rows
of a step can share fewer micro-batches without changing the result.
"""

from __future__ import annotations

import bisect
from dataclasses import replace

from lora_studio.core.memory.estimate import estimate
from lora_studio.core.memory.plan import MemoryPlan

#: Tokens from which reading the weights takes less than a few percent of the time.
_ENOUGH = 8192

#: Share of the free memory that a larger micro-batch may use: estimates are off by up to 15 %.
_USABLE = 0.8

_GRAIN = 256


def fill_micro_batches(plan: MemoryPlan) -> MemoryPlan:
    """Return the plan with the tokens up to which short rows fill micro-batches.

    On GPUs, where rows of supervised training are packed; elsewhere, or if memory is short, the plan stays
    as it is.
    """
    if not can_fill(plan):
        return plan
    sizes = range(plan.tokens + _GRAIN, min(_ENOUGH, plan.step_tokens) + _GRAIN, _GRAIN)
    count = bisect.bisect_left(sizes, 1, key=lambda tokens: int(not _has_room(plan, tokens)))
    return replace(plan, least_tokens=sizes[count - 1]) if count else plan


def can_fill(plan: MemoryPlan) -> bool:
    """Return whether the rows of a step can share micro-batches on this device."""
    trains_head = any("head" in name for name in plan.lora.modules_to_save)
    is_supervised = plan.rows.task in ("sft", "text")
    return plan.kind == "cuda" and plan.training.packing and is_supervised and not trains_head


def _has_room(plan: MemoryPlan, tokens: int) -> bool:
    larger = estimate(replace(plan, least_tokens=tokens))
    return larger.available is not None and larger.total <= _USABLE * larger.available
