"""Playground: talk to the base model and to what you trained, side by side."""

from __future__ import annotations

from PySide6.QtWidgets import QWidget

from lora_studio.gui.pages.place import Place
from lora_studio.gui.project_state import ProjectState
from lora_studio.gui.widgets.basics import EmptyState, button


class PlaygroundPage(Place):
    """Says what will be here."""

    name = "playground"
    title = "Playground"

    def __init__(self, state: ProjectState, parent: QWidget | None = None) -> None:
        """Teaches while there is nothing to talk to."""
        super().__init__(parent, scrolls=False)
        self._state = state
        self.body.addWidget(
            EmptyState(
                "Nothing to talk to yet",
                "Once an adapter is trained, ask it and its base model the same question here and "
                "read both answers side by side.",
                button("Go to Train", lambda: self.go_to.emit("training"), icon="train"),
                "Ask something that is in your examples, then something that is not.",
            )
        )
