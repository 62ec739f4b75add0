"""The cosine similarity that the vectors of a stage must have to those that were trained."""

from __future__ import annotations

from lora_studio.core.export import QUANTIZATIONS, Quantization
from lora_studio.core.protocol.events import Verdict
from lora_studio.engine.selftest import limits

#: For weights of 16 bits and more: rounded to bfloat16, SmolLM2-135M had 0.996 at the lowest, and Q8_0 0.993.
EXACT = 0.98
#: A quantization with this similarity is usable without a check.
USABLE = 0.9

#: Both the divergence in nats and one minus the cosine grow with the square of small errors, so a quantization
#: may lose this much similarity per nat that it is expected to cost.
_LOSS_PER_NAT = 0.5
#: Every quantization may lose this much, and none more than `_MOST`: other vectors are hardly related.
_LEAST, _MOST = 0.05, 0.5


def get_limit(stage: str, parameters: int, *, is_own_loss: bool) -> float:
    """Return the least similarity that doesn't fail.

    `is_own_loss`: the file has the bytes of this model's own healthy quantization, whose conversion was proven.
    """
    known: dict[str, Quantization] = {name: name for name in QUANTIZATIONS}
    if limits.is_exact(stage):
        return EXACT
    if is_own_loss:
        return -1.0
    if QUANTIZATIONS[known[stage]].kl is None:
        return 1 - _MOST
    lost = _LOSS_PER_NAT * limits.estimate_divergence(known[stage], parameters)
    return 1 - min(max(lost, _LEAST), _MOST)


def judge(least: float | None, limit: float, *, has_faults: bool) -> Verdict:
    """Return the verdict on the lowest similarity of a stage, None if there is none; NaN fails."""
    if has_faults or least is None or not least >= limit:
        return "failed"
    return "passed" if least >= USABLE else "lossy"
