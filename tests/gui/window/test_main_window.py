"""The main window: pages, projects, problems, jobs, and closing without data loss."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from PySide6.QtCore import Qt, QTimer
from PySide6.QtWidgets import (
    QApplication,
    QFileDialog,
    QLabel,
    QMenu,
    QPushButton,
    QVBoxLayout,
    QWidget,
)
from pytestqt.qtbot import QtBot

from lora_studio.core.problems import STEPS, Fix, Problem, Where, warning
from lora_studio.core.project import project
from lora_studio.core.project.samples import SAMPLES, SampleName
from lora_studio.core.protocol import commands, events
from lora_studio.core.runs import folder as run_folder
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.runs.queue import QueuedRun
from lora_studio.gui import theme, threads
from lora_studio.gui.frame.device_gauges import DeviceSample, GpuSample
from lora_studio.gui.frame.header_bar import HeaderBar
from lora_studio.gui.preferences import Preferences
from lora_studio.gui.problems import toasts
from lora_studio.gui.problems.dialogs import ProblemDialog
from lora_studio.gui.project.commands import NewProjectDialog
from lora_studio.gui.widgets import tab_order
from lora_studio.gui.widgets.glyph import ElidedLink
from lora_studio.gui.window.main_window import CloseDialog, Window
from lora_studio.gui.window.wiring import make_window
from tests.gui.conftest import WAIT
from tests.helpers.accepted_projects import accept_project
from tests.helpers.models import model_facts
from tests.helpers.window import plain_pages
from tests.helpers.window.plain_pages import PlainPage

Scenario = Callable[..., None]
LONG = [{"steps": 100_000, "seconds": 0.02}, {"make": ["adapter/adapter_model.safetensors"]}]
SHORT = [{"steps": 5, "seconds": 0.01}, {"make": ["adapter/adapter_model.safetensors"]}]


def _train(window: Window, qtbot: QtBot, folder: Path) -> RunFolder:
    """Open a project and train until the first step is done."""
    window.open_project(folder)
    window.launcher.request("train")
    page = _page(window, "training")
    qtbot.waitUntil(lambda: any(isinstance(event, events.StepDone) for event in page.received))
    assert window.jobs.run is not None
    return window.jobs.run


def _page(window: Window, step: str) -> PlainPage:
    page = window.pages[step]
    assert isinstance(page, PlainPage)
    return page


def _until_idle(window: Window, qtbot: QtBot) -> None:
    qtbot.waitUntil(lambda: not window.jobs.running and not window.jobs.is_following)


# --- places ---------------------------------------------------------------------------------------


@pytest.mark.slow
def test_without_a_project_step_pages_are_disabled(window: Window) -> None:
    assert window.page_name == "home"
    assert not any(window.rail.button(step).isEnabled() for step in STEPS)
    window.show_page("training")
    assert window.page_name == "home"
    for page in ("runs", "playground", "settings"):
        window.rail.button(page).click()
        assert window.page_name == page
        assert window.rail.button(page).isChecked()


@pytest.mark.slow
def test_project_opens_at_the_first_incomplete_step(
    window: Window, project_folder: Path, tmp_path: Path
) -> None:
    window.state.create(tmp_path / "empty", "empty")
    assert window.page_name == "model"
    window.state.create(tmp_path / "other", "other")
    (tmp_path / "empty" / "empty.lorastudio").write_text(
        f'name = "empty"\n[model]\nsource = "{(project_folder / "model").as_posix()}"\n'
    )
    accept_project(project.load(tmp_path / "empty"))
    window.open_project(tmp_path / "empty")
    assert window.page_name == "dataset"


def test_pages_are_created_between_turns_of_the_loop(qtbot: QtBot, window: Window) -> None:
    ready: list[int] = []
    turns: list[int] = []
    timer = QTimer(interval=0)
    timer.timeout.connect(lambda: turns.append(window.stack.count()))
    timer.start()
    window.lazy_pages.prepare(lambda: ready.append(window.stack.count()))
    qtbot.waitUntil(lambda: bool(ready))
    timer.stop()
    assert ready == [1 + 10]
    assert len(set(turns)) > 5, "the window stays usable"


@pytest.mark.slow
def test_lazy_pages_receive_the_opened_signal(window: Window, project_folder: Path) -> None:
    projects: list[str] = []
    opened = window.state.opened
    window.lazy_pages.created.connect(
        lambda: opened.connect(lambda: projects.append(window.state.draft.name))
    )

    window.open_project(project_folder)

    assert projects == ["support bot"]


@pytest.mark.slow
def test_rail_shows_the_state_of_each_step(window: Window, project_folder: Path) -> None:
    window.open_project(project_folder)
    assert window.rail.button("model").state.caption == "ready"
    window.state.set("dataset", "sources", [])
    assert window.rail.button("dataset").state.caption == "to do"
    window.state.set("dataset", "sources", [{"path": "gone.jsonl"}])
    assert window.rail.button("dataset").state.caption == "1 problem"
    assert window.rail.button("dataset").accessibleName() == "Dataset, 1 problem"


@pytest.mark.slow
def test_every_page_has_a_shortcut(qtbot: QtBot, window: Window, project_folder: Path) -> None:
    window.open_project(project_folder)
    for number, step in enumerate(STEPS, start=1):
        qtbot.keyClick(
            window, getattr(Qt.Key, f"Key_{number}"), Qt.KeyboardModifier.ControlModifier
        )
        assert window.page_name == step
    for key, page in (("7", "runs"), ("8", "playground"), ("9", "settings"), ("0", "home")):
        qtbot.keyClick(window, getattr(Qt.Key, f"Key_{key}"), Qt.KeyboardModifier.ControlModifier)
        assert window.page_name == page


@pytest.mark.slow
def test_ctrl_enter_applies_typed_text_and_continues(
    qtbot: QtBot, window: Window, project_folder: Path
) -> None:
    window.open_project(project_folder)
    window.show_page("lora")
    editor = window.pages["lora"].editors["rank"]
    editor.focus()
    line = editor.control.focusProxy()
    assert line is not None
    qtbot.keyClicks(line, "32")
    qtbot.keyClick(line, Qt.Key.Key_Return, Qt.KeyboardModifier.ControlModifier)
    assert window.page_name == "dataset"
    assert window.state.get("lora", "rank") != 16


@pytest.mark.slow
def test_continue_is_disabled_with_a_reason_in_its_tooltip(window: Window, tmp_path: Path) -> None:
    window.state.create(tmp_path / "empty", "empty")
    primary = window.pages["model"].header.primary
    assert not primary.isEnabled()
    assert primary.toolTip() == "No model selected."
    lora = window.pages["lora"].header.primary
    assert lora.toolTip() == f"{lora.text()} (Ctrl+Enter)"


@pytest.mark.slow
def test_ctrl_enter_on_an_incomplete_step_shows_what_is_missing(
    qtbot: QtBot, window: Window, project_folder: Path
) -> None:
    window.open_project(project_folder)
    window.show_page("model")
    window.state.set("model", "source", "")
    qtbot.keyClick(window, Qt.Key.Key_Return, Qt.KeyboardModifier.ControlModifier)
    assert window.page_name == "model"
    assert window.toasts.isVisible()
    assert window.pages["model"].find_blocker() in window.toasts.text


@pytest.mark.slow
def test_tab_order_is_rail_header_page_problems(
    qtbot: QtBot, window: Window, project_folder: Path
) -> None:
    window.open_project(project_folder)
    window.show_page("model")
    for value in ("", "gone", ""):  # the problem strip is rebuilt each time
        window.state.set("model", "source", value)
    way = tab_order.list_focus_order(window)
    assert window.strip.isVisible()
    parts = (window.rail, window.header, window.pages["model"], window.strip)
    order = [next(part for part in parts if part.isAncestorOf(stop)) for stop in way]
    assert order == sorted(order, key=parts.index)
    assert set(order) == set(parts)


@pytest.mark.slow
def test_back_and_continue_move_between_steps(window: Window, project_folder: Path) -> None:
    window.open_project(project_folder)
    window.show_page("model")
    window.pages["model"].header.primary.click()
    assert window.page_name == "dataset", "LoRA has defaults"
    window.pages["dataset"].header.back.click()
    assert window.page_name == "lora"
    window.pages["lora"].header.back.click()
    window.state.set("lora", "rank", 0)
    window.pages["model"].header.primary.click()
    assert window.page_name == "lora", "it has a problem"
    window.pages["lora"].header.back.click()
    window.pages["model"].header.back.click()
    assert window.page_name == "home"


# --- projects -------------------------------------------------------------------------------------


@pytest.mark.slow
def test_new_project_gets_a_folder_and_is_listed_as_recent(
    qtbot: QtBot, window: Window, tmp_path: Path
) -> None:
    window.home.new.click()
    dialog = window.findChild(NewProjectDialog)
    assert dialog is not None
    dialog.parent_folder.setText(str(tmp_path / "work"))
    dialog.name.setText("Tröstbot: 1/2")
    dialog.create_button.click()
    assert window.state.name == "Tröstbot: 1/2"
    file = tmp_path / "work" / "Tröstbot- 1-2" / "Tröstbot- 1-2.lorastudio"
    assert window.state.draft.path == file
    assert window.preferences.list_recent_projects() == [file]
    assert Preferences.load().list_recent_projects() == [file]


def test_new_project_is_not_created_in_a_nonempty_folder(
    window: Window, project_folder: Path
) -> None:
    window.projects.create_project()
    dialog = window.findChild(NewProjectDialog)
    assert dialog is not None
    dialog.parent_folder.setText(str(project_folder.parent))
    dialog.name.setText(project_folder.name)
    assert not dialog.create_button.isEnabled()
    dialog.name.setText("")
    assert not dialog.create_button.isEnabled()


@pytest.mark.slow
@pytest.mark.parametrize("name", SAMPLES)
def test_sample_project_is_copied_once(window: Window, name: SampleName) -> None:
    window.home.sample_clicked.emit(name)
    first = window.state.draft.folder
    assert first is not None
    assert window.state.list_problems() == []
    window.state.set("lora", "rank", 8)
    window.save()
    window.home.sample_clicked.emit(name)
    assert window.state.draft.folder == first
    assert window.state.get("lora", "rank") == 8


@pytest.mark.slow
def test_recent_projects_list_unfinished_ones_first(
    qtbot: QtBot, window: Window, project_folder: Path, tmp_path: Path
) -> None:
    window.open_project(project_folder)
    run = run_folder.create_run(
        project_folder / "runs", window.state.draft.freeze(), project_folder
    )
    step = events.StepDone(
        id="a", step=7, steps=20, epoch=0.3, loss=1.0, learning_rate=1e-4, grad_norm=1.0, tokens=1,
        tokens_per_s=1.0, memory_bytes=1, eta_s=1.0,
    )  # fmt: skip
    recorded = [events.Started(id="a", command="train"), step]
    run.events_file.write_text("".join(events.to_line(event) + "\n" for event in recorded))
    run.checkpoint(10).mkdir(parents=True)
    window.state.create(tmp_path / "later", "later")
    window.show_page("home")
    assert len(window.home.summaries) == 2, "listed before their runs are read"
    qtbot.waitUntil(lambda: all(item.is_loaded for item in window.home.summaries))
    assert [summary.name for summary in window.home.summaries] == ["support bot", "later"]
    assert window.home.summaries[0].status_text == "Interrupted, step 7 of 20"
    unfinished = [label.text() for label in window.home.unfinished.findChildren(QLabel)]
    assert "support bot" in unfinished
    assert "later" not in unfinished
    assert window.home.summaries[0].is_resumable
    assert window.home.summaries[1].status_text == "No runs yet"


@pytest.mark.slow
def test_late_result_of_an_old_project_scan_is_ignored(
    qtbot: QtBot, window: Window, project_folder: Path
) -> None:
    window.home.show_recent([])
    early = window.home.scan
    assert early is not None
    assert early.wait(WAIT)  # its result is emitted but not yet delivered
    window.open_project(project_folder)
    window.show_page("home")
    qtbot.waitUntil(lambda: all(item.is_loaded for item in window.home.summaries))
    assert [summary.name for summary in window.home.summaries] == ["support bot"]


@pytest.mark.slow
def test_oom_recovery_is_reported_during_training(
    qtbot: QtBot, window: Window, scenario: Scenario, project_folder: Path
) -> None:
    recovered = events.Recovered(
        step=7, micro_batch=2, gradient_accumulation=8, gradient_checkpointing=False,
        why="Memory ran out.",
    )  # fmt: skip
    emitted = recovered.model_dump(mode="json", exclude={"id", "time"})
    scenario(train=[{"emit": emitted}, {"steps": 10_000, "seconds": 0.01}])
    window.open_project(project_folder)
    window.launcher.request("train")
    qtbot.waitUntil(lambda: window.jobs.progress.share is not None)
    assert "Training continues after step 7 with micro-batches of 2" in window.toasts.text


@pytest.mark.slow
def test_paused_training_is_resumed_from_home(
    qtbot: QtBot, window: Window, scenario: Scenario, project_folder: Path
) -> None:
    scenario(train=[{"steps": 10_000, "seconds": 0.01}])
    window.open_project(project_folder)
    window.launcher.request("train")
    qtbot.waitUntil(lambda: window.jobs.progress.share is not None)
    window.pages["training"].pause_requested.emit()
    qtbot.waitUntil(lambda: not window.jobs.running)
    run = window.state.run
    assert run is not None
    qtbot.waitUntil(lambda: not run.is_running())
    assert run.read_state() == "paused"
    window.show_page("home")
    qtbot.waitUntil(lambda: all(item.is_loaded for item in window.home.summaries))
    assert window.home.summaries[0].status_text.startswith("Paused, step ")
    (resume,) = [
        button for button in window.home.findChildren(QPushButton) if button.text() == "Resume"
    ]
    resume.click()
    qtbot.waitUntil(lambda: window.jobs.running)
    assert window.page_name == "training"


@pytest.mark.slow
def test_forgetting_a_project_keeps_its_file(window: Window, project_folder: Path) -> None:
    window.open_project(project_folder)
    file = project_folder / "support bot.lorastudio"
    window.home.forget_clicked.emit(file)
    assert window.preferences.list_recent_projects() == []
    assert file.is_file()


@pytest.mark.slow
def test_moved_project_is_marked_missing_and_can_be_located(
    qtbot: QtBot, window: Window, project_folder: Path, tmp_path: Path
) -> None:
    window.open_project(project_folder)
    window.state.create(tmp_path / "later", "later")
    moved = project_folder.rename(tmp_path / "elsewhere")
    window.show_page("home")
    qtbot.waitUntil(lambda: all(item.is_loaded for item in window.home.summaries))
    assert [(summary.name, summary.is_missing) for summary in window.home.summaries] == [
        ("later", False),
        ("support bot", True),
    ]
    assert "Not found" in window.home.summaries[1].status_text
    (locate,) = [
        button for button in window.home.findChildren(QPushButton) if button.text() == "Locate…"
    ]
    locate.click()
    (dialog,) = window.findChildren(QFileDialog)
    dialog.fileSelected.emit(str(moved / "support bot.lorastudio"))
    dialog.reject()
    assert window.state.draft.folder == moved
    assert project_folder / "support bot.lorastudio" not in window.preferences.list_known_projects()


# --- problems -------------------------------------------------------------------------------------


@pytest.mark.slow
def test_clicking_a_problem_reveals_and_focuses_its_field(
    qtbot: QtBot, window: Window, project_folder: Path
) -> None:
    window.open_project(project_folder)
    window.state.set("training", "seed", -1)
    window.show_page("model")
    links = [
        link for link in window.strip.findChildren(QPushButton) if link.text().startswith("Seed")
    ]
    links[0].click()
    assert window.page_name == "training"
    editor = window.pages["training"].editors["seed"]
    assert editor.isVisible()
    assert editor.control.focusProxy() is window.focusWidget()
    assert "-1" in editor.error.text()


@pytest.mark.slow
def test_long_problem_link_is_elided(window: Window, project_folder: Path) -> None:
    window.open_project(project_folder)
    window.state.set("training", "seed", "a very long value that is certainly no number at all")
    links = [
        link_in_strip
        for link_in_strip in window.strip.findChildren(ElidedLink)
        if "Seed" in link_in_strip.text()
    ]
    link = links[-1]
    assert link.minimumSizeHint().width() < link.sizeHint().width() / 2
    link.resize(link.sizeHint())
    assert link.get_elided_text() == link.text()
    link.resize(120, link.height())
    assert link.get_elided_text().endswith("…")
    assert link.text().startswith(link.get_elided_text()[:-1])


@pytest.mark.slow
def test_info_message_disappears_with_its_page_once_read(
    qtbot: QtBot, window: Window, project_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    window.open_project(project_folder)
    monkeypatch.setattr(toasts, "_READ_TIME", WAIT)
    window.messages.info("It is done.")
    window.show_page("lora")
    assert window.toasts.text == "It is done.", "it wasn't visible long enough to be read"
    monkeypatch.setattr(toasts, "_READ_TIME", 10)
    qtbot.wait(50)
    window.show_page("dataset")
    assert window.toasts.text == ""
    window.messages.problem(Problem(code="x", what="It failed.", remedy="Do this."))
    qtbot.wait(50)
    window.show_page("lora")
    assert "It failed." in window.toasts.text


def test_problem_strip_keeps_links_of_the_same_problems(window: Window) -> None:
    problems = [warning("test", "One thing is odd.", "Look at it.")]
    window.strip.show_problems(problems)
    (link,) = window.strip.findChildren(ElidedLink)
    window.strip.show_problems([*problems])
    assert window.strip.findChildren(ElidedLink) == [link]
    window.strip.show_problems([warning("test", "Another thing is odd.", "Look at it.")])
    assert "Another" in window.strip.findChildren(ElidedLink)[-1].text()


@pytest.mark.slow
def test_fix_in_the_problem_strip_is_applied(window: Window, project_folder: Path) -> None:
    window.open_project(project_folder)
    window.state.set("training", "seed", -1)
    window.strip.set_open(True)
    fixes = [
        button for button in window.strip.findChildren(QPushButton)
        if button.text() == "Use the default (42)"
    ]  # fmt: skip
    fixes[0].click()
    assert window.state.get("training", "seed") == 42
    assert window.state.list_problems() == []
    assert not window.strip.isVisible()


@pytest.mark.slow
def test_missing_choice_is_listed_as_to_do(window: Window, tmp_path: Path) -> None:
    window.state.create(tmp_path / "empty", "empty")
    assert window.strip.count.text() == "Still to do:"
    window.state.set("lora", "rank", 0)
    assert window.strip.count.text() == "1 problem:"
    assert window.strip.problems[0].where.field == "rank"


@pytest.mark.slow
def test_failed_inspection_becomes_a_problem_of_its_step(
    qtbot: QtBot, window: Window, scenario: Scenario, project_folder: Path
) -> None:
    problem = {"code": "dataset.odd", "what": "Row 3 is odd.", "remedy": "Mend it."}
    scenario(inspect_dataset=[{"fail": problem}])
    window.open_project(project_folder)
    spec = window.state.get_spec("dataset")
    question = commands.InspectDataset.model_validate({"dataset": spec})
    window.pages["dataset"].ask.emit(question)
    qtbot.waitUntil(lambda: bool(window.state.list_problems("dataset")))
    assert window.rail.button("dataset").state.caption == "1 problem"
    scenario()
    window.pages["dataset"].ask.emit(question.model_copy(update={"id": "again"}))
    qtbot.waitUntil(lambda: not window.state.list_problems("dataset"))


@pytest.mark.slow
def test_refused_source_is_a_problem_of_the_dataset(
    qtbot: QtBot, window: Window, scenario: Scenario, project_folder: Path
) -> None:
    where = Where(step="dataset", field="sources", file="a.xlsx")
    refused = Problem(code="dataset.not_text", what="a.xlsx is no rows.", remedy="…", where=where)
    hint = refused.model_copy(update={"code": "dataset.odd_spelling", "severity": "warning"})
    inspection = model_facts.dataset(problems=(refused, hint))
    scenario(inspect_dataset=[{"emit": inspection.model_dump(mode="json", exclude={"id", "time"})}])
    window.open_project(project_folder)
    spec = window.state.get_spec("dataset")
    window.pages["dataset"].ask.emit(commands.InspectDataset.model_validate({"dataset": spec}))
    qtbot.waitUntil(lambda: bool(window.state.list_problems("dataset")))
    assert [item.code for item in window.state.list_problems("dataset")] == ["dataset.not_text"]
    assert window.rail.button("dataset").state.caption == "1 problem"


@pytest.mark.slow
def test_missing_ollama_is_a_problem_only_at_a_chosen_address(
    window: Window, project_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OLLAMA_HOST", raising=False)
    window.open_project(project_folder)
    absent = Problem(
        code="ollama.not_running", what="No server.", remedy="Start it.", where=Where(step="export")
    )
    window.query_workers.finished.emit("inspect_ollama", absent)
    assert not window.state.list_problems("export")
    other = absent.model_copy(update={"code": "ollama.too_old"})
    window.query_workers.finished.emit("inspect_ollama", other)
    assert [item.severity for item in window.state.list_problems("export")] == ["warning"]
    window.state.set("export", "ollama_host", "http://gpu-server:11434")
    window.query_workers.finished.emit("inspect_ollama", absent)
    assert [item.severity for item in window.state.list_problems("export")] == ["warning"]
    window.state.set("export", "ollama_create", False)
    window.query_workers.finished.emit("inspect_ollama", absent)
    assert not window.state.list_problems("export")


@pytest.mark.slow
def test_only_the_latest_inspection_of_a_kind_is_answered(
    qtbot: QtBot, window: Window, scenario: Scenario, project_folder: Path
) -> None:
    answer = {"emit": {"kind": "devices_found", "devices": []}}
    scenario(inspect_devices=[{"sleep": 0.3}, answer])
    window.open_project(project_folder)
    first, second = commands.InspectDevices(), commands.InspectDevices()
    window.query_workers.ask(first)
    window.query_workers.ask(second)
    with qtbot.waitSignal(window.query_workers.finished):
        pass
    answers = [
        event for event in _page(window, "model").received if isinstance(event, events.DevicesFound)
    ]
    assert {event.id for event in answers} == {second.id}


def test_closed_window_starts_no_worker(window: Window) -> None:
    window.close()
    window.query_workers.ask(commands.InspectOllama())
    window.query_workers.prepare_worker("read_rows")
    assert not window.query_workers.has_workers


@pytest.mark.slow
def test_crashed_inspector_is_replaced(
    qtbot: QtBot, window: Window, scenario: Scenario, project_folder: Path
) -> None:
    scenario(inspect_ollama=[{"exit": 3}])
    window.open_project(project_folder)
    with qtbot.waitSignal(
        window.query_workers.finished, check_params_cb=lambda kind, _: kind == "inspect_ollama"
    ) as ended:  # fmt: skip
        window.query_workers.ask(commands.InspectOllama())
    assert ended.args is not None
    assert "status 3" in str(ended.args[1].what)
    scenario(
        inspect_ollama=[
            {"emit": {"kind": "ollama_found", "host": "h", "version": "1", "models": []}}
        ]
    )
    window.query_workers.ask(commands.InspectOllama())
    qtbot.waitUntil(lambda: window.state.facts.ollama is not None)


# --- jobs -----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_stopped_training_shows_progress_and_keeps_its_adapter(
    qtbot: QtBot, window: Window, scenario: Scenario, project_folder: Path
) -> None:
    scenario(train=LONG)
    run = _train(window, qtbot, project_folder)
    assert window.page_name == "training"
    assert window.state.running == "train"
    assert window.rail.button("training").state.caption.startswith("running")
    assert window.header.job.isVisible()
    window.header.job.stop.click()
    _until_idle(window, qtbot)
    assert run.read_state() == "trained"
    assert (run.adapter / "adapter_model.safetensors").is_file()
    assert "The adapter was saved" in window.toasts.text
    assert not window.header.job.isVisible()
    assert window.state.run == run


@pytest.mark.slow
def test_run_all_executes_every_step_on_one_run(
    qtbot: QtBot, window: Window, scenario: Scenario, project_folder: Path
) -> None:
    scenario(train=SHORT, merge=[{"make": ["merged/config.json"]}], export=[{"sleep": 0.01}])
    window.open_project(project_folder)
    window.launcher.request("all")
    qtbot.waitUntil(lambda: "export is complete" in window.toasts.text, timeout=3 * WAIT)
    _until_idle(window, qtbot)
    (run,) = run_folder.list_runs(project_folder / "runs")
    started = [event.command for event in run.iter_events() if isinstance(event, events.Started)]
    assert started == ["train", "merge", "export"]
    assert run.read_state() == "exported"
    assert window.page_name == "export"


@pytest.mark.slow
def test_export_uses_settings_changed_after_training(
    qtbot: QtBot, window: Window, scenario: Scenario, project_folder: Path
) -> None:
    scenario(train=SHORT)
    _train(window, qtbot, project_folder)
    _until_idle(window, qtbot)
    window.state.set("export", "quantizations", ["Q8_0"])
    window.launcher.request("export")
    qtbot.waitUntil(lambda: "export is complete" in window.toasts.text)
    _until_idle(window, qtbot)
    assert window.state.run is not None
    assert window.state.run.load_project().export.quantizations == ("Q8_0",)


@pytest.mark.slow
def test_killed_worker_is_reported_and_training_can_restart(
    qtbot: QtBot, window: Window, scenario: Scenario, project_folder: Path
) -> None:
    scenario(train=LONG)
    run = _train(window, qtbot, project_folder)
    pid = run.worker_pid()
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    _until_idle(window, qtbot)
    assert "SIGKILL" in window.toasts.text
    assert run.read_state() == "interrupted"
    scenario(train=SHORT)
    window.launcher.request("train")
    qtbot.waitUntil(lambda: "adapter is trained" in window.toasts.text)
    _until_idle(window, qtbot)


@pytest.mark.slow
def test_job_does_not_start_while_the_project_has_errors(
    window: Window, project_folder: Path
) -> None:
    window.open_project(project_folder)
    window.state.set("lora", "rank", 0)
    window.launcher.request("train")
    assert not window.jobs.running
    assert "Rank" in window.toasts.text
    assert run_folder.list_runs(project_folder / "runs") == []


@pytest.mark.slow
def test_second_job_is_refused_while_one_runs(
    qtbot: QtBot, window: Window, scenario: Scenario, project_folder: Path
) -> None:
    scenario(train=LONG)
    run = _train(window, qtbot, project_folder)
    window.launcher.request("train")
    assert "already running" in window.toasts.text
    assert run_folder.list_runs(project_folder / "runs") == [run]


@pytest.mark.slow
def test_job_warnings_are_listed_among_the_problems(
    qtbot: QtBot, window: Window, scenario: Scenario, project_folder: Path
) -> None:
    problem = Problem(code="x.y", what="3 rows are cut.", remedy="R.", severity="warning",
                      where=Where(step="dataset"), fix=Fix(label="Longer", step="dataset",
                      field="max_length", value=4096)).model_dump(mode="json")  # fmt: skip
    scenario(train=[{"emit": {"kind": "warned", "problem": problem}}, *SHORT])
    window.open_project(project_folder)
    window.launcher.request("train")
    _until_idle(window, qtbot)
    qtbot.waitUntil(lambda: bool(window.state.list_problems("dataset")))
    assert str(window.state.list_problems("dataset")[0].what) == "3 rows are cut."


# --- closing --------------------------------------------------------------------------------------


def _closing(window: Window) -> CloseDialog:
    window.close()
    assert window.isVisible()
    dialog = window.findChild(CloseDialog)
    assert dialog is not None
    assert dialog.isVisible()
    return dialog


@pytest.mark.slow
def test_closing_during_training_can_leave_it_in_background(
    qtbot: QtBot, window: Window, scenario: Scenario, project_folder: Path, tmp_path: Path
) -> None:
    go_on = tmp_path / "go on"
    halves = [{"steps": 30, "seconds": 0.01}, {"steps": 30, "seconds": 0.01, "after": 30}]
    scenario(train=[halves[0], {"await": str(go_on)}, halves[1]])
    run = _train(window, qtbot, project_folder)
    _closing(window).choices["background"].click()
    assert not window.isVisible()
    assert run.is_running()
    again = make_window(Preferences.load(), plain_pages.pages)
    qtbot.addWidget(again)
    again.show()
    again.open_project(project_folder)
    assert again.page_name == "training"
    go_on.touch()
    qtbot.waitUntil(lambda: "adapter is trained" in again.toasts.text)
    page = _page(again, "training")
    steps = [event.step for event in page.received if isinstance(event, events.StepDone)]
    assert steps == list(range(1, 61))
    _until_idle(again, qtbot)
    again.close()
    qtbot.waitUntil(lambda: run.worker_pid() is None)


@pytest.mark.slow
def test_closing_during_training_can_stop_it_with_an_adapter(
    qtbot: QtBot, window: Window, scenario: Scenario, project_folder: Path
) -> None:
    scenario(train=LONG)
    run = _train(window, qtbot, project_folder)
    _closing(window).choices["stop"].click()
    qtbot.waitUntil(lambda: not window.isVisible())
    qtbot.waitUntil(lambda: not run.is_running())
    assert run.read_state() == "trained"
    assert (run.adapter / "adapter_model.safetensors").is_file()


@pytest.mark.slow
def test_closing_during_training_can_pause_it(
    qtbot: QtBot, window: Window, scenario: Scenario, project_folder: Path
) -> None:
    scenario(train=[{"steps": 10_000, "seconds": 0.01}])
    run = _train(window, qtbot, project_folder)
    _closing(window).choices["pause"].click()
    qtbot.waitUntil(lambda: not window.isVisible())
    qtbot.waitUntil(lambda: not run.is_running())
    assert run.read_state() == "paused"


@pytest.mark.slow
def test_closing_during_training_can_be_canceled(
    qtbot: QtBot, window: Window, scenario: Scenario, project_folder: Path
) -> None:
    scenario(train=LONG)
    run = _train(window, qtbot, project_folder)
    _closing(window).stay.click()
    assert window.isVisible()
    assert run.is_running()
    assert window.jobs.running


@pytest.mark.slow
def test_opening_another_project_keeps_the_job_running(
    qtbot: QtBot, window: Window, scenario: Scenario, project_folder: Path, tmp_path: Path
) -> None:
    scenario(train=LONG)
    run = _train(window, qtbot, project_folder)
    window.state.create(tmp_path / "other", "other")
    assert not window.jobs.running
    assert run.is_running()
    assert "background" in window.toasts.text
    window.open_project(project_folder)
    qtbot.waitUntil(lambda: window.jobs.running)
    assert window.jobs.run == run


def test_closing_saves_text_being_typed(qtbot: QtBot, window: Window, project_folder: Path) -> None:
    window.open_project(project_folder)
    window.show_page("lora")
    editor = window.pages["lora"].editors["rank"]
    editor.focus()
    line = editor.control.focusProxy()
    assert line is not None
    line.selectAll()
    qtbot.keyClicks(line, "24")
    window.close()
    assert not window.isVisible()
    assert project.load(project_folder).get("lora", "rank") == 24


def test_closing_with_unsavable_changes_asks_first(window: Window, project_folder: Path) -> None:
    file = project_folder / "support bot.lorastudio"
    file.write_text("schema_version = 99\n")
    window.open_project(file)
    window.state.set("lora", "rank", 64)
    window.close()
    assert window.isVisible()
    dialog = window.findChild(CloseDialog)
    assert dialog is not None
    dialog.choices["discard"].click()
    assert not window.isVisible()
    assert file.read_text() == "schema_version = 99\n"


# --- the rest -------------------------------------------------------------------------------------


@pytest.mark.slow
def test_theme_choice_applies_and_is_saved(qtbot: QtBot, window: Window) -> None:
    window.settings.look.button("dark").click()
    qtbot.waitUntil(lambda: theme.get_palette() is theme.DARK)
    assert Preferences.load().theme == "dark"


def test_removed_preferences_of_an_old_file_are_ignored(tmp_path: Path) -> None:
    file = tmp_path / "config" / "window.json"
    file.parent.mkdir(parents=True)
    removed = {
        "look_for_updates": True,
        "update_address": "https://example.org",
        "updates_asked": 1.5,
    }
    file.write_text(json.dumps({"theme": "dark", **removed}))
    preferences = Preferences.load()
    assert preferences == Preferences(theme="dark")
    preferences.save()
    assert not removed.keys() & json.loads(file.read_text()).keys()


def test_unexpected_error_is_shown_without_a_traceback(window: Window, tmp_path: Path) -> None:
    from lora_studio.gui.app import show_bug

    show_bug(window, "ValueError: boom", tmp_path / "window.log")
    dialog = window.findChild(ProblemDialog)
    assert dialog is not None
    assert "ValueError: boom" in dialog.text.text()
    assert "Traceback" not in dialog.text.text()
    dialog.accept()


@pytest.mark.slow
@pytest.mark.parametrize("number", [1, 2])
def test_closed_window_leaves_no_thread(
    qtbot: QtBot, window: Window, project_folder: Path, number: int
) -> None:
    window.open_project(project_folder)
    for step in STEPS:
        window.show_page(step)
    window.close()
    qtbot.waitUntil(lambda: not threads.list_running_threads())


@pytest.mark.slow
def test_header_shows_the_training_device(window: Window, project_folder: Path) -> None:
    window.open_project(project_folder)
    card, cpu = model_facts.devices(free=6 * model_facts.GIB).devices
    other = card.model_copy(update={"name": "cuda:1", "title": "RTX 3090"})
    window.state.set_answer(events.DevicesFound(devices=(card, other, cpu)))
    name = window.header.device.findChild(QLabel)
    assert name.text() == "RTX 4090"
    window.state.set("model", "device", "cuda:1")
    assert name.text() == "RTX 3090"
    window.state.undo.undo()
    assert name.text() == "RTX 4090"


def test_stop_button_stays_visible_for_any_job_text(qtbot: QtBot) -> None:
    over = QWidget()
    qtbot.addWidget(over)
    header = HeaderBar(QMenu(over))
    column = QVBoxLayout(over)
    column.setContentsMargins(0, 0, 0, 0)
    column.addWidget(header)
    over.resize(1000, 100)
    header.set_project("support-bot", "", saved="saved")
    card = GpuSample("NVIDIA GeForce RTX 4090", "GPU-1", 18 << 30, 24 << 30, 97, 61)
    header.device.show_sample(DeviceSample(12.0, 7 << 30, 64 << 30, (card,)))
    with qtbot.waitExposed(over):
        over.show()
    for doing, share, eta in (
        ("loading the model", None, None),
        ("loading the model in 4-bit", 0.1, None),
        ("training", 0.3, 4000),
    ):
        header.show_job(doing, share, eta)
        layout = header.layout()
        assert layout is not None
        assert layout.sizeHint().width() <= header.width()
        QApplication.sendPostedEvents()  # layout requests, which precede painting
        stop = header.job.stop
        right = stop.mapTo(header, stop.rect().topRight()).x()
        assert right < header.width()
        assert stop.width() >= stop.sizeHint().width()
        assert over.width() == 1000


@pytest.mark.slow
def test_page_titles_have_the_same_height(window: Window, project_folder: Path) -> None:
    window.open_project(project_folder)
    window.show_page("settings")
    settings = window.settings.header
    window.show_page("model")
    page = window.pages["model"].header
    assert settings.sizeHint().height() == page.sizeHint().height()


@pytest.mark.slow
def test_header_shows_queued_runs_and_links_to_the_queue(
    window: Window, project_folder: Path
) -> None:
    window.open_project(project_folder)
    assert window.header.queue.isHidden()
    runs = [
        run_folder.create_run(project_folder / "runs", window.state.draft.freeze(), project_folder)
        for _ in range(2)
    ]
    window.queue.pause()
    window.queue.add([QueuedRun(run=run.path.name) for run in runs])
    window.queue.pause()
    assert window.header.queue.text() == "2 queued"
    window.header.queue.click()
    assert window.page_name == "runs"
    assert window.runs.side.currentWidget() is window.runs.side.queue


def test_absent_ollama_is_not_a_problem_of_a_job(
    window: Window, project_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OLLAMA_HOST", raising=False)
    window.open_project(project_folder)
    problem = warning(
        "ollama.not_running", "No Ollama server answers at {host}.", "Start it.", host="h"
    )
    window.jobs.event_received.emit(events.Warned(problem=problem))
    assert problem not in window.state.list_problems()
    window.state.set("export", "ollama_host", "http://127.0.0.1:9")
    window.jobs.event_received.emit(events.Warned(problem=problem))
    assert problem in window.state.list_problems()
