"""Fixtures of the end-to-end tests: the real window, a real Ollama server, and folders that aren't the user's."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from lora_studio.gui import theme
from lora_studio.gui.frame import lazy_pages
from lora_studio.gui.preferences import Preferences
from lora_studio.gui.window.main_window import Window
from lora_studio.gui.window.wiring import make_window
from tests.helpers.servers import real_ollama

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")


@pytest.fixture(scope="session")
def ollama_server() -> Iterator[real_ollama.Server]:
    """Yield a real Ollama server, which manages models but can't run them."""
    program = real_ollama.install()
    if isinstance(program, str):
        pytest.skip(program)
    with real_ollama.running_server(program) as server:
        yield server


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DATA", "CONFIG", "LOGS"):
        monkeypatch.setenv(f"LORA_STUDIO_{name}", str(tmp_path / name.lower()))


@pytest.fixture
def window(qtbot: QtBot, qapp: QApplication) -> Iterator[Window]:
    """Yield the real window without a project; it closes after its jobs have ended."""
    theme.apply(qapp, "light")
    main_window = make_window(Preferences(), lazy_pages.make_step_pages)
    main_window.show()
    yield main_window
    if main_window.jobs.running:
        main_window.jobs.cancel()
    qtbot.waitUntil(lambda: not main_window.jobs.running, timeout=180_000)
    main_window.state.undo.setClean()
    main_window.close()
    main_window.deleteLater()
