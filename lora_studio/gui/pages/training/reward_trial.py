"""Panel beside the rewards that rates answers of the base model before anything is trained."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import Qt
from PySide6.QtWidgets import (
    QTableWidgetItem,
    QWidget,
)

from lora_studio.core import formatting
from lora_studio.core.dataset.spec import DatasetSpec
from lora_studio.core.model.spec import ModelSpec
from lora_studio.core.problems import Problem
from lora_studio.core.protocol import commands, events
from lora_studio.core.protocol.training import PREVIEW_ROWS, PreviewAnswer
from lora_studio.core.training.spec import TrainingSpec
from lora_studio.gui.jobs.worker_on_demand import OnDemandWorker
from lora_studio.gui.language import tr
from lora_studio.gui.message_translation import localize, localize_stage
from lora_studio.gui.plots.metrics import format_reward_name
from lora_studio.gui.project.state import ProjectState
from lora_studio.gui.text_size import Size
from lora_studio.gui.theme import Spacing
from lora_studio.gui.widgets import tables
from lora_studio.gui.widgets.basics import button, column, label, row, set_role
from lora_studio.gui.widgets.progress_line import ProgressLine

_NOTHING = "–"
#: The least width of a column, in pixels at 100 %; with many rewards, the table scrolls.
_LEAST_WIDTH = 150


class RewardTrial(QWidget):
    """Lets the base model answer a few rows in a worker, and shows each answer with its rewards.

    The worker ends with the answer, so that its memory is free for the training.
    """

    def __init__(self, state: ProjectState, parent: QWidget | None = None) -> None:
        """Show the button only."""
        super().__init__(parent)
        self._state = state
        self.worker = OnDemandWorker(self)
        self._latest = ""  # ID of the command whose events are shown
        self.start_button = button(tr("Try it"), self.start, icon="play")
        self.cancel_button = button(tr("Cancel"), self.worker.cancel, icon="stop")
        about = label(
            tr(
                "Before training, lets the base model answer {rows} rows and shows the rewards of its answers."
            ).format(rows=PREVIEW_ROWS),
            "caption",
            wrap=True,
        )
        self.progress = ProgressLine()
        self.problems = label("", "warn", wrap=True)
        self.table = tables.make_table(tr("Completions of the base model and their rewards"))
        self.table.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        layout = column(
            row(self.start_button, self.cancel_button, about, spacing=Spacing.M),
            self.progress,
            self.problems,
            self.table,
            spacing=Spacing.M,
        )
        layout.setContentsMargins(0, 0, 0, 0)
        self.setLayout(layout)
        self.worker.event_received.connect(self._on_event)
        self.worker.busy_changed.connect(self._on_busy_changed)
        state.opened.connect(self.clear)
        state.value_changed.connect(self.refresh)
        self.clear()

    # --- user actions -------------------------------------------------------------------------

    def start(self) -> None:
        """Try the rewards with the settings of now."""
        if (command := self._make_command()) is None or self.worker.busy:
            return
        self._show_result([], [])
        self._latest = command.id
        self.progress.show_progress(tr("Starting…"), None)
        self.worker.send(command)

    def release(self) -> None:
        """End a trial: a job needs the memory."""
        self.worker.release()

    def stop_background_work(self) -> None:
        """End the worker, and start no other: the window is closing."""
        self.worker.stop_background_work()

    def clear(self) -> None:
        """Forget the result: another project was opened."""
        self._latest = ""
        self.worker.release()
        self._show_result([], [])
        self.refresh()

    def refresh(self, *_: object) -> None:
        """Enable the button if there are valid settings to try, and no job runs."""
        busy = self.worker.busy
        self.start_button.setEnabled(
            not busy and not self._state.running and self._make_command() is not None
        )
        self.cancel_button.setVisible(busy)
        self.progress.setVisible(busy)

    def _make_command(self) -> commands.PreviewRewards | None:
        model, dataset, training = (
            self._state.get_spec(step) for step in ("model", "dataset", "training")
        )
        if not (
            isinstance(model, ModelSpec)
            and isinstance(dataset, DatasetSpec)
            and isinstance(training, TrainingSpec)
        ):
            return None
        if not (model.source and dataset.sources and training.rewards):
            return None
        return commands.PreviewRewards(model=model, dataset=dataset, training=training)

    # --- events -------------------------------------------------------------------------------

    def _on_event(self, event: events.Event) -> None:
        if event.id != self._latest:
            return
        match event:
            case events.Progress():
                share = event.done / event.total if event.total else None
                self.progress.show_progress(localize_stage(event.stage), share, event.eta_s)
            case events.RewardsPreviewed():
                self._show_result(event.answers, event.problems)
            case events.Failed():
                self._show_result([], [event.problem])

    def _on_busy_changed(self, busy: bool) -> None:
        self.refresh()
        if not busy and self.worker.held:
            self.worker.release()

    # --- display ------------------------------------------------------------------------------

    def _show_result(self, answers: Sequence[PreviewAnswer], problems: Sequence[Problem]) -> None:
        is_failed = any(problem.severity == "error" for problem in problems)
        lines = (
            f"{'✗' if problem.severity == 'error' else '⚠'} {localize(problem.what)} {localize(problem.remedy)}"
            for problem in problems
        )
        self.problems.setText("\n".join(lines))
        set_role(self.problems, "error" if is_failed else "warn")
        self.problems.setVisible(bool(problems))
        self._fill_table(answers)
        self.table.setVisible(bool(answers))

    def _fill_table(self, answers: Sequence[PreviewAnswer]) -> None:
        names = list(answers[0].values) if answers else []
        self.table.clear()
        titles = [tr("Prompt"), tr("Answer"), *map(format_reward_name, names), tr("Total")]
        tables.set_titles(self.table, titles, first_number=len(titles))
        header = self.table.horizontalHeader()
        header.setMinimumSectionSize(Size.scaled(_LEAST_WIDTH))
        for position in range(self.table.columnCount()):
            mode = header.ResizeMode.Stretch if position < 2 else header.ResizeMode.ResizeToContents
            header.setSectionResizeMode(position, mode)
        tables.fill_table(self.table, [_make_row(answer) for answer in answers])
        bar = self.table.horizontalScrollBar().sizeHint().height()
        tables.fit_height(self.table, len(answers), extra=bar + 2 * Spacing.S)


def _make_row(answer: PreviewAnswer) -> list[QTableWidgetItem]:
    rewards = (*answer.values.values(), answer.reward)
    return [
        tables.make_text(answer.prompt),
        tables.make_text(answer.text or tr("(empty)")),
        *(
            QTableWidgetItem(_NOTHING if each is None else formatting.format_reward(each))
            for each in rewards
        ),
    ]
