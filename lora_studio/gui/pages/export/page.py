"""The export step: create and test GGUF files, and create the model in Ollama."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import cast

from PySide6.QtCore import QObject, QTimer, Signal
from PySide6.QtWidgets import QCheckBox, QLineEdit, QPlainTextEdit, QWidget

from lora_studio.core.export import ExportSpec, What, suggest_ollama_name
from lora_studio.core.messages import listed
from lora_studio.core.model.spec import ModelSpec
from lora_studio.core.problems import Problem, Step
from lora_studio.core.project import checks
from lora_studio.core.protocol import commands, events
from lora_studio.core.protocol.commands import DeriveTemplate, EstimateSizes, InspectOllama
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.runs.manifest import get_task
from lora_studio.core.tasks.table import TASKS
from lora_studio.core.tasks.task import Task
from lora_studio.core.templates.server.terms import DerivedTemplate
from lora_studio.gui.controls.choices import SegmentsControl
from lora_studio.gui.controls.controls import LineControl
from lora_studio.gui.jobs.control import JobRecord
from lora_studio.gui.jobs.debounced_query import DebouncedQuery, strip_model
from lora_studio.gui.language import mark, tr, tr_n
from lora_studio.gui.message_translation import localize, localize_stage
from lora_studio.gui.pages.export import result_view
from lora_studio.gui.pages.export.ollama_server import OllamaServerPanel
from lora_studio.gui.pages.export.quant_table import QuantTable
from lora_studio.gui.pages.export.result_view import ResultsCard
from lora_studio.gui.pages.export.serving_card import ServingCard
from lora_studio.gui.pages.page import StepPage
from lora_studio.gui.project.run_verdict import OutdatedResults, RunVerdictView
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
    with_title,
)
from lora_studio.gui.widgets.columns import ResponsiveColumns
from lora_studio.gui.widgets.dialog import Dialog
from lora_studio.gui.widgets.external_open import open_page
from lora_studio.gui.widgets.fact_list import FactList
from lora_studio.gui.widgets.progress_line import ProgressLine
from lora_studio.gui.widgets.rich_text import CodeView
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
        """Refresh what the query workers know; Ollama may have been started or stopped."""
        self.queries.ask_all()

    def stop_background_work(self) -> None:
        """Stop the server and the reads: the window is closing."""
        self.serving.stop_background_work()
        self.evaluation.evaluated.stop_background_work()

    def on_event(self, event: object) -> None:
        """Follow the jobs of this page and the answers of the query workers."""
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
        return self.is_done() and self.results.get_chat_model() is not None

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
        llama.set_help(result_view.describe_tools(llama.facts.description, self.sizes))
        self.disk_space.setText(result_view.describe_disk_space(self.sizes, chosen))
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
            status, advice = result_view.describe_readiness(
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


class RunTask:
    """Knows the task of the run that the window follows, or before its training that of the dataset."""

    def __init__(self, state: ProjectState) -> None:
        """Read the run when `is_embedding` is called."""
        self._state = state
        self._key: object = None
        self._task: Task | None = None

    def is_embedding(self, results: object) -> bool:
        """Return whether an embedding model is trained. The run is read again when its results have changed."""
        run, data = self._state.run, self._state.facts.dataset
        if (key := (run, results)) != self._key:
            self._key = key
            self._task = get_task(run.read_manifest()) if run is not None else None
        prepared = TASKS[data.task] if data is not None and data.task is not None else None
        task = self._task or prepared
        return task is not None and task.yields_vectors


class ExportQueries(QObject):
    """Sends three requests, each of them again when its inputs have changed.

    Signals:
        ask(command): send a command to the query workers.
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


_HEIGHT = 190


class TemplateView(QWidget):
    """Shows the Jinja and Go templates, whether they were verified, and their differences."""

    def __init__(self, parent: QWidget | None = None) -> None:
        """Start empty."""
        super().__init__(parent)
        self.verdict = label(wrap=True)
        self.jinja, self.go = (
            CodeView(tr("Chat template")),
            CodeView(tr("Ollama TEMPLATE")),
        )
        for view in (self.jinja, self.go):
            view.setFixedHeight(_HEIGHT)
        sides = ResponsiveColumns(
            with_title(tr("Chat template (Jinja)"), self.jinja),
            with_title(tr("Ollama TEMPLATE (Go)"), self.go),
        )
        self.facts = FactList()
        self.limits = CollapsibleSection(tr("Known differences"))
        self._limits = label(role="muted", wrap=True)
        self.limits.add(self._limits)
        self.setLayout(column(self.verdict, sides, self.facts, self.limits, spacing=Spacing.M))

    def show_event(self, event: events.TemplateDerived) -> None:
        """Show a derived template, verified or not."""
        derived = event.derived or DerivedTemplate(
            template=event.template, stops=event.stops, proven=event.proven,
            conversations=event.conversations,
        )  # fmt: skip
        set_role(self.verdict, "ok" if derived.proven else "error")
        self.verdict.setText(_describe_verdict(derived, event.difference))
        self.jinja.setPlainText(event.chat_template)
        self.go.setPlainText(derived.template)
        self.facts.show_facts(_list_facts(derived))
        self._limits.setText("\n".join(f"• {localize(limit)}" for limit in derived.limits))
        self.limits.setVisible(bool(derived.limits))


