"""The best and the worst answer of the latest step of reward training, with their rewards."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QFrame, QGridLayout, QScrollArea, QVBoxLayout, QWidget

from lora_studio.core import formatting
from lora_studio.core.protocol import events
from lora_studio.core.protocol.training import ShownAnswer
from lora_studio.gui.language import tr
from lora_studio.gui.plots.metrics import format_reward_name
from lora_studio.gui.theme import Spacing
from lora_studio.gui.widgets.basics import column, insert_breaks, label
from lora_studio.gui.widgets.columns import ResponsiveColumns


class RatedAnswersView(QScrollArea):
    """Shows two answers side by side as plain text: the model may have written anything."""

    def __init__(self, parent: QWidget | None = None) -> None:
        """Start without answers."""
        super().__init__(parent)
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setAccessibleName(tr("Answers"))
        self._latest: events.AnswersRated | None = None
        self.caption = label("", "caption", wrap=True)
        self.best, self.worst = AnswerPanel(), AnswerPanel()
        inner = QWidget()
        inner.setObjectName("scrolled")
        outer = QVBoxLayout(inner)
        outer.setContentsMargins(0, Spacing.S, Spacing.S, 0)
        outer.setSpacing(Spacing.M)
        outer.addWidget(self.caption)
        outer.addWidget(ResponsiveColumns(self.best, self.worst))
        outer.addStretch(1)
        self.setWidget(inner)

    def show_answers(self, event: events.AnswersRated) -> None:
        """Show the answers of a step; they replace those of an earlier one."""
        if event is self._latest:
            return
        self._latest = event
        step = formatting.format_number(event.step)
        is_equal = event.best.reward == event.worst.reward
        self.caption.setText(
            tr("Step {step}: all completions have the same reward. This is one of them.").format(
                step=step
            )
            if is_equal
            else tr("Step {step}: the completions with the highest and the lowest reward").format(
                step=step
            )
        )
        self.best.show_answer(tr("Answer") if is_equal else tr("Best completion"), event.best)
        self.worst.show_answer(tr("Worst completion"), event.worst)
        self.worst.setVisible(not is_equal)


class AnswerPanel(QWidget):
    """One answer: its rewards, its prompt, and its text."""

    def __init__(self, parent: QWidget | None = None) -> None:
        """Start empty."""
        super().__init__(parent)
        self.title, self.rewards = label("", "section"), label("", "muted", wrap=True)
        self.cut = label(tr("Cut at the maximum length"), "warn", wrap=True)
        self.prompt, self.reference = label("", wrap=True), label("", wrap=True)
        self.answer = label("", wrap=True)
        self.reference_title = label(tr("Reference"), "caption")
        grid = QGridLayout()
        grid.setHorizontalSpacing(Spacing.M)
        grid.setVerticalSpacing(Spacing.S)
        grid.setColumnStretch(1, 1)
        captions = (
            label(tr("Prompt"), "caption"),
            label(tr("Answer"), "caption"),
            self.reference_title,
        )
        for line, parts in enumerate(
            zip(captions, (self.prompt, self.answer, self.reference), strict=True)
        ):
            for position, part in enumerate(parts):
                part.setAlignment(Qt.AlignmentFlag.AlignTop | Qt.AlignmentFlag.AlignLeading)
                grid.addWidget(part, line, position)
        for shown in (self.prompt, self.reference, self.answer):
            shown.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        layout = column(self.title, self.rewards, self.cut, grid, None, spacing=Spacing.S)
        layout.setContentsMargins(0, 0, 0, 0)
        self.setLayout(layout)

    def show_answer(self, title: str, answer: ShownAnswer) -> None:
        """Show an answer; `title` says which one it is."""
        self.title.setText(
            tr("{title}: {reward}").format(
                title=title, reward=formatting.format_reward(answer.reward)
            )
        )
        self.cut.setVisible(not answer.ended)
        self.prompt.setText(insert_breaks(answer.prompt))
        self.answer.setText(insert_breaks(answer.text) or tr("(empty)"))
        self.reference.setText(insert_breaks(answer.reference or ""))
        for part in (self.reference, self.reference_title):
            part.setVisible(bool(answer.reference))
        rewards = (
            f"{format_reward_name(name)} {formatting.format_reward(value)}"
            for name, value in answer.values.items()
        )
        self.rewards.setText(" · ".join(rewards))
