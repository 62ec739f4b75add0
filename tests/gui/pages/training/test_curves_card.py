"""The curves card: comparison with earlier runs, image export and CSV export."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import pytest
from PySide6.QtCore import QCoreApplication, QSize, Qt
from PySide6.QtGui import QImage
from PySide6.QtWidgets import QFileDialog
from pytestqt.qtbot import QtBot

from lora_studio.core.protocol import events
from lora_studio.core.runs.folder import RunFolder
from lora_studio.gui import theme
from lora_studio.gui.pages.training.curves_card import CurvesCard, ImageExportDialog
from lora_studio.gui.project.state import ProjectState
from tests.gui.plots.test_plots import step_done


def write_run(folder: Path, name: str, loss: float, steps: int = 40, **more: object) -> RunFolder:
    run = RunFolder(folder / "runs" / name)
    run.path.mkdir(parents=True)
    run.project_file.write_text("")
    recorded = [
        events.TrainingStarted(steps=steps, steps_per_epoch=20, effective_batch=4),
        *(step_done(step, loss + 0.1 / step, steps, **more) for step in range(1, steps + 1)),
        events.Evaluated(step=steps, loss=loss + 0.2),
    ]
    run.events_file.write_text("".join(events.to_line(event) + "\n" for event in recorded))
    return run


@pytest.fixture
def card(qtbot: QtBot, state: ProjectState, project_folder: Path) -> Iterator[CurvesCard]:
    """Yield the card of the newest of three runs."""
    write_run(project_folder, "20260102-090000-first", 3.0)
    write_run(project_folder, "20260103-090000-second", 2.5, metrics={"margin": 0.4})
    run = write_run(project_folder, "20260104-101500-third", 2.0)
    state.open(project_folder)
    state.set_run(run)
    curves_card = CurvesCard(state)
    for event in run.iter_events():
        curves_card.plot.add_event(event)
    qtbot.addWidget(curves_card)
    curves_card.resize(800, 520)
    curves_card.show()
    yield curves_card
    curves_card.stop_background_work()


def compare(qtbot: QtBot, card: CurvesCard, *names: str) -> None:
    """Tick runs in the menu and wait until they are drawn."""
    for name in names:
        card.plot.bar.compare_opened.emit()
        (action,) = [a for a in card.plot.bar.compare.menu().actions() if name in a.text()]
        action.trigger()
    qtbot.waitUntil(lambda: all(len(run.steps) for run in card.plot.others))


@pytest.mark.slow
def test_earlier_runs_are_picked_from_a_menu_and_plotted(qtbot: QtBot, card: CurvesCard) -> None:
    card.plot.bar.compare_opened.emit()
    offered = [action.text() for action in card.plot.bar.compare.menu().actions()]
    assert offered == ["3 Jan, 09:00:00 · second", "2 Jan, 09:00:00 · first"]
    compare(qtbot, card, "first", "second")
    assert [run.name for run in card.plot.others] == [
        "2 Jan, 09:00:00 · first",
        "3 Jan, 09:00:00 · second",
    ]
    card.plot.read_at(40)
    assert "loss, A 3.0" in card.plot.readout.text()
    assert "eval loss, B 2.70" in card.plot.readout.text()
    card.plot.bar.compare_opened.emit()
    card.plot.bar.compare.menu().actions()[-1].trigger()
    assert card.plot.others == []


def test_run_without_steps_is_reported(
    qtbot: QtBot, card: CurvesCard, project_folder: Path
) -> None:
    write_run(project_folder, "20260101-000000-empty", 2.0, steps=0)
    posted: list[str] = []
    card.state.messages.posted.connect(lambda message: posted.append(message.text))
    card.state.messages.connect_view()
    card.plot.bar.compare_opened.emit()
    card.plot.bar.compare.menu().actions()[2].trigger()
    qtbot.waitUntil(lambda: bool(posted))
    assert posted == ["1 Jan, 00:00:00 · empty has no training steps to compare."]
    assert card.plot.bar.list_checked() == []


def test_unreadable_run_is_reported_and_unticked(
    qtbot: QtBot, card: CurvesCard, project_folder: Path
) -> None:
    card.plot.bar.compare_opened.emit()
    (project_folder / "runs" / "20260102-090000-first" / "events.jsonl").unlink()
    posted: list[str] = []
    card.state.messages.posted.connect(lambda message: posted.append(message.text))
    card.state.messages.connect_view()
    card.plot.bar.compare.menu().actions()[1].trigger()
    qtbot.waitUntil(lambda: bool(posted))
    assert "events.jsonl" in str(posted[0])
    assert card.plot.bar.list_checked() == []
    assert card.plot.others == []


def test_clearing_the_card_removes_compared_runs(qtbot: QtBot, card: CurvesCard) -> None:
    compare(qtbot, card, "first")
    card.clear()
    assert card.plot.others == []
    assert card.plot.bar.list_checked() == []


def test_leaving_the_card_ends_the_reading(card: CurvesCard) -> None:
    card.plot.bar.compare_opened.emit()
    card.plot.bar.compare.menu().actions()[0].trigger()
    card.stop_background_work()
    assert not card.reader.is_reading


def save(qtbot: QtBot, card: CurvesCard, file: Path) -> None:
    """Choose a file in the file dialog and wait until it is written."""
    dialog = card.findChild(QFileDialog)
    assert dialog is not None
    assert dialog.acceptMode() == QFileDialog.AcceptMode.AcceptSave
    dialog.fileSelected.emit(str(file))
    dialog.close()
    qtbot.waitUntil(file.exists)


@pytest.mark.slow
@pytest.mark.parametrize("palette", [theme.LIGHT, theme.DARK], ids=["light", "dark"])
def test_exported_image_has_the_chosen_size_and_theme(
    qtbot: QtBot, card: CurvesCard, tmp_path: Path, palette: theme.ColorPalette
) -> None:
    compare(qtbot, card, "first")
    qtbot.keyClick(card, Qt.Key.Key_E, Qt.KeyboardModifier.ControlModifier)
    dialog = card.findChild(ImageExportDialog)
    assert dialog is not None
    dialog.size_choice.setCurrentIndex(2)
    dialog.colors.setCurrentIndex(0 if palette == theme.LIGHT else 1)
    dialog.save.click()
    save(qtbot, card, tmp_path / "curves.png")
    image = QImage(str(tmp_path / "curves.png"))
    assert image.size() == QSize(1000, 640)
    colors = {image.pixelColor(x, y).name().upper() for x in range(1000) for y in range(0, 640, 2)}
    assert image.pixelColor(2, 2).name().upper() == palette.card
    for color in (palette.loss, palette.evaluation, palette.series[2], palette.learning_rate):
        assert color in colors


def test_exported_csv_has_every_metric_of_every_shown_run(
    qtbot: QtBot, card: CurvesCard, tmp_path: Path
) -> None:
    compare(qtbot, card, "second")
    shift_ctrl = Qt.KeyboardModifier.ControlModifier | Qt.KeyboardModifier.ShiftModifier
    qtbot.keyClick(card, Qt.Key.Key_E, shift_ctrl)
    save(qtbot, card, tmp_path / "values.csv")
    with (tmp_path / "values.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 80
    assert rows[39]["run"] == "4 Jan, 10:15:00 · third"
    assert float(rows[39]["loss"]) == 2.0 + 0.1 / 40
    assert float(rows[39]["eval_loss"]) == 2.2
    assert rows[0]["eval_loss"] == ""
    assert rows[0]["margin"] == ""
    assert rows[40]["margin"] == "0.4"


def test_csv_export_finishes_when_another_run_starts(
    qtbot: QtBot, card: CurvesCard, tmp_path: Path
) -> None:
    card.save_values()
    dialog = card.findChild(QFileDialog)
    assert dialog is not None
    dialog.fileSelected.emit(str(tmp_path / "values.csv"))
    dialog.close()
    card.clear()
    qtbot.waitUntil((tmp_path / "values.csv").exists)


def test_unwritable_csv_file_is_reported(qtbot: QtBot, card: CurvesCard, tmp_path: Path) -> None:
    posted: list[str] = []
    card.state.messages.posted.connect(lambda message: posted.append(message.text))
    card.state.messages.connect_view()
    (tmp_path / "file").write_text("")
    card.save_values()
    dialog = card.findChild(QFileDialog)
    assert dialog is not None
    dialog.fileSelected.emit(str(tmp_path / "file" / "values.csv"))
    dialog.close()
    qtbot.waitUntil(lambda: bool(posted))
    assert "File exists" in str(posted[0])
    QCoreApplication.processEvents()
