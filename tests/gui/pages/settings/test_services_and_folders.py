"""Settings: the Hub account, the address of Ollama, folders, and the size of the cache."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QFileDialog, QPushButton
from pytestqt.qtbot import QtBot

from lora_studio.core.protocol import commands, events
from lora_studio.core.system import paths
from lora_studio.gui.jobs.hub_account import HubAccount
from lora_studio.gui.pages.settings.page import SettingsPage
from lora_studio.gui.preferences import Preferences
from lora_studio.gui.project.state import ProjectState
from lora_studio.gui.widgets.dialog import Dialog


@pytest.fixture
def preferences(monkeypatch: pytest.MonkeyPatch) -> Preferences:
    monkeypatch.delenv("OLLAMA_HOST", raising=False)
    return Preferences()


def show_settings(qtbot: QtBot, state: ProjectState, preferences: Preferences) -> SettingsPage:
    page = SettingsPage(state, preferences)
    qtbot.addWidget(page)
    page.show()
    return page


def test_account_is_shown_and_signed_out(
    qtbot: QtBot, state: ProjectState, preferences: Preferences
) -> None:
    page = show_settings(qtbot, state, preferences)
    asked: list[object] = []
    page.ask.connect(asked.append)
    page.on_shown()
    question = next(item for item in asked if isinstance(item, commands.InspectAccount))
    page.on_event(events.AccountFound(id=question.id, name="pim", has_token=True))
    page.on_event(events.Done(id=question.id))
    assert page.services.name.text() == "Signed in as pim"
    page.services.sign_out.click()
    out = asked[-1]
    assert isinstance(out, commands.SignOut)
    page.on_event(events.AccountFound(id=out.id, name="", has_token=False))
    assert page.services.name.text().startswith("Not signed in.")
    assert not page.services.sign_in.isHidden()


def test_accounts_of_two_pages_follow_each_other() -> None:
    one, other = HubAccount(), HubAccount()
    one.follow(other)
    other.follow(one)
    asked: list[Any] = []
    one.ask.connect(asked.append)
    one.sign_out()
    one.on_event(events.AccountFound(id=asked[0].id, name="", has_token=False))
    assert other.current is one.current is not None
    assert other.was_changed_by_user


def test_ollama_address_is_used_by_projects_without_one(
    qtbot: QtBot, state: ProjectState, preferences: Preferences
) -> None:
    page = show_settings(qtbot, state, preferences)
    qtbot.keyClicks(page.services.host, "http://10.0.0.5:11434")
    qtbot.keyClick(page.services.host, Qt.Key.Key_Return)
    assert Preferences.load().ollama_host == "http://10.0.0.5:11434"
    assert state.get_ollama_host() == os.environ["OLLAMA_HOST"] == "http://10.0.0.5:11434"
    page.services.host.clear()
    qtbot.keyClick(page.services.host, Qt.Key.Key_Return)
    assert "OLLAMA_HOST" not in os.environ
    qtbot.keyClicks(page.services.host, "http://me:secret@10.0.0.5")
    qtbot.keyClick(page.services.host, Qt.Key.Key_Return)
    assert "secret" not in paths.get_window_file().read_text()
    assert "password" in page.services.note.text()


def test_folder_for_new_projects_is_chosen(
    qtbot: QtBot, state: ProjectState, preferences: Preferences, tmp_path: Path
) -> None:
    page = show_settings(qtbot, state, preferences)
    page.folders.change.click()
    page.findChildren(QFileDialog)[-1].fileSelected.emit(str(tmp_path))
    assert page.folders.projects.text() == str(tmp_path)
    assert Preferences.load().get_new_project_parent() == tmp_path


def test_cache_is_measured_and_emptied(
    qtbot: QtBot, state: ProjectState, preferences: Preferences
) -> None:
    cache = paths.get_cache_folder()
    (cache / "tokens" / "key").mkdir(parents=True)
    (cache / "tokens" / "key" / "rows.arrow").write_bytes(b"x" * 3_000_000)
    page = show_settings(qtbot, state, preferences)
    page.on_shown()
    page.stop_background_work()
    page.on_shown()
    qtbot.waitUntil(lambda: page.folders.cache.text().endswith("  ·  3\N{NO-BREAK SPACE}MB"))
    page.folders.free.click()
    (dialog,) = page.findChildren(Dialog)
    assert "3 MB" in dialog.text.text()
    dialog.findChild(QPushButton, "empty").click()
    qtbot.waitUntil(lambda: not (cache / "tokens").exists())
    qtbot.waitUntil(lambda: page.folders.cache.text().endswith("  ·  0\N{NO-BREAK SPACE}B"))
    assert not page.folders.free.isEnabled()
