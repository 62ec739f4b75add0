"""Ollama on the export page: server, confirmations and template."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtWidgets import QToolButton
from pytestqt.qtbot import QtBot

from lora_studio.core.problems import Problem
from lora_studio.core.project import checks
from lora_studio.core.protocol import commands, events
from lora_studio.core.runs import folder as run_folder
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.templates.ollama_template import DerivedTemplate, TemplateAlternative
from lora_studio.core.templates.server.terms import TemplateFeature
from lora_studio.gui.pages.export.ollama_server import ConfirmDialog, CopyDialog
from lora_studio.gui.pages.export.page import ExportPage
from lora_studio.gui.project.state import ProjectState
from tests.helpers.models import model_facts

FOUND = events.OllamaFound(
    host="http://127.0.0.1:11434",
    version="0.12.6",
    models=("support-bot:latest", "other:v1"),
    details=(
        events.OllamaModel(name="support-bot:latest", bytes=2_020_000_000, quantization="Q4_K_M"),
        events.OllamaModel(name="other:v1", bytes=800_000_000),
    ),
)


@pytest.fixture
def run(state: ProjectState, project_folder: Path) -> Iterator[RunFolder]:
    """Yield a run of the open project with a GGUF file."""
    assert state.open(project_folder)
    folder = run_folder.create_run(project_folder / "runs", state.draft.freeze(), project_folder)
    folder.gguf.mkdir()
    folder.get_gguf_file("bot", "Q4_K_M").write_bytes(b"GGUF")
    yield folder
    state.undo.setClean()


@pytest.fixture
def page(qtbot: QtBot, state: ProjectState, run: RunFolder) -> ExportPage:
    export_page = ExportPage(state)
    qtbot.addWidget(export_page)
    export_page.resize(1200, 900)
    export_page.show()
    qtbot.waitExposed(export_page)
    state.set_run(run, "")
    state.set_answer(FOUND)
    return export_page


def dialog(page: ExportPage, kind: type[Any]) -> Any:
    """Return the open dialog."""
    (shown_dialog,) = page.window().findChildren(kind)
    return shown_dialog


@pytest.mark.slow
def test_replacing_an_ollama_model_asks_for_confirmation(qtbot: QtBot, page: ExportPage) -> None:
    requests: list[str] = []
    page.run_requested.connect(requests.append)
    page.ollama.create_button.click()
    dialog(page, ConfirmDialog).cancel.click()
    assert requests == []
    qtbot.waitUntil(lambda: not page.window().findChildren(ConfirmDialog))
    page.ollama.create_button.click()
    dialog(page, ConfirmDialog).confirm.click()
    assert requests == ["create_ollama"]


def test_suggested_free_name_needs_no_confirmation(page: ExportPage, state: ProjectState) -> None:
    requests: list[str] = []
    page.run_requested.connect(requests.append)
    assert page.ollama.other_name.text() == "Use support-bot:v2 instead"
    page.ollama.other_name.click()
    assert state.get("export", "ollama_name") == "support-bot:v2"
    assert page.ollama.other_name.isHidden()
    page.ollama.create_button.click()
    assert requests == ["create_ollama"]


def test_export_asks_before_it_replaces_a_model(page: ExportPage) -> None:
    requests: list[str] = []
    page.run_requested.connect(requests.append)
    page.on_primary()
    assert requests == []
    dialog(page, ConfirmDialog).confirm.click()
    assert requests == ["export"]


def test_create_is_disabled_without_a_gguf_file(
    page: ExportPage, state: ProjectState, run: RunFolder
) -> None:
    assert page.ollama.create_button.isEnabled()
    run.get_gguf_file("bot", "Q4_K_M").unlink()
    page.refresh()
    assert not page.ollama.create_button.isEnabled()


def test_ollama_models_can_be_removed_and_copied(qtbot: QtBot, page: ExportPage) -> None:
    questions: list[Any] = []
    page.ask.connect(questions.append)
    page.ollama.more.set_open(True)
    press(page, "Remove other:v1")
    dialog(page, ConfirmDialog).confirm.click()
    (question,) = questions
    assert isinstance(question, commands.RemoveOllama)
    assert question.name == "other:v1"
    press(page, "Copy other:v1")
    copying = dialog(page, CopyDialog)
    assert copying.name.text() == "other:v2"
    copying.name.setText("support-bot")
    assert not copying.copy.isEnabled()
    copying.name.setText("kept")
    copying.copy.click()
    assert (questions[1].source, questions[1].target) == ("other:v1", "kept")


def press(page: ExportPage, name: str) -> None:
    buttons = page.ollama.models.findChildren(QToolButton)
    next(button for button in buttons if button.accessibleName() == name).click()


def test_lossy_quantization_can_be_created_after_confirmation(
    page: ExportPage, state: ProjectState, run: RunFolder
) -> None:
    requests: list[str] = []
    page.run_requested.connect(requests.append)
    lossy = Problem(code="ollama.lossy", what="Q2_K loses so much.", remedy="Choose more bits.")
    state.set_run(run, "create_ollama")
    page.on_event(events.Started(id="c", command="create_ollama"))
    page.on_event(events.Failed(id="c", problem=lossy))
    dialog(page, ConfirmDialog).confirm.click()
    assert requests == ["create_ollama_anyway"]


def test_replayed_failure_opens_no_dialog(page: ExportPage) -> None:
    lossy = Problem(code="ollama.lossy", what="Q2_K loses so much.", remedy="Choose more bits.")
    page.on_event(events.Started(id="c", command="create_ollama"))
    page.on_event(events.Failed(id="c", problem=lossy))
    assert page.window().findChildren(ConfirmDialog) == []
    assert page.what.text() == "✗ Q2_K loses so much."


def test_template_is_derived_before_training(
    page: ExportPage, state: ProjectState, tmp_path: Path
) -> None:
    questions: list[Any] = []
    page.ask.connect(questions.append)
    state.set_answer(model_facts.model(folder=str(tmp_path)))
    page.on_shown()
    (question,) = [item for item in questions if isinstance(item, commands.DeriveTemplate)]
    assert question.path == str(tmp_path)
    derived = DerivedTemplate(
        template="{{ range .Messages }}…", stops=("<end>",), proven=True, conversations=264,
        covers=(TemplateFeature.TOOLS, TemplateFeature.SWITCH), limits=("a blank answer",),
    )  # fmt: skip
    page.on_event(shown(derived, "{% for m in messages %}…"))
    view = page.template
    assert page.template_card.isVisible()
    assert (
        view.verdict.text() == "✓ Verified for Ollama before 0.30, by rendering 264 conversations"
    )
    assert view.jinja.toPlainText() == "{% for m in messages %}…"
    assert view.go.toPlainText() == "{{ range .Messages }}…"
    assert view.facts.get_facts() == {
        "Also verified": "the list of tools and the thinking switch",
        "Stop sequences": "<end>",
    }
    assert not view.limits.isHidden()


def test_unverified_template_shows_reason_and_alternative(page: ExportPage) -> None:
    other = DerivedTemplate(template="{{ .Content }}", proven=True)
    derived = DerivedTemplate(
        reason="line 3 uses the filter upper.",
        alternative=TemplateAlternative(what="answers in small letters", derived=other),
    )
    page.on_event(shown(derived, "{{ x }}"))
    assert page.template.verdict.text() == "✗ Not verified: line 3 uses the filter upper."
    assert page.template.facts.get_facts()["Verified alternative"] == "answers in small letters"


def shown(derived: DerivedTemplate, source: str) -> events.TemplateDerived:
    return events.TemplateDerived(
        template=derived.template,
        stops=derived.stops,
        proven=derived.proven,
        conversations=derived.conversations,
        chat_template=source,
        derived=derived,
    )


def test_server_password_is_used_but_never_saved(
    page: ExportPage, state: ProjectState, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OLLAMA_HOST", raising=False)
    questions: list[Any] = []
    page.ask.connect(questions.append)
    address = "http://me:secret@example.org"
    state.set("export", "ollama_host", address)
    assert state.get("export", "ollama_host") == ""
    page.queries.server.ask_now()
    assert questions[-1].host == os.environ["OLLAMA_HOST"] == address
    assert state.save()
    assert state.draft.folder is not None
    files = [file for file in state.draft.folder.rglob("*") if file.is_file()]
    assert files
    assert not [file for file in files if b"secret" in file.read_bytes()]
    monkeypatch.delenv("OLLAMA_HOST")


def test_password_in_a_project_file_is_refused_and_hidden(
    page: ExportPage, state: ProjectState
) -> None:
    state.draft.set("export", "ollama_host", "http://me:secret@example.org")
    (problem,) = [item for item in checks.check(state.draft) if "OLLAMA_HOST" in str(item.what)]
    assert "secret" not in str(problem)
    assert "http://…@example.org" in str(problem.what)
    state.draft.set("export", "ollama_host", "")


def test_sizes_and_template_are_requested_for_a_known_model(
    page: ExportPage, state: ProjectState, tmp_path: Path
) -> None:
    questions: list[commands.Question] = []
    page.ask.connect(questions.append)
    state.set("model", "source", "org/model")
    state.set_answer(model_facts.model(folder=str(tmp_path)))
    page.queries.sizes.ask_now()  # without the delay
    page.queries.template.ask_now()
    assert [question.kind for question in questions] == ["estimate_sizes", "derive_template"]


def test_new_project_hides_the_previous_template(page: ExportPage, state: ProjectState) -> None:
    page.on_event(
        events.TemplateDerived(template="{{ .Prompt }}", stops=(), proven=True, conversations=24)
    )
    assert page.template_card.isVisibleTo(page)
    state.new()
    assert not page.template_card.isVisibleTo(page)


def test_lm_studio_folder_is_shown_when_used_or_set(page: ExportPage, state: ProjectState) -> None:
    folder = page.editors["lm_studio_folder"]
    assert folder.isHidden()
    state.set("export", "lm_studio", True)
    assert not folder.isHidden()
    state.set("export", "lm_studio_folder", "/elsewhere")
    state.set("export", "lm_studio", False)
    assert not folder.isHidden(), "an existing value stays visible and editable"
