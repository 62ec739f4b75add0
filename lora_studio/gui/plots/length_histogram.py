"""A histogram of row lengths with a draggable limit."""

from __future__ import annotations

from typing import Literal

import numpy as np
from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QColor, QKeyEvent
from PySide6.QtWidgets import QVBoxLayout, QWidget

from lora_studio.core import formatting
from lora_studio.core.protocol import events
from lora_studio.gui import theme
from lora_studio.gui.language import tr
from lora_studio.gui.plots.curve_chart import Bars, Chart, DraggableLine, Values
from lora_studio.gui.widgets.basics import FocusFrame, button, label, row

#: Tokens per step of the line; GPUs are faster with lengths divisible by 8.
GRAIN = 8
_BINS = 48


class LengthData:
    """Row and token counts of a dataset by length, interpolated between edges."""

    def __init__(self, measured: events.LengthsMeasured) -> None:
        """Create it from the counts that a worker measured."""
        self.rows, self.tokens = measured.rows, measured.tokens
        self.trained_tokens = measured.trained_tokens
        self.percentiles = measured.percentiles
        self.longest = measured.percentiles.get(100, measured.edges[-1] if measured.edges else 0)
        inside = [n for n, edge in enumerate(measured.edges) if 0 < edge < self.longest]
        self._at = np.array(
            [0, *(measured.edges[n] for n in inside), self.longest], dtype=np.float64
        )
        self._rows = np.array([self.rows, *(measured.rows_over[n] for n in inside), 0], np.float64)
        self._trained = np.array(
            [self.trained_tokens, *(measured.trained_over[n] for n in inside), 0], np.float64
        )

    def count_over(self, limit: float) -> tuple[float, float]:
        """Return the shares of rows above a limit and of trained tokens beyond it, each from 0 to 1."""
        rows = float(np.interp(limit, self._at, self._rows))
        trained = float(np.interp(limit, self._at, self._trained))
        return rows / max(1, self.rows), trained / max(1, self.trained_tokens)

    def choose_bins(self, reach: float, most: int) -> Values:
        """Return edges of up to about `most` bins up to `reach`, at which the counts are exact."""
        step = float(np.median(np.diff(self._at[: len(self._at) // 2 + 2])))
        width = step * np.ceil(max(1.0, reach / most) / step)
        wanted = np.arange(0, reach + width + 1, width)
        after = np.searchsorted(self._at, wanted).clip(1, len(self._at) - 1)
        is_nearer = wanted - self._at[after - 1] < self._at[after] - wanted
        inside = np.unique(self._at[after - is_nearer])
        return np.append(inside, wanted[-1]) if wanted[-1] > inside[-1] else inside

    def count_per_bin(self, edges: Values) -> Values:
        """Return the number of rows between neighboring edges."""
        return -np.diff(np.interp(edges, self._at, self._rows))


class LengthHistogram(FocusFrame):
    """A histogram of the rows by number of tokens.

    Signals:
        limit_chosen(int): the line was dropped, moved by key, or fitted to the longest row.
    """

    limit_chosen = Signal(int)

    def __init__(self, parent: QWidget | None = None) -> None:
        """Create an empty histogram."""
        super().__init__(parent)
        self._lengths: LengthData | None = None
        self._is_coming = False
        self._limit = 2048
        self._too_long: Literal["cut", "skip", "split"] = "cut"
        self._edges: Values = np.empty(0)
        self._heights: Values = np.empty(0)
        self.chart = Chart(tr("tokens per row"), tr("rows"))
        self.chart.view.setMouseEnabled(x=False, y=False)
        self.chart.set_y_from_zero()
        self._bars = Bars(self.chart)
        self._line = DraggableLine(self.chart, self._on_dragged, self._on_dropped)
        self.sentence = label(wrap=True)
        self.fit = button("", lambda: self._choose(self._find_fitting_limit()))
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(theme.Spacing.S)
        layout.addSpacing(theme.Spacing.XS)
        layout.addLayout(row(self.sentence, self.fit))
        layout.addWidget(self.chart, 1)
        self.setAccessibleName(tr("Row lengths"))
        self.setToolTip(tr("Drag the line, or use the arrow keys (Shift: 1 token, Page: 512)."))
        theme.get_theme().changed.connect(self._repaint)
        self._show_sentence()

    def set_lengths(
        self, measured: events.LengthsMeasured | None, *, is_coming: bool = False
    ) -> None:
        """Set the measured lengths; None while unknown, and whether they `is_coming`."""
        self._is_coming = is_coming
        self._lengths = LengthData(measured) if measured is not None and measured.rows else None
        self._count_bins()
        self._show_sentence()

    def set_limit(self, limit: int, too_long: Literal["cut", "skip", "split"] = "cut") -> None:
        """Set the limit in tokens and what happens to longer rows, without emitting a signal."""
        if (limit, too_long) != (self._limit, self._too_long):
            self._limit, self._too_long = limit, too_long
            self._count_bins()
            self._show_sentence()

    def get_limit(self) -> int:
        """Return the limit in tokens."""
        return self._limit

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Move the line by 8 tokens with the arrow keys, by 1 with Shift, by 512 with Page Up and Down."""
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

    def _on_dragged(self, x: float) -> None:
        self._limit = self._snap(x)
        self._repaint()
        self._show_sentence()

    def _on_dropped(self, x: float) -> None:
        self._choose(self._snap(x))

    def _choose(self, limit: int) -> None:
        self._limit = max(16, limit)
        self._count_bins()
        self._show_sentence()
        self.limit_chosen.emit(self._limit)

    def _snap(self, x: float) -> int:
        return max(16, GRAIN * round(x / GRAIN))

    def _find_fitting_limit(self) -> int:
        """Return the lowest limit that truncates nothing, divisible by 8."""
        longest = self._lengths.longest if self._lengths else 16
        return max(16, GRAIN * -(-longest // GRAIN))

    # --- display ------------------------------------------------------------------------------

    def _count_bins(self) -> None:
        """Count the rows per bar; a few very long rows may fall outside."""
        longest = self._lengths.longest if self._lengths else 1
        common = self._lengths.percentiles.get(99, longest) if self._lengths else 1
        reach = longest if longest <= 3 * common else 2 * common
        end = float(max(reach * 1.1, min(self._limit * 1.04, reach * 1.6)))
        if self._lengths:
            self._edges = self._lengths.choose_bins(reach, _BINS)
            self._heights = self._lengths.count_per_bin(self._edges)
        else:
            self._edges, self._heights = np.zeros(1), np.zeros(0)
        self.chart.set_x_range(0.0, end)
        self._line.set_bounds(16.0 if end > 16 else 0.0, end * 0.995)
        self._line.set_value(min(float(self._limit), end * 0.995))
        self._repaint()

    def _repaint(self) -> None:
        within, over = theme.color("accent"), theme.color("warn")
        centers = (self._edges[:-1] + self._edges[1:]) / 2
        colors: list[QColor] = [over if center > self._limit else within for center in centers]
        if colors:
            self._bars.set_data(self._edges, self._heights, colors)
        self._line.paint(theme.color("text"), theme.color("accent"))

    def _show_sentence(self) -> None:
        self.fit.setVisible(self._lengths is not None and self._limit != self._find_fitting_limit())
        self.fit.setText(
            tr("Fit longest row ({length})").format(
                length=formatting.format_number(self._find_fitting_limit())
            )
        )
        self.sentence.setText(self._describe())
        self.setAccessibleDescription(self.sentence.text())

    def _describe(self) -> str:
        if self._lengths is None and self._is_coming:
            return tr("Measuring row lengths…")
        if self._lengths is None:
            return tr("To see row lengths, choose a model and a dataset.")
        longest = formatting.format_number(self._lengths.longest)
        limit = formatting.format_number(self._limit)
        rows, tokens = self._lengths.count_over(self._limit)
        if not rows:
            return tr(
                "A limit of {limit} truncates no rows. The longest row has {longest} tokens."
            ).format(limit=limit, longest=longest)
        if self._too_long == "split":
            return tr(
                "Documents longer than {limit} tokens are split ({rows} of the rows). The longest row has "
                "{longest} tokens."
            ).format(limit=limit, rows=formatting.format_percent(rows), longest=longest)
        if self._too_long == "skip":
            return tr(
                "A limit of {limit} skips {rows} of the rows. The longest row has {longest} tokens."
            ).format(limit=limit, rows=formatting.format_percent(rows), longest=longest)
        return tr(
            "A limit of {limit} truncates {rows} of the rows and drops {tokens} of the trained "
            "tokens. The longest row has {longest} tokens."
        ).format(
            limit=limit,
            rows=formatting.format_percent(rows),
            tokens=formatting.format_percent(tokens),
            longest=longest,
        )
