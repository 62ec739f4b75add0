"""The state of a background task in one line, with buttons to cancel and resume it."""

from __future__ import annotations

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QProgressBar, QWidget

from lora_studio.core import messages
from lora_studio.core.protocol import events
from lora_studio.core.protocol.commands import COMMANDS
from lora_studio.gui.language import mark, tr
from lora_studio.gui.message_translation import localize, localize_stage
from lora_studio.gui.theme import Spacing
from lora_studio.gui.widgets.basics import button, label, row, tool_button

_UNITS = 1000
_CANCEL = {
    "inspect_dataset": mark("Cancel reading rows"),
    "measure_dataset": mark("Cancel measuring rows"),
    "lint_dataset": mark("Cancel checking"),
    "plan_dataset": mark("Cancel counting rows"),
}
_STOPPED = {
    "inspect_dataset": mark("Not all rows were read"),
    "measure_dataset": mark("Rows weren't measured"),
    "lint_dataset": mark("Not checked"),
    "plan_dataset": mark("Rows to train on weren't counted"),
}
_RESUME = {
    "inspect_dataset": mark("Continue reading rows"),
    "measure_dataset": mark("Continue measuring rows"),
    "lint_dataset": mark("Continue checking"),
    "plan_dataset": mark("Continue counting rows"),
}


class TaskStatus(QWidget):
    """Shows one task at a time; empty without a task.

    Signals:
        cancel_clicked(kind): cancel the shown task.
        resume_clicked(kind): restart the task.
    """

    cancel_clicked = Signal(str)
    resume_clicked = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        """Show nothing."""
        super().__init__(parent)
        self.kind = ""
        self.words = label(role="muted")
        self.bar = QProgressBar(textVisible=False)
        self.bar.setRange(0, _UNITS)
        self.bar.setFixedWidth(96)
        self.cancel = tool_button(
            "close", tr("Cancel"), lambda: self.cancel_clicked.emit(self.kind)
        )
        self.resume = button(
            tr("Continue"), lambda: self.resume_clicked.emit(self.kind), kind="link"
        )
        self.setLayout(row(self.words, self.bar, self.cancel, self.resume, spacing=Spacing.S))
        self.show_nothing()

    def show_running(self, kind: str, progress: events.Progress | None) -> None:
        """Show a running task."""
        self.kind = kind
        share = progress.done / progress.total if progress and progress.total else None
        doing = localize_stage(progress.stage) if progress else localize(COMMANDS[kind].title)
        parts = [f"{doing}…" if share is None else f"{doing}  {100 * share:.0f} %"]
        if progress and progress.eta_s is not None and progress.eta_s >= 5:
            parts.append(
                tr("{time} left").format(time=localize(messages.describe_remaining(progress.eta_s)))
            )
        self.words.setText("  ·  ".join(parts))
        self.bar.setValue(round(_UNITS * min(1.0, share or 0.0)))
        self.bar.setAccessibleName(self.words.text())
        self.bar.setVisible(share is not None)
        self.cancel.setToolTip(tr(_CANCEL[kind]))
        self.cancel.setAccessibleName(self.cancel.toolTip())
        self.cancel.show()
        self.resume.hide()
        self.words.show()

    def show_stopped(self, kind: str) -> None:
        """Show a task that the user canceled and can resume."""
        self.kind = kind
        self.words.setText(tr(_STOPPED[kind]))
        self.resume.setAccessibleName(tr(_RESUME[kind]))
        self.words.show()
        self.resume.show()
        self.bar.hide()
        self.cancel.hide()

    def show_nothing(self) -> None:
        """Show nothing."""
        self.kind = ""
        for part in (self.words, self.bar, self.cancel, self.resume):
            part.hide()
