"""Totals of the dataset: rows used and skipped, tokens, and validation split."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QWidget

from lora_studio.core import formatting
from lora_studio.core.messages import Text
from lora_studio.core.protocol import events
from lora_studio.gui.language import tr, tr_n
from lora_studio.gui.message_translation import localize
from lora_studio.gui.theme import Spacing
from lora_studio.gui.widgets.basics import FlowLayout, button, column, label
from lora_studio.gui.widgets.tooltips import plain_tip

#: Maximum number of reasons shown; the filter of the table has all of them.
_REASONS = 4


class DatasetFooter(QWidget):
    """One line of totals, and below it a link for each reason why rows are skipped.

    Signals:
        reason_clicked(Text): show the rows that are skipped for this reason.
    """

    reason_clicked = Signal(object)  # Text

    def __init__(self, parent: QWidget | None = None) -> None:
        """Create an empty footer."""
        super().__init__(parent)
        self.totals = label(wrap=True)
        self.reasons = QWidget()
        self._flow = FlowLayout(self.reasons, spacing=Spacing.L)
        self.reasons.setContentsMargins(
            Spacing.XS, 0, 0, 0
        )  # links extend beyond their text on the left
        self._shown: list[tuple[events.Skipped, bool]] = []
        self.setLayout(column(self.totals, self.reasons, spacing=Spacing.XS))

    def show_totals(
        self,
        parts: Sequence[str],
        skipped: Sequence[events.Skipped],
        listed: Collection[Text],
    ) -> None:
        """Show totals side by side, and the reasons for skipped rows.

        Those in `listed` are links, because the table can show their rows.
        """
        self.totals.setText("  ·  ".join(part for part in parts if part))
        self.reasons.setVisible(bool(skipped))
        shown = [(skip, skip.reason in listed) for skip in skipped]
        if shown != self._shown:
            self._shown = shown
            self._fill()

    def _fill(self) -> None:
        while (item := self._flow.takeAt(0)) is not None:
            if (widget := item.widget()) is not None:
                widget.hide()
                widget.deleteLater()
        for skip, is_listed in self._shown[:_REASONS]:
            caption = tr_n(
                "{n} row skipped: {reason}",
                "{n} rows skipped: {reason}",
                skip.count,
                reason=localize(skip.reason),
            )
            if not is_listed:
                self._flow.addWidget(label(caption, "warn"))
                continue
            show = button(
                caption,
                self._make_click_handler(skip.reason),
                kind="link",
                icon="warning",
                role="warn",
            )
            show.setToolTip(plain_tip(_show_them(skip)))
            self._flow.addWidget(show)
        hidden = sum(skip.count for skip, _ in self._shown[_REASONS:])
        if hidden:
            self._flow.addWidget(
                label(
                    tr_n(
                        "{n} row skipped for other reasons",
                        "{n} rows skipped for other reasons",
                        hidden,
                    ),
                    "muted",
                )
            )

    def _make_click_handler(self, reason: Text) -> Callable[[], None]:
        return lambda: self.reason_clicked.emit(reason)


def _show_them(item: events.Skipped) -> str:
    row_numbers = ", ".join(map(formatting.format_number, item.rows[:5]))
    if not row_numbers:
        return tr("Show these rows")
    more = ", …" if item.count > len(item.rows[:5]) else ""
    return tr_n(
        "Show these rows: row {rows}",
        "Show these rows: rows {rows}",
        item.count,
        rows=row_numbers + more,
    )
