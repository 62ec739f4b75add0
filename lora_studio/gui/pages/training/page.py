"""The training step: a recipe before, curves and figures during, a verdict after."""

from __future__ import annotations

from PySide6.QtCore import Qt, QTimer
from PySide6.QtGui import QKeySequence, QShortcut
from PySide6.QtWidgets import QSizePolicy, QTabWidget, QVBoxLayout, QWidget

from lora_studio.core import formatting
from lora_studio.core.problems import Fix
from lora_studio.core.project import checks
from lora_studio.core.protocol import commands, events
from lora_studio.gui.jobs.record import JobRecord
from lora_studio.gui.language import mark, tr
from lora_studio.gui.message_translation import tell
from lora_studio.gui.pages.page import StepPage
from lora_studio.gui.pages.training.curves_card import CurvesCard
from lora_studio.gui.pages.training.log_view import LogView
from lora_studio.gui.pages.training.recipe import RecipeForm
from lora_studio.gui.pages.training.run_note import RunNote
from lora_studio.gui.pages.training.sample_view import SampleView
from lora_studio.gui.pages.training.step_tiles import StepTiles
from lora_studio.gui.pages.training.verdict_card import VerdictCard
from lora_studio.gui.project.state import ProjectState
from lora_studio.gui.text_size import sized
from lora_studio.gui.theme import Spacing
from lora_studio.gui.widgets.basics import Card, button
from lora_studio.gui.widgets.columns import ResponsiveColumns
from lora_studio.gui.widgets.progress_line import ProgressLine

#: Milliseconds between two updates of the figures: nobody reads faster.
_UPDATE_EVERY = 150


