"""The card with the curves of a run: compare it with earlier runs, save an image or a CSV file."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Literal

from PySide6.QtCore import QBuffer, QIODevice, QSize, Signal
from PySide6.QtGui import QImage
from PySide6.QtWidgets import QComboBox, QWidget

from lora_studio.core.curves import metrics
from lora_studio.core.problems import Problem
from lora_studio.core.runs import names
from lora_studio.core.runs.folder import RunFolder, list_started_runs
from lora_studio.core.system.files import open_atomic
from lora_studio.gui import theme
from lora_studio.gui.language import mark, tr
from lora_studio.gui.plots.drawing import render_picture
from lora_studio.gui.plots.loss_plot import LossPlot
from lora_studio.gui.plots.run_curves import RunCurvesReader, read_series
from lora_studio.gui.project.state import ProjectState
from lora_studio.gui.text_size import set_scaled_sizes
from lora_studio.gui.theme import ColorPalette
from lora_studio.gui.threads import BackgroundReader, TaskRunner
from lora_studio.gui.widgets.basics import Card, button, with_title
from lora_studio.gui.widgets.dialog import Dialog
from lora_studio.gui.widgets.file_dialogs import choose_file_to_write

Writer = Callable[[Path, BackgroundReader], None]

#: Number of recent runs that the Compare menu lists.
_MAX_COMPARED_RUNS = 30


class CurvesCard(Card):
    """Shows the loss plot, and reads and writes files in background threads."""

    def __init__(self, state: ProjectState, parent: QWidget | None = None) -> None:
        """Build the card with an empty plot."""
        super().__init__("", parent)
        self.state = state
        self.plot = LossPlot()
        set_scaled_sizes(self.plot, at_least=270)
        self.add(self.plot)
        self.reader, self._writing = RunCurvesReader(self), TaskRunner(self._report, self)
        self.reader.changed.connect(self._on_read)
        self.reader.failed.connect(self._on_read_failed)
        self.reader.warned.connect(self._report)
        bar = self.plot.bar
        bar.compare_opened.connect(self._offer_runs)
        bar.compare_chosen.connect(self._compare)
        self.plot.save_picture_clicked.connect(self.save_picture)
        self.plot.save_values_clicked.connect(self.save_values)
        state.run_changed.connect(self._enable_saving)
        self._enable_saving()

    def stop_background_work(self) -> None:
        """End the background threads. Can be called repeatedly."""
        self.reader.stop_background_work()
        self._writing.stop_background_work()

    def clear(self) -> None:
        """Reset the card for another run; files that are being written are completed."""
        self.reader.stop_background_work()
        self.plot.bar.untick()
        self.plot.clear()

    def _enable_saving(self) -> None:
        for action in (self.plot.bar.save_picture, self.plot.bar.save_values):
            action.setEnabled(self.state.run is not None)

    # --- comparison ---------------------------------------------------------------------------

    def _offer_runs(self) -> None:
        folder, ticked = self.state.runs_folder, self.plot.bar.list_checked()
        recent = list_started_runs(folder, _MAX_COMPARED_RUNS + 1) if folder else []
        runs = [run for run in recent if run != self.state.run][:_MAX_COMPARED_RUNS]
        runs += [run for key in ticked if (run := RunFolder(Path(key))) not in runs]
        self.plot.bar.set_runs([(str(run.path), names.read_run_name(run)) for run in runs])

    def _compare(self, keys: list[str]) -> None:
        runs = [(key, RunFolder(Path(key))) for key in keys]
        self.reader.set_runs([(key, run, names.read_run_name(run), 0.0) for key, run in runs])
        self._show_others()

    def _on_read(self, key: str) -> None:
        curves = self.reader.get_curves(key)
        if not len(curves.steps):
            self.state.messages.info(
                tr("{name} has no training steps to compare.").format(name=curves.name)
            )
            self.plot.bar.drop(key)
        self._show_others()

    def _on_read_failed(self, key: str, problem: Problem) -> None:
        self._report(problem)
        self.plot.bar.drop(key)

    def _show_others(self) -> None:
        self.plot.set_others([self.reader.get_curves(key) for key in self.plot.bar.list_checked()])

    # --- saving -------------------------------------------------------------------------------

    def save_picture(self) -> None:
        """Ask for the size and the colors, then for the file."""
        dialog = ImageExportDialog(self)
        dialog.chosen.connect(self._save_picture)
        dialog.open()

    def _save_picture(self, size: QSize, palette: ColorPalette) -> None:
        image = render_picture(
            self.plot.drawing, size, palette, self._make_title(), self.plot.list_entries()
        )
        self._ask_for_file(tr("Save chart as image"), "png", partial(_write_png, image))

    def save_values(self) -> None:
        """Save all metrics of the runs shown as CSV, one line per step."""
        if self.state.run is not None:
            runs = [self.state.run, *(RunFolder(Path(key)) for key in self.plot.bar.list_checked())]
            self._ask_for_file(tr("Save metrics as CSV"), "csv", partial(_write_csv, runs))

    def _ask_for_file(self, title: str, kind: Literal["png", "csv"], write: Writer) -> None:
        name = f"{self.state.name or 'run'}-curves.{kind}"
        folder = self.state.draft.folder or Path.home()
        file_filter = tr("Images (*.png)") if kind == "png" else tr("CSV files (*.csv)")
        choose_file_to_write(
            self, title, lambda file: self._write(Path(file), write), folder / name, file_filter
        )

    def _write(self, file: Path, write: Writer) -> None:
        self._writing.start(
            lambda thread: write(file, thread),
            lambda _: self.state.messages.success(
                tr("Saved {name} to {parent}.").format(name=file.name, parent=file.parent)
            ),
        )

    def _make_title(self) -> str:
        return names.read_run_name(self.state.run) if self.state.run else ""

    def _report(self, problem: object) -> None:
        assert isinstance(problem, Problem)
        self.state.messages.problem(problem)


def _write_csv(runs: list[RunFolder], file: Path, thread: BackgroundReader) -> None:
    series = {names.read_run_name(run): read_series(run, thread) for run in runs}
    with open_atomic(file) as out:
        for line in thread.cooperative_iter(metrics.iter_csv_lines(series)):
            out.write(line.encode("utf-8"))


def _write_png(image: QImage, file: Path, thread: BackgroundReader) -> None:
    buffer = QBuffer()
    buffer.open(QIODevice.OpenModeFlag.WriteOnly)
    image.save(buffer, "PNG")  # type: ignore[call-overload]  # the format is typed as bytes
    with open_atomic(file) as out:
        out.write(bytes(buffer.data().data()))


SIZES = (
    (mark("Report"), QSize(1600, 1000)),
    (mark("Slide"), QSize(1920, 1080)),
    (mark("Small"), QSize(1000, 640)),
    (mark("Poster"), QSize(3840, 2160)),
)


class ImageExportDialog(Dialog):
    """Asks for the size and the colors of the image.

    Signals:
        chosen(size, palette): size in pixels, and the color palette.
    """

    chosen = Signal(QSize, object)

    def __init__(self, parent: QWidget | None = None) -> None:
        """Preselect the colors of the current theme."""
        super().__init__(tr("Save chart as image"), "", parent)
        self.size_choice, self.colors = QComboBox(), QComboBox()
        for name, size in SIZES:
            self.size_choice.addItem(
                tr("{name}, {width} × {height} pixels").format(
                    name=tr(name), width=size.width(), height=size.height()
                ),
                size,
            )
        for palette, name in ((theme.LIGHT, tr("Light")), (theme.DARK, tr("Dark"))):
            self.colors.addItem(name, palette)
        self.colors.setCurrentIndex(1 if theme.get_palette() == theme.DARK else 0)
        self.size_choice.setAccessibleName(tr("Size"))
        self.colors.setAccessibleName(tr("Colors"))
        self.body.addWidget(with_title(tr("Size"), self.size_choice))
        self.body.addWidget(with_title(tr("Colors"), self.colors))
        self.add_button(button(tr("Cancel"), self.reject))
        self.save = self.add_button(button(tr("Save…"), self._choose, kind="primary"), default=True)

    def _choose(self) -> None:
        self.accept()
        self.chosen.emit(self.size_choice.currentData(), self.colors.currentData())
