"""Drag and drop from a file manager."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PySide6.QtCore import QPoint, QPointF, Qt
from PySide6.QtGui import QDragEnterEvent, QDropEvent
from PySide6.QtWidgets import QApplication, QWidget
from pytestqt.qtbot import QtBot

from lora_studio.gui.pages.merging import MergingPage
from lora_studio.gui.pages.model.page import ModelPage
from lora_studio.gui.preferences import Preferences
from lora_studio.gui.project.commands import NewProjectDialog
from lora_studio.gui.project.state import ProjectState
from lora_studio.gui.text_size import Size
from lora_studio.gui.widgets.work_cover import WorkCover
from lora_studio.gui.window.main_window import Window
from tests.helpers.window.drag_and_drop import make_mime_data

_COPY, _LEFT, _NONE = Qt.DropAction.CopyAction, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier  # fmt: skip


def _drop(target: QWidget, *paths: Path) -> bool:
    """Drag files over a widget and drop them if it accepts them; return whether it did."""
    data = make_mime_data(*paths)
    enters = QDragEnterEvent(QPoint(5, 5), _COPY, data, _LEFT, _NONE)
    enters.ignore()
    QApplication.sendEvent(target, enters)
    if not enters.isAccepted():
        return False
    QApplication.sendEvent(target, QDropEvent(QPointF(5, 5), _COPY, data, _LEFT, _NONE))
    return True


@pytest.mark.slow
@pytest.mark.parametrize("what", ["file", "folder"])
def test_dropped_project_is_opened(window: Window, project_folder: Path, what: str) -> None:
    file = project_folder / "support bot.lorastudio"
    assert _drop(window, file if what == "file" else project_folder)
    assert window.state.draft.path == file


def test_other_files_dropped_on_the_window_are_rejected(
    window: Window, project_folder: Path
) -> None:
    assert not _drop(window, project_folder / "rows.jsonl")
    assert not _drop(window, project_folder, project_folder / "rows.jsonl")
    assert not _drop(window.home, project_folder, project_folder / "rows.jsonl")
    assert not window.has_project


def test_data_dropped_on_home_begins_a_project(window: Window, project_folder: Path) -> None:
    rows = project_folder / "rows.jsonl"
    assert _drop(window.home, rows)
    (dialog,) = window.findChildren(NewProjectDialog)
    assert dialog.name.text() == "rows"
    dialog.create_button.click()
    assert window.page_name == "model"
    assert window.state.get("dataset", "sources") == [{"path": str(rows)}]


def test_project_dropped_on_the_model_page_is_rejected(
    qtbot: QtBot, state: ProjectState, project_folder: Path, tmp_path: Path
) -> None:
    state.open(project_folder)
    page = ModelPage(state, Preferences())
    qtbot.addWidget(page)
    before = state.get("model", "source")
    assert not _drop(page, project_folder)
    assert state.get("model", "source") == before
    (tmp_path / "model").mkdir()
    assert _drop(page, tmp_path / "model")
    assert state.get("model", "source") == str(tmp_path / "model")
    state.undo.setClean()


def test_only_an_adapter_dropped_on_merge_starts_an_import(
    qtbot: QtBot, state: ProjectState, project_folder: Path, tmp_path: Path
) -> None:
    state.open(project_folder)
    page = MergingPage(state)
    qtbot.addWidget(page)
    page.show()
    requests: list[tuple[str, str]] = []
    page.import_requested.connect(lambda what, path: requests.append((what, path)))
    folder = tmp_path / "style"
    folder.mkdir()
    assert not _drop(page, folder)
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA"}))
    assert _drop(page, folder)
    assert requests == [("adapter", str(folder))]
    state.undo.setClean()


def test_text_size_is_changed_by_keyboard(qtbot: QtBot, window: Window) -> None:
    window.show()
    control = Qt.KeyboardModifier.ControlModifier
    try:
        for _ in range(3):
            qtbot.keyClick(window, Qt.Key.Key_Plus, control)
        assert window.preferences.text_size == 150
        qtbot.keyClick(window, Qt.Key.Key_Minus, control)
        assert window.preferences.text_size == 125
        assert Preferences.load().text_size == 125
        qtbot.waitUntil(lambda: Size.percent == 125)
    finally:
        window.appearance.set_text_size(100)
        qtbot.waitUntil(lambda: Size.percent == 100 and not window.findChildren(WorkCover))
