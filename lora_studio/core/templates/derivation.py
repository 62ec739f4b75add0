"""What is to be derived: probes, the trees fitted to them, and the proof of what they yield."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from enum import StrEnum
from itertools import product
from typing import Any, Literal

from lora_studio.core.templates.go.rendering import GoTemplateError
from lora_studio.core.templates.probing.decision_trees import (
    DatePart,
    FieldPart,
    FixedPart,
    Form,
    NotDerivableError,
    ProbedFact,
    ProbeSample,
    Role,
    SystemPart,
    ValuePart,
    parts_of,
    without_system_text,
    without_thoughts,
)
from lora_studio.core.templates.probing.positions import by_place
from lora_studio.core.templates.probing.probe_conversations import (
    ProbeConversation,
    SystemState,
    calls_in,
)
from lora_studio.core.templates.probing.prober import Prober
from lora_studio.core.templates.probing.tool_calls import calling, text_of
from lora_studio.core.templates.probing.tools import offered
from lora_studio.core.templates.proof import (
    DAYS,
    ProofCase,
    TemplateAbilities,
    TemplateProof,
    cases,
    without,
)
from lora_studio.core.templates.server.data import prepare
from lora_studio.core.templates.server.terms import RenderDifference
from lora_studio.core.templates.writing.emitter import CallForms, emit
from lora_studio.core.templates.writing.marks import MARK, call_mark, thought_marks

PLAIN = ("u", "u a u", "u a u a u", "u a u a u a u", "u a u a u a u a u")
WITH_TOOLS = ("u", "u a u", "u a u a u")
#: Several calls first: one call alone does not show where a call begins and ends.
WITH_CALLS = (
    "u cc t t a u", "u ccc t t t", "u c t", "u c t a u", "u c t c t", "u c t cc t t", "u c t c t a u",
    "u a u c t",
    "u c t a u c t", "u a u c t a u",
)  # fmt: skip
CONTENT_BESIDE_CALLS = (
    "u Ccc t t a u",
    "u Cc t",
    "u Cc t a u",
    "u c t Cc t",
    "u c t Ccc t t",
    "u c t a u Cc t",
)
#: Of a system text between others, a conversation that ends or begins with an answer.
UNUSUAL = {
    "SYSTEMS": ("u a s u", "u s a u", "u a u s a u", "u a s u a u"),
    "ENDINGS": ("u a", "u a u a", "u a u a u a"),
    "BEGINNINGS": ("a u", "a u a u", "a u a u a u"),
}
WITH_THOUGHTS = ("u ak u", "u ak u ak u", "u a u ak u")
#: What calls may have to be derived without, told as limits.
SEVERAL_CALLS = "several calls in one message"
ANSWER_BESIDE_CALLS = "an answer beside calls"
WITHOUT = (
    frozenset({ANSWER_BESIDE_CALLS}),
    frozenset({SEVERAL_CALLS}),
    frozenset({ANSWER_BESIDE_CALLS, SEVERAL_CALLS}),
)
#: What a TEMPLATE can need of a server.
DATE_NEED = "Ollama 0.11 or later (currentDate)"
RANGE_NEED = "Ollama 0.6 or later (range over a number)"
ID_NEED = "Ollama 0.12 or later (ids of calls)"
NAME_NEED = "Ollama 0.9.6 or later (names of the tools that results are of)"
#: The release from which a server has it; names of tools came with 0.9.6 (`tool_name` of its messages).
RELEASES = {DATE_NEED: (0, 11), RANGE_NEED: (0, 6), ID_NEED: (0, 12), NAME_NEED: (0, 9, 6)}
#: How often a proof that fails may ask for one more conversation to learn from.
MOST_LESSONS = 12


class TemplateFeature(StrEnum):
    """What a chat template may do beyond users, answers and system texts."""

    CALLS = "calls of tools and their results"
    TOOLS = "the list of tools"
    SWITCH = "the thinking switch"
    THOUGHTS = "thoughts of earlier answers"
    SYSTEMS = "system messages between others"
    ENDINGS = "a conversation that ends with an answer"
    BEGINNINGS = "a conversation that begins with an answer"

    @property
    def is_usual(self) -> bool:
        """Whether its lack is worth a note; the others are told among the limits."""
        return self.name not in UNUSUAL


#: What a proof may leave out, by the name of the ability: of which feature it is, and the limit.
CONCESSIONS = {
    "terse_tools": (
        TemplateFeature.TOOLS,
        "a tool without parameters, or with less than full descriptions",
    ),
    "nested_arguments": (TemplateFeature.CALLS, "an argument that is a list, an object or null"),
    "empty_arguments": (TemplateFeature.CALLS, "a call without arguments"),
    "refused_tools": (TemplateFeature.TOOLS, "tools that the chat template refuses"),
}


@dataclass(frozen=True)
class ProvenTemplate:
    """A TEMPLATE and how it compared; `difference` is None when it did not differ."""

    template: str
    conversations: int
    difference: RenderDifference | None
    system: Literal["used", "ignored", "refused"]
    covers: tuple[str, ...]
    limits: tuple[str, ...]
    needs: tuple[str, ...]


@dataclass(frozen=True)
class DerivationPlan:
    """What plain probing found out, which facts trees may ask about, and which features to add."""

    prober: Prober
    samples: tuple[ProbeSample, ...]
    facts: tuple[ProbedFact, ...]
    systems: tuple[SystemState, ...]
    refuses_system: ProbedFact | None = None
    features: frozenset[TemplateFeature] = frozenset()
    tools_refused: str = ""
    several_calls: bool = True
    content_beside_calls: bool = True
    thoughts_beside_content: bool = True
    left_out: tuple[str, ...] = ()
    terse_tools: bool = True
    nested_arguments: bool = True
    empty_arguments: bool = True
    refused_tools: bool = True
    takes_empty_system: bool = True
    forbidden: frozenset[str] = frozenset()

    @classmethod
    def probe(cls, prober: Prober) -> DerivationPlan:
        """Renders the probe conversations without, with and with an empty system message."""
        absent, given, empty = (
            _try_samples(prober, state) for state in ("absent", "given", "empty")
        )
        place: tuple[ProbedFact, ...] = (ProbedFact.FIRST, ProbedFact.LAST)
        if isinstance(absent, Exception):
            raise NotDerivableError(
                f"the chat template refuses a conversation without a system message: {absent}"
            ) from absent
        if isinstance(given, Exception):
            refuses = ProbedFact.MESSAGE if isinstance(empty, Exception) else ProbedFact.SYSTEM
            plan = cls(prober, tuple(absent), place, ("absent",), refuses)
        elif isinstance(empty, Exception) or _same(empty, absent):
            facts: tuple[ProbedFact, ...] = (ProbedFact.SYSTEM, *place)
            plan = cls(prober, (*absent, *given), facts, ("absent", "given"))
            if isinstance(empty, Exception):
                refused = ("an empty system message, which the chat template refuses",)
                plan = replace(plan, takes_empty_system=False, left_out=refused)
        elif _same(empty, given):
            facts = (ProbedFact.MESSAGE, *place)
            plan = cls(prober, (*absent, *given), facts, ("absent", "given"))
        else:
            facts = (ProbedFact.SYSTEM, ProbedFact.MESSAGE, *place)
            samples = (*absent, *given, *empty)
            plan = cls(prober, samples, facts, ("absent", "given", "empty"))
        return plan._with_what_it_can_do()

    # ------------------------------------------------------------------------------- features

    def _with_what_it_can_do(self) -> DerivationPlan:
        """The plan with all features that the chat template shows any sign of."""
        found: set[TemplateFeature] = set()
        if self._differs(ProbeConversation("u", tools=1), ProbeConversation("u")):
            found.add(TemplateFeature.TOOLS)
            self = self._with_parameters_apart()
        plan = self
        if prober := calling(self.prober):
            found.add(TemplateFeature.CALLS)
            plan = replace(self, prober=prober)
        if thoughts := plan._thoughts_key():
            manner = replace(plan.prober.manner, thoughts=thoughts)
            plan = replace(plan, prober=replace(plan.prober, manner=manner))
            found.add(TemplateFeature.THOUGHTS)
        for name in ("enable_thinking", "thinking"):
            switched = replace(plan.prober, think_name=name)
            on, off = ProbeConversation("u", think=True), ProbeConversation("u", think=False)
            texts = [text_of(switched, talk) for talk in (ProbeConversation("u"), on, off)]
            # A template that thinks only when told to is left as it is: servers tell every model
            # that can think to do so.
            if texts[0] == texts[1] != texts[2] and None not in texts:
                plan = replace(plan, prober=switched)
                found.add(TemplateFeature.SWITCH)
                break
        for name, shapes in UNUSUAL.items():
            if text_of(plan.prober, ProbeConversation(shapes[0])) is not None:
                found.add(TemplateFeature[name])
        if self.refuses_system is not None:
            found.discard(TemplateFeature.SYSTEMS)
        return replace(plan, features=frozenset(found))

    def _with_parameters_apart(self) -> DerivationPlan:
        """The plan that knows how each parameter of a tool is written, where they are taken apart."""
        try:
            offer = offered(self.prober)
        except NotDerivableError as error:
            return replace(self, tools_refused=str(error))
        return replace(self, prober=replace(self.prober, offer=offer, _seen={})) if offer else self

    def _differs(self, one: ProbeConversation, two: ProbeConversation) -> bool:
        first, second = text_of(self.prober, one), text_of(self.prober, two)
        return first is not None and first != second

    def _thoughts_key(self) -> str:
        shapes = ("u ck t", "u ak u", "u ak")
        for key in ("reasoning_content", "thinking", "reasoning", "thought"):
            prober = replace(self.prober, manner=replace(self.prober.manner, thoughts=key))
            for shape in shapes:
                if "kZ" in (text_of(prober, ProbeConversation(shape)) or ""):
                    return key
        return ""

    def with_features(self, features: frozenset[TemplateFeature]) -> DerivationPlan:
        """The plan with the samples and facts that some features need."""
        plan = replace(self, features=features)
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
            facts += [ProbedFact.CALLED, ProbedFact.RETURNED]
        samples = [*self.samples]
        for talk in plan._talks():
            samples += plan._observed(talk)
        return replace(plan, samples=tuple(samples), facts=tuple(dict.fromkeys(facts)))

    def _with_what_calls_allow(self) -> DerivationPlan:
        """The plan that knows what may stand beside a call, and what of that is left out."""
        several, beside = self._takes("u cc t t a u"), self._takes("u Cc t a u")
        left_out, prober = (*self.left_out, *sorted(self.forbidden)), self.prober
        if SEVERAL_CALLS in self.forbidden:
            several = False
        elif not several:
            text = text_of(
                prober,
                ProbeConversation(
                    "u cc t t a u", tools=2 * (TemplateFeature.TOOLS in self.features)
                ),
            )
            if text and "Zn0nZ" in text and "Zn1nZ" not in text:
                prober = replace(prober, first_call_only=True, _seen={})
                several = True
            else:
                left_out = (*left_out, SEVERAL_CALLS)
        if self.prober.manner.matched:
            left_out = (*left_out, "results in another order than their calls")
        if ANSWER_BESIDE_CALLS in self.forbidden:
            beside = False
        elif beside and not self._observes("u Cc t a u"):
            # Some chat templates write that answer behind the results of the calls.
            beside, left_out = False, (*left_out, ANSWER_BESIDE_CALLS)
        elif not beside:
            left_out = (*left_out, ANSWER_BESIDE_CALLS)
        thoughtful = beside and self._takes("u Cck t")
        if beside and not thoughtful and TemplateFeature.THOUGHTS in self.features:
            left_out = (*left_out, "thoughts beside an answer and calls")
        return replace(
            self,
            prober=prober,
            several_calls=several,
            content_beside_calls=beside,
            thoughts_beside_content=thoughtful,
            left_out=left_out,
        )

    def _observes(self, shape: str) -> bool:
        """Whether it can be told which message wrote what."""
        try:
            self.prober.samples(
                ProbeConversation(shape, tools=2 * (TemplateFeature.TOOLS in self.features))
            )
        except NotDerivableError:
            return False
        return True

    def _observed(self, talk: ProbeConversation) -> list[ProbeSample]:
        try:
            return self.prober.samples(talk)
        except NotDerivableError:
            raise
        except Exception as error:  # foreign code may raise anything
            raise NotDerivableError(f"the chat template refuses “{talk.shape}”: {error}") from error

    def _takes(self, shape: str) -> bool:
        """Whether a shape is accepted, and every call of it written."""
        tools = 1 if TemplateFeature.TOOLS in self.features else 0
        text = text_of(self.prober, ProbeConversation(shape, tools=tools))
        calls = sum(map(calls_in, shape.split()))
        return text is not None and all(f"Zn{number}nZ" in text for number in range(calls))

    def _talks(self) -> Iterator[ProbeConversation]:
        has = self.features.__contains__
        # One tool alone does not show whether each or the whole list is written.
        counts = (3, 2) if has(TemplateFeature.TOOLS) else ()
        switch = (None, False) if has(TemplateFeature.SWITCH) else (None,)
        for system in self.systems:
            for think in switch:
                for tools in counts:
                    for shape in WITH_TOOLS:
                        yield ProbeConversation(shape, system, tools, think=think)
                if has(TemplateFeature.CALLS):
                    for shape in self._shapes_with_calls():
                        yield ProbeConversation(shape, system, counts[1] if counts else 0, think)
                        for thoughtful in self._with_thoughts(shape):
                            yield ProbeConversation(
                                thoughtful, system, counts[1] if counts else 0, think
                            )
                if think is False:
                    for shape in PLAIN[:3]:
                        yield ProbeConversation(shape, system, think=think)
                if has(TemplateFeature.THOUGHTS):
                    for shape in WITH_THOUGHTS:
                        yield ProbeConversation(shape, system, think=think)
            if has(TemplateFeature.BEGINNINGS) and has(TemplateFeature.ENDINGS):
                yield ProbeConversation("a u a", system)
        takes_empty = self.refuses_system is None and self.takes_empty_system
        empty: tuple[SystemState, ...] = ("empty",) if takes_empty else ()
        for name, shapes in UNUSUAL.items():
            if has(TemplateFeature[name]):
                systems = dict.fromkeys((*self.systems, *empty))
                for shape, system, think in product(shapes, systems, switch):
                    yield ProbeConversation(shape, system, think=think)
                    if has(TemplateFeature.TOOLS) and name == "BEGINNINGS":
                        yield ProbeConversation(shape, system, 2, think)

    def _with_thoughts(self, shape: str) -> Iterator[str]:
        """The shape with thoughts in every message that can have them, in the first, in the last."""
        if TemplateFeature.THOUGHTS not in self.features:
            return
        written = "a|C?c+" if self.thoughts_beside_content else "a|c+"
        able = [match.end() for match in re.finditer(rf"\b({written})\b", shape)]
        for places in dict.fromkeys([tuple(able), tuple(able[:1]), tuple(able[-1:])]):
            yield "".join(letter + "k" * (end in places) for end, letter in enumerate(shape, 1))

    def _shapes_with_calls(self) -> Iterator[str]:
        for shape in (*WITH_CALLS, *(CONTENT_BESIDE_CALLS if self.content_beside_calls else ())):
            if self.several_calls or "cc" not in shape:
                yield shape

    # ---------------------------------------------------------------------------------- proof

    def tree(self, role: Role) -> Form | None:
        """The tree for one kind of message; None when there is no such message."""
        samples = [sample for sample in self.samples if sample.role == role]
        return by_place(samples, self.facts) if samples else None

    def prove(self, frozen: date | None) -> ProvenTemplate:
        """Writes the TEMPLATE and compares it; where thoughts in answers disturb, without them."""
        proven = self._learn_and_prove(frozen)
        conceded: tuple[str, ...] = ()
        while proven.difference is not None:
            cause = next((name for name in self._causes(proven) if name not in conceded), None)
            if cause is None:
                # Leaving thoughts in earlier answers is a known limit; being wrong elsewhere is not.
                plain = tuple(replace(s, turn=without_thoughts(s.turn)) for s in self.samples)
                return replace(self, samples=plain)._prove(frozen)
            conceded = (*conceded, cause)
            changes: dict[str, Any] = dict.fromkeys(conceded, False)
            proven = replace(self, **changes)._learn_and_prove(frozen)
        given_up = tuple(CONCESSIONS[name][1] for name in conceded)
        return replace(proven, limits=(*given_up, *proven.limits))

    def _causes(self, proven: ProvenTemplate) -> Iterator[str]:
        """What can be left out of a proof so that the conversation on which it failed is equal."""
        assert proven.difference is not None
        proof = TemplateProof(self.prober, proven.template)
        case, today = ProofCase.of(proven.difference), proven.difference.today
        for name, (feature, _) in CONCESSIONS.items():
            if feature not in self.features:
                continue
            less = case if name == "refused_tools" else without(name, case)
            prepared = replace(less, messages=prepare(less.messages))
            if name == "refused_tools":
                if case.tools and proof.original(prepared, today) is None:
                    yield name
            elif less != case and proof.difference(prepared, less, today) is None:
                yield name

    def _learn_and_prove(self, frozen: date | None) -> ProvenTemplate:
        """Proves, and learns from a conversation of the shape of each that comes out different."""
        plan, known = self, set[ProbeConversation]()
        for _ in range(MOST_LESSONS):
            proven = plan._prove(frozen)
            if proven.difference is None or not self.features:
                return proven
            case = proven.difference
            talk = ProbeConversation.like(
                prepare(case.messages), 2 if case.tools else 0, case.think
            )
            if talk in known:
                return proven
            known.add(talk)
            plan = replace(plan, samples=(*plan.samples, *plan._observed(talk)))
        return proven

    def _prove(self, frozen: date | None) -> ProvenTemplate:
        user, assistant, tail = self.tree("user"), self.tree("assistant"), self.tree("tail")
        assert user is not None
        assert assistant is not None
        assert tail is not None
        parts = [part for sample in self.samples for part in parts_of(sample.turn)]
        fields = [part for part in parts if isinstance(part, FieldPart)]
        dated = any(isinstance(part, DatePart) for part in parts) and frozen is None
        thinks = any(part.after_think is not None for part in fields)
        others = self.tree("tool"), self.tree("system")
        marks = thought_marks(self.samples), call_mark(self.samples)
        template = emit(
            CallForms(user, assistant, tail, *others, self.refuses_system, frozen, *marks)
        )
        try:
            proof = TemplateProof(self.prober, template, may_refuse_tools=not self.refused_tools)
        except GoTemplateError as error:
            raise NotDerivableError(f"the TEMPLATE that came of it is faulty ({error})") from error
        days = [frozen] if frozen else DAYS if dated else DAYS[:2]
        checked, difference = proof.run(cases(self._abilities(thinks)), days)
        walks = thinks or any(isinstance(part, ValuePart) and part.layout for part in parts)
        identified = any(part == FieldPart("ToolCallID") for part in fields) or any(
            isinstance(part, ValuePart) and part.name == "id" for part in parts
        )
        named = FieldPart("ToolName") in parts
        needs = [DATE_NEED] * dated + [RANGE_NEED] * walks
        needs += [ID_NEED] * identified + [NAME_NEED] * (named and not identified)
        used: Literal["used", "ignored"] = (
            "used" if any(isinstance(part, SystemPart) for part in parts) else "ignored"
        )
        return ProvenTemplate(
            template=template,
            conversations=checked,
            difference=difference,
            system="refused" if self.refuses_system else used,
            covers=tuple(feature.value for feature in TemplateFeature if feature in self.features),
            limits=(*self.left_out, *proof.limits(days[0])),
            needs=tuple(needs),
        )

    def _abilities(self, thinks: bool) -> TemplateAbilities:
        return TemplateAbilities(
            thinks_in_answers=thinks,
            tools=TemplateFeature.TOOLS in self.features,
            calls=TemplateFeature.CALLS in self.features,
            several_calls=self.several_calls,
            content_beside_calls=self.content_beside_calls,
            thoughts_beside_content=self.thoughts_beside_content,
            terse_tools=self.terse_tools,
            nested_arguments=self.nested_arguments,
            empty_arguments=self.empty_arguments,
            thoughts=TemplateFeature.THOUGHTS in self.features,
            switch=TemplateFeature.SWITCH in self.features,
            systems=TemplateFeature.SYSTEMS in self.features,
            endings=TemplateFeature.ENDINGS in self.features,
            beginnings=TemplateFeature.BEGINNINGS in self.features,
            system=self.refuses_system is None,
            empty_system=self.takes_empty_system,
        )

    def marks(self, bos: str) -> list[str]:
        """The marks between an answer and the next turn; without any, that text's first line."""
        found: list[str] = []
        for sample in self.samples:
            if sample.role == "user" and not sample.facts & {ProbedFact.MESSAGE, ProbedFact.FIRST}:
                fixed = "".join(part.text for part in sample.turn if isinstance(part, FixedPart))
                lines = [line.strip() for line in fixed.split("\n") if line.strip()]
                found += MARK.findall(fixed) or lines[:1]
        return [mark for mark in dict.fromkeys(found) if mark != bos]


def _try_samples(prober: Prober, system: SystemState) -> list[ProbeSample] | Exception:
    found: list[ProbeSample] = []
    for shape in PLAIN:
        try:
            found += prober.samples(ProbeConversation(shape, system))
        except NotDerivableError:
            raise
        except Exception as error:  # foreign code may raise anything
            return error
    return found


def _same(empty: Sequence[ProbeSample], other: Sequence[ProbeSample]) -> bool:
    return all(
        without_system_text(a.turn) == without_system_text(b.turn)
        for a, b in zip(empty, other, strict=True)
    )
