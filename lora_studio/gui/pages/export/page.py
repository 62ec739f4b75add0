"""The export step: create and test GGUF files, and create the model in Ollama."""

from __future__ import annotations

from PySide6.QtWidgets import QWidget

from lora_studio.core.export import suggest_ollama_name
from lora_studio.core.problems import Problem, Step
from lora_studio.core.project import checks
from lora_studio.core.protocol import events
from lora_studio.core.runs.folder import RunFolder
from lora_studio.gui.controls.controls import LineControl
from lora_studio.gui.jobs.record import JobRecord
from lora_studio.gui.language import tr
from lora_studio.gui.message_translation import localize, localize_stage
from lora_studio.gui.pages.export import export_text
from lora_studio.gui.pages.export.hub_upload import HubUpload
from lora_studio.gui.pages.export.ollama_server import OllamaServerPanel
from lora_studio.gui.pages.export.quant_table import QuantTable
from lora_studio.gui.pages.export.queries import ExportQueries
from lora_studio.gui.pages.export.results_card import EvaluationCard, ResultsCard
from lora_studio.gui.pages.export.run_task import RunTask
from lora_studio.gui.pages.export.serving_card import ServingCard
from lora_studio.gui.pages.export.template_view import TemplateView
from lora_studio.gui.pages.page import StepPage
from lora_studio.gui.project.outdated_results import OutdatedResults
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
from lora_studio.gui.widgets.tooltips import plain_tip

_STEP: Step = "export"
_RESULTS = events.GgufWritten | events.TemplateDerived | events.SelfTested | events.OllamaCreated
#: Settings that an embedding model doesn't use.
_GENERATIVE = ("adapter_gguf", "system_prompt", "temperature", "top_p")


