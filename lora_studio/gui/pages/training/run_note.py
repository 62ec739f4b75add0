"""Notes on the run that is shown, written while it trains; lines about a step are marked in the curve."""

from __future__ import annotations

from PySide6.QtCore import QEvent, QObject, QTimer, Signal
from PySide6.QtGui import QTextCursor
from PySide6.QtWidgets import QPlainTextEdit, QVBoxLayout, QWidget

from lora_studio.core.problems import ProblemError
from lora_studio.core.runs.annotations import noted_steps
from lora_studio.core.runs.folder import RunFolder
from lora_studio.gui.language import tr
from lora_studio.gui.theme import Spacing
from lora_studio.gui.widgets.basics import button, label, row

#: Milliseconds without a key after which what is typed is kept.
_PAUSE = 800


class RunNote(QWidget):
    """Keeps what is typed with the run, beside its title and tags, which the Runs page shows too.

    Signals:
        steps_changed(steps): the steps that the notes are about.
        failed(problem): they could not be kept.
    """

    steps_changed = Signal(object)
    failed = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        """Of no run yet."""
        super().__init__(parent)
        self._run: RunFolder | None = None
        self._step = 0
        self._is_typed = False  # what stands there is not what the run has
        self.text = QPlainTextEdit()
        self.text.setAccessibleName(tr("Notes on this run"))
        self.text.setPlaceholderText(tr("What you tried, what you saw"))
        self.text.setTabChangesFocus(True)
        self.here = button(tr("Note at this step"), self.add, icon="edit")
        self.here.setToolTip(
            tr("Begins a line with the number of the step; the curve is marked there (Ctrl+M)")
        )
        self.hint = label(tr("A line that begins with @120 is about step 120."), "caption")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, Spacing.S, 0, 0)
        layout.setSpacing(Spacing.S)
        layout.addWidget(self.text, 1)
        layout.addLayout(row(self.here, self.hint, None))
        self._typing = QTimer(self, singleShot=True, interval=_PAUSE)
        self._typing.timeout.connect(self.commit)
        self.text.textChanged.connect(self._typed)
        self.text.installEventFilter(self)
        self.show_run(None)

    def show_run(self, run: RunFolder | None) -> None:
        """The notes of a run as they are now; what was typed about the one before is kept first."""
        self.commit()
        if run != self._run:
            self._step = 0
        self._run = run
        self.setEnabled(run is not None)
        notes = run.about().notes if run is not None else ""
        if notes != self.text.toPlainText().strip():
            self.text.setPlainText(notes)
        self._typing.stop()
        self._is_typed = False
        self.steps_changed.emit(noted_steps(notes))

    def set_step(self, step: int) -> None:
        """The step that the training has reached."""
        self._step = step

    def add(self) -> None:
        """Begins a line about the step that the training has reached."""
        text = self.text.toPlainText().rstrip()
        self.text.setPlainText(f"{text}\n@{self._step} " if text else f"@{self._step} ")
        self.text.moveCursor(QTextCursor.MoveOperation.End)
        self.text.setFocus()

    def commit(self) -> None:
        """Keeps what was typed."""
        self._typing.stop()
        if not self._is_typed or self._run is None or not self._run.path.is_dir():
            return
        self._is_typed = False
        about, notes = self._run.about(), self.text.toPlainText().strip()
        if notes != about.notes:
            try:
                self._run.write_about(about.model_copy(update={"notes": notes}))
            except ProblemError as error:
                self.failed.emit(error.problems[0])

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Leaving the notes keeps them."""
        if event.type() == QEvent.Type.FocusOut:
            self.commit()
        return super().eventFilter(watched, event)

    def _typed(self) -> None:
        self._is_typed = True
        self._typing.start()
        self.steps_changed.emit(noted_steps(self.text.toPlainText()))
