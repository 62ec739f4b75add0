"""The merging page: plan, progress and result."""

from __future__ import annotations

from typing import Any

from PySide6.QtWidgets import QAbstractButton, QDoubleSpinBox
from pytestqt.qtbot import QtBot

from lora_studio.core.protocol import events
from lora_studio.core.runs import step_records
from lora_studio.core.runs.folder import RunFolder
from lora_studio.gui.pages.merging import MergingPage
from lora_studio.gui.project.state import ProjectState
from tests.gui.conftest import WAIT
from tests.helpers.runs.job_events import (
    finished_events,
    merge_events,
    play_events,
    show_widget,
    started_events,
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
    qtbot.waitUntil(lambda: bool(questions), timeout=WAIT)
    assert questions[-1].run == str(run.path)
    play_events(page, [planned(free=1_000_000_000, finished_shards=1, by_peft="it uses x")])
    facts = page.facts.get_facts()
    assert facts["Tensors to update"] == "196 of 290 tensors"
    assert facts["Disk space"] == "✗ 6.4 GB required, only 1 GB available"
    assert facts["Completed files"] == "1 of 2 (from an earlier attempt)"
    assert facts["PEFT merge"] == "it uses x"
    state.set("merging", "dtype", "fp16")
    qtbot.waitUntil(lambda: questions[-1].merging.dtype == "fp16", timeout=WAIT)


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
