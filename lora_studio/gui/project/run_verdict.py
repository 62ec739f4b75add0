"""What the newest evaluation of the current run says, in words, for the pages of the steps."""

from __future__ import annotations

from functools import partial

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QWidget

from lora_studio.core import formatting
from lora_studio.core.evaluation import run_verdict, summary
from lora_studio.core.evaluation.run_verdict import RunVerdict
from lora_studio.core.runs import checksums
from lora_studio.core.runs.folder import RunFolder
from lora_studio.gui.language import tr
from lora_studio.gui.message_translation import localize
from lora_studio.gui.project.state import ProjectState
from lora_studio.gui.theme import Spacing
from lora_studio.gui.threads import BackgroundReader, TaskRunner
from lora_studio.gui.widgets.basics import LabelRole, button, column, label, row, set_role

_STYLES: dict[str, tuple[str, LabelRole]] = {
    "better": ("▲ ", "ok"), "worse": ("▼ ", "error"), "unclear": ("", "section"), "too_few": ("", "section"),
}  # fmt: skip


class RunVerdictView(QWidget):
    """Shows the verdict of the run's newest complete evaluation; hidden without one.

    The evaluation is read in the background, whenever another run is followed and after each job.

    Signals:
        shown_changed: another verdict is shown, or none.
        evaluation_clicked: open the Evaluate page.
    """

    shown_changed = Signal()
    evaluation_clicked = Signal()

    def __init__(self, state: ProjectState, parent: QWidget | None = None) -> None:
        """Start hidden and follow the run of `state`."""
        super().__init__(parent)
        self._state = state
        self._run: RunFolder | None = None
        self.verdict: RunVerdict | None = None
        # The Evaluate page reports damaged evaluations, so their problems aren't repeated here.
        self._tasks = TaskRunner(lambda _: None, self)
        self.what, self.forgotten = label(role="section", wrap=True), label(wrap=True)
        self.details = label(role="muted", wrap=True)
        self.open = button(tr("Show evaluation"), self.evaluation_clicked.emit, kind="link")
        layout = column(
            self.what, self.forgotten, self.details, row(self.open, None), spacing=Spacing.XS
        )
        layout.setContentsMargins(0, 0, 0, 0)
        self.setLayout(layout)
        self.hide()
        state.run_changed.connect(self._on_run_changed)
        self._on_run_changed()

    def leave(self) -> None:
        """End the read in progress. Can be called repeatedly."""
        self._tasks.leave()

    def _on_run_changed(self) -> None:
        run = self._state.run
        if run != self._run:
            self._run = run
            self._show(None)
        if run is not None and not self._state.running and run.evaluations.is_dir():
            self._tasks.start(partial(_read, run), partial(self._on_read, run))

    def _on_read(self, run: RunFolder, verdict: object) -> None:
        if run == self._run and (verdict is None or isinstance(verdict, RunVerdict)):
            self._show(verdict)

    def _show(self, verdict: RunVerdict | None) -> None:
        self.verdict = verdict
        self.setVisible(verdict is not None)
        if verdict is not None:
            self._show_texts(verdict)
        self.shown_changed.emit()

    def _show_texts(self, verdict: RunVerdict) -> None:
        glyph, role = _STYLES[verdict.difference.finding] if verdict.difference else ("", "section")
        sentence = localize(verdict.difference.sentence) if verdict.difference else ""
        if verdict.is_outdated:
            glyph, role = "⚠ ", "warn"
            sentence = tr("Out of date: the model has changed since it was evaluated")
        self.what.setText(f"{glyph}{sentence}")
        self.what.setVisible(bool(sentence))
        set_role(self.what, role)
        forgotten = None if verdict.is_outdated else verdict.forgetting
        self.forgotten.setVisible(forgotten is not None)
        if forgotten is not None:
            mark = "▼ " if forgotten.has_forgotten else ""
            self.forgotten.setText(f"{mark}{localize(forgotten.sentence)}")
        self.details.setText(_describe(verdict))


def _read(run: RunFolder, _thread: BackgroundReader) -> RunVerdict | None:
    return run_verdict.read_run_verdict(run.evaluations, checksums.read_recorded(run))


def _describe(verdict: RunVerdict) -> str:
    """Return what was evaluated, on what, and when; of an outdated model, also what came out."""
    names = {"adapter": tr("Adapter"), "merged": tr("Merged model")}
    parts = [names.get(verdict.column, verdict.column)]
    if verdict.difference is not None:
        parts += [localize(verdict.test_set), localize(summary.format_measure(verdict.measure))]
        if verdict.is_outdated:
            parts.append(localize(verdict.difference.sentence))
    parts.append(formatting.format_run_name(f"{verdict.evaluation[:15]}-x").partition(" ·")[0])
    return " · ".join(parts)
