"""How far a job is, on the program's icon in the task bar, where the desktop has that."""

from __future__ import annotations

import os
import sys
from typing import Protocol

_ENTRY = "application://lora-studio.desktop"
_PATH, _INTERFACE = "/com/canonical/unity/launcherentry/1", "com.canonical.Unity.LauncherEntry"


class TaskBar(Protocol):
    """One way to show progress on the icon."""

    def show(self, share: float | None) -> None:
        """From 0 to 1, None for nothing."""


class NoTaskBar:
    """Where the desktop shows no progress."""

    def show(self, share: float | None) -> None:
        """Does nothing."""


class LauncherEntry:
    """The signal that Unity introduced and KDE Plasma, Ubuntu's Dock, Dash to Dock and others read."""

    def __init__(self) -> None:
        """Connects to the session bus with the first progress."""
        self._shown: float | None = None

    def show(self, share: float | None) -> None:
        """Tells the desktop whole percents only: anything finer cannot be seen."""
        rounded = None if share is None else round(share, 2)
        if rounded == self._shown:
            return
        self._shown = rounded
        from PySide6.QtDBus import QDBusConnection, QDBusMessage

        signal = QDBusMessage.createSignal(_PATH, _INTERFACE, "Update")
        signal.setArguments(
            [_ENTRY, {"progress": rounded or 0.0, "progress-visible": rounded is not None}]
        )
        QDBusConnection.sessionBus().send(signal)


def of_system(platform: str = sys.platform) -> TaskBar:
    """The way of this desktop."""
    has_bus = bool(os.environ.get("DBUS_SESSION_BUS_ADDRESS"))
    nobody = os.environ.get("QT_QPA_PLATFORM") in ("offscreen", "minimal")
    return LauncherEntry() if platform == "linux" and has_bus and not nobody else NoTaskBar()
