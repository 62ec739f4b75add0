"""The main window: the shell with help, tour, appearance, closing and layout."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Literal, cast

from PySide6.QtCore import QByteArray, QObject, QSize, QTimer, Signal, SignalInstance
from PySide6.QtGui import QCloseEvent, QDragEnterEvent, QDropEvent, QShowEvent
from PySide6.QtWidgets import QHBoxLayout, QVBoxLayout, QWidget

from lora_studio.core.protocol.commands import COMMANDS
from lora_studio.gui import theme
from lora_studio.gui.frame.lazy_pages import MakePages, make_step_pages
from lora_studio.gui.frame.shell import Shell
from lora_studio.gui.help.commands import HelpCommands
from lora_studio.gui.help.tour import Tour
from lora_studio.gui.jobs.cluster_export import ClusterExport
from lora_studio.gui.jobs.control import JobControl
from lora_studio.gui.jobs.launcher import JobLauncher
from lora_studio.gui.language import mark, tr
from lora_studio.gui.message_translation import localize
from lora_studio.gui.preferences import Preferences, TextSize
from lora_studio.gui.problems.suggested_actions import PAGE_TITLES, STEP_TITLES
from lora_studio.gui.project import lock
from lora_studio.gui.project.commands import ProjectCommands
from lora_studio.gui.project.state import ProjectState
from lora_studio.gui.text_size import SIZES
from lora_studio.gui.widgets import tab_order
from lora_studio.gui.widgets.basics import button
from lora_studio.gui.widgets.dialog import Dialog
from lora_studio.gui.widgets.file_dialogs import get_dropped_project
from lora_studio.gui.widgets.work_cover import run_covered

#: Milliseconds after showing the window until it is painted and the gauges can start.
_PAINTED = 300


class Window(Shell):
    """The window of the program; `wiring.make_window` creates and connects it.

    Signals:
        reload_requested: replace this window by one in the chosen language.
    """

    reload_requested = Signal()

    def __init__(self, preferences: Preferences, make_pages: MakePages = make_step_pages) -> None:
        """Create the parts and lay them out; nothing is connected yet."""
        super().__init__(preferences, make_pages)
        self.help = HelpCommands(self)
        self.tour = Tour(self)
        self.appearance = Appearance(self)
        self.closing = CloseGuard(
            self.state, self.jobs, self.launcher, self.projects, self.cluster, self
        )
        self._gauges_delay = QTimer(self, singleShot=True, interval=_PAINTED)
        self._gauges_delay.timeout.connect(self.gauges.start)
        self._gauges_delay.timeout.connect(partial(fit_to_screen, self))
        self.setAcceptDrops(True)
        build_layout(self)

    def showEvent(self, event: QShowEvent) -> None:
        """Start the gauges once the window has been painted; then its frame is known, too."""
        super().showEvent(event)
        if not self.gauges.has_started:
            self._gauges_delay.start()

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        """Accept a project."""
        if get_dropped_project(event) is not None:
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:
        """Open the dropped project."""
        if (path := get_dropped_project(event)) is not None:
            event.acceptProposedAction()
            self.open_project(path)

    def focusNextPrevChild(self, forwards: bool) -> bool:
        """Move the focus to the next or previous control."""
        return tab_order.move_focus(self, forwards)

    def closeEvent(self, event: QCloseEvent) -> None:
        """Close now, or when the running job has ended, as the user chose."""
        self.commit()
        if self.closing.can_close():
            self.leave()
            event.accept()
        else:
            event.ignore()

    def find_last_project(self) -> Path | None:
        """Return the project of the last session, None if it is gone or open in another window."""
        name = self.preferences.open_project
        if not name or not os.path.isfile(name):  # noqa: PTH113 - Path.is_file raises without permission
            return None
        return None if self.lock.is_held_elsewhere(Path(name)) else Path(name)

    def restore_session(self, project: Path) -> None:
        """Open the project of the last session on the same page."""
        page = self.preferences.open_page
        if self.open_project(project) and (page in self.pages or page in self.app_pages):
            self.show_page(page)

    def leave(self) -> None:
        """Save, and end or detach all threads; a running job continues. Safe to call twice."""
        if self.has_project and self.state.dirty:
            self.state.save()
        self.tour.end()
        self.lock.release()
        self._gauges_delay.stop()
        for part in (
            self.gauges, self.desktop, self.notifications, self.cluster, self.engine,
            self.library, self.queue,
        ):  # fmt: skip
            part.leave()
        self.jobs.detach()  # before the pages, which read its state
        for page in self.all_pages if self.lazy_pages.is_created else [self.home]:
            page.leave()
        self.inspector.shut_down()
        self.preferences.open_project = str(self.state.draft.path or "")
        self.preferences.open_page = self.page_name
        self.preferences.geometry = bytes(self.saveGeometry().toHex().data()).decode()
        self.preferences.save()


class Appearance(QObject):
    """Applies what the user chooses in Settings or with a shortcut."""

    def __init__(self, shell: Shell) -> None:
        """Store the choices in the preferences of `shell`."""
        super().__init__(shell)
        self._shell, self._preferences = shell, shell.preferences
        self._is_pending = False

    def set_theme(self, mode: str) -> None:
        """Apply "light", "dark" or "system"."""
        self._preferences.theme = cast(theme.Mode, mode)
        self._preferences.save()
        self._apply_covered(tr("Changing the theme…"))

    def set_text_size(self, percent: int) -> None:
        """Apply one of `text_size.SIZES`, in percent."""
        self._preferences.text_size = cast(TextSize, percent)
        self._preferences.save()
        self._apply_covered(tr("Changing the text size…"))

    def _apply_covered(self, doing: str) -> None:
        """Apply theme and text size once for all changes that follow each other quickly."""
        if not self._is_pending:
            self._is_pending = True
            run_covered(self._shell, doing, self._apply)

    def _apply(self) -> None:
        """Style all widgets again, which takes some milliseconds for each, and there are thousands."""
        self._is_pending = False
        theme.get_theme().apply(self._preferences.theme)
        theme.get_theme().set_text_size(self._preferences.text_size)

    def zoom(self, by: int) -> None:
        """Apply the next larger (1) or smaller (-1) text size."""
        index = SIZES.index(self._preferences.text_size) + by
        if 0 <= index < len(SIZES):
            self.set_text_size(SIZES[index])
            if self._shell.lazy_pages.is_created:
                self._shell.settings.text_size.show_value(str(SIZES[index]))

    def set_language(self, code: str) -> None:
        """Save the language; `WindowReload` shows a window in it."""
        self._preferences.language = code
        self._preferences.save()


_ICONS = {
    "model": "model", "lora": "lora", "dataset": "dataset", "training": "train",
    "merging": "merge", "export": "export",
}  # fmt: skip
#: Height of a title bar in pixels, which isn't known before the window is shown.
_TITLE_BAR = 40


def build_layout(window: Shell) -> None:
    """Lay out the parts around Home, and restore the last size and position."""
    window.setWindowTitle("LoRA Studio")
    room = window.screen().availableGeometry().size() - QSize(0, _TITLE_BAR)
    window.setMinimumSize(QSize(960, 640).boundedTo(room))
    window.resize(QSize(1280, 800).boundedTo(room))
    window.restoreGeometry(QByteArray.fromHex(window.preferences.geometry.encode()))
    _fill_rail(window)
    window.stack.addWidget(window.home)
    right = QVBoxLayout()
    right.setSpacing(0)
    right.addWidget(window.header)
    right.addWidget(window.stack, 1)
    right.addWidget(window.strip)
    inner = QWidget()
    inner.setObjectName("window")
    layout = QHBoxLayout(inner)
    layout.setContentsMargins(0, 0, 0, 0)
    layout.setSpacing(0)
    layout.addWidget(window.rail)
    layout.addLayout(right, 1)
    window.setCentralWidget(inner)


def fit_to_screen(window: QWidget) -> None:
    """Shrink and move a window that is shown, so that its frame is inside its screen."""
    if window.isMaximized() or window.isFullScreen():
        return
    room, frame = window.screen().availableGeometry(), window.frameGeometry()
    if room.contains(frame):
        return
    border = frame.size() - window.size()
    window.resize(window.size().boundedTo(room.size() - border))
    left = min(max(frame.left(), room.left()), room.right() + 1 - window.frameGeometry().width())
    top = min(max(frame.top(), room.top()), room.bottom() + 1 - window.frameGeometry().height())
    window.move(left, top)


def _fill_rail(window: Shell) -> None:
    """Add an entry per page; the pages themselves need not exist yet."""
    rail = window.rail
    rail.add("home", "home", mark("Home"))
    rail.add_gap()
    for step, title in STEP_TITLES.items():
        rail.add(step, _ICONS[step], title)
    rail.add_space()
    for name, title in PAGE_TITLES.items():
        rail.add(name, name, title)


class CloseGuard(QObject):
    """Asks one question after another before the window closes.

    Signals:
        close_now: the window can be closed now, because what it waited for has ended.
    """

    close_now = Signal()

    def __init__(
        self,
        state: ProjectState,
        jobs: JobControl,
        launcher: JobLauncher,
        projects: ProjectCommands,
        cluster: ClusterExport,
        window: QWidget,
    ) -> None:
        """Follow these jobs; dialogs belong to `window`."""
        super().__init__(window)
        self._state, self._jobs, self._launcher, self._window = state, jobs, launcher, window
        self._projects, self._cluster = projects, cluster
        self._closes_when_idle = False  # the user chose to close after the running job
        jobs.ended.connect(self._close_if_idle)
        cluster.ended.connect(self._close_if_idle)

    def can_close(self) -> bool:
        """Return whether the window may close; otherwise ask, and `close_now` may follow."""
        if self._jobs.running and not lock.is_guest(self._state.draft):
            if not self._closes_when_idle:
                self._ask_about_job()
            return False
        if self._cluster.is_writing:
            if not self._closes_when_idle:
                self._ask_about_copying()
            return False
        if self._state.draft.path is not None and self._state.dirty and not self._state.save():
            self._ask_about_changes()
            return False
        return True

    def _close_if_idle(self) -> None:
        if self._closes_when_idle and not self._jobs.running and not self._cluster.is_writing:
            self._closes_when_idle = False
            self.close_now.emit()

    def _ask_about_job(self) -> None:
        dialog = ClosingDialog(self._jobs.kind, self._window)
        dialog.decided.connect(self._on_decided)
        dialog.rejected.connect(self._cancel_closing)
        self._jobs.ended.connect(dialog.accept)
        dialog.open()

    def _on_decided(self, decision: str) -> None:
        if decision == "background":
            self._jobs.detach()
            self.close_now.emit()
        else:
            self._closes_when_idle = True
            (self._launcher.pause if decision == "pause" else self._launcher.stop)()

    def _ask_about_copying(self) -> None:
        dialog = CopyingDialog(self._window)
        dialog.wait_chosen.connect(self._close_later)
        dialog.cancel_chosen.connect(self._cancel_copying)
        dialog.rejected.connect(self._cancel_closing)
        self._cluster.ended.connect(dialog.accept)
        dialog.open()

    def _close_later(self) -> None:
        self._closes_when_idle = True

    def _cancel_copying(self) -> None:
        self._closes_when_idle = True
        self._cluster.cancel()

    def _cancel_closing(self) -> None:
        self._closes_when_idle = False

    def _ask_about_changes(self) -> None:
        dialog = UnsavedDialog(self._state.name, self._window)
        dialog.save_as_clicked.connect(self._projects.save_as)
        dialog.discard_clicked.connect(self._discard)
        dialog.open()

    def _discard(self) -> None:
        self._state.undo.setClean()
        self.close_now.emit()


Decision = Literal["background", "pause", "stop"]


class ClosingDialog(Dialog):
    """Asks what to do with the running job. Closing the dialog keeps the window open.

    Signals:
        decided(decision): "background", "pause" (training only) or "stop".
    """

    decided = Signal(str)

    def __init__(self, kind: str, parent: QWidget | None = None) -> None:
        """Show the choices for a job of this `kind`."""
        text = tr("It can continue in the background. Reopen the project to see it again.")
        title = tr("{job} is running").format(job=localize(COMMANDS[kind].title))
        super().__init__(title, text, parent)
        stop = tr("Stop and save") if kind == "train" else tr("Cancel job")
        self.stay = self.add_button(button(tr("Cancel"), self.reject))
        self.stop = self.add_button(button(stop, lambda: self._end("stop")))
        self.pause = self.add_button(button(tr("Pause"), lambda: self._end("pause"), icon="pause"))
        self.pause.setVisible(kind == "train")
        self.background = self.add_button(
            button(tr("Continue in the background"), self._continue, kind="primary"), default=True
        )

    def _continue(self) -> None:
        self.accept()
        self.decided.emit("background")

    def _end(self, decision: Decision) -> None:
        for choice in (self.stop, self.pause, self.background):
            choice.setEnabled(False)
        self.text.setText(
            tr("Pausing after this step. The window then closes.")
            if decision == "pause"
            else tr("Stopping after this step. The window then closes.")
        )
        self.decided.emit(decision)


class CopyingDialog(Dialog):
    """Asks what to do with a folder that is being copied. Closing the dialog keeps the window open.

    Signals:
        wait_chosen: close when the copy is complete.
        cancel_chosen: cancel the copy and close.
    """

    wait_chosen = Signal()
    cancel_chosen = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        """Show the choices; Cancel keeps the window open."""
        text = tr("A folder for a cluster is being copied. An incomplete copy can't be used.")
        super().__init__(tr("Finish copying first?"), text, parent)
        self.add_button(button(tr("Cancel"), self.reject))
        self.cancel = self.add_button(
            button(tr("Cancel copying"), lambda: self._emit_decision(self.cancel_chosen))
        )
        wait = button(
            tr("Close when finished"), lambda: self._emit_decision(self.wait_chosen), kind="primary"
        )
        self.wait = self.add_button(wait, default=True)

    def _emit_decision(self, chosen: SignalInstance) -> None:
        self.cancel.setEnabled(False)
        self.wait.setEnabled(False)
        self.text.setText(tr("The window closes in a moment."))
        chosen.emit()


class UnsavedDialog(Dialog):
    """Asks what to do with changes that couldn't be saved automatically.

    Signals:
        save_as_clicked: save them to another folder.
        discard_clicked: close without saving.
    """

    save_as_clicked = Signal()
    discard_clicked = Signal()

    def __init__(self, name: str, parent: QWidget | None = None) -> None:
        """Show the choices for the project `name`."""
        text = tr("If you don't save, the changes since you opened the project are lost.")
        super().__init__(tr("Save the changes to {name}?").format(name=name), text, parent)
        self.discard = self.add_button(button(tr("Discard"), self._discard, kind="danger"))
        self.add_button(button(tr("Cancel"), self.reject))
        self.save_as = self.add_button(
            button(tr("Save as…"), self._save_as, kind="primary"), default=True
        )

    def _discard(self) -> None:
        self.accept()
        self.discard_clicked.emit()

    def _save_as(self) -> None:
        self.accept()
        self.save_as_clicked.emit()
