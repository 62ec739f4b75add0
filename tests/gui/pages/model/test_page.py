"""The model page: local lists, Hub search, downloads, tokens and offline mode."""

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
from lora_studio.core.model.catalog import RECOMMENDED
from lora_studio.core.problems import Problem, Where, warning
from lora_studio.core.protocol import commands, events
from lora_studio.core.system import offline
from lora_studio.gui.pages.model.browser import describe, judge_fit
from lora_studio.gui.pages.model.page import ModelPage, list_device_choices
from lora_studio.gui.preferences import Preferences
from lora_studio.gui.problems.suggested_actions import suggest_action
from lora_studio.gui.project.state import ProjectState
from tests.helpers.models import model_facts, model_lists

SECRET = "hf_of_the_window"


class Worker:
    """Fake query workers: keep questions and answer the latest one of a kind."""

    def __init__(self, page: ModelPage) -> None:
        self.page = page
        self.questions: list[Any] = []
        self.dropped: list[str] = []
        page.ask.connect(self.questions.append)
        page.question_dropped.connect(self.dropped.append)

    def last(self, kind: str) -> Any:
        return [question for question in self.questions if question.kind == kind][-1]

    def tell(self, kind: str, *answers: events.Event, ending: events.Event | None = None) -> None:
        about_ = self.last(kind).id
        for event in (*answers, *([ending] if ending else [])):
            own = event.model_copy(update={"id": about_})
            self.page.state.set_answer(own)
            self.page.on_event(own)

    def answer(self, kind: str, *answers: events.Event) -> None:
        self.tell(kind, *answers, ending=events.Done())

    def fail(self, kind: str, code: str, what: str = "It failed.") -> None:
        where = Where(step="model", field="source")
        problem = Problem(code=code, what=what, remedy="Do this.", where=where)
        self.tell(kind, ending=events.Failed(problem=problem))


@pytest.fixture
def page(qtbot: QtBot, state: ProjectState, project_folder: Path) -> Iterator[ModelPage]:
    assert state.open(project_folder)
    model_page = ModelPage(state, Preferences())
    qtbot.addWidget(model_page)
    model_page.resize(1180, 720)
    model_page.show()
    qtbot.waitExposed(model_page)
    yield model_page
    state.undo.setClean()


@pytest.fixture
def worker(page: ModelPage) -> Worker:
    fake_worker = Worker(page)
    page.on_shown()
    return fake_worker


def titles(page: ModelPage) -> list[str]:
    lines = page.browser.list.lines
    return [lines.index(i).data() for i in range(lines.rowCount())]


def answer_local_lists(worker: Worker) -> None:
    """Answer the four local lists; the one of LM Studio is empty."""
    for answer in (model_lists.folder(), model_lists.cache(), model_lists.ollama()):
        worker.answer("list_models", answer)
    worker.answer("list_models", events.ModelsFound(location="lm_studio", models=()))


def test_model_sources_are_listed_once_in_sequence(worker: Worker) -> None:
    answer_local_lists(worker)
    locations = [
        question.location for question in worker.questions if question.kind == "list_models"
    ]
    assert locations == ["folder", "cache", "ollama", "lm_studio"]
    worker.page.on_shown()
    assert len([q for q in worker.questions if q.kind == "list_models"]) == 4


def test_unused_gpu_is_a_problem_unless_the_cpu_was_chosen(page: ModelPage) -> None:
    cpu = model_facts.devices().devices[-1]
    problem = warning(
        "model.gpu_not_used",
        "It can't use the GPU.",
        "Update the driver.",
        where=Where(step="model", field="device"),
    )
    page.state.set_answer(events.DevicesFound(devices=(cpu,), unused_gpu=problem))
    assert problem in page.state.list_problems("model", "device")
    assert (action := suggest_action(problem))
    assert action.label == "Set up the engine…"
    page.state.set("model", "device", "cpu")
    assert problem not in page.state.list_problems()
    page.state.set("model", "device", "auto")
    assert problem in page.state.list_problems()
    page.state.set_answer(model_facts.devices())  # after the update
    assert problem not in page.state.list_problems()


def test_equal_gpus_differ_in_the_list_of_devices(page: ModelPage) -> None:
    first, cpu = model_facts.devices().devices
    second = first.model_copy(update={"name": "cuda:1"})
    page.state.set_answer(events.DevicesFound(devices=(second, first, cpu)))
    assert list(page.device.ticks) == ["cuda:0", "cuda:1"]
    titles = list_device_choices(page.state.facts.devices)
    assert titles["cuda:0"].startswith("RTX 4090 (cuda:0), ")
    assert titles["cpu"].startswith("Processor, ")


