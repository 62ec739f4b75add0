"""A desktop notification: for who does something else while a job runs."""

from __future__ import annotations

import logging
import shutil
from typing import Protocol

from PySide6.QtCore import QObject, QProcess, QTimer, Signal
from PySide6.QtGui import QGuiApplication, QIcon
from PySide6.QtWidgets import QApplication, QSystemTrayIcon, QWidget

_LOG = logging.getLogger("lora_studio")

#: Milliseconds that the icon which carries a message stays.
_SHOWN_FOR = 15_000


class Notifications(Protocol):
    """One way to tell the user something outside of the window."""

    def tell(self, title: str, text: str) -> None:
        """Shows it once; does not wait."""


class DesktopNotifications(QObject):
    """The tray where there is one, else notify-send; the task bar's entry asks for a look in any case.

    Signals:
        clicked: the user wants to see what it is about.
    """

    # WORKAROUND: org.freedesktop.Notifications is not called directly. Its `Notify` takes an unsigned
    # number and a list of strings, and PySide 6 sends Python's int and list as "i" and "av", which
    # every notification server refuses.

    clicked = Signal()

    def __init__(self, window: QWidget, *, seen: bool | None = None) -> None:
        """`window` is what the news is about; `seen` whether anybody sits before a desktop."""
        super().__init__(window)
        nobody = QGuiApplication.platformName() in ("offscreen", "minimal")
        self._seen = not nobody if seen is None else seen
        self._window = window
        self._tray: QSystemTrayIcon | None = None
        self._away = QTimer(self, singleShot=True, interval=_SHOWN_FOR)
        self._away.timeout.connect(self._put_away)

    def tell(self, title: str, text: str) -> None:
        """Shows a message for some seconds."""
        QApplication.alert(self._window)
        if not self._seen:
            return
        if QSystemTrayIcon.isSystemTrayAvailable() and QSystemTrayIcon.supportsMessages():
            self._tell_in_tray(title, text)
        elif program := shutil.which("notify-send"):
            arguments = ["--app-name=LoRA Studio", "--icon=lora-studio", "--", title, text]
            if not QProcess.startDetached(program, arguments)[0]:
                _LOG.warning("No notification: %s cannot be started", program)

    def leave(self) -> None:
        """The window closes: takes the icon away."""
        self._put_away()

    def _tell_in_tray(self, title: str, text: str) -> None:
        if self._tray is None:
            self._tray = QSystemTrayIcon(self._icon(), self)
            self._tray.messageClicked.connect(self.clicked)
            self._tray.activated.connect(self.clicked)
        self._tray.show()
        self._tray.showMessage(title, text, self._icon(), _SHOWN_FOR)
        self._away.start()

    def _put_away(self) -> None:
        self._away.stop()
        if self._tray is not None:
            self._tray.hide()

    @staticmethod
    def _icon() -> QIcon:
        return QGuiApplication.windowIcon()
