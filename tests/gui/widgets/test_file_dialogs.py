"""Dialogs, links, layouts and tooltips of the window."""

from __future__ import annotations

from pathlib import Path

import pytest
from PySide6.QtWidgets import QFileDialog, QWidget
from pytestqt.qtbot import QtBot

from lora_studio.core.system import paths
from lora_studio.gui.preferences import Preferences
from lora_studio.gui.widgets import file_dialogs
from lora_studio.gui.widgets.file_dialogs import DIALOG_FOLDER, choose_folder


@pytest.fixture(autouse=True)
def last(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(DIALOG_FOLDER, "folder", "")
    monkeypatch.setattr(paths, "get_documents_folder", lambda: tmp_path / "Documents")


def open_dialog(window: QWidget) -> QFileDialog:
    choose_folder(window, "Folder", lambda _: None)
    return window.findChildren(QFileDialog)[-1]


def test_dialogs_begin_where_something_was_chosen_last(
    qtbot: QtBot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    preferences = Preferences()
    monkeypatch.setattr(DIALOG_FOLDER, "save", preferences.remember_dialog_folder)
    window = QWidget()
    qtbot.addWidget(window)
    (tmp_path / "Documents").mkdir()
    assert open_dialog(window).directory().path() == str(tmp_path / "Documents")
    (tmp_path / "data" / "rows").mkdir(parents=True)
    open_dialog(window).fileSelected.emit(str(tmp_path / "data" / "rows"))
    assert open_dialog(window).directory().path() == str(tmp_path / "data")
    assert Preferences.load().dialog_folder == str(tmp_path / "data")


def test_missing_folders_are_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DIALOG_FOLDER, "folder", str(tmp_path / "gone"))
    assert file_dialogs.DIALOG_FOLDER.get_folder() == str(tmp_path)


def test_new_projects_go_to_documents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LORA_STUDIO_DATA")
    assert Preferences().get_new_project_parent() == tmp_path / "Documents" / "LoRA Studio"
