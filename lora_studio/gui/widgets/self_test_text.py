"""The result of a self-test as text: a short badge and a full description."""

from __future__ import annotations

from lora_studio.core import formatting
from lora_studio.core.export import QUANTIZATIONS
from lora_studio.core.messages import NO_TEXT
from lora_studio.core.protocol import events
from lora_studio.gui.language import tr, tr_n
from lora_studio.gui.message_translation import localize

#: Stages whose weights aren't quantized.
_EXACT = {
    "merged", "converted", *(name for name, facts in QUANTIZATIONS.items() if facts.bits >= 16)
}  # fmt: skip
_GLYPHS: dict[events.Verdict, str] = {"passed": "✓", "lossy": "⚠", "failed": "✗"}


def format_badge(event: events.SelfTested) -> str:
    """Return the short form of a self-test, or the first fault.

    `✓ top-1 98.7 % (≥ 95 %), KL 0.004 (≤ 0.01)`: in parentheses the limits within which it passes.
    """
    if event.similarity is not None:
        return f"{_GLYPHS[event.verdict]} {_format_similarity(event, event.similarity)}"
    if event.top1 is None or event.kl is None:
        fault = localize(event.cause or (event.faults[0] if event.faults else NO_TEXT))
        return f"{_GLYPHS[event.verdict]} {fault}"
    top1, kl = formatting.format_percent(event.top1), _format_divergence(event.kl)
    if event.top1_passing is not None and event.kl_passing is not None:
        top1 = f"{top1} (≥ {formatting.format_percent(event.top1_passing)})"
        kl = f"{kl} (≤ {_format_divergence(event.kl_passing)})"
    return f"{_GLYPHS[event.verdict]} top-1 {top1}, KL {kl}"


def _format_similarity(event: events.SelfTested, least: float) -> str:
    """Return `cosine 0.9998 (≥ 0.99)`: the lowest similarity, and the least that passes."""
    value = f"{tr('cosine')} {formatting.format_float(least, '.4f')}"
    if event.similarity_limit is None:
        return value
    return f"{value} (≥ {formatting.format_float(event.similarity_limit, '.2f')})"


def _format_divergence(nats: float) -> str:
    return formatting.format_float(nats, ".2g").replace("e-0", "e-")


def _format_nats(nats: float) -> str:
    return formatting.format_float(nats, ".3g")


def describe_self_test(event: events.SelfTested) -> str:
    """Return the full form of a self-test, one sentence per line."""
    verdict = {
        "passed": tr("Passed the self-test."),
        "lossy": tr("Matches the trained adapter, with some quality loss."),
        "failed": tr("Failed the self-test."),
    }[event.verdict]
    lines = [verdict]
    if event.faults:
        differences = "; ".join(localize(fault) for fault in event.faults)
        lines.append(tr("What differs: {differences}.").format(differences=differences))
    if event.top1 is not None and event.kl is not None:
        lines += _describe_measurement(event, event.top1, event.kl)
    if event.similarity is not None:
        cosine = tr(
            "The vectors of held-out texts have a cosine similarity of at least {value} to the trained ones."
        )
        lines.append(cosine.format(value=formatting.format_float(event.similarity, ".4f")))
    if event.similarity_mean is not None:
        mean = tr("On average it is {value}.")
        lines.append(mean.format(value=formatting.format_float(event.similarity_mean, ".4f")))
    if event.compared:
        lines.append(f"{localize(event.compared)}.")
    if event.cause:
        lines.append(tr("Most likely cause: {cause}.").format(cause=localize(event.cause)))
    if event.remedy:
        lines.append(localize(event.remedy))
    return "\n".join(lines)


def _describe_measurement(event: events.SelfTested, top1: float, kl: float) -> list[str]:
    agreement = tr(
        "Top-1 agreement with base model + adapter: {top1} of {tokens} in {conversations}."
    ).format(
        top1=formatting.format_percent(top1),
        tokens=tr_n("{n} answer token", "{n} answer tokens", event.positions),
        conversations=tr_n("{n} conversation", "{n} conversations", event.conversations),
    )
    lines = [agreement, tr("KL divergence: {kl} nats.").format(kl=_format_nats(kl))]
    if event.top1_passing is not None and event.kl_passing is not None:
        lines.append(
            tr("It passes with a top-1 agreement of at least {top1} and at most {kl} nats.").format(
                top1=formatting.format_percent(event.top1_passing),
                kl=_format_nats(event.kl_passing),
            )
        )
        lines.append(
            tr("Its weights should be exactly those of the training, so its limits are strict.")
            if event.stage in _EXACT
            else tr("A quantization changes all weights, so more differences are expected.")
        )
    if event.top1_limit is not None and event.kl_limit is not None:
        limits = tr("It fails with a top-1 agreement below {top1} or above {kl} nats.")
        top1_limit = formatting.format_percent(event.top1_limit)
        lines.append(limits.format(top1=top1_limit, kl=_format_nats(event.kl_limit)))
    if event.basis:
        lines.append(tr("Basis: {reason}.").format(reason=localize(event.basis)))
    lines.append(
        tr("The token IDs are identical.") if event.tokens_equal else tr("The token IDs differ.")
    )
    return lines
