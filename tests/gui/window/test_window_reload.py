"""Changing the language while the program runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot
from shiboken6 import isValid

from lora_studio.core.protocol import events
from lora_studio.gui import language, message_translation
from lora_studio.gui.app import WindowReload
from lora_studio.gui.preferences import Preferences
from lora_studio.gui.window.wiring import make_window
from tests.gui.conftest import WAIT
from tests.helpers.window import plain_pages
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
        qtbot.waitUntil(lambda: not reload.window.jobs.running, timeout=WAIT)
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
    qtbot.waitUntil(lambda: window_reload.window is not window, timeout=WAIT)


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
    qtbot.waitUntil(lambda: not isValid(old), timeout=WAIT)
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
    qtbot.waitUntil(lambda: window_reload.window.jobs.progress.share is not None, timeout=WAIT)
    run = window_reload.window.jobs.run
    _choose_german(window_reload, qtbot)
    qtbot.waitUntil(lambda: window_reload.window.jobs.running, timeout=WAIT)
    assert window_reload.window.jobs.run == run
    page = window_reload.window.pages["training"]
    assert isinstance(page, PlainPage)
    qtbot.waitUntil(
        lambda: any(isinstance(event, events.StepDone) for event in page.received), timeout=WAIT
    )


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
