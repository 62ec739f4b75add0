"""The network card: contacts of this window, hosts of features, and offline mode."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from pytestqt.qtbot import QtBot

from lora_studio.core.network import connections
from lora_studio.core.network.connections import Contact, ContactRecord
from lora_studio.core.network.purposes import Purpose
from lora_studio.core.system import offline
from lora_studio.gui.pages.settings.page import NetworkCard


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
