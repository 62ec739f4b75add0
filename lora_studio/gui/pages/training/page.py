"""The training step: settings before a run, curves and metrics during it, a verdict after it."""

from __future__ import annotations

import enum
import time
from collections.abc import Mapping

from PySide6.QtCore import Qt, QTimer, Signal
from PySide6.QtGui import QKeySequence, QShortcut, QTextCursor
from PySide6.QtWidgets import (
    QComboBox,
    QFrame,
    QGridLayout,
    QPlainTextEdit,
    QScrollArea,
    QSizePolicy,
    QTabWidget,
    QVBoxLayout,
    QWidget,
)

from lora_studio.core import formatting
from lora_studio.core.formatting import format_float, format_reward
from lora_studio.core.problems import Fix, ProblemError
from lora_studio.core.project import checks
from lora_studio.core.protocol import commands, events
from lora_studio.core.protocol.commands import TextSource
from lora_studio.core.protocol.evaluation_text import describe_predictions
from lora_studio.core.protocol.training import has_rewards
from lora_studio.core.runs.annotations import list_noted_steps
from lora_studio.core.runs.folder import RunFolder
from lora_studio.gui.controls.rated_answers import RatedAnswersView
from lora_studio.gui.jobs.control import JobRecord
from lora_studio.gui.language import mark, tr
from lora_studio.gui.message_translation import localize, localize_stage
from lora_studio.gui.pages.page import StepPage
from lora_studio.gui.pages.training.curves_card import CurvesCard
from lora_studio.gui.pages.training.recipe import RecipeForm
from lora_studio.gui.pages.training.verdict_card import VerdictCard
from lora_studio.gui.project.state import ProjectState
from lora_studio.gui.text_size import set_scaled_sizes
from lora_studio.gui.theme import Spacing
from lora_studio.gui.widgets.basics import (
    Card,
    button,
    clear_layout,
    insert_breaks,
    label,
    row,
    set_visible,
)
from lora_studio.gui.widgets.columns import ResponsiveColumns
from lora_studio.gui.widgets.fact_list import StatTiles
from lora_studio.gui.widgets.progress_line import ProgressLine
from lora_studio.gui.widgets.rich_text import NoteEditor

#: Milliseconds between two updates of the metrics.
_UPDATE_EVERY = 150


class PrimaryAction(enum.Enum):
    """What the primary button of the page does; the value is its label."""

    START = mark("Start training")
    CONTINUE = mark("Continue")
    RESUME = mark("Resume")
    RETRAIN = mark("Train again")


