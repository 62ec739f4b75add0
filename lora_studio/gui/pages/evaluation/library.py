"""The evaluations of a project, listed and read in background threads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from PySide6.QtCore import QObject, Signal

from lora_studio.core.evaluation import overlay, preferences, storage, summary
from lora_studio.core.evaluation.columns import Column
from lora_studio.core.evaluation.preferences import Preference
from lora_studio.core.evaluation.results import EvaluationResults
from lora_studio.core.evaluation.storage import EvaluationFolder
from lora_studio.core.evaluation.summary import EvaluationSummary
from lora_studio.core.playground import Playground, Vote
from lora_studio.core.problems import ProblemError
from lora_studio.core.runs import folder as run_folder
from lora_studio.core.runs import names, speakers
from lora_studio.core.runs.folder import RunFolder
from lora_studio.gui.pages.evaluation.column_names import format_column
from lora_studio.gui.threads import BackgroundReader, TaskRunner


@dataclass(frozen=True)
class RunChoice:
    """A run that can be evaluated: its name, its models, and its evaluations, the newest first."""

    run: RunFolder
    name: str
    columns: tuple[Column, ...]
    evaluations: tuple[EvaluationFolder, ...]


@dataclass(frozen=True)
class ReadEvaluation:
    """An evaluation as read from its folder, with what it shows so far.

    `votes` are people's blind votes in the Playground of the project, and `preferences` those of its judge
    and of these people. `others` are overlaid; `is_complete` is about this evaluation, without them.
    """

    folder: EvaluationFolder
    results: EvaluationResults
    summary: EvaluationSummary
    votes: tuple[Vote, ...] = ()
    preferences: tuple[Preference, ...] = ()
    is_complete: bool = True
    others: tuple[EvaluationFolder, ...] = ()


class EvaluationLibrary(QObject):
    """Lists the runs of a project with their evaluations, and reads one evaluation at a time.

    Signals:
        listed(list[RunChoice]): the runs that can be evaluated, newest first.
        read(ReadEvaluation): an evaluation was read.
        failed(problem): a folder can't be read.
    """

    listed = Signal(object)
    read = Signal(object)
    failed = Signal(object)

    def __init__(self, parent: QObject | None = None) -> None:
        """Start without a project."""
        super().__init__(parent)
        self._tasks = TaskRunner(self.failed.emit, self)
        self._wanted: EvaluationFolder | None = None
        self._others: tuple[EvaluationFolder, ...] = ()
        self._reading = False
        self._again = False
        self._listing = 0

    def refresh(self, runs: Path | None) -> None:
        """List the runs in a folder."""
        if runs is not None:
            self._listing += 1
            self._tasks.start(partial(_list_choices, runs), partial(self._on_listed, self._listing))

    def open(
        self, folder: EvaluationFolder | None, others: Sequence[EvaluationFolder] = ()
    ) -> None:
        """Read an evaluation, or read it again after the read in progress; None shows none.

        The evaluations in `others` are overlaid.
        """
        self._wanted, self._others = folder, tuple(others)
        if folder is None or self._reading:
            self._again = folder is not None
            return
        self._reading, self._again = True, False
        self._tasks.start(partial(_read, folder, self._others), self._on_read)

    def leave(self) -> None:
        """End all reads. Can be called repeatedly."""
        self._tasks.leave()
        self._reading = False

    def _on_listed(self, listing: int, choices: object) -> None:
        """Report a list, unless a newer one was asked for: lists can arrive in another order."""
        if listing == self._listing:
            self.listed.emit(choices)

    def _on_read(self, outcome: object) -> None:
        self._reading = False
        if isinstance(outcome, ProblemError):
            self.failed.emit(outcome.problems[0])
        elif isinstance(outcome, ReadEvaluation) and (outcome.folder, outcome.others) == (
            self._wanted,
            self._others,
        ):  # a read that began before other evaluations were chosen is outdated
            self.read.emit(outcome)
        if self._again:
            self.open(self._wanted, self._others)


def _list_choices(runs: Path, thread: BackgroundReader) -> list[RunChoice]:
    choices = []
    for run in thread.cooperative_iter(run_folder.list_runs(runs)):
        try:
            columns = tuple(speakers.list_run_columns(run))
        except (ProblemError, OSError):
            continue  # a damaged run; the Runs page says so
        evaluations = tuple(storage.list_evaluations(run.evaluations))
        if columns or evaluations:
            choices.append(RunChoice(run, names.read_run_name(run), columns, evaluations))
    return sorted(choices, key=lambda choice: choice.run.path.name, reverse=True)


def _read(
    folder: EvaluationFolder, others: Sequence[EvaluationFolder], _thread: BackgroundReader
) -> ReadEvaluation | ProblemError:
    """Return the evaluation, or the error, which must not lose the reader its next task."""
    try:
        results = folder.read()
        is_complete = results.is_complete
        if others:
            results = overlay.overlay([results, *(each.read() for each in others)], format_column)
    except ProblemError as error:
        return error
    shown = summary.summarize(results)
    votes = tuple(Playground.of_run(folder.path.parent.parent).find_votes())
    found = preferences.list_preferences(results, votes, shown.baseline)
    return ReadEvaluation(folder, results, shown, votes, tuple(found), is_complete, tuple(others))
