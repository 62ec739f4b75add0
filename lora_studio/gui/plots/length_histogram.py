"""Histogram of the row lengths of a dataset, with the cut-off as a line to drag."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QColor, QKeyEvent
from PySide6.QtWidgets import QVBoxLayout, QWidget

from lora_studio.core import words
from lora_studio.gui import theme
from lora_studio.gui.plots.chart import Bars, Chart, DraggableLine, Values
from lora_studio.gui.widgets.basics import button, label, row

#: The line moves in steps of this many tokens: graphics cards like lengths divisible by 8.
GRAIN = 8
_BINS = 48


def lost_shares(
    lengths: Sequence[int],
    trained: Sequence[int],
    limit: int,
    too_long: Literal["cut", "skip"] = "cut",
) -> tuple[float, float]:
    """Shares of rows over the limit and of trained tokens lost by it, each from 0 to 1.

    A cut row loses its end; its trained tokens are taken to be at its end, as answers are, so for
    a conversation of several turns the second figure is an upper bound.
    """
    long = np.asarray(lengths, dtype=np.int64)
    answer = np.asarray(trained, dtype=np.int64)
    if not long.size:
        return 0.0, 0.0
    over = long > limit
    gone = answer if too_long == "skip" else np.minimum(answer, long - limit)
    total = int(answer.sum())
    tokens = float(gone[over].sum()) / total if total else 0.0
    return float(over.mean()), tokens


class LengthHistogram(QWidget):
    """Rows by their number of tokens.

    Signals:
        limit_chosen(int): the line was dropped, moved by key, or fitted to the longest row.
    """

    limit_chosen = Signal(int)

    def __init__(self, parent: QWidget | None = None) -> None:
        """Empty until lengths are set."""
        super().__init__(parent)
        self._lengths: tuple[int, ...] = ()
        self._trained: tuple[int, ...] = ()
        self._limit = 2048
        self._too_long: Literal["cut", "skip"] = "cut"
        self._edges: Values = np.empty(0)
        self._heights: Values = np.empty(0)
        self.chart = Chart("tokens per row", "rows")
        self.chart.view.setMouseEnabled(x=False, y=False)
        self.chart.set_y_from_zero()
        self._bars = Bars(self.chart)
        self._line = DraggableLine(self.chart, self._dragged, self._dropped)
        self.sentence = label(wrap=True)
        self.fit = button("", lambda: self._choose(self._fitting()))
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(theme.Space.S)
        layout.addSpacing(theme.Space.XS)
        layout.addLayout(row(self.sentence, self.fit))
        layout.addWidget(self.chart, 1)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setAccessibleName("Row lengths")
        self.setToolTip("Drag the line, or use the arrow keys (Shift: 1 token, Page: 512).")
        theme.theme().changed.connect(self._repaint)
        self._say()

    def set_lengths(self, lengths: Sequence[int], trained: Sequence[int]) -> None:
        """Tokens of each row, and how many of them count in the loss."""
        self._lengths, self._trained = tuple(lengths), tuple(trained)
        self._bin()
        self._say()

    def set_limit(self, limit: int, too_long: Literal["cut", "skip"] = "cut") -> None:
        """The cut-off in tokens and what happens to a longer row; tells nobody."""
        if (limit, too_long) != (self._limit, self._too_long):
            self._limit, self._too_long = limit, too_long
            self._bin()
            self._say()

    def limit(self) -> int:
        """The cut-off in tokens."""
        return self._limit

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Arrows move the line by 8 tokens, with Shift by 1, Page Up and Down by 512."""
        fine = bool(event.modifiers() & Qt.KeyboardModifier.ShiftModifier)
        move = {
            Qt.Key.Key_Left: -1 if fine else -GRAIN,
            Qt.Key.Key_Right: 1 if fine else GRAIN,
            Qt.Key.Key_PageDown: -512,
            Qt.Key.Key_PageUp: 512,
        }.get(Qt.Key(event.key()))
        if move is None:
            super().keyPressEvent(event)
        else:
            self._choose(self._limit + move)

    # --- the line -----------------------------------------------------------------------------

    def _dragged(self, x: float) -> None:
        self._limit = self._snapped(x)
        self._repaint()
        self._say()

    def _dropped(self, x: float) -> None:
        self._choose(self._snapped(x))

    def _choose(self, limit: int) -> None:
        self._limit = max(16, limit)
        self._bin()
        self._say()
        self.limit_chosen.emit(self._limit)

    def _snapped(self, x: float) -> int:
        return max(16, GRAIN * round(x / GRAIN))

    def _fitting(self) -> int:
        """The shortest limit that cuts nothing, divisible by 8."""
        longest = max(self._lengths, default=16)
        return max(16, GRAIN * -(-longest // GRAIN))

    # --- what is shown ------------------------------------------------------------------------

    def _bin(self) -> None:
        """Counts the rows; a limit far beyond the longest row stays at the right border."""
        longest = max(self._lengths, default=1)
        end = float(max(longest * 1.1, min(self._limit * 1.04, longest * 1.6)))
        # Whole tokens per bin, or some bins would hold more lengths than others.
        width = max(1, -(-longest // _BINS))
        self._edges = np.arange(0, longest + width + 1, width, dtype=np.float64)
        self._heights = np.histogram(self._lengths, self._edges)[0].astype(np.float64)
        self.chart.set_x_range(0.0, end)
        self._line.set_bounds(16.0 if end > 16 else 0.0, end * 0.995)
        self._line.set_value(min(float(self._limit), end * 0.995))
        self._repaint()

    def _repaint(self) -> None:
        kept, over = theme.color("accent"), theme.color("warn")
        centres = (self._edges[:-1] + self._edges[1:]) / 2
        colors: list[QColor] = [over if centre > self._limit else kept for centre in centres]
        if colors:
            self._bars.set_data(self._edges, self._heights, colors)
        self._line.paint(theme.color("text"), theme.color("accent"))

    def _say(self) -> None:
        self.fit.setVisible(bool(self._lengths) and self._limit != self._fitting())
        self.fit.setText(f"Fit longest row ({words.number(self._fitting())})")
        self.sentence.setText(self._sentence())
        self.setAccessibleDescription(self.sentence.text())

    def _sentence(self) -> str:
        if not self._lengths:
            return "Lengths appear here once a model and a dataset are chosen."
        longest = words.number(max(self._lengths))
        limit = words.number(self._limit)
        rows, tokens = lost_shares(self._lengths, self._trained, self._limit, self._too_long)
        if not rows:
            return f"{limit} cuts nothing: the longest row has {longest} tokens."
        verb = "cuts" if self._too_long == "cut" else "leaves out"
        figures = f"{words.percent(rows)} of rows, {words.percent(tokens)} of trained tokens"
        return f"{limit} {verb} {figures}; the longest row has {longest} tokens."
