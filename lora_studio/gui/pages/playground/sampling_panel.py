"""Popup with the sampling settings."""

from __future__ import annotations

from PySide6.QtCore import QPoint, Qt, Signal
from PySide6.QtGui import QKeyEvent
from PySide6.QtWidgets import QFrame, QGridLayout, QPushButton, QVBoxLayout, QWidget

from lora_studio.core.chat import Sampling
from lora_studio.core.formatting import format_float
from lora_studio.core.spec import get_facts
from lora_studio.gui.controls.controls import LineControl
from lora_studio.gui.controls.quantities import parse
from lora_studio.gui.language import tr
from lora_studio.gui.theme import Spacing
from lora_studio.gui.widgets.basics import button, label, row


class SamplingPanel(QFrame):
    """Edits the fields of `Sampling`; invalid values are marked and ignored.

    Signals:
        changed(sampling): the settings changed.
    """

    changed = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        """Show the defaults."""
        super().__init__(parent, Qt.WindowType.Popup)
        self.setProperty("surface", "card")
        self.setAccessibleName(tr("Sampling"))
        self._sampling = Sampling()
        self.controls: dict[str, LineControl] = {}
        grid = QGridLayout()
        grid.setHorizontalSpacing(Spacing.L)
        grid.setVerticalSpacing(Spacing.S)
        for line, name in enumerate(Sampling.model_fields):
            about = get_facts(Sampling, name)
            control = LineControl(about)
            control.setToolTip(tr(about.description))
            control.line.setAccessibleName(tr(about.title))
            control.edited.connect(lambda value, name=name: self._edit(name, value))
            control.left.connect(self._refresh)
            title = label(tr(about.title), "label")
            title.setBuddy(control.line)
            title.setToolTip(tr(about.description))
            grid.addWidget(title, line, 0)
            grid.addWidget(control, line, 1)
            self.controls[name] = control
        self.error = label("", "error", wrap=True)
        self.greedy = button(tr("Greedy"), self._set_greedy)
        self.greedy.setToolTip(
            tr("Always picks the most likely token, so answers are reproducible")
        )
        self.reset = button(tr("Reset"), lambda: self._set(Sampling()))
        layout = QVBoxLayout(self)
        layout.setContentsMargins(Spacing.CARD, Spacing.CARD, Spacing.CARD, Spacing.CARD)
        layout.setSpacing(Spacing.M)
        layout.addWidget(label(tr("Sampling"), "section"))
        layout.addLayout(grid)
        layout.addWidget(self.error)
        layout.addLayout(row(self.greedy, self.reset, None))
        self.show_sampling(Sampling())

    def show_sampling(self, sampling: Sampling) -> None:
        """Show sampling settings."""
        self._sampling = sampling
        self._refresh()

    def open_at(self, target: QPushButton) -> None:
        """Open above a button, with the first field focused."""
        self.adjustSize()
        self.move(target.mapToGlobal(QPoint(0, -self.sizeHint().height() - Spacing.XS)))
        self.show()
        first = next(iter(self.controls.values()))
        first.line.setFocus()
        first.line.selectAll()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Close on Esc."""
        if event.key() == Qt.Key.Key_Escape:
            self.close()
        else:
            super().keyPressEvent(event)

    def _refresh(self) -> None:
        for name, control in self.controls.items():
            control.show_value(getattr(self._sampling, name))
            control.set_invalid(False)
        self.error.hide()

    def _edit(self, name: str, value: object) -> None:
        if isinstance(value, str):
            value = parse(value, get_facts(Sampling, name))
        try:
            sampling = Sampling.model_validate(self._sampling.model_dump() | {name: value})
        except ValueError:
            about = get_facts(Sampling, name)
            self.controls[name].set_invalid(True)
            message = tr("{field} must be between {low} and {high}.")
            self.error.setText(
                message.format(
                    field=tr(about.title), low=_format(about.minimum), high=_format(about.maximum)
                )
            )
            self.error.show()
            return
        self._set(sampling)

    def _set_greedy(self) -> None:
        self._set(self._sampling.model_copy(update={"temperature": 0.0}))

    def _set(self, sampling: Sampling) -> None:
        self._sampling = sampling
        self._refresh()
        self.changed.emit(sampling)


def _format(value: float | None) -> str:
    return "" if value is None else format_float(value, "g")


def summarize(sampling: Sampling) -> str:
    """Return the settings in short, for the button that opens the popup."""
    if sampling.temperature == 0:
        return tr("Greedy · {count} tokens").format(count=sampling.max_tokens)
    return tr("Temperature {temperature} · {count} tokens").format(
        temperature=_format(sampling.temperature), count=sampling.max_tokens
    )
