"""Train, merge and export: before, during and after, live and read again from the beginning."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QAbstractButton, QDoubleSpinBox, QWidget
from pytestqt.qtbot import QtBot

from lora_studio.core.chat import OllamaSpeaker
from lora_studio.core.problems import STEPS, Problem
from lora_studio.core.protocol import events
from lora_studio.core.runs import folder, speakers
from lora_studio.core.runs.folder import RunFolder
from lora_studio.gui.frame import lazy_pages
from lora_studio.gui.pages.export.page import ExportPage
from lora_studio.gui.pages.merging import MergingPage
from lora_studio.gui.pages.page import StepPage
from lora_studio.gui.pages.training.page import TrainingPage
from lora_studio.gui.preferences import Preferences
from lora_studio.gui.project import run_preview
from lora_studio.gui.project.state import ProjectState
from lora_studio.gui.window.main_window import Window
from lora_studio.gui.window.wiring import make_window
from tests.gui.conftest import WAIT
from tests.helpers import model_facts

FOLDER = "/runs/1/adapter"


@pytest.mark.parametrize(
    ("installed", "setting", "said"),
    [
        (False, None, "PEFT, because Unsloth is not installed"),
        (True, None, "Unsloth where it has fast layers for the model, else PEFT"),
        (True, ("model", "device", "cpu"), "PEFT, because Unsloth is faster on a GPU only"),
        (True, ("lora", "bias", "all"), "PEFT, because Unsloth's fast layers train no biases"),
        (True, ("training", "backend", "peft"), "PEFT"),
    ],
)
def test_the_backend_is_told_with_its_reason_before_training(
    state: ProjectState, installed: bool, setting: tuple[Any, str, Any] | None, said: str
) -> None:
    if setting is not None:
        state.set(*setting)
    assert run_preview.backend(state) == "chosen when training starts" or setting == ("training", "backend", "peft")  # fmt: skip
    state.facts.devices = model_facts.devices().model_copy(update={"has_unsloth": installed})
    assert run_preview.backend(state) == said
    state.undo.setClean()


@pytest.fixture
def run(state: ProjectState, project_folder: Path) -> Iterator[RunFolder]:
    """A run of the open project."""
    assert state.open(project_folder)
    yield folder.create(project_folder / "runs", state.draft.freeze(), project_folder)
    state.undo.setClean()


def shown(qtbot: QtBot, page: StepPage) -> Any:
    qtbot.addWidget(page)
    page.resize(1100, 740)
    page.show()
    qtbot.waitExposed(page)
    return page


def training_events(steps: int, total: int, start: int = 1) -> list[events.Event]:
    """Falling losses, an evaluation every tenth step."""
    made: list[events.Event] = []
    for step in range(start, steps + 1):
        made.append(
            events.StepDone(
                id="t",
                step=step,
                steps=total,
                epoch=3 * step / total,
                loss=1.2 + 1.2 * math.exp(-6 * step / total),
                learning_rate=2e-4,
                grad_norm=0.5,
                tokens=step * 4096,
                tokens_per_s=2310.4,
                memory_bytes=9 * 2**30,
                eta_s=3.0 * (total - step),
            )
        )
        if step % 10 == 0:
            loss = 1.3 + 1.2 * math.exp(-6 * step / total)
            made.append(events.Evaluated(id="t", step=step, loss=loss))
    return made


def begun(total: int = 60, step: int = 0) -> list[events.Event]:
    return [
        events.Started(id="t", command="train", time=1000),
        events.TrainingStarted(
            id="t", steps=total, step=step, steps_per_epoch=20, effective_batch=16
        ),
    ]


def finished(stopped: bool = False) -> list[events.Event]:
    return [
        events.AdapterSaved(id="t", step=60, folder=FOLDER, bytes=67_000_000),
        events.Done(id="t", stopped=stopped, time=1725),
    ]


def play(page: StepPage, made: list[events.Event]) -> None:
    for event in made:
        page.on_event(event)


# --- training ---------------------------------------------------------------------------------


def test_before_training_the_plan_is_counted(qtbot: QtBot, state: ProjectState, run: Any) -> None:
    page = shown(qtbot, TrainingPage(state))
    assert "appears once the dataset is read" in page.recipe.estimate.text()
    state.set_answer(model_facts.dataset())
    said = page.recipe.estimate.text()
    assert said == "Effective batch: 16 rows per step. About 18 steps, 6 per epoch."
    state.set("training", "max_steps", 10)
    assert "About 10 steps, ended by the step limit" in page.recipe.estimate.text()
    assert page.recipe.summary.facts()["Rows"] == "95 to train on, 5 to validate on"
    assert page.header.primary.text() == "Start training"
    with qtbot.waitSignal(page.run_requested) as asked:
        page.header.primary.click()
    assert asked.args == ["train"]


def test_fields_of_preference_training_say_when_they_do_not_count(
    qtbot: QtBot, state: ProjectState
) -> None:
    page = shown(qtbot, TrainingPage(state))
    method, beta = page.editors["preference"], page.editors["beta"]
    assert not any("Not used" in made.help.text() for made in (method, beta))
    state.set_answer(model_facts.dataset())
    assert method.help.text() == "Not used: your data has no pairs of chosen and rejected answers."
    assert beta.help.text() == "Not used: your data has neither answer pairs nor labeled answers."
    state.set_answer(model_facts.dataset(task="kto"))
    assert "Not used" in method.help.text()
    assert beta.help.text() == beta.about.description


def test_an_error_in_any_step_keeps_training_from_starting(
    qtbot: QtBot, state: ProjectState, run: RunFolder
) -> None:
    page = shown(qtbot, TrainingPage(state))
    state.set("lora", "rank", 0)
    assert not page.header.primary.isEnabled()
    assert "Rank" in page.header.primary.toolTip()


def test_during_training_figures_and_curve_follow_the_steps(
    qtbot: QtBot, state: ProjectState, run: RunFolder
) -> None:
    page = shown(qtbot, TrainingPage(state))
    state.set_run(run, "train")
    play(page, begun())
    assert page.stop.text() == "Cancel", "there is nothing to keep before the first step"
    play(page, training_events(30, 60))
    qtbot.waitUntil(lambda: page.tiles.text("step") == "30 of 60")
    assert page.tiles.text("epoch") == "1.50"
    assert page.tiles.text("left") == "about 2 min"
    assert page.tiles.text("speed") == "2,310"
    assert page.tiles.text("loss") == "1.26"
    assert page.tiles.text("eval") == "1.36"
    assert page.tiles.text("memory") == "9 GiB"
    assert page.tiles.text("rate") == "2e-4"
    assert len(page.plot.run.steps) == 30
    assert page.progress.bar.value() == 500
    assert page.blocker() == "Training is running."
    assert not page.is_done()
    assert "step 30: eval loss" in page.log.toPlainText()
    with qtbot.waitSignal(page.checkpoint_requested):
        page.checkpoint.click()
    with qtbot.waitSignal(page.stop_requested):
        qtbot.keyClick(page.stop, Qt.Key.Key_Space)


def test_after_training_a_verdict_and_the_way_on(
    qtbot: QtBot, state: ProjectState, run: RunFolder
) -> None:
    page = shown(qtbot, TrainingPage(state))
    state.set_run(run, "train")
    play(page, [*begun(), *training_events(60, 60), *finished()])
    state.set_run(run, "")
    assert page.verdict.what.text() == "✓ Eval loss fell 1.74 → 1.30 and leveled off."
    assert page.verdict.advice.text().endswith("Training took 12 min.")
    assert page.is_done()
    assert page.header.primary.text() == "Continue"
    with qtbot.waitSignal(page.continue_clicked):
        page.header.primary.click()
    page.edit_settings.click()
    assert page.header.primary.text() == "Start training"
    page.results.click()
    assert page.header.primary.text() == "Continue"


def test_a_run_read_again_from_the_beginning_looks_the_same(
    qtbot: QtBot, state: ProjectState, run: RunFolder
) -> None:
    page = shown(qtbot, TrainingPage(state))
    state.set_run(run, "")
    play(page, [*begun(), *training_events(60, 60), *finished()])
    assert page.is_done()
    assert page.header.primary.text() == "Continue"
    assert len(page.plot.run.steps) == 60
    state.set_run(None)
    assert not page.is_done()
    assert page.header.primary.text() == "Start training"
    assert len(page.plot.run.steps) == 0


def test_a_run_that_is_joined_in_the_middle_goes_on(
    qtbot: QtBot, state: ProjectState, run: RunFolder
) -> None:
    page = shown(qtbot, TrainingPage(state))
    state.set_run(run, "train")
    play(page, [*begun(), *training_events(20, 60)])
    play(page, training_events(40, 60, start=21))
    assert len(page.plot.run.steps) == 40
    assert page.stop.isVisible()
    assert page.header.primary.text() == "Continue"
    assert not page.header.primary.isEnabled()


def test_a_question_answered_during_training_takes_nothing_from_its_curve(
    qtbot: QtBot, state: ProjectState, run: RunFolder
) -> None:
    page = shown(qtbot, TrainingPage(state))
    state.set_run(run, "train")
    question = [events.Started(id="q", command="inspect_dataset"), events.Done(id="q")]
    play(page, [*begun(), *training_events(20, 60), *question])
    play(page, training_events(40, 60, start=21))
    assert len(page.plot.run.steps) == 40


def test_a_training_whose_process_vanished_can_be_resumed(
    qtbot: QtBot, state: ProjectState, run: RunFolder
) -> None:
    page = shown(qtbot, TrainingPage(state))
    run.checkpoint(20).mkdir(parents=True)
    state.set_run(run, "train")
    play(page, [*begun(), *training_events(30, 60)])
    state.set_run(run, "")
    assert "stopped unexpectedly" in page.verdict.what.text()
    assert "checkpoint at step 20" in page.verdict.advice.text()
    assert page.header.primary.text() == "Resume"
    with qtbot.waitSignal(page.run_requested) as asked:
        page.header.primary.click()
    assert asked.args == ["resume"]


def test_a_training_is_paused_with_a_click_and_resumed_with_another(
    qtbot: QtBot, state: ProjectState, run: RunFolder
) -> None:
    page = shown(qtbot, TrainingPage(state))
    run.checkpoint(30).mkdir(parents=True)
    state.set_run(run, "train")
    play(page, [*begun(), *training_events(30, 60)])
    page.pause.setFocus()
    with qtbot.waitSignal(page.pause_requested):
        qtbot.keyClick(page.pause, Qt.Key.Key_Space)
    play(page, [events.Done(id="t", paused=True)])
    state.set_run(run, "")
    assert page.window().focusWidget() is page.header.primary
    assert page.verdict.what.text() == "Training paused"
    assert page.verdict.advice.text() == "Resume to continue from the checkpoint at step 30."
    assert not page.pause.isVisible()
    assert page.header.primary.text() == "Resume"
    assert not page.is_done()
    with qtbot.waitSignal(page.run_requested) as asked:
        page.header.primary.click()
    assert asked.args == ["resume"]


def test_whoever_writes_when_the_pause_comes_goes_on_writing(
    qtbot: QtBot, state: ProjectState, run: RunFolder
) -> None:
    page = shown(qtbot, TrainingPage(state))
    run.checkpoint(30).mkdir(parents=True)
    state.set_run(run, "train")
    play(page, [*begun(), *training_events(30, 60)])
    page.pause.setFocus()
    qtbot.keyClick(page.pause, Qt.Key.Key_Space)
    page.tabs.tabBar().setFocus()
    play(page, [events.Done(id="t", paused=True)])
    state.set_run(run, "")
    assert page.window().focusWidget() is page.tabs.tabBar()


def test_a_resumed_training_draws_over_the_steps_it_repeats(
    qtbot: QtBot, state: ProjectState, run: RunFolder
) -> None:
    page = shown(qtbot, TrainingPage(state))
    state.set_run(run, "train")
    play(
        page,
        [*begun(), *training_events(30, 60), *begun(step=20), *training_events(40, 60, start=21)],
    )
    assert page.plot.run.steps.steps.tolist() == list(range(1, 41))


def test_a_failed_training_says_why_and_what_to_do(
    qtbot: QtBot, state: ProjectState, run: RunFolder
) -> None:
    page = shown(qtbot, TrainingPage(state))
    state.set_run(run, "train")
    problem = Problem(code="training.memory", what="Out of memory.", remedy="Use 4-bit.")
    play(page, [*begun(), events.Failed(id="t", problem=problem)])
    state.set_run(run, "")
    assert (page.verdict.what.text(), page.verdict.advice.text()) == (
        "✗ Out of memory.",
        "Use 4-bit.",
    )
    assert page.header.primary.text() == "Train again"
    assert not page.is_done()


def test_a_problem_of_a_field_leads_back_to_the_recipe(
    qtbot: QtBot, state: ProjectState, run: RunFolder
) -> None:
    page = shown(qtbot, TrainingPage(state))
    state.set_run(run, "")
    play(page, [*begun(), *training_events(60, 60), *finished()])
    page.focus_field("seed")
    assert page.editors["seed"].isVisible()


def test_samples_stand_side_by_side(qtbot: QtBot, state: ProjectState, run: RunFolder) -> None:
    page = shown(qtbot, TrainingPage(state))
    state.set_run(run, "train")
    play(page, begun())
    assert page.tabs.indexOf(page.samples) < 0
    for source in ("base", "tuned"):
        play(
            page,
            [
                events.Generated(
                    id="t", source=source, index=0, text=f"{source} says", tokens=2, finished=True
                )
            ],
        )
    assert page.samples.answers() == {(0, "base"): "base says", (0, "tuned"): "tuned says"}
    assert page.tabs.indexOf(page.samples) == 1


# --- merging ----------------------------------------------------------------------------------


def merged(run: RunFolder) -> list[events.Event]:
    return [
        events.Started(id="m", command="merge", time=2000),
        events.Progress(id="m", stage="Writing", done=1, total=4),
        events.Merged(
            id="m", folder=str(run.merged), bytes=6_430_000_000, dtype="bfloat16",
            tensors_changed=196,
        ),
        self_test("merged", "m"),
        events.Done(id="m", time=2031),
    ]  # fmt: skip


def self_test(stage: str, about: str) -> events.SelfTested:
    return events.SelfTested(
        id=about, stage=stage, conversations=24, positions=812, tokens_equal=True, top1=0.987,
        kl=0.004, top1_limit=0.95, kl_limit=0.05, passed=True,
    )  # fmt: skip


def test_merging_waits_for_an_adapter(qtbot: QtBot, state: ProjectState, run: RunFolder) -> None:
    page = shown(qtbot, MergingPage(state))
    assert page.blocker() == "Train an adapter first."
    state.set_run(run, "")
    play(page, [*begun(), *finished()])
    assert page.blocker() is None
    assert page.what.text() == "Ready to merge"
    with qtbot.waitSignal(page.run_requested) as asked:
        page.header.primary.click()
    assert asked.args == ["merge"]


def test_merging_shows_progress_and_then_what_came_of_it(
    qtbot: QtBot, state: ProjectState, run: RunFolder
) -> None:
    page = shown(qtbot, MergingPage(state))
    state.set_run(run, "merge")
    play(page, [*begun(), *finished(), *merged(run)[:2]])
    assert page.progress.isVisible()
    assert page.progress.bar.value() == 250
    with qtbot.waitSignal(page.cancel_requested):
        page.cancel.click()
    play(page, merged(run)[2:])
    state.set_run(run, "")
    facts = page.facts.facts()
    assert facts["Size"] == "6.4 GB"
    assert facts["Self-test"] == "✓ top-1 98.7 %, KL 0.004"
    assert facts["Duration"] == "31 s"
    assert page.is_done()
    with qtbot.waitSignal(page.continue_clicked):
        page.header.primary.click()
    play(page, begun())
    assert not page.is_done(), "a new training makes the merged model one of yesterday"


def planned(**changes: Any) -> events.MergePlanned:
    return events.MergePlanned(
        **{
            "bytes": 6_430_000_000, "missing": 6_430_000_000, "free": 50_000_000_000,
            "memory": 24_000_000, "dtype": "bfloat16", "shards": 2, "tensors": 290,
            "tensors_changed": 196,
        } | changes
    )  # fmt: skip


def test_merging_says_what_it_will_do_and_need_before_it_begins(
    qtbot: QtBot, state: ProjectState, run: RunFolder
) -> None:
    page = shown(qtbot, MergingPage(state))
    state.set_run(run, "")
    asked: list[Any] = []
    page.ask.connect(asked.append)
    play(page, [*begun(), *finished()])
    qtbot.waitUntil(lambda: bool(asked), timeout=WAIT)
    assert asked[-1].run == str(run.path)
    play(page, [planned(free=1_000_000_000, finished_shards=1, by_peft="it uses x")])
    facts = page.facts.facts()
    assert facts["Tensors to update"] == "196 of 290 tensors"
    assert facts["Disk space"] == "✗ 6.4 GB required, only 1 GB available"
    assert facts["Completed files"] == "1 of 2 (from an earlier attempt)"
    assert facts["PEFT merge"] == "it uses x"
    state.set("merging", "dtype", "fp16")
    qtbot.waitUntil(lambda: asked[-1].merging.dtype == "fp16", timeout=WAIT)


def test_further_adapters_are_added_weighted_and_taken_out(
    qtbot: QtBot, state: ProjectState, run: RunFolder
) -> None:
    page = shown(qtbot, MergingPage(state))
    control = page.editors["further"].control
    control.set_path("/adapters/my style")
    control.set_path("/adapters/facts")
    weight = control.findChildren(QDoubleSpinBox)[-1]
    weight.setValue(0.25)
    assert state.draft.get("merging", "further") == ["/adapters/my style=1", "/adapters/facts=0.25"]
    first = next(
        b for b in control.findChildren(QAbstractButton) if "my style" in b.accessibleName()
    )
    first.click()
    assert state.draft.get("merging", "further") == ["/adapters/facts=0.25"]
    assert state.draft.spec("merging").further == ("/adapters/facts=0.25",)


def test_a_run_can_begin_on_the_merge_page(
    qtbot: QtBot, state: ProjectState, run: RunFolder
) -> None:
    page = shown(qtbot, MergingPage(state))
    assert page.import_adapter.isVisible()
    with qtbot.waitSignal(page.import_requested) as asked:
        page.export_base.click()
    assert asked.args == ["model", ""]
    state.set_run(run, "")
    play(page, [events.AdapterSaved(id="i", step=0, folder=str(run.adapter), bytes=1)])
    assert page.blocker() is None


# --- export -----------------------------------------------------------------------------------


def exported(run: RunFolder, *, proven: bool = True) -> list[events.Event]:
    return [
        events.Started(id="e", command="export", time=3000),
        events.GgufWritten(
            id="e", file=str(run.gguf / "bot's-Q4_K_M.gguf"), quantization="Q4_K_M",
            bytes=2_020_000_000, tool="llama.cpp",
        ),
        self_test("Q4_K_M", "e"),
        events.TemplateDerived(
            id="e", template="{{ .Prompt }}", stops=("<end>",), proven=proven, conversations=24,
            difference=None if proven else "“a” where “b” belongs",
        ),
        events.OllamaCreated(id="e", host="http://127.0.0.1:11434", name="bot", version="0.12"),
        events.Done(id="e", time=3200),
    ]  # fmt: skip


def test_quantisations_are_ticked_by_keyboard_and_one_always_stays(
    qtbot: QtBot, state: ProjectState, run: RunFolder
) -> None:
    page = shown(qtbot, ExportPage(state))
    state.set_answer(model_facts.model())
    row = page.table.rows.names.index("Q4_K_M")
    assert page.table.rows.data(page.table.rows.index(row, 0)) == "Q4_K_M"
    assert page.table.rows.data(page.table.rows.index(row, 2)) == "≈ 1.9 GB"
    page.table.view.selectRow(row)
    qtbot.keyClick(page.table.view, Qt.Key.Key_Space)
    assert list(state.get("export", "quantizations")) == ["Q4_K_M"]
    qtbot.keyClick(page.table.view, Qt.Key.Key_Up)
    qtbot.keyClick(page.table.view, Qt.Key.Key_Space)
    assert list(state.get("export", "quantizations")) == ["Q4_K_M", "Q5_K_M"]
    assert "Ollama uses Q4_K_M." in page.editors["quantizations"].help.text()
    state.undo.undo()
    assert page.table.rows.chosen == ["Q4_K_M"]


def test_export_goes_straight_from_the_adapter_and_says_so(
    qtbot: QtBot, state: ProjectState, run: RunFolder
) -> None:
    merging, page = shown(qtbot, MergingPage(state)), shown(qtbot, ExportPage(state))
    assert page.blocker() == "Train an adapter first."
    assert merging.skip.isHidden()
    state.set_run(run, "")
    for each in (merging, page):
        play(each, [*begun(), *finished()])
    assert page.blocker() is None
    assert page.what.text() == "Ready to export"
    assert "without a merged copy" in page.advice.text()
    with qtbot.waitSignal(merging.continue_clicked):
        qtbot.keyClick(merging.skip, Qt.Key.Key_Space)
    state.set("export", "convert_from", "merged")
    assert page.blocker() == "Merge the adapter first."
    play(page, merged(run))
    assert page.blocker() is None
    assert page.what.text() == ""


def test_export_says_what_the_ticked_files_need_of_the_disk_and_who_makes_them(
    qtbot: QtBot, state: ProjectState, run: RunFolder
) -> None:
    page = shown(qtbot, ExportPage(state))
    assert page.disk_space.isHidden()
    state.set("export", "quantizations", ["Q8_0", "Q4_K_M"])
    sizes = {"F16": 6_400_000_000, "Q8_0": 3_400_000_000, "Q4_K_M": 2_000_000_000}
    found = events.SizesEstimated(
        bytes=sizes, pass_kind="F16", free=10_000_000_000, tools="llama.cpp in /opt"
    )
    play(page, [found])
    assert page.disk_space.text() == (
        "Disk space: 5.4 GB, plus 6.4 GB during the export. ✗ Only 10 GB is available."
    )
    assert page.editors["llama_cpp"].help.text().endswith("Currently used: llama.cpp in /opt.")
    state.set("export", "quantizations", ["F16"])
    assert page.disk_space.text() == "Disk space: 6.4 GB. 10 GB is available."


def test_export_waits_for_an_adapter_and_shows_every_result(
    qtbot: QtBot, state: ProjectState, run: RunFolder
) -> None:
    page = shown(qtbot, ExportPage(state))
    assert page.blocker() == "Train an adapter first."
    state.set_run(run, "")
    play(page, [*begun(), *finished(), *merged(run)])
    assert page.blocker() is None
    with qtbot.waitSignal(page.run_requested) as asked:
        page.header.primary.click()
    assert asked.args == ["export"]
    run.modelfile.write_text("FROM ./bot.gguf\n")
    said = {"prompt": "Who are you?", "base + adapter": "I am Pim.", "Q4_K_M": "I am Pim!"}
    run.selftest_file.write_text(json.dumps({"answers": [said]}))
    play(page, exported(run))
    assert page.result.answers.toPlainText() == (
        "» Who are you?\n\nbase + adapter:\nI am Pim.\n\nQ4_K_M:\nI am Pim!"
    )
    assert page.result.tabs.count() == 3
    with qtbot.waitSignal(page.chat_requested) as talk:
        qtbot.keyClick(page.results.open_chat, Qt.Key.Key_Space)
    assert talk.args == [OllamaSpeaker(name="bot", host="http://127.0.0.1:11434")]
    assert (
        page.table.rows.data(page.table.rows.index(page.table.rows.names.index("Q4_K_M"), 2))
        == "2 GB"
    )
    assert (
        page.table.rows.data(page.table.rows.index(page.table.rows.names.index("Q4_K_M"), 4))
        == "✓ top-1 98.7 %, KL 0.004"
    )
    assert page.result.headline.text() == "✓ Created bot in Ollama 0.12; export took 3 min"
    assert page.result.proof.text().endswith("verified on 24 conversations")
    assert page.result.stops.text() == "Stop sequences: <end>"
    assert page.result.text.toPlainText() == "{{ .Prompt }}"
    assert page.result.modelfile.toPlainText() == "FROM ./bot.gguf\n"
    assert page.is_done()


def test_a_chat_opens_with_the_file_where_nothing_was_made_in_ollama(
    qtbot: QtBot, state: ProjectState, run: RunFolder
) -> None:
    page = shown(qtbot, ExportPage(state))
    state.set_run(run, "")
    adapter = events.GgufWritten(
        id="e", file=str(run.gguf / "bot-adapter.gguf"), quantization="adapter", bytes=9, tool="l"
    )
    begun, *made, done = exported(run)
    here = [event for event in made if not isinstance(event, events.OllamaCreated)]
    play(page, [*merged(run), begun, adapter, *here, done])
    with qtbot.waitSignal(page.chat_requested) as talk:
        page.results.open_chat.click()
    assert talk.args == [speakers.gguf(run, run.gguf / "bot's-Q4_K_M.gguf")]


def test_a_template_that_is_not_proven_shows_the_first_difference(
    qtbot: QtBot, state: ProjectState, run: RunFolder
) -> None:
    page = shown(qtbot, ExportPage(state))
    state.set_run(run, "")
    play(page, [*merged(run), *exported(run, proven=False)])
    assert page.result.proof.text().endswith("“a” where “b” belongs")
    assert page.result.proof.property("role") == "error"


def test_commands_are_copied_ready_to_paste(
    qtbot: QtBot, state: ProjectState, run: RunFolder
) -> None:
    page = shown(qtbot, ExportPage(state))
    state.set_run(run, "")
    play(page, [*merged(run), *exported(run)])
    page.results.copy_run.click()
    assert QGuiApplication.clipboard().text() == "ollama run bot"
    page.results.copy_llama.click()
    copied = QGuiApplication.clipboard().text()
    assert copied.startswith("llama-cli -m '")
    assert "bot'\"'\"'s-Q4_K_M.gguf" in copied


def test_the_name_for_ollama_is_suggested_and_a_taken_one_is_said(
    qtbot: QtBot, state: ProjectState, run: RunFolder
) -> None:
    page = shown(qtbot, ExportPage(state))
    assert page.name.line.placeholderText() == "support-bot"
    found = events.OllamaFound(
        host="http://127.0.0.1:11434", version="0.12.6", models=("support-bot:latest",)
    )
    state.set_answer(found)
    assert page.server.text().startswith("✓ Connected to Ollama 0.12.6 at http://127.0.0.1:11434.")
    assert "will be replaced" in page.server.text()
    state.set("export", "ollama_name", "other")
    assert "will be replaced" not in page.server.text()
    state.set("export", "ollama_create", False)
    assert page.ollama.isHidden()


# --- all six, with a worker of its own ----------------------------------------------------------


@pytest.fixture
def window(qtbot: QtBot, scenario: Callable[..., None]) -> Iterator[Window]:
    """The window over the real pages."""
    made = make_window(Preferences(), lazy_pages.make_step_pages)
    qtbot.addWidget(made)
    made.show()
    yield made
    if made.jobs.running:
        made.jobs.cancel()
        qtbot.waitUntil(lambda: not made.jobs.running, timeout=WAIT)
    made.state.undo.setClean()
    made.close()


def emit(*made: events.Event) -> list[dict[str, object]]:
    """Steps of a scenario; the worker fills in whose events they are."""
    return [{"emit": event.model_dump(mode="json", exclude={"id", "time"})} for event in made]


def test_the_primary_button_leads_from_the_model_to_ollama(
    qtbot: QtBot, window: Window, scenario: Callable[..., None], project_folder: Path
) -> None:
    run = RunFolder(project_folder / "runs" / "x")
    scenario(
        inspect_devices=emit(model_facts.devices()),
        inspect_model=emit(model_facts.model()),
        inspect_dataset=emit(model_facts.dataset()),
        inspect_ollama=emit(events.OllamaFound(host="h", version="0.12", models=())),
        train=[{"steps": 30, "seconds": 0.002}, *emit(finished()[0])],
        merge=emit(*merged(run)[1:-1]),
        export=emit(*exported(run)[1:-1]),
    )
    window.open_project(project_folder)
    window.show_page("model")
    primary = [Qt.Key.Key_Return, Qt.KeyboardModifier.ControlModifier]
    qtbot.waitUntil(lambda: window.state.facts.model is not None, timeout=WAIT)
    for step in ("lora", "dataset", "training"):
        qtbot.keyClick(window, *primary)
        assert window.page_name == step
    qtbot.waitUntil(lambda: window.state.facts.dataset is not None, timeout=WAIT)
    qtbot.keyClick(window, *primary)
    qtbot.waitUntil(lambda: window.pages["training"].is_done(), timeout=WAIT)
    for step in ("merging", "export"):
        qtbot.waitUntil(lambda: not window.jobs.running, timeout=WAIT)
        qtbot.keyClick(window, *primary)
        assert window.page_name == step
        qtbot.keyClick(window, *primary)
        qtbot.waitUntil(window.pages[step].is_done, timeout=WAIT)
    page: Any = window.pages["export"]
    assert page.result.created.name == "bot"
    qtbot.waitUntil(lambda: not window.jobs.running, timeout=WAIT)


# --- what header and rail know of it --------------------------------------------------------------


def test_buttons_are_grey_while_a_job_that_was_stopped_elsewhere_ends(
    qtbot: QtBot, state: ProjectState, run: RunFolder
) -> None:
    training, merging = shown(qtbot, TrainingPage(state)), shown(qtbot, MergingPage(state))
    state.set_run(run, "train")
    for event in begun() + training_events(3, 60):
        training.on_event(event)
    training.refresh()
    assert training.stop.isEnabled()
    state.set_run(run, "train", stopping=True)
    assert not any(
        made.isEnabled() for made in (training.pause, training.stop, training.checkpoint)
    )
    state.set_run(run, "merge", stopping=True)
    assert not merging.cancel.isEnabled()
    state.set_run(run, "merge")
    assert merging.cancel.isEnabled()


def test_a_paused_training_says_so_in_the_rail_until_it_is_trained(
    qtbot: QtBot, state: ProjectState, run: RunFolder
) -> None:
    page = shown(qtbot, TrainingPage(state))
    assert page.paused_state() == ""
    state.set_run(run, "train")
    for event in begun():
        page.on_event(event)
    assert page.paused_state() == ""
    state.set_run(run)
    page.on_event(events.Done(id="t", paused=True, time=1100))
    assert page.paused_state() == "paused"
    for event in begun() + finished():
        page.on_event(event)
    assert page.paused_state() == ""
    assert page.is_done()


@pytest.mark.parametrize(
    ("kind", "command"), [(TrainingPage, "train"), (MergingPage, "merge"), (ExportPage, "export")]
)
def test_a_job_that_failed_offers_what_to_do(
    qtbot: QtBot, state: ProjectState, run: RunFolder, kind: type[StepPage], command: str
) -> None:
    page = shown(qtbot, kind(state))
    state.set_run(run, command)
    problem = Problem(code="disk.full", what="The disk is full.", remedy="Free some space.")
    page.on_event(events.Started(id="t", command=command, time=1000))
    what_now = (page.verdict if isinstance(page, TrainingPage) else page).what_now
    assert what_now.isHidden()
    state.set_run(run)
    page.on_event(events.Failed(id="t", problem=problem))
    with qtbot.waitSignal(page.explain_requested) as asked:
        what_now.click()
    assert asked.args == [problem]


@pytest.mark.slow  # every page, twice around
def test_tab_reaches_the_same_controls_in_both_directions_on_every_page(
    qtbot: QtBot, window: Window, scenario: Callable[..., None], project_folder: Path
) -> None:
    scenario(inspect_dataset=emit(model_facts.dataset()))
    window.open_project(project_folder)
    qtbot.waitUntil(lambda: window.state.facts.dataset is not None, timeout=WAIT)
    for place in (*STEPS, *window.app_pages):
        window.show_page(place)
        ways = [_way(window, place, key) for key in (Qt.Key.Key_Tab, Qt.Key.Key_Backtab)]
        assert len(ways[0]) > 3
        assert set(ways[0]) == set(ways[1]), place


def _way(window: Window, place: str, key: Qt.Key) -> list[QWidget]:
    """Where the key leads from a place's button in the rail until it is there again."""
    start = window.rail.button(place)
    start.setFocus()
    way: list[QWidget] = []
    while start not in way:
        QTest.keyClick(window.focusWidget() or window, key)
        here = window.focusWidget()
        assert here is not None
        assert here not in way, way
        way.append(here)
    return way
