"""Answers that arrive late, twice or out of order."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtCore import QObject, Signal
from pytestqt.qtbot import QtBot

from lora_studio.core.chat import AdapterSpeaker, WeightedAdapter
from lora_studio.core.playground import Conversation, Turn
from lora_studio.core.problems import Problem, Where
from lora_studio.core.project.project import Project
from lora_studio.core.protocol import commands, events
from lora_studio.core.runs import folder, speakers
from lora_studio.core.runs.speakers import SpeakerGroup, SpeakerOption
from lora_studio.gui.jobs import inspector
from lora_studio.gui.pages.playground.chat_controller import ChatController
from lora_studio.gui.preferences import Preferences
from lora_studio.gui.threads import BackgroundReader
from lora_studio.gui.window.main_window import Window
from lora_studio.gui.window.wiring import make_window
from tests.gui.conftest import WAIT
from tests.helpers import model_facts

GATED = Problem(
    code="model.gated", what="It is gated.", remedy="Sign in.",
    where=Where(step="model", field="source"),
)  # fmt: skip
PLAN = events.MergePlanned(
    bytes=9, missing=9, free=99, memory=9, dtype="bf16", shards=1, tensors=8, tensors_changed=4
)


class Lane(QObject):
    """A fake worker thread whose events come when and in the order that the test wants."""

    event_received = Signal(object)
    ended = Signal()
    made: list[Lane]

    @classmethod
    def create(cls) -> Lane:
        lane = cls()
        lane.sent, lane.killed = [], False
        cls.made.append(lane)
        return lane

    def start(self) -> None:
        pass

    def send(self, command: Any) -> None:
        self.sent.append(command)

    def cancel(self, target: str) -> None:
        self.sent.append(commands.Cancel(target=target))

    def kill(self) -> None:
        """Fail the open question; like a real thread, end a moment later."""
        self.killed = True
        crashed = Problem(code="worker.crashed", what="It was killed.", remedy="Again.")
        for question in self.sent:
            self.event_received.emit(events.Failed(id=question.id, problem=crashed))

    def wait(self, *_: object) -> bool:
        return True


class Asked:
    """A window with its real pages over fake worker threads."""

    def __init__(self, window: Window) -> None:
        self.window, self.state = window, window.state

    def questions(self, kind: str) -> list[Any]:
        """Return the questions to all live threads, latest last."""
        sent = [question for lane in Lane.made for question in lane.sent if not lane.killed]
        return [question for question in sent if question.kind == kind]

    def lane(self, question: Any) -> Lane:
        return next(lane for lane in reversed(Lane.made) if question in lane.sent)

    def tell(self, question: Any, *found: events.Event) -> None:
        """Emit events although the question may be outdated."""
        for event in found:
            self.lane(question).event_received.emit(event.model_copy(update={"id": question.id}))

    def answer(self, question: Any, *found: events.Event) -> None:
        self.tell(question, *found, events.Done())


@pytest.fixture
def asked(
    qtbot: QtBot, monkeypatch: pytest.MonkeyPatch, project_folder: Path,
    scenario: Callable[..., None],
) -> Iterator[Asked]:  # fmt: skip
    """Yield a window whose inspector was asked about a model and a dataset."""
    Lane.made = []
    monkeypatch.setattr(inspector, "WorkerThread", Lane)
    window = make_window(Preferences())
    window.show()
    window.open_project(project_folder)
    for place in ("model", "dataset"):
        window.show_page(place)
    found = Asked(window)
    qtbot.waitUntil(lambda: bool(found.questions("inspect_model")), timeout=WAIT)
    yield found
    window.state.undo.setClean()
    window.close()
    window.deleteLater()


def latest(asked: Asked, kind: str) -> Any:
    return asked.questions(kind)[-1]


# --- about what was chosen before -----------------------------------------------------------------


@pytest.mark.slow
def test_facts_of_the_previous_model_are_dropped(asked: Asked) -> None:
    before = latest(asked, "inspect_model")
    asked.state.set("model", "source", "org/other")
    asked.answer(before, model_facts.model(missing_bytes=10**9))
    assert asked.state.facts.model is None
    page = asked.window.pages["model"]
    assert not page.download.start.isVisibleTo(page)  # type: ignore[attr-defined]


@pytest.mark.slow
def test_facts_are_dropped_when_the_new_source_is_missing(asked: Asked) -> None:
    before = latest(asked, "inspect_model")
    asked.state.set("model", "source", "./nowhere")  # nothing is asked about it
    asked.answer(before, model_facts.model())
    assert asked.state.facts.model is None


@pytest.mark.slow
def test_problem_of_the_previous_model_is_dropped(
    asked: Asked,
) -> None:
    before = latest(asked, "inspect_model")
    asked.state.set("model", "source", "org/other")
    asked.tell(before, events.Failed(problem=GATED))
    assert not asked.state.list_problems("model", "source")


@pytest.mark.slow
def test_model_restored_by_undo_is_inspected_again(asked: Asked, qtbot: QtBot) -> None:
    before = latest(asked, "inspect_model")
    asked.state.set("model", "source", "org/other")
    asked.state.undo.undo()
    asked.answer(before, model_facts.model())
    qtbot.waitUntil(lambda: latest(asked, "inspect_model") != before, timeout=WAIT)
    asked.answer(latest(asked, "inspect_model"), model_facts.model())
    assert asked.state.facts.model is not None


@pytest.mark.slow
def test_rows_of_a_removed_source_do_not_come_back(asked: Asked) -> None:
    question = latest(asked, "inspect_dataset")
    asked.tell(question, model_facts.dataset(complete=False))
    assert asked.state.facts.dataset is not None
    asked.state.set("dataset", "sources", [])
    asked.answer(question, model_facts.dataset())
    assert asked.state.facts.dataset is None


@pytest.mark.slow
def test_lengths_and_findings_of_the_previous_rows_are_dropped(
    asked: Asked, project_folder: Path
) -> None:
    asked.answer(latest(asked, "inspect_model"), model_facts.model())
    asked.answer(latest(asked, "inspect_dataset"), model_facts.dataset())
    asked.window.show_page("dataset")
    measuring, linting = latest(asked, "measure_dataset"), latest(asked, "lint_dataset")
    (project_folder / "other.jsonl").write_text("{}\n")
    asked.state.set("dataset", "sources", [{"path": "other.jsonl"}])
    asked.answer(measuring, model_facts.lengths())
    asked.answer(linting, model_facts.findings())
    assert asked.state.facts.lengths is None
    assert asked.state.facts.findings is None


@pytest.mark.slow
def test_progress_of_the_previous_inspection_is_cleared(asked: Asked, project_folder: Path) -> None:
    question = latest(asked, "inspect_dataset")
    asked.tell(question, events.Progress(stage="Reading rows.jsonl", done=50, total=100, eta_s=3))
    page: Any = asked.window.pages["dataset"]
    assert "50 %" in page.status.words.text()
    (project_folder / "other.jsonl").write_text("{}\n")
    asked.state.set("dataset", "sources", [{"path": "other.jsonl"}])
    assert "50 %" not in page.status.words.text()


@pytest.mark.slow
def test_export_sizes_of_the_previous_model_are_dropped(asked: Asked) -> None:
    asked.answer(latest(asked, "inspect_model"), model_facts.model())
    asked.window.show_page("export")
    question = latest(asked, "estimate_sizes")
    asked.state.set("model", "source", "org/other")
    asked.answer(question, model_facts.sizes())
    page: Any = asked.window.pages["export"]
    assert page.sizes is None


@pytest.mark.slow
def test_merge_plan_of_the_previous_run_is_dropped(asked: Asked, project_folder: Path) -> None:
    page: Any = asked.window.pages["merging"]
    first, second = (
        folder.create_run(project_folder / "runs", Project(name=name), project_folder)
        for name in ("a", "b")
    )
    asked.state.set_run(first)
    page.on_event(events.AdapterSaved(folder=str(first.adapter), bytes=9, step=1))
    page.on_shown()
    question = latest(asked, "plan_merge")
    asked.state.set_run(second)
    asked.answer(question, PLAN)
    assert page.plan is None


@pytest.mark.slow
def test_failed_download_is_not_shown_for_another_model(asked: Asked, qtbot: QtBot) -> None:
    page: Any = asked.window.pages["model"]
    asked.answer(latest(asked, "inspect_model"), model_facts.model(missing_bytes=10**9))
    page.download.start.click()
    question = latest(asked, "download_model")
    asked.state.set("model", "source", "org/other")
    qtbot.waitUntil(
        lambda: latest(asked, "inspect_model").model.source == "org/other", timeout=WAIT
    )
    asked.answer(latest(asked, "inspect_model"), model_facts.model(missing_bytes=10**6))
    asked.tell(question, events.Failed(problem=GATED))
    assert page.download.status.text() == ""
    assert not page.download.page.isVisibleTo(page)
    assert "It is gated." in asked.window.message_bar.text


# --- workers that are replaced ------------------------------------------------------------------


@pytest.mark.slow
def test_pending_question_moves_to_the_replacement_worker(
    asked: Asked,
) -> None:
    question = latest(asked, "inspect_dataset")
    lane = asked.lane(question)
    asked.window.inspector.restart_workers()
    assert lane.killed
    assert not asked.state.list_problems("dataset"), "that it was killed is no answer"
    asked.window.inspector.restart_workers()  # offline mode on and off at once
    lane.ended.emit()
    assert asked.questions("inspect_dataset") == [question]
    asked.answer(question, model_facts.dataset())
    assert asked.state.facts.dataset is not None


@pytest.mark.slow
def test_no_worker_starts_while_the_engine_is_being_moved(asked: Asked) -> None:
    engine = asked.window.engine
    question = latest(asked, "inspect_dataset")
    before = list(Lane.made)
    engine.clearing.emit()
    for lane in before:
        lane.ended.emit()
    asked.window.inspector.ask(commands.InspectOllama())
    asked.window.inspector.prepare_worker("read_rows")
    assert Lane.made == before
    engine.changed.emit()  # it was moved
    assert asked.questions("inspect_dataset") == [question]
    assert len(asked.questions("inspect_ollama")) == 1


# --- the account at the hub -----------------------------------------------------------------------


@pytest.mark.slow
def test_sign_in_is_noticed_despite_a_concurrent_account_check(asked: Asked) -> None:
    page: Any = asked.window.pages["model"]
    page.sign_in()
    page.account.dialog.token_entered.emit("hf_x")
    page.account.dialog.reject()
    page.browser.show_source("hub")  # the first look at the account
    asked.answer(latest(asked, "sign_in"), events.AccountFound(name="pim", has_token=True))
    assert page.account.current.name == "pim"
    assert page.account.was_changed_by_user


# --- the playground -------------------------------------------------------------------------------


@pytest.fixture
def controller(asked: Asked) -> ChatController:
    return asked.window.playground.controller


@pytest.fixture
def sent(controller: ChatController, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Return the commands that the controller sends; no worker gets them."""
    commands_sent: list[Any] = []
    monkeypatch.setattr(controller.link, "send", commands_sent.append)
    return commands_sent


