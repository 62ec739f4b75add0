"""Card that explains how a training run is going: a warning during it, a verdict and fixes after it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Literal

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QPushButton, QWidget

from lora_studio.core import formatting
from lora_studio.core.curves.verdict import (
    RecipeFacts,
    TrainingMonitor,
    TrainingVerdict,
    divergence_verdict,
    judge,
    judge_rewards,
    suggest_fixes,
)
from lora_studio.core.lora.spec import LoraSpec
from lora_studio.core.problems import Fix, ProblemError
from lora_studio.core.project.project import Project
from lora_studio.core.protocol import events
from lora_studio.core.training.spec import TrainingSpec
from lora_studio.gui.jobs.control import JobRecord
from lora_studio.gui.language import tr
from lora_studio.gui.message_translation import localize
from lora_studio.gui.plots.loss_plot import LossPlot
from lora_studio.gui.project.run_verdict import RunVerdictView
from lora_studio.gui.project.state import ProjectState
from lora_studio.gui.widgets.basics import Card, FlowLayout, button, label, row, set_role

#: Longer curves are condensed to this many points before they are judged.
_JUDGED_POINTS = 3000
#: Seconds that a warning stays visible after its last occurrence.
WARNING_SECONDS = 10.0


class StickyWarning:
    """Holds a warning for a while, so that one near its threshold doesn't flicker."""

    def __init__(self, seconds: float = WARNING_SECONDS) -> None:
        """Start without a warning; `seconds` is how long a warning outlives its cause."""
        self._seconds = seconds
        self._latest: TrainingVerdict | None = None
        self._last_seen = 0.0

    def update(self, warning: TrainingVerdict | None) -> TrainingVerdict | None:
        """Record the current warning and return the one to show."""
        now = time.monotonic()
        if warning is not None:
            self._latest, self._last_seen = warning, now
        elif now - self._last_seen > self._seconds:
            self._latest = None
        return self._latest

    def clear(self) -> None:
        """Remove the warning immediately."""
        self._latest = None


