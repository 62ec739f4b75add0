"""Whole recipes as cards: a click shows what one would change, another one changes it."""

from __future__ import annotations

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QFrame, QHBoxLayout, QVBoxLayout, QWidget

from lora_studio.core.project import presets
from lora_studio.core.project.presets import Preset
from lora_studio.gui.controls.cards import CardOption, CardsControl
from lora_studio.gui.language import tr, tr_n
from lora_studio.gui.message_translation import tell
from lora_studio.gui.project.state import ProjectState
from lora_studio.gui.theme import Spacing
from lora_studio.gui.widgets.basics import button, label


class PresetPanel(QWidget):
    """Follows the project: the card is chosen whose recipe it has, none where it has one of its own.

    Signals:
        chosen(Preset): the user has seen what it changes and wants it.
    """

    chosen = Signal(object)

    def __init__(self, state: ProjectState, parent: QWidget | None = None) -> None:
        """What a preset changes appears under the cards once one is clicked."""
        super().__init__(parent)
        self._state = state
        self._asked: Preset | None = None
        self.cards = CardsControl([CardOption(p.name, p.title, p.text) for p in presets.PRESETS])
        self.cards.setAccessibleName(tr("Presets"))
        self.changes = label(wrap=True)
        self.apply = button(tr("Change these"), self._apply, kind="primary")
        self.leave = button(tr("Leave as it is"), self._leave)
        self.preview = QFrame()
        self.preview.setProperty("surface", "card")
        inner = QHBoxLayout(self.preview)
        inner.setContentsMargins(Spacing.CARD, Spacing.M, Spacing.CARD, Spacing.M)
        inner.setSpacing(Spacing.S)
        inner.addWidget(self.changes, 1)
        inner.addWidget(self.leave)
        inner.addWidget(self.apply)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(Spacing.S)
        layout.addWidget(self.cards)
        layout.addWidget(self.preview)
        self.cards.edited.connect(self._ask)
        state.value_changed.connect(self._changed)
        state.opened.connect(self._leave)
        self._show()

    def _ask(self, name: str) -> None:
        self._asked = presets.find(name)
        self._show()

    def _apply(self) -> None:
        preset, self._asked = self._asked, None
        if preset is not None:
            self.chosen.emit(preset)
        self._show()

    def _leave(self) -> None:
        self._asked = None
        self._show()

    def _changed(self, step: str, field: str) -> None:
        if (step, field) in presets.FIELDS:
            self._show()

    def _show(self) -> None:
        asked = self._asked
        found = presets.differences(self._state.get, asked) if asked else []
        if asked is None or not found:
            self._asked = None
            current = presets.current(self._state.get)
            self.cards.show_value(current.name if current else None)
            self.preview.hide()
            return
        self.cards.show_value(asked.name)
        many = tr_n("{n} setting", "{n} settings", len(found))
        said = " · ".join(tell(change.text) for change in found)
        self.changes.setText(
            tr("{title} changes {many}: {said}").format(title=tr(asked.title), many=many, said=said)
        )
        self.preview.show()
