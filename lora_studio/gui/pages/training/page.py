"""The training step: settings before a run, curves and metrics during it, a verdict after it."""

from __future__ import annotations

import enum

from PySide6.QtCore import Qt, QTimer
from PySide6.QtGui import QKeySequence, QShortcut
from PySide6.QtWidgets import QSizePolicy, QTabWidget, QVBoxLayout, QWidget

from lora_studio.core import formatting
from lora_studio.core.problems import Fix
from lora_studio.core.project import checks
from lora_studio.core.protocol import commands, events
from lora_studio.gui.controls.rated_answers import RatedAnswersView
from lora_studio.gui.jobs.record import JobRecord
from lora_studio.gui.language import mark, tr
from lora_studio.gui.message_translation import localize, localize_stage
from lora_studio.gui.pages.page import StepPage
from lora_studio.gui.pages.training.curves_card import CurvesCard
from lora_studio.gui.pages.training.log_view import LogView
from lora_studio.gui.pages.training.recipe import RecipeForm
from lora_studio.gui.pages.training.run_note import RunNote
from lora_studio.gui.pages.training.sample_view import SampleView
from lora_studio.gui.pages.training.step_tiles import StepTiles
from lora_studio.gui.pages.training.verdict_card import VerdictCard
from lora_studio.gui.project.state import ProjectState
from lora_studio.gui.text_size import set_scaled_sizes
from lora_studio.gui.theme import Spacing
from lora_studio.gui.widgets.basics import Card, button, set_visible
from lora_studio.gui.widgets.columns import ResponsiveColumns
from lora_studio.gui.widgets.progress_line import ProgressLine

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
        self.curves.on_event(event)
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

    def leave(self) -> None:
        """Stop reading and writing curves, end other reads, and save the notes."""
        self.curves.leave()
        self.verdict.evaluated.leave()
        self.recipe.trial.leave()
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
