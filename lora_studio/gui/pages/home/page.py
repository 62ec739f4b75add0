"""Home: new project, open, sample project, and the recent projects."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from PySide6.QtCore import QObject, Qt, QTimer, Signal
from PySide6.QtGui import QDragEnterEvent, QDropEvent, QMouseEvent
from PySide6.QtWidgets import (
    QFrame,
    QLabel,
    QMenu,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from lora_studio.core import formatting as words
from lora_studio.core.messages import NO_TEXT, Text
from lora_studio.core.problems import Problem, Where, warning
from lora_studio.core.project.project import read_title
from lora_studio.core.project.samples import SAMPLES
from lora_studio.core.runs import facts, folder
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.runs.state import RunState, State
from lora_studio.core.system.paths import expand_home
from lora_studio.gui.language import mark, tr, tr_n
from lora_studio.gui.message_translation import localize
from lora_studio.gui.pages.page import AppPage
from lora_studio.gui.problems.suggested_actions import Messages
from lora_studio.gui.theme import Spacing, get_palette, get_theme, pixmap
from lora_studio.gui.threads import DetachedThread
from lora_studio.gui.widgets.basics import (
    Card,
    EmptyState,
    button,
    clear_layout,
    column,
    flow_row,
    label,
    row,
    separator,
    tool_button,
)
from lora_studio.gui.widgets.file_dialogs import get_dropped_paths
from lora_studio.gui.widgets.glyph import ElidedLabel
from lora_studio.gui.widgets.tooltips import plain_tip

_WIDTH = 760

#: Milliseconds between two scans while a run is running.
_RESCAN_EVERY = 2000


class HomePage(AppPage):
    """The start page: three buttons above the recent projects, unfinished ones first.

    Signals:
        new_clicked, open_clicked: the first two buttons.
        sample_clicked(SampleName): open this sample project.
        data_dropped(list[Path]): create a project with these data files.
        project_clicked(Path): open a recent project.
        resume_clicked(Path): resume the training run of a recent project.
        scanned(list[ProjectSummary]): the current summaries of the recent projects.
        forget_clicked(Path): remove a project from the list.
        locate_clicked(Path): ask the user where a missing project is.
    """

    name = "home"
    title = "LoRA Studio"

    new_clicked = Signal()
    open_clicked = Signal()
    sample_clicked = Signal(str)
    data_dropped = Signal(object)
    project_clicked = Signal(object)
    resume_clicked = Signal(object)
    scanned = Signal(object)
    forget_clicked = Signal(object)
    locate_clicked = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        """Create the page with an empty list."""
        super().__init__(parent)
        self.header.hide()  # the title is in the column below
        self.scan: ProjectScan | None = None
        self._files: list[Path] = []
        self._shown: dict[Path, _ProjectRow] = {}
        self._rescan = QTimer(self, singleShot=True, interval=_RESCAN_EVERY)
        self._rescan.timeout.connect(self._scan_again)
        self.unfinished, self._unfinished_rows = _list_card(tr("Unfinished"))
        self._recent, self._rows = _list_card(tr("Recent projects"))
        self.new = button(tr("New project"), self.new_clicked.emit, kind="primary", icon="plus")
        self.sample = self._create_sample_button(tr("Sample project"))
        self.open = button(tr("Open…"), self.open_clicked.emit, icon="folder")
        inner = QWidget()
        inner.setObjectName("scrolled")
        inner.setMaximumWidth(_WIDTH)
        content = QVBoxLayout(inner)
        content.setContentsMargins(0, Spacing.XXL, 0, Spacing.PAGE)
        content.setSpacing(Spacing.L)
        content.addWidget(label(self.title, "title"))
        content.addWidget(
            label(
                tr(
                    "Fine-tune a language model on your own examples, then run "
                    "exactly what you trained in Ollama."
                ),
                "muted",
                wrap=True,
            )
        )
        content.addWidget(flow_row(self.new, self.open, self.sample, at_end=False))
        content.addWidget(self.unfinished)
        content.addWidget(self._recent)
        content.addStretch(1)
        centered = row(None, inner, None, spacing=0)
        centered.setStretch(1, 100)
        self.body.setContentsMargins(Spacing.PAGE, 0, Spacing.PAGE, 0)
        self.body.addLayout(centered)
        self.summaries: list[ProjectSummary] = []
        get_theme().changed.connect(self._fill)
        self.setAcceptDrops(True)
        self._fill()

    def show_recent(self, files: list[Path]) -> None:
        """List the projects immediately, then read their runs in the background.

        While the page is shown, running runs are read again until they end.
        """
        previous = {item.file: item for item in self.summaries}
        self._set_summaries([_mark_unknown(previous.get(file), file) for file in files])
        self._files = files
        self._start_scan()

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        """Accept data files; the window accepts projects."""
        if _get_dropped_data(event):
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:
        """Start a project with the dropped files."""
        if files := _get_dropped_data(event):
            event.acceptProposedAction()
            self.data_dropped.emit(files)

    def press_primary(self) -> None:
        """Create a new project."""
        self.new.click()

    def stop_background_work(self) -> None:
        """Stop a running scan of the projects."""
        self._rescan.stop()
        if self.scan is not None:
            self.scan.forget()
            self.scan = None

    def _create_sample_button(self, title: str) -> QPushButton:
        """Return a button with a menu of the sample projects, whose tooltips say what each shows."""
        sample_button = button(title, icon="sample")
        menu = QMenu(sample_button)
        menu.setToolTipsVisible(True)
        for name, sample in SAMPLES.items():
            action = menu.addAction(localize(sample.title), partial(self.sample_clicked.emit, name))
            action.setToolTip(plain_tip(localize(sample.about)))
        sample_button.setMenu(menu)
        return sample_button

    def _on_scanned(self, scan: ProjectScan) -> None:
        if scan is self.scan:  # a dropped scan may still deliver its result
            if _without_progress(scan.summaries) == _without_progress(self.summaries):
                self._show_progress(scan.summaries)
            else:
                self._set_summaries(scan.summaries)
            self.scanned.emit(scan.summaries)
            if any(summary.state == "running" for summary in scan.summaries):
                self._rescan.start()

    def _start_scan(self) -> None:
        self.stop_background_work()
        self.scan = ProjectScan(self._files)
        self.scan.scanned.connect(self._on_scanned)
        self.scan.start()

    def _scan_again(self) -> None:
        if self.isVisible():
            self._start_scan()

    def _set_summaries(self, summaries: list[ProjectSummary]) -> None:
        self.summaries = summaries
        self._fill()

    def _show_progress(self, summaries: list[ProjectSummary]) -> None:
        """Show steps and ages in the rows that are there: a new list would lose the keyboard focus."""
        self.summaries = summaries
        for summary in summaries:
            self._shown[summary.file].show_state(summary)

    def _fill(self) -> None:
        self._shown.clear()
        unfinished = [summary for summary in self.summaries if summary.is_unfinished]
        finished = [summary for summary in self.summaries if not summary.is_unfinished]
        self._fill_list(self._unfinished_rows, unfinished)
        self.unfinished.setVisible(bool(unfinished))
        self._fill_list(self._rows, finished)
        self._recent.setVisible(bool(finished) or not self.summaries)
        if not self.summaries:
            self._rows.addWidget(
                EmptyState(
                    tr("No projects yet"),
                    tr(
                        "A project contains a model, your dataset, and all of its training runs. "
                        "Drop a data file here to start one. The sample project shows the whole "
                        "workflow in a few minutes, without a GPU. Another one shows how a model learns "
                        "from rewards for its own answers."
                    ),
                    self._create_sample_button(tr("Open a sample project")),
                )
            )

    def _fill_list(self, rows: QVBoxLayout, projects: list[ProjectSummary]) -> None:
        clear_layout(rows)
        for index, summary in enumerate(projects):
            if index:
                rows.addWidget(separator())
            rows.addWidget(self._make_row(summary))

    def _make_row(self, summary: ProjectSummary) -> QWidget:
        project_row = self._shown[summary.file] = _ProjectRow(summary)
        clicked = self.locate_clicked if summary.is_missing else self.project_clicked
        project_row.clicked.connect(lambda: clicked.emit(summary.file))
        if summary.is_resumable:
            resume = button(
                tr("Resume"), lambda: self.resume_clicked.emit(summary.file), icon="play"
            )
            resume.setAccessibleName(tr("Resume {name}").format(name=summary.name))
            project_row.tools.addWidget(resume)
        project_row.tools.addWidget(project_row.opener)
        project_row.tools.addWidget(
            tool_button(
                "close",
                tr("Remove {name} from this list (its files aren't deleted)").format(
                    name=summary.name
                ),
                lambda: self.forget_clicked.emit(summary.file),
            )
        )
        return project_row


def _mark_unknown(summary: ProjectSummary | None, file: Path) -> ProjectSummary:
    """Return the summary of a project until its runs have been read: a run may have ended meanwhile."""
    if summary is None:
        return ProjectSummary(file, 0.0, is_loaded=False)
    return replace(summary, is_loaded=summary.is_loaded and summary.state != "running")


def _without_progress(summaries: list[ProjectSummary]) -> list[ProjectSummary]:
    return [replace(summary, step=0, changed=0.0) for summary in summaries]


class _ProjectRow(QFrame):
    """A recent project; a click anywhere opens it."""

    clicked = Signal()

    def __init__(self, summary: ProjectSummary) -> None:
        super().__init__()
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        role = {
            "running": "accent",
            "paused": "accent",
            "interrupted": "warn",
            "failed": "error",
        }.get(summary.state or "", "muted")
        icon = "warning" if summary.is_missing else {
            "running": "state-running", "paused": "pause", "interrupted": "warning", "failed": "error",
            "trained": "check", "merged": "check", "exported": "check",
        }.get(summary.state or "", "state-todo")  # fmt: skip
        tint = getattr(get_palette(), "ok" if icon == "check" else role)
        glyph = QLabel()
        glyph.setPixmap(pixmap(icon, tint))
        folder = ElidedLabel(_shorten_folder(summary.file), "caption")
        folder.full = str(summary.file)
        self._state = label("", "caption")
        word = tr("Locate…") if summary.is_missing else tr("Open")
        self.opener = button(word, self.clicked.emit, kind="link")
        self.show_state(summary)
        self.tools = row()
        names = column(
            label(summary.name, "muted" if summary.is_missing else "label"),
            row(self._state, None),
            folder,
            spacing=2,
        )
        layout = row(glyph, names, spacing=Spacing.M)
        layout.setStretch(1, 1)
        layout.setContentsMargins(0, Spacing.M, 0, Spacing.M)
        layout.addLayout(self.tools)
        self.setLayout(layout)

    def show_state(self, summary: ProjectSummary) -> None:
        """Show the state of the project, with the step of a running training and the age of the last change."""
        has_state = summary.is_loaded and not summary.is_missing
        age = time.time() - summary.changed
        # No age if the clock was set back since the change.
        ago = f" · {_format_age(age)}" if has_state and age > -60 else ""
        self._state.setText(summary.status_text + ago)
        name = tr("Locate {name}, {state}") if summary.is_missing else tr("Open {name}, {state}")
        self.opener.setAccessibleName(name.format(name=summary.name, state=summary.status_text))

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        if event.button() == Qt.MouseButton.LeftButton and self.rect().contains(event.pos()):
            self.clicked.emit()


def _get_dropped_data(event: QDropEvent) -> list[Path]:
    """Return the files of a drag, or none if it contains a folder or a model."""
    paths = get_dropped_paths(event)
    is_data = all(path.is_file() and path.suffix.lower() != ".gguf" for path in paths)
    return paths if is_data else []


def _shorten_folder(file: Path) -> str:
    """Return the project's folder, shortened in the middle, with ~ for the home folder."""
    folder = file.parent
    home = expand_home(Path("~"))
    text = f"~/{folder.relative_to(home)}" if folder.is_relative_to(home) else str(folder)
    return text if len(text) <= 72 else f"{text[:30]}…{text[-40:]}"


