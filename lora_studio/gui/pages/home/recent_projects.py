"""Scan recent projects in a thread: reading runs can be slow on a slow disk."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from PySide6.QtCore import Signal

from lora_studio.core import formatting as words
from lora_studio.core.messages import NO_TEXT, Text
from lora_studio.core.project.project import read_title
from lora_studio.core.runs import facts, folder
from lora_studio.core.runs.facts import RunProgress
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.runs.state import State
from lora_studio.gui.language import mark, tr
from lora_studio.gui.threads import DetachedThread

#: What the state of the latest run means to the user.
RUN_STATE_TITLES: dict[State, str] = {
    "new": mark("Not started"),
    "running": mark("Running"),
    "paused": mark("Paused"),
    "stopped": mark("Stopped"),
    "interrupted": mark("Interrupted"),
    "failed": mark("Failed"),
    "trained": mark("Trained"),
    "merged": mark("Merged"),
    "exported": mark("Exported"),
}


@dataclass(frozen=True)
class ProjectSummary:
    """A recent project: its file, its latest run and the state of that run."""

    file: Path
    changed: float  # seconds since 1970
    run: RunFolder | None = None
    state: State | None = None
    is_loaded: bool = True  # False until its runs have been read
    step: int = 0  # completed steps of an unfinished training run, of `steps`
    steps: int = 0
    reason: Text = NO_TEXT  # why it was interrupted
    training: bool = False  # whether the unfinished run is a training run
    is_missing: bool = False  # its file no longer exists
    title: str = ""  # as the file says

    @property
    def name(self) -> str:
        """Return the project's name; until its file has been read, that of the file."""
        return self.title or self.file.stem

    @property
    def is_unfinished(self) -> bool:
        """Return whether its run is running, paused or interrupted."""
        return self.state in ("running", "paused", "interrupted")

    @property
    def status_text(self) -> str:
        """Return the state of the project for display."""
        if self.is_missing:
            return tr("Not found: it was moved or renamed, or its drive isn't connected")
        if not self.is_loaded:
            return tr("Loading runs…")
        if self.state is None:
            return tr("No runs yet")
        state = tr(RUN_STATE_TITLES[self.state])
        if not self.steps:
            return state
        return tr("{state}, step {step} of {steps}").format(
            state=state, step=words.format_number(self.step), steps=words.format_number(self.steps)
        )

    @property
    def is_resumable(self) -> bool:
        """Return whether training can resume: from a checkpoint, or from a pause before the first
        one.
        """
        if self.state == "paused":
            return True
        if self.state != "interrupted" or not self.training:
            return False
        return bool(self.run and self.run.list_checkpoint_steps())


def summarize_project(file: Path) -> ProjectSummary:
    """Return the summary of one project; a running run takes precedence over a later one."""
    run = folder.find_latest(file.parent / "runs")
    changed = max(file.stat().st_mtime, run.path.stat().st_mtime if run else 0.0)
    title = read_title(file)
    if run is None:
        return ProjectSummary(file, changed, title=title)
    summary = ProjectSummary(file, changed, run, run.read_state(), title=title)
    if not summary.is_unfinished:
        return summary
    progress = facts.follow_events(run, RunProgress())
    reason = facts.explain_end(progress) if summary.state == "interrupted" else NO_TEXT
    return replace(
        summary, step=progress.step, steps=progress.steps, reason=reason, training=progress.training
    )


class ProjectScan(DetachedThread):
    """Reads several projects.

    Signals:
        scanned(ProjectScan): the scan is complete and `summaries` is filled.
    """

    scanned = Signal(object)

    def __init__(self, files: list[Path]) -> None:
        """Create a scan of project files, the latest first."""
        super().__init__()
        self._files = files
        #: Unfinished projects first and missing ones last, otherwise in the given order.
        self.summaries: list[ProjectSummary] = []

    def run(self) -> None:
        """Mark missing projects, and skip those that can't be read."""
        summaries = []
        for file in self._files:
            if self.isInterruptionRequested():
                return
            try:
                summaries.append(summarize_project(file))
            except FileNotFoundError:
                summaries.append(ProjectSummary(file, 0.0, is_missing=True))
            except OSError:
                continue
        if not self.silent:
            self.summaries = sorted(
                summaries, key=lambda item: (not item.is_unfinished, item.is_missing)
            )
            self.scanned.emit(self)
