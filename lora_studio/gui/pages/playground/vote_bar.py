"""Bar that asks which answer is better in a blind comparison."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QFrame, QPushButton, QWidget

from lora_studio.gui.language import tr
from lora_studio.gui.theme import Spacing
from lora_studio.gui.widgets.basics import button, label, row


class VoteBar(QFrame):
    """Show one button per answer, and one for no difference.

    Signals:
        voted(index): the position of the better answer, -1 for no difference.
    """

    voted = Signal(int)

    def __init__(self, parent: QWidget | None = None) -> None:
        """Start hidden."""
        super().__init__(parent)
        self.setProperty("surface", "card")
        self.words = label("", wrap=True)
        self.better: list[QPushButton] = []
        for place, letter in enumerate("ABC"):
            made = button(tr("{answer} is better").format(answer=letter), self._voting(place))
            made.setToolTip(f"Alt+{place + 1}")
            made.setShortcut(f"Alt+{place + 1}")
            self.better.append(made)
        self.tie = button(tr("No difference"), lambda: self.voted.emit(-1))
        self.tie.setToolTip("Alt+0")
        self.tie.setShortcut("Alt+0")
        layout = row(self.words, *self.better, self.tie)
        layout.setStretch(0, 1)
        layout.setContentsMargins(Spacing.M, Spacing.S, Spacing.M, Spacing.S)
        self.setLayout(layout)
        self.hide()

    def _voting(self, place: int) -> Callable[[], None]:
        return lambda: self.voted.emit(place)

    def ask(self, columns: int) -> None:
        """Ask which of the answers is better."""
        self.words.setText(tr("Which answer is better? Model names appear after you vote."))
        for place, made in enumerate(self.better):
            made.setVisible(place < columns)
        self.tie.show()
        self.show()

    def tell(self, text: str) -> None:
        """Show the result of the vote."""
        self.words.setText(text)
        for made in (*self.better, self.tie):
            made.hide()
        self.show()