def _format_age(seconds: float) -> str:
    if (days := int(seconds // 86400)) >= 1:
        return tr_n("{n} day ago", "{n} days ago", days)
    if (hours := int(seconds // 3600)) >= 1:
        return tr_n("{n} hour ago", "{n} hours ago", hours)
    if (minutes := int(seconds // 60)) >= 1:
        return tr_n("{n} minute ago", "{n} minutes ago", minutes)
    return tr("just now")


def _list_card(title: str) -> tuple[Card, QVBoxLayout]:
    card, rows = Card(title), QVBoxLayout()
    rows.setSpacing(0)
    card.add(rows)
    return card, rows


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
    progress = facts.follow_events(run, RunState())
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


class InterruptedRuns(QObject):
    """Reports each interrupted run that a scan of the recent projects finds, once."""

    def __init__(self, messages: Messages, parent: QObject | None = None) -> None:
        """Create the reporter without reporting anything yet."""
        super().__init__(parent)
        self._messages = messages
        self._reported: set[Path] = set()

    def report(self, projects: list[ProjectSummary]) -> None:
        """Report the latest run that can be resumed, once for each run."""
        for project in projects:
            if project.state != "interrupted" or not project.is_resumable or project.run is None:
                continue
            if project.run.path not in self._reported:
                self._reported.add(project.run.path)
                self._messages.problem(_problem(project))
                return


def _problem(project: ProjectSummary) -> Problem:
    assert project.run is not None
    checkpoint = project.run.list_checkpoint_steps()[-1]
    return warning(
        "run.interrupted",
        "Training of {project} was interrupted at step {step} of {steps}.",
        "{reason} You can resume it from the checkpoint at step {checkpoint}.",
        where=Where(file=str(project.file)),
        project=project.name,
        step=project.step,
        steps=project.steps,
        reason=Text.model_validate(project.reason),
        checkpoint=checkpoint,
    )
