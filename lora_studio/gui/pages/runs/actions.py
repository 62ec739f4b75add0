"""Actions on the selected runs: which ones exist, when each is enabled, and what it does."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from PySide6.QtCore import QObject, Qt, Signal
from PySide6.QtGui import QAction, QKeySequence
from PySide6.QtWidgets import QMenu, QWidget

from lora_studio.core.problems import Problem, Where, fail
from lora_studio.core.project import run_consent
from lora_studio.core.project.access_requests import AccessRequest
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
from lora_studio.gui.project.undo import Change
from lora_studio.gui.theme import set_icon
from lora_studio.gui.threads import BackgroundReader, TaskRunner
from lora_studio.gui.widgets.external_open import open_path
from lora_studio.gui.widgets.file_dialogs import choose_file_to_write


@dataclass(frozen=True)
class _ActionInfo:
    """Text, shortcut, icon and tooltip of an action."""

    text: str
    keys: str = ""
    icon: str = ""
    help: str = ""


ACTIONS: dict[str, _ActionInfo] = {
    "open": _ActionInfo(mark("Use for Merge and Export"), "Return", "check",
                   mark("Shows this run on the Train, Merge, and Export pages")),
    "resume": _ActionInfo(mark("Resume"), "Ctrl+R", "play",
                     mark("Resumes training from the last checkpoint")),
    "continue": _ActionInfo(mark("Continue training"), "", "",
                    mark("Starts a new run with the same settings, initialized from this adapter")),
    "repeat": _ActionInfo(mark("Run again"), "", "refresh",
                    mark("Starts a new run with the same settings")),
    "queue": _ActionInfo(mark("Add to queue"), "Ctrl+Shift+Q", "plus",
                    mark("Resumes unfinished runs and repeats finished ones")),
    "settings": _ActionInfo(mark("Copy settings"), "", "",
                       mark("Copies this run's settings into the project; you can undo this")),
    "chat": _ActionInfo(mark("Chat"), "Ctrl+Shift+T", "chat",
                   mark("Opens the playground with this adapter next to the base model")),
    "rename": _ActionInfo(mark("Rename"), "F2"),
    "tag": _ActionInfo(mark("Tags"), "Ctrl+T"),
    "csv": _ActionInfo(mark("Export as CSV…"), "", "save",
                  mark("Exports the selected runs, or all listed runs, with every setting that differs")),
    "folder": _ActionInfo(mark("Show folder"), "", "folder"),
    "delete": _ActionInfo(mark("Delete…"), "Del", "trash",
                     mark("Moves runs, or only their checkpoints, to the trash")),
}  # fmt: skip

#: Actions with a separator after them in the menu.
_GROUP_ENDS = ("queue", "chat", "tag", "folder")


class RunActions(QObject):
    """Performs actions on the `chosen` runs, which the page updates.

    Signals:
        open_requested(RunFolder): use a run for merging and export.
        close_requested: the run used for merging and export is about to be deleted.
        rename_requested, tag_requested: focus the field for the title or the tags.
        go_to(name): open another page.
        chat_requested(folder): chat with the adapter in a folder.
        runs_changed: runs were created or deleted.
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
        """Create the actions; `owner` is the parent of dialogs and menus."""
        super().__init__(owner)
        self._state, self._library, self._queue, self._owner = state, library, queue, owner
        self.chosen: list[RunSummary] = []
        self.shown: list[RunSummary] = []
        self.tasks = TaskRunner(self._on_failed, self)
        self.actions: dict[str, QAction] = {}
        self.menu = QMenu(owner)
        handlers = {
            "open": self.open, "resume": self._resume, "continue": self._continue,
            "repeat": self._repeat, "queue": self._enqueue, "settings": self._copy_settings,
            "chat": self._request_chat, "csv": self._export_csv,
            "rename": self.rename_requested.emit, "tag": self.tag_requested.emit,
            "folder": self._show_folder, "delete": self._delete,
        }  # fmt: skip
        for name, info in ACTIONS.items():
            self._add(name, info, handlers[name])
        self.choose([], [])

    def add_shortcuts(self, table: QWidget) -> None:
        """Enable the shortcuts in the table only; elsewhere Enter and Delete have other
        meanings.
        """
        for name, action in self.actions.items():
            if name != "open":  # the table handles Enter and double clicks itself
                table.addAction(action)

    def choose(self, chosen: Sequence[RunSummary], shown: Sequence[RunSummary]) -> None:
        """Set the selected and the listed runs, and enable the actions that apply to them."""
        self.chosen, self.shown = list(chosen), list(shown)
        only = chosen[0] if len(chosen) == 1 else None
        busy = self._state.running != ""
        idle = [run for run in chosen if run.state != "running"]
        readable = [run for run in chosen if run.state != "unreadable"]
        writes_text = only is not None and only.writes_text
        is_new = only is not None and only.state == "new"
        enabled = {
            "open": only is not None and bool(readable) and (not busy or only.state == "running"),
            "resume": is_new or (only is not None and only.is_resumable),
            "continue": writes_text,
            "repeat": bool(readable),
            "queue": bool(readable) and bool(idle),
            "settings": only is not None and bool(readable),
            "chat": writes_text,
            "rename": only is not None,
            "tag": bool(chosen),
            "csv": bool(shown),
            "folder": only is not None,
            "delete": bool(chosen) and len(idle) == len(chosen),
        }
        for name, is_enabled in enabled.items():
            self.actions[name].setEnabled(is_enabled)
        self.actions["resume"].setText(tr("Start now") if is_new else tr("Resume"))

    def leave(self) -> None:
        """Stop background tasks."""
        self.tasks.leave()

    # --- handlers -----------------------------------------------------------------------------

    def open(self) -> None:
        """Use the selected run for merging and export."""
        if not self.actions["open"].isEnabled():
            return
        self.open_requested.emit(self._get_folder(self.chosen[0]))

    def _resume(self) -> None:
        run = self.chosen[0]
        self._queue.start_or_add(self._get_folder(run), resume=run.state != "new")

    def _continue(self) -> None:
        run = self._get_folder(self.chosen[0])
        self._begin(lambda _: copies.continue_training(run), self._start)

    def _repeat(self) -> None:
        runs = [self._get_folder(run) for run in self.chosen if run.state != "unreadable"]
        if len(runs) == 1:
            self._begin(lambda _: copies.repeat_run(runs[0]), self._start)
        else:
            self._begin(partial(_make_copies, [(run, True) for run in runs]), self._add_entries)

    def _enqueue(self) -> None:
        runs = [run for run in self.chosen if run.state not in ("unreadable", "running")]
        pairs = [
            (self._get_folder(run), run.state != "new" and not _is_unfinished(run)) for run in runs
        ]
        self._begin(partial(_make_copies, pairs), self._add_entries)

    def _copy_settings(self) -> None:
        run = self._get_folder(self.chosen[0])
        title = tr("Settings from {run}").format(run=self._library.get_display_name(self.chosen[0]))
        self._begin(lambda _: _read_settings(run), partial(self._apply_settings, title))

    def _request_chat(self) -> None:
        self.chat_requested.emit(str(self._get_folder(self.chosen[0]).adapter))

    def _export_csv(self) -> None:
        runs = self.chosen if len(self.chosen) > 1 else self.shown
        folder = self._state.draft.folder or Path.home()
        choose_file_to_write(
            self._owner,
            tr("Export runs as CSV"),
            lambda file: self.write_csv(Path(file), runs),
            folder / f"{self._state.name or 'project'}-runs.csv",
            tr("CSV files (*.csv)"),
        )

    def open_grid_search(self) -> None:
        """Open the grid search dialog, which queues a run for each combination of values."""
        dialog = GridDialog(self._state, self._library.runs, self._owner)
        dialog.chosen.connect(self._queue_grid)
        dialog.open()

    def _queue_grid(self, axes: list[Axis]) -> None:
        draft = copy.deepcopy(self._state.draft)

        if not self._state.require_accepted():
            return

        def work(thread: BackgroundReader) -> list[QueuedRun]:
            runs = thread.cooperative_iter(copies.create_grid_runs(draft, axes))
            return [QueuedRun(run=run.path.name) for run in runs]

        self._begin(work, self._add_entries)

    def write_csv(self, file: Path, runs: Sequence[RunSummary]) -> None:
        """Write runs to a CSV file."""
        text = run_table.to_csv(runs)
        self._begin(
            lambda _: write_atomic(file, text),
            lambda _: self._state.messages.success(
                tr("Saved {file} to {folder}.").format(file=file.name, folder=file.parent)
            ),
        )

    def _show_folder(self) -> None:
        open_path(self._get_folder(self.chosen[0]).path)

    def _delete(self) -> None:
        runs = list(self.chosen)
        dialog = DeleteDialog(runs, self._library.get_display_name(runs[0]), self._owner)
        dialog.all_chosen.connect(partial(self._trash, runs, False))
        dialog.checkpoints_chosen.connect(partial(self._trash, runs, True))
        dialog.open()

    # --- implementation -----------------------------------------------------------------------

    def _add(self, name: str, info: _ActionInfo, handler: Callable[[], object]) -> None:
        action = QAction(tr(info.text), self)
        if info.keys:
            action.setShortcut(QKeySequence(info.keys))
            action.setShortcutContext(Qt.ShortcutContext.WidgetShortcut)
        if info.help:
            action.setToolTip(tr(info.help))
            action.setStatusTip(tr(info.help))
        if info.icon:
            set_icon(action, info.icon)
        action.triggered.connect(lambda _=False: handler())
        self.actions[name] = action
        self.menu.addAction(action)
        if name in _GROUP_ENDS:
            self.menu.addSeparator()
        self.menu.setToolTipsVisible(True)

    def _begin(
        self, work: Callable[[BackgroundReader], object], then: Callable[[object], object]
    ) -> None:
        """Run `work` in a thread; its result is discarded if another project is opened meanwhile."""
        folder = self._library.folder

        def deliver(result: object) -> None:
            if self._library.folder == folder:
                then(result)

        self.tasks.start(work, deliver)

    def _get_folder(self, run: RunSummary) -> RunFolder:
        return self._library.run(run.folder)

    def _start(self, run: object) -> None:
        assert isinstance(run, RunFolder)
        self._queue.start_or_add(run)
        self.runs_changed.emit()

    def _add_entries(self, entries: object) -> None:
        assert isinstance(entries, list)
        self._queue.add(entries)
        self._state.messages.success(
            tr_n("{n} run in the queue.", "{n} runs in the queue.", len(self._queue.items))
        )
        self.runs_changed.emit()

    def _apply_settings(self, title: str, settings: object) -> None:
        assert isinstance(settings, tuple)
        if self._state.adopt(title, *settings):
            self._state.messages.success(
                tr("Settings copied to the project. Use Undo to restore the previous settings.")
            )

    def _trash(self, runs: list[RunSummary], checkpoints: bool) -> None:
        folders = [self._get_folder(run) for run in runs]
        self._queue.remove([run.folder for run in runs if not checkpoints])
        if not checkpoints and self._state.run in folders and not self._state.running:
            self.close_requested.emit()
        self._begin(
            partial(trash.move_to_trash, _iter_deleted(folders, checkpoints)),
            partial(self._report_trashed, checkpoints),
        )

    def _report_trashed(self, checkpoints: bool, moved: object) -> None:
        assert isinstance(moved, list)
        self._state.messages.success(
            tr_n("Moved the checkpoints of {n} run to the trash.",
                 "Moved the checkpoints of {n} runs to the trash.", len(moved))
            if checkpoints
            else tr_n("Moved {n} run to the trash.", "Moved {n} runs to the trash.", len(moved))
        )  # fmt: skip
        self.runs_changed.emit()

    def _on_failed(self, problem: object) -> None:
        assert isinstance(problem, Problem)
        self._state.messages.problem(problem)
        self.runs_changed.emit()


