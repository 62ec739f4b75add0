"""The merging step: the adapter becomes part of the model; usually one click."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QUrl
from PySide6.QtGui import QDesktopServices
from PySide6.QtWidgets import QWidget

from lora_studio.core import checks, events, words
from lora_studio.gui.job_record import JobRecord
from lora_studio.gui.pages.page import Page
from lora_studio.gui.project_state import ProjectState
from lora_studio.gui.widgets.basics import Card, More, button, column, label, row, set_role
from lora_studio.gui.widgets.columns import Columns
from lora_studio.gui.widgets.fact_list import FactList
from lora_studio.gui.widgets.progress_line import ProgressLine
from lora_studio.gui.widgets.quant_table import badge


class MergingPage(Page):
    """Merges the adapter of the run that the window follows."""

    step = "merging"
    title = "Merge"

    def __init__(self, state: ProjectState, parent: QWidget | None = None) -> None:
        """Settings to the left, what comes of them to the right."""
        super().__init__(state, parent)
        self.record = JobRecord("merge")
        self.adapter: events.AdapterSaved | None = None
        self.merged: events.Merged | None = None
        self.tested: events.SelfTested | None = None
        self.what = label(role="section", wrap=True)
        self.advice = label(role="muted", wrap=True)
        self.progress, self.facts = ProgressLine(), FactList()
        self.show_folder = button("Show folder", self._show_folder, icon="folder")
        self.again = button("Merge again", lambda: self.run_requested.emit("merge"), icon="refresh")
        self.cancel = button("Cancel", self.cancel_requested.emit, icon="stop")
        self._run = state.run
        self._lay_out()
        state.run_changed.connect(self._run_changed)
        self.refresh()

    def _lay_out(self) -> None:
        self.header.extra.addWidget(self.cancel)
        self.header.extra.addWidget(self.again)
        settings = Card("The merged model")
        settings.add(
            label(
                "The adapter is added into the base weights, tensor by tensor. The result is a "
                "Hugging Face model of its own, with tokenizer and chat template.",
                "muted",
                wrap=True,
            ),
            self.add_editor("dtype"),
        )
        more = More()
        more.add(self.add_editor("shard_size_gb"))
        settings.add(more)
        result = Card("Result")
        result.add(self.what, self.advice, self.progress, self.facts)
        result.add(row(self.show_folder, None))
        self.body.addWidget(Columns(column(settings, None), column(result, None)))
        self.body.addStretch(1)

    # --- events -------------------------------------------------------------------------------

    def on_event(self, event: object) -> None:
        """Needs the adapter of the training; follows the merge."""
        mine = self.record.take(event)
        match event:
            case events.AdapterSaved():
                self.adapter = event
            case events.Started(command="train"):
                self.adapter = self.merged = self.tested = None
                self.record.clear()
            case events.Started() if mine:
                self.merged = self.tested = None
            case events.Merged():
                self.merged = event
            case events.SelfTested(stage="merged"):
                self.tested = event
            case _ if not mine:
                return
        self.refresh()

    def _run_changed(self) -> None:
        if self.state.run != self._run:
            self._run = self.state.run
            self.record.clear()
            self.adapter = self.merged = self.tested = None
        self.refresh()

    # --- where we are -------------------------------------------------------------------------

    def on_primary(self) -> None:
        """Merges, or goes on to Export."""
        if self.done():
            self.continue_clicked.emit()
        else:
            self.run_requested.emit("merge")

    def missing(self) -> str | None:
        """An adapter, and a project without errors."""
        if self.state.running:
            return "Merging is under way." if self._running() else "A job is under way."
        if self.done():
            return None
        wrong = checks.errors(self.state.problems())
        if wrong:
            return wrong[0].what
        return None if self.adapter is not None else "Train an adapter first."

    def done(self) -> bool:
        """The merged model is there."""
        return self.merged is not None and self.record.phase == "done" and not self._running()

    def _running(self) -> bool:
        return self.record.is_running(self.state.running)

    def _show_folder(self) -> None:
        if self.merged is not None:
            QDesktopServices.openUrl(QUrl.fromLocalFile(self.merged.folder))

    # --- what is shown ------------------------------------------------------------------------

    def refresh(self, *_: object) -> None:
        """Buttons and result."""
        running, done = self._running(), self.done()
        self.header.primary.setText("Continue" if done else "Merge")
        self.cancel.setVisible(running)
        self.again.setVisible(done and not self.state.running)
        self.progress.setVisible(running)
        self.show_folder.setVisible(done)
        progress = self.record.progress
        if progress is not None:
            share = progress.done / progress.total if progress.total else None
            self.progress.show_progress(progress.stage, share, progress.eta_s)
        else:
            self.progress.show_progress("Starting…", None)
        self._say(running)
        self.facts.setVisible(done)
        if self.merged is not None:
            self.facts.show_facts(
                [
                    ("Folder", self.merged.folder),
                    ("Size", words.size(self.merged.bytes)),
                    ("Stored as", self.merged.dtype),
                    ("Changed", words.plural(self.merged.tensors_changed, "tensor")),
                    ("Self-test", badge(self.tested) if self.tested else ""),
                    ("Took", words.duration(self.record.seconds)),
                ]
            )
        super().refresh()

    def _say(self, running: bool) -> None:
        failed = self.record.phase == "failed" and not running
        set_role(self.what, "error" if failed else "section")
        if running:
            self._words("Merging", "")
        elif failed and self.record.problem is not None:
            self._words(f"✗ {self.record.problem.what}", self.record.problem.remedy)
        elif self.record.phase == "cancelled":
            self._words("Merging was cancelled.", "Nothing of it is left behind.")
        elif self.record.was_cut_off(self.state.running):
            self._words("⚠ Merging ended without a word: its process is gone.", "Merge again.")
        elif self.done():
            self._words("✓ Merged", "")
        elif self.adapter is not None:
            folder = Path(self.adapter.folder).name
            size = words.size(self.adapter.bytes)
            self._words("Ready to merge", f"{folder}: {size}, from step {self.adapter.step:,}.")
        else:
            self._words("Nothing to merge yet", "Train an adapter first.")

    def _words(self, what: str, advice: str) -> None:
        self.what.setText(what)
        self.advice.setText(advice)
        self.advice.setVisible(bool(advice))
