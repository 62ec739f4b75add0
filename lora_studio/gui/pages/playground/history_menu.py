"""Menu with the conversations of a project, newest first."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QMenu, QWidget

from lora_studio.core import timestamps
from lora_studio.core.playground import Conversation
from lora_studio.gui.language import tr

#: Conversations that are offered.
_MOST = 30


class HistoryMenu(QMenu):
    """List the conversations; filled on `aboutToShow`.

    Signals:
        chosen(Conversation): show this conversation.
        trash_clicked: move the current conversation to the trash.
    """

    chosen = Signal(object)
    thrown_away = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        """Start empty."""
        super().__init__(parent)

    def fill(self, known: Sequence[Conversation], now: Conversation) -> None:
        """List the conversations and check the current one."""
        self.clear()
        for kept in known[:_MOST]:
            when = timestamps.shortly(kept.created)
            action = self.addAction(f"{kept.title or '…'}    {when}".replace("&", "&&"))
            action.setCheckable(True)
            action.setChecked(kept.id == now.id)
            action.triggered.connect(lambda _=False, kept=kept: self.chosen.emit(kept))
        if not known:
            self.addAction(tr("No conversations yet")).setEnabled(False)
        self.addSeparator()
        trash = self.addAction(tr("Move this conversation to the trash"), self.thrown_away.emit)
        trash.setEnabled(bool(now.turns))
