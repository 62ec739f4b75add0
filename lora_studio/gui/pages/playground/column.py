"""One column of the playground: model, adapters, and the conversation below."""

from __future__ import annotations

from PySide6.QtCore import QTimer, Signal
from PySide6.QtWidgets import QFrame, QVBoxLayout, QWidget

from lora_studio.core.chat import AdapterSpeaker, AnySpeaker
from lora_studio.core.playground import Conversation
from lora_studio.gui.language import tr
from lora_studio.gui.pages.lora.blend_panel import BlendPanel
from lora_studio.gui.pages.playground.speaker_menu import SpeakerMenu
from lora_studio.gui.pages.playground.turn_view import TurnView, Waiting
from lora_studio.gui.theme import Spacing
from lora_studio.gui.widgets.basics import label, make_scroll_area, row, tool_button


class ChatColumn(QFrame):
    """Shows one column of a conversation.

    Signals:
        speaker_chosen(speaker): another model, or other adapter weights.
        edit_requested(turn), tokens_requested(turn): edit a prompt or show its tokens.
        regenerate_requested: generate another answer to the last prompt.
        version_chosen(turn, number): select another version of an answer.
        closed: remove the column.
    """

    speaker_chosen = Signal(object)
    edit_requested = Signal(int)
    tokens_requested = Signal(int)
    regenerate_requested = Signal()
    version_chosen = Signal(int, int)
    closed = Signal()

    def __init__(self, number: int, parent: QWidget | None = None) -> None:
        """Create column `number`, counted from 0 regardless of its position."""
        super().__init__(parent)
        self.number = number
        self.setProperty("surface", "card")
        self.menu = SpeakerMenu()
        self.name = label("", "section")
        self.close_button = tool_button("close", tr("Close column"), self.closed.emit)
        self.blend = BlendPanel()
        self.turns: list[TurnView] = []
        self.hint = label("", "muted", wrap=True)
        self.area = make_scroll_area(None, tr("Conversation"), sideways=True)
        self._list = QVBoxLayout()
        self._build()
        self._follows_end = True
        bar = self.area.verticalScrollBar()
        bar.rangeChanged.connect(self._on_range_changed)
        bar.valueChanged.connect(self._on_scrolled)
        self._weights_timer = QTimer(self, singleShot=True, interval=150)
        self._weights_timer.timeout.connect(self._emit_weights)
        self.menu.chosen.connect(self._weights_timer.stop)  # they belong to the previous model
        self.menu.chosen.connect(self.speaker_chosen)
        self._blended: AnySpeaker = AdapterSpeaker()
        self.blend.changed.connect(self._set_weights)

    def show_conversation(self, conversation: Conversation, *, blind: str = "") -> None:
        """Show the turns of this column; `blind` replaces the model name during a blind
        comparison.
        """
        speaker = conversation.speakers[self.number]
        self.menu.show_speaker(speaker)
        self.menu.setVisible(not blind)
        self.name.setText(blind)
        self.name.setVisible(bool(blind))
        adapters = speaker.adapters if isinstance(speaker, AdapterSpeaker) else ()
        self.blend.show_adapters(() if blind else adapters)
        turns = conversation.turns
        while len(self.turns) < len(turns):
            self._add_turn()
        while len(self.turns) > len(turns):
            removed = self.turns.pop()
            removed.hide()
            removed.deleteLater()
        for index, (view, turn) in enumerate(zip(self.turns, turns, strict=True)):
            view.show_turn(turn, self.number)
            view.set_last(index == len(turns) - 1)
            view.set_blind(bool(blind))
        self.hint.setVisible(not turns)

    def set_waiting(self, state: Waiting) -> None:
        """Set the state of the last answer."""
        if self.turns:
            self.turns[-1].set_waiting(state)
        self._follows_end = self._follows_end or bool(state)

    def set_busy(self, busy: bool) -> None:
        """Disable changes of models while any answer is being generated."""
        for view in self.turns:
            view.edit.setEnabled(not busy)
        for part in (self.menu, self.close_button, self.blend):
            part.setEnabled(not busy)

    def flush_weights(self) -> None:
        """Emit pending changes of adapter weights now."""
        if self._weights_timer.isActive():
            self._weights_timer.stop()
            self._emit_weights()

    def update_answer(self, start: int, text: str, tokens: int) -> None:
        """Replace the last answer from the character `start` on."""
        if self.turns:
            self.turns[-1].grow(start, text, tokens)

    def _build(self) -> None:
        inner = QWidget()
        inner.setObjectName("scrolled")
        inner.setLayout(self._list)
        self._list.setContentsMargins(0, 0, Spacing.S, 0)
        self._list.setSpacing(Spacing.L)
        self._list.addWidget(self.hint)
        self._list.addStretch(1)
        self.area.setWidget(inner)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(Spacing.M, Spacing.M, Spacing.M, Spacing.M)
        layout.setSpacing(Spacing.S)
        head = row(self.name, self.menu, self.close_button)
        head.setStretch(1, 1)
        layout.addLayout(head)
        layout.addWidget(self.blend)
        layout.addWidget(self.area, 1)

    def _add_turn(self) -> None:
        view, index = TurnView(), len(self.turns)
        view.edit_clicked.connect(lambda: self.edit_requested.emit(index))
        view.tokens_clicked.connect(lambda: self.tokens_requested.emit(index))
        view.regenerate_clicked.connect(self.regenerate_requested)
        view.version_chosen.connect(lambda number: self.version_chosen.emit(index, number))
        self.turns.append(view)
        self._list.insertWidget(self._list.count() - 1, view)
        self._follows_end = True

    def _set_weights(self, adapters: object) -> None:
        self._blended = AdapterSpeaker(adapters=adapters)
        self._weights_timer.start()

    def _emit_weights(self) -> None:
        self.speaker_chosen.emit(self._blended)

    # --- scrolling ----------------------------------------------------------------------------

    def _on_range_changed(self, _lowest: int, highest: int) -> None:
        if self._follows_end:
            self.area.verticalScrollBar().setValue(highest)

    def _on_scrolled(self, value: int) -> None:
        """Keep the end of the conversation visible unless the user has scrolled up."""
        self._follows_end = value >= self.area.verticalScrollBar().maximum() - Spacing.L
