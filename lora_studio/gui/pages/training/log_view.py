"""What a job says about itself, line by line; follows the end unless the user reads further up."""

from __future__ import annotations

import time

from PySide6.QtWidgets import QPlainTextEdit, QWidget

from lora_studio.core.protocol import events
from lora_studio.gui.language import tr
from lora_studio.gui.message_translation import tell

#: Older lines are dropped; the run's own files keep everything.
_LINES = 5000


class LogView(QPlainTextEdit):
    """Read-only; `on_event` turns events into lines."""

    def __init__(self, parent: QWidget | None = None) -> None:
        """Empty."""
        super().__init__(parent)
        self.setReadOnly(True)
        self.setMaximumBlockCount(_LINES)
        self.setProperty("mono", True)
        self.setPlaceholderText(tr("What the job does appears here."))
        self.setAccessibleName(tr("Log"))

    def on_event(self, event: object) -> None:
        """Adds a line for what is worth one."""
        if text := _line(event):
            stamp = time.strftime("%H:%M:%S", time.localtime(getattr(event, "time", None)))
            self.appendPlainText(f"{stamp}  {text}")


def _line(event: object) -> str:
    match event:
        case events.Started():
            return tr("{command} started").format(command=event.command)
        case events.Log():
            return tell(event.text)
        case events.Warned() | events.Failed():
            word = tr("failed") if isinstance(event, events.Failed) else tr("warning")
            return f"{word}: {tell(event.problem.what)} {tell(event.problem.remedy)}"
        case events.Evaluated():
            return tr("step {step}: eval loss {loss:.4f}").format(step=event.step, loss=event.loss)
        case events.CheckpointSaved():
            return tr("checkpoint at step {step}").format(step=event.step)
        case events.Recovered():
            return tell(event.text)
        case events.Done():
            if event.paused:
                return tr("paused")
            return tr("stopped, the result is kept") if event.stopped else tr("done")
        case events.Cancelled():
            return tr("cancelled")
    return ""
