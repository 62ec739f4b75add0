"""List models source by source and cache the results until they are listed again."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QObject, Signal

from lora_studio.core.model.catalog import LOCAL, ModelEntry, ModelLocation
from lora_studio.core.problems import Problem
from lora_studio.core.protocol import commands, events

Question = commands.ListModels | commands.SearchModels


class ModelFinder(QObject):
    """The cached models of every source.

    Signals:
        ask(command): a question for the inspector; its events arrive in `on_event`.
        changed: a listing started, arrived or failed.
    """

    ask = Signal(object)
    changed = Signal()

    def __init__(self, parent: QObject | None = None) -> None:
        """Create an empty cache."""
        super().__init__(parent)
        self.models: dict[ModelLocation, tuple[ModelEntry, ...]] = {}
        self.problems: dict[ModelLocation, Problem] = {}
        self._waiting: list[ModelLocation] = []
        self._folders: tuple[str, ...] = ()
        self._pending: dict[
            str, tuple[str, ModelLocation]
        ] = {}  # query kind -> ID and location of the pending query

    def list_local(self, folders: Sequence[str]) -> None:
        """List the models on this computer, including those in `folders`."""
        self._folders = tuple(folders)
        self._waiting = list(LOCAL)
        self._pending.pop("list_models", None)  # a dropped question gets no ending
        self._send_next()

    def search(self, command: commands.SearchModels) -> None:
        """Search the Hub."""
        self.problems.pop("hub", None)
        self._send(command, "hub")

    def clear(self, location: ModelLocation) -> None:
        """Drop the models of a source and the answer to a pending question about it."""
        self.models.pop(location, None)
        self.problems.pop(location, None)
        self._pending = {
            kind: pending for kind, pending in self._pending.items() if pending[1] != location
        }
        self.changed.emit()

    def is_loading(self, location: ModelLocation) -> bool:
        """Return whether an answer about a source is pending."""
        pending = {location for _, location in self._pending.values()}
        return location in pending or location in self._waiting

    def on_event(self, event: object) -> bool:
        """Handle an event; return whether it answers a question of this finder."""
        kind = next(
            (k for k, (id_, _) in self._pending.items() if id_ == getattr(event, "id", "")), ""
        )
        if not kind:
            return False
        location = self._pending[kind][1]
        match event:
            case events.ModelsFound():
                self.models[location] = event.models
                self.problems.pop(location, None)
            case events.Failed():
                self.problems[location] = event.problem
        if isinstance(event, events.Ending):
            del self._pending[kind]
            if kind == "list_models":
                self._send_next()
        if isinstance(event, events.ModelsFound | events.Ending):
            self.changed.emit()
        return True

    def _send_next(self) -> None:
        if "list_models" in self._pending or not self._waiting:
            return
        location = self._waiting.pop(0)
        folders = self._folders if location == "folder" else ()
        self._send(
            commands.ListModels.model_validate({"location": location, "folders": folders}), location
        )

    def _send(self, command: Question, location: ModelLocation) -> None:
        self._pending[command.kind] = (command.id, location)
        self.ask.emit(command)
        self.changed.emit()
