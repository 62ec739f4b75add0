"""Whose token is used at the hub, and the dialog that changes it."""

from __future__ import annotations

from pydantic import SecretStr
from PySide6.QtCore import QObject, Signal
from PySide6.QtWidgets import QWidget

from lora_studio.core.protocol import commands, events
from lora_studio.gui.pages.model.token_dialog import TokenDialog


class HubAccount(QObject):
    """Asks the inspector; the token itself passes through here once, and is not kept.

    Signals:
        ask(command): a question for the inspector; its events come to `take`.
        changed: `found` is another one.
        failed(problem): nobody was signed in or out, and no dialog says so.
    """

    ask = Signal(object)
    changed = Signal()
    failed = Signal(object)

    def __init__(self, parent: QObject | None = None) -> None:
        """Nobody was asked yet."""
        super().__init__(parent)
        self.found: events.AccountFound | None = None
        #: Whether the last change was somebody signing in or out, not a first look.
        self.has_changed_hands = False
        self.dialog: TokenDialog | None = None
        self._asked = ""
        self._changes = False

    def look(self) -> None:
        """Asks whose token there is; not while one is about to be another, which tells it as well."""
        if self._asked and self._changes:
            return
        self._put(commands.InspectAccount(), changes=False)

    def sign_out(self) -> None:
        """Forgets the token."""
        self._put(commands.SignOut(), changes=True)

    def ask_for_token(self, parent: QWidget) -> None:
        """Opens the dialog."""
        dialog = TokenDialog(parent)
        dialog.given.connect(
            lambda token: self._put(commands.SignIn(token=SecretStr(token)), changes=True)
        )
        dialog.finished.connect(lambda _: self._closed())
        self.dialog = dialog
        dialog.open()

    def take(self, event: object) -> bool:
        """Whether an event was about the account."""
        if not self._asked or getattr(event, "id", "") != self._asked:
            return False
        match event:
            case events.AccountFound():
                self.found, self.has_changed_hands = event, self._changes
                if self.dialog is not None and event.has_token:
                    self.dialog.accept()
                self.changed.emit()
            case events.Failed() if self.dialog is not None:
                self.dialog.show_problem(event.problem)
            case events.Failed() if self._changes:
                self.failed.emit(event.problem)
        if isinstance(event, events.Ending):
            self._asked = ""
        return True

    def _put(self, command: commands.Question, *, changes: bool) -> None:
        self._asked, self._changes = command.id, changes
        self.ask.emit(command)

    def _closed(self) -> None:
        self.dialog = None
