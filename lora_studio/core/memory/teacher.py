"""What a teacher takes before a training: memory, time, and disk space for its probabilities."""

from __future__ import annotations

from dataclasses import replace

from lora_studio.core.memory.logits import count_logits_at_once
from lora_studio.core.memory.plan import BYTES, MemoryPlan
from lora_studio.core.memory.weights import estimate_dequantized_bytes, estimate_process_bytes

#: 32-bit copies of a chunk of logits, for the softmax.
_COPIES = 2

#: Intermediate results of a layer in memory at a time, of its hidden size and of its widest product.
_HIDDEN, _WIDEST = 6, 3


def has_teacher(plan: MemoryPlan) -> bool:
    """Return whether a training learns from a teacher whose size is known."""
    return plan.teacher is not None and plan.training.distills(plan.rows.task)


def estimate_teacher_bytes(plan: MemoryPlan) -> int:
    """Return the peak memory of the teacher's passes; 0 without a teacher."""
    if plan.teacher is None or not has_teacher(plan):
        return 0
    spec = plan.training.make_teacher_spec(plan.model)
    own = replace(plan, inspected=plan.teacher, model=spec, teacher=None, ranks=1)
    tokens = plan.rows.count_padded_tokens(plan.training.micro_batch, plan.limit)
    shape, size = own.shape, own.bytes_each
    widest = max(shape.intermediate_size, shape.expert_size * shape.experts_per_token)
    states = tokens * size * (_HIDDEN * own.inspected.hidden_size + _WIDEST * widest)
    whole = round(plan.rows.trained * tokens * own.inspected.vocabulary)
    logits = (size + _COPIES * BYTES["fp32"]) * min(
        whole, count_logits_at_once(own.kind, own.device.total_bytes)
    )
    weights = estimate_process_bytes(own) + estimate_dequantized_bytes(own)
    return weights + states + logits + plan.fixed_bytes


def estimate_teacher_seconds(plan: MemoryPlan) -> float:
    """Return the time of the teacher's passes at the speed of earlier trainings; 0 if that is unknown.

    A forward pass is half of a training step's work: the frozen weights need no gradient.
    """
    if plan.teacher is None or not has_teacher(plan) or not plan.tokens_per_s:
        return 0.0
    ratio = plan.teacher.parameters / max(1, plan.inspected.parameters)
    return plan.rows.tokens / plan.tokens_per_s * ratio / 2


def estimate_cache_bytes(plan: MemoryPlan) -> int:
    """Return the disk space of the teacher's probabilities of all training rows; 0 without a teacher."""
    if plan.teacher is None or not has_teacher(plan):
        return 0
    trained = plan.rows.trained * plan.rows.tokens
    return plan.training.estimate_cache_bytes(trained, plan.inspected.vocabulary)
