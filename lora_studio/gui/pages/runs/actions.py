"""Actions on the selected runs: which ones exist, when each is enabled, and what it does."""

from __future__ import annotations

import contextlib
import copy
import math
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from PySide6.QtCore import QObject, Qt, QTimer, Signal
from PySide6.QtGui import QAction, QKeySequence
from PySide6.QtWidgets import (
    QCheckBox,
    QComboBox,
    QCompleter,
    QMenu,
    QVBoxLayout,
    QWidget,
)

from lora_studio.core import formatting
from lora_studio.core.memory import estimate
from lora_studio.core.problems import Problem, ProblemError, Where, fail
from lora_studio.core.project import access_requests, presets
from lora_studio.core.project.access_requests import AccessRequest
from lora_studio.core.project.project import SPECS
from lora_studio.core.runs import grid_search
from lora_studio.core.runs import table as run_table
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.runs.grid_search import Axis
from lora_studio.core.runs.index import RunIndex, RunSummary
from lora_studio.core.runs.names import RunNames
from lora_studio.core.runs.queue import QueuedRun
from lora_studio.core.spec import FieldFacts
from lora_studio.core.system.files import write_atomic
from lora_studio.core.training.spec import TrainingSpec
from lora_studio.gui.controls.controls import LineEdit, format_value, parse
from lora_studio.gui.desktop import integration
from lora_studio.gui.language import mark, tr, tr_n
from lora_studio.gui.message_translation import localize, localize_facts
from lora_studio.gui.pages.runs.queue import RunQueue
from lora_studio.gui.project import run_preview
from lora_studio.gui.project.state import Change, ProjectState
from lora_studio.gui.theme import Spacing, set_icon
from lora_studio.gui.threads import BackgroundReader, DetachedThread, ObsoleteResult, TaskRunner
from lora_studio.gui.widgets.basics import FlowLayout, button, label
from lora_studio.gui.widgets.dialog import Dialog
from lora_studio.gui.widgets.external_open import open_path
from lora_studio.gui.widgets.file_dialogs import choose_file_to_write
from lora_studio.gui.widgets.tooltips import plain_tip


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
        chat_requested(folder): chat with the adapter in a folder.
        runs_changed: runs were created or deleted.
    """

    open_requested = Signal(object)
    close_requested = Signal()
    rename_requested = Signal()
    tag_requested = Signal()
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

    def stop_background_work(self) -> None:
        """Stop background tasks."""
        self.tasks.stop_background_work()

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
        self._begin(lambda _: grid_search.continue_training(run), self._start)

    def _repeat(self) -> None:
        runs = [self._get_folder(run) for run in self.chosen if run.state != "unreadable"]
        if len(runs) == 1:
            self._begin(lambda _: grid_search.repeat_run(runs[0]), self._start)
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
            runs = thread.cooperative_iter(grid_search.create_grid_runs(draft, axes))
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
            partial(integration.move_to_trash, _iter_deleted(folders, checkpoints)),
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
    is_allowed = not access_requests.list_unallowed_of_run(run.path, frozen)
    requests = access_requests.list_run_requests(run.path, frozen) if is_allowed else []
    return grid_search.list_settings(run), requests


def _make_copies(
    wanted: Sequence[tuple[RunFolder, bool]], thread: BackgroundReader
) -> list[QueuedRun]:
    """Return queue entries for (run, copy) pairs: a copy of the run, or the run itself to
    resume.
    """
    entries = []
    for run, is_copied in thread.cooperative_iter(wanted):
        has_begun = not is_copied and run.events_file.is_file()
        queued = grid_search.repeat_run(run) if is_copied else run
        entries.append(QueuedRun(run=queued.path.name, resume=has_begun))
    return entries


class DeleteDialog(Dialog):
    """Asks whether to delete runs or only their checkpoints, and shows the disk space that this frees.

    Signals:
        all_chosen, checkpoints_chosen: move the runs or their checkpoints to the trash.
    """

    all_chosen = Signal()
    checkpoints_chosen = Signal()

    def __init__(
        self, runs: Sequence[RunSummary], name: str, parent: QWidget | None = None
    ) -> None:
        """Ask about `runs`; `name` is the display name of the first one."""
        total = sum(run.bytes for run in runs)
        checkpoints = sum(run.checkpoint_bytes for run in runs)
        title = (
            tr("Delete {name}?").format(name=name)
            if len(runs) == 1
            else tr_n("Delete {n} run?", "Delete {n} runs?", len(runs))
        )
        super().__init__(title, _describe_consequences(runs), parent)
        self.add_button(button(tr("Cancel"), self.reject), default=True)
        self.checkpoints = self.add_button(
            button(
                tr("Delete checkpoints only ({size})").format(
                    size=formatting.format_size(checkpoints)
                ),
                lambda: self._decide(self.checkpoints_chosen),
            )
        )
        self.checkpoints.setToolTip(
            tr("Keeps everything else. Unfinished runs can no longer be resumed.")
        )
        self.checkpoints.setVisible(bool(checkpoints))
        self.all = self.add_button(
            button(
                tr("Delete ({size})").format(size=formatting.format_size(total)),
                lambda: self._decide(self.all_chosen),
                kind="danger",
                icon="trash",
                role="error",
            )
        )

    def _decide(self, signal: object) -> None:
        self.accept()
        signal.emit()  # type: ignore[attr-defined]  # PySide types signals as descriptors alone


def _describe_consequences(runs: Sequence[RunSummary]) -> str:
    """Return what deleting these runs means, in two or three sentences."""
    sentences = [
        tr(
            "Settings, metrics, adapter, merged model, and GGUF files ({size}) move to the trash."
        ).format(size=formatting.format_size(sum(run.bytes for run in runs)))
    ]
    if resumable := sum(run.is_resumable for run in runs):
        sentences.append(
            tr("The run can no longer be resumed.")
            if len(runs) == 1
            else tr_n(
                "{n} of the runs can no longer be resumed.",
                "{n} of the runs can no longer be resumed.",
                resumable,
            )
        )
    sentences.append(tr("Empty the trash to free the disk space."))
    return " ".join(sentences)


class GridDialog(Dialog):
    """Asks for settings and values, and shows the number of runs and the estimated time.

    Signals:
        chosen(axes): the settings with their values, for `copies.grid`.
    """

    chosen = Signal(list)

    def __init__(
        self,
        state: ProjectState,
        earlier: Sequence[RunSummary],
        parent: QWidget | None = None,
    ) -> None:
        """Estimate the time from the project, or from the `earlier` runs if that isn't possible."""
        text = tr(
            "Queues a run for every combination of values. All other settings come from the "
            "project."
        )
        super().__init__(tr("Grid search"), text, parent)
        self._state, self._earlier = state, earlier
        self.first = AxisEditor(tr("First setting"), "lora.rank")
        self.second = AxisEditor(tr("Second setting"), "training.learning_rate", optional=True)
        self.total = label(wrap=True)
        for part in (self.first, self.second, self.total):
            self.body.addWidget(part)
        self.add_button(button(tr("Cancel"), self.reject))
        self.add = self.add_button(
            button(tr("Add to queue"), self._accept, kind="primary"), default=True
        )
        self.first.changed.connect(self._check)
        self.second.changed.connect(self._check)
        for editor in (self.first, self.second):  # line edits consume Enter and Esc
            editor.numbers.entered.connect(self.add.click)
            editor.numbers.reverted.connect(self.reject)
        self._check()

    def list_axes(self) -> list[Axis]:
        """Return the settings with their values."""
        editors = [editor for editor in (self.first, self.second) if editor.name]
        return [(editor.name, tuple(editor.parse_values())) for editor in editors]

    def _check(self) -> None:
        self._show_total()
        QTimer.singleShot(0, self, self._fit)  # runs after the layouts have processed the changes

    def _fit(self) -> None:
        layout = self.layout()
        assert layout is not None
        for editor in (self.first, self.second):
            editor.fit(layout.contentsRect().width())
        layout.activate()
        self.resize(self.width(), layout.totalHeightForWidth(self.width()))

    def _show_total(self) -> None:
        is_valid = True
        for editor in (self.first, self.second):
            editor.show_error(self._find_error(editor))
            is_valid = is_valid and editor.error.isHidden()
        try:
            count = len(grid_search.list_combinations(self.list_axes()))
        except ProblemError as error:
            text = f"{localize(error.problems[0].what)} {localize(error.problems[0].remedy)}"
            self.total.setText(text if is_valid else "")
            self.add.setEnabled(False)
            return
        self.add.setEnabled(is_valid)
        self.add.setText(tr_n("Add {n} run to queue", "Add {n} runs to queue", count))
        self.total.setText(self._describe_total(count) if is_valid else "")

    def _find_error(self, editor: AxisEditor) -> str:
        if not editor.name:
            return ""
        if editor is self.second and editor.name == self.first.name:
            return tr("This setting is already selected as the first setting.")
        values = editor.parse_values()
        for value in values:
            if problem := grid_search.check_value(self._state.draft, editor.name, value):
                return f"{localize(problem.what)} {localize(problem.remedy)}"
        return "" if values else tr("Enter at least one value.")

    def _describe_total(self, count: int) -> str:
        lines = [self._describe_time(count)]
        names = {editor.name for editor in (self.first, self.second)}
        ratio = presets.get_ratio(self._state.get, ("lora", "rank"))
        if "lora.rank" in names and "lora.alpha" not in names and ratio is not None:
            lines.append(
                tr("Alpha stays {ratio} × rank.").format(
                    ratio=formatting.format_float(ratio, ".3g")
                )
            )
        return "\n".join(lines)

    def _describe_time(self, count: int) -> str:
        seconds = self._estimate_seconds()
        if seconds is None:
            return tr_n(
                "{n} run. An estimate of the time appears after the first run.",
                "{n} runs. An estimate of the time appears after the first run.",
                count,
            )
        time = formatting.format_duration(seconds)
        return tr_n("{n} run, about {time}", "{n} runs, about {time} in total", count, time=time)

    def _estimate_seconds(self) -> float | None:
        """Return the estimated seconds of all runs together, None if unknown."""
        estimates = [
            self._run_seconds(values) for values in grid_search.list_combinations(self.list_axes())
        ]
        if all(each is not None for each in estimates):
            return math.fsum(each for each in estimates if each is not None)
        recent = [run.seconds for run in self._earlier if run.has_adapter and run.seconds > 0][:5]
        return len(estimates) * math.fsum(recent) / len(recent) if recent else None

    def _run_seconds(self, values: tuple[object, ...]) -> float | None:
        plan = run_preview.make_plan(self._state)
        if plan is None:
            return None
        changes = {
            setting.partition(".")[2]: value
            for (setting, _), value in zip(self.list_axes(), values, strict=True)
            if setting.startswith("training.")
        }
        try:
            training = TrainingSpec.model_validate(plan.training.model_dump() | changes)
        except ValueError:
            return None
        return estimate.estimate_seconds(replace(plan, training=training))

    def _accept(self) -> None:
        self.accept()
        self.chosen.emit(self.list_axes())


