"""Finding a model by keyboard and mouse: places, search, downloads, tokens, offline mode."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QLineEdit
from pytestqt.qtbot import QtBot

from lora_studio.core.messages import text
from lora_studio.core.problems import Problem, Where
from lora_studio.core.protocol import commands, events
from lora_studio.core.system import offline
from lora_studio.gui.pages.model.model_list import describe, fit_verdict
from lora_studio.gui.pages.model.page import ModelPage
from lora_studio.gui.preferences import Preferences
from lora_studio.gui.problems.suggested_actions import suggest_action
from lora_studio.gui.project.state import ProjectState
from tests.helpers import model_facts, model_lists

SECRET = "hf_of_the_window"


class Worker:
    """Stands where the inspector does: keeps questions, answers the last one of a kind."""

    def __init__(self, page: ModelPage) -> None:
        self.page = page
        self.asked: list[Any] = []
        self.dropped: list[str] = []
        page.ask.connect(self.asked.append)
        page.question_dropped.connect(self.dropped.append)

    def last(self, kind: str) -> Any:
        return [question for question in self.asked if question.kind == kind][-1]

    def tell(self, kind: str, *found: events.Event, ending: events.Event | None = None) -> None:
        about_ = self.last(kind).id
        for event in (*found, *([ending] if ending else [])):
            own = event.model_copy(update={"id": about_})
            self.page.state.set_answer(own)
            self.page.on_event(own)

    def answer(self, kind: str, *found: events.Event) -> None:
        self.tell(kind, *found, ending=events.Done())

    def fail(self, kind: str, code: str, what: str = "It failed.") -> None:
        where = Where(step="model", field="source")
        problem = Problem(code=code, what=what, remedy="Do this.", where=where)
        self.tell(kind, ending=events.Failed(problem=problem))


@pytest.fixture
def page(qtbot: QtBot, state: ProjectState, project_folder: Path) -> Iterator[ModelPage]:
    assert state.open(project_folder)
    made = ModelPage(state, Preferences())
    qtbot.addWidget(made)
    made.resize(1180, 720)
    made.show()
    qtbot.waitExposed(made)
    yield made
    state.undo.setClean()


@pytest.fixture
def worker(page: ModelPage) -> Worker:
    made = Worker(page)
    page.on_shown()
    return made


def titles(page: ModelPage) -> list[str]:
    lines = page.browser.list.lines
    return [lines.index(i).data() for i in range(lines.rowCount())]


def found_here(worker: Worker) -> None:
    """The three places with something in them, and one without."""
    for answer in (model_lists.folder(), model_lists.cache(), model_lists.ollama()):
        worker.answer("list_models", answer)
    worker.answer("list_models", events.ModelsFound(place="lm_studio", models=()))


def test_every_place_is_looked_through_one_after_another_and_once(worker: Worker) -> None:
    found_here(worker)
    places = [question.place for question in worker.asked if question.kind == "list_models"]
    assert places == ["folder", "cache", "ollama", "lm_studio"]
    worker.page.on_shown()
    assert len([q for q in worker.asked if q.kind == "list_models"]) == 4


def test_models_are_chosen_by_keyboard_and_what_is_no_base_is_not(
    qtbot: QtBot, page: ModelPage, worker: Worker
) -> None:
    found_here(worker)
    page.browser.sources.setFocus()
    qtbot.keyClick(page.browser.sources, Qt.Key.Key_Down)
    assert titles(page) == [
        "HuggingFaceTB/SmolLM2-360M-Instruct",
        "Qwen/Qwen3-4B",
        "BAAI/bge-small-en",
    ]
    models = page.browser.list
    models.setFocus()
    for key in (Qt.Key.Key_Down, Qt.Key.Key_End):
        qtbot.keyClick(models, key)
    qtbot.keyClick(models, Qt.Key.Key_Return)
    assert page.state.get("model", "source") == "./model", "an encoder is not taken"
    qtbot.keyClick(models, Qt.Key.Key_Home)
    qtbot.keyClick(models, Qt.Key.Key_Return)
    assert page.state.get("model", "source") == "HuggingFaceTB/SmolLM2-360M-Instruct"
    page.state.undo.undo()
    assert page.state.get("model", "source") == "./model"


def test_a_click_takes_the_blob_of_ollama_as_a_gguf_file(
    qtbot: QtBot, page: ModelPage, worker: Worker
) -> None:
    found_here(worker)
    page.browser.show_source("gguf")
    models = page.browser.list
    place = models.visualRect(models.lines.index(0)).center()
    qtbot.mouseClick(models.viewport(), Qt.MouseButton.LeftButton, pos=place)
    assert "sha256-" in page.state.get("model", "source")
    assert page.kind.text().startswith("A GGUF file")


def test_what_is_told_of_a_line_says_it_in_words_too(page: ModelPage, worker: Worker) -> None:
    found_here(worker)
    page.browser.show_source("cache")
    page.state.set_answer(model_facts.devices())
    lines = page.browser.list.lines
    role = Qt.ItemDataRole.AccessibleTextRole
    said = [lines.index(i).data(role) for i in range(3)]
    assert said[0].startswith("HuggingFaceTB/SmolLM2-360M-Instruct, 360 M parameters · 720 MB")
    assert said[0].endswith("fits in 16-bit")
    assert said[1].endswith("incomplete")
    assert "it classifies text and can't generate it" in said[2]


def test_the_hub_is_searched_by_enter_with_what_fits_first(
    qtbot: QtBot, page: ModelPage, worker: Worker
) -> None:
    page.state.set_answer(model_facts.devices())
    page.browser.show_source("hub")
    qtbot.keyClicks(page.browser.filters.line, "instruct")
    qtbot.keyClick(page.browser.filters.line, Qt.Key.Key_Return)
    assert worker.last("search_models").text == "instruct"
    worker.answer("search_models", model_lists.hub())
    assert titles(page)[-1] == "meta-llama/Llama-3.1-70B-Instruct"
    page.browser.filters.fitting.click()
    assert "meta-llama/Llama-3.1-70B-Instruct" not in titles(page)
    page.browser.filters.open.click()
    assert worker.last("search_models").gated is False


def test_the_hub_is_asked_nothing_before_the_user_goes_there(
    page: ModelPage, worker: Worker
) -> None:
    assert {question.kind for question in worker.asked} <= {"list_models", "inspect_model"}
    page.browser.show_source("hub")
    assert {"search_models", "inspect_account"} <= {question.kind for question in worker.asked}


def test_filters_of_size_licence_and_order_search_anew(page: ModelPage, worker: Worker) -> None:
    page.browser.show_source("hub")
    filters = page.browser.filters
    for control, shown in (
        (filters.size_of, "4 to 9 B"), (filters.licence, "apache-2.0"), (filters.sort, "Recently updated"),
    ):  # fmt: skip
        index = control.box.findText(shown)
        control.box.setCurrentIndex(index)
        control.box.activated.emit(index)
    asked = worker.last("search_models")
    assert (asked.smallest, asked.largest) == (4_000_000_000, 9_000_000_000)
    assert (asked.licence, asked.sort) == ("apache-2.0", "updated")


def test_a_hub_that_cannot_be_reached_is_told_and_asked_again(
    page: ModelPage, worker: Worker
) -> None:
    page.browser.show_source("hub")
    worker.fail("search_models", "model.offline", "The hub cannot be reached.")
    assert page.browser.status.text() == "The hub cannot be reached. Do this."
    before = len(worker.asked)
    page.browser.retry.click()
    assert len(worker.asked) == before + 1
    worker.answer("search_models", model_lists.hub())
    assert page.browser.retry.isHidden()


def test_without_a_device_models_are_listed_without_a_verdict(
    page: ModelPage, worker: Worker
) -> None:
    found_here(worker)
    page.browser.show_source("cache")
    assert page.browser.status.text() == "3 models"
    entry = model_lists.entry("a/b", 0)
    assert fit_verdict(entry, None) == ("", "muted")
    assert "parameters" not in describe(entry)


def test_a_download_is_followed_cancelled_and_gone_on_with(
    qtbot: QtBot, page: ModelPage, worker: Worker
) -> None:
    page.state.set("model", "source", "org/m")
    page.state.set_answer(model_facts.model(missing_bytes=6_400_000_000))
    line = page.download
    assert line.start.text() == "Download 6.4 GB"
    line.start.setFocus()
    qtbot.keyClick(line.start, Qt.Key.Key_Space)
    assert worker.last("download_model").model.source == "org/m"
    half = events.Progress(stage="fetching model", done=3.2e9, total=6.4e9, unit="bytes", eta_s=60)
    worker.tell("download_model", half)
    assert line.progress.doing.text() == "3.2 GB of 6.4 GB"
    line.stop.click()
    assert worker.dropped == ["download_model"]
    worker.tell("download_model", ending=events.Cancelled())
    assert "already downloaded is kept" in line.status.text()
    assert line.start.text() == "Resume download (6.4 GB)"
    line.start.click()
    worker.answer("download_model")
    page.state.set_answer(model_facts.model())
    assert line.isHidden()


def test_a_gated_model_asks_for_a_token_which_the_page_does_not_keep(
    qtbot: QtBot, page: ModelPage, worker: Worker, tmp_path: Path
) -> None:
    page.state.set("model", "source", "org/gated")
    page.state.set_answer(model_facts.model(missing_bytes=1000, gated=True))
    page.download.start.click()
    worker.fail("download_model", "model.gated", "org/gated is open only to people who accepted.")
    assert page.download.page.isVisible()
    page.download.sign_in.click()
    dialog = page.account.dialog
    assert dialog is not None
    assert dialog.line.echoMode() == QLineEdit.EchoMode.Password
    assert not dialog.sign_in.isEnabled()
    qtbot.keyClicks(dialog.line, SECRET)
    qtbot.keyClick(dialog.line, Qt.Key.Key_Return)
    command = worker.last("sign_in")
    assert command.token.get_secret_value() == SECRET
    assert SECRET not in repr(worker.asked)
    assert SECRET not in json.dumps([question.model_dump(mode="json") for question in worker.asked])
    worker.fail("sign_in", "model.token", "The hub does not take this token.")
    assert "does not take this token" in dialog.status.text()
    qtbot.keyClicks(dialog.line, SECRET)
    dialog.sign_in.click()
    worker.answer("sign_in", events.AccountFound(name="pim", has_token=True))
    assert page.account.dialog is None
    page.browser.show_source("hub")
    assert page.browser.account.text() == "Signed in as pim"
    page.state.save()
    kept = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert not any(SECRET.encode() in file.read_bytes() for file in kept)
    page.browser.sign_out.click()
    worker.answer("sign_out", events.AccountFound(name="", has_token=False))
    assert page.browser.sign_in.isVisible()


def test_a_sign_out_that_fails_is_told_and_may_be_tried_again(
    page: ModelPage, worker: Worker, state: ProjectState
) -> None:
    said: list[str] = []
    state.messages.posted.connect(lambda message: said.append(str(message.text)))
    state.messages.connect_view()
    page.browser.show_source("hub")
    worker.answer("inspect_account", events.AccountFound(name="pim", has_token=True))
    page.browser.sign_out.click()
    worker.fail("sign_out", "model.token", "The token cannot be deleted.")
    assert any("The token cannot be deleted." in text for text in said)
    assert page.browser.sign_out.isVisible()


def test_offline_mode_asks_the_hub_nothing_and_offers_its_end(
    qtbot: QtBot, page: ModelPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(offline.VARIABLE, "1")
    worker = Worker(page)
    page.on_shown()
    page.browser.show_source("hub")
    kinds = {question.kind for question in worker.asked}
    assert not kinds & {"search_models", "inspect_account"}
    assert "Offline mode is on" in page.browser.status.text()
    with qtbot.waitSignal(page.online_requested):
        page.browser.online.click()
    monkeypatch.delenv(offline.VARIABLE)
    page.online_changed()
    assert page.browser.online.isHidden()


def test_a_search_under_way_ends_with_offline_mode_and_is_made_anew_after_it(
    page: ModelPage, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    page.browser.show_source("hub")
    late = worker.last("search_models")
    assert page.browser.status.text() == "Searching the Hub…"
    monkeypatch.setenv(offline.VARIABLE, "1")
    page.online_changed()
    assert "Offline mode is on" in page.browser.status.text()
    assert not page.browser.filters.isEnabled()
    page.on_event(model_lists.hub().model_copy(update={"id": late.id}))
    assert titles(page) == [], "the answer comes too late"
    monkeypatch.delenv(offline.VARIABLE)
    page.online_changed()
    assert worker.last("search_models").id != late.id
    worker.answer("search_models", model_lists.hub())
    assert len(titles(page)) == 5


def test_an_empty_list_of_what_fits_says_why_it_is_empty(page: ModelPage, worker: Worker) -> None:
    page.browser.show_source("hub")
    worker.answer("search_models", model_lists.hub())
    page.browser.filters.fitting.click()
    assert "Waiting for the device check" in page.browser.status.text()
    page.state.set_answer(model_facts.devices(1))
    assert page.browser.status.text() == "None of the 5 models found fit on this device."


def test_what_kept_the_hub_from_telling_goes_once_it_is_mended(
    page: ModelPage, worker: Worker
) -> None:
    page.state.set("model", "source", "org/gated")
    where = Where(step="model", field="source")
    gated = Problem(code="model.gated", what="It is gated.", remedy="Sign in.", where=where)
    page.state.report("inspect_model", [gated])
    assert page.download.sign_in.isVisible()
    page.state.set_answer(model_facts.model(missing_bytes=1000, gated=True))
    page.state.report("inspect_model", [])
    assert not page.download.sign_in.isVisible()
    assert page.download.status.text() == ""


def test_whose_token_there_is_may_be_told_after_a_model_turned_out_to_be_gated(
    page: ModelPage, worker: Worker
) -> None:
    page.browser.show_source("hub")
    page.state.set("model", "source", "org/gated")
    where = Where(step="model", field="source")
    gated = Problem(code="model.gated", what="It is gated.", remedy="Sign in.", where=where)
    page.state.report("inspect_model", [gated])
    worker.answer("inspect_account", events.AccountFound(name="", has_token=False))
    assert page.download.sign_in.isVisible()
    assert page.download.status.text() == "It is gated. Sign in."


def test_folders_with_models_are_added_and_taken_out(page: ModelPage, worker: Worker) -> None:
    found_here(worker)
    page.browser.add_folder("/models")
    assert worker.last("list_models").folders == ("/models",)
    assert Preferences.load().model_folders == ["/models"]
    page.browser._drop_folder("/models")
    assert Preferences.load().model_folders == []


def test_the_window_turns_offline_mode_on_for_its_workers(
    qtbot: QtBot, window: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(offline.VARIABLE, raising=False)
    window.show_page("settings")
    window.settings.offline.click()
    try:
        assert offline.is_on()
        assert window.preferences.offline
    finally:
        window.settings.offline.click()
    assert not offline.is_on()


def test_another_project_leaves_a_search_of_the_hub_under_way(window: Any) -> None:
    search = commands.SearchModels()
    window.inspector.ask(search)
    window.inspector.ask(commands.InspectDevices())
    window.inspector.forget()
    assert list(window.inspector._latest.values()) == [search]


def test_a_question_about_the_hub_that_fails_is_no_problem_of_the_project(window: Any) -> None:
    from lora_studio.gui.jobs import inspector

    problem = Problem(code="model.offline", what="It failed.", remedy="Do this.")
    assert inspector._placed(problem, commands.SearchModels().kind) is None
    assert inspector._placed(problem, "inspect_model") is not None


def test_a_problem_of_offline_mode_or_a_token_is_solved_with_one_click(
    window: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(offline.VARIABLE, "1")
    refused = offline.refusal(text("Offline mode is on.")).problems[0]
    assert suggest_action(refused).label == "Turn off offline mode"
    window.help.run_action(refused)
    assert not offline.is_on()
    gated = Problem(code="model.gated", what="It is gated.", remedy="Sign in.")
    assert suggest_action(gated).kind == "sign_in"