class TrainingPage(StepPage):
    """Shows the latest training of the run that the window follows, from its beginning."""

    step = "training"
    title = mark("Train")

    def __init__(self, state: ProjectState, parent: QWidget | None = None) -> None:
        """Two views, one shown at a time: the recipe, and the run."""
        super().__init__(state, parent)
        self.record = JobRecord("train")
        self.curves = CurvesCard(state)
        self.plot = self.curves.plot
        self.tiles = StepTiles()
        self.progress = ProgressLine()
        self.log, self.samples, self.note = LogView(), SampleView(), RunNote()
        self.verdict = VerdictCard(state, self.record, self.plot)
        self.verdict.fix_chosen.connect(self._take_fix)
        self.verdict.explain_clicked.connect(self._explain)
        self.tabs = QTabWidget()
        self.recipe = RecipeForm(state, self.add_editor)
        self.pause = button(tr("Pause"), self._rest, icon="pause")
        self.pause.setToolTip(
            tr("Ends after this step with a checkpoint and gives the memory back.")
        )
        self.stop = button(tr("Stop and keep"), self._stop, icon="stop")
        self.checkpoint = button(
            tr("Checkpoint now"), self.checkpoint_requested.emit, icon="checkpoint"
        )
        self.again = button(tr("Change and train again"), self._show_recipe, icon="refresh")
        self.resume = button(tr("Resume"), lambda: self.run_requested.emit("resume"), icon="play")
        self.cluster = button(
            tr("Train on a cluster…"), lambda: self.run_requested.emit("cluster"), icon="folder"
        )
        self.cluster.setToolTip(tr("Writes a folder that trains elsewhere with one command."))
        self.results = button(tr("Show the last run"), self._show_results, icon="back")
        self._wants_recipe = False
        self._ends = False  # the user has asked for the end, which comes after the step
        self._focus_after_pause: QWidget | None = (
            None  # where Qt has put it as Pause went out of use
        )
        self._adapter: events.AdapterSaved | None = None
        self._last: events.StepDone | None = None
        self._run = state.run
        self._update = QTimer(self, singleShot=True, interval=_UPDATE_EVERY)
        self._update.timeout.connect(self.refresh)
        self._lay_out()
        self.note.steps_changed.connect(self.plot.set_notes)
        self.note.failed.connect(state.messages.problem)
        noted = QShortcut(QKeySequence("Ctrl+M"), self)
        noted.setContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
        noted.activated.connect(self._note_step)
        state.opened.connect(self._opened)
        state.run_changed.connect(self._run_changed)
        self.refresh()

    # --- layout -------------------------------------------------------------------------------

    def _lay_out(self) -> None:
        for extra in (
            self.resume,
            self.results,
            self.cluster,
            self.again,
            self.pause,
            self.stop,
            self.checkpoint,
        ):
            self.header.extra.addWidget(extra)
        self.run_view = self._run_view()
        # Not a QStackedWidget: that one is as high as the highest of its pages, shown or not.
        self.body.addWidget(self.recipe, 1)
        self.body.addWidget(self.run_view, 1)

    def _run_view(self) -> QWidget:
        figures = Card()
        figures.setMinimumWidth(280)
        figures.add(self.progress, self.tiles)
        figures.body.addStretch(1)
        self.tabs.addTab(self.log, tr("Log"))
        self.tabs.addTab(self.note, tr("Notes"))
        self.tabs.tabBar().setAccessibleName(tr("Log, samples and notes"))
        self.tabs.currentChanged.connect(self._give_room)
        self._give_room()
        policy = QSizePolicy.Policy
        self.tabs.setSizePolicy(policy.Expanding, policy.Ignored)  # the curves get the room first
        lower = Card()
        lower.setMaximumHeight(320)
        lower.add(self.tabs)
        view = QWidget()
        layout = QVBoxLayout(view)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(Spacing.L)
        layout.addWidget(self.verdict)
        layout.addWidget(ResponsiveColumns(self.curves, figures, (1, 0)), 3)
        layout.addWidget(lower, 1)
        return view

    def _give_room(self, *_: object) -> None:
        """A log is read by its last lines; answers and notes want more room."""
        reads = self.tabs.currentWidget() is not self.log
        sized(self.tabs, at_least=240 if reads else 130)

    # --- events -------------------------------------------------------------------------------

    def on_event(self, event: object) -> None:
        """Takes the events of a run; painting follows on timers."""
        if not self.record.take(event):
            return
        self.log.on_event(event)
        self.curves.take(event)
        self.verdict.take(event)
        match event:
            case events.Started():
                self._begin()
            case events.StepDone():
                self._last = event
                self.note.set_step(event.step)
            case events.Evaluated():
                self.tiles.show_evaluation(event.loss)
            case events.AdapterSaved():
                self._adapter = event
            case events.Generated() | events.Sampled():
                if self.tabs.indexOf(self.samples) < 0:
                    self.tabs.insertTab(1, self.samples, tr("Samples"))
                self.samples.add(event)
        if isinstance(event, events.Started | events.Ending):
            self.refresh()
        elif not self._update.isActive():
            self._update.start()

    def _begin(self) -> None:
        """A new training or one that goes on: curves of a resumed one stay."""
        self._wants_recipe = self._ends = False
        self._adapter = None

    def _opened(self) -> None:
        self._wants_recipe = False

    def _run_changed(self) -> None:
        if self.state.run != self._run:
            self._run = self.state.run
            self.record.clear()
            self.curves.clear()
            self.tiles.clear()
            self.log.clear()
            self.samples.clear()
            self.tabs.removeTab(self.tabs.indexOf(self.samples))
            self.verdict.clear()
            self._last = self._adapter = None
            self._wants_recipe = self._ends = False
        self.note.show_run(self._run)
        self.refresh()

    # --- what the user does -------------------------------------------------------------------

    def leave(self) -> None:
        """Ends what the curves are being read from or written to, and keeps what was typed."""
        self.curves.leave()
        self.note.commit()

    def on_primary(self) -> None:
        """Starts, or goes on to Merge."""
        if self._shows_recipe():
            self.run_requested.emit("train")
        elif self._adapter is None and self._can_resume():
            self.run_requested.emit("resume")
        elif self._adapter is None:
            self.run_requested.emit("train")
        else:
            self.continue_clicked.emit()

    def on_shown(self) -> None:
        """Other programs may have taken memory meanwhile, or given some back; the notes of the run may
        have been changed on the Runs page."""
        self.note.show_run(self.state.run)
        if not self._running():
            self.ask.emit(commands.InspectDevices())

    def focus_field(self, field: str | None) -> None:
        """A field is found in the recipe."""
        if field in self.editors and not self._running():
            self._wants_recipe = True
            self.refresh()
        super().focus_field(field)

    def _explain(self) -> None:
        if self.record.problem is not None:
            self.explain_requested.emit(self.record.problem)

    def _note_step(self) -> None:
        """Ctrl+M: a line about the step that is reached."""
        if self.run_view.isVisible() and self.state.run is not None:
            self.tabs.setCurrentWidget(self.note)
            self.note.add()

    def _rest(self) -> None:
        was_here = self.window().focusWidget() is self.pause
        self._ends = True
        self.refresh()
        self._focus_after_pause = self.window().focusWidget() if was_here else None
        self.pause_requested.emit()

    def _stop(self) -> None:
        """Before the first step there is nothing to keep."""
        self._ends = True
        self.refresh()
        (self.stop_requested if self._last else self.cancel_requested).emit()

    def _take_fix(self, fix: Fix) -> None:
        """For the next training: the one under way goes on as it began."""
        self.state.change(tell(fix.label), fix.changes)
        if not self._running():
            self._show_recipe()

    def _show_recipe(self) -> None:
        self._wants_recipe = True
        self.refresh()

    def _show_results(self) -> None:
        self._wants_recipe = False
        self.refresh()

    # --- where we are -------------------------------------------------------------------------

    def blocker(self) -> str | None:
        """Before: any error of the project; during: the end of the training."""
        if self._running():
            return tr("Training is under way.")
        if not self._shows_recipe() and self._adapter is not None:
            return None
        wrong = checks.errors(self.state.problems())
        return tell(wrong[0].what) if wrong else None

    def is_done(self) -> bool:
        """An adapter is there."""
        return self._adapter is not None and not self._running()

    def paused_state(self) -> str:
        """A training that waits to be resumed."""
        if self._running() or self._adapter is not None or not self._can_resume():
            return ""
        return tr("paused") if self.record.phase == "paused" else tr("to resume")

    def _running(self) -> bool:
        return self.record.is_running(self.state.running)

    def _shows_recipe(self) -> bool:
        nothing = self.record.phase == "none" and not self._running()
        return nothing or (self._wants_recipe and not self._running())

    def _can_resume(self) -> bool:
        if self.record.phase == "paused":
            return True
        ended_early = self.record.phase in ("stopped", "failed", "cancelled") or (
            self.record.was_cut_off(self.state.running)
        )
        run = self.state.run
        return ended_early and run is not None and bool(run.checkpoint_steps())

    # --- what is shown ------------------------------------------------------------------------

    def refresh(self, *_: object) -> None:
        """Buttons, views and figures, in line with where the training is."""
        running, recipe = self._running(), self._shows_recipe()
        self.run_view.setVisible(not recipe)
        self.recipe.setVisible(recipe)
        self.pause.setVisible(running)
        self.stop.setVisible(running)
        self.stop.setText(tr("Stop and keep") if self._last else tr("Cancel"))
        self.checkpoint.setVisible(running)
        ends = self._ends or self.state.stopping
        self.checkpoint.setEnabled(self._last is not None and not ends)
        for ending in (self.pause, self.stop):
            ending.setEnabled(not ends)
        self.again.setVisible(not running and not recipe)
        self.cluster.setVisible(recipe)
        self.results.setVisible(recipe and self.record.phase != "none")
        resumable = not running and self._can_resume()
        primary = self._primary(running=running, recipe=recipe, resumable=resumable)
        self.resume.setVisible(resumable and primary != tr("Resume"))
        self.header.primary.setText(primary)
        self._show_progress(running)
        if self._last is not None:
            self.tiles.show_step(self._last, running=running)
        self.verdict.show_verdict(running, self._adapter, self._how_on())
        super().refresh()
        if not running and self._focus_after_pause is not None:
            if self.window().focusWidget() is self._focus_after_pause:
                self.header.primary.setFocus()  # the key that has paused goes on
            self._focus_after_pause = None

    def _primary(self, *, running: bool, recipe: bool, resumable: bool) -> str:
        if recipe:
            return tr("Start training")
        if running or self._adapter is not None:
            return tr("Continue")
        return tr("Resume") if resumable else tr("Train again")

    def _show_progress(self, running: bool) -> None:
        self.progress.setVisible(running)
        progress, last = self.record.progress, self._last
        if progress is not None and (last is None or progress.time > last.time):
            share = progress.done / progress.total if progress.total else None
            self.progress.show_progress(tell(progress.stage), share, progress.eta_s)
        elif last is not None:
            self.progress.show_progress(tr("Training"), last.step / last.steps, last.eta_s)
        else:
            self.progress.show_progress(tr("Starting…"), None)

    def _how_on(self) -> str:
        if self._can_resume() and self.state.run is not None:
            if not (steps := self.state.run.checkpoint_steps()):
                return tr("Resume to begin; no step was done yet.")
            return tr("Resume to go on from the checkpoint at step {steps}.").format(
                steps=formatting.number(steps[-1])
            )
        return tr("There is no checkpoint to go on from.")
