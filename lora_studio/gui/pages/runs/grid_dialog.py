"""Dialog for a grid search over one or two settings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from PySide6.QtCore import QTimer, Signal
from PySide6.QtWidgets import QWidget

from lora_studio.core import formatting
from lora_studio.core.memory import estimate
from lora_studio.core.problems import ProblemError
from lora_studio.core.project import linked_settings
from lora_studio.core.runs import copies, grid_search
from lora_studio.core.runs.copies import Axis
from lora_studio.core.runs.index import RunSummary
from lora_studio.core.training.spec import TrainingSpec
from lora_studio.gui.language import tr, tr_n
from lora_studio.gui.message_translation import localize
from lora_studio.gui.pages.runs.axis_editor import AxisEditor
from lora_studio.gui.project import memory_plan
from lora_studio.gui.project.state import ProjectState
from lora_studio.gui.widgets.basics import button, label
from lora_studio.gui.widgets.dialog import Dialog


class GridDialog(Dialog):
    """Asks for settings and values, and shows the number of runs and the estimated time.

    Signals:
        chosen(axes): the settings with their values, for `copies.grid`.
    """

    chosen = Signal(list)

    def __init__(
        self,
        state: ProjectState,
        earlier: Sequence[RunSummary],
        parent: QWidget | None = None,
    ) -> None:
        """Estimate the time from the project, or from the `earlier` runs if that isn't possible."""
        text = tr(
            "Queues a run for every combination of values. All other settings come from the "
            "project."
        )
        super().__init__(tr("Grid search"), text, parent)
        self._state, self._earlier = state, earlier
        self.first = AxisEditor(tr("First setting"), "lora.rank")
        self.second = AxisEditor(tr("Second setting"), "training.learning_rate", optional=True)
        self.total = label(wrap=True)
        for part in (self.first, self.second, self.total):
            self.body.addWidget(part)
        self.add_button(button(tr("Cancel"), self.reject))
        self.add = self.add_button(
            button(tr("Add to queue"), self._accept, kind="primary"), default=True
        )
        self.first.changed.connect(self._check)
        self.second.changed.connect(self._check)
        for editor in (self.first, self.second):  # line edits consume Enter and Esc
            editor.numbers.entered.connect(self.add.click)
            editor.numbers.reverted.connect(self.reject)
        self._check()

    def list_axes(self) -> list[Axis]:
        """Return the settings with their values."""
        editors = [editor for editor in (self.first, self.second) if editor.name]
        return [(editor.name, tuple(editor.parse_values())) for editor in editors]

    def _check(self) -> None:
        self._show_total()
        QTimer.singleShot(0, self, self._fit)  # runs after the layouts have processed the changes

    def _fit(self) -> None:
        layout = self.layout()
        assert layout is not None
        for editor in (self.first, self.second):
            editor.fit(layout.contentsRect().width())
        layout.activate()
        self.resize(self.width(), layout.totalHeightForWidth(self.width()))

    def _show_total(self) -> None:
        is_valid = True
        for editor in (self.first, self.second):
            editor.show_error(self._find_error(editor))
            is_valid = is_valid and editor.error.isHidden()
        try:
            count = len(copies.list_combinations(self.list_axes()))
        except ProblemError as error:
            text = f"{localize(error.problems[0].what)} {localize(error.problems[0].remedy)}"
            self.total.setText(text if is_valid else "")
            self.add.setEnabled(False)
            return
        self.add.setEnabled(is_valid)
        self.add.setText(tr_n("Add {n} run to queue", "Add {n} runs to queue", count))
        self.total.setText(self._describe_total(count) if is_valid else "")

    def _find_error(self, editor: AxisEditor) -> str:
        if not editor.name:
            return ""
        if editor is self.second and editor.name == self.first.name:
            return tr("This setting is already selected as the first setting.")
        values = editor.parse_values()
        for value in values:
            if problem := grid_search.check_value(self._state.draft, editor.name, value):
                return f"{localize(problem.what)} {localize(problem.remedy)}"
        return "" if values else tr("Enter at least one value.")

    def _describe_total(self, count: int) -> str:
        lines = [self._describe_time(count)]
        names = {editor.name for editor in (self.first, self.second)}
        ratio = linked_settings.get_ratio(self._state.get, ("lora", "rank"))
        if "lora.rank" in names and "lora.alpha" not in names and ratio is not None:
            lines.append(
                tr("Alpha stays {ratio} × rank.").format(
                    ratio=formatting.format_float(ratio, ".3g")
                )
            )
        return "\n".join(lines)

    def _describe_time(self, count: int) -> str:
        seconds = self._estimate_seconds()
        if seconds is None:
            return tr_n(
                "{n} run. An estimate of the time appears after the first run.",
                "{n} runs. An estimate of the time appears after the first run.",
                count,
            )
        time = formatting.format_duration(seconds)
        return tr_n("{n} run, about {time}", "{n} runs, about {time} in total", count, time=time)

    def _estimate_seconds(self) -> float | None:
        """Return the estimated seconds of all runs together, None if unknown."""
        estimates = [
            self._run_seconds(values) for values in copies.list_combinations(self.list_axes())
        ]
        if all(each is not None for each in estimates):
            return math.fsum(each for each in estimates if each is not None)
        recent = [run.seconds for run in self._earlier if run.has_adapter and run.seconds > 0][:5]
        return len(estimates) * math.fsum(recent) / len(recent) if recent else None

    def _run_seconds(self, values: tuple[object, ...]) -> float | None:
        plan = memory_plan.make_plan(self._state)
        if plan is None:
            return None
        changes = {
            setting.partition(".")[2]: value
            for (setting, _), value in zip(self.list_axes(), values, strict=True)
            if setting.startswith("training.")
        }
        try:
            training = TrainingSpec.model_validate(plan.training.model_dump() | changes)
        except ValueError:
            return None
        return estimate.estimate_seconds(replace(plan, training=training))

    def _accept(self) -> None:
        self.accept()
        self.chosen.emit(self.list_axes())
