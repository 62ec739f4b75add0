"""Desktop notifications, for users who do something else while a job runs."""

from __future__ import annotations

import contextlib
import logging
from typing import Protocol

from PySide6.QtCore import QObject, QProcess, QTimer, Signal
from PySide6.QtGui import QGuiApplication, QIcon
from PySide6.QtWidgets import QApplication, QSystemTrayIcon, QWidget

from lora_studio.core.system.programs import find_on_path, get_empty_folder

_LOG = logging.getLogger("lora_studio")

#: Milliseconds that the tray icon and its message stay.
_SHOWN_FOR = 15_000


class Notifications(Protocol):
    """Interface for notifications outside the window."""

    def notify(self, title: str, text: str) -> None:
        """Show a notification and return immediately."""


class DesktopNotifications(QObject):
    """Notifies through the system tray or notify-send, and flashes the task bar entry.

    Signals:
        clicked: the user clicked the notification.
    """

    # WORKAROUND: org.freedesktop.Notifications is not called directly. Its `Notify` takes an unsigned
    # number and a list of strings, and PySide 6 sends Python's int and list as "i" and "av", which
    # every notification server refuses.

    clicked = Signal()

    def __init__(self, window: QWidget, *, seen: bool | None = None) -> None:
        """Notify about `window`; `seen` is whether there is a visible desktop."""
        super().__init__(window)
        is_headless = QGuiApplication.platformName() in ("offscreen", "minimal")
        self._seen = not is_headless if seen is None else seen
        self._window = window
        self._tray: QSystemTrayIcon | None = None
        self._away = QTimer(self, singleShot=True, interval=_SHOWN_FOR)
        self._away.timeout.connect(self._hide_icon)

    def notify(self, title: str, text: str) -> None:
        """Show a message for some seconds.

        Desktops may read the text as markup with pictures and links, so it has no "<".
        """
        title, text = title.replace("<", "‹"), text.replace("<", "‹")
        QApplication.alert(self._window)
        if not self._seen:
            return
        if QSystemTrayIcon.isSystemTrayAvailable() and QSystemTrayIcon.supportsMessages():
            self._show_in_tray(title, text)
        elif program := find_on_path("notify-send"):
            arguments = ["--app-name=LoRA Studio", "--icon=lora-studio", "--", title, text]
            is_started = False
            with contextlib.suppress(OSError):
                folder = str(get_empty_folder())
                is_started = QProcess.startDetached(program, arguments, folder)[0]
            if not is_started:
                _LOG.warning("No notification: %s cannot be started", program)

    def leave(self) -> None:
        """Remove the tray icon."""
        self._hide_icon()

    def _show_in_tray(self, title: str, text: str) -> None:
        if self._tray is None:
            self._tray = QSystemTrayIcon(self._make_icon(), self)
            self._tray.messageClicked.connect(self.clicked)
            self._tray.activated.connect(self.clicked)
        self._tray.show()
        self._tray.showMessage(title, text, self._make_icon(), _SHOWN_FOR)
        self._away.start()

    def _hide_icon(self) -> None:
        self._away.stop()
        if self._tray is not None:
            self._tray.hide()

    @staticmethod
    def _make_icon() -> QIcon:
        return QGuiApplication.windowIcon()
