"""The export step: GGUF files, each tested, and the model in Ollama."""

from __future__ import annotations

import os

from PySide6.QtWidgets import QWidget

from lora_studio.core.export import ExportSpec, goes_straight, suggested_ollama_name
from lora_studio.core.problems import Problem, Step
from lora_studio.core.project import checks
from lora_studio.core.protocol import events
from lora_studio.core.runs.folder import RunFolder
from lora_studio.gui.controls.controls import LineControl
from lora_studio.gui.jobs.record import JobRecord
from lora_studio.gui.language import tr
from lora_studio.gui.message_translation import tell
from lora_studio.gui.pages.export import export_text
from lora_studio.gui.pages.export.hub_upload import HubUpload
from lora_studio.gui.pages.export.ollama_server import OllamaServerPanel
from lora_studio.gui.pages.export.quant_table import QuantTable
from lora_studio.gui.pages.export.queries import ExportQuestions
from lora_studio.gui.pages.export.results_card import ResultsCard
from lora_studio.gui.pages.export.template_view import TemplateView
from lora_studio.gui.pages.page import StepPage
from lora_studio.gui.project.state import ProjectState
from lora_studio.gui.theme import Spacing
from lora_studio.gui.widgets.basics import (
    Card,
    CollapsibleSection,
    button,
    column,
    label,
    row,
    set_role,
)
from lora_studio.gui.widgets.columns import ResponsiveColumns
from lora_studio.gui.widgets.progress_line import ProgressLine

_STEP: Step = "export"


