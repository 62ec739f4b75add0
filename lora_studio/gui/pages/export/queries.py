"""Requests of the export page to the inspector: Ollama server, file sizes, TEMPLATE."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from PySide6.QtCore import QObject, Signal

from lora_studio.core.export import ExportSpec
from lora_studio.core.model.spec import ModelSpec
from lora_studio.core.protocol.commands import DeriveTemplate, EstimateSizes, InspectOllama
from lora_studio.core.runs.folder import RunFolder
from lora_studio.gui.jobs.debounced_query import DebouncedQuery, strip_model
from lora_studio.gui.project.state import ProjectState


class ExportQueries(QObject):
    """Sends three requests, each of them again when its inputs have changed.

    Signals:
        ask(command): send a command to the inspector.
        outdated(command): discard the answer to a command.
    """

    ask = Signal(object)
    outdated = Signal(object)

    def __init__(
        self,
        state: ProjectState,
        get_run: Callable[[], RunFolder | None],
        parent: QObject,
    ) -> None:
        """Estimate sizes for the run that `get_run` returns; None before it has an adapter."""
        super().__init__(parent)
        self._state, self._get_run = state, get_run
        self.server = DebouncedQuery(self._make_server_query, self)
        self.sizes = DebouncedQuery(self._make_sizes_query, self)
        self.template = DebouncedQuery(self._make_template_query, self)
        for query in (self.server, self.sizes, self.template):
            query.ask.connect(self.ask)
            query.outdated.connect(self.outdated)

    def ask_all(self) -> None:
        """Send the requests whose inputs have changed, and always the one for the server."""
        self.server.forget()
        for query in (self.server, self.sizes, self.template):
            query.ask_now()

    def on_event(self, event: object) -> None:
        """Follow the ends of requests."""
        for query in (self.server, self.sizes, self.template):
            query.on_event(event)

    def _export(self) -> ExportSpec | None:
        export = self._state.get_spec("export")
        return export if isinstance(export, ExportSpec) else None

    def _make_server_query(self) -> InspectOllama | None:
        export = self._export()
        if export is None or not export.ollama_create:
            return None
        return InspectOllama(host=self._state.get_ollama_host())

    def _make_template_query(self) -> DeriveTemplate | None:
        """Return the request for the base model's TEMPLATE, which is shown before training."""
        model = self._state.facts.model
        if model is None or not model.has_chat_template or not Path(model.folder).is_dir():
            return None
        return DeriveTemplate(path=model.folder)

    def _make_sizes_query(self) -> EstimateSizes | None:
        """Return the request for file sizes, None until the model's facts are known."""
        model, export = self._state.get_spec("model"), self._export()
        if self._state.facts.model is None or not isinstance(model, ModelSpec) or export is None:
            return None
        relevant = ExportSpec(
            imatrix=export.imatrix, llama_cpp=export.llama_cpp, convert_from=export.convert_from
        )
        run = self._get_run()
        return EstimateSizes(
            model=strip_model(model), export=relevant, run=str(run.path) if run else ""
        )
