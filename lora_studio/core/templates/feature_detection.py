"""Detect the features of a chat template, by rendering conversations with and without them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from lora_studio.core.templates.derivation_plan import DerivationPlan
from lora_studio.core.templates.features import TemplateFeature
from lora_studio.core.templates.probing.conversation_plan import (
    PLAIN,
    UNUSUAL,
)
from lora_studio.core.templates.probing.decision_trees import (
    NotDerivableError,
    ProbedFact,
    ProbeSample,
    remove_system_text,
)
from lora_studio.core.templates.probing.probe_conversations import (
    IN_CONTENT,
    ProbeConversation,
    SystemState,
)
from lora_studio.core.templates.probing.prober import THINK_NAMES, Prober
from lora_studio.core.templates.probing.tool_calls import (
    find_result_style,
    probe_calls,
    try_render,
)
from lora_studio.core.templates.probing.tools import probe_tools


def probe_template(prober: Prober) -> DerivationPlan:
    """Return the plan for a chat template, probed without, with and with an empty system message.

    Raises NotDerivableError.
    """
    absent, present, empty = (_try_samples(prober, state) for state in ("absent", "given", "empty"))
    position: tuple[ProbedFact, ...] = (ProbedFact.FIRST, ProbedFact.LAST)
    if isinstance(absent, Exception):
        raise NotDerivableError(
            "the chat template rejects a conversation without a system message: {error}",
            error=str(absent),
        ) from absent
    if isinstance(present, Exception):
        refuses = ProbedFact.MESSAGE if isinstance(empty, Exception) else ProbedFact.SYSTEM
        plan = DerivationPlan(prober, tuple(absent), position, ("absent",), refuses)
    elif isinstance(empty, Exception) or _same(empty, absent):
        facts: tuple[ProbedFact, ...] = (ProbedFact.SYSTEM, *position)
        plan = DerivationPlan(prober, (*absent, *present), facts, ("absent", "given"))
        if isinstance(empty, Exception):
            plan = replace(plan, takes_empty_system=False)
    elif _same(empty, present):
        facts = (ProbedFact.MESSAGE, *position)
        plan = DerivationPlan(prober, (*absent, *present), facts, ("absent", "given"))
    else:
        facts = (ProbedFact.SYSTEM, ProbedFact.MESSAGE, *position)
        samples = (*absent, *present, *empty)
        plan = DerivationPlan(prober, samples, facts, ("absent", "given", "empty"))
    return _detect_features(plan)


def _detect_features(plan: DerivationPlan) -> DerivationPlan:
    """Return the plan with all features that the chat template shows signs of."""
    features: set[TemplateFeature] = set()
    if _differs(plan.prober, ProbeConversation("u", tools=1), ProbeConversation("u")):
        features.add(TemplateFeature.TOOLS)
        plan = _with_separate_parameters(plan)
    if prober := probe_calls(plan.prober):
        features.add(TemplateFeature.CALLS)
    plan = replace(plan, prober=prober or plan.prober.with_style(find_result_style(plan.prober)))
    key = _thinking_key(plan.prober)
    style = replace(plan.prober.style, thoughts=key or IN_CONTENT)
    plan = replace(plan, prober=plan.prober.with_style(style))
    if key:
        features.add(TemplateFeature.THOUGHTS)
    for name in THINK_NAMES:
        switched = replace(plan.prober, think_name=name)
        on, off = ProbeConversation("u", think=True), ProbeConversation("u", think=False)
        texts = [try_render(switched, talk) for talk in (ProbeConversation("u"), on, off)]
        # A template that thinks only on request needs no change: servers request it of every model
        # that can think.
        if texts[0] == texts[1] != texts[2] and None not in texts:
            plan = replace(plan, prober=switched)
            features.add(TemplateFeature.SWITCH)
            break
    for feature, shapes in UNUSUAL.items():
        rendered = try_render(plan.prober, ProbeConversation(shapes[0]))
        if rendered is not None and (feature is not TemplateFeature.RESULTS or "Zt2" in rendered):
            features.add(feature)
    interrupted = "u c t u a u" if TemplateFeature.CALLS in features else "u a t u a u"
    if try_render(plan.prober, ProbeConversation(interrupted)) is not None:
        features.add(TemplateFeature.INTERRUPTIONS)
    if not features & {TemplateFeature.CALLS, TemplateFeature.RESULTS}:
        features.discard(TemplateFeature.INTERRUPTIONS)
    if plan.refuses_system is not None:
        features.discard(TemplateFeature.SYSTEMS)
    return replace(plan, features=frozenset(features))


def _with_separate_parameters(plan: DerivationPlan) -> DerivationPlan:
    """Return the plan with the form of tool parameters that are not written as a single JSON value."""
    try:
        offer = probe_tools(plan.prober)
    except NotDerivableError as error:
        return replace(plan, tools_refused=error.reason)
    return replace(plan, prober=replace(plan.prober, offer=offer, _seen={})) if offer else plan


def _differs(prober: Prober, one: ProbeConversation, two: ProbeConversation) -> bool:
    first, second = try_render(prober, one), try_render(prober, two)
    return first is not None and first != second


def _thinking_key(prober: Prober) -> str:
    """Return the message key from which the chat template reads reasoning, "" if none."""
    for key in ("reasoning_content", "thinking", "reasoning", "thought"):
        keyed = replace(prober, style=replace(prober.style, thoughts=key))
        for shape in ("u ck t", "u ak u", "u ak"):
            if "kZ" in (try_render(keyed, ProbeConversation(shape)) or ""):
                return key
    return ""


def _try_samples(prober: Prober, system: SystemState) -> list[ProbeSample] | Exception:
    samples: list[ProbeSample] = []
    for shape in PLAIN:
        try:
            samples += prober.samples(ProbeConversation(shape, system))
        except NotDerivableError:
            raise
        except Exception as error:  # foreign code may raise anything
            return error
    return samples


def _same(empty: Sequence[ProbeSample], other: Sequence[ProbeSample]) -> bool:
    return all(
        remove_system_text(a.turn) == remove_system_text(b.turn)
        for a, b in zip(empty, other, strict=True)
    )
