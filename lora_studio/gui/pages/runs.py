"""Runs: every training of the open project, to be compared."""

from __future__ import annotations

from PySide6.QtWidgets import QWidget

from lora_studio.gui.pages.place import Place
from lora_studio.gui.project_state import ProjectState
from lora_studio.gui.widgets.basics import EmptyState, button


class RunsPage(Place):
    """Says what will be here."""

    name = "runs"
    title = "Runs"

    def __init__(self, state: ProjectState, parent: QWidget | None = None) -> None:
        """Teaches while there is no run to show."""
        super().__init__(parent, scrolls=False)
        self._state = state
        self.body.addWidget(
            EmptyState(
                "No runs yet",
                "Each training makes a run: its settings, curves, checkpoints and adapter. All runs "
                "of a project stand here side by side, so that you can see what made one better.",
                button("Go to Train", lambda: self.go_to.emit("training"), icon="train"),
                "Two runs that differ in one setting tell most.",
            )
        )
