"""“Train on a cluster…”: the folder is written in the background, then shown."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from PySide6.QtCore import QObject, QUrl, Slot
from PySide6.QtGui import QDesktopServices
from PySide6.QtWidgets import QFileDialog
from pytestqt.qtbot import QtBot

from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.system import files
from lora_studio.gui.pages.training.page import TrainingPage
from lora_studio.gui.problems.suggested_actions import Toast
from lora_studio.gui.project.state import ProjectState
from lora_studio.gui.window.main_window import CloseDialog, Window
from tests.gui.conftest import WAIT


class Opened(QObject):
    """Record the folders that would open in the system's file manager."""

    def __init__(self) -> None:
        super().__init__()
        self.folders: list[str] = []

    @Slot(QUrl)
    def record(self, url: QUrl) -> None:
        self.folders.append(url.toLocalFile())


@pytest.mark.slow
def test_cluster_folder_is_written_and_shown(
    qtbot: QtBot, window: Window, project_folder: Path, tmp_path: Path
) -> None:
    opened, posted = Opened(), list[Toast]()
    window.open_project(project_folder)
    window.messages.posted.connect(posted.append)
    QDesktopServices.setUrlHandler("file", opened, "record")
    try:
        out = tmp_path / "for the cluster"
        with qtbot.waitSignal(window.cluster.ended, timeout=WAIT):
            window.cluster.write(out)
        with qtbot.waitSignal(window.cluster.ended, timeout=WAIT):
            window.cluster.write(out)
    finally:
        QDesktopServices.unsetUrlHandler("file")
    assert opened.folders == [str(out)]
    assert RunFolder(out).load_project().model.source == str(out / "model")
    assert (out / "train.sh").is_file()
    assert [m.problem.code for m in posted if m.problem] == ["cluster.exists"]


@pytest.mark.slow
def test_cluster_export_asks_for_a_folder_or_reports_errors(
    qtbot: QtBot, window: Window, project_folder: Path
) -> None:
    window.open_project(project_folder)
    posted: list[Toast] = []
    window.messages.posted.connect(posted.append)
    window.actions_.commands["cluster"].trigger()
    dialog = window.findChild(QFileDialog)
    assert dialog is not None
    dialog.reject()
    window.state.set("model", "source", "")
    window.cluster.ask_for_folder()
    assert [m.problem.code for m in posted if m.problem] == ["model.none"]


def _slow_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Copy one byte at a time, so that a small file takes a while."""
    monkeypatch.setattr(files, "_PIECE", 1)
    monkeypatch.setattr(os, "link", _no_link)


def _no_link(*_: object) -> None:
    raise OSError("another disk")


@pytest.mark.slow
def test_closing_while_copying_asks_and_removes_the_folder(
    qtbot: QtBot,
    window: Window,
    project_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (project_folder / "model" / "model.safetensors").write_bytes(bytes(3_000_000))
    window.open_project(project_folder)
    _slow_disk(monkeypatch)
    window.cluster.write(tmp_path / "out")
    qtbot.waitUntil(lambda: window.header.task.isVisible(), timeout=WAIT)
    with qtbot.waitSignal(window.cluster.advanced, timeout=WAIT):
        pass
    window.close()
    assert window.isVisible()
    dialog = window.findChild(CloseDialog)
    assert dialog is not None
    dialog.choices["cancel"].click()
    qtbot.waitUntil(lambda: not window.isVisible(), timeout=WAIT)
    assert [entry.name for entry in tmp_path.iterdir() if "out" in entry.name] == []


@pytest.mark.slow
def test_copying_is_canceled_from_the_header(
    qtbot: QtBot,
    window: Window,
    project_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (project_folder / "model" / "model.safetensors").write_bytes(bytes(3_000_000))
    window.open_project(project_folder)
    _slow_disk(monkeypatch)
    window.cluster.write(tmp_path / "out")
    assert window.header.task.isVisible()
    with qtbot.waitSignal(window.cluster.ended, timeout=WAIT):
        window.header.task.stop.click()
    assert not window.header.task.isVisible()
    assert "The incomplete folder was removed" in window.toasts.text


@pytest.mark.slow
def test_training_page_offers_cluster_export(qtbot: QtBot, state: ProjectState) -> None:
    page = TrainingPage(state)
    qtbot.addWidget(page)
    page.show()
    with qtbot.waitSignal(page.run_requested) as signal:
        page.cluster.click()
    assert signal.args == ["cluster"]
