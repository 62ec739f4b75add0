"""How often the answers of each model were preferred, as bars with intervals and in words."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QRectF, Qt
from PySide6.QtGui import QColor, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QFrame, QScrollArea, QVBoxLayout, QWidget

from lora_studio.core.evaluation.preferences import Preference
from lora_studio.core.evaluation.results import EvaluationResults
from lora_studio.gui.language import tr, tr_n
from lora_studio.gui.message_translation import localize
from lora_studio.gui.pages.evaluation.column_names import list_column_names
from lora_studio.gui.text_size import set_scaled_sizes
from lora_studio.gui.theme import Spacing, color, get_theme
from lora_studio.gui.widgets.basics import column, label

_BAR_HEIGHT = 14


class PreferenceView(QScrollArea):
    """Shows the preferences of the judge, and those of people, for each pair of models."""

    def __init__(self, parent: QWidget | None = None) -> None:
        """Start empty."""
        super().__init__(parent)
        self.texts: list[str] = []
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setProperty("surface", "stop")
        self.setAccessibleName(tr("Preferred answers"))
        self._inside = QWidget()
        self._inside.setObjectName("scrolled")
        self._layout = QVBoxLayout(self._inside)
        self._layout.setContentsMargins(0, Spacing.M, Spacing.M, 0)
        self._layout.setSpacing(Spacing.L)
        self.setWidget(self._inside)

    def show_results(self, results: EvaluationResults, shown: Sequence[Preference]) -> None:
        """Show the preferences of the judge of an evaluation, and those of people."""
        self._clear()
        self._add_all(shown, list_column_names(results.plan))
        if not self.texts:
            self._layout.addWidget(label(tr("To compare answers in pairs, turn on the judge in a new evaluation, or vote on these models in the Playground."), "muted", wrap=True))  # fmt: skip
        self._layout.addStretch(1)

    def _add_all(self, shown: Sequence[Preference], names: dict[str, str]) -> None:
        for each in shown:
            pair = tr("{model} compared with {other}").format(model=names[each.column], other=names[each.baseline])  # fmt: skip
            sentence = localize(each.sentence)
            if each.unknown:
                sentence += "  ·  " + tr_n("{n} without a verdict", "{n} without a verdict", each.unknown)  # fmt: skip
            heading = label(f"{pair}  ·  {localize(each.judged_by)}", "label", wrap=True)
            self._layout.addLayout(
                column(heading, PreferenceBar(each), label(sentence, wrap=True), spacing=Spacing.XS)
            )
            self.texts.append(f"{pair}: {sentence}")

    def _clear(self) -> None:
        self.texts = []
        while (item := self._layout.takeAt(0)) is not None:
            parts = [item.widget()]
            if (inner := item.layout()) is not None:
                parts = [part.widget() for part in (inner.takeAt(0) for _ in range(inner.count())) if part is not None]  # fmt: skip
            for part in parts:
                if part is not None:
                    part.hide()
                    part.deleteLater()


class PreferenceBar(QWidget):
    """A bar of wins, ties, and losses; a mark shows the share with its interval."""

    def __init__(self, preference: Preference, parent: QWidget | None = None) -> None:
        """Show a preference."""
        super().__init__(parent)
        self._preference = preference
        set_scaled_sizes(self, height=_BAR_HEIGHT)
        self.setAccessibleDescription(localize(preference.sentence))
        get_theme().changed.connect(self.update)

    def paintEvent(self, event: QPaintEvent) -> None:
        """Draw the three parts, the middle, and the interval."""
        shown = self._preference
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        width, height, left = float(self.width()), float(self.height()), 0.0
        for count, role in ((shown.wins, "ok"), (shown.ties, "line"), (shown.losses, "error")):
            part = width * count / max(1, shown.compared)
            painter.fillRect(QRectF(left, 0, part, height), QColor(color(role)))
            left += part
        painter.setPen(QPen(QColor(color("muted")), 1, Qt.PenStyle.DashLine))
        painter.drawLine(int(width / 2), 0, int(width / 2), self.height())
        painter.setPen(QPen(QColor(color("text")), 2))
        middle = self.height() // 2
        low, high = int(width * shown.interval.low), int(width * shown.interval.high)
        painter.drawLine(low, middle, high, middle)
        for end in (low, high):
            painter.drawLine(end, middle - 3, end, middle + 3)
        painter.end()