#: Suggested values by setting.
_SUGGESTED: dict[str, str] = {
    "lora.rank": "8 16 32", "training.learning_rate": "5e-5 1e-4 2e-4", "training.epochs": "1 2 3",
    "lora.dropout": "0 0.05 0.1", "lora.alpha": "16 32 64",
}  # fmt: skip


def parse_numbers(text: str, about: FieldFacts) -> list[Any]:
    """Return the numbers of a list in any notation: `8 16 32`, `1e-4, 2e-4`, `0,05; 0,1`, `1k, 2k`.

    Text that isn't a number is returned as typed. A comma separates numbers unless there are spaces
    or
    semicolons.
    """
    if about.unit:
        text = re.sub(rf"(?i)\b{re.escape(about.unit)}\b", " ", text)
    text = re.sub(r"(?<=\d)\s+(?=%)", "", text)
    parts = re.split(r"[;\s]+", text.strip(" ;,"))
    if len(parts) == 1:
        parts = parts[0].split(",")
    return [parse(part.strip(","), about) for part in parts if part.strip(",")]


class AxisEditor(QWidget):
    """Selects a setting by name; numbers are typed as a list, choices are checked.

    Signals:
        changed: the setting or its values changed.
    """

    changed = Signal()

    def __init__(
        self, name: str, chosen: str, *, optional: bool = False, parent: QWidget | None = None
    ) -> None:
        """Preselect the setting `chosen`; if `optional`, "None" can be selected too."""
        super().__init__(parent)
        self._abouts = {
            setting: localize_facts(SPECS[grid_search.split_setting(setting)[0]], about.name)
            for setting, about in grid_search.list_searchable_settings().items()
        }
        self.setting, self.numbers, self.choices = QComboBox(), LineEdit(), QWidget()
        self._flow = FlowLayout(self.choices, Spacing.M)
        self.boxes: list[tuple[QCheckBox, Any]] = []
        self.error = label(role="error", wrap=True)
        self._fill_setting(name, optional=optional)
        self.numbers.setAccessibleName(tr("Values of {setting}").format(setting=name))
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(Spacing.XS)
        caption = label(name, "label")
        caption.setBuddy(self.setting)
        for part in (caption, self.setting, self.numbers, self.choices, self.error):
            layout.addWidget(part)
        self.setting.setCurrentIndex(max(0, self.setting.findData(chosen)))
        self.setting.currentIndexChanged.connect(lambda _: self._show_values())
        line = self.setting.lineEdit()
        assert line is not None
        line.editingFinished.connect(self._restore_setting)
        self.numbers.textChanged.connect(lambda _: self.changed.emit())
        self._show_values()

    def _fill_setting(self, name: str, *, optional: bool) -> None:
        """List all settings that can be searched; typing filters the list."""
        self.setting.setAccessibleName(name)
        self.setting.setEditable(True)
        self.setting.setInsertPolicy(QComboBox.InsertPolicy.NoInsert)
        if optional:
            self.setting.addItem(tr("None"), "")
        for setting, about in self._abouts.items():
            self.setting.addItem(about.title, setting)
            self.setting.setItemData(
                self.setting.count() - 1, f"{setting}\n{about.description}",
                Qt.ItemDataRole.ToolTipRole,
            )  # fmt: skip
        completer = self.setting.completer()
        assert completer is not None  # an editable list has one
        completer.setFilterMode(Qt.MatchFlag.MatchContains)
        completer.setCompletionMode(QCompleter.CompletionMode.PopupCompletion)

    @property
    def name(self) -> str:
        """The selected setting, "" for none."""
        return str(self.setting.currentData() or "")

    def get_facts(self) -> FieldFacts | None:
        """Return the facts of the selected setting, None for none."""
        return self._abouts.get(self.name)

    def parse_values(self) -> list[Any]:
        """Return the values to try."""
        about = self.get_facts()
        if about is None:
            return []
        if self.boxes:
            return [value for box, value in self.boxes if box.isChecked()]
        return list(dict.fromkeys(parse_numbers(self.numbers.text(), about)))

    def fit(self, width: int) -> None:
        """Set the height that choices and error need at a width, in pixels."""
        for part in (self.choices, self.error):
            if not part.isHidden():
                part.setMinimumHeight(part.heightForWidth(width))
        layout = self.layout()
        assert layout is not None
        layout.activate()

    def choose(self, setting: str) -> None:
        """Select a setting."""
        self.setting.setCurrentIndex(self.setting.findData(setting))

    def show_error(self, text: str) -> None:
        """Show an error below the values, "" for none."""
        self.error.setText(text)
        self.error.setVisible(bool(text))

    def _restore_setting(self) -> None:
        """Restore the selected setting if the typed text isn't the name of one."""
        index = self.setting.findText(self.setting.currentText(), Qt.MatchFlag.MatchFixedString)
        self.setting.setCurrentIndex(index if index >= 0 else self.setting.currentIndex())
        self.setting.setEditText(self.setting.itemText(self.setting.currentIndex()))

    def _show_values(self) -> None:
        about = self.get_facts()
        for box, _ in self.boxes:
            self._flow.removeWidget(box)
            box.deleteLater()
        self.boxes = []
        if about is not None and about.kind in ("choice", "flag"):
            choices = about.choices or {}
            options = (
                [(title, value) for value, title in choices.items()]
                if about.kind == "choice"
                else [(tr("no"), False), (tr("yes"), True)]
            )
            for title, value in options:
                box = QCheckBox(title)
                box.toggled.connect(lambda _: self.changed.emit())
                self._flow.addWidget(box)
                box.show()
                self.boxes.append((box, value))
        self.choices.setVisible(bool(self.boxes))
        self.numbers.setVisible(about is not None and not self.boxes)
        if about is not None and not self.boxes:
            self.numbers.setText(_SUGGESTED.get(self.name) or format_value(about.default, about))
            self.numbers.setToolTip(
                plain_tip(
                    tr("Values in {unit}, separated by spaces").format(unit=tr(about.unit))
                    if about.unit
                    else tr("Values, separated by spaces")
                )
            )
        self.show_error("")
        self.changed.emit()