@pytest.mark.slow
def test_column_is_not_removed_while_another_awaits_an_answer(
    controller: ChatController, sent: list[Any]
) -> None:
    controller.add_column(AdapterSpeaker())
    controller.send("Hi")
    receive, question = controller.link.event_received.emit, sent[-1].id
    receive(events.Answered(id=question, column=0, text="One.", tokens=1))
    controller.remove_column(0)
    receive(events.Answered(id=question, column=1, text="Two.", tokens=1))
    receive(events.Done(id=question))
    said = [controller.conversation.turns[0].get_answers(column).current for column in (0, 1)]
    assert [take.text if take else "" for take in said] == ["One.", "Two."]


@pytest.mark.slow
def test_answer_belongs_to_the_speaker_that_was_asked(
    controller: ChatController, sent: list[Any]
) -> None:
    controller.send("Hi")
    asked_of = controller.conversation.speakers[0]
    controller.choose(0, AdapterSpeaker(adapters=(WeightedAdapter(folder="/elsewhere"),)))
    answer = events.Answered(id=sent[-1].id, column=0, text="One.", tokens=1)
    controller.link.event_received.emit(answer)
    take = controller.conversation.turns[0].get_answers(0).current
    assert take is not None
    assert take.speaker == asked_of


@pytest.mark.slow
def test_history_loaded_late_keeps_the_current_conversation(
    controller: ChatController,
) -> None:
    chosen = AdapterSpeaker(adapters=(WeightedAdapter(folder="/mine"),))
    controller.choose(0, chosen)
    earlier = Conversation(turns=(Turn(user="Hi"),))
    controller.store.loaded.emit([earlier])
    assert controller.conversation.speakers[0] == chosen
    assert earlier in controller.history