class TrainingPage(StepPage):
    """Shows the settings or the latest training of the run that the window follows."""

    step = "training"
    title = mark("Train")

    def __init__(self, state: ProjectState, parent: QWidget | None = None) -> None:
        """Build both views, of which one is visible at a time: the settings and the run."""
        super().__init__(state, parent)
        self.record = JobRecord("train")
        self.curves = CurvesCard(state)
        self.plot = self.curves.plot
        self.tiles = StepTiles()
        self.progress = ProgressLine()
        self.log, self.samples, self.note = LogView(), SampleView(), RunNote()
        self.answers = RatedAnswersView()
        self._rated: events.AnswersRated | None = None
        self.verdict = VerdictCard(state, self.record, self.plot)
        self.verdict.fix_chosen.connect(self._apply_fix)
        self.verdict.explain_clicked.connect(self._explain)
        self.verdict.evaluated.evaluation_clicked.connect(
            lambda: self.page_requested.emit("evaluation")
        )
        self.tabs = QTabWidget()
        self.recipe = RecipeForm(state, self.add_editor)
        self._wants_recipe = False
        # The user asked to stop or to pause, which takes effect after the current step.
        self._is_ending = self._is_pausing = False
        # The widget that Qt focused when the Pause button was disabled.
        self._focus_after_pause: QWidget | None = None
        self._adapter: events.AdapterSaved | None = None
        self.last_step: events.StepDone | None = None
        self._latest: events.StepDone | events.Progress | None = None  # since the worker started
        self._run = state.run
        self._update = QTimer(self, singleShot=True, interval=_UPDATE_EVERY)
        self._update.timeout.connect(self.refresh)
        self._create_buttons()
        self._build_layout()
        self.note.steps_changed.connect(self.plot.set_notes)
        self.note.failed.connect(state.messages.problem)
        shortcut = QShortcut(QKeySequence("Ctrl+M"), self)
        shortcut.setContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
        shortcut.activated.connect(self._add_note)
        state.opened.connect(self._on_opened)
        state.run_changed.connect(self._on_run_changed)
        self.refresh()

    # --- layout -------------------------------------------------------------------------------

    def _create_buttons(self) -> None:
        self.pause = button(tr("Pause"), self._pause, icon="pause")
        self.pause.setToolTip(
            tr("Finishes the current step, saves a checkpoint, and frees the memory")
        )
        self.stop = button(tr("Stop and save"), self._stop, icon="stop")
        self.checkpoint = button(
            tr("Save checkpoint"), self.checkpoint_requested.emit, icon="checkpoint"
        )
        self.edit_settings = button(tr("Edit settings"), self._show_recipe, icon="edit")
        self.resume = button(tr("Resume"), lambda: self.run_requested.emit("resume"), icon="play")
        self.cluster = button(
            tr("Export for cluster…"), lambda: self.run_requested.emit("cluster"), icon="folder"
        )
        self.cluster.setToolTip(
            tr("Creates a folder that you can copy to another computer and train with one command")
        )
        self.results = button(tr("Show last run"), self._show_results, icon="back")

    def _build_layout(self) -> None:
        for extra in (
            self.resume,
            self.results,
            self.cluster,
            self.edit_settings,
            self.pause,
            self.stop,
            self.checkpoint,
        ):
            self.header.extra.addWidget(extra)
        self.run_view = self._build_run_view()
        # Not a QStackedWidget, which would always be as tall as its tallest page.
        self.body.addWidget(self.recipe, 1)
        self.body.addWidget(self.run_view, 1)

    def _build_run_view(self) -> QWidget:
        metrics = Card()
        metrics.setMinimumWidth(280)
        metrics.add(self.progress, self.tiles)
        metrics.body.addStretch(1)
        self.tabs.addTab(self.log, tr("Log"))
        self.tabs.addTab(self.note, tr("Notes"))
        self.tabs.tabBar().setAccessibleName(tr("Log, answers, samples, and notes"))
        self.tabs.currentChanged.connect(self._resize_tabs)
        self._resize_tabs()
        policy = QSizePolicy.Policy
        self.tabs.setSizePolicy(policy.Expanding, policy.Ignored)  # the curves take precedence
        lower = Card()
        lower.setMaximumHeight(320)
        lower.add(self.tabs)
        view = QWidget()
        layout = QVBoxLayout(view)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(Spacing.L)
        layout.addWidget(self.verdict)
        layout.addWidget(ResponsiveColumns(self.curves, metrics, (1, 0)), 3)
        layout.addWidget(lower, 1)
        return view

    def _show_answers(self, event: events.AnswersRated) -> None:
        """Show the answers of a step with the next update; the first ones of a run come to the front."""
        self._rated = event
        if self.tabs.indexOf(self.answers) < 0:
            self.tabs.insertTab(1, self.answers, tr("Answers"))
            if self.tabs.currentWidget() is self.log:
                self.tabs.setCurrentWidget(self.answers)

    def _resize_tabs(self, *_: object) -> None:
        """Give samples and notes more height than the log, whose last lines are enough."""
        is_log = self.tabs.currentWidget() is self.log
        set_scaled_sizes(self.tabs, at_least=130 if is_log else 240)

    # --- events -------------------------------------------------------------------------------

    def on_event(self, event: object) -> None:
        """Follow an event of the run; widgets are updated on a timer."""
        if not self.record.apply(event):
            return
        self.log.on_event(event)
        self.plot.add_event(event)
        self.verdict.on_event(event)
        match event:
            case events.Started():
                self.recipe.trial.release()
                self._wants_recipe = False
                self._adapter = self._latest = None
            case events.Progress():
                self._latest = event
            case events.StepDone():
                self.last_step = self._latest = event
                self.note.set_step(event.step)
            case events.Evaluated():
                self.tiles.show_evaluation(event)
            case events.AdapterSaved():
                self._adapter = event
            case events.AnswersRated():
                self._show_answers(event)
            case events.Generated() | events.Sampled():
                if self.tabs.indexOf(self.samples) < 0:
                    self.tabs.insertTab(1, self.samples, tr("Samples"))
                self.samples.add(event)
        if isinstance(event, events.Started | events.Ending):
            self._is_ending = self._is_pausing = False
            self.refresh()
        elif not self._update.isActive():
            self._update.start()

    def _on_opened(self) -> None:
        self._wants_recipe = False

    def _on_run_changed(self) -> None:
        if self.state.run != self._run:
            self._run = self.state.run
            self.record.clear()
            self.curves.clear()
            self.tiles.clear()
            self.log.clear()
            self.samples.clear()
            for view in (self.samples, self.answers):
                self.tabs.removeTab(self.tabs.indexOf(view))
            self._rated = None
            self.verdict.clear()
            self.last_step = self._latest = self._adapter = None
            self._wants_recipe = self._is_ending = self._is_pausing = False
        self.note.show_run(self._run)
        self.refresh()

    # --- user actions -------------------------------------------------------------------------

    def stop_background_work(self) -> None:
        """Stop reading and writing curves, end other reads, and save the notes."""
        self.curves.stop_background_work()
        self.verdict.evaluated.stop_background_work()
        self.recipe.trial.stop_background_work()
        self.note.commit()

    def on_primary(self) -> None:
        """Start, resume or repeat the training, or continue to the next step."""
        match self.get_primary_action():
            case PrimaryAction.CONTINUE:
                self.continue_clicked.emit()
            case PrimaryAction.RESUME:
                self.run_requested.emit("resume")
            case _:
                self.run_requested.emit("train")

    def on_shown(self) -> None:
        """Reload the notes, which the Runs page may have changed, and ask for the free memory."""
        self.note.show_run(self.state.run)
        if not self._is_running():
            self.ask.emit(commands.InspectDevices())

    def focus_field(self, field: str | None) -> None:
        """Show the settings, also while a training is running, and focus the field."""
        if field in self.editors:
            self._wants_recipe = True
            self.refresh()
        super().focus_field(field)

    def _explain(self) -> None:
        if self.record.problem is not None:
            self.explain_requested.emit(self.record.problem)

    def _add_note(self) -> None:
        if self.run_view.isVisible() and self.state.run is not None:
            self.tabs.setCurrentWidget(self.note)
            self.note.add()

    def _pause(self) -> None:
        had_focus = self.window().focusWidget() is self.pause
        self._is_ending = self._is_pausing = True
        self.refresh()
        self._focus_after_pause = self.window().focusWidget() if had_focus else None
        self.pause_requested.emit()

    def _stop(self) -> None:
        """Stop and save, or cancel before the first step, when there is nothing to save."""
        self._is_ending = True
        self.refresh()
        (self.stop_requested if self.last_step else self.cancel_requested).emit()

    def _apply_fix(self, fix: Fix) -> None:
        """Change the project for the next run; the current one keeps its settings."""
        self.state.apply_fix(fix)
        if not self._is_running():
            self._show_recipe()

    def _show_recipe(self) -> None:
        self._wants_recipe = True
        self.refresh()

    def _show_results(self) -> None:
        self._wants_recipe = False
        self.refresh()

    # --- state --------------------------------------------------------------------------------

    def find_blocker(self) -> str | None:
        """Return what blocks the primary button: a running training or an error of the project."""
        if self._is_running():
            return tr("Training is running.")
        if self.get_primary_action() is PrimaryAction.CONTINUE:
            return None
        errors = checks.filter_errors(self.state.list_problems())
        return localize(errors[0].what) if errors else None

    def is_done(self) -> bool:
        """Return whether the training finished with an adapter."""
        return self._adapter is not None and not self._is_running()

    def describe_paused(self) -> str:
        """Return the caption that the rail shows for a resumable training, "" for any other."""
        if self._is_running() or self._adapter is not None or not self._can_resume():
            return ""
        return tr("paused") if self.record.phase == "paused" else tr("can be resumed")

    def get_primary_action(self) -> PrimaryAction:
        """Return what the primary button does now."""
        if self._is_recipe_shown():
            return PrimaryAction.START
        if self._is_running() or self._adapter is not None:
            return PrimaryAction.CONTINUE
        return PrimaryAction.RESUME if self._can_resume() else PrimaryAction.RETRAIN

    def _is_running(self) -> bool:
        return self.record.is_running(self.state.running)

    def _is_recipe_shown(self) -> bool:
        return self._wants_recipe or (not self._is_running() and self.record.phase == "none")

    def _can_resume(self) -> bool:
        if self.record.phase == "paused":
            return True
        ended_early = self.record.phase in ("stopped", "failed", "cancelled") or (
            self.record.was_cut_off(self.state.running)
        )
        run = self.state.run
        return ended_early and run is not None and bool(run.list_checkpoint_steps())

    # --- display ------------------------------------------------------------------------------

    def refresh(self, *_: object) -> None:
        """Update buttons, views and metrics to the state of the training."""
        running, recipe = self._is_running(), self._is_recipe_shown()
        set_visible(self.run_view, not recipe)
        set_visible(self.recipe, recipe)
        self._refresh_buttons(running=running, recipe=recipe)
        self._show_progress(running)
        if self.last_step is not None:
            self.tiles.show_step(self.last_step, running=running)
        if self._rated is not None:
            self.answers.show_answers(self._rated)
        self.recipe.trial.refresh()
        self.verdict.show_verdict(running, self._adapter, self._resume_hint())
        super().refresh()
        if not running and self._focus_after_pause is not None:
            if self.window().focusWidget() is self._focus_after_pause:
                self.header.primary.setFocus()  # pressing the same key again resumes
            self._focus_after_pause = None

    def _refresh_buttons(self, *, running: bool, recipe: bool) -> None:
        self.pause.setVisible(running)
        self.stop.setVisible(running)
        self.stop.setText(tr("Stop and save") if self.last_step else tr("Cancel"))
        self.checkpoint.setVisible(running)
        is_ending = self._is_ending or self.state.stopping
        self.checkpoint.setEnabled(self.last_step is not None and not is_ending)
        self.pause.setEnabled(not is_ending)
        self.stop.setEnabled(not is_ending)
        self.edit_settings.setVisible(not recipe)
        self.cluster.setVisible(recipe and not running)
        self.results.setVisible(recipe and (running or self.record.phase != "none"))
        self.results.setText(tr("Show running training") if running else tr("Show last run"))
        primary = self.get_primary_action()
        can_resume = not running and self._can_resume()
        self.resume.setVisible(can_resume and primary is not PrimaryAction.RESUME)
        self.header.primary.setText(tr(primary.value))

    def _show_progress(self, running: bool) -> None:
        self.progress.setVisible(running)
        last = self.last_step
        if running and (ending := self._describe_ending()):
            share = last.step / last.steps if last is not None else None
            self.progress.show_progress(ending, share)
        elif running and self.record.phase != "running":  # the worker is starting
            self.progress.show_progress(tr("Starting…"), None)
        elif isinstance(latest := self._latest, events.Progress):
            share = latest.done / latest.total if latest.total else None
            self.progress.show_progress(localize_stage(latest.stage), share, latest.eta_s)
        elif latest is not None:
            self.progress.show_progress(tr("Training"), latest.step / latest.steps, latest.eta_s)
        else:
            self.progress.show_progress(tr("Starting…"), None)

    def _describe_ending(self) -> str:
        """Return how the training ends, "" while it isn't asked to."""
        if not (self._is_ending or self.state.stopping):
            return ""
        if self._is_pausing or self.state.pausing:
            return tr("Pausing after this step…") if self.last_step else tr("Pausing…")
        return tr("Stopping after this step…") if self.last_step else tr("Canceling…")

    def _resume_hint(self) -> str:
        if self._can_resume() and self.state.run is not None:
            if not (steps := self.state.run.list_checkpoint_steps()):
                return tr("No steps completed yet. Resume to start from the beginning.")
            return tr("Resume to continue from the checkpoint at step {step}.").format(
                step=formatting.format_number(steps[-1])
            )
        return tr("There is no checkpoint to resume from.")


