"""The log of a job, one line per event; follows its end unless the user has scrolled up."""

from __future__ import annotations

import time

from PySide6.QtWidgets import QPlainTextEdit, QWidget

from lora_studio.core.formatting import format_float, format_reward
from lora_studio.core.protocol import events
from lora_studio.core.protocol.evaluation_text import describe_predictions
from lora_studio.gui.language import tr
from lora_studio.gui.message_translation import localize

#: Older lines are dropped from the view; the run's log file has all of them.
_MAX_LINES = 5000


class LogView(QPlainTextEdit):
    """Shows the events of a job as read-only text."""

    def __init__(self, parent: QWidget | None = None) -> None:
        """Start empty."""
        super().__init__(parent)
        self.setReadOnly(True)
        self.setMaximumBlockCount(_MAX_LINES)
        self.setProperty("mono", True)
        self.setPlaceholderText(tr("Log messages appear here."))
        self.setAccessibleName(tr("Log"))

    def on_event(self, event: object) -> None:
        """Append a line for events that belong in a log."""
        if text := _format_line(event):
            stamp = time.strftime("%H:%M:%S", time.localtime(getattr(event, "time", None)))
            self.appendPlainText(f"{stamp}  {text}")


def _format_line(event: object) -> str:
    match event:
        case events.Started():
            return tr("Training started")
        case events.Log():
            return localize(event.text)
        case events.Warned():
            return tr("warning: {problem} {remedy}").format(
                problem=localize(event.problem.what), remedy=localize(event.problem.remedy)
            )
        case events.Failed():
            return tr("error: {problem} {remedy}").format(
                problem=localize(event.problem.what), remedy=localize(event.problem.remedy)
            )
        case events.Evaluated() if event.has_rewards:
            if (reward := event.figures.get(events.REWARD)) is None:
                return tr("step {step}: no answer has a reward").format(step=event.step)
            return tr("step {step}: eval reward {reward}").format(
                step=event.step, reward=format_reward(reward)
            )
        case events.Evaluated() if predictions := describe_predictions(event):
            return localize(predictions)
        case events.Evaluated():
            return tr("step {step}: eval loss {loss}").format(
                step=event.step, loss=format_float(event.loss, ".4f")
            )
        case events.CheckpointSaved():
            return tr("checkpoint saved at step {step}").format(step=event.step)
        case events.Recovered():
            return localize(event.text)
        case events.Done():
            if event.paused:
                return tr("paused")
            return tr("stopped; the adapter is saved") if event.stopped else tr("done")
        case events.Cancelled():
            return tr("canceled")
    return ""
