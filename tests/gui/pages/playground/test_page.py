"""The playground by keyboard: columns, streaming answers, branches, votes and saved state."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QApplication, QMenu
from pytestqt.qtbot import QtBot

from lora_studio.core import formatting
from lora_studio.core.chat import (
    AdapterChatModel,
    GgufChatModel,
    OllamaChatModel,
    Sampling,
    WeightedAdapter,
)
from lora_studio.core.playground import Conversation, Playground
from lora_studio.core.problems import Problem
from lora_studio.core.project.project import Project
from lora_studio.core.protocol import events
from lora_studio.core.runs import chat_models
from lora_studio.core.runs.folder import RunFolder, create_run
from lora_studio.gui.pages.playground.dialogs import TallyDialog, TokensDialog
from lora_studio.gui.pages.playground.page import PlaygroundPage
from lora_studio.gui.project.state import ProjectState
from lora_studio.gui.window.main_window import Window
from tests.helpers.models import model_facts
from tests.helpers.runs.job_events import emit


def answered(column: int, text: str, **more: Any) -> dict[str, Any]:
    return emit(events.Answered(column=column, text=text, tokens=len(text.split()), **more))


BOTH = [
    emit(events.AnswerGrew(column=0, start=0, text="I do not", tokens=3)),
    answered(0, "I do not know."),
    answered(1, "It is on its way.", first_s=0.1, seconds=0.5),
]


@pytest.fixture
def run(project_folder: Path) -> RunFolder:
    """Return a run of the project with an adapter."""
    folder = create_run(project_folder / "runs", Project(name="support bot"), project_folder)
    folder.adapter.mkdir()
    (folder.adapter / "adapter_config.json").write_text("{}")
    return folder


@pytest.fixture
def page(
    state: ProjectState, project_folder: Path, run: RunFolder, qtbot: QtBot,
    scenario: Callable[..., None],
) -> Iterator[PlaygroundPage]:  # fmt: skip
    """Yield the page of a project with one run, the base model beside its adapter."""
    playground_page = PlaygroundPage(state)
    playground_page.resize(1000, 700)
    playground_page.show()
    state.open(project_folder)
    qtbot.waitUntil(lambda: len(playground_page.controller.conversation.chat_models) == 2)
    yield playground_page
    playground_page.stop_background_work()
    playground_page.close()
    playground_page.deleteLater()


def ask(page: PlaygroundPage, qtbot: QtBot, text: str) -> None:
    qtbot.keyClicks(page.prompt, text)
    qtbot.keyClick(page.prompt, Qt.Key.Key_Return)
    settle(page, qtbot)


def settle(page: PlaygroundPage, qtbot: QtBot) -> None:
    qtbot.waitUntil(lambda: not page.controller.link.busy)


def texts(page: PlaygroundPage) -> list[list[str]]:
    """Return the answers that each column shows."""
    count = len(page.controller.conversation.chat_models)
    return [[view.answer.text() for view in each.turns] for each in page.columns[:count]]


@pytest.mark.slow
def test_prompt_is_answered_in_every_column_and_saved(
    page: PlaygroundPage, project_folder: Path, qtbot: QtBot,
    scenario: Callable[..., None],
) -> None:  # fmt: skip
    scenario(ask_chat=BOTH)
    qtbot.keyClicks(page.prompt, "Where is my")
    qtbot.keyClick(page.prompt, Qt.Key.Key_Return, Qt.KeyboardModifier.ShiftModifier)
    ask(page, qtbot, "order?")
    assert page.controller.conversation.turns[0].user == "Where is my\norder?"
    assert texts(page) == [["I do not know."], ["It is on its way."]]
    assert page.columns[1].turns[0].facts.text() == "5 tokens · 10 tokens/s"
    assert page.prompt.text() == ""
    page.state.open(project_folder)  # the conversation is reloaded
    assert page.controller.conversation.turns == ()
    qtbot.waitUntil(lambda: len(page.controller.conversation.turns) == 1)
    assert texts(page) == [["I do not know."], ["It is on its way."]]


def test_page_created_late_loads_the_saved_conversations(
    state: ProjectState, project_folder: Path, qtbot: QtBot
) -> None:
    conversation = Conversation(draft="Half a thought")
    Playground(project_folder).save(conversation)
    state.open(project_folder)
    late = PlaygroundPage(state)
    qtbot.waitUntil(lambda: late.controller.conversation == conversation)
    late.stop_background_work()
    late.deleteLater()


def test_latest_adapter_is_preselected_until_the_user_chooses(
    page: PlaygroundPage, project_folder: Path, run: RunFolder, qtbot: QtBot
) -> None:
    later = create_run(project_folder / "runs", Project(name="support bot"), project_folder)
    later.adapter.mkdir()
    (later.adapter / "adapter_config.json").write_text("{}")
    page.controller.find_chat_models()
    latest = WeightedAdapter(folder=str(later.adapter))
    qtbot.waitUntil(lambda: page.controller.conversation.chat_models[1].adapters == (latest,))
    mine = AdapterChatModel(adapters=(WeightedAdapter(folder=str(run.adapter)),))
    page.controller.choose(1, mine)
    with qtbot.waitSignal(page.controller.store.choices_found):
        page.controller.find_chat_models()
    assert page.controller.conversation.chat_models[1] == mine


def test_columns_are_asked_with_their_history_and_sampling(
    page: PlaygroundPage, run: RunFolder, qtbot: QtBot, scenario: Callable[..., None]
) -> None:
    scenario(ask_chat=BOTH)
    sent: list[Any] = []
    page.controller.link.send, send = sent.append, page.controller.link.send
    qtbot.keyClicks(page.card.system, "Be brief.")
    page.card.panel.greedy.click()
    qtbot.keyClicks(page.prompt, "Hi")
    qtbot.keyClick(page.prompt, Qt.Key.Key_Return)
    opened, question = sent
    assert [each.kind for each in sent] == ["open_chat", "ask_chat"]
    assert opened.chat_models == page.controller.conversation.chat_models
    assert opened.chat_models[0] == AdapterChatModel()
    assert opened.chat_models[1].adapters[0].folder == str(run.adapter)
    assert [turn.role for turn in question.asked[0].messages] == ["system", "user"]
    assert question.asked[1].sampling == Sampling(temperature=0)
    page.controller.link.send = send
    page.controller.waiting = {}


def test_columns_switched_to_ollama_unload_their_models(
    page: PlaygroundPage, qtbot: QtBot, scenario: Callable[..., None]
) -> None:
    scenario(ask_chat=BOTH)
    ask(page, qtbot, "Hi")
    for column in range(2):
        page.controller.choose(column, OllamaChatModel(name="lamp"))
    sent: list[Any] = []
    page.controller.link.send, send = sent.append, page.controller.link.send
    for _ in range(2):
        page.controller.regenerate()
        page.controller._finish()
    assert [each.kind for each in sent] == ["open_chat", "ask_chat", "ask_chat"]
    assert sent[0].chat_models == ()
    page.controller.link.send = send


def test_regenerated_answer_is_kept_beside_the_first(
    page: PlaygroundPage, qtbot: QtBot, scenario: Callable[..., None]
) -> None:
    scenario(ask_chat=BOTH)
    ask(page, qtbot, "Hi")
    scenario(ask_chat=[answered(1, "Tomorrow.")])
    page.columns[1].turns[0].regenerate.click()
    settle(page, qtbot)
    assert texts(page) == [["I do not know."], ["Tomorrow."]]
    view = page.columns[1].turns[0]
    assert view.position.text() == "2 / 2"
    view.previous.click()
    assert texts(page)[1] == ["It is on its way."]
    assert page.controller.get_next_sampling(1, 0).seed == 2
    view.copy.click()
    assert QApplication.clipboard().text() == "It is on its way."


def test_edited_prompt_continues_in_a_new_branch(
    page: PlaygroundPage, qtbot: QtBot, scenario: Callable[..., None]
) -> None:
    scenario(ask_chat=BOTH)
    ask(page, qtbot, "One")
    ask(page, qtbot, "Two")
    before = page.controller.conversation
    qtbot.keyClick(page.prompt, Qt.Key.Key_Up)
    assert page.prompt.text() == "Two"
    qtbot.keyClick(page.prompt, Qt.Key.Key_Escape)
    assert page.prompt.text() == ""
    page.columns[0].turns[0].edit.click()
    ask(page, qtbot, "Three")  # the old text is selected, so typing replaces it
    assert [turn.user for turn in page.controller.conversation.turns] == ["Three"]
    assert before in page.controller.history
    page.history_menu.aboutToShow.emit()
    titles = [action.text() for action in page.history.menu().actions()]
    assert titles[0].startswith("Three")
    assert titles[1].startswith("One")
    page.history.menu().actions()[1].trigger()
    assert [turn.user for turn in page.controller.conversation.turns] == ["One", "Two"]


def test_stop_keeps_the_partial_answer(
    page: PlaygroundPage, qtbot: QtBot, scenario: Callable[..., None]
) -> None:
    refused = Problem(code="x.y", what="No such adapter.", remedy="Train again.")
    scenario(
        ask_chat=[
            emit(events.AnswerRefused(column=1, problem=refused)),
            emit(events.AnswerGrew(column=0, start=0, text="It is", tokens=2)),
            {"sleep": 60},
        ]
    )
    qtbot.keyClicks(page.prompt, "Hi")
    qtbot.keyClick(page.prompt, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: texts(page)[0] == ["It is"])
    assert not page.card.send.isVisible()
    page.start_chat(OllamaChatModel(name="bot"))  # answers in progress aren't interrupted
    assert len(page.controller.conversation.turns) == 1
    qtbot.keyClick(page.prompt, Qt.Key.Key_Escape)
    settle(page, qtbot)
    take = page.controller.conversation.turns[0].get_answers(0).current
    assert take is not None
    assert (take.text, take.ending) == ("It is", "stopped")
    assert texts(page)[1] == ["✗ No such adapter. Train again."]
    page.start_chat(OllamaChatModel(name="bot"))
    assert (page.controller.conversation.turns, page.controller.conversation.chat_models[1]) == (
        (),
        OllamaChatModel(name="bot"),
    )


def test_adapter_weights_are_blended_by_slider(
    page: PlaygroundPage, run: RunFolder, qtbot: QtBot
) -> None:
    blend = page.columns[1].blend
    slider = blend.sliders[0]
    slider.setFocus()
    qtbot.keyClick(slider, Qt.Key.Key_PageUp)
    assert blend.numbers[0].value() == 1.25
    qtbot.waitUntil(lambda: adapters(page, 1) == [(str(run.adapter), 1.25)])
    menu = page.columns[1].menu
    menu.show_choices([*page.controller.choices])
    menu.fill()
    popup = menu.findChild(QMenu, options=Qt.FindChildOption.FindDirectChildrenOnly)
    names = [action.text() for action in popup.actions()]
    assert names[:2] == ["Base model", formatting.format_run_name(run.path.name)]
    page.controller.choose(1, AdapterChatModel())
    assert not blend.isVisible()


def adapters(page: PlaygroundPage, column: int) -> list[tuple[str, float]]:
    chat_model = page.controller.conversation.chat_models[column]
    assert isinstance(chat_model, AdapterChatModel)
    return [(each.folder, each.weight) for each in chat_model.adapters]


@pytest.mark.slow
def test_blind_vote_hides_names_until_it_is_cast_and_counted(
    page: PlaygroundPage, project_folder: Path, qtbot: QtBot,
    scenario: Callable[..., None], tmp_path: Path,
) -> None:  # fmt: skip
    scenario(ask_chat=BOTH)
    page.blind.click()
    ask(page, qtbot, "Where is it?")
    shown = [page.columns[number] for number in page.blind_vote.order[:2]]
    assert [each.name.text() for each in shown] == ["Answer A", "Answer B"]
    assert not any(each.menu.isVisible() or each.blend.isVisible() for each in shown)
    assert not any(each.turns[0].facts.text() for each in shown)
    assert page.votes.isVisible()
    index = page.blind_vote.order.index(1)
    page.votes.better[index].click()
    assert all(each.menu.isVisible() for each in shown)
    qtbot.waitUntil(lambda: Playground(project_folder).votes_file.is_file())
    ask(page, qtbot, "And now?")  # a separate comparison
    assert len(page.controller.conversation.turns) == 1
    page.votes.tie.click()
    qtbot.waitUntil(lambda: len(Playground(project_folder).load_votes()) == 2)
    page.tally.click()
    qtbot.waitUntil(lambda: page.findChild(TallyDialog) is not None)
    dialog = page.findChild(TallyDialog)
    assert isinstance(dialog, TallyDialog)
    rows = [[dialog.table.item(line, index).text() for index in range(5)] for line in range(2)]
    assert rows[0][1:] == ["2", "1", "1", "75 %"]
    assert rows[1] == ["Base model", "2", "0", "1", "25 %"]
    dialog.write(str(tmp_path / "votes.csv"))
    assert "And now?" in (tmp_path / "votes.csv").read_text()
    dialog.reject()


def test_two_clicks_open_one_tally_dialog(page: PlaygroundPage, qtbot: QtBot) -> None:
    def open_ones() -> list[TallyDialog]:
        return [dialog for dialog in page.findChildren(TallyDialog) if dialog.isVisible()]

    page.tally.click()
    page.tally.click()
    qtbot.waitUntil(lambda: bool(open_ones()))
    qtbot.wait(200)  # the second answer arrives
    (dialog,) = open_ones()
    dialog.reject()
    page.tally.click()
    qtbot.waitUntil(lambda: bool(open_ones()))
    open_ones()[0].reject()


def test_prompt_tokens_are_shown_with_details(
    page: PlaygroundPage, qtbot: QtBot, scenario: Callable[..., None]
) -> None:
    tokens = (
        events.Token(id=1, text="<|user|>", state="context", special=True),
        events.Token(id=7, text="Hi", state="context"),
    )
    shown = emit(events.PromptShown(text="<|user|>Hi", tokens=tokens))
    scenario(ask_chat=BOTH, show_prompt=[shown])
    ask(page, qtbot, "Hi")
    page.columns[0].turns[0].tokens.click()
    dialog = page.findChild(TokensDialog)
    assert isinstance(dialog, TokensDialog)
    qtbot.waitUntil(lambda: dialog.view.text() == "<|user|>Hi")
    assert dialog.view.describe_token(0) == "Token 1 of 2: id 1, special  '<|user|>'"
    dialog.reject()
    settle(page, qtbot)


def test_prompt_is_added_to_sample_prompts_with_undo(page: PlaygroundPage, qtbot: QtBot) -> None:
    qtbot.keyClicks(page.prompt, "Do you ship abroad?")
    page.card.keep.click()
    page.card.keep.click()
    assert list(page.state.get("training", "sample_prompts")) == ["Do you ship abroad?"]
    page.state.undo.undo()
    assert list(page.state.get("training", "sample_prompts")) == []


def test_chat_moves_to_the_cpu_while_a_job_runs(
    page: PlaygroundPage, qtbot: QtBot, scenario: Callable[..., None]
) -> None:
    scenario(ask_chat=BOTH)
    page.state.set("model", "device", "cuda:0,cuda:1")
    ask(page, qtbot, "Hi")
    assert page.controller.link.held
    page.state.set_run(None, "train")
    assert not page.controller.link.held
    spec = page.controller.get_model_spec()
    assert spec is not None
    assert spec.device == "cpu"
    assert page.card.note.text() == "Training is using the GPU; chat runs on the CPU."
    page.state.set_run(None, "merge")
    assert page.card.note.text() == "A job is using the GPU; chat runs on the CPU."
    page.state.set_run(None, "")
    assert page.controller.get_model_spec().device == "cuda:0,cuda:1"


def test_no_note_names_the_gpu_on_a_computer_without_one(page: PlaygroundPage) -> None:
    cpu = model_facts.devices().devices[-1]
    page.state.set_answer(events.DevicesFound(devices=(cpu,)))
    page.state.set_run(None, "train")
    assert page.card.note.text() == ""


def test_busy_device_offers_to_use_the_cpu(
    page: PlaygroundPage, qtbot: QtBot, scenario: Callable[..., None]
) -> None:
    taken = {"code": "chat.device_busy", "what": "RTX 4090 is taken.", "remedy": "Wait."}
    scenario(ask_chat=[{"fail": taken}])
    ask(page, qtbot, "Hi")
    assert texts(page)[0] == ["✗ RTX 4090 is taken. Wait."]
    scenario(ask_chat=BOTH)
    page.card.use_cpu.click()
    settle(page, qtbot)
    assert page.controller.device == "cpu"
    assert texts(page)[0] == ["I do not know."]
    assert not page.card.use_cpu.isVisible()


def test_unsent_prompt_is_restored(
    page: PlaygroundPage, project_folder: Path, qtbot: QtBot
) -> None:
    qtbot.keyClicks(page.prompt, "Half a thou")
    page.save_draft()
    page.state.open(project_folder)
    assert page.prompt.text() == ""
    qtbot.waitUntil(lambda: page.prompt.text() == "Half a thou")


@pytest.mark.slow
def test_page_without_a_model_shows_a_hint_until_one_is_set(
    window: Window, project_folder: Path, qtbot: QtBot
) -> None:
    window.show_page("playground")
    assert window.playground.empty.isVisible()
    file = project_folder / "support bot.lorastudio"
    file.write_text('schema_version = 1\nname = "x"\n[model]\nsource = "./m.gguf"\n')
    (project_folder / "m.gguf").write_bytes(b"GGUF")
    window.open_project(project_folder)
    window.show_page("playground")
    assert not window.playground.empty.isVisible()
    controller = window.playground.controller
    assert controller.find_blocker() == ""
    qtbot.waitUntil(lambda: bool(controller.choices))  # the file, as llama.cpp runs it
    assert controller.choices[0].chat_model == GgufChatModel(file=str(project_folder / "m.gguf"))


@pytest.mark.slow
def test_run_opens_in_the_playground_from_the_table(
    qtbot: QtBot, window: Window, project_folder: Path, run: RunFolder
) -> None:
    window.open_project(project_folder)
    window.show_page("runs")
    qtbot.waitUntil(lambda: window.runs.table.rows.rowCount() == 1)
    window.runs.table.choose([run.path.name])
    window.runs.run_actions.actions["chat"].trigger()
    assert window.page_name == "playground"
    assert (
        chat_models.create_adapter_chat_model(run.adapter)
        in window.playground.controller.conversation.chat_models
    )
