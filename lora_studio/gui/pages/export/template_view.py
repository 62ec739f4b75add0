"""A chat template and the Ollama TEMPLATE derived from it, side by side."""

from __future__ import annotations

from PySide6.QtWidgets import QVBoxLayout, QWidget

from lora_studio.core.messages import listed
from lora_studio.core.protocol import events
from lora_studio.core.templates.server.terms import DerivedTemplate
from lora_studio.gui.language import tr, tr_n
from lora_studio.gui.message_translation import localize
from lora_studio.gui.theme import Spacing
from lora_studio.gui.widgets.basics import CollapsibleSection, label, set_role, with_title
from lora_studio.gui.widgets.columns import ResponsiveColumns
from lora_studio.gui.widgets.fact_list import FactList
from lora_studio.gui.widgets.text_editors import CodeView

_HEIGHT = 190


class TemplateView(QWidget):
    """Shows the Jinja and Go templates, whether they were verified, and their differences."""

    def __init__(self, parent: QWidget | None = None) -> None:
        """Start empty."""
        super().__init__(parent)
        self.verdict = label(wrap=True)
        self.jinja, self.go = (
            CodeView(tr("Chat template")),
            CodeView(tr("Ollama TEMPLATE")),
        )
        for view in (self.jinja, self.go):
            view.setFixedHeight(_HEIGHT)
        sides = ResponsiveColumns(
            with_title(tr("Chat template (Jinja)"), self.jinja),
            with_title(tr("Ollama TEMPLATE (Go)"), self.go),
        )
        self.facts = FactList()
        self.limits = CollapsibleSection(tr("Known differences"))
        self._limits = label(role="muted", wrap=True)
        self.limits.add(self._limits)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(Spacing.M)
        for part in (self.verdict, sides, self.facts, self.limits):
            layout.addWidget(part)

    def show_event(self, event: events.TemplateDerived) -> None:
        """Show a derived template, verified or not."""
        derived = event.derived or DerivedTemplate(
            template=event.template, stops=event.stops, proven=event.proven,
            conversations=event.conversations,
        )  # fmt: skip
        set_role(self.verdict, "ok" if derived.proven else "error")
        self.verdict.setText(_describe_verdict(derived, event.difference))
        self.jinja.setPlainText(event.chat_template)
        self.go.setPlainText(derived.template)
        self.facts.show_facts(_list_facts(derived))
        self._limits.setText("\n".join(f"• {localize(limit)}" for limit in derived.limits))
        self.limits.setVisible(bool(derived.limits))


def _describe_verdict(derived: DerivedTemplate, difference: str | None) -> str:
    if derived.proven:
        return tr("✓ Verified for Ollama before 0.30, by rendering {conversations}").format(
            conversations=tr_n("{n} conversation", "{n} conversations", derived.conversations)
        )
    reason = localize(derived.reason) or tr("The two templates render different text.")
    verdict = tr("✗ Not verified: {reason}").format(reason=reason)
    return f"{verdict}\n{localize(difference)}" if difference else verdict


def _list_facts(derived: DerivedTemplate) -> list[tuple[str, str]]:
    other = derived.alternative
    return [
        (
            tr("Also verified"),
            localize(listed([feature.description for feature in derived.covers])),
        ),
        (tr("Not supported"), "\n".join(localize(note) for note in derived.notes)),
        (tr("Stop sequences"), localize(listed(derived.stops))),
        (tr("Requires"), localize(listed([need.description for need in derived.needs]))),
        (tr("Verified alternative"), localize(other.what) if other else ""),
    ]
