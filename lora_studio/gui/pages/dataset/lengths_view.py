"""Row lengths in tokens: histogram with the maximum length, percentiles, and tokens per epoch."""

from __future__ import annotations

from typing import Literal

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QVBoxLayout, QWidget

from lora_studio.core import formatting
from lora_studio.core.protocol import events
from lora_studio.gui.language import mark, tr, tr_n
from lora_studio.gui.plots.length_histogram import LengthHistogram
from lora_studio.gui.theme import Spacing
from lora_studio.gui.widgets.basics import label
from lora_studio.gui.widgets.stat_tiles import StatTiles

_TILES = {
    "half": mark("Median"),
    "p90": mark("90th percentile"),
    "p99": mark("99th percentile"),
    "longest": mark("Longest"),
    "tokens": mark("Tokens per epoch"),
    "trained": mark("Trained tokens"),
    "rows": mark("Rows measured"),
    "steps": mark("Optimizer steps"),
}
_PERCENTILES = {"half": 50, "p90": 90, "p99": 99, "longest": 100}


class LengthsView(QWidget):
    """Statistics over the whole dataset, before truncation.

    Signals:
        limit_chosen(int): the user moved the line of the maximum length.
    """

    limit_chosen = Signal(int)

    def __init__(self, parent: QWidget | None = None) -> None:
        """Create an empty view."""
        super().__init__(parent)
        self.histogram = LengthHistogram()
        self.tiles = StatTiles(_TILES, columns=4)
        self.note = label(role="muted", wrap=True)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, Spacing.S, 0, 0)
        layout.setSpacing(Spacing.M)
        layout.addWidget(self.histogram, 1)
        layout.addWidget(self.tiles)
        layout.addWidget(self.note)
        self.note.hide()
        self.setFocusProxy(self.histogram)
        self.histogram.limit_chosen.connect(self.limit_chosen)

    def show_lengths(
        self, measured: events.LengthsMeasured | None, *, is_coming: bool = False
    ) -> None:
        """Show measured lengths; None while they are unknown, and whether they are being measured."""
        self.histogram.set_lengths(measured, is_coming=is_coming)
        if measured is None:
            self.tiles.clear()
            self.note.hide()
            return
        lengths = {
            tile: tr_n("{n} token", "{n} tokens", measured.percentiles[level])
            for tile, level in _PERCENTILES.items()
            if level in measured.percentiles
        }
        rows = {"rows": formatting.format_number(measured.rows)}
        self.tiles.show_values(lengths | rows)
        self._show_tokens(measured.tokens, measured.trained_tokens)
        self.note.setVisible(not measured.complete)
        self.note.setText(tr("Still measuring. These values cover the rows read so far."))

    def show_plan(self, plan: events.DatasetPlanned | None) -> None:
        """Show the tokens of an epoch of the run, which are fewer than those of all rows."""
        if plan is not None:
            self._show_tokens(plan.tokens, plan.trained_tokens)

    def _show_tokens(self, tokens: int, trained: int) -> None:
        share = formatting.format_percent(trained / tokens if tokens else 0.0)
        self.tiles.show_values(
            {
                "tokens": formatting.format_count(tokens),
                "trained": f"{formatting.format_count(trained)} ({share})",
            }
        )

    def show_steps(self, steps: str) -> None:
        """Show the number of optimizer steps."""
        self.tiles.show_values({"steps": steps})

    def set_limit(self, limit: int, too_long: Literal["cut", "skip"]) -> None:
        """Show the maximum length of the project."""
        self.histogram.set_limit(limit, too_long)
