"""Derive an Ollama TEMPLATE with stop strings from any chat template, and prove the texts equal.

The chat template is probed (`probing`), written as a Go template (`emitter`) and compared with it
on other conversations (`proof`). No model is recognized by name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from itertools import product
from typing import Any, Literal

from jinja2 import nodes

from lora_studio.core.messages import Text, listed, text
from lora_studio.core.templates.chat_template import ChatTemplate
from lora_studio.core.templates.emitter import (
    MARK,
    CallForms,
    emit_template,
    find_call_mark,
    find_thinking_marks,
)
from lora_studio.core.templates.go.rendering import GoTemplateError
from lora_studio.core.templates.probing.decision_trees import (
    DatePart,
    FieldPart,
    FixedPart,
    Form,
    NotDerivableError,
    Part,
    ProbedFact,
    ProbeSample,
    Role,
    SystemPart,
    ValuePart,
    fit_by_position,
    iter_parts,
    remove_system_text,
    remove_thinking_cut,
)
from lora_studio.core.templates.probing.probe_conversations import (
    CONTENT_BESIDE_CALLS_SHAPES,
    IN_CONTENT,
    PLAIN,
    UNUSUAL,
    WITH_CALLS,
    WITH_THOUGHTS,
    WITH_TOOLS,
    ProbeConversation,
    SystemState,
    count_calls,
)
from lora_studio.core.templates.probing.prober import (
    THINK_NAMES,
    Prober,
    ProbeRenderer,
    find_result_style,
    probe_calls,
    probe_tools,
    try_render,
)
from lora_studio.core.templates.proof import (
    DAYS,
    ProofCase,
    TemplateAbilities,
    TemplateProof,
    generate_cases,
    list_differences,
    simplify,
)
from lora_studio.core.templates.server.rendering import Message, merge_messages
from lora_studio.core.templates.server.terms import (
    CONTENT_BESIDE_CALLS,
    IRREGULAR,
    SEVERAL_CALLS,
    RenderDifference,
    ServerNeed,
    TemplateAlternative,
    TemplateFeature,
)
from lora_studio.core.templates.server.terms import DerivedTemplate as DerivedTemplate

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
    suspected = find_suspects(template)
    groups = [[construct] for construct in suspected]
    groups += [suspected] if len(suspected) > 1 else []
    for group in groups:
        reduced = attempt(remove_constructs(template, group))
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


# Find the construct of a chat template that a Go template cannot express, by removing it.
#
# Each suspect is replaced in the syntax tree: a filter by its operand, a test of a text by false. If
# the rest can be derived and proven, that construct was the obstacle.

#: Filters and methods that a derived TEMPLATE can express, or that don't change text.
_EXPRESSED = frozenset(
    {"trim", "strip", "lstrip", "rstrip", "tojson", "string", "safe", "list", "items", "keys", "length",
     "count", "default", "d", "get", "append", "first", "last", "map", "selectattr", "rejectattr",
     "select", "reject", "namespace", "split"}
)  # fmt: skip

#: Methods and tests that inspect a text and return a boolean.
_LOOKS = frozenset(
    {"startswith", "endswith", "isdigit", "isalpha", "isupper", "islower", "isspace"}
)

MOST = 12


@dataclass(frozen=True)
class Construct:
    """One construct, by its number in the tree; `kind` describes it."""

    number: int
    line: int
    kind: Text

    @property
    def title(self) -> Text:
        """Return the construct with its line."""
        return text("{construct} in line {line:d}", construct=self.kind, line=self.line)


def find_suspects(template: ChatTemplate) -> list[Construct]:
    """Return the constructs that may prevent a derivation, in the order of the source."""
    suspected = []
    for number, node in enumerate(_walk(template.tree)):
        if kind := _describe(node):
            suspected.append(Construct(number, node.lineno, kind))
    return suspected[:MOST]


def remove_constructs(template: ChatTemplate, constructs: list[Construct]) -> ChatTemplate:
    """Return the chat template without these constructs."""
    numbers = {construct.number for construct in constructs}
    tree = template.tree
    for number, node in reversed([*enumerate(_walk(tree))]):
        if number in numbers:
            _replace(tree, node, _harmless(node))
    return template.with_tree(tree)


def _walk(node: nodes.Node) -> Iterator[nodes.Node]:
    yield node
    for child in node.iter_child_nodes():
        yield from _walk(child)


def _describe(node: nodes.Node) -> Text | None:
    match node:
        case nodes.Filter(name=name) if name not in _EXPRESSED:
            return text("the filter {name}", name=name)
        case nodes.Call(node=nodes.Getattr(attr=attr)) if attr not in _EXPRESSED:
            is_method = attr in _LOOKS or hasattr(str, attr)
            return text("the method {name}", name=attr) if is_method else None
        case nodes.Compare(ops=[nodes.Operand(op="in" | "notin")], expr=nodes.Const(value=str())):
            return text("a search in a text")
        case nodes.Compare(expr=nodes.Getattr(attr="index" | "index0" | "revindex")) if any(
            isinstance(item.expr, nodes.Const) and item.expr.value not in (0, 1)
            for item in node.ops
        ):
            return text("a comparison with the number of a message")
        case nodes.Getitem(arg=nodes.Slice()):
            return text("a slice of a text or list")
    return None


def _harmless(node: nodes.Node) -> nodes.Node:
    """Return the replacement of a removed construct."""
    match node:
        case nodes.Filter(node=nodes.Node() as operand):
            return operand
        case nodes.Call(node=nodes.Getattr(attr=attr, node=operand)) if attr not in _LOOKS:
            return operand
        case nodes.Getitem(node=operand):
            return operand
    return nodes.Const(False, lineno=node.lineno)


def _replace(tree: nodes.Node, old: nodes.Node, new: nodes.Node) -> None:
    for parent in _walk(tree):
        for name in parent.fields:
            value = getattr(parent, name)
            if value is old:
                setattr(parent, name, new)
                return
            if isinstance(value, list):
                for index, item in enumerate(value):
                    if item is old:
                        value[index] = new
                        return


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
            plan = plan.with_abilities(empty_system=False)
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
    return plan.with_abilities(features=frozenset(features))


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
        without = plan.with_abilities(**dict.fromkeys(conceded, False))
        proven = _learn_and_prove(without, frozen)
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
        proof = TemplateProof(plan.prober, template, may_refuse_tools=not plan.able.refused_tools)
    except GoTemplateError as error:
        raise NotDerivableError(
            "the derived TEMPLATE is invalid: {error}", error=str(error)
        ) from error
    days = [frozen] if frozen else DAYS if dated else DAYS[:2]
    able = replace(plan.able, thinks_in_answers=thinks, system=plan.refuses_system is None)
    checked, difference = proof.run(generate_cases(able), days)
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


#: What may have to be omitted around calls; each counts as a limit.
WITHOUT = (
    frozenset({CONTENT_BESIDE_CALLS}),
    frozenset({SEVERAL_CALLS}),
    frozenset({CONTENT_BESIDE_CALLS, SEVERAL_CALLS}),
)


def keep_possible(features: frozenset[TemplateFeature]) -> frozenset[TemplateFeature]:
    """Return the features that go together: calls explain their results, and users can follow results only."""
    if TemplateFeature.CALLS in features:
        return features - {TemplateFeature.RESULTS}
    if TemplateFeature.RESULTS in features:
        return features
    return features - {TemplateFeature.INTERRUPTIONS}


@dataclass(frozen=True)
class DerivationPlan:
    """The results of probing a chat template: its samples, and the facts that may explain them."""

    prober: Prober
    samples: tuple[ProbeSample, ...]
    facts: tuple[ProbedFact, ...]
    systems: tuple[SystemState, ...]
    refuses_system: ProbedFact | None = None
    able: TemplateAbilities = field(default_factory=TemplateAbilities)
    tools_refused: Text | None = None
    left_out: tuple[Text, ...] = ()
    forbidden: frozenset[Text] = frozenset()

    @property
    def features(self) -> frozenset[TemplateFeature]:
        """Return the features that its TEMPLATE is to have."""
        return self.able.features

    def with_abilities(self, **changes: Any) -> DerivationPlan:
        """Return the plan with other abilities."""
        return replace(self, able=replace(self.able, **changes))

    def with_features(self, features: frozenset[TemplateFeature]) -> DerivationPlan:
        """Return the plan with the samples and facts that these features need."""
        features = keep_possible(features)
        plan = self.with_abilities(features=features)
        if not features:
            return plan
        if TemplateFeature.CALLS in features:
            plan = plan._with_what_calls_allow()
        facts: list[ProbedFact] = []
        if TemplateFeature.TOOLS in features:
            if self.tools_refused:
                raise NotDerivableError(self.tools_refused)
            facts.append(ProbedFact.TOOLS)
        if TemplateFeature.CALLS in features:
            facts += [ProbedFact.CALLS, ProbedFact.AFTER_TOOL, ProbedFact.CONTENT]
        if TemplateFeature.RESULTS in features:
            facts.append(ProbedFact.AFTER_TOOL)
        if TemplateFeature.THOUGHTS in features:
            facts.append(ProbedFact.THOUGHT)
        if TemplateFeature.SWITCH in features:
            facts.append(ProbedFact.NO_THINK)
        if TemplateFeature.BEGINNINGS in features:
            facts += [ProbedFact.LEADS, ProbedFact.BEFORE_USERS]
        if TemplateFeature.ENDINGS in features:
            facts += [ProbedFact.ANSWERED, ProbedFact.FINAL]
        facts += [*self.facts, ProbedFact.LATEST]
        if self.refuses_system is None:
            facts += [ProbedFact.SYSTEM, ProbedFact.MESSAGE]
        if TemplateFeature.CALLS in features:
            facts.append(ProbedFact.CALLED)
        if features & {TemplateFeature.CALLS, TemplateFeature.RESULTS}:
            facts.append(ProbedFact.RETURNED)
        samples = [*self.samples]
        for talk in plan._conversations():
            samples += plan.observe(talk)
        return replace(plan, samples=tuple(samples), facts=tuple(dict.fromkeys(facts)))

    def _with_what_calls_allow(self) -> DerivationPlan:
        """Return the plan with what may accompany a call, and which of that is omitted."""
        several, beside = self._takes("u cc t t a u"), self._takes("u Cc t a u")
        left_out, prober = (*self.left_out, *sorted(self.forbidden, key=str)), self.prober
        if SEVERAL_CALLS in self.forbidden:
            several = False
        elif not several:
            rendered = try_render(
                prober,
                ProbeConversation(
                    "u cc t t a u", tools=2 * (TemplateFeature.TOOLS in self.features)
                ),
            )
            if rendered and "Zn0nZ" in rendered and "Zn1nZ" not in rendered:
                prober = replace(prober, first_call_only=True, _seen={})
                several = True
            else:
                left_out = (*left_out, SEVERAL_CALLS)
        if self.prober.style.matched:
            left_out = (*left_out, text("results in a different order than their calls"))
        if CONTENT_BESIDE_CALLS in self.forbidden:
            beside = False
        elif beside and not self._observes("u Cc t a u"):
            # Some chat templates write that answer after the results of the calls.
            beside, left_out = False, (*left_out, CONTENT_BESIDE_CALLS)
        elif not beside:
            left_out = (*left_out, CONTENT_BESIDE_CALLS)
        thoughtful = beside and self._takes("u Cck t")
        if beside and not thoughtful and TemplateFeature.THOUGHTS in self.features:
            reasoning = text("reasoning in a message with both an answer and tool calls")
            left_out = (*left_out, reasoning)
        able = replace(
            self.able,
            several_calls=several,
            content_beside_calls=beside,
            thoughts_beside_content=thoughtful,
        )
        return replace(self, prober=prober, able=able, left_out=left_out)

    def _observes(self, shape: str) -> bool:
        """Return whether probing can tell which message wrote which text."""
        try:
            self.prober.samples(
                ProbeConversation(shape, tools=2 * (TemplateFeature.TOOLS in self.features))
            )
        except NotDerivableError:
            return False
        return True

    def observe(self, talk: ProbeConversation) -> list[ProbeSample]:
        try:
            return self.prober.samples(talk)
        except NotDerivableError:
            raise
        except Exception as error:  # foreign code may raise anything
            raise NotDerivableError(
                "the chat template rejects the conversation “{shape}”: {error}",
                shape=talk.shape,
                error=str(error),
            ) from error

    def _takes(self, shape: str) -> bool:
        """Return whether the template accepts a shape and writes all of its calls."""
        tools = 1 if TemplateFeature.TOOLS in self.features else 0
        rendered = try_render(self.prober, ProbeConversation(shape, tools=tools))
        calls = sum(map(count_calls, shape.split()))
        return rendered is not None and all(f"Zn{number}nZ" in rendered for number in range(calls))

    def _conversations(self) -> Iterator[ProbeConversation]:
        has_feature = self.features.__contains__
        # A single tool doesn't show whether each tool or the whole list is written.
        counts = (3, 2) if has_feature(TemplateFeature.TOOLS) else ()
        switch = (None, False) if has_feature(TemplateFeature.SWITCH) else (None,)
        for system in self.systems:
            for think in switch:
                for tools in counts:
                    for shape in WITH_TOOLS:
                        yield ProbeConversation(shape, system, tools, think=think)
                if has_feature(TemplateFeature.CALLS):
                    for shape in self._shapes_with_calls():
                        yield ProbeConversation(shape, system, counts[1] if counts else 0, think)
                        for thoughtful in self._with_thoughts(shape):
                            yield ProbeConversation(
                                thoughtful, system, counts[1] if counts else 0, think
                            )
                if think is False:
                    for shape in PLAIN[:3]:
                        yield ProbeConversation(shape, system, think=think)
                if has_feature(TemplateFeature.THOUGHTS):
                    for shape in WITH_THOUGHTS:
                        yield ProbeConversation(shape, system, think=think)
            if has_feature(TemplateFeature.BEGINNINGS) and has_feature(TemplateFeature.ENDINGS):
                yield ProbeConversation("a u a", system)
        takes_empty = self.refuses_system is None and self.able.empty_system
        empty: tuple[SystemState, ...] = ("empty",) if takes_empty else ()
        if has_feature(TemplateFeature.INTERRUPTIONS):
            code = "c" if has_feature(TemplateFeature.CALLS) else "a"
            for system, think in product(self.systems, switch):
                for shape in (f"u {code} t u", f"u {code} t u a u", f"u a u {code} t u"):
                    yield ProbeConversation(shape, system, counts[1] if counts else 0, think)
        for feature, shapes in UNUSUAL.items():
            if has_feature(feature):
                systems = dict.fromkeys((*self.systems, *empty))
                for shape, system, think in product(shapes, systems, switch):
                    yield ProbeConversation(shape, system, think=think)
                    if has_feature(TemplateFeature.TOOLS) and feature is TemplateFeature.BEGINNINGS:
                        yield ProbeConversation(shape, system, 2, think)

    def _with_thoughts(self, shape: str) -> Iterator[str]:
        """Yield the shape with reasoning in every message that can have it, in the first, and in
        the last.
        """
        if TemplateFeature.THOUGHTS not in self.features:
            return
        written = "a|C?c+" if self.able.thoughts_beside_content else "a|c+"
        able = [match.end() for match in re.finditer(rf"\b({written})\b", shape)]
        for places in dict.fromkeys([tuple(able), tuple(able[:1]), tuple(able[-1:])]):
            yield "".join(letter + "k" * (end in places) for end, letter in enumerate(shape, 1))

    def _shapes_with_calls(self) -> Iterator[str]:
        for shape in (
            *WITH_CALLS,
            *(CONTENT_BESIDE_CALLS_SHAPES if self.able.content_beside_calls else ()),
        ):
            if self.able.several_calls or "cc" not in shape:
                yield shape

    def tree(self, role: Role) -> Form | None:
        """Return the decision tree for one kind of message; None if there are no samples."""
        samples = [sample for sample in self.samples if sample.role == role]
        return fit_by_position(samples, self.facts) if samples else None

    def marks(self, bos: str) -> list[str]:
        """Return the markers between an answer and the next turn; without any, the first line of
        that text.
        """
        marks: list[str] = []
        for sample in self.samples:
            if sample.role == "user" and not sample.facts & {ProbedFact.MESSAGE, ProbedFact.FIRST}:
                fixed = "".join(part.text for part in sample.turn if isinstance(part, FixedPart))
                lines = [line.strip() for line in fixed.split("\n") if line.strip()]
                marks += MARK.findall(fixed) or lines[:1]
        return [mark for mark in dict.fromkeys(marks) if mark != bos]
