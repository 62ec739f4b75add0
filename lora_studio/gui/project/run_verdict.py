"""What is known about the results of the current run: how good they are, and which are out of date."""

from __future__ import annotations

from contextlib import suppress
from functools import partial

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QWidget

from lora_studio.core import formatting
from lora_studio.core.evaluation import run_verdict, summary
from lora_studio.core.evaluation.run_verdict import RunVerdict
from lora_studio.core.problems import ProblemError
from lora_studio.core.project.presets import SettingDifference
from lora_studio.core.runs import checksums, step_records
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.runs.step_records import RecordedStep
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

    def stop_background_work(self) -> None:
        """End the read in progress. Can be called repeatedly."""
        self._tasks.stop_background_work()

    def _on_run_changed(self) -> None:
        run = self._state.run
        if run != self._run:
            self._run = run
            self._show(None)
        if run is not None and not self._state.running and run.evaluations_folder.is_dir():
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
    return run_verdict.read_run_verdict(run.evaluations_folder, checksums.read_recorded(run))


def _describe(verdict: RunVerdict) -> str:
    """Return what was evaluated, on what, and when; of an outdated model, also what came out."""
    names = {"adapter": tr("Adapter"), "merged": tr("Merged model")}
    parts = [names.get(verdict.column, verdict.column)]
    if verdict.difference is not None:
        parts += [localize(verdict.test_set), localize(summary.format_metric(verdict.metric))]
        if verdict.is_outdated:
            parts.append(localize(verdict.difference.sentence))
    parts.append(formatting.format_run_name(f"{verdict.evaluation[:15]}-x").partition(" ·")[0])
    return " · ".join(parts)


class OutdatedResults:
    """Compares the settings that made each result with the project's; reads two small files."""

    def __init__(self, state: ProjectState) -> None:
        """Start without differences."""
        self._state = state
        self._changes: dict[RecordedStep, tuple[SettingDifference, ...]] = {}

    def compare(self) -> None:
        """Compare again: a job has ended, another run is followed, or a setting changed."""
        run, self._changes = self._state.run, {}
        if run is None or self._state.running:
            return
        for step in step_records.STEPS:
            spec = self._state.get_spec("merging" if step == "merge" else "export")
            if spec is not None:
                with suppress(ProblemError):
                    self._changes[step] = step_records.list_outdated(run, spec, step)

    def describe_changes(self, step: RecordedStep) -> str:
        """Return the settings that differ, with both values; "" if the result is up to date."""
        return ", ".join(localize(change.text) for change in self._changes.get(step, ()))

    def describe_merged(self) -> tuple[str, str]:
        """Return title and remedy of an outdated merged model."""
        return tr("⚠ The merged model is out of date"), tr(
            "It was merged with other settings: {changes}. Merge again to apply them."
        ).format(changes=self.describe_changes("merge"))

    def describe_exported(self) -> tuple[str, str]:
        """Return title and remedy of outdated GGUF files."""
        return tr("⚠ The exported files are out of date"), tr(
            "They were created with other settings: {changes}. Export again to apply them."
        ).format(changes=self.describe_changes("export"))

    def describe_ollama(self) -> tuple[str, str]:
        """Return title and remedy of an outdated model in Ollama."""
        return tr("⚠ The Ollama model is out of date"), tr(
            "It was created with other settings: {changes}. Export again, or create the model again, "
            "to apply them."
        ).format(changes=self.describe_changes("create_ollama"))

    def list_results(self, *, has_merged: bool, is_exported: bool) -> list[tuple[str, str]]:
        """Return title and remedy of each outdated result that an export uses or has created."""
        results = []
        # One that isn't exported because it was rounded decides on the settings all the same.
        uses_merged = has_merged and self._state.get("export", "convert_from") != "adapter"
        if uses_merged and self.describe_changes("merge"):
            results.append(self.describe_merged())
        if is_exported and self.describe_changes("export"):
            results.append(self.describe_exported())
        if self.describe_changes("create_ollama"):
            results.append(self.describe_ollama())
        return results
