"""The merging step: merge the adapter into the base model."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtGui import QDragEnterEvent, QDropEvent
from PySide6.QtWidgets import QWidget

from lora_studio.core import formatting
from lora_studio.core.lora import adapters as adapters_module
from lora_studio.core.merging import MergingSpec
from lora_studio.core.problems import Problem, Step
from lora_studio.core.project import checks
from lora_studio.core.protocol import commands, events
from lora_studio.gui.controls.adapter_weights import AdapterList
from lora_studio.gui.jobs.control import JobRecord
from lora_studio.gui.jobs.debounced_query import DebouncedQuery
from lora_studio.gui.language import mark, tr, tr_n
from lora_studio.gui.message_translation import localize, localize_problem, localize_stage
from lora_studio.gui.pages.page import StepPage
from lora_studio.gui.project.run_verdict import OutdatedResults
from lora_studio.gui.project.state import ProjectState
from lora_studio.gui.theme import Spacing
from lora_studio.gui.widgets.basics import (
    Card,
    CollapsibleSection,
    FlowLayout,
    button,
    column,
    label,
    row,
    set_role,
)
from lora_studio.gui.widgets.columns import ResponsiveColumns
from lora_studio.gui.widgets.external_open import folder_button
from lora_studio.gui.widgets.fact_list import FactList
from lora_studio.gui.widgets.file_dialogs import choose_folder, get_dropped_path
from lora_studio.gui.widgets.progress_line import ProgressLine
from lora_studio.gui.widgets.self_test_text import format_badge
from lora_studio.gui.widgets.tooltips import plain_tip

_DIRECT = mark(
    "Creates GGUF files directly from the base model and the adapter, without writing a merged copy."
)


class MergingPage(StepPage):
    """Merge the adapter of the run that the window follows, or an imported adapter."""

    step = "merging"
    title = "Merge"

    def __init__(self, state: ProjectState, parent: QWidget | None = None) -> None:
        """Build the page: settings on the left, the plan and the result on the right."""
        super().__init__(state, parent)
        self.record = JobRecord("merge")
        self.adapter: events.AdapterSaved | None = None
        self.merged: events.Merged | None = None
        self.tested: events.SelfTested | None = None
        self.plan: events.MergePlanned | None = None
        self.outdated = OutdatedResults(state)
        self.shard: events.ShardWritten | None = None
        self.query = DebouncedQuery(self._make_query, self)
        self.query.ask.connect(self.ask)
        self.query.outdated.connect(self.question_outdated)
        self.what = label(role="section", wrap=True)
        self.advice = label(role="muted", wrap=True)
        self.what_now = button(
            tr("What now?"), lambda: self.explain_requested.emit(self.record.problem), kind="link"
        )
        self.progress, self.facts = ProgressLine(), FactList()
        self.show_folder = folder_button(lambda: Path(self.merged.folder) if self.merged else None)
        self.merge_again = button(
            tr("Merge again"), lambda: self.run_requested.emit("merge"), icon="refresh"
        )
        self.cancel = button(tr("Cancel"), self.cancel_requested.emit, icon="stop")
        self.import_adapter = button(tr("Import adapter…"), self.pick, icon="folder")
        self.library = button(tr("Adapter library…"), self.library_requested.emit, icon="lora")
        self.export_base = button(
            tr("Export the base model"), lambda: self.import_requested.emit("model", "")
        )
        self.skip = button(tr("Export without merging"), self.continue_clicked.emit)
        self._run = state.run
        self._build_layout()
        state.value_changed.connect(self._on_value_changed)
        state.run_changed.connect(self._on_run_changed)
        self.refresh()

    def _build_layout(self) -> None:
        self.setAcceptDrops(True)
        self.header.extra.addWidget(self.cancel)
        self.header.extra.addWidget(self.merge_again)
        settings = Card(tr("Merged model"))
        settings.add(
            label(
                tr(
                    "Merges the adapter weights into the base model. The result is a standalone "
                    "Hugging Face model with its tokenizer and chat template."
                ),
                "muted",
                wrap=True,
            ),
            self.add_editor("dtype"),
        )
        advanced = CollapsibleSection()
        advanced.add(self.add_editor("base"), self.add_editor("shard_size_gb"))
        settings.add(advanced)
        adapters = Card(tr("Adapters"))
        adapters.add(self.add_editor("weight"), self.add_editor("further", control=AdapterList()))
        adapters.add(row(self.library, None))
        result = Card(tr("Result"))
        result.add(self.what, self.advice, row(self.what_now, None), self.progress, self.facts)
        buttons = FlowLayout()
        for each in (self.show_folder, self.skip, self.import_adapter, self.export_base):
            buttons.addWidget(each)
        result.add(buttons)
        self.body.addWidget(
            ResponsiveColumns(
                column(settings, adapters, None, spacing=Spacing.L), column(result, None)
            )
        )
        self.body.addStretch(1)

    # --- events -------------------------------------------------------------------------------

    def on_event(self, event: object) -> None:
        """Follow the merge, and the training for its adapter."""
        self.query.on_event(event)
        is_merge_event = self.record.apply(event)
        match event:
            case events.AdapterSaved():
                self.adapter = event
                self.query.forget()
                self.query.schedule()
            case events.MergePlanned():
                self.plan = event
            case events.ShardWritten() if is_merge_event:
                self.shard = event
            case events.Started(command="train"):
                self.adapter = self.merged = self.tested = None
                self.record.clear()
            case events.Started() if is_merge_event:
                self.merged = self.tested = self.shard = None
            case events.Merged():
                self.merged, self.plan = event, None
            case events.Done() if is_merge_event:
                self.outdated.compare()
            case events.SelfTested(stage="merged"):
                self.tested = event
            case _ if not is_merge_event:
                return
        self.refresh()

    def _on_run_changed(self) -> None:
        if self.state.run != self._run:
            self._run = self.state.run
            self.record.clear()
            self.adapter = self.merged = self.tested = self.plan = self.shard = None
            self.query.forget()
        self.outdated.compare()
        self.refresh()

    def on_shown(self) -> None:
        """Ask for the plan of the merge."""
        self.query.ask_now()

    def _on_value_changed(self, step: str, _field: str) -> None:
        if step == "merging":
            self.outdated.compare()
            self.refresh()
            self.query.schedule()

    def _make_query(self) -> commands.PlanMerge | None:
        """Return the request for the plan, None without an adapter or while a job is running."""
        spec = self.state.draft.get_spec("merging")
        ready = self.adapter is not None and not self.state.running and not self.is_done()
        if not ready or self.state.run is None or not isinstance(spec, MergingSpec):
            return None
        return commands.PlanMerge(run=str(self.state.run.path), merging=spec)

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        """Accept an adapter folder while an adapter can be imported."""
        if self._get_dropped_adapter(event) is not None:
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:
        """Import the adapter, as the button does."""
        if (folder := self._get_dropped_adapter(event)) is not None:
            event.acceptProposedAction()
            self.import_requested.emit("adapter", str(folder))

    def _get_dropped_adapter(self, event: QDropEvent) -> Path | None:
        folder = get_dropped_path(event, "folder")
        can_import = self.import_adapter.isVisible() and self.import_adapter.isEnabled()
        is_adapter = folder is not None and (folder / adapters_module.CONFIG).is_file()
        return folder if can_import and is_adapter else None

    def pick(self) -> None:
        """Ask for an adapter folder and import it as a new run."""
        choose_folder(
            self.window(),
            tr("Select adapter folder"),
            lambda name: self.import_requested.emit("adapter", name),
        )

    # --- state --------------------------------------------------------------------------------

    def on_primary(self) -> None:
        """Start the merge, or continue to Export."""
        if self.is_done():
            self.continue_clicked.emit()
        else:
            self.run_requested.emit("merge")

    def find_blocker(self) -> str | None:
        """Return what blocks the merge: a running job, an error, or a missing adapter."""
        if self.state.running:
            return (
                tr("Merging is running.") if self._is_running() else tr("Another job is running.")
            )
        if self.is_done():
            return None
        if errors := self._list_errors():
            return localize(errors[0].what)
        return None if self.adapter is not None else tr("Train an adapter first.")

    def _list_errors(self) -> list[Problem]:
        """Return errors in the model and merging settings; those of earlier steps don't matter."""
        steps: tuple[Step, ...] = ("model", "merging")
        problems = [problem for step in steps for problem in self.state.list_problems(step)]
        return checks.filter_errors(problems)

    def is_done(self) -> bool:
        """Return whether there is an up-to-date merged model, or a base model imported for export."""
        return self._has_merged() and not self.outdated.describe_changes("merge")

    def describe_outdated(self) -> str:
        """Return "out of date" if the merged model was created with other settings."""
        is_outdated = self._has_merged() and self.outdated.describe_changes("merge")
        return tr("out of date") if is_outdated else ""

    def _has_merged(self) -> bool:
        ended_well = self.record.phase in ("done", "none")
        return self.merged is not None and ended_well and not self._is_running()

    def _is_running(self) -> bool:
        return self.record.is_running(self.state.running)

    # --- display ------------------------------------------------------------------------------

    def refresh(self, *_: object) -> None:
        """Update the buttons and the result."""
        running, done = self._is_running(), self.is_done()
        outdated = bool(self.describe_outdated())
        self.header.primary.setText(
            tr("Continue") if done else tr("Merge again") if outdated else tr("Merge")
        )
        self.cancel.setVisible(running)
        self.cancel.setEnabled(not self.state.stopping)
        self.merge_again.setVisible(done and not self.state.running)
        self.progress.setVisible(running)
        self.show_folder.setVisible(done or outdated)
        self.skip.setVisible(self.adapter is not None and not running and not done)
        self.skip.setText(
            tr("Export the merged model as it is") if outdated else tr("Export without merging")
        )
        self.skip.setToolTip(plain_tip("" if outdated else tr(_DIRECT)))
        can_import = not self.state.running and not checks.filter_errors(
            self.state.list_problems("model")
        )
        for other in (self.import_adapter, self.export_base):
            other.setVisible(not running and not done and not outdated)
            other.setEnabled(can_import)
        self._show_progress()
        self._show_status(running)
        if done or outdated:
            facts = self._list_merged_facts()
        else:
            facts = [] if running else self._list_planned_facts()
        self.facts.setVisible(bool(facts))
        self.facts.show_facts(facts)
        super().refresh()

    def _show_progress(self) -> None:
        progress = self.record.progress
        if progress is None:
            self.progress.show_progress(tr("Starting…"), None)
            return
        stage, shard = localize_stage(progress.stage), self.shard
        if shard is not None and progress.unit == "bytes" and shard.number < shard.of:
            stage = tr("Merging file {number} of {count}").format(
                number=shard.number + 1, count=shard.of
            )
        share = progress.done / progress.total if progress.total else None
        self.progress.show_progress(stage, share, progress.eta_s)

    def _list_merged_facts(self) -> list[tuple[str, str]]:
        merged = self.merged
        assert merged is not None
        return [
            (tr("Folder"), merged.folder),
            (tr("Size"), formatting.format_size(merged.bytes)),
            (tr("Data type"), merged.dtype),
            (tr("Updated tensors"), tr_n("{n} tensor", "{n} tensors", merged.tensors_changed)),
            (tr("Self-test"), format_badge(self.tested) if self.tested else ""),
            (
                tr("Duration"),
                formatting.format_duration(self.record.seconds) if self.record.seconds else "",
            ),
            (tr("PEFT merge"), localize(merged.by_peft or "")),
        ]

    def _list_planned_facts(self) -> list[tuple[str, str]]:
        plan = self.plan
        if plan is None or self.adapter is None:
            return []
        changed = tr("{count} of {all} tensors").format(
            count=plan.tensors_changed, all=plan.tensors
        )
        disk = (
            tr("✗ {needed} required, only {free} available")
            if plan.free < plan.missing
            else tr("{needed} required, {free} available")
        ).format(
            needed=formatting.format_size(plan.missing), free=formatting.format_size(plan.free)
        )
        finished = tr("{count} of {all} (from an earlier attempt)").format(
            count=plan.finished_shards, all=plan.shards
        )
        memory = tr("about {size} peak").format(size=formatting.format_memory(plan.memory))
        return [
            (tr("Tensors to update"), changed if plan.tensors else ""),
            (tr("Data type"), plan.dtype),
            (tr("Output folder"), str(self.state.run.merged) if self.state.run is not None else ""),
            (tr("Disk space"), disk),
            (tr("Memory"), memory),
            (tr("Completed files"), finished if plan.finished_shards else ""),
            (tr("PEFT merge"), localize(plan.by_peft or "")),
            (tr("Warnings"), " ".join(map(localize_problem, plan.problems))),
        ]

    def _show_status(self, running: bool) -> None:
        failed = self.record.phase == "failed" and not running
        set_role(self.what, "error" if failed else "section")
        self.what_now.setVisible(failed and self.record.problem is not None)
        if running:
            self._show_texts(tr("Merging…"), "")
        elif failed and self.record.problem is not None:
            problem = self.record.problem
            self._show_texts(f"✗ {localize(problem.what)}", localize(problem.remedy))
        elif self.record.phase == "cancelled":
            self._show_texts(tr("Merging canceled"), tr("All partial files were removed."))
        elif self.record.was_cut_off(self.state.running):
            self._show_texts(
                tr("⚠ Merging stopped unexpectedly"),
                tr(
                    "The process exited without reporting a result. Merge again to continue; "
                    "completed files are reused."
                ),
            )
        elif self.describe_outdated():
            self._show_texts(*self.outdated.describe_merged())
        elif self.is_done():
            self._show_texts(tr("✓ Merged"), "")
        elif self.adapter is not None:
            advice = tr("{folder} ({size}), step {step}").format(
                folder=Path(self.adapter.folder).name,
                size=formatting.format_size(self.adapter.bytes),
                step=formatting.format_number(self.adapter.step),
            )
            self._show_texts(tr("Ready to merge"), advice)
        else:
            self._show_texts(tr("Nothing to merge yet"), tr("Train an adapter first."))

    def _show_texts(self, what: str, advice: str) -> None:
        self.what.setText(what)
        self.advice.setText(advice)
        self.advice.setVisible(bool(advice))