def test_base_models_are_chosen_by_keyboard_but_encoders_are_not(
    qtbot: QtBot, page: ModelPage, worker: Worker
) -> None:
    answer_local_lists(worker)
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
    assert page.state.get("model", "source") == "./model", "an encoder is refused"
    qtbot.keyClick(models, Qt.Key.Key_Home)
    qtbot.keyClick(models, Qt.Key.Key_Return)
    assert page.state.get("model", "source") == "HuggingFaceTB/SmolLM2-360M-Instruct"
    page.state.undo.undo()
    assert page.state.get("model", "source") == "./model"


def test_new_project_shows_recommended_models(qtbot: QtBot, state: ProjectState) -> None:
    new_page = ModelPage(state, Preferences())
    qtbot.addWidget(new_page)
    new_page.show()
    assert new_page.browser.source == "recommended"
    state.set_answer(model_facts.devices())
    found = titles(new_page)
    assert set(found) == {"SmolLM2-135M-Instruct", *(entry.title for entry in RECOMMENDED)}
    fits = [new_page.browser.list.lines.index(i).data(Qt.ItemDataRole.UserRole) for i in range(3)]
    sizes = [entry.parameters for entry, fit in fits if fit.fits]
    assert sizes == sorted(sizes, reverse=True), "the largest that fits is first on a GPU"
    assert RECOMMENDED[0].why.template in new_page.browser.list.lines.index(
        found.index(RECOMMENDED[0].title)
    ).data(Qt.ItemDataRole.ToolTipRole)
    qtbot.mouseClick(
        new_page.browser.list.viewport(),
        Qt.MouseButton.LeftButton,
        pos=new_page.browser.list.visualRect(new_page.browser.list.lines.index(0)).center(),
    )
    assert state.get("model", "source") == fits[0][0].source


def test_rows_with_and_without_a_reason_have_their_heights(page: ModelPage, worker: Worker) -> None:
    """The bundled model says what it is for, between models of this computer that don't."""
    answer_local_lists(worker)
    page.show()
    models = page.browser.list
    for source in ("cache", "here", "recommended", "here"):
        page.browser.show_source(source)
        lines = [models.lines.index(row) for row in range(models.lines.rowCount())]
        hints = [models.sizeHintForIndex(line).height() for line in lines]
        assert [models.visualRect(line).height() for line in lines] == hints, source
    assert len(set(hints)) == 2


def test_ollama_blob_is_chosen_as_a_gguf_file(
    qtbot: QtBot, page: ModelPage, worker: Worker
) -> None:
    answer_local_lists(worker)
    page.browser.show_source("gguf")
    models = page.browser.list
    center = models.visualRect(models.lines.index(0)).center()
    qtbot.mouseClick(models.viewport(), Qt.MouseButton.LeftButton, pos=center)
    assert "sha256-" in page.state.get("model", "source")
    assert page.kind.text().startswith("A GGUF file")


def test_model_rows_have_accessible_descriptions(page: ModelPage, worker: Worker) -> None:
    answer_local_lists(worker)
    page.browser.show_source("cache")
    page.state.set_answer(model_facts.devices())
    lines = page.browser.list.lines
    role = Qt.ItemDataRole.AccessibleTextRole
    descriptions = [lines.index(i).data(role) for i in range(3)]
    assert descriptions[0].startswith(
        "HuggingFaceTB/SmolLM2-360M-Instruct, 360 M parameters · 720 MB"
    )
    assert descriptions[0].endswith("fits in 16-bit")
    assert descriptions[1].endswith("incomplete")
    assert "it can't generate text" in descriptions[2]