def _iter_deleted(runs: Sequence[RunFolder], checkpoints: bool) -> Iterator[Path]:
    """Yield the folders of runs, or of their checkpoints; raises ProblemError at a run that is in use.

    Another program may have started a job since they were selected.
    """
    for run in runs:
        if run.is_running():
            raise fail(
                "run.in_use",
                "{run} wasn't deleted: a job is running in it.",
                "Wait until the job ends or stop it, then delete the run.",
                run=run.path.name,
                where=Where(file=str(run.path)),
            )
        path = run.checkpoints if checkpoints else run.path
        if path.exists():
            yield path


def _is_unfinished(run: RunSummary) -> bool:
    return run.is_resumable and run.state in ("paused", "interrupted", "failed", "stopped")


def _read_settings(run: RunFolder) -> tuple[list[Change], list[AccessRequest]]:
    """Return the settings of a run, and what the user has allowed it to ask for; raises ProblemError."""
    frozen = run.load_project()
    is_allowed = run_consent.is_allowed(run.path, frozen)
    requests = run_consent.list_requests(run.path, frozen) if is_allowed else []
    return copies.list_settings(run), requests


def _make_copies(
    wanted: Sequence[tuple[RunFolder, bool]], thread: BackgroundReader
) -> list[QueuedRun]:
    """Return queue entries for (run, copy) pairs: a copy of the run, or the run itself to
    resume.
    """
    entries = []
    for run, is_copied in thread.cooperative_iter(wanted):
        has_begun = not is_copied and run.events_file.is_file()
        queued = copies.repeat_run(run) if is_copied else run
        entries.append(QueuedRun(run=queued.path.name, resume=has_begun))
    return entries
