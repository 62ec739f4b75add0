"""The judge on the Evaluate page: chosen, shown what it is sent, and its result."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from pytestqt.qtbot import QtBot

from lora_studio.core.chat import AdapterChatModel
from lora_studio.core.evaluation.plan import build_judge_prompt
from lora_studio.core.playground import Playground, Vote
from lora_studio.core.protocol import commands, events
from lora_studio.core.runs.chat_models import create_adapter_chat_model
from lora_studio.core.runs.folder import RunFolder
from lora_studio.gui.pages.evaluation.page import EvaluationPage
from tests.gui.conftest import WAIT
from tests.helpers.runs.planted_evaluation import make_task_items, plant


def test_judge_is_off_until_chosen_and_shows_its_text(
    qtbot: QtBot, page: EvaluationPage, show: Callable[..., None]
) -> None:
    show(evaluations=0)
    form, judge = page.setup_form, page.setup_form.judge
    assert form.make_plan().judge is None
    with qtbot.waitSignal(page.ask, timeout=WAIT) as asked:
        judge.switch.setChecked(True)
    assert isinstance(asked.args[0], commands.InspectOllama)
    assert page.header.primary.toolTip() == "Enter the name of the model on the server."
    page.on_event(
        events.OllamaFound(host="http://127.0.0.1:11434", version="1", models=("judge:8b",))
    )
    judge.editor.name.setCurrentIndex(0)
    judge.criteria.setPlainText("The shorter answer is better.")
    item = make_task_items(1)[0]
    page.on_event(events.TestSetsInspected(test_sets=(), items=(item,)))
    first, second = "(answer of Base model)", "(answer of Adapter)"
    assert judge.prompt.text() == build_judge_prompt(
        item, first, second, "The shorter answer is better."
    )
    settings = form.make_plan().judge
    assert settings is not None
    assert settings.model_dump() == {
        "model": {"kind": "ollama", "name": "judge:8b", "host": "http://127.0.0.1:11434"},
        "baseline": "base",
        "criteria": "The shorter answer is better.",
    }  # fmt: skip


def test_an_invalid_address_or_a_key_is_refused(
    page: EvaluationPage, show: Callable[..., None]
) -> None:
    show(evaluations=0)
    judge, editor = page.setup_form.judge, page.setup_form.judge.editor
    judge.switch.setChecked(True)
    editor.kind.setCurrentIndex(1)
    editor.kind.activated.emit(1)
    editor.name.setEditText("judge")
    for address, variable, reason in (
        ("example.org/v1", "", "Enter an address such as"),
        ("https://user:pass@example.org/v1", "", "without a password"),
        ("https://example.org/v1", "sk-abc-123", "Enter the name of the environment variable"),
    ):
        editor.address.setText(address)
        editor.key_variable.setText(variable)
        editor.address.textEdited.emit(address)
        assert reason in editor.error.text()
        assert judge.make_settings() is None
        assert not page.header.primary.isEnabled()
    editor.key_variable.setText("JUDGE_KEY")
    editor.address.textEdited.emit("")
    settings = judge.make_settings()
    assert settings is not None
    assert settings.model.kind == "server"
    assert "another computer" in editor.note.text()
    assert not editor.note.isHidden()


@pytest.mark.slow
def test_result_says_how_often_each_model_was_preferred(
    page: EvaluationPage, evaluated: RunFolder, show: Callable[..., None]
) -> None:
    plant(evaluated, general=10, judged=True)
    show()
    sentence = next(each for each in page.verdict.sentences if each.startswith("Judge judge:8b: "))
    assert sentence.startswith("Judge judge:8b: Preferred in ")
    assert " of 59 comparisons (" in sentence
    assert len(page.preferences.texts) == 2
    assert page.preferences.texts[0].startswith("Adapter compared with Base model: Preferred in ")
    assert page.preferences.texts[0].endswith("1 without a verdict")
    page.rows.choose("fixed")
    text = page.rows.answers.text.toPlainText()
    assert "Judge: Base model and Adapter  ·  Adapter is better" in text
    assert "In the other order: [[A]]" in text


def test_a_model_on_a_server_becomes_a_column(
    page: EvaluationPage, show: Callable[..., None]
) -> None:
    show(evaluations=0)
    menu = page.setup_form.menu
    menu.ask_for_server_model()
    editor = menu._editor
    assert editor is not None
    page.on_event(
        events.OllamaFound(host="http://127.0.0.1:11434", version="1", models=("other:1b",))
    )
    assert editor.name.itemText(0) == "other:1b"
    dialog = editor.window()
    assert not dialog.add.isEnabled()
    editor.kind.setCurrentIndex(1)
    editor.kind.activated.emit(1)
    editor.address.setText("http://127.0.0.1:8000/v1/")
    editor.name.setEditText("served")
    dialog.add.click()
    column = page.setup_form.make_plan().columns[-1]
    assert (column.key, column.title) == ("served", "served")
    assert column.model.model_dump() == {
        "kind": "server", "address": "http://127.0.0.1:8000/v1", "name": "served", "key_variable": "",
    }  # fmt: skip
    assert not column.can_measure_logprobs


@pytest.mark.slow
def test_blind_votes_of_the_playground_are_a_result(
    page: EvaluationPage, evaluated: RunFolder, show: Callable[..., None]
) -> None:
    plant(evaluated, general=10)
    playground = Playground(evaluated.path.parent.parent)
    chat_models = (AdapterChatModel(), create_adapter_chat_model(evaluated.adapter))
    for winner in (1, 1, 1, 0, None):
        playground.vote(
            Vote(
                prompt="?",
                names=("Base model", "x"),
                answers=("a", "b"),
                winner=winner,
                chat_models=chat_models,
            )
        )
    show()
    sentence = "Preferred in 70 % of 5 comparisons (34–91 %): 3 wins, 1 loss, 1 tie"
    assert f"Blind votes in the Playground: {sentence}" in page.verdict.sentences
    assert page.preferences.texts == [f"Adapter compared with Base model: {sentence}"]