#: Older lines are dropped from the view; the run's log file has all of them.
_MAX_LINES = 5000


class LogView(QPlainTextEdit):
    """Shows the events of a job as read-only text."""

    def __init__(self, parent: QWidget | None = None) -> None:
        """Start empty."""
        super().__init__(parent)
        self.setReadOnly(True)
        self.setMaximumBlockCount(_MAX_LINES)
        self.setProperty("mono", True)
        self.setPlaceholderText(tr("Log messages appear here."))
        self.setAccessibleName(tr("Log"))

    def on_event(self, event: object) -> None:
        """Append a line for events that belong in a log."""
        if text := _format_line(event):
            stamp = time.strftime("%H:%M:%S", time.localtime(getattr(event, "time", None)))
            self.appendPlainText(f"{stamp}  {text}")


def _format_line(event: object) -> str:
    match event:
        case events.Started():
            return tr("Training started")
        case events.LogLine():
            return localize(event.text)
        case events.Warned():
            return tr("warning: {problem} {remedy}").format(
                problem=localize(event.problem.what), remedy=localize(event.problem.remedy)
            )
        case events.Failed():
            return tr("error: {problem} {remedy}").format(
                problem=localize(event.problem.what), remedy=localize(event.problem.remedy)
            )
        case events.Evaluated() if event.has_rewards:
            if (reward := event.metrics.get(events.REWARD)) is None:
                return tr("step {step}: no completion has a reward").format(step=event.step)
            return tr("step {step}: eval reward {reward}").format(
                step=event.step, reward=format_reward(reward)
            )
        case events.Evaluated() if predictions := describe_predictions(event):
            return localize(predictions)
        case events.Evaluated():
            return tr("step {step}: eval loss {loss}").format(
                step=event.step, loss=format_float(event.loss, ".4f")
            )
        case events.CheckpointSaved():
            return tr("checkpoint saved at step {step}").format(step=event.step)
        case events.Recovered():
            return localize(event.text)
        case events.Done():
            if event.paused:
                return tr("paused")
            return tr("stopped; the adapter is saved") if event.stopped else tr("done")
        case events.Cancelled():
            return tr("canceled")
    return ""


