"""The result of a self-test as text: a short badge and a full description."""

from __future__ import annotations

from lora_studio.core import formatting
from lora_studio.core.messages import NO_TEXT
from lora_studio.core.protocol import events
from lora_studio.gui.language import tr, tr_n
from lora_studio.gui.message_translation import localize

_GLYPHS: dict[events.Verdict, str] = {"passed": "✓", "lossy": "⚠", "failed": "✗"}


def format_badge(event: events.SelfTested) -> str:
    """Return the short form of a self-test: `✓ top-1 98.7 %, KL 0.004`, or the first fault."""
    if event.top1 is None or event.kl is None:
        fault = localize(event.cause or (event.faults[0] if event.faults else NO_TEXT))
        return f"{_GLYPHS[event.verdict]} {fault}"
    kl = f"{event.kl:.2g}".replace("e-0", "e-")
    return f"{_GLYPHS[event.verdict]} top-1 {formatting.format_percent(event.top1)}, KL {kl}"


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
    lines = [agreement, tr("KL divergence: {kl:.3g} nats.").format(kl=kl)]
    if event.top1_limit is not None and event.kl_limit is not None:
        limits = tr("Limits: top-1 agreement at least {top1}, KL divergence at most {kl:.3g} nats.")
        top1_limit = formatting.format_percent(event.top1_limit)
        lines.append(limits.format(top1=top1_limit, kl=event.kl_limit))
    if event.basis:
        lines.append(tr("Basis: {reason}.").format(reason=localize(event.basis)))
    lines.append(
        tr("The token IDs are identical.") if event.tokens_equal else tr("The token IDs differ.")
    )
    return lines
