"""“Train on a cluster…”: writes the project as a folder that trains elsewhere, and shows it."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QObject, QThread, QUrl, Signal
from PySide6.QtGui import QDesktopServices
from PySide6.QtWidgets import QFileDialog, QWidget

from lora_studio.core import checks, cluster
from lora_studio.core.problems import Problem, ProblemError
from lora_studio.core.project import Project, file_name
from lora_studio.gui.project_state import ProjectState


class ClusterExport(QObject):
    """Copies in a thread of its own: a model may have many gigabytes.

    Signals:
        ended: the folder is written, or could not be.
    """

    ended = Signal()

    def __init__(self, state: ProjectState, window: QWidget) -> None:
        """`window` is what the dialog belongs to."""
        super().__init__(window)
        self._state, self._window = state, window
        self._writing: _Writing | None = None

    def ask(self) -> None:
        """Asks where the folder is to be, unless the project has errors or one is being written."""
        if self._writing is not None:
            self._state.messages.info("A folder for a cluster is being written already.")
            return
        if wrong := checks.errors(checks.check(self._state.draft)):
            self._state.messages.problem(wrong[0])
            return
        folder = self._state.draft.folder or Path.home()
        name = f"{file_name(self._state.draft.name)}-cluster"
        dialog = QFileDialog(self._window, "A folder for the cluster", str(folder.parent / name))
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
        self._state.messages.info(f"Writing {out}…")
        self._writing = _Writing(self._state.draft.freeze(), folder, out, self)
        self._writing.finished.connect(self._written)
        self._writing.start()

    def leave(self) -> None:
        """Waits for the folder under way: half of one is of no use."""
        if self._writing is not None:
            self._writing.wait()

    def _written(self) -> None:
        writing, self._writing = self._writing, None
        if writing is None:
            return
        if writing.problem is not None:
            self._state.messages.problem(writing.problem)
        else:
            self._state.messages.info(
                f"Written to {writing.out}: copy it to the cluster, its README.md says how to go on."
            )
            QDesktopServices.openUrl(QUrl.fromLocalFile(str(writing.out)))
        writing.deleteLater()
        self.ended.emit()


class _Writing(QThread):
    def __init__(self, project: Project, folder: Path, out: Path, parent: QObject) -> None:
        super().__init__(parent)
        self._project, self._folder, self.out = project, folder, out
        self.problem: Problem | None = None

    def run(self) -> None:
        try:
            cluster.export(self._project, self._folder, self.out)
        except ProblemError as error:
            self.problem = error.problems[0]
