"""The card with the curves of a run: beside earlier runs of the project, saved as picture or table."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from PySide6.QtCore import QBuffer, QIODevice, QSize
from PySide6.QtGui import QImage
from PySide6.QtWidgets import QFileDialog, QWidget

from lora_studio.core.curves import metrics
from lora_studio.core.problems import Problem
from lora_studio.core.runs import names
from lora_studio.core.runs.folder import RunFolder, begun_runs
from lora_studio.core.system.files import replaced
from lora_studio.gui.language import tr
from lora_studio.gui.pages.training.picture_dialog import ImageExportDialog
from lora_studio.gui.plots.loss_plot import LossPlot
from lora_studio.gui.plots.picture import picture
from lora_studio.gui.plots.run_curves import RunCurves
from lora_studio.gui.project.state import ProjectState
from lora_studio.gui.text_size import sized
from lora_studio.gui.theme import ColorPalette
from lora_studio.gui.threads import BackgroundReader
from lora_studio.gui.widgets.basics import Card

Work = Callable[[BackgroundReader], object]
Writer = Callable[[Path, BackgroundReader], None]

#: The newest runs are offered beside this one; a menu of thousands is of no use.
_OFFERED = 30


class CurvesCard(Card):
    """Reads and writes in threads of their own; `leave` ends them."""

    def __init__(self, state: ProjectState, parent: QWidget | None = None) -> None:
        """The plot takes the events of the run that is followed."""
        super().__init__("", parent)
        self.state = state
        self.plot = LossPlot()
        sized(self.plot, at_least=270)
        self.add(self.plot)
        self._read: dict[str, RunCurves] = {}
        self._reading: list[BackgroundReader] = []
        self._writing: list[BackgroundReader] = []
        bar = self.plot.bar
        bar.compare_opened.connect(self._offer_runs)
        bar.compare_chosen.connect(self._compare)
        self.plot.save_picture_clicked.connect(self.save_picture)
        self.plot.save_values_clicked.connect(self.save_values)

    def leave(self) -> None:
        """Ends what is under way; harmless when done twice."""
        self._drop(self._reading)
        self._drop(self._writing)

    def clear(self) -> None:
        """Another run, or one of another project; what is being saved is saved."""
        self._drop(self._reading)
        self.plot.bar.untick()
        self._read = {}
        self.plot.clear()
        self._enable_saving()

    def take(self, event: object) -> None:
        """Follows an event of the run."""
        self.plot.take(event)
        self._enable_saving()

    def _enable_saving(self) -> None:
        for action in (self.plot.bar.save_picture, self.plot.bar.save_values):
            action.setEnabled(self.state.run is not None)

    # --- beside other runs --------------------------------------------------------------------

    def _offer_runs(self) -> None:
        folder, ticked = self.state.runs_folder, self.plot.bar.ticked()
        begun = begun_runs(folder, _OFFERED + 1) if folder else []
        found = [run for run in begun if run != self.state.run][:_OFFERED]
        found += [run for key in ticked if (run := RunFolder(Path(key))) not in found]
        self.plot.bar.set_runs([(str(run.path), names.of_folder(run)) for run in found])

    def _compare(self, keys: list[str]) -> None:
        for key in keys:
            if key not in self._read:
                run = RunFolder(Path(key))
                self._read[key] = RunCurves(names.of_folder(run))
                self._begin(
                    self._reading,
                    partial(_series_of, run),
                    partial(self._was_read, key),
                    partial(self._not_read, key),
                )
        self._show_others()

    def _was_read(self, key: str, found: object) -> None:
        assert isinstance(found, metrics.MetricSeries)
        name = names.of_folder(RunFolder(Path(key)))
        self._read[key] = RunCurves.of_series(name, found)
        if not len(found.loss):
            self.state.messages.info(
                tr("The run of {name} has no steps to compare with.").format(name=name)
            )
            self._drop_run(key)
        self._show_others()

    def _not_read(self, key: str, problem: Problem) -> None:
        self._failed(problem)
        self._drop_run(key)

    def _drop_run(self, key: str) -> None:
        """Nothing stays ticked that has no curve; ticked again it is read again."""
        self._read.pop(key, None)
        self.plot.bar.drop(key)

    def _show_others(self) -> None:
        ticked = self.plot.bar.ticked()
        self.plot.set_others([self._read[key] for key in ticked if key in self._read])

    # --- saving -------------------------------------------------------------------------------

    def save_picture(self) -> None:
        """Asks for size and colours, then for a place."""
        dialog = ImageExportDialog(self)
        dialog.chosen.connect(self._save_picture)
        dialog.open()

    def _save_picture(self, size: QSize, palette: ColorPalette) -> None:
        image = picture(self.plot.drawing, size, palette, self._title(), self.plot.entries())
        self._ask_for_place(tr("Save the curves as a picture"), "png", partial(_write_png, image))

    def save_values(self) -> None:
        """Everything that was measured in the runs shown, by step."""
        if self.state.run is not None:
            runs = [self.state.run, *(RunFolder(Path(key)) for key in self.plot.bar.ticked())]
            self._ask_for_place(tr("Save the values as a table"), "csv", partial(_write_csv, runs))

    def _ask_for_place(self, title: str, kind: str, write: Writer) -> None:
        name = f"{self.state.name or 'run'}-curves.{kind}"
        folder = self.state.draft.folder or Path.home()
        what = tr("Pictures (*.png)") if kind == "png" else tr("Tables (*.csv)")
        dialog = QFileDialog(self, title, str(folder), what)
        dialog.setAcceptMode(QFileDialog.AcceptMode.AcceptSave)
        dialog.setDefaultSuffix(kind)
        dialog.selectFile(name)
        dialog.fileSelected.connect(lambda file: self._write(Path(file), write))
        dialog.finished.connect(dialog.deleteLater)
        dialog.open()

    def _write(self, file: Path, write: Writer) -> None:
        self._begin(
            self._writing,
            lambda thread: write(file, thread),
            lambda _: self.state.messages.info(
                tr("Saved {name} in {parent}.").format(name=file.name, parent=file.parent)
            ),
        )

    def _title(self) -> str:
        return names.of_folder(self.state.run) if self.state.run else ""

    # --- threads ------------------------------------------------------------------------------

    def _begin(
        self,
        among: list[BackgroundReader],
        work: Work,
        then: Callable[[object], None],
        failed: Callable[[Problem], None] | None = None,
    ) -> None:
        thread = BackgroundReader(work, self)
        thread.done.connect(then)
        thread.failed.connect(failed or self._failed)
        thread.finished.connect(partial(self._ended, thread, among))
        among.append(thread)
        thread.start()

    def _failed(self, problem: Problem) -> None:
        self.state.messages.problem(problem)

    def _ended(self, thread: BackgroundReader, among: list[BackgroundReader]) -> None:
        if thread in among:
            among.remove(thread)
            thread.deleteLater()

    def _drop(self, threads: list[BackgroundReader]) -> None:
        for thread in threads:
            thread.drop()
            thread.deleteLater()
        threads.clear()


def _series_of(run: RunFolder, thread: BackgroundReader) -> metrics.MetricSeries:
    run.events_file.stat()  # `events` passes over a file that is not there
    return metrics.series(thread.cooperative_iter(run.events()))


def _write_csv(runs: list[RunFolder], file: Path, thread: BackgroundReader) -> None:
    found = {names.of_folder(run): _series_of(run, thread) for run in runs}
    with replaced(file) as out:
        for line in thread.cooperative_iter(metrics.csv_lines(found)):
            out.write(line.encode("utf-8"))


def _write_png(image: QImage, file: Path, thread: BackgroundReader) -> None:
    buffer = QBuffer()
    buffer.open(QIODevice.OpenModeFlag.WriteOnly)
    image.save(buffer, "PNG")  # type: ignore[call-overload]  # the format is typed as bytes
    with replaced(file) as out:
        out.write(bytes(buffer.data().data()))
