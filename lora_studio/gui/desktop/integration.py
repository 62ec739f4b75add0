"""The desktop around the window: progress, notifications, sleep, and the trash."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol

from PySide6.QtCore import QFile, QObject, QProcess, QStandardPaths, QTimer, Signal
from PySide6.QtGui import QGuiApplication, QIcon
from PySide6.QtWidgets import QApplication, QSystemTrayIcon, QWidget

from lora_studio.client.sleep_inhibitor import SleepInhibitor
from lora_studio.core import formatting
from lora_studio.core.messages import Text, counted, text
from lora_studio.core.problems import Where, fail
from lora_studio.core.protocol import events
from lora_studio.core.protocol.commands import COMMANDS
from lora_studio.core.system.programs import find_on_path, get_empty_folder
from lora_studio.gui.jobs.control import JobControl
from lora_studio.gui.language import tr
from lora_studio.gui.message_translation import localize
from lora_studio.gui.threads import BackgroundReader

#: Seconds after which the user is probably doing something else.
LONG = 60.0
#: Seconds before the task bar shows a job's progress.
VISIBLE_AFTER = 10.0
#: Seconds between two checks for a new worker, which replaces one that ran out of memory.
LOOK_EVERY = 5.0


class DesktopIntegration(QObject):
    """Follows the window's jobs; only jobs longer than `LONG` end with a notification."""

    def __init__(
        self,
        jobs: JobControl,
        awake: SleepInhibitor,
        bar: TaskBar,
        notifications: Notifications,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Use this system's sleep inhibitor, task bar and notifications; `clock` is in seconds."""
        super().__init__(jobs)
        self._jobs, self._awake, self._bar, self._notifications, self._clock = (
            jobs,
            awake,
            bar,
            notifications,
            clock,
        )
        self._begun: float | None = None
        self._worker: int | None = None  # process ID of the worker that the system stays awake for
        self._looked = float("-inf")
        jobs.changed.connect(self._on_changed)
        jobs.ended.connect(self._on_ended)

    def stop_background_work(self) -> None:
        """Stop following; a running worker keeps the system awake itself."""
        self._awake.detach()
        self._worker = None
        self._bar.show(None)

    def _on_changed(self) -> None:
        jobs, now = self._jobs, self._clock()
        if not jobs.running:
            self._bar.show(None)
            self._allow_sleep()
            return
        if self._begun is None:
            self._begun, self._looked = now, float("-inf")
        if now - self._looked >= (LOOK_EVERY if self._worker is not None else 0.5):
            self._looked = now
            self._prevent_sleep()
        self._bar.show(jobs.progress.share if now - self._begun >= VISIBLE_AFTER else None)

    def _allow_sleep(self) -> None:
        """Let the system sleep if the job has ended; a detached worker keeps it awake itself."""
        if self._worker is None:
            return
        self._worker = None
        if self._jobs.run is None:
            self._awake.detach()
            self._begun = None
        else:
            self._awake.release()

    def _prevent_sleep(self) -> None:
        worker = self._jobs.run.worker_pid() if self._jobs.run is not None else None
        if worker is not None and worker != self._worker:
            self._worker = worker
            self._awake.hold(worker, localize(COMMANDS[self._jobs.kind].title))

    def _on_ended(self, kind: str, ending: events.Ending) -> None:
        begun, self._begun = self._begun, None
        took = self._clock() - begun if begun is not None else 0.0
        if took >= LONG:
            self._notifications.notify(_format_title(kind, ending), _format_text(ending, took))


def _format_title(kind: str, ending: events.Ending) -> str:
    match ending:
        case events.Done(paused=True):
            return tr("Training paused")
        case events.Done(stopped=True):
            return tr("Training stopped")
        case events.Failed():
            return tr("{job} failed").format(job=localize(COMMANDS[kind].title))
        case events.Cancelled():
            return tr("{job} canceled").format(job=localize(COMMANDS[kind].title))
    return tr("{job} finished").format(job=localize(COMMANDS[kind].title))


def _format_text(ending: events.Ending, took: float) -> str:
    if isinstance(ending, events.Failed):
        return localize(ending.problem.what)
    return tr("After {time}.").format(time=formatting.format_duration(took))


_ENTRY = "application://lora-studio.desktop"
_PATH, _INTERFACE = "/com/canonical/unity/launcherentry/1", "com.canonical.Unity.LauncherEntry"


class TaskBar(Protocol):
    """Interface for showing progress on the icon."""

    def show(self, share: float | None) -> None:
        """Show a share from 0 to 1, or no progress for None."""


class NoTaskBar:
    """For desktops that can't show progress."""

    def show(self, share: float | None) -> None:
        """Do nothing."""


class LauncherEntry:
    """Sends Unity's D-Bus signal, which KDE Plasma, Ubuntu Dock and Dash to Dock support."""

    def __init__(self) -> None:
        """Create it without a connection; the first progress connects to the session bus."""
        self._shown: float | None = None

    def show(self, share: float | None) -> None:
        """Send whole percents; smaller steps can't be seen."""
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


def make_task_bar(platform: str = sys.platform) -> TaskBar:
    """Return the implementation for this desktop."""
    has_bus = bool(os.environ.get("DBUS_SESSION_BUS_ADDRESS"))
    is_headless = os.environ.get("QT_QPA_PLATFORM") in ("offscreen", "minimal")
    return LauncherEntry() if platform == "linux" and has_bus and not is_headless else NoTaskBar()


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

    def stop_background_work(self) -> None:
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


def move_to_trash(paths: Iterable[Path], thread: BackgroundReader) -> list[Path]:
    """Move files and folders to the trash and return those moved.

    Raises ProblemError at the first one that can't be moved.
    """
    # WORKAROUND: Qt creates the trash, but not its parent folder.
    home = QStandardPaths.writableLocation(QStandardPaths.StandardLocation.GenericDataLocation)
    with contextlib.suppress(OSError):
        Path(home).mkdir(parents=True, exist_ok=True)
    moved: list[Path] = []
    for path in thread.cooperative_iter(paths):
        if path.exists() and not QFile.moveToTrash(str(path)):
            raise fail(
                "files.no_trash",
                _describe_failure(path.name, len(moved)),
                "Close programs that use it, or delete it in the file manager.",
                where=Where(file=str(path)),
            )
        moved.append(path)
    return moved


def _describe_failure(name: str, moved: int) -> Text:
    if not moved:
        return text("Can't move {name} to the trash.", name=name)
    return counted(
        moved,
        "Can't move {name} to the trash. {n} item before it was moved.",
        "Can't move {name} to the trash. {n} items before it were moved.",
        name=name,
    )
