"""Decide whether the window may close: ask about a job, a copy and unsaved changes."""

from __future__ import annotations

from PySide6.QtCore import QObject, Signal
from PySide6.QtWidgets import QWidget

from lora_studio.gui.jobs.cluster_export import ClusterExport
from lora_studio.gui.jobs.control import JobControl
from lora_studio.gui.jobs.launcher import JobLauncher
from lora_studio.gui.project import lock
from lora_studio.gui.project.commands import ProjectCommands
from lora_studio.gui.project.state import ProjectState
from lora_studio.gui.window.closing_dialogs import ClosingDialog, CopyingDialog, UnsavedDialog


class CloseGuard(QObject):
    """Asks one question after another before the window closes.

    Signals:
        close_now: the window can be closed now, because what it waited for has ended.
    """

    close_now = Signal()

    def __init__(
        self,
        state: ProjectState,
        jobs: JobControl,
        launcher: JobLauncher,
        projects: ProjectCommands,
        cluster: ClusterExport,
        window: QWidget,
    ) -> None:
        """Follow these jobs; dialogs belong to `window`."""
        super().__init__(window)
        self._state, self._jobs, self._launcher, self._window = state, jobs, launcher, window
        self._projects, self._cluster = projects, cluster
        self._closes_when_idle = False  # the user chose to close after the running job
        jobs.ended.connect(self._close_if_idle)
        cluster.ended.connect(self._close_if_idle)

    def can_close(self) -> bool:
        """Return whether the window may close; otherwise ask, and `close_now` may follow."""
        if self._jobs.running and not lock.is_guest(self._state.draft):
            if not self._closes_when_idle:
                self._ask_about_job()
            return False
        if self._cluster.is_writing:
            if not self._closes_when_idle:
                self._ask_about_copying()
            return False
        if self._state.draft.path is not None and self._state.dirty and not self._state.save():
            self._ask_about_changes()
            return False
        return True

    def _close_if_idle(self) -> None:
        if self._closes_when_idle and not self._jobs.running and not self._cluster.is_writing:
            self._closes_when_idle = False
            self.close_now.emit()

    def _ask_about_job(self) -> None:
        dialog = ClosingDialog(self._jobs.kind, self._window)
        dialog.decided.connect(self._on_decided)
        dialog.rejected.connect(self._cancel_closing)
        self._jobs.ended.connect(dialog.accept)
        dialog.open()

    def _on_decided(self, decision: str) -> None:
        if decision == "background":
            self._jobs.detach()
            self.close_now.emit()
        else:
            self._closes_when_idle = True
            (self._launcher.pause if decision == "pause" else self._launcher.stop)()

    def _ask_about_copying(self) -> None:
        dialog = CopyingDialog(self._window)
        dialog.wait_chosen.connect(self._close_later)
        dialog.cancel_chosen.connect(self._cancel_copying)
        dialog.rejected.connect(self._cancel_closing)
        self._cluster.ended.connect(dialog.accept)
        dialog.open()

    def _close_later(self) -> None:
        self._closes_when_idle = True

    def _cancel_copying(self) -> None:
        self._closes_when_idle = True
        self._cluster.cancel()

    def _cancel_closing(self) -> None:
        self._closes_when_idle = False

    def _ask_about_changes(self) -> None:
        dialog = UnsavedDialog(self._state.name, self._window)
        dialog.save_as_clicked.connect(self._projects.save_as)
        dialog.discard_clicked.connect(self._discard)
        dialog.open()

    def _discard(self) -> None:
        self._state.undo.setClean()
        self.close_now.emit()
