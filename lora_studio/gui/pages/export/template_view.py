"""A chat template and the TEMPLATE that was derived from it, side by side, with what is proven."""

from __future__ import annotations

from PySide6.QtWidgets import QPlainTextEdit, QVBoxLayout, QWidget

from lora_studio.core import formatting
from lora_studio.core.protocol import events
from lora_studio.core.templates.server.terms import DerivedTemplate
from lora_studio.gui.language import tr, tr_n
from lora_studio.gui.message_translation import tell
from lora_studio.gui.theme import Spacing
from lora_studio.gui.widgets.basics import CollapsibleSection, label, set_role, titled
from lora_studio.gui.widgets.columns import ResponsiveColumns
from lora_studio.gui.widgets.fact_list import FactList

_HEIGHT = 190


class TemplateView(QWidget):
    """Jinja to the left, Go to the right; above them the verdict, below what it rests on."""

    def __init__(self, parent: QWidget | None = None) -> None:
        """Empty until the first event."""
        super().__init__(parent)
        self.verdict = label(wrap=True)
        self.jinja, self.go = _code(tr("Chat template")), _code(tr("Ollama TEMPLATE"))
        sides = ResponsiveColumns(
            titled(tr("Chat template (Jinja)"), self.jinja),
            titled(tr("Ollama TEMPLATE (Go)"), self.go),
        )
        self.facts = FactList()
        self.limits = CollapsibleSection(tr("Where the two differ"))
        self._limits = label(role="muted", wrap=True)
        self.limits.add(self._limits)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(Spacing.M)
        for part in (self.verdict, sides, self.facts, self.limits):
            layout.addWidget(part)

    def show_event(self, event: events.TemplateDerived) -> None:
        """Shows what was derived, proven or not."""
        derived = event.derived or DerivedTemplate(
            template=event.template, stops=event.stops, proven=event.proven,
            conversations=event.conversations,
        )  # fmt: skip
        set_role(self.verdict, "ok" if derived.proven else "error")
        self.verdict.setText(_verdict(derived, event.difference))
        self.jinja.setPlainText(event.chat_template)
        self.go.setPlainText(derived.template)
        self.facts.show_facts(_facts(derived))
        self._limits.setText("\n".join(f"• {tell(limit)}" for limit in derived.limits))
        self.limits.setVisible(bool(derived.limits))


def _verdict(derived: DerivedTemplate, difference: str | None) -> str:
    if derived.proven:
        return tr("✓ Proven on {conversations}").format(
            conversations=tr_n("{n} conversation", "{n} conversations", derived.conversations)
        )
    reason = tell(derived.reason.rstrip(".")) or tr("The two write different texts")
    return tr("✗ Not proven: {reason}").format(reason=reason) + (
        f" ({tell(difference)})" if difference else ""
    )


def _facts(derived: DerivedTemplate) -> list[tuple[str, str]]:
    other = derived.alternative
    return [
        (tr("Also proven"), formatting.listed([tell(name) for name in derived.covers], tr("and"))),
        (
            tr("Left out"),
            "; ".join(tell(note.removeprefix("left out: ")) for note in derived.notes),
        ),
        (tr("Stops"), formatting.listed(derived.stops, tr("and"))),
        (tr("Needs"), formatting.listed([tell(need) for need in derived.needs], tr("and"))),
        (tr("Proven instead"), tell(other.what) if other else ""),
    ]


def _code(name: str) -> QPlainTextEdit:
    made = QPlainTextEdit(readOnly=True)
    made.setProperty("mono", True)
    made.setLineWrapMode(QPlainTextEdit.LineWrapMode.NoWrap)
    made.setAccessibleName(name)
    made.setFixedHeight(_HEIGHT)
    return made
