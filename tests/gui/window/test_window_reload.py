"""Another language, in the same session."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot
from shiboken6 import isValid

from lora_studio.core.protocol import events
from lora_studio.gui import language, message_translation
from lora_studio.gui.preferences import Preferences
from lora_studio.gui.window.window_reload import WindowReload
from lora_studio.gui.window.wiring import make_window
from tests.gui.conftest import WAIT
from tests.helpers import plain_pages
from tests.helpers.plain_pages import PlainPage

Scenario = Callable[..., None]


@pytest.fixture
def renewal(qtbot: QtBot, qapp: QApplication, scenario: Scenario) -> Iterator[WindowReload]:
    first = make_window(Preferences(language="en"), plain_pages.pages)
    first.show()
    made = WindowReload(
        qapp, first, lambda preferences: make_window(preferences, plain_pages.pages)
    )
    yield made
    if made.window.jobs.running:
        made.window.jobs.cancel()
        qtbot.waitUntil(lambda: not made.window.jobs.running, timeout=WAIT)
    made.window.state.undo.setClean()
    made.window.close()
    made.window.deleteLater()
    made.deleteLater()
    language.install(qapp, "en")
    message_translation.clear_cache()


def _choose_german(renewal: WindowReload, qtbot: QtBot) -> None:
    window = renewal.window
    window.show_page("settings")
    box = window.settings.language.box
    box.setCurrentIndex(box.findText("Deutsch"))
    box.activated.emit(box.currentIndex())
    assert window.settings.at_once.isVisible()
    window.settings.at_once.click()
    qtbot.waitUntil(lambda: renewal.window is not window, timeout=WAIT)


def test_the_language_changes_at_once_and_the_project_stays_open_where_it_was(
    renewal: WindowReload, qtbot: QtBot, project_folder: Path
) -> None:
    old = renewal.window
    old.open_project(project_folder)
    old.state.set("lora", "rank", 24)
    _choose_german(renewal, qtbot)
    new = renewal.window
    assert new.isVisible()
    assert new.page_name == "settings"
    assert new.title_of("settings") == "Einstellungen"
    assert new.rail.button("home").text() == "Start"
    assert new.state.draft.folder == project_folder
    assert new.state.get("lora", "rank") == 24
    new.state.set("lora", "rank", 32)
    assert new.save()
    qtbot.waitUntil(lambda: not isValid(old), timeout=WAIT)
    assert Preferences.load().language == "de"


def test_edits_are_undone_and_redone_after_the_language_has_changed(
    renewal: WindowReload, qtbot: QtBot, project_folder: Path
) -> None:
    old = renewal.window
    old.open_project(project_folder)
    first = old.state.get("lora", "rank")
    old.state.set("lora", "rank", 24)
    old.state.set("training", "epochs", 5)
    old.state.set("lora", "rank", 48)
    old.state.undo.undo()
    _choose_german(renewal, qtbot)
    state = renewal.window.state
    assert not state.dirty
    assert (state.get("lora", "rank"), state.get("training", "epochs")) == (24, 5)
    renewal.window.actions_.redo.trigger()
    assert state.get("lora", "rank") == 48
    assert state.dirty
    assert renewal.window.actions_.undo.text() == "Rückgängig: Rang"
    for _ in range(3):
        renewal.window.actions_.undo.trigger()
    assert state.get("lora", "rank") == first
    assert not state.is_set("training", "epochs")
    assert not state.undo.canUndo()


def test_a_training_goes_on_while_the_language_changes(
    renewal: WindowReload, qtbot: QtBot, project_folder: Path, scenario: Scenario
) -> None:
    scenario(train=[{"steps": 100_000, "seconds": 0.02}])
    renewal.window.open_project(project_folder)
    renewal.window.launcher.request("train")
    qtbot.waitUntil(lambda: renewal.window.jobs.progress.share is not None, timeout=WAIT)
    run = renewal.window.jobs.run
    _choose_german(renewal, qtbot)
    qtbot.waitUntil(lambda: renewal.window.jobs.running, timeout=WAIT)
    assert renewal.window.jobs.run == run
    page = renewal.window.pages["training"]
    assert isinstance(page, PlainPage)
    qtbot.waitUntil(
        lambda: any(isinstance(event, events.StepDone) for event in page.seen), timeout=WAIT
    )


def test_changes_that_cannot_be_saved_keep_the_window_as_it_is(
    renewal: WindowReload, qtbot: QtBot, project_folder: Path
) -> None:
    window = renewal.window
    window.open_project(project_folder)
    window.state.set("lora", "rank", 24)
    (project_folder / "support bot.lorastudio").unlink()
    project_folder.rename(project_folder.with_name("elsewhere"))
    renewal.reload()
    assert renewal.window is window
    assert window.isVisible()
