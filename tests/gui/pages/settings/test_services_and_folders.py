"""Settings: the Hub account, the address of Ollama, folders, and the size of the cache."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QFileDialog, QPushButton
from pytestqt.qtbot import QtBot

from lora_studio.core.network import connections
from lora_studio.core.network.connections import Contact, ContactRecord
from lora_studio.core.network.purposes import Purpose
from lora_studio.core.protocol import commands, events
from lora_studio.core.system import offline, paths
from lora_studio.gui.jobs.hub_account import HubAccount
from lora_studio.gui.pages.settings.page import NetworkCard, SettingsPage
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


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LORA_STUDIO_LOGS", str(tmp_path))
    monkeypatch.setenv(connections.SESSION_VARIABLE, "window")
    # Other tests in this process have contacted servers.
    monkeypatch.setattr(connections, "save", lambda: None)


def write(session: str, host: str, received: int | None) -> None:
    contact = Contact(
        host=host, port=443, purpose=Purpose.MODEL_DOWNLOAD, connections=1, sent=received,
        received=received, first=time.time(), last=time.time(),
    )  # fmt: skip
    connections.write_record(
        ContactRecord(session=session, pid=1, started=time.time(), contacts=(contact,))
    )


def test_card_shows_the_contacts_of_this_window_s_session(qtbot: QtBot) -> None:
    card = NetworkCard()
    qtbot.addWidget(card)
    assert not card.none.isHidden()
    write("window", "huggingface.co", 5_000_000)
    write("other", "elsewhere.example", 1)
    card.show()
    qtbot.waitUntil(lambda: len(card.contacts.get_rows()) > 1)
    card.hide()
    titles, row = card.contacts.get_rows()
    assert titles[:2] == ["Host", "Purpose"]
    assert row[:3] == ["huggingface.co", "Model download", "5 MB / 5 MB"]
    assert card.none.isHidden()


def test_card_shows_what_features_would_contact(
    qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "https://mirror.example")
    card = NetworkCard()
    qtbot.addWidget(card)
    card.set_ollama_host("http://box.example:11434")
    card.refresh()
    hosts = {row[0]: row[1] for row in card.possible.get_rows()[1:]}
    assert hosts["Model search"] == "mirror.example"
    assert hosts["Ollama"] == "box.example:11434"
    assert len(hosts) == len(Purpose) - 1


def test_record_is_deleted(qtbot: QtBot) -> None:
    write("window", "huggingface.co", None)
    card = NetworkCard()
    qtbot.addWidget(card)
    card.clear_button.click()
    assert connections.read_records() == []
    assert not card.none.isHidden()


def test_offline_mode_is_requested_by_its_box(
    qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(offline.VARIABLE, "1")
    card = NetworkCard()
    qtbot.addWidget(card)
    assert card.offline.isChecked()
    with qtbot.waitSignal(card.offline_chosen) as chosen:
        card.offline.click()
    assert chosen.args == [False]
