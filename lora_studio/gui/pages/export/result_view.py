"""What an export yielded: files with their self-tests, the proven template, the Ollama model."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtWidgets import QPlainTextEdit, QTabWidget, QVBoxLayout, QWidget

from lora_studio.core import formatting
from lora_studio.core.protocol import events
from lora_studio.gui.language import tr, tr_n
from lora_studio.gui.message_translation import tell
from lora_studio.gui.pages.export.quant_table import badge
from lora_studio.gui.theme import Spacing
from lora_studio.gui.widgets.basics import label, set_role
from lora_studio.gui.widgets.fact_list import FactList

Result = events.GgufWritten | events.TemplateDerived | events.SelfTested | events.OllamaCreated


class ExportResult(QWidget):
    """Grows with the events of an export."""

    def __init__(self, parent: QWidget | None = None) -> None:
        """Empty until the first event."""
        super().__init__(parent)
        self.written: list[events.GgufWritten] = []
        self.tested: list[events.SelfTested] = []
        self.template: events.TemplateDerived | None = None
        self.created: events.OllamaCreated | None = None
        self._seconds: float | None = None
        self.headline = label(role="section", wrap=True)
        self.files = FactList()
        self.proof = label(wrap=True)
        self.text, self.modelfile = _code("TEMPLATE"), _code("Modelfile")
        self.answers = _code(tr("Answers"))
        self.answers.setLineWrapMode(QPlainTextEdit.LineWrapMode.WidgetWidth)
        self.tabs = QTabWidget()
        self.tabs.tabBar().setAccessibleName(tr("What Ollama was given"))
        self.tabs.setFixedHeight(160)
        self.stops = label(role="muted", wrap=True)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(Spacing.M)
        for part in (self.headline, self.files, self.proof, self.stops, self.tabs):
            layout.addWidget(part)
        self._show()

    def take(self, event: Result) -> None:
        """Adds an event; one about the same file or stage replaces the older."""
        match event:
            case events.GgufWritten():
                kept = [item for item in self.written if item.quantization != event.quantization]
                self.written = [*kept, event]
            case events.SelfTested():
                self.tested = [*(t for t in self.tested if t.stage != event.stage), event]
            case events.TemplateDerived():
                self.template = event
            case events.OllamaCreated():
                self.created = event
        self._show()

    def clear(self) -> None:
        """Forgets everything."""
        self.written, self.tested = [], []
        self.template, self.created = None, None
        self.finish("", "", None)

    def finish(self, modelfile: str, answers: str, seconds: float | None) -> None:
        """The export is complete: the Modelfile, what every stage answered, each empty for none, and
        how long it took.
        """
        for place, said in ((self.modelfile, modelfile), (self.answers, answers)):
            if place.toPlainText() != said:  # what is being read stays where it is
                place.setPlainText(said)
        self._seconds = seconds
        self._show()

    def is_empty(self) -> bool:
        """Whether there is nothing to show."""
        return not (self.written or self.tested or self.template or self.created)

    def _show(self) -> None:
        self.headline.setText(self._headline())
        self.headline.setVisible(bool(self.headline.text()))
        made_by = formatting.listed(
            tuple(dict.fromkeys(tell(event.tool) for event in self.written)), tr("and")
        )
        files = [self._file(event) for event in self.written]
        self.files.show_facts([*self._before(), *files, (tr("Made by"), made_by)])
        self._show_tab(self.text, "TEMPLATE", self.template is not None)
        self._show_tab(self.modelfile, "Modelfile", bool(self.modelfile.toPlainText()))
        self._show_tab(self.answers, tr("Answers"), bool(self.answers.toPlainText()))
        self.tabs.setVisible(self.tabs.count() > 0)
        self.proof.setVisible(self.template is not None)
        self.stops.setVisible(self.template is not None)
        if (derived := self.template) is not None:
            set_role(self.proof, "ok" if derived.proven else "error")
            self.proof.setText(_proof(derived))
            self.text.setPlainText(derived.template)
            self.stops.setText(
                tr("Stops: {value}").format(
                    value=formatting.listed(derived.stops, tr("and")) or tr("none")
                )
            )

    def _show_tab(self, page: QWidget, name: str, wanted: bool) -> None:
        index = self.tabs.indexOf(page)
        if wanted and index < 0:
            self.tabs.addTab(page, name)
        elif not wanted and index >= 0:
            self.tabs.removeTab(index)

    def _headline(self) -> str:
        done = self._seconds is not None
        took = (
            tr("exported in {seconds}").format(seconds=formatting.duration(self._seconds))
            if done
            else ""
        )
        if self.created is None:
            return f"✓ {took[:1].upper()}{took[1:]}" if done else ""
        there = tr("✓ {name} is in Ollama {version}").format(
            name=self.created.name, version=self.created.version
        )
        return f"{there}, {took}" if done else there

    def _before(self) -> list[tuple[str, str]]:
        """Stages that no file stands for."""
        titles = {"merged": tr("Merged"), "converted": tr("Converted")}
        return [(titles[t.stage], badge(t)) for t in self.tested if t.stage in titles]

    def _file(self, event: events.GgufWritten) -> tuple[str, str]:
        tested = next((test for test in self.tested if test.stage == event.quantization), None)
        parts = [Path(event.file).name, formatting.size(event.bytes)]
        parts += [badge(tested)] if tested is not None else []
        return event.quantization, "  ·  ".join(parts)


def _code(name: str) -> QPlainTextEdit:
    made = QPlainTextEdit(readOnly=True)
    made.setProperty("mono", True)
    made.setLineWrapMode(QPlainTextEdit.LineWrapMode.NoWrap)
    made.setAccessibleName(name)
    return made


def _proof(derived: events.TemplateDerived) -> str:
    number = tr_n("{n} conversation", "{n} conversations", derived.conversations)
    if derived.proven:
        return tr("✓ TEMPLATE derived from the chat template, proven on {number}").format(
            number=number
        )
    return tr("✗ The TEMPLATE renders other text than the chat template: {value}").format(
        value=tell(derived.difference or "")
    )
