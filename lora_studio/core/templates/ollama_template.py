"""Derive an Ollama TEMPLATE with stop strings from any chat template, and prove the texts equal.

The chat template is probed (`probing`), written as a Go template (`writing`) and compared with it
on other conversations (`proof`). No model is recognized by name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import date

from lora_studio.core.messages import Text, listed, text
from lora_studio.core.templates import constructs
from lora_studio.core.templates.chat_template import ChatTemplate
from lora_studio.core.templates.derivation import ProvenTemplate, prove
from lora_studio.core.templates.derivation_plan import WITHOUT, DerivationPlan, keep_possible
from lora_studio.core.templates.feature_detection import probe_template
from lora_studio.core.templates.features import IRREGULAR, TemplateFeature
from lora_studio.core.templates.known_differences import list_differences
from lora_studio.core.templates.probing.decision_trees import NotDerivableError
from lora_studio.core.templates.probing.prober import Prober, ProbeRenderer
from lora_studio.core.templates.proof import TemplateProof
from lora_studio.core.templates.proof_cases import DAYS
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
    """Return a TEMPLATE for the chat template behind `render`, with the outcome of its proof.

    `render` raises for conversations that the chat template rejects, and passes keywords
    (strftime_now, tools) on. With `server_adds_bos`, the server writes `bos` itself, so the
    TEMPLATE must not. `frozen_date` is written instead of the current date, for servers without
    currentDate and for date formats that a TEMPLATE cannot write.
    """
    try:
        render, sample, notes = _accepted(render)
        strip = bos if server_adds_bos and sample.startswith(bos) else ""
        plan = probe_template(Prober(render, strip))
        proven, left_out = _richest(plan, frozen_date)
    except NotDerivableError as error:
        return DerivedTemplate(reason=error.reason)
    proof = TemplateProof(plan.prober, proven.template)
    day = frozen_date or DAYS[0]
    limits = tuple(dict.fromkeys([*proven.limits, *list_differences(proof, day)]))
    if server_adds_bos and bos and not strip:
        limits = (text("the server starts with {bos}, the chat template doesn't", bos=bos), *limits)
    return DerivedTemplate(
        template=proven.template,
        stops=tuple(dict.fromkeys([*eos, *plan.marks(bos)]))[:MOST_STOPS],
        proven=proven.difference is None,
        conversations=proven.conversations,
        first_difference=proven.difference,
        reason=text("the two templates write different texts" if proven.difference else ""),
        system=proven.system,
        tools="$.Tools" in proven.template,
        thinking=".Thinking" in proven.template,
        covers=proven.covers,
        notes=(*notes, *left_out),
        limits=limits,
        needs=proven.needs,
    )


def _richest(plan: DerivationPlan, frozen: date | None) -> tuple[ProvenTemplate, list[Text]]:
    """Return the proven TEMPLATE with the most features, and why others are omitted.

    All features at once are tried first, then without those that few chat templates write in a
    regular form. If that fails, they are added one by one, so that each omitted one has its own
    reason.
    """
    irregular = frozenset({TemplateFeature.INTERRUPTIONS}), frozenset(IRREGULAR)
    for omitted in (frozenset[TemplateFeature](), *irregular):
        features = keep_possible(plan.features - omitted)
        if omitted and not plan.features & omitted:
            continue
        try:
            proven = prove(plan.with_features(features), frozen)
            if proven.difference is None or not plan.features:
                return proven, []
        except NotDerivableError:
            if not plan.features:
                raise
    proven = prove(plan.with_features(frozenset()), frozen)
    included, notes = frozenset[TemplateFeature](), list[Text]()
    if proven.difference is not None:
        return proven, []
    for feature in (feature for feature in TemplateFeature if feature in plan.features):
        if feature not in keep_possible(included | {feature}):
            continue
        richer = _with_feature(plan, included, feature, frozen)
        if isinstance(richer, Text):
            if feature.is_usual:
                notes.append(
                    text(
                        "omitted: {feature}, because {reason}",
                        feature=feature.description,
                        reason=richer,
                    )
                )
        else:
            included, (plan, proven) = included | {feature}, richer
    return proven, notes


def _with_feature(
    plan: DerivationPlan,
    included: frozenset[TemplateFeature],
    feature: TemplateFeature,
    frozen: date | None,
) -> tuple[DerivationPlan, ProvenTemplate] | Text:
    """Return the plan and the proven TEMPLATE with one more feature, or why it can't be added."""
    reason: Text | None = None
    for forbidden in (plan.forbidden, *(WITHOUT if feature is TemplateFeature.CALLS else ())):
        without_feature = replace(plan, forbidden=forbidden)
        try:
            richer = prove(without_feature.with_features(included | {feature}), frozen)
        except NotDerivableError as error:
            reason = reason or error.reason
            continue
        if (difference := richer.difference) is None:
            return without_feature, richer
        reason = reason or text(
            "{expected} would become {actual}",
            expected=repr(difference.expected),
            actual=repr(difference.actual),
        )
    assert reason is not None
    return reason


