"""The limits that a stage of the self-test must meet, and the verdict when it doesn't."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from lora_studio.core.export import QUANTIZATIONS, Quantization
from lora_studio.core.messages import NO_TEXT, Text, text
from lora_studio.core.protocol.events import Verdict


@dataclass(frozen=True)
class Limit:
    """Minimum top-1 agreement, maximum mean KL divergence in nats, and their source.

    `unjudged`: why the expected loss can't be distinguished from a fault; no file fails such a
    limit. `own`: the limit of a file made from a merged model that has lost nothing, if this one allows
    for such a loss.
    """

    top1: float
    kl: float
    source: Text = NO_TEXT
    unjudged: Text = NO_TEXT
    own: Limit | None = None

    def is_met(self, top1: float, kl: float) -> bool:
        """Return whether both limits are met; a NaN divergence meets none."""
        return top1 >= self.top1 and kl <= self.kl


#: For weights with the same values: merged in the base's precision, or GGUF of 16 bits or more.
EXACT = Limit(0.97, 0.001, text("the weights have the same values"))

#: The same where base + adapter is computed in 16 bits, whose own rounding is that large.
EXACT_IN_16_BITS = Limit(0.95, 0.01, text("the weights have the same values, computed in 16 bits"))


def get_tie(computed_in: str) -> float:
    """Return by how many nats the likeliest tokens must differ for a computation to tell which is likelier.

    Errors of σ in each logit give a mean KL divergence of about σ²/2, so the largest that correct weights may
    have allows for σ = √(2 KL), and for √2 σ in the difference of two logits.
    """
    base = EXACT if computed_in == "float32" else EXACT_IN_16_BITS
    return 2 * math.sqrt(base.kl)


#: A quantization within this limit is usable without a check: one top-1 token in five may differ.
USABLE = Limit(0.80, 0.20)

#: Parameters of the two models that `QuantFacts.kl` was measured with.
_SMALL, _LARGE = 135e6, 8.0e9

#: A correct file may diverge twice as much as expected at its size: model families differ that much.
_MARGIN = 2.0
_LEAST = 0.05

#: The share of different top-1 tokens is 0.45 · √KL (Llama 3 8B, from Q8_0 to Q2_K) to 0.6 · √KL
#: (SmolLM2-135M); limits use the larger one.
_OTHERS = 0.6

#: A limit on top-1 agreement below this couldn't tell a quantized file from noise.
_TELLING = 0.25

#: A KL divergence, in nats, larger than that of any meaningful distribution over tokens.
_NOISE = 50.0


def estimate_divergence(quantization: Quantization, parameters: float) -> float:
    """Return the mean KL divergence in nats that a quantization costs a model of this size.

    Between the two models with known losses it is a power of the number of parameters, KL(n) =
    KL(small) · (n / small)^−a; beyond them it equals theirs.
    """
    measured = QUANTIZATIONS[quantization].kl
    assert measured is not None, quantization
    small, large = measured
    share = math.log(parameters / _SMALL) / math.log(_LARGE / _SMALL)
    share = min(max(share, 0.0), 1.0)
    return float(small ** (1 - share) * large**share)


def get_quantization_limit(quantization: Quantization, parameters: float) -> Limit:
    """Return the limit beyond which a fault is more likely than quantization loss."""
    facts = QUANTIZATIONS[quantization]
    if facts.kl is None:
        return _create_unjudged(
            text(
                "it works only for {models}; other models would generate noise",
                models=facts.only_for,
            )
        )
    costs = estimate_divergence(quantization, parameters)
    kl = max(_LEAST, _MARGIN * costs)
    top1 = 1 - _OTHERS * math.sqrt(kl)
    if top1 < _TELLING:
        return _create_unjudged(
            text(
                "with so few bits, a model with {parameters:count} parameters is expected to lose "
                "{nats:.2g} nats, which can't be distinguished from an error",
                parameters=int(parameters),
                nats=costs,
            )
        )
    return Limit(
        top1,
        kl,
        text(
            "{nats:.2g} nats are expected at {parameters:count} parameters, interpolated between "
            "SmolLM2 135M (measured) and Llama 3 8B (published); twice that is allowed",
            nats=costs,
            parameters=int(parameters),
        ),
    )


#: For a file with the bytes of this model's own healthy quantization, whose conversion was proven.
OWN_LOSS = Limit(
    0.0,
    _NOISE,
    unjudged=text(
        "the file has the same values as a fresh quantization of what was trained, so this is the "
        "loss of the quantization itself"
    ),
)


def _create_unjudged(why: Text) -> Limit:
    return Limit(0.0, _NOISE, unjudged=why)


#: With few positions, one correct stage in a hundred may fail by chance.
_Z = 2.33


@dataclass(frozen=True)
class InheritedLoss:
    """What the merged model has lost to rounding: the top-1 agreement that is left, and nats."""

    top1: float = 1.0
    kl: float = 0.0


def get_limit(
    stage: str,
    computed_in: str,
    positions: int,
    parameters: float,
    inherited: InheritedLoss = InheritedLoss(),
) -> Limit:
    """Return the limit of a stage for this number of compared positions.

    `inherited` is what the merged model has lost to rounding; a GGUF file made from it may lose
    that too without a fault of its own, but doesn't pass then. A share p of n positions scatters by √(p (1 − p) / n): of 35, two may differ where one
    in twenty does. The divergence is a mean of small numbers and needs no such allowance.
    """
    known: dict[str, Quantization] = {name: name for name in QUANTIZATIONS}
    if stage in _EXACT_STAGES:
        base = EXACT if computed_in == "float32" else EXACT_IN_16_BITS
    else:
        base = get_quantization_limit(known[stage], parameters)
    own = replace(base, top1=_allow_scatter(base.top1, positions))
    if inherited == InheritedLoss():
        return own
    top1 = _allow_scatter(base.top1 * inherited.top1, positions)
    return replace(own, top1=top1, kl=base.kl + inherited.kl, own=own)


def _allow_scatter(top1: float, positions: int) -> float:
    scatter = math.sqrt(top1 * (1 - top1) / max(positions, 1))
    return max(0.0, top1 - _Z * scatter)


_EXACT_STAGES = frozenset(
    {"merged", "converted", *(n for n, facts in QUANTIZATIONS.items() if facts.bits >= 16)}
)


def is_exact(stage: str) -> bool:
    """Return whether a stage holds the merged values, apart from rounding."""
    return stage in _EXACT_STAGES


def judge(stage: str, least: Limit, top1: float, kl: float, *, faults: bool) -> Verdict:
    """Return the verdict on a measurement; `least` is the stage's `limit`.

    `failed`: something is wrong at this stage: other tokens, no stop, or a larger difference than
    this quantization explains. `lossy`: nothing is wrong, but so few bits cost so much that you
    should check the answers. A fault of the conversion can't hide in a wide limit or a missing one:
    the file that all quantizations are made from must meet EXACT.
    """
    if faults or not least.is_met(top1, kl):
        return "failed"
    return "passed" if get_passing_limit(stage, least).is_met(top1, kl) else "lossy"


def get_passing_limit(stage: str, least: Limit) -> Limit:
    """Return the limit within which a stage passes; beyond it, up to `least`, it is lossy."""
    own = least.own or least
    if stage in _EXACT_STAGES:
        return Limit(own.top1, own.kl)
    return Limit(max(own.top1, USABLE.top1), min(own.kl, USABLE.kl))