#: Milliseconds without typing after which the notes are saved.
_SAVE_DELAY = 800


class RunNote(QWidget):
    """Edits the notes of a run, which are saved in its folder and also shown on the Runs page.

    Signals:
        steps_changed(steps): the steps that the notes mention.
        failed(problem): the notes couldn't be saved.
    """

    steps_changed = Signal(object)
    failed = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        """Start without a run."""
        super().__init__(parent)
        self._run: RunFolder | None = None
        self._step = 0
        self._is_modified = False
        self.text = NoteEditor()
        self.text.setAccessibleName(tr("Notes on this run"))
        self.here = button(tr("Add note at this step"), self.add, icon="edit")
        self.here.setToolTip(
            tr("Starts a line with the step number and marks the step in the chart (Ctrl+M)")
        )
        self.hint = label(tr("Start a line with @120 to annotate step 120."), "caption")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, Spacing.S, 0, 0)
        layout.setSpacing(Spacing.S)
        layout.addWidget(self.text, 1)
        layout.addLayout(row(self.here, self.hint, None))
        self._typing = QTimer(self, singleShot=True, interval=_SAVE_DELAY)
        self._typing.timeout.connect(self.commit)
        self.text.textChanged.connect(self._on_typed)
        self.text.editing_finished.connect(self.commit)
        self.show_run(None)

    def show_run(self, run: RunFolder | None) -> None:
        """Show the notes of a run, after saving those of the previous one."""
        self.commit()
        if run != self._run:
            self._step = 0
        self._run = run
        self.setEnabled(run is not None)
        notes = run.read_about().notes if run is not None else ""
        if notes != self.text.toPlainText().strip():
            self.text.setPlainText(notes)
        self._typing.stop()
        self._is_modified = False
        self.steps_changed.emit(list_noted_steps(notes))

    def set_step(self, step: int) -> None:
        """Set the step that the training has reached."""
        self._step = step

    def add(self) -> None:
        """Start a line about the step that the training has reached."""
        text = self.text.toPlainText().rstrip()
        self.text.setPlainText(f"{text}\n@{self._step} " if text else f"@{self._step} ")
        self.text.moveCursor(QTextCursor.MoveOperation.End)
        self.text.setFocus()

    def commit(self) -> None:
        """Save the notes if they were modified."""
        self._typing.stop()
        if not self._is_modified or self._run is None or not self._run.path.is_dir():
            return
        self._is_modified = False
        about, notes = self._run.read_about(), self.text.toPlainText().strip()
        if notes != about.notes:
            try:
                self._run.write_about(about.model_copy(update={"notes": notes}))
            except ProblemError as error:
                self.failed.emit(error.problems[0])

    def _on_typed(self) -> None:
        self._is_modified = True
        self._typing.start()
        self.steps_changed.emit(list_noted_steps(self.text.toPlainText()))


