"""The playground by keyboard with the real worker: base, adapter, blend, a stop, tokens."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from lora_studio.core.chat import AdapterChatModel
from lora_studio.core.project import project
from lora_studio.core.runs import folder
from lora_studio.gui import theme
from lora_studio.gui.pages.playground.dialogs import TokensDialog
from lora_studio.gui.pages.playground.page import PlaygroundPage
from lora_studio.gui.project.state import ProjectState
from tests.helpers.accepted_projects import accept_project
from tests.helpers.models.tiny_models import random_adapter, tiny_model

pytestmark = [pytest.mark.slow, pytest.mark.end2end, pytest.mark.usefixtures("quick_workers")]

WAIT = 180_000


@pytest.fixture
def page(qtbot: QtBot, qapp: QApplication, tmp_path: Path) -> Iterator[PlaygroundPage]:
    """The page of a project with one trained run."""
    base = tiny_model("llama3", tmp_path / "base")
    values = {"model": {"source": str(base), "device": "cpu"}}
    draft = project.create(tmp_path / "project", "Harbour", values)
    draft.save()
    accept_project(draft)
    run = folder.create_run(tmp_path / "project" / "runs", draft.freeze(), tmp_path / "project")
    random_adapter(base, run.adapter)
    theme.apply(qapp, "light")
    state = ProjectState()
    new_page = PlaygroundPage(state)
    new_page.show()
    state.open(tmp_path / "project")
    qtbot.waitUntil(lambda: len(new_page.controller.conversation.chat_models) == 2, timeout=WAIT)
    new_page.controller.update(
        sampling=new_page.controller.conversation.sampling.model_copy(update={"max_tokens": 20})
    )
    yield new_page
    new_page.stop_background_work()
    new_page.close()
    new_page.deleteLater()
    state.deleteLater()


def test_base_adapter_and_blend_answer_side_by_side(page: PlaygroundPage, qtbot: QtBot) -> None:
    page.card.panel.greedy.click()
    ask(page, qtbot, "Which lamp burns longest?")
    base, tuned = shown(page)
    assert base
    assert tuned
    assert base != tuned
    assert "tokens/s" in page.columns[0].turns[0].facts.text()

    slider = page.columns[1].blend.sliders[0]
    slider.setFocus()
    qtbot.keyClick(slider, Qt.Key.Key_Home)
    qtbot.waitUntil(lambda: weight(page) == 0, timeout=WAIT)
    page.columns[1].turns[0].regenerate.click()
    wait_until_idle(page, qtbot)
    assert shown(page) == [base, base]  # an adapter with weight 0 equals the base

    page.columns[1].turns[0].tokens.click()
    dialog = page.findChild(TokensDialog)
    assert isinstance(dialog, TokensDialog)
    qtbot.waitUntil(lambda: "Which lamp burns longest?" in dialog.view.text(), timeout=WAIT)
    assert dialog.view.text().startswith("<|begin_of_text|>")
    dialog.reject()

    sampling = page.controller.conversation.sampling.model_copy(update={"max_tokens": 50_000})
    page.controller.update(sampling=sampling)
    qtbot.keyClicks(page.prompt, "Go on for ever")
    qtbot.keyClick(page.prompt, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: bool(page.columns[0].turns[1].answer.text()), timeout=WAIT)
    qtbot.keyClick(page.prompt, Qt.Key.Key_Escape)
    wait_until_idle(page, qtbot)
    answer = page.controller.conversation.turns[1].get_answers(0).current
    assert answer is not None
    assert answer.ending == "stopped"


def ask(page: PlaygroundPage, qtbot: QtBot, text: str) -> None:
    qtbot.keyClicks(page.prompt, text)
    qtbot.keyClick(page.prompt, Qt.Key.Key_Return)
    wait_until_idle(page, qtbot)


def wait_until_idle(page: PlaygroundPage, qtbot: QtBot) -> None:
    qtbot.waitUntil(lambda: not page.controller.link.busy, timeout=WAIT)


def shown(page: PlaygroundPage) -> list[str]:
    return [column.turns[0].answer.text() for column in page.columns[:2]]


def weight(page: PlaygroundPage) -> float:
    chat_model = page.controller.conversation.chat_models[1]
    assert isinstance(chat_model, AdapterChatModel)
    return chat_model.adapters[0].weight
