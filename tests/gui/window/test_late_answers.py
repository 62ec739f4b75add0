"""Answers that arrive late, twice or out of order."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtCore import QObject, Signal
from pytestqt.qtbot import QtBot

from lora_studio.core.chat import AdapterChatModel, WeightedAdapter
from lora_studio.core.playground import Conversation, Turn
from lora_studio.core.problems import Problem, Where
from lora_studio.core.project.project import Project
from lora_studio.core.protocol import commands, events
from lora_studio.core.runs import chat_models, folder
from lora_studio.core.runs.chat_models import ChatModelGroup, ChatModelOption
from lora_studio.gui.jobs import query_workers
from lora_studio.gui.pages.playground.chat_controller import ChatController
from lora_studio.gui.preferences import Preferences
from lora_studio.gui.threads import BackgroundReader
from lora_studio.gui.window.main_window import Window
from lora_studio.gui.window.wiring import make_window
from tests.gui.conftest import WAIT
from tests.helpers.models import model_facts

GATED = Problem(
    code="model.gated", what="It is gated.", remedy="Sign in.",
    where=Where(step="model", field="source"),
)  # fmt: skip
PLAN = events.MergePlanned(
    bytes=9, missing=9, free=99, memory=9, dtype="bf16", shards=1, tensors=8, tensors_changed=4
)


class Lane(QObject):
    """A fake worker thread whose events come when and in the order that the test chooses."""

    event_received = Signal(object)
    ended = Signal()
    created: list[Lane]

    @classmethod
    def create(cls) -> Lane:
        lane = cls()
        lane.sent, lane.killed = [], False
        cls.created.append(lane)
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


class InspectionSession:
    """A window with its real pages over fake worker threads."""

    def __init__(self, window: Window) -> None:
        self.window, self.state = window, window.state

    def questions(self, kind: str) -> list[Any]:
        """Return the questions to all live threads, latest last."""
        sent = [question for lane in Lane.created for question in lane.sent if not lane.killed]
        return [question for question in sent if question.kind == kind]

    def lane(self, question: Any) -> Lane:
        return next(lane for lane in reversed(Lane.created) if question in lane.sent)

    def tell(self, question: Any, *answers: events.Event) -> None:
        """Emit events although the question may be outdated."""
        for event in answers:
            self.lane(question).event_received.emit(event.model_copy(update={"id": question.id}))

    def answer(self, question: Any, *answers: events.Event) -> None:
        self.tell(question, *answers, events.Done())


@pytest.fixture
def session(
    qtbot: QtBot, monkeypatch: pytest.MonkeyPatch, project_folder: Path,
    scenario: Callable[..., None],
) -> Iterator[InspectionSession]:  # fmt: skip
    """Yield a window whose query workers were asked about a model and a dataset."""
    Lane.created = []
    monkeypatch.setattr(query_workers, "WorkerThread", Lane)
    window = make_window(Preferences())
    window.show()
    window.open_project(project_folder)
    for page in ("model", "dataset"):
        window.show_page(page)
    opened = InspectionSession(window)
    qtbot.waitUntil(lambda: bool(opened.questions("inspect_model")))
    yield opened
    window.state.undo.setClean()
    window.close()
    window.deleteLater()


def latest(session: InspectionSession, kind: str) -> Any:
    return session.questions(kind)[-1]


# --- about what was chosen before -----------------------------------------------------------------


@pytest.mark.slow
def test_facts_of_the_previous_model_are_dropped(session: InspectionSession) -> None:
    before = latest(session, "inspect_model")
    session.state.set("model", "source", "org/other")
    session.answer(before, model_facts.model(missing_bytes=10**9))
    assert session.state.facts.model is None
    page = session.window.pages["model"]
    assert not page.download.start.isVisibleTo(page)


@pytest.mark.slow
def test_facts_are_dropped_when_the_new_source_is_missing(session: InspectionSession) -> None:
    before = latest(session, "inspect_model")
    session.state.set("model", "source", "./nowhere")  # no question is sent about it
    session.answer(before, model_facts.model())
    assert session.state.facts.model is None


@pytest.mark.slow
def test_problem_of_the_previous_model_is_dropped(
    session: InspectionSession,
) -> None:
    before = latest(session, "inspect_model")
    session.state.set("model", "source", "org/other")
    session.tell(before, events.Failed(problem=GATED))
    assert not session.state.list_problems("model", "source")


@pytest.mark.slow
def test_model_restored_by_undo_is_inspected_again(
    session: InspectionSession, qtbot: QtBot
) -> None:
    before = latest(session, "inspect_model")
    session.state.set("model", "source", "org/other")
    session.state.undo.undo()
    session.answer(before, model_facts.model())
    qtbot.waitUntil(lambda: latest(session, "inspect_model") != before)
    session.answer(latest(session, "inspect_model"), model_facts.model())
    assert session.state.facts.model is not None


@pytest.mark.slow
def test_rows_of_a_removed_source_do_not_come_back(session: InspectionSession) -> None:
    question = latest(session, "inspect_dataset")
    session.tell(question, model_facts.dataset(complete=False))
    assert session.state.facts.dataset is not None
    session.state.set("dataset", "sources", [])
    session.answer(question, model_facts.dataset())
    assert session.state.facts.dataset is None


@pytest.mark.slow
def test_lengths_and_findings_of_the_previous_rows_are_dropped(
    session: InspectionSession, project_folder: Path
) -> None:
    session.answer(latest(session, "inspect_model"), model_facts.model())
    session.answer(latest(session, "inspect_dataset"), model_facts.dataset())
    session.window.show_page("dataset")
    measuring, linting = latest(session, "measure_dataset"), latest(session, "lint_dataset")
    (project_folder / "other.jsonl").write_text("{}\n")
    session.state.set("dataset", "sources", [{"path": "other.jsonl"}])
    session.answer(measuring, model_facts.lengths())
    session.answer(linting, model_facts.findings())
    assert session.state.facts.lengths is None
    assert session.state.facts.findings is None


@pytest.mark.slow
def test_progress_of_the_previous_inspection_is_cleared(
    session: InspectionSession, project_folder: Path
) -> None:
    question = latest(session, "inspect_dataset")
    session.tell(question, events.Progress(stage="Reading rows.jsonl", done=50, total=100, eta_s=3))
    page: Any = session.window.pages["dataset"]
    assert "50 %" in page.status.words.text()
    (project_folder / "other.jsonl").write_text("{}\n")
    session.state.set("dataset", "sources", [{"path": "other.jsonl"}])
    assert "50 %" not in page.status.words.text()


@pytest.mark.slow
def test_export_sizes_of_the_previous_model_are_dropped(session: InspectionSession) -> None:
    session.answer(latest(session, "inspect_model"), model_facts.model())
    session.window.show_page("export")
    question = latest(session, "estimate_sizes")
    session.state.set("model", "source", "org/other")
    session.answer(question, model_facts.sizes())
    page: Any = session.window.pages["export"]
    assert page.sizes is None


@pytest.mark.slow
def test_merge_plan_of_the_previous_run_is_dropped(
    session: InspectionSession, project_folder: Path
) -> None:
    page: Any = session.window.pages["merging"]
    first, second = (
        folder.create_run(project_folder / "runs", Project(name=name), project_folder)
        for name in ("a", "b")
    )
    session.state.set_run(first)
    page.on_event(events.AdapterSaved(folder=str(first.adapter), bytes=9, step=1))
    page.on_shown()
    question = latest(session, "plan_merge")
    session.state.set_run(second)
    session.answer(question, PLAN)
    assert page.plan is None


@pytest.mark.slow
def test_failed_download_is_not_shown_for_another_model(
    session: InspectionSession, qtbot: QtBot
) -> None:
    page: Any = session.window.pages["model"]
    session.answer(latest(session, "inspect_model"), model_facts.model(missing_bytes=10**9))
    page.download.start.click()
    question = latest(session, "download_model")
    session.state.set("model", "source", "org/other")
    qtbot.waitUntil(lambda: latest(session, "inspect_model").model.source == "org/other")
    session.answer(latest(session, "inspect_model"), model_facts.model(missing_bytes=10**6))
    session.tell(question, events.Failed(problem=GATED))
    assert page.download.status.text() == ""
    assert not page.download.page.isVisibleTo(page)
    assert "It is gated." in session.window.toasts.text


# --- workers that are replaced ------------------------------------------------------------------


@pytest.mark.slow
def test_pending_question_moves_to_the_replacement_worker(
    session: InspectionSession,
) -> None:
    question = latest(session, "inspect_dataset")
    lane = session.lane(question)
    session.window.query_workers.restart_workers()
    assert lane.killed
    assert not session.state.list_problems("dataset"), "a killed worker isn't reported as a problem"
    session.window.query_workers.restart_workers()  # offline mode switched on and off quickly
    lane.ended.emit()
    assert session.questions("inspect_dataset") == [question]
    session.answer(question, model_facts.dataset())
    assert session.state.facts.dataset is not None


@pytest.mark.slow
def test_no_worker_starts_while_the_engine_is_being_moved(session: InspectionSession) -> None:
    engine = session.window.engine
    question = latest(session, "inspect_dataset")
    before = list(Lane.created)
    engine.clearing.emit()
    for lane in before:
        lane.ended.emit()
    session.window.query_workers.ask(commands.InspectOllama())
    session.window.query_workers.prepare_worker("read_rows")
    assert Lane.created == before
    engine.changed.emit()  # it was moved
    assert session.questions("inspect_dataset") == [question]
    assert len(session.questions("inspect_ollama")) == 1


# --- the account at the hub -----------------------------------------------------------------------


@pytest.mark.slow
def test_sign_in_is_noticed_despite_a_concurrent_account_check(session: InspectionSession) -> None:
    page: Any = session.window.pages["model"]
    page.sign_in()
    page.account.dialog.token_entered.emit("hf_x")
    page.account.dialog.reject()
    page.browser.show_source("hub")  # the first account check
    session.answer(latest(session, "sign_in"), events.AccountFound(name="pim", has_token=True))
    assert page.account.current.name == "pim"
    assert page.account.was_changed_by_user


# --- the playground -------------------------------------------------------------------------------


@pytest.fixture
def controller(session: InspectionSession) -> ChatController:
    return session.window.playground.controller


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
    controller.add_column(AdapterChatModel())
    controller.send("Hi")
    receive, question = controller.link.event_received.emit, sent[-1].id
    receive(events.Answered(id=question, column=0, text="One.", tokens=1))
    controller.remove_column(0)
    receive(events.Answered(id=question, column=1, text="Two.", tokens=1))
    receive(events.Done(id=question))
    answers = [controller.conversation.turns[0].get_answers(column).current for column in (0, 1)]
    assert [take.text if take else "" for take in answers] == ["One.", "Two."]


@pytest.mark.slow
def test_answer_belongs_to_the_chat_model_that_was_asked(
    controller: ChatController, sent: list[Any]
) -> None:
    controller.send("Hi")
    asked_of = controller.conversation.chat_models[0]
    controller.choose(0, AdapterChatModel(adapters=(WeightedAdapter(folder="/elsewhere"),)))
    answer = events.Answered(id=sent[-1].id, column=0, text="One.", tokens=1)
    controller.link.event_received.emit(answer)
    take = controller.conversation.turns[0].get_answers(0).current
    assert take is not None
    assert take.chat_model == asked_of


@pytest.mark.slow
def test_history_loaded_late_keeps_the_current_conversation(
    controller: ChatController,
) -> None:
    chosen = AdapterChatModel(adapters=(WeightedAdapter(folder="/mine"),))
    controller.choose(0, chosen)
    earlier = Conversation(turns=(Turn(user="Hi"),))
    controller.store.loaded.emit([earlier])
    assert controller.conversation.chat_models[0] == chosen
    assert earlier in controller.history


@pytest.mark.slow
def test_chat_model_options_come_from_the_latest_scan(
    controller: ChatController, project_folder: Path, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    deliveries: list[list[ChatModelOption]] = []
    new_scan_delivered = threading.Event()
    new, old = (
        ChatModelOption(ChatModelGroup.LIBRARY, name, AdapterChatModel()) for name in ("new", "old")
    )

    def find(folders: tuple[str, ...]) -> list[ChatModelOption]:
        if folders == ("/new",):
            return [new]
        new_scan_delivered.wait(WAIT / 1000)
        return [old]

    store = controller.store
    qtbot.waitUntil(lambda: not store.findChildren(BackgroundReader))
    store.choices_found.connect(deliveries.append)
    monkeypatch.setattr(chat_models, "iter_library_chat_models", find)
    for folder_name in ("/old", "/new"):
        store.find_chat_models(project_folder / "runs", "", (folder_name,))
    qtbot.waitUntil(lambda: deliveries == [[new]])
    new_scan_delivered.set()
    qtbot.waitUntil(lambda: not store.findChildren(BackgroundReader))
    assert deliveries == [[new]]


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
