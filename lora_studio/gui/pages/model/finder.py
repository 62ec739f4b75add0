"""Looks for models in one place after another, and keeps what was found until it is looked for anew."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QObject, Signal

from lora_studio.core.model.catalog import LOCAL, ModelEntry, Place
from lora_studio.core.problems import Problem
from lora_studio.core.protocol import commands, events

Question = commands.ListModels | commands.SearchModels


class ModelFinder(QObject):
    """What is known of the models of every place.

    Signals:
        ask(command): a question for the inspector; its events come to `take`.
        changed: something was found, failed or began.
    """

    ask = Signal(object)
    changed = Signal()

    def __init__(self, parent: QObject | None = None) -> None:
        """Nothing was looked for yet."""
        super().__init__(parent)
        self.found: dict[Place, tuple[ModelEntry, ...]] = {}
        self.problems: dict[Place, Problem] = {}
        self._waiting: list[Place] = []
        self._folders: tuple[str, ...] = ()
        self._asked: dict[str, tuple[str, Place]] = {}  # kind -> id and place of the question

    def look(self, folders: Sequence[str]) -> None:
        """Looks through this computer, the user's folders among it."""
        self._folders = tuple(folders)
        self._waiting = list(LOCAL)
        self._asked.pop("list_models", None)  # a question that was dropped has no ending
        self._next()

    def search(self, command: commands.SearchModels) -> None:
        """Asks the hub."""
        self.problems.pop("hub", None)
        self._put(command, "hub")

    def forget(self, place: Place) -> None:
        """Drops what is known of a place; the answer to a question about it no longer counts."""
        self.found.pop(place, None)
        self.problems.pop(place, None)
        self._asked = {kind: asked for kind, asked in self._asked.items() if asked[1] != place}
        self.changed.emit()

    def is_looking(self, place: Place) -> bool:
        """Whether an answer about a place is awaited."""
        asked = {place for _, place in self._asked.values()}
        return place in asked or place in self._waiting

    def take(self, event: object) -> bool:
        """Whether an event was about a question of this finder."""
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