@pytest.mark.slow
def test_speaker_options_come_from_the_latest_scan(
    controller: ChatController, project_folder: Path, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[list[SpeakerOption]] = []
    new_scan_delivered = threading.Event()
    new, old = (
        SpeakerOption(SpeakerGroup.LIBRARY, name, AdapterSpeaker()) for name in ("new", "old")
    )

    def find(folders: tuple[str, ...]) -> list[SpeakerOption]:
        if folders == ("/new",):
            return [new]
        new_scan_delivered.wait(WAIT / 1000)
        return [old]

    store = controller.store
    qtbot.waitUntil(lambda: not store.findChildren(BackgroundReader), timeout=WAIT)
    store.choices_found.connect(told.append)
    monkeypatch.setattr(speakers, "iter_library_speakers", find)
    for folder_name in ("/old", "/new"):
        store.find_speakers(project_folder / "runs", "", (folder_name,))
    qtbot.waitUntil(lambda: told == [[new]], timeout=WAIT)
    new_scan_delivered.set()
    qtbot.waitUntil(lambda: not store.findChildren(BackgroundReader), timeout=WAIT)
    assert told == [[new]]


@pytest.mark.slow
def test_prompt_tokens_of_an_earlier_request_are_dropped(
    controller: ChatController, sent: list[Any]
) -> None:
    shown: list[object] = []
    controller.prompt_shown.connect(shown.append)
    controller.send("Hi")
    controller.ask_prompt(0, 0)
    controller.ask_prompt(0, 0)
    first, second = sent[-2:]
    controller.link.event_received.emit(events.Failed(id=first.id, problem=GATED))
    assert shown == []
    controller.link.event_received.emit(events.Failed(id=second.id, problem=GATED))
    assert len(shown) == 1
