"""Bar that asks which answer is better in a blind comparison."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QFrame, QPushButton, QWidget

from lora_studio.gui.language import tr
from lora_studio.gui.theme import Spacing
from lora_studio.gui.widgets.basics import button, label, row
from lora_studio.gui.widgets.tooltips import plain_tip


class VoteBar(QFrame):
    """Shows one button per answer, and one for no difference.

    Signals:
        voted(index): the position of the better answer, -1 for no difference.
    """

    voted = Signal(int)

    def __init__(self, parent: QWidget | None = None) -> None:
        """Start hidden."""
        super().__init__(parent)
        self.setProperty("surface", "card")
        self.text = label("", wrap=True)
        self.better: list[QPushButton] = []
        for index, letter in enumerate("ABC"):
            vote = button(tr("{answer} is better").format(answer=letter), self._vote_later(index))
            vote.setToolTip(plain_tip(f"Alt+{index + 1}"))
            vote.setShortcut(f"Alt+{index + 1}")
            self.better.append(vote)
        self.tie = button(tr("No difference"), lambda: self.voted.emit(-1))
        self.tie.setToolTip("Alt+0")
        self.tie.setShortcut("Alt+0")
        layout = row(self.text, *self.better, self.tie)
        layout.setStretch(0, 1)
        layout.setContentsMargins(Spacing.M, Spacing.S, Spacing.M, Spacing.S)
        self.setLayout(layout)
        self.hide()

    def _vote_later(self, index: int) -> Callable[[], None]:
        return lambda: self.voted.emit(index)

    def ask(self, columns: int) -> None:
        """Ask which of the answers is better."""
        self.text.setText(tr("Which answer is better? Model names appear after you vote."))
        for index, vote in enumerate(self.better):
            vote.setVisible(index < columns)
        self.tie.show()
        self.show()

    def show_result(self, text: str) -> None:
        """Show the result of the vote."""
        self.text.setText(text)
        for vote in (*self.better, self.tie):
            vote.hide()
        self.show()