def derive_from(
    template: ChatTemplate,
    *,
    bos: str = "",
    server_adds_bos: bool = False,
    eos: Iterable[str] = (),
    frozen_date: date | None = None,
) -> DerivedTemplate:
    """Return a TEMPLATE as `derive` does, and name the obstacle if it is not proven.

    The alternative is then the nearest proven TEMPLATE: with a fixed date, or for the chat template
    without the construct that Go cannot express.
    """

    def attempt(variant: ChatTemplate, day: date | None = frozen_date) -> DerivedTemplate:
        return derive(
            variant.render, bos=bos, server_adds_bos=server_adds_bos, eos=eos, frozen_date=day
        )

    derived = attempt(template)
    if derived.proven:
        return derived
    today = date.today()
    if frozen_date is None and "strftime_now" in template.source:
        fixed = attempt(template, today)
        if fixed.proven:
            other = TemplateAlternative(
                what=text("with the fixed date {date:date}", date=today.isoformat()), derived=fixed
            )
            return derived.model_copy(update={"alternative": other})
    return _without_obstacle(template, derived, attempt)


def _without_obstacle(
    template: ChatTemplate,
    derived: DerivedTemplate,
    attempt: Callable[[ChatTemplate], DerivedTemplate],
) -> DerivedTemplate:
    """Return `derived` with the constructs that prevent its proof, and the TEMPLATE without them."""
    suspected = constructs.find_suspects(template)
    groups = [[construct] for construct in suspected]
    groups += [suspected] if len(suspected) > 1 else []
    for group in groups:
        reduced = attempt(constructs.remove_constructs(template, group))
        if reduced.proven:
            names = listed([construct.title for construct in group])
            other = TemplateAlternative(
                what=text("without {constructs}", constructs=names), derived=reduced
            )
            reason = text(
                "{reason}: a Go template can't express {constructs}",
                reason=derived.reason,
                constructs=names,
            )
            return derived.model_copy(update={"reason": reason, "alternative": other})
    return derived


def _accepted(render: ProbeRenderer) -> tuple[ProbeRenderer, str, tuple[Text, ...]]:
    """Return a renderer that accepts our messages, its text for a greeting, and notes about it.

    Templates of vision models may need the content as a list of parts; those of models that call
    tools may need a list of tools, even an empty one.
    """
    refusal: str | None = None
    for renderer, *notes in _renderers(render):
        try:
            text = renderer([{"role": "user", "content": "Zu0uZ"}], True)
        except Exception as error:  # foreign code may raise anything
            refusal = refusal or str(error) or type(error).__name__
            continue
        if "Zu0uZ" in text:
            return renderer, text, tuple(notes)
    if refusal is None:
        raise NotDerivableError("the chat template omits a single user message")
    raise NotDerivableError(
        "the chat template rejects a single user message: {error}", error=refusal
    )


def _renderers(
    render: ProbeRenderer,
) -> Iterator[tuple[ProbeRenderer] | tuple[ProbeRenderer, Text]]:
    yield (render,)

    def in_parts(messages: list[Message], add_generation_prompt: bool, **variables: object) -> str:
        return render([_in_parts(m) for m in messages], add_generation_prompt, **variables)

    yield (in_parts,)

    def with_list(messages: list[Message], add_generation_prompt: bool, **variables: object) -> str:
        return render(messages, add_generation_prompt, **({"tools": []} | variables))

    yield with_list, text("without tools, the chat template gets an empty list of tools")


def _in_parts(message: Mapping[str, object]) -> Message:
    content = message["content"]
    if (not content and "tool_calls" in message) or isinstance(content, list):
        return {**message}
    return {**message, "content": [{"type": "text", "text": content}]}