class ExportPage(StepPage):
    """Exports the merged model of the run that the window follows."""

    step = "export"
    title = "Export"

    def __init__(self, state: ProjectState, parent: QWidget | None = None) -> None:
        """Files to the left, Ollama to the right, results below."""
        super().__init__(state, parent)
        self.record = JobRecord("export")
        self.creating = JobRecord("create_ollama")
        self.table = QuantTable()
        self.name = LineControl(state.about(_STEP, "ollama_name"))
        self.ollama = OllamaServerPanel(state)
        self.ollama.ask.connect(self.ask)
        self.ollama.create_requested.connect(self.run_requested)
        self.server = self.ollama.server
        self.questions = ExportQuestions(state, self._made, self)
        self.questions.ask.connect(self.ask)
        self.questions.outdated.connect(self.question_outdated)
        self.uploading = JobRecord("push")
        self._jobs = (self.record, self.creating, self.uploading)
        self.hub = HubUpload(state)
        self.hub.ask.connect(self.ask)
        self.hub.push_requested.connect(self.push_requested)
        self.template = TemplateView()
        self.results = ResultsCard(state)
        self.results.chat_requested.connect(self.chat_requested)
        self.result = self.results.result
        self.progress = ProgressLine()
        self.room = label(role="caption", wrap=True)
        self.what = label(role="section", wrap=True)
        self.advice = label(role="muted", wrap=True)
        self.what_now = button(
            tr("What now?"), lambda: self.explain_requested.emit(self._problem()), kind="link"
        )
        self.cancel = button(tr("Cancel"), self.cancel_requested.emit, icon="stop")
        self.adapter: events.AdapterSaved | None = None
        self.merged: events.Merged | None = None
        self.sizes: events.SizesEstimated | None = None
        self._run = state.run
        self._lay_out()
        self.questions.server.busy_changed.connect(lambda _: self._show_server())
        state.value_changed.connect(self._value_changed)
        state.facts_changed.connect(self._facts_changed)
        state.opened.connect(self._opened)
        state.run_changed.connect(self._run_changed)
        self._opened()
        self.refresh()

    # --- layout -------------------------------------------------------------------------------

    def _lay_out(self) -> None:
        self.header.extra.addWidget(self.cancel)
        files = Card(tr("GGUF files"))
        quantizations = self.add_editor("quantizations", control=self.table)
        quantizations.set_label_visible(False)
        files.add(
            quantizations, self.room, self.add_editor("imatrix"), self.add_editor("self_test")
        )
        more = CollapsibleSection()
        for field in ("convert_from", "adapter_gguf", "lm_studio", "lm_studio_folder", "llama_cpp"):
            more.add(self.add_editor(field))
        files.add(more)
        self.status = Card()
        self.status.add(self.what, self.advice, row(self.what_now, None), self.progress)
        self.body.addWidget(self.status)
        self.body.addWidget(self.results)
        hub = Card(tr("Hugging Face hub"))
        hub.add(self.hub)
        ollama = column(self._ollama_card(), hub, None, spacing=Spacing.L)
        self.body.addWidget(ResponsiveColumns(column(files, None), ollama, (3, 2)))
        self.template_card = Card(tr("Template"))
        self.template_card.add(self.template)
        self.template_card.hide()
        self.body.addWidget(self.template_card)
        self.body.addStretch(1)

    def _ollama_card(self) -> Card:
        card = Card(tr("Ollama"))
        card.add(
            self.add_editor("ollama_create"),
            self.add_editor("ollama_name", control=self.name),
            self.add_editor("system_prompt", style="text"),
            self.ollama,
        )
        more = CollapsibleSection()
        for field in ("temperature", "top_p", "num_ctx", "ollama_host"):
            more.add(self.add_editor(field))
        card.add(more)
        return card

    # --- events -------------------------------------------------------------------------------

    def on_shown(self) -> None:
        """Ollama may have been started or stopped meanwhile."""
        self.questions.now()

    def on_event(self, event: object) -> None:
        """Watches for the end of the question to Ollama; follows the export."""
        self.questions.take(event)
        self.hub.take(event)
        mine = any(job.take(event) for job in self._jobs)
        if isinstance(event, events.TemplateDerived):
            self.template.show_event(event)
            self.template_card.show()
        match event:
            case events.Started(command="train" | "merge"):
                self.merged = None
                self.adapter = None if event.command == "train" else self.adapter
                self._forget_result()
            case events.AdapterSaved():
                self.adapter = event
                self.questions.sizes.forget()  # trained whole, an embedding may have come apart from its head
            case events.Merged():
                self.merged = event
                self.questions.sizes.forget()
            case events.SizesEstimated():
                self.sizes = event
                self.table.set_sizes(event.bytes)
            case events.Started(command="export") if mine:
                self.result.clear()
            case (
                events.GgufWritten()
                | events.TemplateDerived()
                | events.SelfTested()
                | events.OllamaCreated()
            ) if mine:
                self.result.take(event)
            case events.Failed() if mine and event.problem.code == "ollama.lossy":
                self._offer_anyway(event)
            case _ if not mine:
                return
        self.refresh()

    def _run_changed(self) -> None:
        if self.state.run != self._run:
            self._run = self.state.run
            self.adapter = self.merged = None
            self._forget_result()
        self.refresh()

    def _forget_result(self) -> None:
        for job in self._jobs:
            job.clear()
        self.hub.forget()
        self.result.clear()

    # --- questions and answers ----------------------------------------------------------------

    def _offer_anyway(self, event: events.Failed) -> None:
        """A choice for the user who has just asked, none while an old run is read again."""
        if self._running():
            self.ollama.offer_anyway(event.problem)

    def _made(self) -> RunFolder | None:
        """The run that is followed, once it has something to export."""
        return self.state.run if self.merged or self.adapter else None

    def _opened(self) -> None:
        self._forget_model()
        self.questions.server.forget()
        suggested = suggested_ollama_name(self.state.name)
        self.name.line.setPlaceholderText(suggested)

    def _value_changed(self, step: str, field: str) -> None:
        host = str(self.state.get(_STEP, "ollama_host"))
        if step == _STEP and field == "ollama_host" and "@" in host:
            self._keep_out_of_the_project(host)
            return
        if step == _STEP and field in ("ollama_host", "ollama_create"):
            self.state.report("inspect_ollama", [])
            self.state.forget("ollama")
            self.questions.server.soon()
        if step == _STEP and field in ("imatrix", "llama_cpp", "convert_from"):
            self.questions.sizes.soon()
        if step == _STEP:
            self.refresh()

    def _keep_out_of_the_project(self, host: str) -> None:
        """An address with a password counts until the window closes; no file ever holds it."""
        os.environ["OLLAMA_HOST"] = host
        self.state.set(_STEP, "ollama_host", "")
        self.state.messages.info(
            tr(
                "The address with its password counts until you close the window. To keep it, set "
                "the environment variable OLLAMA_HOST."
            )
        )

    def _facts_changed(self, name: str) -> None:
        if name == "model":
            model = self.state.facts.model
            self.table.set_parameters(model.parameters if model else None)
            self._forget_model()
            if self.isVisible():  # it came while the page was waiting for it
                self.questions.sizes.soon()
                self.questions.template.soon()
        elif name == "ollama":
            self._show_server()

    def _forget_model(self) -> None:
        """Sizes and template were those of another model."""
        self.sizes = None
        self.table.set_sizes({})
        self.questions.sizes.forget()
        self.questions.template.forget()
        self.template_card.hide()

    def _show_server(self) -> None:
        self.ollama.searching = self.questions.server.busy
        files = self.state.run is not None and any(self.state.run.gguf.glob("*.gguf"))
        self.ollama.show_server(can_create=files and not self.state.running)

    # --- where we are -------------------------------------------------------------------------

    def on_primary(self) -> None:
        """Exports; asks first where a model in Ollama would be replaced."""
        if self.state.get(_STEP, "ollama_create") is True and self.ollama.is_taken():
            dialog = self.ollama.confirm_replacing(tr("Export and replace it"))
            dialog.confirmed.connect(lambda: self.run_requested.emit("export"))
            dialog.open()
        else:
            self.run_requested.emit("export")

    def blocker(self) -> str | None:
        """A merged model or an adapter, and a project without errors."""
        if self.state.running:
            mine = self.record.is_running(self.state.running)
            return tr("Exporting is under way.") if mine else tr("A job is under way.")
        wrong = checks.errors(self.state.problems())
        if wrong:
            return tell(wrong[0].what)
        if self.merged is None and self.adapter is None:
            return tr("Train an adapter first.")
        if self.merged is None and not self._straight():
            return tr("Merge the adapter first.")
        return None

    def _straight(self) -> bool:
        """Whether the files will be made without a merged model."""
        export = self.state.spec(_STEP)
        has_merged = self.merged is not None
        return isinstance(export, ExportSpec) and goes_straight(export, has_merged=has_merged)

    def is_done(self) -> bool:
        """The export is complete."""
        return self.record.phase == "done" and not self._running()

    def _running(self) -> bool:
        return any(job.is_running(self.state.running) for job in self._jobs)

    # --- what is shown ------------------------------------------------------------------------

    def refresh(self, *_: object) -> None:
        """Buttons, progress and results."""
        running = self._running()
        self.header.primary.setText(tr("Export again") if self.is_done() else tr("Export"))
        self.cancel.setVisible(running)
        self.cancel.setEnabled(not self.state.stopping)
        self.progress.setVisible(running)
        under_way = (job for job in self._jobs if job.is_running(self.state.running))
        now = next(under_way, self.record)
        progress = now.progress
        if progress is not None:
            share = progress.done / progress.total if progress.total else None
            self.progress.show_progress(tell(progress.stage), share, progress.eta_s)
        else:
            self.progress.show_progress(tr("Starting…"), None)
        self._say(running)
        self._show_server()
        self.hub.show_run()
        self._show_what_applies()
        self.table.show_results(self.result.written, self.result.tested)
        self.results.show_results(done=self.is_done(), seconds=self.record.seconds)
        super().refresh()

    def _show_what_applies(self) -> None:
        """Which file Ollama gets, and no field that means nothing; one that is set can be reached."""
        table, folder = self.editors["quantizations"], self.editors["lm_studio_folder"]
        first = self.table.rows.chosen[:1]
        now = tr("Now that is {name}.").format(name=first[0]) if first else ""
        table.set_help(f"{table.about.description} {now}" if first else "")
        llama = self.editors["llama_cpp"]
        llama.set_help(export_text.tools(llama.about.description, self.sizes))
        self.room.setText(export_text.room(self.sizes, self.table.rows.chosen))
        self.room.setVisible(bool(self.room.text()))
        wanted = self.state.get(_STEP, "lm_studio") is True
        folder.setVisible(wanted or self.state.is_set(_STEP, "lm_studio_folder"))

    def _problem(self) -> Problem | None:
        """What ended the latest job of this page."""
        return max(self._jobs, key=lambda job: job.begun).problem

    def _say(self, running: bool) -> None:
        what, advice, failed = "", "", False
        if self.creating.is_running(self.state.running):
            what = tr("Creating the model in Ollama")
        elif self.uploading.is_running(self.state.running):
            what = tr("Uploading to the hub")
        elif running:
            what = tr("Exporting")
        elif problem := self._problem():
            what, advice, failed = f"✗ {tell(problem.what)}", tell(problem.remedy), True
        elif self.record.phase == "cancelled":
            what = tr("Exporting was cancelled.")
            advice = tr("Files that were complete are kept.")
        elif self.record.was_cut_off(self.state.running):
            what = tr("⚠ Exporting ended without a word: its process is gone.")
            advice = tr("Export again; files that were complete are kept.")
        elif self.is_done():
            pass
        elif (self.merged or self.adapter) and self._straight():
            what = tr("Ready to export")
            advice = tr(
                "The files are made straight from base and adapter: no merged copy is written. To "
                "keep one, or to upload it, merge first."
            )
        elif self.merged is None:
            what = tr("Nothing to export yet")
            advice = self.blocker() or ""
        set_role(self.what, "error" if failed else "section")
        self.what_now.setVisible(failed)
        self.what.setText(what)
        self.advice.setText(advice)
        self.advice.setVisible(bool(advice))
        self.status.setVisible(bool(what))
