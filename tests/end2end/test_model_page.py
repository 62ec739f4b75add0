"""The model page from search to a complete model, with real workers and a local Hub server."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot
from safetensors.torch import load_file, save_file

from lora_studio.core.project import project
from lora_studio.core.system import offline
from lora_studio.gui import theme
from lora_studio.gui.frame import lazy_pages
from lora_studio.gui.preferences import Preferences
from lora_studio.gui.window.main_window import Window
from lora_studio.gui.window.wiring import make_window
from tests.helpers.models.tiny_models import tiny_model
from tests.helpers.servers.hub_server import TOKEN, Hub, hub_server

pytestmark = [pytest.mark.slow, pytest.mark.end2end]

#: Longest wait for a real worker on a busy machine, in milliseconds.


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    model = tiny_model("llama3", tmp_path / "tiny")
    large = Path(shutil.copytree(model, tmp_path / "large"))
    weights = large / "model.safetensors"
    tensors = load_file(weights) | {"padding": torch.rand(20_000_000)}
    save_file(tensors, weights, metadata={"format": "pt"})
    with hub_server({"tiny/large": large, "tiny/gated": model}) as running:
        running.gated.add("tiny/gated")
        config = {"config": {"architectures": ["LlamaForCausalLM"]}}
        running.about = {
            "tiny/large": config | {"tags": ["safetensors"], "downloads": 9},
            "tiny/gated": config | {"tags": ["safetensors"], "downloads": 5},
        }
        for name, value in {
            "HF_ENDPOINT": running.address, "HF_HOME": str(tmp_path / "hf"),
            "OLLAMA_MODELS": str(tmp_path / "none"),
        }.items():  # fmt: skip
            monkeypatch.setenv(name, value)
        for name in ("HF_TOKEN", offline.VARIABLE):
            monkeypatch.delenv(name, raising=False)
        yield running


@pytest.fixture
def window(qtbot: QtBot, qapp: QApplication, hub: Hub, tmp_path: Path) -> Iterator[Window]:
    theme.apply(qapp, "light")
    new_window = make_window(Preferences(), lazy_pages.make_step_pages)
    new_window.show()
    project.create(tmp_path / "desk", "Desk")
    new_window.open_project(tmp_path / "desk")
    yield new_window
    new_window.state.undo.setClean()
    new_window.close()
    new_window.deleteLater()


def until(qtbot: QtBot, done: Callable[[], object]) -> None:
    qtbot.waitUntil(lambda: bool(done()))


def test_model_page_searches_downloads_resumes_and_signs_in(
    qtbot: QtBot, window: Window, hub: Hub, tmp_path: Path
) -> None:
    page: Any = window.pages["model"]
    assert window.page_name == "model"

    # Down to “Search the hub”, words, Enter; then the first line of the list.
    page.browser.sources.setFocus()
    for _ in range(4):
        qtbot.keyClick(page.browser.sources, Qt.Key.Key_Down)
    page.browser.filters.line.setFocus()
    qtbot.keyClicks(page.browser.filters.line, "tiny")
    qtbot.keyClick(page.browser.filters.line, Qt.Key.Key_Return)
    until(qtbot, lambda: page.browser.list.lines.rowCount() == 2)
    page.browser.list.setFocus()
    qtbot.keyClick(page.browser.list, Qt.Key.Key_Home)
    qtbot.keyClick(page.browser.list, Qt.Key.Key_Return)
    assert window.state.get("model", "source") == "tiny/large"

    # Details come before the weights; then the download is started, canceled and resumed.
    until(qtbot, lambda: window.state.facts.model is not None)
    assert page.facts.get_facts()["Architecture"] == "LlamaForCausalLM"
    assert page.download.start.text().startswith("Download 8")
    hub.held = 1_000_000  # of 80 MB; from there, each megabyte takes two seconds
    page.download.start.click()
    until(qtbot, lambda: " MB of " in page.download.progress.doing.text())
    page.download.stop.click()
    until(qtbot, lambda: not page.download.is_running)
    until(qtbot, lambda: page.download.start.isVisible())
    hub.freed.set()
    hub.requests.clear()
    page.download.start.click()
    until(qtbot, lambda: page.download.isHidden())
    ranges = [line for line in hub.requests if line.startswith("RANGE")]
    assert any(not line.startswith("RANGE 0-") for line in ranges), "the download started over"
    page.browser.show_source("cache")
    until(qtbot, lambda: page.browser.list.lines.rowCount() == 1)

    # A gated model asks for a token first.
    page.browser.show_source("hub")
    window.state.set("model", "source", "tiny/gated")
    until(qtbot, lambda: page.download.sign_in.isVisible())
    page.download.sign_in.click()
    dialog = page.account.dialog
    qtbot.keyClicks(dialog.line, TOKEN)
    qtbot.keyClick(dialog.line, Qt.Key.Key_Return)
    until(qtbot, lambda: page.account.dialog is None)
    until(qtbot, lambda: window.state.facts.model is not None)
    assert page.browser.account.text() == "Signed in as pim"
    window.save()
    holding = [
        file.relative_to(tmp_path).as_posix()
        for file in tmp_path.rglob("*")
        if file.is_file() and TOKEN.encode() in file.read_bytes()
    ]
    assert set(holding) <= {"hf/token", "hf/stored_tokens"}

    # The Hub goes down: local models stay usable, and the search reports the error.
    hub.broken = True
    page.browser.filters.go.click()
    until(qtbot, lambda: page.browser.retry.isVisible())
    assert "503" in page.browser.status.text()
    assert json.dumps([problem.code for problem in window.state.list_problems()]).count("hub") == 0


def test_download_checks_space_resumes_and_respects_sign_out(
    qtbot: QtBot, window: Window, hub: Hub, tmp_path: Path
) -> None:
    page: Any = window.pages["model"]

    # No disk is that large: reported before the download starts, which can be tried again.
    hub.claimed["model.safetensors"] = 10**16
    window.state.set("model", "source", "tiny/large")
    until(qtbot, lambda: window.state.facts.model is not None and page.download.start.isVisible())
    page.download.start.click()
    until(qtbot, lambda: not page.download.is_running)
    assert "free" in page.download.status.text()
    assert page.download.start.isVisible()
    assert not list(tmp_path.glob("hf/**/*.incomplete"))

    # With enough space, the connection drops in the middle of the weights.
    hub.claimed.clear()
    hub.break_after = 3_000_000
    hub.requests.clear()
    page.download.start.click()
    until(qtbot, lambda: page.download.isHidden())
    ranges = [line for line in hub.requests if line.startswith("RANGE")]
    assert any(not line.startswith("RANGE 0-") for line in ranges), "the download started over"

    # Signed in, a gated model opens; signed out, it is locked again and the token is deleted.
    page.browser.show_source("hub")
    window.state.set("model", "source", "tiny/gated")
    until(qtbot, lambda: page.download.sign_in.isVisible())
    page.download.sign_in.click()
    dialog = page.account.dialog
    qtbot.keyClicks(dialog.line, TOKEN)
    qtbot.keyClick(dialog.line, Qt.Key.Key_Return)
    until(qtbot, lambda: window.state.facts.model is not None)
    page.browser.sign_out.click()
    until(qtbot, lambda: page.browser.sign_in.isVisible())
    assert page.browser.account.isHidden()
    until(qtbot, lambda: page.download.sign_in.isVisible())
    assert "token" in page.download.status.text().lower()
    holding = [file for file in (tmp_path / "hf").rglob("*") if file.is_file()]
    assert not [file for file in holding if TOKEN.encode() in file.read_bytes()]
