"""The main window: the shell with help, tour, appearance, closing and layout."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import cast

from PySide6.QtCore import QByteArray, QObject, QSize, QTimer, Signal, SignalInstance
from PySide6.QtGui import QCloseEvent, QDragEnterEvent, QDropEvent, QShowEvent
from PySide6.QtWidgets import QHBoxLayout, QPushButton, QVBoxLayout, QWidget

from lora_studio.core.protocol.commands import COMMANDS
from lora_studio.gui import theme
from lora_studio.gui.frame.lazy_pages import MakePages, make_step_pages
from lora_studio.gui.frame.shell import Shell
from lora_studio.gui.help.commands import HelpCommands
from lora_studio.gui.help.tour import Tour
from lora_studio.gui.language import mark, tr
from lora_studio.gui.message_translation import localize
from lora_studio.gui.preferences import Preferences, TextSize
from lora_studio.gui.problems.suggested_actions import PAGE_TITLES, STEP_TITLES
from lora_studio.gui.project import lock
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
        self.closing = CloseGuard(self)
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
            self.shut_down()
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

    def shut_down(self) -> None:
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
            part.stop_background_work()
        self.jobs.detach()  # before the pages, which read its state
        for page in self.all_pages if self.lazy_pages.is_created else [self.home]:
            page.stop_background_work()
        self.query_workers.shut_down()
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

    def __init__(self, window: Shell) -> None:
        """Follow the jobs of a window, to which the dialogs belong."""
        super().__init__(window)
        self._window, self._state, self._jobs = window, window.state, window.jobs
        self._cluster = window.cluster
        self._closes_when_idle = False  # the user chose to close after the running job
        self._jobs.ended.connect(self._close_if_idle)
        self._cluster.ended.connect(self._close_if_idle)

    def can_close(self) -> bool:
        """Return whether the window may close; otherwise ask, and `close_now` may follow."""
        state = self._state
        if self._jobs.running and not lock.is_guest(state.draft):
            if not self._closes_when_idle:
                self.make_job_dialog(self._jobs.kind).open()
        elif self._cluster.is_writing:
            if not self._closes_when_idle:
                self.make_copying_dialog().open()
        elif state.draft.path is not None and state.dirty and not state.save():
            self.make_unsaved_dialog().open()
        else:
            return True
        return False

    def make_job_dialog(self, kind: str) -> CloseDialog:
        """Return a dialog that asks what to do with a running job of this `kind`."""
        dialog = CloseDialog(
            tr("{job} is running").format(job=localize(COMMANDS[kind].title)),
            tr("It can continue in the background. Reopen the project to see it again."),
            self._window,
        )
        launcher, is_training = self._window.launcher, kind == "train"
        dialog.add_stay()
        dialog.add_choice(
            "stop",
            button(tr("Stop and save") if is_training else tr("Cancel job")),
            partial(self._close_after, launcher.stop),
            tr("Stopping after this step. The window then closes."),
        )
        if is_training:
            dialog.add_choice(
                "pause",
                button(tr("Pause"), icon="pause"),
                partial(self._close_after, launcher.pause),
                tr("Pausing after this step. The window then closes."),
            )
        in_background = button(tr("Continue in the background"), kind="primary")
        dialog.add_choice("background", in_background, self._detach)
        self._wait(dialog, self._jobs.ended)
        return dialog

    def make_copying_dialog(self) -> CloseDialog:
        """Return a dialog that asks what to do with a folder that is being copied."""
        text = tr("A folder for a cluster is being copied. An incomplete copy can't be used.")
        dialog = CloseDialog(tr("Finish copying first?"), text, self._window)
        closing = tr("The window closes in a moment.")
        dialog.add_stay()
        dialog.add_choice(
            "cancel",
            button(tr("Cancel copying")),
            partial(self._close_after, self._cluster.cancel),
            closing,
        )
        wait = button(tr("Close when finished"), kind="primary")
        dialog.add_choice("wait", wait, self._close_after, closing)
        self._wait(dialog, self._cluster.ended)
        return dialog

    def make_unsaved_dialog(self) -> CloseDialog:
        """Return a dialog that asks what to do with changes that couldn't be saved automatically."""
        text = tr("If you don't save, the changes since you opened the project are lost.")
        title = tr("Save the changes to {name}?").format(name=self._state.name)
        dialog = CloseDialog(title, text, self._window)
        dialog.add_choice("discard", button(tr("Discard"), kind="danger"), self._discard)
        dialog.add_stay()
        save_as = button(tr("Save as…"), kind="primary")
        dialog.add_choice("save_as", save_as, self._window.projects.save_as)
        return dialog

    def _wait(self, dialog: CloseDialog, ended: SignalInstance) -> None:
        """Close the dialog when what it asks about has ended; Cancel keeps the window open."""
        ended.connect(dialog.accept)
        dialog.rejected.connect(self._stay_open)

    def _close_after(self, end: Callable[[], object] = lambda: None) -> None:
        self._closes_when_idle = True
        end()

    def _stay_open(self) -> None:
        self._closes_when_idle = False

    def _close_if_idle(self) -> None:
        if self._closes_when_idle and not self._jobs.running and not self._cluster.is_writing:
            self._closes_when_idle = False
            self.close_now.emit()

    def _detach(self) -> None:
        self._jobs.detach()
        self.close_now.emit()

    def _discard(self) -> None:
        self._state.undo.setClean()
        self.close_now.emit()


class CloseDialog(Dialog):
    """Asks what to do before the window closes. Closing the dialog keeps the window open."""

    def __init__(self, title: str, text: str, parent: QWidget) -> None:
        """Create the dialog without buttons; `choices` has those of `add_choice` by name."""
        super().__init__(title, text, parent)
        self.choices: dict[str, QPushButton] = {}

    def add_stay(self) -> None:
        """Add the button that keeps the window open."""
        self.stay = self.add_button(button(tr("Cancel"), self.reject))

    def add_choice(
        self, name: str, choice: QPushButton, action: Callable[[], object], waiting: str = ""
    ) -> None:
        """Add a button; with `waiting`, the dialog then shows this text instead of closing."""

        def choose() -> None:
            if waiting:
                for each in self.choices.values():
                    each.setEnabled(False)
                self.text.setText(waiting)
            else:
                self.accept()
            action()

        choice.clicked.connect(choose)
        is_default = choice.property("kind") == "primary"
        self.choices[name] = self.add_button(choice, default=is_default)