def _describe_verdict(derived: DerivedTemplate, difference: str | None) -> str:
    if derived.proven:
        return tr("✓ Verified for Ollama before 0.30, by rendering {conversations}").format(
            conversations=tr_n("{n} conversation", "{n} conversations", derived.conversations)
        )
    reason = localize(derived.reason) or tr("The two templates render different text.")
    verdict = tr("✗ Not verified: {reason}").format(reason=reason)
    return f"{verdict}\n{localize(difference)}" if difference else verdict


def _list_facts(derived: DerivedTemplate) -> list[tuple[str, str]]:
    other = derived.alternative
    return [
        (
            tr("Also verified"),
            localize(listed([feature.description for feature in derived.covers])),
        ),
        (tr("Not supported"), "\n".join(localize(note) for note in derived.notes)),
        (tr("Stop sequences"), localize(listed(derived.stops))),
        (tr("Requires"), localize(listed([need.description for need in derived.needs]))),
        (tr("Verified alternative"), localize(other.what) if other else ""),
    ]


class EvaluationCard(Card):
    """Says whether the model has become better, or leads to the page that finds out."""

    def __init__(
        self, state: ProjectState, on_click: Callable[[], object], parent: QWidget | None = None
    ) -> None:
        """Create the card; its buttons call `on_click`."""
        super().__init__(tr("Is it better?"), parent)
        self.evaluated = RunVerdictView(state)
        self.evaluated.evaluation_clicked.connect(on_click)
        self.about = label(
            tr(
                "Compare base model, adapter, and GGUF files on rows that weren't trained on, and see "
                "what was forgotten."
            ),
            "muted",
            wrap=True,
        )
        self.evaluate = button(tr("Evaluate"), on_click, icon="evaluation")
        self.add(self.evaluated, row(self.about, self.evaluate))
        self.evaluated.shown_changed.connect(self._show_invitation)

    def _show_invitation(self) -> None:
        verdict = self.evaluated.verdict
        self.about.setVisible(verdict is None)
        self.evaluate.setVisible(verdict is None or verdict.is_outdated)


_TITLES: dict[str, str] = {
    "adapter": mark("Adapter"),
    "merged": mark("Merged model"),
    "gguf": mark("GGUF files"),
}

#: Milliseconds without typing before the preview of the model card is updated.
_PREVIEW_DELAY = 350


def list_uploadable(run: RunFolder) -> list[str]:
    """Return which results of a run can be uploaded: adapter, merged, gguf."""
    exists = {
        "adapter": run.has_adapter,
        "merged": run.has_merged,
        "gguf": run.gguf.is_dir() and any(run.gguf.glob("*.gguf")),
    }
    return [name for name, is_available in exists.items() if is_available]


