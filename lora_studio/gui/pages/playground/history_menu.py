"""Menu with the conversations of a project, newest first."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QMenu, QWidget

from lora_studio.core import timestamps
from lora_studio.core.playground import Conversation
from lora_studio.gui.language import tr

#: Maximum number of conversations in the menu.
_MAX_LISTED = 30


class HistoryMenu(QMenu):
    """A list of conversations, filled on `aboutToShow`.

    Signals:
        chosen(Conversation): show this conversation.
        trash_clicked: move the current conversation to the trash.
    """

    chosen = Signal(object)
    trash_clicked = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        """Start empty."""
        super().__init__(parent)

    def fill(self, conversations: Sequence[Conversation], current: Conversation) -> None:
        """List the conversations and check the current one."""
        self.clear()
        for each in conversations[:_MAX_LISTED]:
            when = timestamps.format_short_time(each.created)
            action = self.addAction(f"{each.title or '…'}    {when}".replace("&", "&&"))
            action.setCheckable(True)
            action.setChecked(each.id == current.id)
            action.triggered.connect(lambda _=False, each=each: self.chosen.emit(each))
        if not conversations:
            self.addAction(tr("No conversations yet")).setEnabled(False)
        self.addSeparator()
        trash = self.addAction(tr("Move this conversation to the trash"), self.trash_clicked.emit)
        trash.setEnabled(bool(current.turns))
