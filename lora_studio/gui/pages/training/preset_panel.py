"""Presets as cards: selecting one previews its changes, which the user then applies."""

from __future__ import annotations

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QFrame, QHBoxLayout, QVBoxLayout, QWidget

from lora_studio.core.project import presets
from lora_studio.core.project.presets import Preset
from lora_studio.gui.controls.cards import CardOption, CardsControl
from lora_studio.gui.language import tr, tr_n
from lora_studio.gui.message_translation import localize
from lora_studio.gui.project.state import ProjectState
from lora_studio.gui.theme import Spacing
from lora_studio.gui.widgets.basics import button, column, label


class PresetPanel(QWidget):
    """Shows the presets; the one that matches the project's settings is selected.

    Signals:
        chosen(Preset): apply a preset, after the user has seen its changes.
    """

    chosen = Signal(object)

    def __init__(self, state: ProjectState, parent: QWidget | None = None) -> None:
        """Follow the project in `state`; the preview below the cards is hidden at first."""
        super().__init__(parent)
        self._state = state
        self._previewed: Preset | None = None
        self.cards = CardsControl([CardOption(p.name, p.title, p.text) for p in presets.PRESETS])
        self.cards.setAccessibleName(tr("Presets"))
        self.changes = label(wrap=True)
        self.evidence = label(role="muted", wrap=True)
        self.apply = button(tr("Apply"), self._apply, kind="primary")
        self.cancel = button(tr("Cancel"), self._cancel)
        self.preview = QFrame()
        self.preview.setProperty("surface", "card")
        inner = QHBoxLayout(self.preview)
        inner.setContentsMargins(Spacing.CARD, Spacing.M, Spacing.CARD, Spacing.M)
        inner.setSpacing(Spacing.S)
        inner.addLayout(column(self.changes, self.evidence, spacing=Spacing.XS), 1)
        inner.addWidget(self.cancel)
        inner.addWidget(self.apply)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(Spacing.S)
        layout.addWidget(self.cards)
        layout.addWidget(self.preview)
        self.cards.edited.connect(self._show_preview)
        state.value_changed.connect(self._on_value_changed)
        state.opened.connect(self._cancel)
        self._refresh()

    def _show_preview(self, name: str) -> None:
        self._previewed = presets.find_preset(name)
        self._refresh()

    def _apply(self) -> None:
        preset, self._previewed = self._previewed, None
        if preset is not None:
            self.chosen.emit(preset)
        self._refresh()

    def _cancel(self) -> None:
        self._previewed = None
        self._refresh()

    def _on_value_changed(self, step: str, field: str) -> None:
        if (step, field) in presets.FIELDS:
            self._refresh()

    def _refresh(self) -> None:
        preset = self._previewed
        changes = presets.list_differences(self._state.get, preset) if preset else []
        if preset is None or not changes:
            self._previewed = None
            current = presets.find_current(self._state.get)
            self.cards.show_value(current.name if current else None)
            self.preview.hide()
            return
        self.cards.show_value(preset.name)
        self.changes.setText(
            tr("{title} changes {settings}: {changes}").format(
                title=tr(preset.title),
                settings=tr_n("{n} setting", "{n} settings", len(changes)),
                changes=" · ".join(localize(change.text) for change in changes),
            )
        )
        self.evidence.setText(tr(preset.evidence) if preset.evidence else "")
        self.evidence.setVisible(bool(preset.evidence))
        self.preview.show()