_TILES = {
    "step": mark("Step"),
    "epoch": mark("Epoch"),
    "loss": mark("Loss"),
    "eval": mark("Eval loss"),
    "cut": mark("Truncated completions"),
    "kl": mark("KL to the reference"),
    "speed": mark("Tokens/s"),
    "memory": mark("Peak memory"),
    "rate": mark("Learning rate"),
    "norm": mark("Gradient norm"),
    "load": mark("Device"),
}


#: Names of tiles in reward training, whose loss stays near zero.
_REWARD_NAMES = {"loss": mark("Mean reward"), "eval": mark("Eval reward")}


class StepTiles(StatTiles):
    """Shows progress, speed, loss or mean reward, and memory of the last step."""

    def __init__(self, parent: QWidget | None = None) -> None:
        """Show dashes until the first step."""
        super().__init__(_TILES, columns=2, parent=parent)
        self._show_metrics({})

    def show_step(self, last: events.StepDone, *, running: bool) -> None:
        """Show the metrics of a step; the load of the device only while the training is running."""
        self._show_metrics(last.metrics)
        self.tiles["load"].setVisible(running)
        value: float | None = last.loss
        form = formatting.format_loss
        if has_rewards(last.metrics):
            value, form = last.metrics.get(events.REWARD), formatting.format_reward
        self.show_values(
            {
                "step": tr("{step} of {steps}").format(
                    step=formatting.format_number(last.step),
                    steps=formatting.format_number(last.steps),
                ),
                "epoch": formatting.format_float(last.epoch, ".2f"),
                "speed": formatting.format_number(round(last.tokens_per_s)),
                "loss": "" if value is None else form(value),
                "memory": formatting.format_memory(last.memory_bytes),
                "load": _load_text(last),
                "rate": formatting.format_setting(last.learning_rate),
                "norm": formatting.format_loss(last.grad_norm),
            }
        )

    def show_evaluation(self, event: events.Evaluated) -> None:
        """Show the eval loss or the mean reward of validation prompts."""
        value: float | None = event.loss
        form = formatting.format_loss
        if event.has_rewards:
            value, form = event.metrics.get(events.REWARD), formatting.format_reward
        self.show_values({"eval": "" if value is None else form(value)})

    def clear(self) -> None:
        """Show a dash in all tiles, those of other training than reward training."""
        super().clear()
        self._show_metrics({})

    def _show_metrics(self, metrics: Mapping[str, float]) -> None:
        """Show the tiles of reward training, and name those that differ there."""
        is_rewarded = has_rewards(metrics)
        for key, name in _REWARD_NAMES.items():
            self.tiles[key].set_name(tr(name if is_rewarded else _TILES[key]))
        cut, kl = metrics.get("cut_share"), metrics.get("kl")
        self.tiles["cut"].setVisible(is_rewarded)
        self.tiles["kl"].setVisible(is_rewarded and kl is not None)
        self.show_values(
            {
                "cut": "" if cut is None else formatting.format_percent(cut),
                "kl": "" if kl is None else formatting.format_loss(kl),
            }
        )


