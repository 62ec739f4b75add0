"""One doorway for messages to the user: kept until a view connects, then passed straight on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from PySide6.QtCore import QObject, Signal

from lora_studio.core.problems import Problem

Level = Literal["info", "warning", "error"]


@dataclass(frozen=True)
class Toast:
    """What is shown: one sentence, and the problem behind it where there is one."""

    level: Level
    text: str
    problem: Problem | None = None


class Messages(QObject):
    """Takes messages from anywhere in the window; a view calls `connect_view` once.

    Signals:
        posted: a message to show, in the order of posting.
    """

    posted = Signal(object)

    def __init__(self, parent: QObject | None = None) -> None:
        """No view yet: messages wait."""
        super().__init__(parent)
        self._waiting: list[Toast] = []
        self._connected = False

    def info(self, text: str) -> None:
        """Something went well and the user wants to know."""
        self._post(Toast("info", text))

    def warning(self, text: str) -> None:
        """Something needs attention and stops nothing."""
        self._post(Toast("warning", text))

    def error(self, text: str) -> None:
        """Something did not go as the user wished."""
        self._post(Toast("error", text))

    def problem(self, problem: Problem) -> None:
        """A problem that belongs to no field, or that ended something the user had started."""
        self._post(Toast(problem.severity, str(problem.what), problem))

    def connect_view(self) -> None:
        """From now on messages are passed on; those that waited come at once."""
        self._connected = True
        waiting, self._waiting = self._waiting, []
        for message in waiting:
            self.posted.emit(message)

    def _post(self, message: Toast) -> None:
        if self._connected:
            self.posted.emit(message)
        else:
            self._waiting.append(message)
