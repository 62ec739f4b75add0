"""The adapters to serve: the chosen run's first, others of the same base model below, each with a scale."""

from __future__ import annotations

from functools import partial

from PySide6.QtWidgets import QGridLayout, QLabel, QMenu, QToolButton, QWidget

from lora_studio.core import serving
from lora_studio.core.problems import Problem
from lora_studio.core.protocol.serving import ServedRun
from lora_studio.core.serving import RunOption
from lora_studio.gui.controls.weight_editor import WeightEditor
from lora_studio.gui.language import tr
from lora_studio.gui.project.state import ProjectState
from lora_studio.gui.theme import Spacing
from lora_studio.gui.threads import TaskRunner
from lora_studio.gui.widgets.basics import button, row, tool_button
from lora_studio.gui.widgets.glyph import ElidedLabel
from lora_studio.gui.widgets.tooltips import plain_tip


class ServedAdapters(QWidget):
    """Lists the adapters to serve, with a menu of runs to add."""

    def __init__(self, state: ProjectState, parent: QWidget | None = None) -> None:
        """Start without a run."""
        super().__init__(parent)
        self._state = state
        self._tasks = TaskRunner(self._on_failed, self)
        self.runs: list[RunOption] = []
        self.scales: list[WeightEditor] = []
        self._rows: list[tuple[QLabel, WeightEditor, QToolButton]] = []
        self.menu = QMenu(self)
        self.add = button(tr("Add adapter…"), icon="plus")
        self.add.setMenu(self.menu)
        self.menu.aboutToShow.connect(self._search)
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setHorizontalSpacing(Spacing.S)
        self._grid.setVerticalSpacing(Spacing.XS)
        self._grid.setColumnStretch(0, 1)
        self._grid.addLayout(row(self.add, None), 1000, 0, 1, 3)

    def set_run(self, run: RunOption | None) -> None:
        """Replace all adapters by that of one run, or none."""
        while self.runs:
            self._remove(self.runs[-1])
        if run is not None:
            self._append(run)

    def get_chosen(self) -> tuple[ServedRun, ...]:
        """Return the runs with their scales."""
        pairs = zip(self.runs, self.scales, strict=True)
        return tuple(ServedRun(run=str(run.path), scale=box.value()) for run, box in pairs)

    def leave(self) -> None:
        """End the search: the window is closing."""
        self._tasks.leave()

    def _append(self, run: RunOption) -> None:
        name, scale = ElidedLabel(run.name), WeightEditor(1.0, run.name)
        name.setToolTip(plain_tip(f"{run.name}\n{run.path}"))
        remove = tool_button("close", tr("Remove {name}").format(name=run.name))
        remove.clicked.connect(partial(self._remove, run))
        remove.setVisible(bool(self.runs))  # the chosen run stays
        number = len(self.runs)
        for column, part in enumerate((name, scale, remove)):
            self._grid.addWidget(part, number, column)
        self.runs.append(run)
        self.scales.append(scale)
        self._rows.append((name, scale, remove))

    def _remove(self, run: RunOption, *_: object) -> None:
        number = self.runs.index(run)
        for part in self._rows.pop(number):
            self._grid.removeWidget(part)
            part.hide()
            part.deleteLater()
        del self.runs[number], self.scales[number]

    def _search(self) -> None:
        """Fill the menu with the runs of this base model."""
        self.menu.clear()
        self.menu.addAction(tr("Looking for runs…")).setEnabled(False)
        runs, first = self._state.runs_folder, self.runs[0] if self.runs else None
        if runs is None or first is None:
            return
        self._tasks.start(
            lambda thread: list(
                thread.cooperative_iter(serving.iter_runs_of_base(runs, first.path))
            ),
            self._fill_menu,
        )

    def _on_failed(self, problem: object) -> None:
        assert isinstance(problem, Problem)
        self._state.messages.problem(problem)

    def _fill_menu(self, options: object) -> None:
        self.menu.clear()
        assert isinstance(options, list)
        for option in options:
            if option not in self.runs:
                self.menu.addAction(option.name).triggered.connect(partial(self._on_chosen, option))
        if self.menu.isEmpty():
            self.menu.addAction(tr("No other run has this base model")).setEnabled(False)

    def _on_chosen(self, option: RunOption, *_: object) -> None:
        self._append(option)
