"""What can be done with the chosen runs: the actions, when each is possible, and doing it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from PySide6.QtCore import QObject, Qt, QUrl, Signal
from PySide6.QtGui import QAction, QDesktopServices, QKeySequence
from PySide6.QtWidgets import QFileDialog, QMenu, QWidget

from lora_studio.core.problems import Problem
from lora_studio.core.runs import copies
from lora_studio.core.runs import table as run_table
from lora_studio.core.runs.copies import Axis
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.runs.index import RunSummary
from lora_studio.core.runs.queue import QueuedRun
from lora_studio.core.system.files import write_atomic
from lora_studio.gui.desktop import trash
from lora_studio.gui.language import mark, tr, tr_n
from lora_studio.gui.pages.runs.dialogs import DeleteDialog
from lora_studio.gui.pages.runs.grid_dialog import GridDialog
from lora_studio.gui.pages.runs.library import RunLibrary
from lora_studio.gui.pages.runs.queue import RunQueue
from lora_studio.gui.project.state import ProjectState
from lora_studio.gui.theme import set_icon
from lora_studio.gui.threads import BackgroundReader, TaskRunner


@dataclass(frozen=True)
class _About:
    """Words, shortcut, icon, and what it does in a sentence."""

    text: str
    keys: str = ""
    icon: str = ""
    help: str = ""


ACTIONS: dict[str, _About] = {
    "open": _About(mark("Use for Merge and Export"), "Return", "check",
                   mark("Shows this run on the Train, Merge, and Export pages")),
    "resume": _About(mark("Resume"), "Ctrl+R", "play",
                     mark("Resumes training from the last checkpoint")),
    "go_on": _About(mark("Continue training"), "", "",
                    mark("Starts a new run with the same settings, initialized from this adapter")),
    "again": _About(mark("Run again"), "", "refresh",
                    mark("Starts a new run with the same settings")),
    "queue": _About(mark("Add to queue"), "Ctrl+Shift+Q", "plus",
                    mark("Resumes unfinished runs and repeats finished ones")),
    "settings": _About(mark("Copy settings"), "", "",
                       mark("Copies this run’s settings into the project; you can undo this")),
    "chat": _About(mark("Chat"), "Ctrl+Shift+T", "chat",
                   mark("Opens the playground with this adapter next to the base model")),
    "rename": _About(mark("Rename"), "F2"),
    "tag": _About(mark("Tags"), "Ctrl+T"),
    "csv": _About(mark("Export as CSV…"), "", "save",
                  mark("Exports the selected runs, or all listed runs, with every setting that differs")),
    "folder": _About(mark("Show folder"), "", "folder"),
    "delete": _About(mark("Delete…"), "Del", "trash",
                     mark("Moves runs, or only their checkpoints, to the trash")),
}  # fmt: skip

#: A line in the menu comes after these.
_ENDS = ("queue", "chat", "tag", "folder")


class RunActions(QObject):
    """Acts on `chosen`, which the page keeps up to date.

    Signals:
        open_requested(RunFolder): merging and export are to work on a run.
        close_requested: the run that they work on is about to be deleted.
        rename_requested, tag_requested: the fields for these are wanted.
        go_to(name): the user wants to see another place.
        chat_requested(folder): the user wants to talk to the adapter in a folder.
        runs_changed: something was made or deleted.
    """

    open_requested = Signal(object)
    close_requested = Signal()
    rename_requested = Signal()
    tag_requested = Signal()
    go_to = Signal(str)
    chat_requested = Signal(str)
    runs_changed = Signal()

    def __init__(
        self, state: ProjectState, library: RunLibrary, queue: RunQueue, owner: QWidget
    ) -> None:
        """`owner` hears the shortcuts, wherever in it the focus is, and dialogs belong to it."""
        super().__init__(owner)
        self._state, self._library, self._queue, self._owner = state, library, queue, owner
        self.chosen: list[RunSummary] = []
        self.shown: list[RunSummary] = []
        self.tasks = TaskRunner(self._failed, self)
        self.actions: dict[str, QAction] = {}
        self.menu = QMenu(owner)
        does = {
            "open": self.open, "resume": self._resume, "go_on": self._go_on, "again": self._again,
            "queue": self._queue_up, "settings": self._settings, "chat": self._talk,
            "csv": self._csv,
            "rename": self.rename_requested.emit, "tag": self.tag_requested.emit,
            "folder": self._show_folder, "delete": self._delete,
        }  # fmt: skip
        for name, about in ACTIONS.items():
            self._add(name, about, does[name])
        self.choose([], [])

    def listen(self, table: QWidget) -> None:
        """The shortcuts are heard in the table alone: elsewhere Enter and Delete mean other things."""
        for name, action in self.actions.items():
            if name != "open":  # Enter and double click are the table's own
                table.addAction(action)

    def choose(self, chosen: Sequence[RunSummary], shown: Sequence[RunSummary]) -> None:
        """The runs that actions are about, and those that the table shows."""
        self.chosen, self.shown = list(chosen), list(shown)
        some, one = bool(chosen), len(chosen) == 1
        busy = self._state.running != ""
        idle = [run for run in chosen if run.state != "running"]
        readable = [run for run in chosen if run.state != "unreadable"]
        first = chosen[0] if chosen else None
        possible = {
            "open": one
            and readable
            and (not busy or (first is not None and first.state == "running")),
            "resume": one and first is not None and (first.resumable or first.state == "new"),
            "go_on": one and first is not None and first.has_adapter,
            "again": bool(readable),
            "queue": bool(readable) and bool(idle),
            "settings": one and bool(readable),
            "chat": one and first is not None and first.has_adapter,
            "rename": one,
            "tag": some,
            "csv": bool(shown),
            "folder": one,
            "delete": some and len(idle) == len(chosen),
        }
        for name, on in possible.items():
            self.actions[name].setEnabled(bool(on))
        is_new = one and first is not None and first.state == "new"
        self.actions["resume"].setText(tr("Start now") if is_new else tr("Resume"))

    def leave(self) -> None:
        """Ends what is under way."""
        self.tasks.leave()

    # --- what each does -----------------------------------------------------------------------

    def open(self) -> None:
        """Makes the chosen run the one that merging and export work on."""
        if not self.actions["open"].isEnabled():
            return
        self.open_requested.emit(self._folder(self.chosen[0]))

    def _resume(self) -> None:
        run = self.chosen[0]
        self._queue.start_or_add(self._folder(run), resume=run.state != "new")

    def _go_on(self) -> None:
        run = self._folder(self.chosen[0])
        self._begin(lambda _: copies.go_on(run), self._start)

    def _again(self) -> None:
        runs = [self._folder(run) for run in self.chosen if run.state != "unreadable"]
        if len(runs) == 1:
            self._begin(lambda _: copies.again(runs[0]), self._start)
        else:
            self._begin(partial(_copies, [(run, True) for run in runs]), self._add_entries)

    def _queue_up(self) -> None:
        runs = [run for run in self.chosen if run.state not in ("unreadable", "running")]
        wanted = [(self._folder(run), run.state != "new" and not _is_cut(run)) for run in runs]
        self._begin(partial(_copies, wanted), self._add_entries)

    def _settings(self) -> None:
        run = self._folder(self.chosen[0])
        title = tr("Settings from {run}").format(run=self._library.called(self.chosen[0]))
        self._begin(lambda _: copies.settings_of(run), partial(self._take_over, title))

    def _talk(self) -> None:
        self.chat_requested.emit(str(self._folder(self.chosen[0]).adapter))

    def _csv(self) -> None:
        runs = self.chosen if len(self.chosen) > 1 else self.shown
        dialog = QFileDialog(
            self._owner,
            tr("Export runs as CSV"),
            str(self._state.draft.folder or Path.home()),
            tr("CSV files (*.csv)"),
        )
        dialog.setAcceptMode(QFileDialog.AcceptMode.AcceptSave)
        dialog.setDefaultSuffix("csv")
        dialog.selectFile(f"{self._state.name or 'project'}-runs.csv")
        dialog.fileSelected.connect(lambda file: self.write_csv(Path(file), runs))
        dialog.finished.connect(dialog.deleteLater)
        dialog.open()

    def search(self) -> None:
        """Asks for settings and values, and queues a run for each combination."""
        dialog = GridDialog(self._state, self._library.runs, self._owner)
        dialog.chosen.connect(self._search)
        dialog.open()

    def _search(self, axes: list[Axis]) -> None:
        draft = copy.deepcopy(self._state.draft)

        def work(thread: BackgroundReader) -> list[QueuedRun]:
            made = thread.cooperative_iter(copies.grid(draft, axes))
            return [QueuedRun(run=run.path.name) for run in made]

        self._begin(work, self._add_entries)

    def write_csv(self, file: Path, runs: Sequence[RunSummary]) -> None:
        """Writes runs as a table for other programs."""
        text = run_table.to_csv(runs)
        self._begin(
            lambda _: write_atomic(file, text),
            lambda _: self._state.messages.info(
                tr("Saved {file} to {folder}.").format(file=file.name, folder=file.parent)
            ),
        )

    def _show_folder(self) -> None:
        QDesktopServices.openUrl(QUrl.fromLocalFile(str(self._folder(self.chosen[0]).path)))

    def _delete(self) -> None:
        runs = list(self.chosen)
        dialog = DeleteDialog(runs, self._library.called(runs[0]), self._owner)
        dialog.all_chosen.connect(partial(self._trash, runs, False))
        dialog.checkpoints_chosen.connect(partial(self._trash, runs, True))
        dialog.open()

    # --- inside -------------------------------------------------------------------------------

    def _add(self, name: str, about: _About, do: Callable[[], object]) -> None:
        action = QAction(tr(about.text), self)
        if about.keys:
            action.setShortcut(QKeySequence(about.keys))
            action.setShortcutContext(Qt.ShortcutContext.WidgetShortcut)
        if about.help:
            action.setToolTip(tr(about.help))
            action.setStatusTip(tr(about.help))
        if about.icon:
            set_icon(action, about.icon)
        action.triggered.connect(lambda _=False: do())
        self.actions[name] = action
        self.menu.addAction(action)
        if name in _ENDS:
            self.menu.addSeparator()
        self.menu.setToolTipsVisible(True)

    def _begin(
        self, work: Callable[[BackgroundReader], object], then: Callable[[object], object]
    ) -> None:
        """Does work in a thread; what comes of it is of no use once another project is open."""
        folder = self._library.folder

        def take(result: object) -> None:
            if self._library.folder == folder:
                then(result)

        self.tasks.start(work, take)

    def _folder(self, run: RunSummary) -> RunFolder:
        return self._library.run(run.folder)

    def _start(self, made: object) -> None:
        assert isinstance(made, RunFolder)
        self._queue.start_or_add(made)
        self.runs_changed.emit()

    def _add_entries(self, entries: object) -> None:
        assert isinstance(entries, list)
        self._queue.add(entries)
        self._state.messages.info(
            tr_n("{n} run in the queue.", "{n} runs in the queue.", len(self._queue.items))
        )
        self.runs_changed.emit()

    def _take_over(self, title: str, changes: object) -> None:
        assert isinstance(changes, list)
        self._state.change(title, changes)
        self._state.messages.info(
            tr("Settings copied to the project. Use Undo to restore the previous settings.")
        )

    def _trash(self, runs: list[RunSummary], checkpoints: bool) -> None:
        folders = [self._folder(run) for run in runs]
        self._queue.remove([run.folder for run in runs if not checkpoints])
        places = [run.checkpoints if checkpoints else run.path for run in folders]
        there = [place for place in places if place.exists()]
        if not checkpoints and self._state.run in folders and not self._state.running:
            self.close_requested.emit()
        self._begin(partial(trash.move, there), partial(self._trashed, checkpoints))

    def _trashed(self, checkpoints: bool, gone: object) -> None:
        assert isinstance(gone, list)
        self._state.messages.info(
            tr_n("Moved the checkpoints of {n} run to the trash.",
                 "Moved the checkpoints of {n} runs to the trash.", len(gone))
            if checkpoints
            else tr_n("Moved {n} run to the trash.", "Moved {n} runs to the trash.", len(gone))
        )  # fmt: skip
        self.runs_changed.emit()

    def _failed(self, problem: object) -> None:
        assert isinstance(problem, Problem)
        self._state.messages.problem(problem)
        self.runs_changed.emit()


def _is_cut(run: RunSummary) -> bool:
    return run.resumable and run.state in ("paused", "interrupted", "failed", "stopped")


def _copies(wanted: Sequence[tuple[RunFolder, bool]], thread: BackgroundReader) -> list[QueuedRun]:
    """Entries for runs; those that are to be run again are copied, the others gone on with."""
    entries = []
    for run, copied in thread.cooperative_iter(wanted):
        begun = not copied and run.events_file.is_file()
        made = copies.again(run) if copied else run
        entries.append(QueuedRun(run=made.path.name, resume=begun))
    return entries
