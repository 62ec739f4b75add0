"""What a stage of the self-test must reach, and what it means when it does not."""

from __future__ import annotations

import math
from dataclasses import dataclass

from lora_studio.core.events import Verdict
from lora_studio.core.export import QUANTIZATIONS, Quantization


@dataclass(frozen=True)
class Limit:
    """Least top-1 agreement, largest mean KL divergence in nats."""

    top1: float
    kl: float

    def holds(self, top1: float, kl: float) -> bool:
        """Whether both are kept; a divergence that is no number keeps none."""
        return top1 >= self.top1 and kl <= self.kl


#: Of weights that hold the same values: merged in the base's precision, or GGUF of 16 bits or more.
EXACT = Limit(0.97, 0.001)

#: The same where base + adapter is computed in 16 bits, whose own rounding is that large.
EXACT_IN_16_BITS = Limit(0.95, 0.01)

#: What a quantisation can be used at without second thoughts: one likeliest token in five another.
USABLE = Limit(0.80, 0.20)

#: Mean KL divergence in nats that a quantisation cost Llama 3 8B, published with llama.cpp
#: (tools/perplexity/README.md), with an importance matrix where one is needed. Those without a
#: measurement were made for models trained so, and any other comes out as noise.
_COST: dict[Quantization, float] = {
    "Q8_0": 0.0014, "MXFP4_MOE": 0.08, "Q6_K": 0.0055, "Q5_1": 0.018, "Q5_K_M": 0.011,
    "Q5_K_S": 0.017, "Q5_0": 0.022, "Q4_1": 0.072, "Q4_K_M": 0.031, "IQ4_NL": 0.036,
    "Q4_K_S": 0.043, "Q4_0": 0.072, "IQ4_XS": 0.036, "Q3_K_L": 0.087, "Q3_K_M": 0.10,
    "IQ3_M": 0.10, "IQ3_S": 0.11, "Q3_K_S": 0.23, "IQ3_XS": 0.14, "IQ3_XXS": 0.18, "Q2_K": 0.45,
    "Q2_K_S": 0.40, "IQ2_M": 0.33, "IQ2_S": 0.44, "IQ2_XS": 0.55, "IQ2_XXS": 0.81, "IQ1_M": 1.4,
    "IQ1_S": 2.2,
}  # fmt: skip

#: Small models lose up to nine times as much: SmolLM2-135M 0.0068 nats at Q8_0, 0.13 at Q5_0, 0.33
#: at IQ4_XS and 0.96 at IQ3_M without a matrix (0.22 and 0.20 with one); 1,795 positions, weights
#: dithered to be free of any grid. Nearly twice that is allowed. A fault of the conversion itself
#: cannot hide in so much: the file that all are made of is held to EXACT.
_MARGIN = 16.0
_LEAST = 0.05

_NOISE = Limit(0.0, 50.0)


def _plausible(quantization: Quantization) -> Limit:
    """How far off a quantisation may be before it is likelier that something went wrong.

    In that table the share of other likeliest tokens is 0.45 · √KL within a tenth, from Q8_0 to
    Q2_K; a third more is allowed.
    """
    if quantization not in _COST:
        return _NOISE
    kl = max(_LEAST, _MARGIN * _COST[quantization])
    return Limit(max(0.0, 1 - 0.6 * math.sqrt(kl)), kl)


LIMITS: dict[str, Limit] = {name: _plausible(name) for name in QUANTIZATIONS}


#: One right stage in a hundred may be taken for a wrong one by the chance of few positions.
_Z = 2.33


def limit(stage: str, computed_in: str, positions: int) -> Limit:
    """What a stage cannot fall short of at so many positions unless something is wrong with it.

    A share p of n positions scatters by √(p (1 − p) / n): of 35, two may differ where one in twenty
    does. The divergence is a mean of small numbers and needs no such allowance.
    """
    if stage in _EXACT_STAGES:
        found = EXACT if computed_in == "float32" else EXACT_IN_16_BITS
    else:
        found = LIMITS[stage]
    scatter = math.sqrt(found.top1 * (1 - found.top1) / max(positions, 1))
    return Limit(max(0.0, found.top1 - _Z * scatter), found.kl)


_EXACT_STAGES = frozenset(
    {"merged", "converted", *(n for n, facts in QUANTIZATIONS.items() if facts.bits >= 16)}
)


def verdict(stage: str, least: Limit, top1: float, kl: float, *, faults: bool) -> Verdict:
    """What a measurement means; `least` is the stage's `limit`.

    `failed`: something is wrong on the way to this stage: other tokens, no stop, or further from
    what was trained than this quantisation can take it. `lossy`: nothing is wrong, but so few bits
    cost more than anyone should take without looking.
    """
    if faults or not least.holds(top1, kl):
        return "failed"
    return "passed" if stage in _EXACT_STAGES or USABLE.holds(top1, kl) else "lossy"