class VerdictCard(Card):
    """Shows a verdict with advice and fixes; hidden while there is nothing to show.

    Signals:
        fix_chosen(Fix): apply a change to the project.
        explain_clicked: explain the problem that ended the training.
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
        """Read the phase of the training from `record` and the curves to judge from `plot`."""
        super().__init__(parent=parent)
        self._state, self._record, self._plot = state, record, plot
        self.what, self.advice = label(role="section", wrap=True), label(role="muted", wrap=True)
        self.fixes = FixRow(state)
        self.fixes.chosen.connect(self.fix_chosen)
        self.what_now = button(tr("What now?"), self.explain_clicked.emit, kind="link")
        self.evaluated = RunVerdictView(state)
        self.add(self.what, self.advice, self.fixes, row(self.what_now, None), self.evaluated)
        self._monitor, self._warning = TrainingMonitor(), StickyWarning()
        self._plan: events.TrainingStarted | None = None
        self._run_project: Project | None = None
        self._verdict = judge([])

    def on_event(self, event: object) -> None:
        """Follow an event of the training; call it after the plot has received the event."""
        self._monitor.on_event(event)
        match event:
            case events.TrainingStarted():
                self._plan, self._run_project = event, self._load_run_project()
            case events.Done():
                self._verdict = self._judge()

    def clear(self) -> None:
        """Reset the card for another run."""
        self._monitor, self._run_project, self._plan = TrainingMonitor(), None, None
        self._warning.clear()

    def show_verdict(
        self, running: bool, adapter: events.AdapterSaved | None, resume_hint: str
    ) -> None:
        """Update the card; `resume_hint` says how to resume a training that ended early."""
        warning = self._warning.update(self._monitor.get_verdict()) if running else None
        phase = self._record.phase
        self.setVisible(warning is not None or (not running and phase != "none"))
        self.what_now.setVisible(not running and phase == "failed")
        if warning is not None:
            self._show_texts(f"⚠ {localize(warning.what)}", localize(warning.advice), "warn")
            self.fixes.show_fixes(self._find_fixes(warning), tr("For the next run:"))
        else:
            self.fixes.show_fixes([])
        if not running and phase != "none":
            self._show_ending(adapter, resume_hint)

    def _show_ending(self, adapter: events.AdapterSaved | None, resume_hint: str) -> None:
        phase = self._record.phase
        if phase == "failed" and (problem := self._record.problem) is not None:
            self._show_texts(f"✗ {localize(problem.what)}", localize(problem.remedy), "error")
            if problem.code == "training.diverged":
                self.fixes.show_fixes(self._find_fixes(divergence_verdict(problem.what)))
            elif problem.fix is not None:
                self.fixes.show_fixes([problem.fix])
        elif phase == "paused":
            self._show_texts(tr("Training paused"), resume_hint)
        elif phase == "cancelled":
            self._show_texts(tr("Training canceled"), resume_hint)
        elif self._record.was_cut_off(self._state.running):
            self._show_texts(tr("⚠ Training stopped unexpectedly"), resume_hint, "warn")
        else:
            self._show_judgement(self._verdict, adapter)

    def _show_judgement(
        self, verdict: TrainingVerdict, adapter: events.AdapterSaved | None
    ) -> None:
        glyph = "✓ " if verdict.is_good else "⚠ " if verdict.kind != "too_short" else ""
        sentences = [localize(verdict.advice)]
        if adapter is not None and adapter.is_best:
            step = formatting.format_number(adapter.step)
            sentences.append(tr("The best adapter, from step {step}, was kept.").format(step=step))
        duration = (
            tr("You stopped training after {time}.")
            if self._record.phase == "stopped"
            else tr("Training took {time}.")
        )
        sentences.append(duration.format(time=formatting.format_duration(self._record.seconds)))
        self._show_texts(f"{glyph}{localize(verdict.what)}", " ".join(sentences))
        self.fixes.show_fixes(self._find_fixes(verdict))

    def _show_texts(
        self, what: str, advice: str, role: Literal["section", "warn", "error"] = "section"
    ) -> None:
        self.what.setText(what)
        self.advice.setText(advice)
        set_role(self.what, role)

    def _find_fixes(self, verdict: TrainingVerdict) -> list[Fix]:
        """Return fixes for the settings of this run; the project's settings may have changed since."""
        training, lora = self._state.get_spec("training"), self._state.get_spec("lora")
        if self._run_project is not None:
            training, lora = self._run_project.training, self._run_project.lora
        if not isinstance(training, TrainingSpec) or not isinstance(lora, LoraSpec):
            return []
        per_epoch = self._plan.steps_per_epoch if self._plan else 1.0
        return suggest_fixes(verdict, RecipeFacts(training, lora, per_epoch))

    def _load_run_project(self) -> Project | None:
        try:
            return self._state.run.load_project() if self._state.run is not None else None
        except ProblemError:
            return None

    def _judge(self) -> TrainingVerdict:
        run, warning = self._plot.run, self._monitor.get_verdict()
        if warning is not None and (run.has_rewards or warning.kind == "zero_gradient"):
            return warning
        steps, evaluations = (
            history.get_curve(run.main).condense(_JUDGED_POINTS)
            for history in (run.steps, run.evaluations)
        )
        return (judge_rewards if run.has_rewards else judge)(steps, evaluations)


class FixRow(QWidget):
    """Shows a button per fix; hidden while there are none.

    Signals:
        chosen(Fix): apply a change to the project.
    """

    chosen = Signal(object)

    def __init__(self, state: ProjectState, parent: QWidget | None = None) -> None:
        """Follow the settings of the project in `state`."""
        super().__init__(parent)
        self._state = state
        self._fixes: list[Fix] = []
        self._caption = label("", "caption")
        self.buttons: list[QPushButton] = []
        self._flow = FlowLayout(self)
        self._flow.addWidget(self._caption)
        self.hide()
        state.value_changed.connect(self._check_applied)

    def show_fixes(self, fixes: Sequence[Fix], caption: str = "") -> None:
        """Show buttons for the fixes after a caption; unchanged fixes keep their buttons."""
        self.setVisible(bool(fixes))
        if not fixes:
            return
        self._caption.setText(caption)
        self._caption.setVisible(bool(caption))
        if list(fixes) != self._fixes:
            self._fixes = list(fixes)
            for fix_button in self.buttons:
                self._flow.removeWidget(fix_button)
                fix_button.hide()
                fix_button.deleteLater()
            self.buttons = [self._add_button(fix) for fix in self._fixes]
        self._check_applied()

    def _add_button(self, fix: Fix) -> QPushButton:
        fix_button = button(localize(fix.label), lambda: self.chosen.emit(fix))
        self._flow.addWidget(fix_button)
        return fix_button

    def _check_applied(self, *_: object) -> None:
        for fix_button, fix in zip(self.buttons, self._fixes, strict=True):
            applied = all(self._state.get(step, name) == value for step, name, value in fix.changes)
            fix_button.setEnabled(not applied)
            fix_button.setText(f"✓ {localize(fix.label)}" if applied else localize(fix.label))
