"""Notes on a run; lines that start with a step number are marked in the chart."""

from __future__ import annotations

from PySide6.QtCore import QTimer, Signal
from PySide6.QtGui import QTextCursor
from PySide6.QtWidgets import QVBoxLayout, QWidget

from lora_studio.core.problems import ProblemError
from lora_studio.core.runs.annotations import list_noted_steps
from lora_studio.core.runs.folder import RunFolder
from lora_studio.gui.language import tr
from lora_studio.gui.theme import Spacing
from lora_studio.gui.widgets.basics import button, label, row
from lora_studio.gui.widgets.text_editors import NoteEditor

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
