"""Messages to the user from anywhere in the window; queued until a view connects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from PySide6.QtCore import QObject, Signal

from lora_studio.core.messages import Text
from lora_studio.core.problems import Problem

Level = Literal["success", "info", "warning", "error"]


@dataclass(frozen=True)
class Toast:
    """A message to show, and the problem behind it if there is one."""

    level: Level
    text: Text | str
    problem: Problem | None = None


class Messages(QObject):
    """Collects messages; a view calls `connect_view` once.

    Signals:
        posted: a message to show, in the order of posting.
    """

    posted = Signal(object)

    def __init__(self, parent: QObject | None = None) -> None:
        """Queue messages until a view connects."""
        super().__init__(parent)
        self._waiting: list[Toast] = []
        self._connected = False

    def success(self, text: Text | str) -> None:
        """Post that something the user asked for is done."""
        self._post(Toast("success", text))

    def info(self, text: Text | str) -> None:
        """Post information, such as what must be done first."""
        self._post(Toast("info", text))

    def warning(self, text: Text | str) -> None:
        """Post a warning: it needs attention but doesn't stop anything."""
        self._post(Toast("warning", text))

    def error(self, text: Text | str) -> None:
        """Post a failure."""
        self._post(Toast("error", text))

    def problem(self, problem: Problem) -> None:
        """Post a problem that has no field, or that ended an action of the user."""
        self._post(Toast(problem.severity, problem.what, problem))

    def connect_view(self) -> None:
        """Emit the queued messages now, and later messages immediately."""
        self._connected = True
        waiting, self._waiting = self._waiting, []
        for message in waiting:
            self.posted.emit(message)

    def _post(self, message: Toast) -> None:
        if self._connected:
            self.posted.emit(message)
        else:
            self._waiting.append(message)