def _load_text(step: events.StepDone) -> str:
    """Return utilization and temperature of the device, as far as they are known."""
    parts = []
    if step.gpu_percent is not None:
        parts.append(f"GPU {step.gpu_percent:.0f} %")
    if step.gpu_celsius is not None:
        parts.append(f"{step.gpu_celsius:.0f} °C")
    if step.cpu_percent is not None:
        parts.append(f"CPU {step.cpu_percent:.0f} %")
    return ", ".join(parts)


_NAMES: dict[TextSource, str] = {
    "base": mark("Base model"),
    "tuned": mark("Fine-tuned"),
    "merged": mark("Merged"),
    "gguf": mark("GGUF"),
    "ollama": mark("Ollama"),
}
_Answers = dict[tuple[int, TextSource], str]


class SampleView(QScrollArea):
    """Shows a grid of answers: one row per prompt, one column per model.

    Answers are stored for every evaluation; the newest are shown until the user selects another.
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        """Start without answers."""
        super().__init__(parent)
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setAccessibleName(tr("Samples"))
        self._answers: _Answers = {}
        self._by_step: dict[int, _Answers] = {}
        self._prompts: dict[int, str] = {}
        self.steps = QComboBox()
        self.steps.setAccessibleName(tr("Evaluation step"))
        self.steps.activated.connect(self._fill)
        inner = QWidget()
        inner.setObjectName("scrolled")
        outer = QVBoxLayout(inner)
        outer.setContentsMargins(0, 0, 0, 0)
        self._grid = QGridLayout()
        self._grid.setHorizontalSpacing(Spacing.XL)
        self._grid.setVerticalSpacing(Spacing.M)
        outer.addLayout(row(self.steps, None))
        outer.addLayout(self._grid)
        outer.addStretch(1)
        self.setWidget(inner)
        self.steps.hide()

    def add(self, event: events.Generated | events.Sampled) -> None:
        """Show an answer; it replaces an earlier one to the same prompt at the same step."""
        if isinstance(event, events.Sampled):
            self._prompts[event.index] = event.prompt
            if event.source == "tuned":
                self._add_step(event.step)
                self._by_step[event.step][(event.index, "tuned")] = event.text
                self._fill()
                return
        self._answers[(event.index, event.source)] = event.text
        self._fill()

    def clear(self) -> None:
        """Remove all answers."""
        self._answers, self._by_step, self._prompts = {}, {}, {}
        self.steps.clear()
        self.steps.hide()
        self._fill()

    def get_answers(self) -> _Answers:
        """Return the answers that are shown, by prompt index and model."""
        return self._answers | self._by_step.get(self.steps.currentData(), {})

    def _add_step(self, step: int) -> None:
        """Add an evaluation; if a resumed training repeats it, its entry is reused."""
        if step in self._by_step:
            return
        was_newest = self.steps.currentIndex() == self.steps.count() - 1
        self._by_step[step] = {}
        self.steps.addItem(
            tr("After step {step}").format(step=formatting.format_number(step)), step
        )
        self.steps.setVisible(True)
        if was_newest:
            self.steps.setCurrentIndex(self.steps.count() - 1)

    def _fill(self, *_: object) -> None:
        clear_layout(self._grid)
        answers = self.get_answers()
        sources = [source for source in _NAMES if any(key[1] == source for key in answers)]
        for column, source in enumerate(sources, start=1):
            self._grid.addWidget(label(tr(_NAMES[source]), "caption"), 0, column)
            self._grid.setColumnStretch(column, 1)
        for line, index in enumerate(sorted({key[0] for key in answers}), start=1):
            prompt = self._prompts.get(index)
            prompt_label = label(prompt or str(index + 1), "caption", wrap=prompt is not None)
            self._grid.addWidget(prompt_label, line, 0, Qt.AlignmentFlag.AlignTop)
            for column, source in enumerate(sources, start=1):
                text = answers.get((index, source), "")
                answer_label = label(insert_breaks(text), wrap=True)
                answer_label.setAlignment(Qt.AlignmentFlag.AlignTop | Qt.AlignmentFlag.AlignLeading)
                self._grid.addWidget(answer_label, line, column)
        self._grid.setColumnStretch(0, 1 if self._prompts else 0)
