"""List models source by source and cache the results until they are listed again."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QObject, Signal

from lora_studio.core.model.catalog import LOCAL, ModelEntry, Place
from lora_studio.core.problems import Problem
from lora_studio.core.protocol import commands, events

Question = commands.ListModels | commands.SearchModels


class ModelFinder(QObject):
    """The known models of every source.

    Signals:
        ask(command): a question for the inspector; its events arrive in `on_event`.
        changed: a listing started, arrived or failed.
    """

    ask = Signal(object)
    changed = Signal()

    def __init__(self, parent: QObject | None = None) -> None:
        """Create an empty cache."""
        super().__init__(parent)
        self.found: dict[Place, tuple[ModelEntry, ...]] = {}
        self.problems: dict[Place, Problem] = {}
        self._waiting: list[Place] = []
        self._folders: tuple[str, ...] = ()
        self._asked: dict[str, tuple[str, Place]] = {}  # kind -> id and place of the question

    def look(self, folders: Sequence[str]) -> None:
        """List the models on this computer, including those in `folders`."""
        self._folders = tuple(folders)
        self._waiting = list(LOCAL)
        self._asked.pop("list_models", None)  # a question that was dropped has no ending
        self._next()

    def search(self, command: commands.SearchModels) -> None:
        """Search the Hub."""
        self.problems.pop("hub", None)
        self._put(command, "hub")

    def forget(self, place: Place) -> None:
        """Drop the models of a source and ignore the answer to a pending question about it."""
        self.found.pop(place, None)
        self.problems.pop(place, None)
        self._asked = {kind: asked for kind, asked in self._asked.items() if asked[1] != place}
        self.changed.emit()

    def is_looking(self, place: Place) -> bool:
        """Return whether an answer about a source is pending."""
        asked = {place for _, place in self._asked.values()}
        return place in asked or place in self._waiting

    def take(self, event: object) -> bool:
        """Handle an event; return whether it answers a question of this finder."""
        kind = next(
            (k for k, (id_, _) in self._asked.items() if id_ == getattr(event, "id", "")), ""
        )
        if not kind:
            return False
        place = self._asked[kind][1]
        match event:
            case events.ModelsFound():
                self.found[place] = event.models
                self.problems.pop(place, None)
            case events.Failed():
                self.problems[place] = event.problem
        if isinstance(event, events.Ending):
            del self._asked[kind]
            if kind == "list_models":
                self._next()
        if isinstance(event, events.ModelsFound | events.Ending):
            self.changed.emit()
        return True

    def _next(self) -> None:
        if "list_models" in self._asked or not self._waiting:
            return
        place = self._waiting.pop(0)
        folders = self._folders if place == "folder" else ()
        self._put(commands.ListModels.model_validate({"place": place, "folders": folders}), place)

    def _put(self, command: Question, place: Place) -> None:
        self._asked[command.kind] = (command.id, place)
        self.ask.emit(command)
        self.changed.emit()
