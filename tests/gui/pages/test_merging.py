"""The merging page: plan, progress and result."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QAbstractButton, QDoubleSpinBox, QWidget
from pytestqt.qtbot import QtBot

from lora_studio.core.problems import STEPS, Problem
from lora_studio.core.protocol import events
from lora_studio.core.runs import step_records
from lora_studio.core.runs.folder import RunFolder
from lora_studio.gui.frame import lazy_pages
from lora_studio.gui.pages.export.page import ExportPage
from lora_studio.gui.pages.merging import MergingPage
from lora_studio.gui.pages.page import StepPage
from lora_studio.gui.pages.training.page import TrainingPage
from lora_studio.gui.preferences import Preferences
from lora_studio.gui.project.state import ProjectState
from lora_studio.gui.window.main_window import Window
from lora_studio.gui.window.wiring import make_window
from tests.helpers.models import model_facts
from tests.helpers.runs.job_events import (
    export_events,
    finished_events,
    merge_events,
    play_events,
    show_widget,
    started_events,
    training_events,
)


def test_merge_is_blocked_without_an_adapter(
    qtbot: QtBot, state: ProjectState, run: RunFolder
) -> None:
    page = show_widget(qtbot, MergingPage(state))
    assert page.find_blocker() == "Train an adapter first."
    state.set_run(run, "")
    play_events(page, [*started_events(), *finished_events()])
    assert page.find_blocker() is None
    assert page.what.text() == "Ready to merge"
    with qtbot.waitSignal(page.run_requested) as signal:
        page.header.primary.click()
    assert signal.args == ["merge"]


def test_merge_shows_progress_and_result(qtbot: QtBot, state: ProjectState, run: RunFolder) -> None:
    page = show_widget(qtbot, MergingPage(state))
    state.set_run(run, "merge")
    play_events(page, [*started_events(), *finished_events(), *merge_events(run)[:2]])
    assert page.progress.isVisible()
    assert page.progress.bar.value() == 250
    with qtbot.waitSignal(page.cancel_requested):
        page.cancel.click()
    play_events(page, merge_events(run)[2:])
    state.set_run(run, "")
    facts = page.facts.get_facts()
    assert facts["Size"] == "6.4 GB"
    assert facts["Self-test"] == "✓ top-1 98.7 %, KL 0.004"
    assert facts["Duration"] == "31 s"
    assert page.is_done()
    with qtbot.waitSignal(page.continue_clicked):
        page.header.primary.click()
    play_events(page, started_events())
    assert not page.is_done(), "a new training run makes the merged model outdated"


def test_merged_model_of_other_settings_is_merged_again(
    qtbot: QtBot, state: ProjectState, run: RunFolder
) -> None:
    step_records.record_settings(run, run.load_project(), "merge")
    page = show_widget(qtbot, MergingPage(state))
    state.set_run(run, "merge")
    play_events(page, [*started_events(), *finished_events(), *merge_events(run)])
    state.set_run(run, "")
    assert page.is_done()
    state.set("merging", "dtype", "fp16")
    assert not page.is_done()
    assert page.describe_outdated() == "out of date"
    assert page.what.text() == "⚠ The merged model is out of date"
    assert "Same as the base model → float16" in page.advice.text()
    assert page.facts.get_facts()["Data type"] == "bfloat16", "it is still the old one"
    assert page.header.primary.text() == "Merge again"
    with qtbot.waitSignal(page.run_requested) as signal:
        page.header.primary.click()
    assert signal.args == ["merge"]
    state.undo.undo()
    assert page.is_done()
    assert page.header.primary.text() == "Continue"


def planned(**changes: Any) -> events.MergePlanned:
    return events.MergePlanned(
        **{
            "bytes": 6_430_000_000, "missing": 6_430_000_000, "free": 50_000_000_000,
            "memory": 24_000_000, "dtype": "bfloat16", "shards": 2, "tensors": 290,
            "tensors_changed": 196,
        } | changes
    )  # fmt: skip


def test_merge_plan_shows_tensors_and_disk_space(
    qtbot: QtBot, state: ProjectState, run: RunFolder
) -> None:
    page = show_widget(qtbot, MergingPage(state))
    state.set_run(run, "")
    questions: list[Any] = []
    page.ask.connect(questions.append)
    play_events(page, [*started_events(), *finished_events()])
    qtbot.waitUntil(lambda: bool(questions))
    assert questions[-1].run == str(run.path)
    play_events(page, [planned(free=1_000_000_000, finished_shards=1, by_peft="it uses x")])
    facts = page.facts.get_facts()
    assert facts["Tensors to update"] == "196 of 290 tensors"
    assert facts["Disk space"] == "✗ 6.4 GB required, only 1 GB available"
    assert facts["Completed files"] == "1 of 2 (from an earlier attempt)"
    assert facts["PEFT merge"] == "it uses x"
    state.set("merging", "dtype", "fp16")
    qtbot.waitUntil(lambda: questions[-1].merging.dtype == "fp16")


def test_further_adapters_are_added_weighted_and_removed(
    qtbot: QtBot, state: ProjectState, run: RunFolder
) -> None:
    page = show_widget(qtbot, MergingPage(state))
    control = page.editors["further"].control
    control.add_folder("/adapters/my style")
    control.add_folder("/adapters/facts")
    weight = control.findChildren(QDoubleSpinBox)[-1]
    weight.setValue(0.25)
    assert state.draft.get("merging", "further") == ["/adapters/my style=1", "/adapters/facts=0.25"]
    first = next(
        b for b in control.findChildren(QAbstractButton) if "my style" in b.accessibleName()
    )
    first.click()
    assert state.draft.get("merging", "further") == ["/adapters/facts=0.25"]
    assert state.draft.get_spec("merging").further == ("/adapters/facts=0.25",)


def test_run_can_start_from_an_imported_adapter(
    qtbot: QtBot, state: ProjectState, run: RunFolder
) -> None:
    page = show_widget(qtbot, MergingPage(state))
    assert page.import_adapter.isVisible()
    with qtbot.waitSignal(page.import_requested) as signal:
        page.export_base.click()
    assert signal.args == ["model", ""]
    state.set_run(run, "")
    play_events(page, [events.AdapterSaved(id="i", step=0, folder=str(run.adapter), bytes=1)])
    assert page.find_blocker() is None
    assert page.advice.text() == "adapter (1 B), step 0"


@pytest.fixture
def window(qtbot: QtBot, scenario: Callable[..., None]) -> Iterator[Window]:
    """Yield the window with the real pages."""
    main_window = make_window(Preferences(), lazy_pages.make_step_pages)
    qtbot.addWidget(main_window)
    main_window.show()
    yield main_window
    if main_window.jobs.running:
        main_window.jobs.cancel()
        qtbot.waitUntil(lambda: not main_window.jobs.running)
    main_window.state.undo.setClean()
    main_window.close()


def emit(*sequence: events.Event) -> list[dict[str, object]]:
    """Return scenario steps that emit events; the worker fills in their ids."""
    return [{"emit": event.model_dump(mode="json", exclude={"id", "time"})} for event in sequence]


@pytest.mark.slow
def test_primary_button_leads_from_model_to_ollama(
    qtbot: QtBot, window: Window, scenario: Callable[..., None], project_folder: Path
) -> None:
    run = RunFolder(project_folder / "runs" / "x")
    scenario(
        inspect_devices=emit(model_facts.devices()),
        inspect_model=emit(model_facts.model()),
        inspect_dataset=emit(model_facts.dataset()),
        inspect_ollama=emit(events.OllamaFound(host="h", version="0.12", models=())),
        train=[{"steps": 30, "seconds": 0.002}, *emit(finished_events()[0])],
        export=emit(*export_events(run)[1:-1]),
    )
    window.open_project(project_folder)
    window.show_page("model")
    primary = [Qt.Key.Key_Return, Qt.KeyboardModifier.ControlModifier]
    qtbot.waitUntil(lambda: window.state.facts.model is not None)
    for step in ("dataset", "training"):  # the defaults of LoRA are left as they are
        qtbot.keyClick(window, *primary)
        assert window.page_name == step
    qtbot.waitUntil(lambda: window.state.facts.dataset is not None)
    qtbot.keyClick(window, *primary)
    qtbot.waitUntil(lambda: window.pages["training"].is_done())
    qtbot.waitUntil(lambda: not window.jobs.running)
    qtbot.keyClick(window, *primary)
    assert window.page_name == "export", "this export needs no merged model"
    qtbot.keyClick(window, *primary)
    qtbot.waitUntil(window.pages["export"].is_done)
    page: Any = window.pages["export"]
    assert page.result.created.name == "bot"
    qtbot.waitUntil(lambda: not window.jobs.running)


@pytest.mark.slow
def test_buttons_are_disabled_while_a_job_is_ending(
    qtbot: QtBot, state: ProjectState, run: RunFolder
) -> None:
    training, merging = (
        show_widget(qtbot, TrainingPage(state)),
        show_widget(qtbot, MergingPage(state)),
    )
    state.set_run(run, "train")
    for event in started_events() + training_events(3, 60):
        training.on_event(event)
    training.refresh()
    assert training.stop.isEnabled()
    state.set_run(run, "train", stopping=True)
    assert not any(
        button.isEnabled() for button in (training.pause, training.stop, training.checkpoint)
    )
    state.set_run(run, "merge", stopping=True)
    assert not merging.cancel.isEnabled()
    state.set_run(run, "merge")
    assert merging.cancel.isEnabled()


def test_rail_shows_a_paused_training(qtbot: QtBot, state: ProjectState, run: RunFolder) -> None:
    page = show_widget(qtbot, TrainingPage(state))
    assert page.describe_paused() == ""
    state.set_run(run, "train")
    for event in started_events():
        page.on_event(event)
    assert page.describe_paused() == ""
    state.set_run(run)
    page.on_event(events.Done(id="t", paused=True, time=1100))
    assert page.describe_paused() == "paused"
    for event in started_events() + finished_events():
        page.on_event(event)
    assert page.describe_paused() == ""
    assert page.is_done()


@pytest.mark.parametrize(
    ("kind", "command"), [(TrainingPage, "train"), (MergingPage, "merge"), (ExportPage, "export")]
)
def test_failed_job_offers_an_explanation(
    qtbot: QtBot, state: ProjectState, run: RunFolder, kind: type[StepPage], command: str
) -> None:
    page = show_widget(qtbot, kind(state))
    state.set_run(run, command)
    problem = Problem(code="disk.full", what="The disk is full.", remedy="Free some space.")
    page.on_event(events.Started(id="t", command=command, time=1000))
    what_now = (page.verdict if isinstance(page, TrainingPage) else page).what_now
    assert what_now.isHidden()
    state.set_run(run)
    page.on_event(events.Failed(id="t", problem=problem))
    with qtbot.waitSignal(page.explain_requested) as signal:
        what_now.click()
    assert signal.args == [problem]


@pytest.mark.slow  # every page, twice around
def test_tab_order_is_the_same_in_both_directions(
    qtbot: QtBot, window: Window, scenario: Callable[..., None], project_folder: Path
) -> None:
    scenario(inspect_dataset=emit(model_facts.dataset()))
    window.open_project(project_folder)
    qtbot.waitUntil(lambda: window.state.facts.dataset is not None)
    for page in (*STEPS, *window.app_pages):
        window.show_page(page)
        ways = [_focus_path(window, page, key) for key in (Qt.Key.Key_Tab, Qt.Key.Key_Backtab)]
        assert len(ways[0]) >= 3  # an empty page has one button beside the header and the rail
        assert set(ways[0]) == set(ways[1]), page


def _focus_path(window: Window, page: str, key: Qt.Key) -> list[QWidget]:
    """Return the widgets that the key visits from a page's rail button back to it."""
    start = window.rail.button(page)
    start.setFocus()
    way: list[QWidget] = []
    while start not in way:
        QTest.keyClick(window.focusWidget() or window, key)
        here = window.focusWidget()
        assert here is not None
        assert here not in way, way
        way.append(here)
    return way
