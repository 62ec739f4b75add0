"""Hub upload on the export page: preview of the model card, privacy, progress."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pytestqt.qtbot import QtBot

from lora_studio.core.problems import Problem
from lora_studio.core.protocol import commands, events
from lora_studio.core.runs import folder as run_folder
from lora_studio.core.runs.folder import RunFolder
from lora_studio.gui.pages.export.page import ExportPage, PushDialog
from lora_studio.gui.project.state import ProjectState


@pytest.fixture
def run(state: ProjectState, project_folder: Path) -> Iterator[RunFolder]:
    """Yield a run of the open project with an adapter and a GGUF file."""
    assert state.open(project_folder)
    new_run = run_folder.create_run(project_folder / "runs", state.draft.freeze(), project_folder)
    for folder, name in ((new_run.gguf, "bot.gguf"), (new_run.adapter, "adapter_config.json")):
        folder.mkdir()
        (folder / name).write_bytes(b"{}")
    yield new_run
    state.undo.setClean()


@pytest.fixture
def page(qtbot: QtBot, state: ProjectState, run: RunFolder) -> ExportPage:
    export_page = ExportPage(state)
    qtbot.addWidget(export_page)
    export_page.resize(1200, 900)
    export_page.show()
    qtbot.waitExposed(export_page)
    return export_page


def dialog(page: ExportPage) -> PushDialog:
    (shown,) = page.window().findChildren(PushDialog)
    return shown


def test_upload_is_disabled_without_a_run(page: ExportPage) -> None:
    assert not page.hub.upload.isEnabled()
    assert "Nothing to upload" in page.hub.what.text()


def test_upload_previews_the_card_and_is_private_by_default(
    qtbot: QtBot, page: ExportPage, state: ProjectState, run: RunFolder
) -> None:
    state.set_run(run, "")
    questions: list[Any] = []
    wishes: list[tuple[str, str, bool]] = []
    page.ask.connect(questions.append)
    page.push_requested.connect(lambda *wish: wishes.append(wish))
    page.hub.upload.click()
    push_dialog = dialog(page)
    assert not push_dialog.upload.isEnabled()
    assert isinstance(questions[-1], commands.PreviewCard)
    assert str(questions[-1].what) == "gguf"
    page.on_event(events.CardPreviewed(text="# bot\nA model."))
    assert push_dialog.card.toPlainText() == "# bot\nA model."
    push_dialog.what.button("adapter").click()
    assert str(questions[-1].what) == "adapter"
    qtbot.keyClicks(push_dialog.repository, "me/bot")
    qtbot.waitUntil(lambda: questions[-1].repository == "me/bot")
    push_dialog.upload.click()
    assert wishes == [("me/bot", "adapter", True)]


def test_upload_shows_progress_and_its_result(
    page: ExportPage, state: ProjectState, run: RunFolder
) -> None:
    state.set_run(run, "push")
    page.on_event(events.Started(id="p", command="push"))
    page.on_event(
        events.Progress(id="p", stage="uploading bot.gguf", done=1, total=4, unit="bytes")
    )
    assert page.what.text() == "Uploading to the Hub…"
    assert page.find_blocker() == "Another job is running."
    assert not page.hub.upload.isEnabled()
    pushed = events.Pushed(
        id="p", repository="me/bot", what="gguf", url="https://example.org/me/bot", files=2, bytes=9
    )
    page.on_event(pushed)
    page.on_event(events.Done(id="p"))
    state.set_run(run, "")
    assert "me/bot" in page.hub.what.text()
    assert page.hub.view_online.isVisibleTo(page)


def test_failed_upload_disappears_after_a_successful_job(
    page: ExportPage, state: ProjectState, run: RunFolder
) -> None:
    refused = Problem(code="hub.refused", what="The hub refuses it.", remedy="Sign in.")
    state.set_run(run, "push")
    page.on_event(events.Started(id="p", command="push", time=1.0))
    page.on_event(events.Failed(id="p", problem=refused, time=2.0))
    state.set_run(run, "")
    assert page.what.text() == "✗ The hub refuses it."
    state.set_run(run, "export")
    page.on_event(events.Started(id="e", command="export", time=3.0))
    page.on_event(events.Done(id="e", time=4.0))
    state.set_run(run, "")
    assert "✗" not in page.what.text()
