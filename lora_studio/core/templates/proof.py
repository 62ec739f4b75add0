"""Prove a TEMPLATE: compare the original and the derived text on separate conversations.

Conversations are prepared as the server prepares them (system texts collected, neighbors of one
role merged) before either side renders them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import date

from lora_studio.core.templates.go.rendering import GoTemplate, GoTemplateError
from lora_studio.core.templates.probing.probe_conversations import (
    IN_CONTENT,
    put_thoughts_in_content,
)
from lora_studio.core.templates.probing.prober import Prober
from lora_studio.core.templates.proof_cases import ON_EVERY_DAY, ProofCase
from lora_studio.core.templates.server.data import build_template_data, merge_messages
from lora_studio.core.templates.server.terms import RenderDifference


class TemplateProof:
    """Compares one TEMPLATE with the original chat template."""

    def __init__(self, prober: Prober, template: str, *, may_refuse_tools: bool = False) -> None:
        """Prepare a proof; `prober` provides the original and the BOS to omit.

        With `may_refuse_tools`, tools that the original refuses are not compared.
        """
        self.may_refuse_tools = may_refuse_tools
        self.prober = prober
        self.template = template
        self.parsed = GoTemplate(template)

    def run(
        self, talks: Iterable[ProofCase], days: Sequence[date]
    ) -> tuple[int, RenderDifference | None]:
        """Return the number of renderings compared, and the first difference if there was one.

        The first conversations are compared on every day, the others on two.
        """
        checked = 0
        for number, case in enumerate(talks):
            prepared = replace(case, messages=merge_messages(case.messages))
            for today in days[:2] if number >= ON_EVERY_DAY else days:
                checked += 1
                if difference := self.find_difference(prepared, case, today):
                    return checked, difference
        return checked, None

    def render_original(self, case: ProofCase, today: date) -> str | None:
        """Return the chat template's text without BOS; None if it refuses the conversation."""
        try:
            return self.prober.text(case.messages, case.tools, case.think, today.strftime)
        except Exception:  # foreign code may raise anything
            return None

    def render_derived(self, case: ProofCase, today: date) -> str | None:
        """Return the TEMPLATE's text; None if it raises."""
        try:
            data = build_template_data(case.messages, case.tools, case.think)
            return self.parsed.render(data, today=today)
        except GoTemplateError:
            return None

    def find_difference(
        self, case: ProofCase, sent: ProofCase, today: date
    ) -> RenderDifference | None:
        """Return the first difference between the original's text of `case` and the TEMPLATE's
        text of `sent`.
        """
        expected, actual = self.render_original(case, today), self.render_derived(sent, today)
        if expected == actual or (expected is None and case.tools and self.may_refuse_tools):
            return None
        one, two = expected or "", actual or ""
        pairs = enumerate(zip(one, two, strict=False))
        position = next((i for i, (a, b) in pairs if a != b), min(len(one), len(two)))
        around = slice(max(0, position - 40), position + 40)
        return RenderDifference(
            messages=tuple(sent.messages),
            tools=tuple(dict(tool) for tool in sent.tools),
            think=sent.think,
            today=today,
            position=position,
            expected="(refused)" if expected is None else one[around],
            actual="(refused)" if actual is None else two[around],
        )

    def render_both(self, case: ProofCase, today: date) -> tuple[str | None, str | None]:
        """Return the original's and the TEMPLATE's text of a conversation as a client sends it.

        Reasoning that the chat template reads from the content is there for the TEMPLATE, too, if
        the server doesn't separate it.
        """
        sent = case
        if self.prober.style.thoughts == IN_CONTENT and ".Thinking" not in self.template:
            sent = replace(case, messages=[put_thoughts_in_content(m) for m in case.messages])
        return self.render_original(case, today), self.render_derived(sent, today)
