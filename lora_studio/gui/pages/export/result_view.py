"""Results of an export: files with their self-tests, the TEMPLATE, the Ollama model."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from PySide6.QtCore import Signal
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QPlainTextEdit, QTabWidget, QVBoxLayout, QWidget

from lora_studio.core import formatting, limits, serving
from lora_studio.core.chat import AnyChatModel
from lora_studio.core.messages import listed
from lora_studio.core.protocol import events
from lora_studio.core.protocol.export import PARTS, VectorProof
from lora_studio.core.runs import chat_models, selftest_report
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.system.foreign_files import read_json, read_text
from lora_studio.core.templates.server.prompt_proof import PromptProof
from lora_studio.gui.language import tr, tr_n
from lora_studio.gui.message_translation import localize
from lora_studio.gui.pages.export import result_view
from lora_studio.gui.project.state import ProjectState
from lora_studio.gui.theme import Spacing
from lora_studio.gui.widgets.basics import (
    Card,
    CollapsibleSection,
    FlowLayout,
    LabelRole,
    button,
    label,
    set_role,
)
from lora_studio.gui.widgets.external_open import folder_button
from lora_studio.gui.widgets.fact_list import FactList
from lora_studio.gui.widgets.rich_text import CodeView
from lora_studio.gui.widgets.self_test_text import format_badge

Result = events.GgufWritten | events.TemplateDerived | events.SelfTested | events.OllamaCreated


class ExportResult(QWidget):
    """Shows the results as their events arrive."""

    def __init__(self, parent: QWidget | None = None) -> None:
        """Start empty."""
        super().__init__(parent)
        self.written: list[events.GgufWritten] = []
        self.tested: list[events.SelfTested] = []
        self.template: events.TemplateDerived | None = None
        self.created: events.OllamaCreated | None = None
        self._seconds: float | None = None
        self.headline = label(role="section", wrap=True)
        self.verdict = label(wrap=True)
        self.files, self.tests = FactList(), FactList()
        self.proof = label(wrap=True)
        self.server_proof = label(wrap=True)
        self.text, self.modelfile = CodeView("TEMPLATE"), CodeView("Modelfile")
        self.answers = CodeView(tr("Answers"))
        self.answers.setLineWrapMode(QPlainTextEdit.LineWrapMode.WidgetWidth)
        self.tabs = QTabWidget()
        self.tabs.tabBar().setAccessibleName(tr("Ollama model files"))
        self.tabs.setFixedHeight(160)
        self.stops = label(role="muted", wrap=True)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(Spacing.M)
        self.details = CollapsibleSection(tr("Details"))
        self.details.add(self.tests, self.server_proof, self.proof, self.stops, self.tabs)
        for part in (self.headline, self.verdict, self.files, self.details):
            layout.addWidget(part)
        self._refresh()

    def add_event(self, event: Result) -> None:
        """Add an event; it replaces an earlier one about the same file or stage."""
        match event:
            case events.GgufWritten():
                others = [item for item in self.written if item.quantization != event.quantization]
                self.written = [*others, event]
            case events.SelfTested():
                self.tested = [*(t for t in self.tested if t.stage != event.stage), event]
            case events.TemplateDerived():
                self.template = event
            case events.OllamaCreated():
                self.created = event
        self._refresh()

    def clear(self) -> None:
        """Remove all results."""
        self.written, self.tested = [], []
        self.template, self.created = None, None
        self.finish("", "", None)

    def finish(self, modelfile: str, answers: str, seconds: float | None) -> None:
        """Show a completed export: Modelfile and self-test answers, "" for none, and its duration."""
        for editor, text in ((self.modelfile, modelfile), (self.answers, answers)):
            if editor.toPlainText() != text:  # keeps the scroll position
                editor.setPlainText(text)
        self._seconds = seconds
        self._refresh()

    def is_empty(self) -> bool:
        """Return whether there are no results."""
        return not (self.written or self.tested or self.template or self.created)

    def _refresh(self) -> None:
        self.headline.setText(self._describe_result())
        self.headline.setVisible(bool(self.headline.text()))
        tools = localize(listed(list(dict.fromkeys(event.tool for event in self.written))))
        self.files.show_facts([_make_file_fact(event) for event in self.written])
        self.tests.show_facts([*self._list_test_facts(), (tr("Created with"), tools)])
        self._show_verdict()
        self._show_tab(self.text, "TEMPLATE", self.template is not None)
        self._show_tab(self.modelfile, "Modelfile", bool(self.modelfile.toPlainText()))
        self._show_tab(self.answers, tr("Answers"), bool(self.answers.toPlainText()))
        self.tabs.setVisible(self.tabs.count() > 0)
        self._show_server_proof()
        self.proof.setVisible(self.template is not None)
        self.stops.setVisible(self.template is not None)
        if (derived := self.template) is not None:
            set_role(self.proof, "ok" if derived.proven else "error")
            self.proof.setText(_describe_proof(derived))
            self.text.setPlainText(derived.template)
            stops = localize(listed(derived.stops)) or tr("none")
            self.stops.setText(tr("Stop sequences: {stops}").format(stops=stops))

    def _show_server_proof(self) -> None:
        """Show how the prompts or vectors of the created model were proven, or that no server was asked."""
        proof = self._get_proof()
        self.server_proof.setVisible(proof is not None)
        if proof is not None:
            set_role(self.server_proof, "ok" if proof.is_proven else "warn")
            self.server_proof.setText(
                f"{'✓' if proof.is_proven else '⚠'} {localize(proof.verdict)}"
            )

    def _get_proof(self) -> PromptProof | VectorProof | None:
        """Return what is known about the created model: about its prompts, or its vectors."""
        return (self.created.proof or self.created.vectors) if self.created is not None else None

    def _show_tab(self, page: QWidget, name: str, wanted: bool) -> None:
        index = self.tabs.indexOf(page)
        if wanted and index < 0:
            self.tabs.addTab(page, name)
        elif not wanted and index >= 0:
            self.tabs.removeTab(index)

    def _describe_result(self) -> str:
        duration = None if self._seconds is None else formatting.format_duration(self._seconds)
        if self.created is None:
            return tr("✓ Exported in {time}").format(time=duration) if duration else ""
        template = (
            tr("✓ Created {name} in Ollama {version}; export took {time}")
            if duration
            else tr("✓ Created {name} in Ollama {version}")
        )
        return template.format(name=self.created.name, version=self.created.version, time=duration)

    def _show_verdict(self) -> None:
        """Say in one sentence whether the files behave like what was trained; open the details if not."""
        text, role = self._judge()
        self.verdict.setVisible(bool(text))
        self.verdict.setText(text)
        set_role(self.verdict, role)
        if role == "error":
            self.details.set_open(True)

    def _judge(self) -> tuple[str, LabelRole]:
        verdicts = {test.verdict for test in self._list_tests()}
        if "failed" in verdicts or (self.template is not None and not self.template.proven):
            return tr("✗ Differs from what you trained. The details say where."), "error"
        if not verdicts:
            return "", "muted"
        proof = self._get_proof()
        if isinstance(proof, VectorProof) and not proof.is_proven:
            return tr(
                "⚠ The files behave like what you trained. The vectors of the Ollama server weren't compared."
            ), "warn"
        if proof is not None and not proof.is_proven:
            return tr(
                "⚠ The files behave like what you trained. The details say what isn't verified about "
                "the prompts of the Ollama server."
            ), "warn"
        if "lossy" in verdicts:
            return tr("⚠ Behaves as trained, with some quality loss."), "warn"
        if isinstance(proof, VectorProof):
            return tr("✓ Behaves as trained, and Ollama gives the same vectors."), "ok"
        if proof is not None:
            return tr("✓ Behaves as trained, and Ollama builds the same prompts."), "ok"
        return tr("✓ Behaves as trained."), "ok"

    def _list_test_facts(self) -> list[tuple[str, str]]:
        """Return the self-tests by the title of their stage."""
        titles = {"merged": tr("Merged"), "converted": tr("Converted")}
        return [
            (titles.get(test.stage, test.stage), format_badge(test)) for test in self._list_tests()
        ]

    def _list_tests(self) -> list[events.SelfTested]:
        return selftest_report.list_tests_of_files(self.written, self.tested)


def _make_file_fact(event: events.GgufWritten) -> tuple[str, str]:
    parts = (Path(event.file).name, formatting.format_size(event.bytes))
    return event.quantization, "  ·  ".join(parts)


def _describe_proof(derived: events.TemplateDerived) -> str:
    conversations = tr_n("{n} conversation", "{n} conversations", derived.conversations)
    if derived.proven:
        return tr(
            "✓ TEMPLATE for Ollama before 0.30: derived from the chat template and verified by "
            "rendering {conversations}. Ollama 0.30 and later use the chat template in the GGUF file."
        ).format(conversations=conversations)
    return tr("✗ The TEMPLATE renders different text than the chat template: {difference}").format(
        difference=localize(derived.difference or "")
    )


def describe_disk_space(sizes: events.SizesEstimated | None, quantizations: Sequence[str]) -> str:
    """Return how much disk space the selected files need and how much is free; "" if unknown."""
    if sizes is None or not all(name in sizes.bytes for name in quantizations):
        return ""
    files = sum(sizes.bytes[name] for name in quantizations)
    is_kept = sizes.pass_kind in quantizations
    temporary = 0 if is_kept else sizes.bytes.get(sizes.pass_kind, 0)
    needed = (
        tr("Disk space: {files}, plus {temporary} during the export.")
        if temporary
        else tr("Disk space: {files}.")
    ).format(files=formatting.format_size(files), temporary=formatting.format_size(temporary))
    if sizes.free is None:
        return needed
    free = (
        tr("✗ Only {free} is available.")
        if sizes.free < files + temporary
        else tr("{free} is available.")
    ).format(free=formatting.format_size(sizes.free))
    return f"{needed} {free}"


def describe_tools(description: str, sizes: events.SizesEstimated | None) -> str:
    """Return the description of the llama.cpp field, including which llama.cpp is used."""
    if sizes is None or not sizes.tools:
        return description
    return f"{description} {tr('Currently used: {tools}.').format(tools=localize(sizes.tools))}"


def format_self_test_answers(run: RunFolder | None) -> str:
    """Return the answers of each stage of the self-test, by prompt; "" if there are none."""
    try:
        rows = read_json(run.selftest_file, limits.LARGE_FILE)["answers"] if run else []
        conversations = [
            [f"» {row['prompt'].strip()}"]
            + [f"{stage}:\n{text.strip()}" for stage, text in row.items() if stage != "prompt"]
            for row in rows
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return ""
    return "\n\n\n".join("\n\n".join(conversation) for conversation in conversations)


def format_llama_command(written: Sequence[events.GgufWritten], *, embeds: bool) -> str:
    """Return the command that chats with the smallest GGUF file, or serves its vectors; "" without one."""
    models = [event for event in written if event.quantization not in PARTS]
    smallest = min(models, key=lambda event: event.bytes, default=None)
    if smallest is None:
        return ""
    file = shlex.quote(smallest.file)
    return f"llama-server -m {file} --embeddings" if embeds else f"llama-cli -m {file} -cnv"


def describe_readiness(*, is_direct: bool, has_merged: bool, blocker: str) -> tuple[str, str]:
    """Return status and advice before an export; both "" if there is nothing to say."""
    if is_direct and has_merged:
        return tr("Ready to export"), tr(
            "Files are created from the base model and the adapter, because rounding changed the merged model."
        )
    if is_direct:
        return tr("Ready to export"), tr(
            "Files are created directly from the base model and the adapter, without a merged"
            " copy. If you want to keep or upload a merged model, merge first."
        )
    return ("", "") if has_merged else (tr("Nothing to export yet"), blocker)


class ResultsCard(Card):
    """Shows the results of the run that the window follows; `embeds`: it trained an embedding model.

    Signals:
        chat_requested(chat_model): chat with the exported model.
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
                result_view.format_llama_command(self.result.written, embeds=self.embeds)
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
            answers = result_view.format_self_test_answers(self.state.run)
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

    def get_chat_model(self) -> AnyChatModel | None:
        """Return the model in Ollama, else the first GGUF file, None if there is neither or it can't chat."""
        created, run = self.result.created, self.state.run
        if self.embeds:
            return None
        if created is not None:
            host = str(self.state.get("export", "ollama_host"))
            return chat_models.create_ollama_chat_model(created, host)
        models = [event for event in self.result.written if event.quantization not in PARTS]
        if run is None or not models:
            return None
        return chat_models.create_gguf_chat_model(run, Path(models[0].file))

    def request_chat(self) -> None:
        """Ask for a chat with the exported model."""
        if (chat_model := self.get_chat_model()) is not None:
            self.chat_requested.emit(chat_model)

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