class ExportPage(StepPage):
    """Export the merged model, or base model and adapter, of the run that the window follows."""

    step = "export"
    title = "Export"

    def __init__(self, state: ProjectState, parent: QWidget | None = None) -> None:
        """Build the page: status and results above, files on the left, Ollama on the right."""
        super().__init__(state, parent)
        self.record, self.creating = JobRecord("export"), JobRecord("create_ollama")
        self.table = QuantTable()
        self.name = LineControl(state.get_facts(_STEP, "ollama_name"))
        self.ollama = OllamaServerPanel(state)
        self.server = self.ollama.server
        self.queries = ExportQueries(state, self._get_exportable_run, self)
        self.uploading = JobRecord("push")
        self._jobs = (self.record, self.creating, self.uploading)
        self.hub = HubUpload(state)
        self.template = TemplateView()
        self.serving = ServingCard(state)
        self.results = ResultsCard(state)
        self.result = self.results.result
        self.progress = ProgressLine()
        self.disk_space = label(role="caption", wrap=True)
        self.what = label(role="section", wrap=True)
        self.advice = label(role="muted", wrap=True)
        self.what_now = button(
            tr("What now?"), lambda: self.explain_requested.emit(self._get_problem()), kind="link"
        )
        self.cancel = button(tr("Cancel"), self.cancel_requested.emit, icon="stop")
        self.again = button(tr("Export again"), self._on_secondary)
        self.adapter: events.AdapterSaved | None = None
        self.merged: events.Merged | None = None
        self._is_rounded = False  # whether rounding has changed the merged model noticeably
        self.sizes: events.SizesEstimated | None = None
        self.outdated = OutdatedResults(state)
        self._task = RunTask(state)
        self._has_template = False
        self._run = state.run
        self._build_layout()
        self._wire()
        self._on_opened()
        self.refresh()

    def _wire(self) -> None:
        self.state.value_changed.connect(self._on_value_changed)
        self.state.facts_changed.connect(self._on_facts_changed)
        self.state.opened.connect(self._on_opened)
        self.state.run_changed.connect(self._on_run_changed)
        self.ollama.ask.connect(self.ask)
        self.ollama.create_requested.connect(self.run_requested)
        self.queries.ask.connect(self.ask)
        self.queries.outdated.connect(self.question_outdated)
        self.queries.server.busy_changed.connect(lambda _: self._show_server())
        self.hub.ask.connect(self.ask)
        self.hub.push_requested.connect(self.push_requested)
        self.results.chat_requested.connect(self.chat_requested)
        self.serving.explain_requested.connect(self.explain_requested)

    # --- layout -------------------------------------------------------------------------------

    def _build_layout(self) -> None:
        self.header.extra.addWidget(self.cancel)
        self.header.extra.addWidget(self.again)
        files = Card(tr("GGUF files"))
        quantizations = self.add_editor("quantizations", control=self.table)
        quantizations.set_label_visible(False)
        files.add(
            quantizations,
            self.disk_space,
            self.add_editor("imatrix"),
            self.add_editor("self_test"),
        )
        advanced = CollapsibleSection()
        for field in ("convert_from", "adapter_gguf", "lm_studio", "lm_studio_folder", "llama_cpp"):
            advanced.add(self.add_editor(field))
        files.add(advanced)
        self.status = Card()
        self.status.add(self.what, self.advice, row(self.what_now, None), self.progress)
        self.body.addWidget(self.status)
        self.body.addWidget(self.results)
        hub = Card(tr("Hugging Face Hub"))
        hub.add(self.hub)
        ollama = column(self._make_ollama_card(), self.serving, hub, None, spacing=Spacing.L)
        self.body.addWidget(ResponsiveColumns(column(files, None), ollama, (3, 2)))
        self.template_card = Card(tr("Chat template"))
        self.template_card.add(self.template)
        self.body.addWidget(self.template_card)
        self.evaluation = EvaluationCard(
            state=self.state, on_click=lambda: self.page_requested.emit("evaluation")
        )
        self.body.addWidget(self.evaluation)
        self.body.addStretch(1)

    def _make_ollama_card(self) -> Card:
        card = Card(tr("Ollama"))
        card.add(
            self.add_editor("ollama_create"),
            self.add_editor("ollama_name", control=self.name),
            self.add_editor("system_prompt", style="text"),
            self.ollama,
        )
        advanced = CollapsibleSection()
        for field in ("temperature", "top_p", "num_ctx", "ollama_host"):
            advanced.add(self.add_editor(field))
        card.add(advanced)
        return card

    # --- events -------------------------------------------------------------------------------

    def on_shown(self) -> None:
        """Refresh what the inspector knows; Ollama may have been started or stopped."""
        self.queries.ask_all()

    def leave(self) -> None:
        """Stop the server and the reads: the window is closing."""
        self.serving.leave()
        self.evaluation.evaluated.leave()

    def on_event(self, event: object) -> None:
        """Follow the jobs of this page and the answers of the inspector."""
        self.queries.on_event(event)
        self.hub.on_event(event)
        self._show_template(event)
        mine = any(job.apply(event) for job in self._jobs)
        if mine and isinstance(event, events.Ending):
            self.queries.sizes.forget()  # less disk space is free now
            if self.isVisible():
                self.queries.sizes.schedule()
        match event:
            case events.Started(command="train" | "merge" as job):
                self._forget_results(job)
            case events.AdapterSaved():
                self.adapter = event
                # Training an embedding in full may have untied it from the head, which changes the sizes.
                self.queries.sizes.forget()
            case events.Merged():
                self.merged, self._is_rounded = event, False
                self.queries.sizes.forget()
            case events.SelfTested(stage="merged"):
                self._is_rounded = event.verdict == "lossy"
                if mine:
                    self.result.add_event(event)
            case events.SizesEstimated():
                self.sizes = event
                self.table.set_sizes(event.bytes)
            case events.Started(command="export") if mine:
                self.result.clear()
            case _ if mine and isinstance(event, _RESULTS):
                self.result.add_event(event)
            case events.Failed() if mine and event.problem.code == "ollama.lossy":
                self._offer_anyway(event)
            case _ if not mine:
                return
        if isinstance(event, events.Ending):
            self.outdated.compare()
        self.refresh()

    def _forget_results(self, job: str) -> None:
        """Clear what a training or a merge replaces; files exported without a merged model survive a merge."""
        if job == "train" or self.merged is not None:
            self._clear_results()
        self.merged, self.adapter = None, None if job == "train" else self.adapter

    def _show_template(self, event: object) -> None:
        if isinstance(event, events.TemplateDerived):
            self.template.show_event(event)
            self._has_template = True
            self._show_template_card()

    def _show_template_card(self) -> None:
        self.template_card.setVisible(self._has_template and not self._embeds())

    def _on_run_changed(self) -> None:
        if self.state.run != self._run:
            self._run = self.state.run
            self.adapter = self.merged = None
            self._clear_results()
        self.outdated.compare()
        self.refresh()

    def _clear_results(self) -> None:
        for job in self._jobs:
            job.clear()
        self.hub.clear()
        self.result.clear()

    # --- requests and answers -----------------------------------------------------------------

    def _offer_anyway(self, event: events.Failed) -> None:
        """Offer to create a lossy model, but not when the events of an old run are replayed."""
        if self._is_running():
            self.ollama.offer_anyway(event.problem)

    def _get_exportable_run(self) -> RunFolder | None:
        """Return the current run, None before it has an adapter or a merged model."""
        return self.state.run if self.merged or self.adapter else None

    def _on_opened(self) -> None:
        self._clear_model_facts()
        self.queries.server.forget()
        self.name.line.setPlaceholderText(suggest_ollama_name(self.state.name))

    def _on_value_changed(self, step: str, field: str) -> None:
        host = str(self.state.get(_STEP, "ollama_host"))
        if step == _STEP and field == "ollama_host" and "@" in host:
            self.ollama.use_host_for_session(host)
            return
        if step == _STEP and field in ("ollama_host", "ollama_create"):
            self.state.report("inspect_ollama", [])
            self.state.forget("ollama")
            self.queries.server.schedule()
        if step == _STEP and field in ("imatrix", "llama_cpp", "convert_from"):
            self.queries.sizes.schedule()
        if step in (_STEP, "merging"):
            self.outdated.compare()
            self.refresh()

    def _on_facts_changed(self, name: str) -> None:
        if name == "model":
            self.table.set_model(self.state.facts.model)
            self._clear_model_facts()
            if self.isVisible():
                self.queries.sizes.schedule()
                self.queries.template.schedule()
        elif name == "ollama":
            self._show_server()

    def _clear_model_facts(self) -> None:
        """Clear sizes and template of the previous model."""
        self.sizes = None
        self.table.set_sizes({})
        self.queries.sizes.forget()
        self.queries.template.forget()
        self._has_template = False
        self._show_template_card()

    def _show_server(self) -> None:
        self.ollama.searching = self.queries.server.busy
        files = self.state.run is not None and any(self.state.run.gguf.glob("*.gguf"))
        self.ollama.show_server(can_create=files and not self.state.running)

    # --- state --------------------------------------------------------------------------------

    def describe_outdated(self) -> str:
        """Return "out of date" if the exported files were created with other settings."""
        is_outdated = self.is_done() and self.outdated.describe_changes("export")
        return tr("out of date") if is_outdated else ""

    def on_primary(self) -> None:
        """Export, or chat with what was exported, unless that is out of date."""
        if self._can_chat() and not self.describe_outdated():
            self.results.request_chat()
        else:
            self._export()

    def _on_secondary(self) -> None:
        """Do what the primary button doesn't."""
        if self.describe_outdated():
            self.results.request_chat()
        else:
            self._export()

    def _can_chat(self) -> bool:
        return self.is_done() and self.results.get_speaker() is not None

    def _embeds(self) -> bool:
        return self._task.is_embedding((self.adapter, self.merged))

    def _export(self) -> None:
        """Export; confirm first if a model in Ollama would be replaced."""
        if self.state.get(_STEP, "ollama_create") is True and self.ollama.is_taken():
            dialog = self.ollama.confirm_replacing(tr("Export and replace"))
            dialog.confirmed.connect(lambda: self.run_requested.emit("export"))
            dialog.open()
        else:
            self.run_requested.emit("export")

    def find_blocker(self) -> str | None:
        """Return what blocks the primary action: a running job, an error, or a missing model."""
        can_chat = self._can_chat() and not self.describe_outdated()
        return None if can_chat else self._find_export_blocker()

    def _find_export_blocker(self) -> str | None:
        if self.state.running:
            is_export = self.record.is_running(self.state.running)
            return tr("Export is running.") if is_export else tr("Another job is running.")
        if errors := checks.filter_errors(self.state.list_problems()):
            return localize(errors[0].what)
        if self.merged is None and self.adapter is None:
            return tr("Train an adapter first.")
        needs_merge = self.merged is None and not self._is_direct()
        return tr("Merge the adapter first.") if needs_merge else None

    def _is_direct(self) -> bool:
        """Return whether files are created directly from base model and adapter."""
        has_merged, is_rounded = self.merged is not None, self._is_rounded
        return self.state.exports_without_merge(has_merged=has_merged, is_rounded=is_rounded)

    def is_done(self) -> bool:
        """Return whether the export is complete."""
        return self.record.phase == "done" and not self._is_running()

    def _is_running(self) -> bool:
        return any(job.is_running(self.state.running) for job in self._jobs)

    # --- display ------------------------------------------------------------------------------

    def refresh(self, *_: object) -> None:
        """Update buttons, progress and results."""
        running = self._is_running()
        self.results.embeds = self.serving.embeds = self._embeds()
        can_chat, outdated = self._can_chat(), bool(self.describe_outdated())
        chat, again = tr("Open chat"), tr("Export again")
        primary = tr("Export")
        if self.is_done():
            primary = chat if can_chat and not outdated else again
        self.header.primary.setText(primary)
        self.again.setText(chat if outdated else again)
        self.again.setVisible(can_chat)
        blocker = None if outdated else self._find_export_blocker()
        self.again.setEnabled(blocker is None)
        self.again.setToolTip(plain_tip(blocker or ""))
        self.cancel.setVisible(running)
        self.cancel.setEnabled(not self.state.stopping)
        self.progress.setVisible(running)
        self._show_progress()
        self._show_status(running)
        self._show_server()
        self.hub.show_run()
        self.serving.show_run()
        self._refresh_fields()
        self.table.show_results(self.result.written, self.result.tested)
        self.results.show_results(done=self.is_done(), seconds=self.record.seconds)
        super().refresh()

    def _show_progress(self) -> None:
        running = (job for job in self._jobs if job.is_running(self.state.running))
        progress = next(running, self.record).progress
        if progress is not None:
            share = progress.done / progress.total if progress.total else None
            self.progress.show_progress(localize_stage(progress.stage), share, progress.eta_s)
        else:
            self.progress.show_progress(tr("Starting…"), None)

    def _refresh_fields(self) -> None:
        """Name the file that Ollama uses, and hide the LM Studio folder if it isn't used."""
        table, folder = self.editors["quantizations"], self.editors["lm_studio_folder"]
        chosen = self.table.rows.chosen
        ollama_hint = tr("Ollama gets {name}.").format(name=chosen[0]) if chosen else ""
        table.set_help(f"{table.facts.description} {ollama_hint}" if chosen else "")
        llama = self.editors["llama_cpp"]
        llama.set_help(export_text.describe_tools(llama.facts.description, self.sizes))
        self.disk_space.setText(export_text.describe_disk_space(self.sizes, chosen))
        self.disk_space.setVisible(bool(self.disk_space.text()))
        uses_lm_studio = self.state.get(_STEP, "lm_studio") is True
        folder.setVisible(uses_lm_studio or self.state.is_set(_STEP, "lm_studio_folder"))
        for part in (self.evaluation, *(self.editors[field] for field in _GENERATIVE)):
            part.setVisible(not self._embeds())
        self._show_template_card()

    def _get_problem(self) -> Problem | None:
        """Return the problem that ended the latest job of this page."""
        return max(self._jobs, key=lambda job: job.begun).problem

    def _show_status(self, running: bool) -> None:
        status, advice, failed = "", "", False
        if self.creating.is_running(self.state.running):
            status = tr("Creating the model in Ollama…")
        elif self.uploading.is_running(self.state.running):
            status = tr("Uploading to the Hub…")
        elif running:
            status = tr("Exporting…")
        elif problem := self._get_problem():
            status, advice, failed = f"✗ {localize(problem.what)}", localize(problem.remedy), True
        elif self.record.phase == "cancelled":
            status = tr("Export canceled")
            advice = tr("Completed files were kept.")
        elif self.record.was_cut_off(self.state.running):
            status = tr("⚠ Export stopped unexpectedly")
            advice = tr(
                "The process exited without reporting a result. Export again to continue; "
                "completed files are reused."
            )
        elif outdated := self.outdated.list_results(
            has_merged=bool(self.merged), is_exported=self.is_done()
        ):
            status, advice = outdated[0]
            advice = "\n".join([advice, *(line for other in outdated[1:] for line in other)])
        elif not self.is_done():
            is_direct = bool(self.merged or self.adapter) and self._is_direct()
            status, advice = export_text.describe_readiness(
                is_direct=is_direct,
                has_merged=self.merged is not None,
                blocker=self._find_export_blocker() or "",
            )
        set_role(self.what, "error" if failed else "section")
        self.what_now.setVisible(failed)
        self.what.setText(status)
        self.advice.setText(advice)
        self.advice.setVisible(bool(advice))
        self.status.setVisible(bool(status))
