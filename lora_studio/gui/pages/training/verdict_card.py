"""What a training comes to, in words: a warning while it runs, a verdict after it, and what to change."""

from __future__ import annotations

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QWidget

from lora_studio.core import formatting
from lora_studio.core.curves import advice
from lora_studio.core.curves.training_monitor import TrainingMonitor
from lora_studio.core.curves.verdict import TrainingVerdict, diverged, judge
from lora_studio.core.lora.spec import LoraSpec
from lora_studio.core.problems import Fix, ProblemError
from lora_studio.core.project.project import Project
from lora_studio.core.protocol import events
from lora_studio.core.training.spec import TrainingSpec
from lora_studio.gui.jobs.record import JobRecord
from lora_studio.gui.language import tr
from lora_studio.gui.message_translation import tell
from lora_studio.gui.pages.training.fix_row import FixRow
from lora_studio.gui.pages.training.lingering import StickyWarning
from lora_studio.gui.plots.loss_plot import LossPlot
from lora_studio.gui.project.state import ProjectState
from lora_studio.gui.widgets.basics import Card, button, label, row, set_role

#: A verdict looks at this many points of a curve at most; of a longer one at means.
_JUDGED_POINTS = 3000


class VerdictCard(Card):
    """Hidden while there is nothing to say.

    Signals:
        fix_chosen(Fix): a change that the user wants.
        explain_clicked: the user wants to know more about the problem that ended the training.
    """

    fix_chosen = Signal(object)
    explain_clicked = Signal()

    def __init__(
        self,
        state: ProjectState,
        record: JobRecord,
        plot: LossPlot,
        parent: QWidget | None = None,
    ) -> None:
        """`record` says where the training is, `plot` holds the curves that are judged."""
        super().__init__(parent=parent)
        self._state, self._record, self._plot = state, record, plot
        self.what, self.advice = label(role="section", wrap=True), label(role="muted", wrap=True)
        self.fixes = FixRow(state)
        self.fixes.chosen.connect(self.fix_chosen)
        self.what_now = button(tr("What now?"), self.explain_clicked.emit, kind="link")
        self.add(self.what, self.advice, self.fixes, row(self.what_now, None))
        self._watch, self._warned = TrainingMonitor(), StickyWarning()
        self._plan: events.TrainingStarted | None = None
        self._ran_with: Project | None = None
        self._verdict = judge([])

    def take(self, event: object) -> None:
        """An event of the training, after the plot has taken it."""
        self._watch.take(event)
        match event:
            case events.TrainingStarted():
                self._plan, self._ran_with = event, self._frozen()
            case events.Done():
                self._verdict = self._judged()

    def clear(self) -> None:
        """Another run: nothing is known of it."""
        self._watch, self._ran_with, self._plan = TrainingMonitor(), None, None
        self._warned.clear()

    def show_verdict(self, running: bool, adapter: events.AdapterSaved | None, how_on: str) -> None:
        """Says what there is to say; `how_on` is how a training that has ended early goes on."""
        found = self._warned.of(self._watch.verdict()) if running else None
        phase = self._record.phase
        self.setVisible(found is not None or (not running and phase != "none"))
        self.what_now.setVisible(not running and phase == "failed")
        if found is not None:
            self._say(f"⚠ {tell(found.what)}", tell(found.advice), "warn")
            self.fixes.show_fixes(self._fixes(found), tr("For the next training:"))
        else:
            self.fixes.show_fixes([])
        if running or phase == "none":
            return
        if phase == "failed" and (problem := self._record.problem) is not None:
            self._say(f"✗ {tell(problem.what)}", tell(problem.remedy), "error")
            if problem.code == "training.diverged":
                self.fixes.show_fixes(self._fixes(diverged(problem.what)))
        elif phase == "paused":
            self._say(tr("Training is paused."), how_on, "section")
        elif phase == "cancelled":
            self._say(tr("Training was cancelled."), how_on, "section")
        elif self._record.was_cut_off(self._state.running):
            self._say(tr("⚠ Training ended without a word: its process is gone."), how_on, "warn")
        else:
            self._say_verdict(self._verdict, adapter)

    def _say_verdict(self, verdict: TrainingVerdict, adapter: events.AdapterSaved | None) -> None:
        sign = "✓ " if verdict.good else "⚠ " if verdict.kind != "too_short" else ""
        took = tr("Took {time}.")
        if self._record.phase == "stopped":
            took = tr("Stopped by you after {time}.")
        said = [tell(verdict.advice)]
        if adapter is not None and adapter.best_loss is not None:
            step = formatting.number(adapter.step)
            said.append(tr("The best adapter was kept, that of step {step}.").format(step=step))
        said.append(took.format(time=formatting.duration(self._record.seconds)))
        self._say(f"{sign}{tell(verdict.what)}", " ".join(said), "section")
        self.fixes.show_fixes(self._fixes(verdict))

    def _say(self, what: str, advice: str, role: str) -> None:
        self.what.setText(what)
        self.advice.setText(advice)
        set_role(self.what, "error" if role == "error" else "warn" if role == "warn" else "section")

    def _fixes(self, verdict: TrainingVerdict) -> list[Fix]:
        """For the recipe that this training runs with, which the project's may differ from by now."""
        training, lora = self._state.spec("training"), self._state.spec("lora")
        if self._ran_with is not None:
            training, lora = self._ran_with.training, self._ran_with.lora
        if not isinstance(training, TrainingSpec) or not isinstance(lora, LoraSpec):
            return []
        per_epoch = self._plan.steps_per_epoch if self._plan else 1.0
        return advice.fixes(verdict, advice.RecipeFacts(training, lora, per_epoch))

    def _frozen(self) -> Project | None:
        """The project as the run has it."""
        try:
            return self._state.run.load_project() if self._state.run is not None else None
        except ProblemError:
            return None

    def _judged(self) -> TrainingVerdict:
        found = self._watch.verdict()
        if found is not None and found.kind == "zero_gradient":
            return found
        run = self._plot.run
        return judge(
            run.steps.curve("loss").condensed(_JUDGED_POINTS),
            run.evaluations.curve("loss").condensed(_JUDGED_POINTS),
        )