class HubUpload(QWidget):
    """Shows what can be uploaded, with a button that opens the upload dialog.

    Signals:
        ask(command): send a command to the query workers.
        push_requested(repository, what, private): upload a result.
    """

    ask = Signal(object)
    push_requested = Signal(str, str, bool)

    def __init__(self, state: ProjectState, parent: QWidget | None = None) -> None:
        """Show the run of `state` whenever `show_run` is called."""
        super().__init__(parent)
        self.state = state
        self.pushed: events.Pushed | None = None
        self.what = label(role="muted", wrap=True)
        self.upload = button(tr("Upload…"), self.open, icon="export")
        self.view_online = button(tr("Open on Hugging Face"), self._view_online, kind="link")
        self._dialog: PushDialog | None = None
        self.setLayout(column(self.what, row(self.upload, self.view_online, None)))

    def show_run(self) -> None:
        """Update the texts to the results of the current run."""
        available = list_uploadable(self.state.run) if self.state.run else []
        self.upload.setEnabled(bool(available) and not self.state.running)
        self.view_online.setVisible(self.pushed is not None)
        set_role(self.what, "ok" if self.pushed else "muted")
        if self.pushed is not None:
            self.what.setText(
                tr("✓ {files} uploaded to {repository}.").format(
                    files=tr(_TITLES[self.pushed.what]), repository=self.pushed.repository
                )
            )
        elif available:
            template = (
                tr("Ready to upload: {files}. Sign in once in Settings.")
                if "merged" in available
                else tr(
                    "Ready to upload: {files}. Sign in once in Settings. To upload a merged "
                    "model, merge the adapter first."
                )
            )
            files = localize(listed([_TITLES[name] for name in available]))
            self.what.setText(template.format(files=files))
        else:
            self.what.setText(tr("Nothing to upload yet."))

    def on_event(self, event: object) -> None:
        """Follow previews of the model card and the end of an upload."""
        match event:
            case events.CardPreviewed() if self._dialog is not None:
                self._dialog.show_card(event.text)
            case events.Pushed():
                self.pushed = event
                self.show_run()

    def clear(self) -> None:
        """Reset the state for another run."""
        self.pushed = None

    def open(self) -> None:
        """Open the upload dialog."""
        if self.state.run is None:
            return
        self._dialog = PushDialog(list_uploadable(self.state.run), self.window())
        self._dialog.preview_requested.connect(self._ask_card)
        self._dialog.chosen.connect(self.push_requested)
        self._dialog.destroyed.connect(self._on_closed)
        self._dialog.open()
        self._dialog.preview()

    def _on_closed(self) -> None:
        self._dialog = None

    def _ask_card(self, repository: str, what: str) -> None:
        if self.state.run is not None:
            run = str(self.state.run.path)
            self.ask.emit(
                commands.PreviewCard(run=run, repository=repository, what=cast(What, what))
            )

    def _view_online(self) -> None:
        if self.pushed is not None:
            open_page(self.pushed.url)


class PushDialog(Dialog):
    """Asks for the repository, what to upload, and its visibility; previews the model card.

    Signals:
        preview_requested(repository, what): generate the model card.
        chosen(repository, what, private): start the upload.
    """

    preview_requested = Signal(str, str)
    chosen = Signal(str, str, bool)

    def __init__(self, available: list[str], parent: QWidget | None = None) -> None:
        """Offer the `available` results; preselect the last, which is the easiest to run."""
        super().__init__(tr("Upload to the Hugging Face Hub"), "", parent)
        self.what = SegmentsControl({name: tr(_TITLES[name]) for name in available})
        self.what.setAccessibleName(tr("Files to upload"))
        self._what = available[-1]
        self.what.show_value(self._what)
        self.what.edited.connect(self._choose)
        self.repository = QLineEdit()
        self.repository.setPlaceholderText(tr("name or organization/name"))
        self.repository.setAccessibleName(tr("Repository"))
        self.repository.textChanged.connect(self._on_changed)
        self.private = QCheckBox(tr("Private repository"))
        self.private.setChecked(True)
        self.card = QPlainTextEdit(readOnly=True)
        self.card.setAccessibleName(tr("Model card"))
        self.card.setMinimumSize(560, 260)
        self.card.setPlaceholderText(tr("Generating the model card…"))
        self.body.addLayout(
            column(
                label(tr("Repository"), "label"), self.repository,
                label(tr("Files to upload"), "label"), self.what, self.private,
                label(tr("Model card"), "label"), self.card, spacing=Spacing.S,
            )
        )  # fmt: skip
        self.add_button(button(tr("Cancel"), self.reject))
        upload = button(tr("Upload"), self._accept, kind="primary")
        self.upload = self.add_button(upload, default=True)
        self._timer = QTimer(self, singleShot=True, interval=_PREVIEW_DELAY)
        self._timer.timeout.connect(self.preview)
        self.upload.setEnabled(False)

    def show_card(self, text: str) -> None:
        """Show the generated model card."""
        self.card.setPlainText(text)

    def preview(self) -> None:
        """Request the model card for the current choices."""
        self.preview_requested.emit(self._name() or "model", self._what)

    def _name(self) -> str:
        return self.repository.text().strip()

    def _on_changed(self) -> None:
        self.upload.setEnabled(bool(self._name()))
        self._timer.start()

    def _choose(self, value: object) -> None:
        self._what = str(value)
        self.preview()

    def _accept(self) -> None:
        self.accept()
        self.chosen.emit(self._name(), self._what, self.private.isChecked())
