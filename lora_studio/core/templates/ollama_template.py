"""From any chat template to an Ollama TEMPLATE with stop strings, proven equal at text level.

The chat template is probed (template_probe), written down as a Go template (template_emit) and
compared with it on other conversations (template_proof). There is no table of known models.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import date

from lora_studio.core import formatting
from lora_studio.core.templates import constructs
from lora_studio.core.templates.chat_template import ChatTemplate
from lora_studio.core.templates.derivation import (
    WITHOUT,
    DerivationPlan,
    ProvenTemplate,
    TemplateFeature,
)
from lora_studio.core.templates.probing.decision_trees import NotDerivableError
from lora_studio.core.templates.probing.prober import ODD_PADDING, Prober, ProbeRenderer
from lora_studio.core.templates.server.data import Message
from lora_studio.core.templates.server.terms import DerivedTemplate as DerivedTemplate
from lora_studio.core.templates.server.terms import TemplateAlternative

__all__ = ["DerivedTemplate", "TemplateAlternative", "derive", "derive_from"]

MOST_STOPS = 6


def derive(
    render: ProbeRenderer,
    *,
    bos: str = "",
    server_adds_bos: bool = False,
    eos: Iterable[str] = (),
    frozen_date: date | None = None,
) -> DerivedTemplate:
    """Derives and proves a TEMPLATE for the chat template behind `render`.

    `render` raises for what the template refuses; keywords it gets (strftime_now, tools) must reach
    the template. `server_adds_bos` says that the server puts `bos` in front by itself, so that the
    TEMPLATE must not. `frozen_date` writes that day in place of the current one: for servers
    without currentDate, and for date forms that a TEMPLATE cannot write.
    """
    try:
        render, sample, notes = _accepted(render)
        strip = bos if server_adds_bos and sample.startswith(bos) else ""
        plan, proven, left_out = _with_any_padding(Prober(render, strip), frozen_date)
    except NotDerivableError as error:
        return DerivedTemplate(reason=f"{_sentence(error)}.")
    limits = proven.limits
    if server_adds_bos and bos and not strip:
        limits = (f"the server puts {bos} in front, the chat template does not", *limits)
    return DerivedTemplate(
        template=proven.template,
        stops=tuple(dict.fromkeys([*eos, *plan.marks(bos)]))[:MOST_STOPS],
        proven=proven.difference is None,
        conversations=proven.conversations,
        first_difference=proven.difference,
        reason="" if proven.difference is None else "The two templates write different texts.",
        system=proven.system,
        tools="$.Tools" in proven.template,
        thinking=".Thinking" in proven.template,
        covers=proven.covers,
        notes=(*notes, *left_out),
        limits=limits,
        needs=proven.needs,
    )


def _with_any_padding(
    prober: Prober, frozen: date | None
) -> tuple[DerivationPlan, ProvenTemplate, list[str]]:
    """The plan, what it yields and why more is left out; odd white space is probed where the usual
    leads to nothing. Raises NotDerivableError."""
    usual: tuple[DerivationPlan, ProvenTemplate, list[str]] | NotDerivableError
    try:
        plan = DerivationPlan.probe(prober)
        usual = plan, *_richest(plan, frozen)
    except NotDerivableError as error:
        usual = error
    if isinstance(usual, NotDerivableError) or usual[1].difference is not None:
        with contextlib.suppress(NotDerivableError):
            plan = DerivationPlan.probe(replace(prober, padding=ODD_PADDING, _seen={}))
            proven, left_out = _richest(plan, frozen)
            if proven.difference is None:
                return plan, proven, left_out
    if isinstance(usual, NotDerivableError):
        raise usual
    return usual


def _richest(plan: DerivationPlan, frozen: date | None) -> tuple[ProvenTemplate, list[str]]:
    """The proven TEMPLATE with the most features, and why others are left out.

    Everything at once is tried first. Where that fails, features are added one by one, so that each
    that is left out has a reason of its own.
    """
    try:
        proven = plan.with_features(plan.features).prove(frozen)
        if proven.difference is None or not plan.features:
            return proven, []
    except NotDerivableError:
        if not plan.features:
            raise
    proven = plan.with_features(frozenset()).prove(frozen)
    kept, notes = frozenset[TemplateFeature](), list[str]()
    if proven.difference is not None:
        return proven, []
    for feature in (feature for feature in TemplateFeature if feature in plan.features):
        reason = ""
        for forbidden in (plan.forbidden, *(WITHOUT if feature is TemplateFeature.CALLS else ())):
            less = replace(plan, forbidden=forbidden)
            try:
                richer = less.with_features(kept | {feature}).prove(frozen)
            except NotDerivableError as error:
                reason = reason or str(error)
                continue
            if (difference := richer.difference) is None:
                kept, proven, plan = kept | {feature}, richer, less
                break
            reason = reason or f"{difference.expected!r} would become {difference.actual!r}"
        else:
            if feature.is_usual:
                notes.append(f"left out: {feature.value}, since {reason}")
    return proven, notes


def derive_from(
    template: ChatTemplate,
    *,
    bos: str = "",
    server_adds_bos: bool = False,
    eos: Iterable[str] = (),
    frozen_date: date | None = None,
) -> DerivedTemplate:
    """The same for a chat template whose source is at hand, so that what hinders can be named.

    Where nothing is proven, the nearest TEMPLATE that is comes as the alternative: with a fixed
    date, or for the chat template without the construct that Go cannot express.
    """

    def attempt(made: ChatTemplate, day: date | None = frozen_date) -> DerivedTemplate:
        return derive(
            made.render, bos=bos, server_adds_bos=server_adds_bos, eos=eos, frozen_date=day
        )

    derived = attempt(template)
    if derived.proven:
        return derived
    today = date.today()
    if frozen_date is None and "strftime_now" in template.source:
        fixed = attempt(template, today)
        if fixed.proven:
            other = TemplateAlternative(
                what=f"with {today:%d %B %Y} as a fixed date", derived=fixed
            )
            return derived.model_copy(update={"alternative": other})
    suspected = constructs.suspects(template)
    groups = [[construct] for construct in suspected]
    groups += [suspected] if len(suspected) > 1 else []
    for group in groups:
        found = attempt(constructs.without(template, group))
        if found.proven:
            names = formatting.listed([str(construct) for construct in group])
            other = TemplateAlternative(what=f"without {names}", derived=found)
            reason = f"{derived.reason.rstrip('.')}: a Go template cannot express {names}."
            return derived.model_copy(update={"reason": reason, "alternative": other})
    return derived


def _accepted(render: ProbeRenderer) -> tuple[ProbeRenderer, str, tuple[str, ...]]:
    """The renderer that accepts our messages, its text for a greeting, and notes about it.

    Templates of models that see pictures may want a content as a list of parts; those of models
    that call tools may want a list of tools, even an empty one.
    """
    refusal = "it leaves the message out"
    for renderer, *notes in _renderers(render):
        try:
            text = renderer([{"role": "user", "content": "Zu0uZ"}], True)
        except Exception as error:  # foreign code may raise anything
            if refusal == "it leaves the message out":
                refusal = str(error) or type(error).__name__
            continue
        if "Zu0uZ" in text:
            return renderer, text, tuple(notes)
    raise NotDerivableError(f"the chat template refuses a single user message: {refusal}")


def _renderers(render: ProbeRenderer) -> Iterator[tuple[ProbeRenderer] | tuple[ProbeRenderer, str]]:
    yield (render,)

    def in_parts(messages: list[Message], add_generation_prompt: bool, **variables: object) -> str:
        return render([_in_parts(m) for m in messages], add_generation_prompt, **variables)

    yield (in_parts,)

    def with_list(messages: list[Message], add_generation_prompt: bool, **variables: object) -> str:
        return render(messages, add_generation_prompt, **({"tools": []} | variables))

    yield with_list, "without tools the chat template was given an empty list of tools"


def _in_parts(message: Mapping[str, object]) -> Message:
    content = message["content"]
    if not content and "tool_calls" in message:
        return {**message}
    return {**message, "content": [{"type": "text", "text": content}]}


def _sentence(error: NotDerivableError) -> str:
    text = str(error).rstrip(".")
    return text[:1].upper() + text[1:]
