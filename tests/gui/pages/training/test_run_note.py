"""Notes of a run: saved while typing, marked in the curve where they name a step."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from lora_studio.cli import event_text
from lora_studio.core.curves.verdict import divergence_verdict
from lora_studio.core.protocol import events
from lora_studio.core.protocol.evaluation_text import describe_predictions
from lora_studio.core.runs import folder
from lora_studio.core.runs.annotations import RunAnnotations, list_noted_steps
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.tasks.classification import ClassificationReport
from lora_studio.gui import theme
from lora_studio.gui.pages.training import verdict_card
from lora_studio.gui.pages.training.page import LogView, SampleView, TrainingPage
from lora_studio.gui.plots.loss_plot import LossPlot
from lora_studio.gui.project.state import ProjectState
from lora_studio.gui.text_size import Size


@pytest.fixture
def run(state: ProjectState, project_folder: Path) -> RunFolder:
    """Return a run that has a title."""
    assert state.open(project_folder)
    new_run = folder.create_run(project_folder / "runs", state.draft.freeze(), project_folder)
    new_run.write_about(RunAnnotations(title="Best", tags=("night",)))
    return new_run


@pytest.fixture
def page(qtbot: QtBot, state: ProjectState, run: RunFolder) -> Iterator[TrainingPage]:
    """Yield the page of a run at its second step."""
    training_page = TrainingPage(state)
    training_page.resize(1100, 740)
    training_page.show()
    state.set_run(run, "train")
    training_page.on_event(events.Started(id="t", command="train", time=1000))
    for step in (1, 2):
        training_page.on_event(_step(step))
    yield training_page
    training_page.stop_background_work()
    training_page.close()
    training_page.deleteLater()


def _step(step: int) -> events.StepDone:
    return events.StepDone(
        id="t", step=step, steps=60, epoch=0.1, loss=2.0 / step, learning_rate=1e-4, grad_norm=1.0,
        tokens=10, tokens_per_s=5.0, memory_bytes=1, eta_s=1.0,
    )  # fmt: skip


def test_note_lines_with_a_step_are_recognized() -> None:
    assert list_noted_steps("@120 slower\nsee @7\n@7: a spike\n@120 again\n@x") == (7, 120)


def test_note_at_the_current_step_is_saved_and_marked(
    qtbot: QtBot, page: TrainingPage, run: RunFolder
) -> None:
    qtbot.keyClick(page, Qt.Key.Key_M, Qt.KeyboardModifier.ControlModifier)
    assert page.tabs.currentWidget() is page.note
    qtbot.keyClicks(page.note.text, "a spike")
    assert (2.0, "note") in page.plot.run.marks
    assert page.plot.run.list_marks_near(2, 0.5) == ["note"]
    page.stop_background_work()
    assert run.read_about() == RunAnnotations(title="Best", tags=("night",), notes="@2 a spike")


def test_notes_are_reloaded_and_belong_to_their_run(
    page: TrainingPage, run: RunFolder, state: ProjectState, project_folder: Path
) -> None:
    run.write_about(RunAnnotations(notes="@1 from the Runs page"))
    page.on_shown()
    assert page.note.text.toPlainText() == "@1 from the Runs page"
    assert page.plot.run.marks == [(1, "note")]
    other = folder.create_run(project_folder / "runs", state.draft.freeze(), project_folder)
    state.set_run(other, "")
    assert page.note.text.toPlainText() == ""
    assert page.plot.run.marks == []
    assert run.read_about().notes == "@1 from the Runs page"


def test_notes_of_a_deleted_run_are_not_written(
    page: TrainingPage, run: RunFolder, project_folder: Path
) -> None:
    page.note.text.setPlainText("too late")
    run.path.rename(project_folder / "gone")
    page.note.commit()
    assert not run.path.exists()


def test_samples_get_more_height_and_break_long_words(qtbot: QtBot, page: TrainingPage) -> None:
    before = page.tabs.minimumHeight()
    page.on_event(
        events.Sampled(id="t", step=2, index=0, source="tuned", prompt="Hi", text="x" * 3000)
    )
    page.tabs.setCurrentWidget(page.samples)
    assert page.tabs.minimumHeight() > before + 80
    QApplication.processEvents()
    view = SampleView()
    qtbot.addWidget(view)
    view.resize(400, 200)
    view.show()
    view.add(events.Sampled(step=2, index=0, source="tuned", prompt="Hi", text="x" * 3000))
    QApplication.processEvents()
    assert view.widget().width() <= view.viewport().width()
    assert view.get_answers()[(0, "tuned")] == "x" * 3000


def test_curve_of_one_step_is_visible(qtbot: QtBot, qapp: QApplication) -> None:
    theme.apply(qapp, "light")
    plot = LossPlot()
    qtbot.addWidget(plot)
    plot.resize(600, 400)
    plot.show()
    plot.add_event(_step(1))
    plot.redraw_now()
    qapp.processEvents()
    image = plot.chart.grab().toImage()
    color = theme.get_palette().loss.lower()
    colors = {
        image.pixelColor(x, y).name() for x in range(image.width()) for y in range(image.height())
    }
    assert color in colors


def test_plots_follow_the_text_size(qtbot: QtBot, qapp: QApplication) -> None:
    theme.apply(qapp, "light")
    plot = LossPlot()
    qtbot.addWidget(plot)
    plot.show()
    before = plot.chart.view.getPlotItem().getAxis("left").maximumWidth()
    try:
        theme.get_theme().set_text_size(150)
        assert plot.chart.view.getPlotItem().getAxis("left").maximumWidth() == Size.scaled(
            round(before)
        )
        assert plot.strip.minimumHeight() < plot.strip.maximumHeight()
    finally:
        theme.get_theme().set_text_size(100)
    assert plot.strip.minimumHeight() < plot.chart.minimumHeight()


FIRST, SECOND = divergence_verdict("The loss rose."), divergence_verdict("The loss rose more.")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return a list whose only value is the time, in seconds, that the card reads."""
    now = [100.0]
    monkeypatch.setattr(verdict_card.time, "monotonic", lambda: now[0])
    return now


