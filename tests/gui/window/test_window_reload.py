"""Changing the language while the program runs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PySide6.QtCore import QPoint, QPointF, QRect, QSize, Qt
from PySide6.QtGui import QDragEnterEvent, QDropEvent
from PySide6.QtWidgets import QApplication, QWidget
from pytestqt.qtbot import QtBot
from shiboken6 import isValid

from lora_studio.core.protocol import events
from lora_studio.gui import language, message_translation
from lora_studio.gui.app import WindowReload
from lora_studio.gui.pages.merging import MergingPage
from lora_studio.gui.pages.model.page import ModelPage
from lora_studio.gui.preferences import Preferences
from lora_studio.gui.project.commands import NewProjectDialog
from lora_studio.gui.project.state import ProjectState
from lora_studio.gui.text_size import Size
from lora_studio.gui.widgets.work_cover import WorkCover
from lora_studio.gui.window import main_window
from lora_studio.gui.window.main_window import Window
from lora_studio.gui.window.wiring import make_window
from tests.helpers.window import plain_pages
from tests.helpers.window.fake_engine import make_mime_data
from tests.helpers.window.plain_pages import PlainPage

Scenario = Callable[..., None]


@pytest.fixture
def window_reload(qtbot: QtBot, qapp: QApplication, scenario: Scenario) -> Iterator[WindowReload]:
    first = make_window(Preferences(language="en"), plain_pages.pages)
    first.show()
    reload = WindowReload(
        qapp, first, lambda preferences: make_window(preferences, plain_pages.pages)
    )
    yield reload
    if reload.window.jobs.running:
        reload.window.jobs.cancel()
        qtbot.waitUntil(lambda: not reload.window.jobs.running)
    reload.window.state.undo.setClean()
    reload.window.close()
    reload.window.deleteLater()
    reload.deleteLater()
    language.install(qapp, "en")
    message_translation.clear_cache()


def _choose_german(window_reload: WindowReload, qtbot: QtBot) -> None:
    window = window_reload.window
    window.show_page("settings")
    box = window.settings.language.box
    box.setCurrentIndex(box.findText("Deutsch"))
    box.activated.emit(box.currentIndex())
    assert window.settings.at_once.isVisible()
    window.settings.at_once.click()
    qtbot.waitUntil(lambda: window_reload.window is not window)


@pytest.mark.slow
def test_language_change_keeps_the_open_project_and_page(
    window_reload: WindowReload, qtbot: QtBot, project_folder: Path
) -> None:
    old = window_reload.window
    old.open_project(project_folder)
    old.state.set("lora", "rank", 24)
    _choose_german(window_reload, qtbot)
    new = window_reload.window
    assert new.isVisible()
    assert new.page_name == "settings"
    assert new.get_title("settings") == "Einstellungen"
    assert new.rail.button("home").text() == "Start"
    assert new.state.draft.folder == project_folder
    assert new.state.get("lora", "rank") == 24
    new.state.set("lora", "rank", 32)
    assert new.save()
    qtbot.waitUntil(lambda: not isValid(old))
    assert Preferences.load().language == "de"


@pytest.mark.slow
def test_undo_history_survives_a_language_change(
    window_reload: WindowReload, qtbot: QtBot, project_folder: Path
) -> None:
    old = window_reload.window
    old.open_project(project_folder)
    first = old.state.get("lora", "rank")
    old.state.set("lora", "rank", 24)
    old.state.set("training", "epochs", 5)
    old.state.set("lora", "rank", 48)
    old.state.undo.undo()
    _choose_german(window_reload, qtbot)
    state = window_reload.window.state
    assert not state.dirty
    assert (state.get("lora", "rank"), state.get("training", "epochs")) == (24, 5)
    window_reload.window.actions_.redo.trigger()
    assert state.get("lora", "rank") == 48
    assert state.dirty
    assert window_reload.window.actions_.undo.text() == "Rückgängig: Rang"
    for _ in range(3):
        window_reload.window.actions_.undo.trigger()
    assert state.get("lora", "rank") == first
    assert not state.is_set("training", "epochs")
    assert not state.undo.canUndo()


@pytest.mark.slow
def test_training_continues_during_a_language_change(
    window_reload: WindowReload, qtbot: QtBot, project_folder: Path, scenario: Scenario
) -> None:
    scenario(train=[{"steps": 100_000, "seconds": 0.02}])
    window_reload.window.open_project(project_folder)
    window_reload.window.launcher.request("train")
    qtbot.waitUntil(lambda: window_reload.window.jobs.progress.share is not None)
    run = window_reload.window.jobs.run
    _choose_german(window_reload, qtbot)
    qtbot.waitUntil(lambda: window_reload.window.jobs.running)
    assert window_reload.window.jobs.run == run
    page = window_reload.window.pages["training"]
    assert isinstance(page, PlainPage)
    qtbot.waitUntil(lambda: any(isinstance(event, events.StepDone) for event in page.received))


@pytest.mark.slow
def test_unsavable_changes_prevent_the_reload(
    window_reload: WindowReload, qtbot: QtBot, project_folder: Path
) -> None:
    window = window_reload.window
    window.open_project(project_folder)
    window.state.set("lora", "rank", 24)
    (project_folder / "support bot.lorastudio").unlink()
    project_folder.rename(project_folder.with_name("elsewhere"))
    window_reload.reload()
    assert window_reload.window is window
    assert window.isVisible()


class FramedWindow(QWidget):
    """A window with a title bar of 36 pixels and a border of 4 on a screen of 1280 × 800."""

    room = QRect(0, 24, 1280, 776)  # without the panel of the desktop

    def frameGeometry(self) -> QRect:
        return self.geometry().adjusted(-4, -36, 4, 4)

    def move(self, *position: int) -> None:  # type: ignore[override]  # the position of the frame
        super().move(position[0] + 4, position[1] + 36)

    def screen(self) -> FramedWindow:  # type: ignore[override]
        return self

    def availableGeometry(self) -> QRect:
        return self.room


@pytest.mark.parametrize(
    ("before", "size"),
    [
        pytest.param(QRect(0, 0, 1280, 800), QSize(1272, 736), id="as-large-as-the-screen"),
        pytest.param(QRect(4, 60, 1000, 700), QSize(1000, 700), id="fits"),
        pytest.param(QRect(900, 500, 1000, 700), QSize(1000, 700), id="partly-outside"),
        pytest.param(QRect(-500, -300, 1400, 700), QSize(1272, 700), id="too-wide"),
    ],
)
def test_window_is_moved_inside_the_screen(qtbot: QtBot, before: QRect, size: QSize) -> None:
    window = FramedWindow()
    qtbot.addWidget(window)
    window.setGeometry(before)
    main_window.fit_to_screen(window)
    assert window.size() == size
    assert window.room.contains(window.frameGeometry())


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
