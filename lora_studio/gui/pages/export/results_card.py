"""Card with the results of an export and the actions on them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from PySide6.QtCore import Signal
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QWidget

from lora_studio.core import serving
from lora_studio.core.chat import AnySpeaker
from lora_studio.core.runs import speakers
from lora_studio.core.system.foreign_files import read_text
from lora_studio.gui.language import tr
from lora_studio.gui.pages.export import export_text
from lora_studio.gui.pages.export.result_view import ExportResult
from lora_studio.gui.project.run_verdict import RunVerdictView
from lora_studio.gui.project.state import ProjectState
from lora_studio.gui.widgets.basics import Card, FlowLayout, button, label, row
from lora_studio.gui.widgets.external_open import folder_button


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


class ResultsCard(Card):
    """Shows the results of the run that the window follows; `embeds`: it trained an embedding model.

    Signals:
        chat_requested(speaker): chat with the exported model.
    """

    chat_requested = Signal(object)

    def __init__(self, state: ProjectState, parent: QWidget | None = None) -> None:
        """Start hidden, until `show_results` has results."""
        super().__init__(tr("Result"), parent)
        self.state = state
        self.embeds = False
        self.result = ExportResult()
        self.show_folder = folder_button(self._get_folder)
        self.copy_run = button("", lambda: self._copy(self._run_command()), icon="copy")
        self.copy_llama = button(
            tr("Copy llama.cpp command"),
            lambda: self._copy(
                export_text.format_llama_command(self.result.written, embeds=self.embeds)
            ),
            icon="copy",
        )
        actions = QWidget()
        flow = FlowLayout(actions)
        for part in (self.show_folder, self.copy_run, self.copy_llama):
            flow.addWidget(part)
        self.add(self.result, actions)

    def show_results(self, *, done: bool, seconds: float | None) -> None:
        """Update the card; `seconds` is the duration of an export that is `done`."""
        result = self.result
        if done:
            answers = export_text.format_self_test_answers(self.state.run)
            result.finish(self._read_modelfile(), answers, seconds)
        self.setVisible(not result.is_empty())
        self.show_folder.setVisible(bool(result.written))
        self.copy_llama.setVisible(bool(result.written))
        self.copy_run.setVisible(result.created is not None)
        self.copy_run.setText(
            tr("Copy curl command for Ollama")
            if self.embeds
            else tr("Copy “{command}”").format(command=self._run_command())
        )

    def get_speaker(self) -> AnySpeaker | None:
        """Return the model in Ollama, else the first GGUF file, None if there is neither or it can't chat."""
        created, run = self.result.created, self.state.run
        if self.embeds:
            return None
        if created is not None:
            host = str(self.state.get("export", "ollama_host"))
            return speakers.create_ollama_speaker(created, host)
        models = [event for event in self.result.written if event.quantization != "adapter"]
        if run is None or not models:
            return None
        return speakers.create_gguf_speaker(run, Path(models[0].file))

    def request_chat(self) -> None:
        """Ask for a chat with the exported model."""
        if (speaker := self.get_speaker()) is not None:
            self.chat_requested.emit(speaker)

    def _run_command(self) -> str:
        created = self.result.created
        if created is None:
            return ""
        if self.embeds:
            return serving.format_ollama_embed_curl(created.host, created.name)
        return f"ollama run {created.name}"

    def _copy(self, text: str) -> None:
        QGuiApplication.clipboard().setText(text)
        self.state.messages.success(tr("Copied: {text}").format(text=text))

    def _get_folder(self) -> Path | None:
        return Path(self.result.written[0].file).parent if self.result.written else None

    def _read_modelfile(self) -> str:
        try:
            return read_text(self.state.run.modelfile) if self.state.run else ""
        except OSError:
            return ""
