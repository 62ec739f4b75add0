"""The results of probing a chat template, and the samples that each of its features needs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any

from lora_studio.core.messages import Text, text
from lora_studio.core.templates.emitter import MARK
from lora_studio.core.templates.probing.decision_trees import (
    FixedPart,
    Form,
    NotDerivableError,
    ProbedFact,
    ProbeSample,
    Role,
    fit_by_position,
)
from lora_studio.core.templates.probing.probe_conversations import (
    CONTENT_BESIDE_CALLS_SHAPES,
    PLAIN,
    UNUSUAL,
    WITH_CALLS,
    WITH_THOUGHTS,
    WITH_TOOLS,
    ProbeConversation,
    SystemState,
    count_calls,
)
from lora_studio.core.templates.probing.prober import Prober
from lora_studio.core.templates.probing.tools import try_render
from lora_studio.core.templates.proof import TemplateAbilities
from lora_studio.core.templates.server.terms import (
    CONTENT_BESIDE_CALLS,
    SEVERAL_CALLS,
    TemplateFeature,
)

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
