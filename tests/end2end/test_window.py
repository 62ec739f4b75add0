"""All six pages in order, with the real worker on a tiny model and a real Ollama server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import ollama
import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QWidget
from pytestqt.qtbot import QtBot

from lora_studio.core.project import project
from lora_studio.core.runs.folder import list_runs
from lora_studio.gui.window.main_window import Window
from tests.helpers.accepted_projects import accept_project
from tests.helpers.models.llama_cpp_folder import llama_cpp_folder
from tests.helpers.models.tiny_models import tiny_model
from tests.helpers.runs.tiny_run import heldout_rows
from tests.helpers.servers.real_ollama import Server

pytestmark = [pytest.mark.slow, pytest.mark.end2end]

#: Longest wait for a real job on a busy machine, in milliseconds.
WAIT = 180_000


@pytest.fixture
def folder(tmp_path: Path, ollama_server: Server) -> Path:
    """A project where only the locations of llama.cpp and Ollama are set."""
    project_folder = tmp_path / "harbour desk"
    llama_cpp = str(llama_cpp_folder(tmp_path / "llama.cpp"))
    values = {"llama_cpp": llama_cpp, "ollama_host": ollama_server.host}
    accept_project(project.create(project_folder, "Harbour desk", {"export": values}))
    return project_folder


def _type(qtbot: QtBot, editor: QWidget, text: str) -> None:
    """Type into the line of an editor and commit it, as a person does."""
    from PySide6.QtWidgets import QLineEdit

    line = editor if isinstance(editor, QLineEdit) else editor.findChild(QLineEdit)
    assert line is not None
    line.setFocus()
    line.selectAll()
    qtbot.keyClicks(line, text)
    qtbot.keyClick(line, Qt.Key.Key_Return)


def test_six_pages_lead_from_empty_project_to_ollama_model(
    qtbot: QtBot, window: Window, folder: Path, tmp_path: Path, ollama_server: Server
) -> None:
    base = tiny_model("llama3", tmp_path / "base")
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps(row) + "\n" for row in heldout_rows(40)), "utf-8")
    pages: dict[str, Any] = window.pages

    def primary() -> None:
        qtbot.keyClick(window, Qt.Key.Key_Return, Qt.KeyboardModifier.ControlModifier)

    window.open_project(folder)
    assert window.page_name == "model"
    assert not pages["model"].header.primary.isEnabled()
    _type(qtbot, pages["model"].editors["source"], str(base))
    qtbot.waitUntil(lambda: window.state.facts.model is not None, timeout=WAIT)
    assert window.state.facts.model.architecture == "LlamaForCausalLM"
    window.show_page("lora")
    _type(qtbot, pages["lora"].editors["rank"], "8")
    primary()

    assert window.page_name == "dataset"
    _type(qtbot, pages["dataset"].editors["sources"], str(rows))
    qtbot.waitUntil(lambda: window.state.facts.dataset is not None, timeout=WAIT)
    assert window.state.facts.dataset.rows_used == 40
    _type(qtbot, pages["dataset"].editors["max_length"], "512")
    _type(qtbot, pages["dataset"].editors["validation_share"], "0.25")
    primary()

    assert window.page_name == "training"
    _type(qtbot, pages["training"].editors["learning_rate"], "5e-3")
    _type(qtbot, pages["training"].editors["epochs"], "2")
    primary()
    qtbot.waitUntil(pages["training"].is_done, timeout=WAIT)
    assert len(pages["training"].plot.run.steps) >= 2
    assert {"loss", "grad_norm", "cpu_percent"} <= set(pages["training"].plot.run.steps.names)
    qtbot.waitUntil(lambda: not window.jobs.running, timeout=WAIT)
    primary()
    assert window.page_name == "export", "a merged copy isn't needed"

    window.show_page("merging")
    primary()
    qtbot.waitUntil(pages["merging"].is_done, timeout=WAIT)
    qtbot.waitUntil(lambda: not window.jobs.running, timeout=WAIT)
    primary()

    assert window.page_name == "export"
    primary()
    qtbot.waitUntil(pages["export"].is_done, timeout=WAIT)
    qtbot.waitUntil(lambda: not window.jobs.running, timeout=WAIT)
    assert pages["export"].result.created.name == "harbour-desk"

    (run,) = list_runs(folder / "runs")
    assert run.read_state() == "exported"
    assert run.load_project().lora.rank == 8
    assert run.load_project().training.learning_rate == 5e-3
    with ollama.Client(host=ollama_server.host) as client:
        assert "{{" in (client.show("harbour-desk").template or "")
