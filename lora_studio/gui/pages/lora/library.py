"""The adapter library: opens its dialog on demand and passes its requests on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, Signal
from PySide6.QtWidgets import QWidget

from lora_studio.gui.jobs.worker_on_demand import OnDemandWorker
from lora_studio.gui.preferences import Preferences
from lora_studio.gui.project.state import ProjectState

if TYPE_CHECKING:
    from lora_studio.gui.pages.lora.library_dialog import AdapterLibraryDialog


class AdapterLibrary(QObject):
    """Opens the library's dialog and forwards its requests.

    Signals:
        adapters_listed(folders): usable adapters, for other pages that offer them.
        chat_requested(folder): open an adapter in the playground.
        training_requested(folder): continue training from an adapter.
        merge_requested(folder): create a run that merges an adapter.
    """

    adapters_listed = Signal(object)
    chat_requested = Signal(str)
    training_requested = Signal(str)
    merge_requested = Signal(str)

    def __init__(self, state: ProjectState, preferences: Preferences, window: QWidget) -> None:
        """Create the library; adapters are listed when it is opened."""
        super().__init__(window)
        self._state, self._preferences, self._window = state, preferences, window
        self.link = OnDemandWorker(self)
        self.dialog: AdapterLibraryDialog | None = None

    def open(self) -> None:
        """Open the dialog, or bring it to the front."""
        # Imported here to speed up startup: few sessions open the library.
        from lora_studio.gui.pages.lora.library_dialog import AdapterLibraryDialog

        if self.dialog is None:
            self.dialog = AdapterLibraryDialog(
                self._state, self._preferences, self.link, self._window
            )
            self.dialog.adapters_listed.connect(self.adapters_listed)
            for signal, target in (
                (self.dialog.chat_requested, self.chat_requested),
                (self.dialog.training_requested, self.training_requested),
                (self.dialog.merge_requested, self.merge_requested),
            ):
                signal.connect(target)
            self.dialog.finished.connect(self._on_closed)
        self.dialog.open()

    def stop_background_work(self) -> None:
        """Stop the worker: the window is closing."""
        self.link.stop_background_work()

    def _on_closed(self) -> None:
        self.dialog = None
        self.link.release()
