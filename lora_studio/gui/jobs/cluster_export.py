"""Write the project as a folder that trains on a cluster ("Train on a cluster…")."""

from __future__ import annotations

import time
from pathlib import Path

from PySide6.QtCore import QObject, Signal
from PySide6.QtWidgets import QFileDialog, QWidget

from lora_studio.core.problems import Problem, ProblemError
from lora_studio.core.project import access_requests, checks
from lora_studio.core.project.project import Project, to_file_name
from lora_studio.core.runs import cluster
from lora_studio.gui.language import tr
from lora_studio.gui.project.state import ProjectState
from lora_studio.gui.threads import DetachedThread, ObsoleteResult
from lora_studio.gui.widgets.external_open import open_path
from lora_studio.gui.widgets.file_dialogs import open_file_dialog

#: Seconds between two progress signals.
_PROGRESS_INTERVAL = 0.1


class ClusterExport(QObject):
    """Copies in a thread, because a model can be many gigabytes large.

    Signals:
        advanced(share): progress of the copy from 0 to 1; None when it has ended.
        ended: the folder was written, failed or was cancelled.
    """

    advanced = Signal(object)
    ended = Signal()

    def __init__(self, state: ProjectState, window: QWidget) -> None:
        """Create it; dialogs belong to `window`."""
        super().__init__(window)
        self._state, self._window = state, window
        self._writing: _Writing | None = None

    @property
    def is_writing(self) -> bool:
        """Whether a folder is being written."""
        return self._writing is not None

    def ask_for_folder(self) -> None:
        """Ask for the folder, unless the project has errors or one is being written."""
        if self._writing is not None:
            self._state.messages.info(tr("A folder for a cluster is already being written."))
            return
        if problems := checks.filter_errors(checks.check(self._state.draft)):
            self._state.messages.problem(problems[0])
            return
        folder = self._state.draft.folder or Path.home()
        name = f"{to_file_name(self._state.draft.name)}-cluster"
        dialog = QFileDialog(self._window, tr("Folder for the cluster"), str(folder.parent / name))
        dialog.setAcceptMode(QFileDialog.AcceptMode.AcceptSave)
        dialog.selectFile(name)
        open_file_dialog(dialog, lambda chosen: self.write(Path(chosen)))

    def write(self, out: Path) -> None:
        """Write the project into a folder that doesn't exist yet."""
        folder = self._state.draft.folder
        if folder is None or self._writing is not None:
            return
        project = self._state.draft.freeze()
        consents = access_requests.list_cluster_consents(project.resolve(folder))
        if problem := access_requests.describe_cluster_consents(consents):
            self._state.messages.problem(problem)
        self._writing = _Writing(project, folder, out)
        self._writing.advanced.connect(self.advanced)
        self._writing.ended.connect(self._on_written)
        self.advanced.emit(0.0)
        self._writing.start()

    def cancel(self) -> None:
        """Cancel the copy and remove what was copied."""
        if self._writing is not None:
            self._writing.requestInterruption()

    def stop_background_work(self) -> None:
        """Cancel the copy without waiting for it."""
        if self._writing is not None:
            self._writing.disconnect(self)
            self._writing.forget()
            self._writing = None

    def _on_written(self, problem: Problem | None) -> None:
        writing, self._writing = self._writing, None
        if writing is None:
            return
        messages = self._state.messages
        if problem is not None:
            messages.problem(problem)
        elif writing.cancelled:
            messages.info(tr("Canceled. The incomplete folder was removed."))
        else:
            messages.success(
                tr("Saved to {folder}. Copy it to the cluster and follow its README.md.").format(
                    folder=writing.out
                )
            )
            open_path(writing.out)
        self.advanced.emit(None)
        self.ended.emit()


class _Writing(DetachedThread):
    """Signals:
    advanced(share): from 0 to 1.
    ended(problem): None if the folder was written or the copy was cancelled.
    """

    advanced = Signal(object)
    ended = Signal(object)

    def __init__(self, project: Project, folder: Path, out: Path) -> None:
        super().__init__()
        self._project, self._folder, self.out = project, folder, out
        self.cancelled = False
        self._copied, self._reported_at = 0, 0.0

    def run(self) -> None:
        problem: Problem | None = None
        try:
            total = cluster.measure_copy_size(self._project, self._folder)
            cluster.export_project(
                self._project,
                self._folder,
                self.out,
                on_copied=lambda size: self._report(size, total),
            )
        except ProblemError as error:
            problem = error.problems[0]
        except ObsoleteResult:
            self.cancelled = True
        if not self.silent:
            self.ended.emit(problem)

    def _report(self, size: int, total: int) -> None:
        if self.isInterruptionRequested():
            raise ObsoleteResult
        self._copied += size
        now = time.monotonic()
        if now - self._reported_at > _PROGRESS_INTERVAL and not self.silent:
            self._reported_at = now
            self.advanced.emit(min(1.0, self._copied / total) if total else None)
