"""The merging step: the adapter becomes part of the model; usually one click."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtGui import QDragEnterEvent, QDropEvent
from PySide6.QtWidgets import QFileDialog, QWidget

from lora_studio.core import formatting
from lora_studio.core.lora import starting_adapter
from lora_studio.core.merging import MergingSpec
from lora_studio.core.problems import Problem, Step
from lora_studio.core.project import checks
from lora_studio.core.protocol import commands, events
from lora_studio.gui.jobs.debounced_query import DebouncedQuery
from lora_studio.gui.jobs.record import JobRecord
from lora_studio.gui.language import tr, tr_n
from lora_studio.gui.message_translation import tell
from lora_studio.gui.pages.export.quant_table import badge
from lora_studio.gui.pages.lora.adapter_list import AdapterList
from lora_studio.gui.pages.page import StepPage
from lora_studio.gui.project.state import ProjectState
from lora_studio.gui.theme import Spacing
from lora_studio.gui.widgets.basics import (
    Card,
    CollapsibleSection,
    FlowLayout,
    button,
    column,
    folder_button,
    label,
    row,
    set_role,
)
from lora_studio.gui.widgets.columns import ResponsiveColumns
from lora_studio.gui.widgets.drag_and_drop import dropped_path
from lora_studio.gui.widgets.fact_list import FactList
from lora_studio.gui.widgets.progress_line import ProgressLine


class MergingPage(StepPage):
    """Merges the adapter of the run that the window follows, or one from elsewhere."""

    step = "merging"
    title = "Merge"

    def __init__(self, state: ProjectState, parent: QWidget | None = None) -> None:
        """Settings to the left, what comes of them to the right."""
        super().__init__(state, parent)
        self.record = JobRecord("merge")
        self.adapter: events.AdapterSaved | None = None
        self.merged: events.Merged | None = None
        self.tested: events.SelfTested | None = None
        self.plan: events.MergePlanned | None = None
        self.shard: events.ShardWritten | None = None
        self.inquiry = DebouncedQuery(self._question, self)
        self.inquiry.ask.connect(self.ask)
        self.inquiry.outdated.connect(self.question_outdated)
        self.what = label(role="section", wrap=True)
        self.advice = label(role="muted", wrap=True)
        self.what_now = button(
            tr("What now?"), lambda: self.explain_requested.emit(self.record.problem), kind="link"
        )
        self.progress, self.facts = ProgressLine(), FactList()
        self.show_folder = folder_button(lambda: Path(self.merged.folder) if self.merged else None)
        self.again = button(
            tr("Merge again"), lambda: self.run_requested.emit("merge"), icon="refresh"
        )
        self.cancel = button(tr("Cancel"), self.cancel_requested.emit, icon="stop")
        self.elsewhere = button(tr("Use an adapter from elsewhere…"), self.pick, icon="folder")
        self.library = button(tr("Adapter library…"), self.library_requested.emit, icon="lora")
        self.as_it_is = button(
            tr("Export the model as it is"), lambda: self.import_requested.emit("model", "")
        )
        self.straight = button(tr("Export without merging"), self.continue_clicked.emit)
        self.straight.setToolTip(
            tr("GGUF files can be made straight from base and adapter, without a merged copy.")
        )
        self._run = state.run
        self.setAcceptDrops(True)
        self._lay_out()
        state.value_changed.connect(self._changed)
        state.run_changed.connect(self._run_changed)
        self.refresh()

    def _lay_out(self) -> None:
        self.header.extra.addWidget(self.cancel)
        self.header.extra.addWidget(self.again)
        settings = Card(tr("The merged model"))
        settings.add(
            label(
                tr(
                    "The adapter is added into the base weights, tensor by tensor. The result is a "
                    "Hugging Face model of its own, with tokenizer and chat template."
                ),
                "muted",
                wrap=True,
            ),
            self.add_editor("dtype"),
        )
        more = CollapsibleSection()
        more.add(self.add_editor("base"), self.add_editor("shard_size_gb"))
        settings.add(more)
        chosen = Card(tr("Adapters"))
        chosen.add(self.add_editor("weight"), self.add_editor("further", control=AdapterList()))
        chosen.add(row(self.library, None))
        result = Card(tr("Result"))
        result.add(self.what, self.advice, row(self.what_now, None), self.progress, self.facts)
        ways = FlowLayout()
        for way in (self.show_folder, self.straight, self.elsewhere, self.as_it_is):
            ways.addWidget(way)
        result.add(ways)
        self.body.addWidget(
            ResponsiveColumns(
                column(settings, chosen, None, spacing=Spacing.L), column(result, None)
            )
        )
        self.body.addStretch(1)

    # --- events -------------------------------------------------------------------------------

    def on_event(self, event: object) -> None:
        """Needs the adapter of the training; follows the merge."""
        self.inquiry.take(event)
        mine = self.record.take(event)
        match event:
            case events.AdapterSaved():
                self.adapter = event
                self.inquiry.forget()
                self.inquiry.soon()
            case events.MergePlanned():
                self.plan = event
            case events.ShardWritten() if mine:
                self.shard = event
            case events.Started(command="train"):
                self.adapter = self.merged = self.tested = None
                self.record.clear()
            case events.Started() if mine:
                self.merged = self.tested = self.shard = None
            case events.Merged():
                self.merged, self.plan = event, None
            case events.SelfTested(stage="merged"):
                self.tested = event
            case _ if not mine:
                return
        self.refresh()

    def _run_changed(self) -> None:
        if self.state.run != self._run:
            self._run = self.state.run
            self.record.clear()
            self.adapter = self.merged = self.tested = self.plan = self.shard = None
            self.inquiry.forget()
        self.refresh()

    def on_shown(self) -> None:
        """The time to find out what a merge would do."""
        self.inquiry.now()

    def _changed(self, step: str, _field: str) -> None:
        if step == "merging":
            self.inquiry.soon()

    def _question(self) -> commands.PlanMerge | None:
        """What merging would do, once there is an adapter and nothing else at work."""
        spec = self.state.draft.spec("merging")
        ready = self.adapter is not None and not self.state.running and not self.is_done()
        if not ready or self.state.run is None or not isinstance(spec, MergingSpec):
            return None
        return commands.PlanMerge(run=str(self.state.run.path), merging=spec)

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        """The folder of an adapter, where one could be chosen."""
        if self._dropped(event) is not None:
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:
        """Begins a run with it, as the button does."""
        if (folder := self._dropped(event)) is not None:
            event.acceptProposedAction()
            self.import_requested.emit("adapter", str(folder))

    def _dropped(self, event: QDropEvent) -> Path | None:
        folder = dropped_path(event, "folder")
        takes = self.elsewhere.isVisible() and self.elsewhere.isEnabled()
        return folder if takes and folder and (folder / starting_adapter.CONFIG).is_file() else None

    def pick(self) -> None:
        """Asks for the folder of an adapter, which begins a run of its own."""
        dialog = QFileDialog(self.window(), tr("Folder of an adapter"))
        dialog.setFileMode(QFileDialog.FileMode.Directory)
        dialog.fileSelected.connect(lambda name: self.import_requested.emit("adapter", name))
        dialog.finished.connect(dialog.deleteLater)
        dialog.open()

    # --- where we are -------------------------------------------------------------------------

    def on_primary(self) -> None:
        """Merges, or goes on to Export."""
        if self.is_done():
            self.continue_clicked.emit()
        else:
            self.run_requested.emit("merge")

    def blocker(self) -> str | None:
        """An adapter, and a project without errors."""
        if self.state.running:
            return tr("Merging is under way.") if self._running() else tr("A job is under way.")
        if self.is_done():
            return None
        if wrong := self._wrong():
            return tell(wrong[0].what)
        return None if self.adapter is not None else tr("Train an adapter first.")

    def _wrong(self) -> list[Problem]:
        """What keeps a merge from starting: the model and how to merge. What trained the adapter
        matters no more.
        """
        steps: tuple[Step, ...] = ("model", "merging")
        problems = [problem for step in steps for problem in self.state.problems(step)]
        return checks.errors(problems)

    def is_done(self) -> bool:
        """The merged model is there: merged here, or imported as it is."""
        ended_well = self.record.phase in ("done", "none")
        return self.merged is not None and ended_well and not self._running()

    def _running(self) -> bool:
        return self.record.is_running(self.state.running)

    # --- what is shown ------------------------------------------------------------------------

    def refresh(self, *_: object) -> None:
        """Buttons and result."""
        running, done = self._running(), self.is_done()
        self.header.primary.setText(tr("Continue") if done else tr("Merge"))
        self.cancel.setVisible(running)
        self.cancel.setEnabled(not self.state.stopping)
        self.again.setVisible(done and not self.state.running)
        self.progress.setVisible(running)
        self.show_folder.setVisible(done)
        self.straight.setVisible(self.adapter is not None and not running and not done)
        begin = not self.state.running and not checks.errors(self.state.problems("model"))
        for other in (self.elsewhere, self.as_it_is):
            other.setVisible(not running and not done)
            other.setEnabled(begin)
        self._show_progress()
        self._say(running)
        facts = self._merged_facts() if done else [] if running else self._planned_facts()
        self.facts.setVisible(bool(facts))
        self.facts.show_facts(facts)
        super().refresh()

    def _show_progress(self) -> None:
        progress = self.record.progress
        if progress is None:
            self.progress.show_progress(tr("Starting…"), None)
            return
        doing = tell(progress.stage)
        shard = self.shard
        if shard is not None and progress.unit == "bytes" and shard.number < shard.of:
            doing = tr("merging file {number} of {count}").format(
                number=shard.number + 1, count=shard.of
            )
        share = progress.done / progress.total if progress.total else None
        self.progress.show_progress(doing, share, progress.eta_s)

    def _merged_facts(self) -> list[tuple[str, str]]:
        merged = self.merged
        assert merged is not None
        return [
            (tr("Folder"), merged.folder),
            (tr("Size"), formatting.size(merged.bytes)),
            (tr("Stored as"), merged.dtype),
            (tr("Changed"), tr_n("{n} tensor", "{n} tensors", merged.tensors_changed)),
            (tr("Self-test"), badge(self.tested) if self.tested else ""),
            (tr("Took"), formatting.duration(self.record.seconds) if self.record.seconds else ""),
            (tr("By PEFT"), tell(merged.by_peft or "")),
        ]

    def _planned_facts(self) -> list[tuple[str, str]]:
        plan = self.plan
        if plan is None or self.adapter is None:
            return []
        changed = tr("{count} of {all} tensors").format(
            count=plan.tensors_changed, all=plan.tensors
        )
        disk = tr("{needed} needed, {free} free").format(
            needed=formatting.size(plan.missing), free=formatting.size(plan.free)
        )
        if plan.free < plan.missing:
            disk += tr(" ✗ too little")
        finished = tr("{count} of {all}, from an earlier attempt").format(
            count=plan.finished_shards, all=plan.shards
        )
        memory = tr("about {size} at its peak").format(size=formatting.memory(plan.memory))
        return [
            (tr("Changes"), changed if plan.tensors else ""),
            (tr("Stored as"), plan.dtype),
            (tr("Where"), str(self.state.run.merged) if self.state.run is not None else ""),
            (tr("Disk"), disk),
            (tr("Memory"), memory),
            (tr("Files finished"), finished if plan.finished_shards else ""),
            (tr("By PEFT"), tell(plan.by_peft or "")),
            (tr("Mind"), " ".join(tell(problem.what) for problem in plan.problems)),
        ]

    def _say(self, running: bool) -> None:
        failed = self.record.phase == "failed" and not running
        set_role(self.what, "error" if failed else "section")
        self.what_now.setVisible(failed and self.record.problem is not None)
        if running:
            self._words(tr("Merging"), "")
        elif failed and self.record.problem is not None:
            problem = self.record.problem
            self._words(f"✗ {tell(problem.what)}", tell(problem.remedy))
        elif self.record.phase == "cancelled":
            self._words(tr("Merging was cancelled."), tr("Nothing of it is left behind."))
        elif self.record.was_cut_off(self.state.running):
            self._words(
                tr("⚠ Merging ended without a word: its process is gone."),
                tr("Merge again: files that were finished are kept."),
            )
        elif self.is_done():
            self._words(tr("✓ Merged"), "")
        elif self.adapter is not None:
            advice = tr("{folder}: {size}, from step {step}.").format(
                folder=Path(self.adapter.folder).name,
                size=formatting.size(self.adapter.bytes),
                step=formatting.number(self.adapter.step),
            )
            self._words(tr("Ready to merge"), advice)
        else:
            self._words(tr("Nothing to merge yet"), tr("Train an adapter first."))

    def _words(self, what: str, advice: str) -> None:
        self.what.setText(what)
        self.advice.setText(advice)
        self.advice.setVisible(bool(advice))