def test_warning_stays_for_its_duration_after_the_cause_is_gone(clock: list[float]) -> None:
    warning = verdict_card.StickyWarning(seconds=10)
    assert warning.update(None) is None
    assert warning.update(FIRST) is FIRST
    clock[0] += 9
    assert warning.update(None) is FIRST
    clock[0] += 2
    assert warning.update(None) is None


def test_newer_warning_replaces_the_older_and_restarts_the_time(clock: list[float]) -> None:
    warning = verdict_card.StickyWarning(seconds=10)
    warning.update(FIRST)
    clock[0] += 9
    assert warning.update(SECOND) is SECOND
    clock[0] += 9
    assert warning.update(None) is SECOND


def test_cleared_warning_is_gone_immediately(clock: list[float]) -> None:
    warning = verdict_card.StickyWarning(seconds=10)
    warning.update(FIRST)
    warning.clear()
    assert warning.update(None) is None


_METRICS = {"recall_at_1": 0.25, "recall_at_5": 0.5, "recall_at_10": 0.75, "mrr": 0.4}
_REPORT = ClassificationReport(labels=("a", "b"), confusion=((0, 0, 3), (1, 0, 1)))


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (events.Evaluated(step=0, loss=1.5, metrics=_METRICS), "Before training: recall@1 25 %"),
        (events.Evaluated(step=8, loss=1.5, metrics=_METRICS), "step 8: loss 1.50, recall@1 25 %"),
        (events.Evaluated(step=8, loss=0.5, classification=_REPORT), "accuracy 75 %, macro F1 42.9 %"),
    ],
)  # fmt: skip
def test_terminal_and_log_say_the_same_of_predictions(
    qtbot: QtBot, event: events.Evaluated, expected: str
) -> None:
    log = LogView()
    qtbot.addWidget(log)
    log.on_event(event)
    said = str(event_text.describe(event))
    assert expected in said
    assert said in log.toPlainText()


def test_log_says_that_training_started(qtbot: QtBot) -> None:
    log = LogView()
    qtbot.addWidget(log)
    log.on_event(events.Started(command="train"))
    assert log.toPlainText().endswith("  Training started")


def test_other_evaluations_have_only_a_loss() -> None:
    assert describe_predictions(events.Evaluated(step=8, loss=0.5)) is None
