"""“Train on a cluster…”: writes the project as a folder that trains elsewhere, and shows it."""

from __future__ import annotations

import time
from pathlib import Path

from PySide6.QtCore import QObject, QUrl, Signal
from PySide6.QtGui import QDesktopServices
from PySide6.QtWidgets import QFileDialog, QWidget

from lora_studio.core.problems import Problem, ProblemError
from lora_studio.core.project import checks
from lora_studio.core.project.project import Project, file_name
from lora_studio.core.runs import cluster
from lora_studio.gui.language import tr
from lora_studio.gui.project.state import ProjectState
from lora_studio.gui.threads import DetachedThread, ObsoleteResult

#: Seconds between two tellings how far the copying is.
_TELL_EVERY = 0.1


class ClusterExport(QObject):
    """Copies in a thread of its own: a model may have many gigabytes.

    Signals:
        advanced(share): how far the copying is, from 0 to 1; None when nothing is copied any more.
        ended: the folder is written, or could not be, or is not wanted any more.
    """

    advanced = Signal(object)
    ended = Signal()

    def __init__(self, state: ProjectState, window: QWidget) -> None:
        """`window` is what the dialog belongs to."""
        super().__init__(window)
        self._state, self._window = state, window
        self._writing: _Writing | None = None

    @property
    def is_writing(self) -> bool:
        """Whether a folder is being written."""
        return self._writing is not None

    def ask_for_folder(self) -> None:
        """Asks where the folder is to be, unless the project has errors or one is being written."""
        if self._writing is not None:
            self._state.messages.info(tr("A folder for a cluster is being written already."))
            return
        if wrong := checks.errors(checks.check(self._state.draft)):
            self._state.messages.problem(wrong[0])
            return
        folder = self._state.draft.folder or Path.home()
        name = f"{file_name(self._state.draft.name)}-cluster"
        dialog = QFileDialog(
            self._window, tr("A folder for the cluster"), str(folder.parent / name)
        )
        dialog.setAcceptMode(QFileDialog.AcceptMode.AcceptSave)
        dialog.selectFile(name)
        dialog.fileSelected.connect(lambda chosen: self.write(Path(chosen)))
        dialog.finished.connect(dialog.deleteLater)
        dialog.open()

    def write(self, out: Path) -> None:
        """Writes the project as it stands into a folder that does not exist yet."""
        folder = self._state.draft.folder
        if folder is None or self._writing is not None:
            return
        self._writing = _Writing(self._state.draft.freeze(), folder, out)
        self._writing.advanced.connect(self.advanced)
        self._writing.ended.connect(self._written)
        self.advanced.emit(0.0)
        self._writing.start()

    def cancel(self) -> None:
        """Ends the copying soon and leaves nothing behind."""
        if self._writing is not None:
            self._writing.requestInterruption()

    def leave(self) -> None:
        """Lets go of a folder under way: its thread ends soon and takes away what it has copied."""
        if self._writing is not None:
            self._writing.disconnect(self)
            self._writing.forget()
            self._writing = None

    def _written(self, problem: Problem | None) -> None:
        writing, self._writing = self._writing, None
        if writing is None:
            return
        messages = self._state.messages
        if problem is not None:
            messages.problem(problem)
        elif writing.cancelled:
            messages.info(tr("Cancelled; nothing of the folder is left."))
        else:
            messages.info(
                tr(
                    "Written to {folder}: copy it to the cluster, its README.md says how to go on."
                ).format(folder=writing.out)
            )
            QDesktopServices.openUrl(QUrl.fromLocalFile(str(writing.out)))
        self.advanced.emit(None)
        self.ended.emit()


class _Writing(DetachedThread):
    """Signals:
    advanced(share): from 0 to 1.
    ended(problem): None where the folder is written, or was not wanted any more.
    """

    advanced = Signal(object)
    ended = Signal(object)

    def __init__(self, project: Project, folder: Path, out: Path) -> None:
        super().__init__()
        self._project, self._folder, self.out = project, folder, out
        self.cancelled = False
        self._copied, self._told = 0, 0.0

    def run(self) -> None:
        problem: Problem | None = None
        try:
            total = cluster.size(self._project, self._folder)
            cluster.export(
                self._project, self._folder, self.out, told=lambda size: self._tell(size, total)
            )
        except ProblemError as error:
            problem = error.problems[0]
        except ObsoleteResult:
            self.cancelled = True
        if not self.silent:
            self.ended.emit(problem)

    def _tell(self, size: int, total: int) -> None:
        if self.isInterruptionRequested():
            raise ObsoleteResult
        self._copied += size
        now = time.monotonic()
        if now - self._told > _TELL_EVERY and not self.silent:
            self._told = now
            self.advanced.emit(min(1.0, self._copied / total) if total else None)
