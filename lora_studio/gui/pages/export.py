"""The export step: GGUF files, each tested, and the model in Ollama."""

from __future__ import annotations

import shlex
from pathlib import Path

from PySide6.QtCore import QUrl
from PySide6.QtGui import QDesktopServices, QGuiApplication
from PySide6.QtWidgets import QWidget

from lora_studio.core import checks, events
from lora_studio.core.commands import EstimateSizes, InspectOllama
from lora_studio.core.export import ExportSpec, suggested_ollama_name
from lora_studio.core.model import ModelSpec
from lora_studio.core.problems import Step
from lora_studio.gui.inquiry import Inquiry, named_model
from lora_studio.gui.job_record import JobRecord
from lora_studio.gui.pages.page import Page
from lora_studio.gui.project_state import ProjectState
from lora_studio.gui.widgets.basics import Card, More, button, column, label, row, set_role
from lora_studio.gui.widgets.columns import Columns
from lora_studio.gui.widgets.controls import LineControl
from lora_studio.gui.widgets.export_result import ExportResult
from lora_studio.gui.widgets.progress_line import ProgressLine
from lora_studio.gui.widgets.quant_table import QuantTable

_STEP: Step = "export"


class ExportPage(Page):
    """Exports the merged model of the run that the window follows."""

    step = "export"
    title = "Export"

    def __init__(self, state: ProjectState, parent: QWidget | None = None) -> None:
        """Files to the left, Ollama to the right, results below."""
        super().__init__(state, parent)
        self.inquiry = Inquiry(self._question, self)
        self.inquiry.ask.connect(self.ask)
        self.sizing = Inquiry(self._sizes_question, self)
        self.sizing.ask.connect(self.ask)
        self.record = JobRecord("export")
        self.table = QuantTable()
        self.name = LineControl(state.about(_STEP, "ollama_name"))
        self.server = label(role="muted", wrap=True)
        self.result = ExportResult()
        self.progress = ProgressLine()
        self.what = label(role="section", wrap=True)
        self.advice = label(role="muted", wrap=True)
        self.cancel = button("Cancel", self.cancel_requested.emit, icon="stop")
        self.merged: events.Merged | None = None
        self._run = state.run
        self._lay_out()
        self.inquiry.busy_changed.connect(lambda _: self._show_server())
        state.value_changed.connect(self._value_changed)
        state.facts_changed.connect(self._facts_changed)
        state.opened.connect(self._opened)
        state.run_changed.connect(self._run_changed)
        state.problems_changed.connect(lambda _: self._show_server())
        self._opened()
        self.refresh()

    # --- layout -------------------------------------------------------------------------------

    def _lay_out(self) -> None:
        self.header.extra.addWidget(self.cancel)
        files = Card("GGUF files")
        quantizations = self.add_editor("quantizations", control=self.table)
        quantizations.set_label_visible(False)
        files.add(quantizations, self.add_editor("imatrix"), self.add_editor("self_test"))
        more = More()
        for field in ("adapter_gguf", "lm_studio", "lm_studio_folder", "llama_cpp"):
            more.add(self.add_editor(field))
        files.add(more)
        self.status = Card()
        self.status.add(self.what, self.advice, self.progress)
        self.result_card = Card("Result")
        self.result_card.add(self.result, self._result_buttons())
        self.body.addWidget(self.status)
        self.body.addWidget(self.result_card)
        ollama = column(self._ollama_card(), None)
        self.body.addWidget(Columns(column(files, None), ollama, (3, 2)))
        self.body.addStretch(1)

    def _ollama_card(self) -> Card:
        card = Card("Ollama")
        card.add(
            self.add_editor("ollama_create"),
            self.server,
            self.add_editor("ollama_name", control=self.name),
            self.add_editor("system_prompt", style="text"),
        )
        more = More()
        for field in ("temperature", "top_p", "num_ctx", "ollama_host"):
            more.add(self.add_editor(field))
        card.add(more)
        return card

    def _result_buttons(self) -> QWidget:
        self.show_folder = button("Show folder", self._show_folder, icon="folder")
        self.copy_run = button("", lambda: self._copy(self._run_command()), icon="copy")
        self.copy_llama = button(
            "Copy llama.cpp command", lambda: self._copy(self._llama_command()), icon="copy"
        )
        made = QWidget()
        made.setLayout(row(self.show_folder, self.copy_run, self.copy_llama, None))
        return made

    # --- events -------------------------------------------------------------------------------

    def on_shown(self) -> None:
        """Ollama may have been started or stopped meanwhile."""
        self.inquiry.forget()
        self.inquiry.now()
        self.sizing.now()

    def on_event(self, event: object) -> None:
        """Watches for the end of the question to Ollama; follows the export."""
        self.inquiry.take(event)
        self.sizing.take(event)
        mine = self.record.take(event)
        match event:
            case events.Started(command="train" | "merge"):
                self.merged = None
                self._forget_result()
            case events.Merged():
                self.merged = event
                self.sizing.forget()  # trained whole, an embedding may have come apart from its head
            case events.SizesEstimated():
                self.table.set_sizes(event.bytes)
                return
            case events.Started() if mine:
                self.result.clear()
            case (
                events.GgufWritten()
                | events.TemplateDerived()
                | events.SelfTested()
                | events.OllamaCreated()
            ) if mine:
                self.result.take(event)
            case _ if not mine:
                return
        self.refresh()

    def _run_changed(self) -> None:
        if self.state.run != self._run:
            self._run = self.state.run
            self.merged = None
            self._forget_result()
        self.refresh()

    def _forget_result(self) -> None:
        self.record.clear()
        self.result.clear()

    # --- questions and answers ----------------------------------------------------------------

    def _question(self) -> InspectOllama | None:
        export = self.state.spec(_STEP)
        if not isinstance(export, ExportSpec) or not export.ollama_create:
            return None
        return InspectOllama(host=export.ollama_host)

    def _sizes_question(self) -> EstimateSizes | None:
        """The sizes of this model's files, once its facts are known and so it is at hand."""
        model, export = self.state.spec("model"), self.state.spec(_STEP)
        if self.state.facts.model is None or not isinstance(model, ModelSpec):
            return None
        if not isinstance(export, ExportSpec):
            return None
        asked = ExportSpec(imatrix=export.imatrix, llama_cpp=export.llama_cpp)
        run = str(self.state.run.path) if self.state.run and self.merged else ""
        return EstimateSizes(model=named_model(model), export=asked, run=run)

    def _opened(self) -> None:
        self.sizing.forget()
        self.table.set_sizes({})
        self.inquiry.forget()
        suggested = suggested_ollama_name(self.state.name)
        self.name.line.setPlaceholderText(suggested)
        self._show_server()

    def _value_changed(self, step: str, field: str) -> None:
        if step == _STEP and field in ("ollama_host", "ollama_create"):
            self.state.report("inspect_ollama", [])
            self.state.forget("ollama")
            self.inquiry.soon()
        if step == _STEP and field in ("imatrix", "llama_cpp"):
            self.sizing.soon()
        if step == _STEP:
            self._show_server()
            self.refresh()

    def _facts_changed(self, name: str) -> None:
        if name == "model":
            model = self.state.facts.model
            self.table.set_parameters(model.parameters if model else None)
            self.table.set_sizes({})
            self.sizing.forget()
        elif name == "ollama":
            self._show_server()

    def _show_server(self) -> None:
        found = self.state.facts.ollama
        self.server.setVisible(self.state.get(_STEP, "ollama_create") is True)
        if found is not None:
            set_role(self.server, "ok")
            taken = self._full_name() in found.models
            here = " A model of this name is there and will be replaced." if taken else ""
            self.server.setText(f"✓ Ollama {found.version} at {found.host}.{here}")
            return
        set_role(self.server, "muted")
        self.server.setText(
            "Looking for Ollama…" if self.inquiry.busy else "Ollama was not found on this computer."
        )

    # --- where we are -------------------------------------------------------------------------

    def on_primary(self) -> None:
        """Exports; there is no page after this one."""
        self.run_requested.emit("export")

    def missing(self) -> str | None:
        """A merged model, and a project without errors."""
        if self.state.running:
            return "Exporting is under way." if self._running() else "A job is under way."
        wrong = checks.errors(self.state.problems())
        if wrong:
            return wrong[0].what
        return None if self.merged is not None else "Merge the adapter first."

    def done(self) -> bool:
        """The export is complete."""
        return self.record.phase == "done" and not self._running()

    def _running(self) -> bool:
        return self.record.is_running(self.state.running)

    # --- what the user does -------------------------------------------------------------------

    def _name(self) -> str:
        name = str(self.state.get(_STEP, "ollama_name"))
        return name or suggested_ollama_name(self.state.name)

    def _full_name(self) -> str:
        name = self._name()
        return name if ":" in name.rsplit("/", 1)[-1] else f"{name}:latest"

    def _run_command(self) -> str:
        created = self.result.created
        return f"ollama run {created.name if created else self._name()}"

    def _llama_command(self) -> str:
        """Chats with the smallest file; the file brings its own chat template."""
        models = [event for event in self.result.written if event.quantization != "adapter"]
        smallest = min(models, key=lambda event: event.bytes, default=None)
        return f"llama-cli -m {shlex.quote(smallest.file)} -cnv" if smallest else ""

    def _copy(self, text: str) -> None:
        QGuiApplication.clipboard().setText(text)
        self.state.messages.info(f"Copied: {text}")

    def _show_folder(self) -> None:
        if self.result.written:
            folder = Path(self.result.written[0].file).parent
            QDesktopServices.openUrl(QUrl.fromLocalFile(str(folder)))

    # --- what is shown ------------------------------------------------------------------------

    def refresh(self, *_: object) -> None:
        """Buttons, progress and results."""
        running = self._running()
        self.header.primary.setText("Export again" if self.done() else "Export")
        self.cancel.setVisible(running)
        self.progress.setVisible(running)
        progress = self.record.progress
        if progress is not None:
            share = progress.done / progress.total if progress.total else None
            self.progress.show_progress(progress.stage, share, progress.eta_s)
        else:
            self.progress.show_progress("Starting…", None)
        self._say(running)
        self.table.show_results(self.result.written, self.result.tested)
        if self.done():
            self.result.finish(self._modelfile(), self.record.seconds)
        self.result_card.setVisible(not self.result.is_empty())
        self.show_folder.setVisible(bool(self.result.written))
        self.copy_llama.setVisible(bool(self.result.written))
        self.copy_run.setVisible(self.result.created is not None)
        self.copy_run.setText(f"Copy “{self._run_command()}”")
        super().refresh()

    def _modelfile(self) -> str:
        try:
            return self.state.run.modelfile.read_text("utf-8") if self.state.run else ""
        except OSError:
            return ""

    def _say(self, running: bool) -> None:
        what, advice, failed = "", "", False
        if running:
            what = "Exporting"
        elif self.record.phase == "failed" and self.record.problem is not None:
            what, failed = f"✗ {self.record.problem.what}", True
            advice = self.record.problem.remedy
        elif self.record.phase == "cancelled":
            what = "Exporting was cancelled."
            advice = "Files that were complete are kept."
        elif self.record.was_cut_off(self.state.running):
            what = "⚠ Exporting ended without a word: its process is gone."
            advice = "Export again; files that were complete are kept."
        elif self.merged is None and not self.done():
            what, advice = "Nothing to export yet", "Merge the adapter first."
        set_role(self.what, "error" if failed else "section")
        self.what.setText(what)
        self.advice.setText(advice)
        self.advice.setVisible(bool(advice))
        self.status.setVisible(bool(what))
