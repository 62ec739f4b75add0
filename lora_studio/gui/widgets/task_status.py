"""What is being found out in the background, in one quiet line with a way to stop it."""

from __future__ import annotations

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QProgressBar, QWidget

from lora_studio.core import formatting
from lora_studio.core.protocol import events
from lora_studio.core.protocol.commands import COMMANDS
from lora_studio.gui.language import inside, mark, tr
from lora_studio.gui.message_translation import tell
from lora_studio.gui.theme import Spacing
from lora_studio.gui.widgets.basics import button, label, row, tool_button

_UNITS = 1000
_STOPPED = {
    "inspect_dataset": mark("Not all rows were read"),
    "measure_dataset": mark("Rows were not measured"),
    "lint_dataset": mark("Not looked for faults"),
}


class TaskStatus(QWidget):
    """Shows one task at a time; nothing while there is none.

    Signals:
        cancel_clicked(kind), resume_clicked(kind): about the kind of question that is shown.
    """

    cancel_clicked = Signal(str)
    resume_clicked = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        """Quiet."""
        super().__init__(parent)
        self.kind = ""
        self.words = label(role="muted")
        self.bar = QProgressBar(textVisible=False)
        self.bar.setRange(0, _UNITS)
        self.bar.setFixedWidth(96)
        self.cancel = tool_button(
            "close", tr("Cancel"), lambda: self.cancel_clicked.emit(self.kind)
        )
        self.resume = button(tr("Go on"), lambda: self.resume_clicked.emit(self.kind), kind="link")
        self.setLayout(row(self.words, self.bar, self.cancel, self.resume, spacing=Spacing.S))
        self.show_nothing()

    def show_running(self, kind: str, progress: events.Progress | None) -> None:
        """A question of a kind is under way."""
        self.kind = kind
        done = progress.done / progress.total if progress and progress.total else None
        doing = tell(progress.stage) if progress else tell(COMMANDS[kind].title)
        parts = [f"{doing}…" if done is None else f"{doing}  {100 * done:.0f} %"]
        if progress and progress.eta_s is not None and progress.eta_s >= 5:
            parts.append(tr("{time} left").format(time=tell(formatting.remaining(progress.eta_s))))
        self.words.setText("  ·  ".join(parts))
        self.bar.setValue(round(_UNITS * min(1.0, done or 0.0)))
        self.bar.setAccessibleName(self.words.text())
        self.bar.setVisible(done is not None)
        self.cancel.setToolTip(tr("Cancel: {what}").format(what=inside(tell(COMMANDS[kind].title))))
        self.cancel.setAccessibleName(self.cancel.toolTip())
        self.cancel.show()
        self.resume.hide()
        self.words.show()

    def show_stopped(self, kind: str) -> None:
        """A question of a kind was cancelled by the user and can be asked again."""
        self.kind = kind
        self.words.setText(tr(_STOPPED[kind]))
        self.resume.setAccessibleName(
            tr("Go on: {what}").format(what=inside(tell(COMMANDS[kind].title)))
        )
        self.words.show()
        self.resume.show()
        self.bar.hide()
        self.cancel.hide()

    def show_nothing(self) -> None:
        """Nothing is under way."""
        self.kind = ""
        for part in (self.words, self.bar, self.cancel, self.resume):
            part.hide()