def test_hub_search_starts_on_enter_and_can_filter_by_fit(
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


def test_hub_is_queried_only_after_it_is_opened(page: ModelPage, worker: Worker) -> None:
    assert {question.kind for question in worker.questions} <= {"list_models", "inspect_model"}
    page.browser.show_source("hub")
    assert {"search_models", "inspect_account"} <= {question.kind for question in worker.questions}


def test_size_license_and_sort_filters_search_again(page: ModelPage, worker: Worker) -> None:
    page.browser.show_source("hub")
    filters = page.browser.filters
    for control, shown in (
        (filters.size_of, "4 to 9 B"), (filters.license, "apache-2.0"), (filters.sort, "Recently updated"),
    ):  # fmt: skip
        index = control.box.findText(shown)
        control.box.setCurrentIndex(index)
        control.box.activated.emit(index)
    search = worker.last("search_models")
    assert (search.smallest, search.largest) == (4_000_000_000, 9_000_000_000)
    assert (search.license, search.sort) == ("apache-2.0", "updated")


def test_unreachable_hub_is_reported_and_can_be_retried(page: ModelPage, worker: Worker) -> None:
    page.browser.show_source("hub")
    worker.fail("search_models", "model.offline", "The hub cannot be reached.")
    assert page.browser.status.text() == "The hub cannot be reached. Do this."
    before = len(worker.questions)
    page.browser.retry.click()
    assert len(worker.questions) == before + 1
    worker.answer("search_models", model_lists.hub())
    assert page.browser.retry.isHidden()


def test_models_have_no_fit_verdict_without_a_device(page: ModelPage, worker: Worker) -> None:
    answer_local_lists(worker)
    page.browser.show_source("cache")
    assert page.browser.status.text() == "3 models"
    entry = model_lists.entry("a/b", 0)
    assert judge_fit(entry, None) == ("", "muted")
    assert "parameters" not in describe(entry)


def test_download_shows_progress_and_can_be_canceled_and_resumed(
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


def test_model_that_cannot_be_exported_is_marked_at_its_source(page: ModelPage) -> None:
    problem = warning("model.unknown_pre_tokenizer", "Unknown.", "Choose another.", where=Where(step="model", field="source"))  # fmt: skip

    def list_codes() -> list[str]:
        return [one.code for one in page.state.list_problems("model", "source")]

    page.state.set("model", "source", "org/one")
    page.state.set_answer(model_facts.model(export_problem=problem))
    assert "model.unknown_pre_tokenizer" in list_codes()
    page.state.set("model", "source", "org/other")
    assert "model.unknown_pre_tokenizer" not in list_codes()


def test_gated_model_asks_for_a_token_that_is_never_saved(
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
    assert SECRET not in repr(worker.questions)
    assert SECRET not in json.dumps(
        [question.model_dump(mode="json") for question in worker.questions]
    )
    worker.fail("sign_in", "model.token", "The hub does not take this token.")
    assert "does not take this token" in dialog.status.text()
    qtbot.keyClicks(dialog.line, SECRET)
    dialog.sign_in.click()
    worker.answer("sign_in", events.AccountFound(name="pim", has_token=True))
    assert page.account.dialog is None
    page.browser.show_source("hub")
    assert page.browser.account.text() == "Signed in as pim"
    page.state.save()
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert not any(SECRET.encode() in file.read_bytes() for file in files)
    page.browser.sign_out.click()
    worker.answer("sign_out", events.AccountFound(name="", has_token=False))
    assert page.browser.sign_in.isVisible()


def test_failed_sign_out_is_reported_and_can_be_retried(
    page: ModelPage, worker: Worker, state: ProjectState
) -> None:
    posted: list[str] = []
    state.messages.posted.connect(lambda message: posted.append(str(message.text)))
    state.messages.connect_view()
    page.browser.show_source("hub")
    worker.answer("inspect_account", events.AccountFound(name="pim", has_token=True))
    page.browser.sign_out.click()
    worker.fail("sign_out", "model.token", "The token cannot be deleted.")
    assert any("The token cannot be deleted." in text for text in posted)
    assert page.browser.sign_out.isVisible()


def test_offline_mode_stops_hub_queries_and_can_be_turned_off(
    qtbot: QtBot, page: ModelPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(offline.VARIABLE, "1")
    worker = Worker(page)
    page.on_shown()
    page.browser.show_source("hub")
    kinds = {question.kind for question in worker.questions}
    assert not kinds & {"search_models", "inspect_account"}
    assert "Offline mode is on" in page.browser.status.text()
    with qtbot.waitSignal(page.online_requested):
        page.browser.online.click()
    monkeypatch.delenv(offline.VARIABLE)
    page.repeat_queries()
    assert page.browser.online.isHidden()


def test_search_is_dropped_offline_and_repeated_online(
    page: ModelPage, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    page.browser.show_source("hub")
    late = worker.last("search_models")
    assert page.browser.status.text() == "Searching the Hub…"
    monkeypatch.setenv(offline.VARIABLE, "1")
    page.repeat_queries()
    assert "Offline mode is on" in page.browser.status.text()
    assert not page.browser.filters.isEnabled()
    page.on_event(model_lists.hub().model_copy(update={"id": late.id}))
    assert titles(page) == [], "the answer is outdated"
    monkeypatch.delenv(offline.VARIABLE)
    page.repeat_queries()
    assert worker.last("search_models").id != late.id
    worker.answer("search_models", model_lists.hub())
    assert len(titles(page)) == 5


def test_empty_fitting_list_gives_its_reason(page: ModelPage, worker: Worker) -> None:
    page.browser.show_source("hub")
    worker.answer("search_models", model_lists.hub())
    page.browser.filters.fitting.click()
    assert "Waiting for the device check" in page.browser.status.text()
    page.state.set_answer(model_facts.devices(1))
    assert page.browser.status.text() == "None of the 5 models found fit on this device."


def test_gated_message_stays_until_access_is_granted(page: ModelPage, worker: Worker) -> None:
    page.browser.show_source("hub")
    page.state.set("model", "source", "org/gated")
    where = Where(step="model", field="source")
    gated = Problem(code="model.gated", what="It is gated.", remedy="Sign in.", where=where)
    page.state.report("inspect_model", [gated])
    worker.answer("inspect_account", events.AccountFound(name="", has_token=False))
    assert page.download.sign_in.isVisible()
    assert page.download.status.text() == "It is gated. Sign in."
    page.state.set_answer(model_facts.model(missing_bytes=1000, gated=True))
    page.state.report("inspect_model", [])
    assert not page.download.sign_in.isVisible()
    assert page.download.status.text() == ""


def test_model_folders_are_added_and_removed(page: ModelPage, worker: Worker) -> None:
    answer_local_lists(worker)
    page.browser.add_folder("/models")
    assert worker.last("list_models").folders == ("/models",)
    assert Preferences.load().model_folders == ["/models"]
    page.browser.remove_folder("/models")
    assert Preferences.load().model_folders == []


@pytest.mark.slow
def test_offline_setting_applies_to_workers(
    qtbot: QtBot, window: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(offline.VARIABLE, raising=False)
    window.show_page("settings")
    window.settings.network.offline.click()
    try:
        assert offline.is_on()
        assert window.preferences.offline
    finally:
        window.settings.network.offline.click()
    assert not offline.is_on()


def test_opening_a_project_keeps_a_running_hub_search(window: Any) -> None:
    search = commands.SearchModels()
    window.query_workers.ask(search)
    window.query_workers.ask(commands.InspectDevices())
    window.query_workers.forget()
    assert window.query_workers.pending == [search]


def test_failed_hub_search_is_not_a_project_problem(window: Any) -> None:
    from lora_studio.gui.jobs import query_workers

    problem = Problem(code="model.offline", what="It failed.", remedy="Do this.")
    assert query_workers.assign_step(problem, commands.SearchModels().kind) is None
    assert query_workers.assign_step(problem, "inspect_model") is not None


def test_offline_and_token_problems_offer_a_one_click_fix(
    window: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(offline.VARIABLE, "1")
    refused = offline.offline_error(text("Offline mode is on.")).problems[0]
    assert (action := suggest_action(refused))
    assert action.label == "Turn off offline mode"
    window.help.run_action(refused)
    assert not offline.is_on()
    gated = Problem(code="model.gated", what="It is gated.", remedy="Sign in.")
    assert (action := suggest_action(gated))
    assert action.label == "Sign in…"


def test_model_from_a_gguf_file_shows_that_file(page: ModelPage) -> None:
    model = model_facts.model(
        stored_dtype="bf16", disk_bytes=269_000_000, gguf_type="Q4_1", gguf_bytes=98_362_432
    )
    page.state.set_answer(model)
    facts = page.facts.get_facts()
    assert facts["GGUF file"] == "Q4_1, 98 MB"
    assert facts["Unpacked for training"] == "bfloat16, 269 MB"
    assert "Size on disk" not in facts
    page.state.set_answer(model_facts.model(stored_dtype="bf16", disk_bytes=6_400_000_000))
    facts = page.facts.get_facts()
    assert (facts["Data type"], facts["Size on disk"]) == ("bfloat16", "6.4 GB")


def test_question_about_a_model_names_the_users_llama_cpp(page: ModelPage, tmp_path: Path) -> None:
    page.state.set("model", "source", "org/one")
    page.state.set("export", "llama_cpp", str(tmp_path))
    question = page._make_question()
    assert question is not None
    assert question.llama_cpp == str(tmp_path)
