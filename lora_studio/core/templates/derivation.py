"""Write the TEMPLATE of a plan and prove it, learning from conversations on which it fails."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any, Literal

from lora_studio.core.messages import Text, text
from lora_studio.core.templates.derivation_plan import DerivationPlan
from lora_studio.core.templates.features import ServerNeed, TemplateFeature
from lora_studio.core.templates.go.rendering import GoTemplateError
from lora_studio.core.templates.probing.decision_trees import (
    DatePart,
    FieldPart,
    NotDerivableError,
    Part,
    SystemPart,
    ValuePart,
    iter_parts,
    remove_thinking_cut,
)
from lora_studio.core.templates.probing.probe_conversations import (
    ProbeConversation,
)
from lora_studio.core.templates.proof import TemplateProof
from lora_studio.core.templates.proof_cases import (
    DAYS,
    ProofCase,
    TemplateAbilities,
    generate_cases,
    simplify,
)
from lora_studio.core.templates.server.data import merge_messages
from lora_studio.core.templates.server.terms import RenderDifference
from lora_studio.core.templates.writing.emitter import CallForms, emit_template
from lora_studio.core.templates.writing.marks import find_call_mark, find_thinking_marks

#: The most conversations to learn from after failed proofs.
MOST_LESSONS = 12

#: What a proof may omit, by ability: its feature, and the limit as a message.
CONCESSIONS = {
    "terse_tools": (
        TemplateFeature.TOOLS,
        text("a tool without parameters or with incomplete descriptions"),
    ),
    "nested_arguments": (
        TemplateFeature.CALLS,
        text("an argument that is a list, an object, or null"),
    ),
    "empty_arguments": (TemplateFeature.CALLS, text("a tool call without arguments")),
    "refused_tools": (TemplateFeature.TOOLS, text("tools that the chat template rejects")),
}


@dataclass(frozen=True)
class ProvenTemplate:
    """A TEMPLATE and the outcome of its comparison; `difference` is None if there was none."""

    template: str
    conversations: int
    difference: RenderDifference | None
    system: Literal["used", "ignored", "refused"]
    covers: tuple[TemplateFeature, ...]
    limits: tuple[Text, ...]
    needs: tuple[ServerNeed, ...]


def prove(plan: DerivationPlan, frozen: date | None) -> ProvenTemplate:
    """Return the TEMPLATE of a plan, compared with the chat template.

    Features that make it differ are omitted if permitted (CONCESSIONS), then reasoning inside
    answers. A `frozen` date is written instead of the current one. Raises NotDerivableError.
    """
    proven = _learn_and_prove(plan, frozen)
    conceded: tuple[str, ...] = ()
    while proven.difference is not None:
        cause = next((name for name in _causes(plan, proven) if name not in conceded), None)
        if cause is None:
            # Reasoning left in earlier answers is an acceptable limit; other differences are not.
            plain = tuple(replace(s, turn=remove_thinking_cut(s.turn)) for s in plan.samples)
            return _prove_once(replace(plan, samples=plain), frozen)
        conceded = (*conceded, cause)
        changes: dict[str, Any] = dict.fromkeys(conceded, False)
        proven = _learn_and_prove(replace(plan, **changes), frozen)
    given_up = tuple(CONCESSIONS[name][1] for name in conceded)
    return replace(proven, limits=(*given_up, *proven.limits))


def _causes(plan: DerivationPlan, proven: ProvenTemplate) -> Iterator[str]:
    """Yield the abilities without which the conversation of a failed proof renders equally."""
    assert proven.difference is not None
    proof = TemplateProof(plan.prober, proven.template)
    case, today = ProofCase.from_difference(proven.difference), proven.difference.today
    for name, (feature, _) in CONCESSIONS.items():
        if feature not in plan.features:
            continue
        simpler = case if name == "refused_tools" else simplify(name, case)
        prepared = replace(simpler, messages=merge_messages(simpler.messages))
        if name == "refused_tools":
            if case.tools and proof.render_original(prepared, today) is None:
                yield name
        elif simpler != case and proof.find_difference(prepared, simpler, today) is None:
            yield name


def _learn_and_prove(plan: DerivationPlan, frozen: date | None) -> ProvenTemplate:
    """Prove the TEMPLATE; after each failure, add a conversation of that shape to the samples and
    retry.
    """
    learned = set[ProbeConversation]()
    for _ in range(MOST_LESSONS):
        proven = _prove_once(plan, frozen)
        if proven.difference is None or not plan.features:
            return proven
        case = proven.difference
        talk = ProbeConversation.like(
            merge_messages(case.messages), 2 if case.tools else 0, case.think
        )
        if talk in learned:
            return proven
        learned.add(talk)
        plan = replace(plan, samples=(*plan.samples, *plan.observe(talk)))
    return proven


def _prove_once(plan: DerivationPlan, frozen: date | None) -> ProvenTemplate:
    user, assistant, tail = plan.tree("user"), plan.tree("assistant"), plan.tree("tail")
    assert user is not None
    assert assistant is not None
    assert tail is not None
    parts = [part for sample in plan.samples for part in iter_parts(sample.turn)]
    fields = [part for part in parts if isinstance(part, FieldPart)]
    dated = any(isinstance(part, DatePart) for part in parts) and frozen is None
    thinks = any(part.after_think is not None for part in fields)
    others = plan.tree("tool"), plan.tree("system")
    marks = find_thinking_marks(plan.samples), find_call_mark(plan.samples)
    template = emit_template(
        CallForms(user, assistant, tail, *others, plan.refuses_system, frozen, *marks)
    )
    try:
        proof = TemplateProof(plan.prober, template, may_refuse_tools=not plan.refused_tools)
    except GoTemplateError as error:
        raise NotDerivableError(
            "the derived TEMPLATE is invalid: {error}", error=str(error)
        ) from error
    days = [frozen] if frozen else DAYS if dated else DAYS[:2]
    checked, difference = proof.run(generate_cases(_abilities(plan, thinks)), days)
    used: Literal["used", "ignored"] = (
        "used" if any(isinstance(part, SystemPart) for part in parts) else "ignored"
    )
    return ProvenTemplate(
        template=template,
        conversations=checked,
        difference=difference,
        system="refused" if plan.refuses_system else used,
        covers=tuple(feature for feature in TemplateFeature if feature in plan.features),
        limits=plan.left_out,
        needs=tuple(_needs(parts, dated=dated, thinks=thinks)),
    )


def _needs(parts: Sequence[Part], *, dated: bool, thinks: bool) -> Iterator[ServerNeed]:
    """Yield the server features that these parts require."""
    if dated:
        yield ServerNeed.DATE
    if thinks or any(isinstance(part, ValuePart) and part.layout for part in parts):
        yield ServerNeed.RANGE
    if FieldPart("ToolCallID") in parts or any(
        isinstance(part, ValuePart) and part.name == "id" for part in parts
    ):
        yield ServerNeed.CALL_IDS
    elif FieldPart("ToolName") in parts:
        yield ServerNeed.TOOL_NAMES


def _abilities(plan: DerivationPlan, thinks: bool) -> TemplateAbilities:
    return TemplateAbilities(
        thinks_in_answers=thinks,
        tools=TemplateFeature.TOOLS in plan.features,
        calls=TemplateFeature.CALLS in plan.features,
        several_calls=plan.several_calls,
        content_beside_calls=plan.content_beside_calls,
        thoughts_beside_content=plan.thoughts_beside_content,
        terse_tools=plan.terse_tools,
        nested_arguments=plan.nested_arguments,
        empty_arguments=plan.empty_arguments,
        thoughts=TemplateFeature.THOUGHTS in plan.features,
        switch=TemplateFeature.SWITCH in plan.features,
        results=TemplateFeature.RESULTS in plan.features,
        interruptions=TemplateFeature.INTERRUPTIONS in plan.features,
        systems=TemplateFeature.SYSTEMS in plan.features,
        endings=TemplateFeature.ENDINGS in plan.features,
        beginnings=TemplateFeature.BEGINNINGS in plan.features,
        system=plan.refuses_system is None,
        empty_system=plan.takes_empty_system,
    )
