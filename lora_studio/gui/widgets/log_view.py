"""What a job says about itself, line by line; follows the end unless the user reads further up."""

from __future__ import annotations

import time

from PySide6.QtWidgets import QPlainTextEdit, QWidget

from lora_studio.core import events

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
        self.setPlaceholderText("What the job does appears here.")
        self.setAccessibleName("Log")

    def on_event(self, event: object) -> None:
        """Adds a line for what is worth one."""
        if text := _line(event):
            stamp = time.strftime("%H:%M:%S", time.localtime(getattr(event, "time", None)))
            self.appendPlainText(f"{stamp}  {text}")


def _line(event: object) -> str:
    match event:
        case events.Started():
            return f"{event.command} started"
        case events.Log():
            return event.text
        case events.Warned() | events.Failed():
            word = "failed" if isinstance(event, events.Failed) else "warning"
            return f"{word}: {event.problem}"
        case events.Evaluated():
            return f"step {event.step}: eval loss {event.loss:.4f}"
        case events.CheckpointSaved():
            return f"checkpoint at step {event.step}"
        case events.Recovered():
            return event.text
        case events.Done():
            if event.paused:
                return "paused"
            return "stopped, the result is kept" if event.stopped else "done"
        case events.Cancelled():
            return "cancelled"
    return ""
