"""What the export page asks the inspector: the Ollama server, sizes of files, the TEMPLATE."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from PySide6.QtCore import QObject, Signal

from lora_studio.core.export import ExportSpec
from lora_studio.core.model.spec import ModelSpec
from lora_studio.core.protocol.commands import DeriveTemplate, EstimateSizes, InspectOllama
from lora_studio.core.runs.folder import RunFolder
from lora_studio.gui.jobs.debounced_query import DebouncedQuery, named_model
from lora_studio.gui.project.state import ProjectState


class ExportQuestions(QObject):
    """Three questions, each asked anew when what it rests on has changed.

    Signals:
        ask(command): a question for the inspector.
        outdated(command): its answer must not come any more.
    """

    ask = Signal(object)
    outdated = Signal(object)

    def __init__(
        self,
        state: ProjectState,
        made: Callable[[], RunFolder | None],
        parent: QObject,
    ) -> None:
        """`made` gives the run whose files the sizes are about, None before it has something."""
        super().__init__(parent)
        self._state, self._made = state, made
        self.server = DebouncedQuery(self._server_question, self)
        self.sizes = DebouncedQuery(self._sizes_question, self)
        self.template = DebouncedQuery(self._template_question, self)
        for inquiry in (self.server, self.sizes, self.template):
            inquiry.ask.connect(self.ask)
            inquiry.outdated.connect(self.outdated)

    def now(self) -> None:
        """Asks whatever has an answer to expect; for the server in any case."""
        self.server.forget()
        for inquiry in (self.server, self.sizes, self.template):
            inquiry.now()

    def take(self, event: object) -> None:
        """Watches for the ends of questions."""
        for inquiry in (self.server, self.sizes, self.template):
            inquiry.take(event)

    def _export(self) -> ExportSpec | None:
        export = self._state.spec("export")
        return export if isinstance(export, ExportSpec) else None

    def _server_question(self) -> InspectOllama | None:
        export = self._export()
        if export is None or not export.ollama_create:
            return None
        return InspectOllama(host=self._state.ollama_host())

    def _template_question(self) -> DeriveTemplate | None:
        """The TEMPLATE of the base model, so that it is seen before anything is trained."""
        model = self._state.facts.model
        if model is None or not model.has_chat_template or not Path(model.folder).is_dir():
            return None
        return DeriveTemplate(path=model.folder)

    def _sizes_question(self) -> EstimateSizes | None:
        """The sizes of this model's files, once its facts are known and so it is at hand."""
        model, export = self._state.spec("model"), self._export()
        if self._state.facts.model is None or not isinstance(model, ModelSpec) or export is None:
            return None
        asked = ExportSpec(
            imatrix=export.imatrix, llama_cpp=export.llama_cpp, convert_from=export.convert_from
        )
        run = self._made()
        return EstimateSizes(
            model=named_model(model), export=asked, run=str(run.path) if run else ""
        )