class RunLibrary(QObject):
    """Holds the summary of every run; never blocks the window.

    Signals:
        changed: `runs` has changed.
        ready: a scan has finished.
    """

    changed = Signal()
    ready = Signal()

    def __init__(self, parent: QObject | None = None) -> None:
        """Start without a project."""
        super().__init__(parent)
        self.runs: list[RunSummary] = []
        self.folder: Path | None = None
        self._index: RunIndex | None = None
        self._scan: _Scan | None = None
        self._needs_rescan = False
        self.is_loaded = True  # False until a project's runs have been scanned
        self._started_at = 0.0
        self.scan_seconds = 0.0  # duration of the latest scan

    def open(self, folder: Path | None) -> None:
        """Switch to another project's runs; call `refresh` to scan them."""
        self.stop_background_work()
        self.folder, self.runs = folder, []
        self._index, self.is_loaded = None, folder is None
        self.changed.emit()

    def refresh(self) -> None:
        """Scan the runs now, or again after the scan in progress."""
        if self.folder is None:
            return
        if self._scan is not None:
            self._needs_rescan = True
            return
        self._needs_rescan, self._started_at = False, time.monotonic()
        self._index = self._index or RunIndex(self.folder)
        self._scan = _Scan(self._index)
        self._scan.scanned.connect(self._on_scanned)
        self._scan.over.connect(self._on_finished)
        self._scan.start()

    def get(self, name: str) -> RunSummary | None:
        """Return a run by the name of its folder, None if there is none."""
        return next((run for run in self.runs if run.folder == name), None)

    def get_display_name(self, run: RunSummary) -> str:
        """Return the display name of a run, which is unique among the others."""
        return RunNames(self.runs).get(run)

    def run(self, name: str) -> RunFolder:
        """Return the folder of a run."""
        assert self.folder is not None
        return RunFolder(self.folder / name)

    @property
    def is_scanning(self) -> bool:
        """Whether a scan is in progress."""
        return self._scan is not None

    def stop_background_work(self) -> None:
        """Cancel the scan in progress. Can be called repeatedly."""
        if self._scan is not None:
            self._scan.forget()
            self._scan = self._index = None  # the thread may still use the index
        self._needs_rescan = False

    def _on_scanned(self, scan: object, runs: list[RunSummary]) -> None:
        if scan is self._scan and runs != self.runs:
            self.runs = runs
            self.changed.emit()

    def _on_finished(self, scan: object) -> None:
        if scan is not self._scan:  # the queued signal of a canceled scan
            return
        self._scan = None
        self.scan_seconds = time.monotonic() - self._started_at
        if not self.is_loaded:
            self.is_loaded = True
            self.changed.emit()
        self.ready.emit()
        if self._needs_rescan:
            self.refresh()


class _Scan(DetachedThread):
    """One scan: emits the cached runs first, then the current ones.

    Signals:
        scanned(scan, list[RunSummary]): runs, newest first.
        over(scan): the scan has finished.
    """

    scanned = Signal(object, object)
    over = Signal(object)

    def __init__(self, index: RunIndex) -> None:
        super().__init__()
        self._index = index

    def run(self) -> None:
        """Emit lists of runs until the scan is complete or canceled."""
        if cached := self._index.load():
            self.scanned.emit(self, cached)
        with contextlib.suppress(ObsoleteResult):
            for cached in self._index.refresh(self.cooperative_iter):
                if self.silent:
                    return
                self.scanned.emit(self, cached)
        self.over.emit(self)
