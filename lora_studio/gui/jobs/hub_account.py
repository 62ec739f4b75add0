"""The Hub account whose token is used, and the dialog that changes it."""

from __future__ import annotations

from pydantic import SecretStr
from PySide6.QtCore import QObject, Signal
from PySide6.QtWidgets import QWidget

from lora_studio.core.protocol import commands, events
from lora_studio.gui.jobs.token_dialog import TokenDialog


class HubAccount(QObject):
    """Queries the inspector for the account. It passes the token on without storing it.

    Signals:
        ask(command): a question for the inspector; its events arrive in `on_event`.
        changed: `current` has changed.
        failed(problem): signing in or out failed while no dialog is open.
    """

    ask = Signal(object)
    changed = Signal()
    failed = Signal(object)

    def __init__(self, parent: QObject | None = None) -> None:
        """Create the account, not yet queried."""
        super().__init__(parent)
        self.current: events.AccountFound | None = None
        #: Whether the user signed in or out, rather than the account being queried.
        self.was_changed_by_user = False
        self.dialog: TokenDialog | None = None
        self._pending = ""
        self._changes = False

    def inspect(self) -> None:
        """Query the account, unless a sign-in or sign-out is pending, which reports it as well."""
        if self._pending and self._changes:
            return
        self._send(commands.InspectAccount(), changes=False)

    def follow(self, other: HubAccount) -> None:
        """Adopt what another page learns about the account."""
        other.changed.connect(lambda: self._adopt(other))

    def _adopt(self, other: HubAccount) -> None:
        if other.current is not self.current:
            self.current, self.was_changed_by_user = other.current, other.was_changed_by_user
            self.changed.emit()

    def sign_out(self) -> None:
        """Delete the saved token."""
        self._send(commands.SignOut(), changes=True)

    def open_sign_in(self, parent: QWidget) -> None:
        """Open the sign-in dialog."""
        dialog = TokenDialog(parent)
        dialog.token_entered.connect(
            lambda token: self._send(commands.SignIn(token=SecretStr(token)), changes=True)
        )
        dialog.finished.connect(lambda _: self._on_closed())
        self.dialog = dialog
        dialog.open()

    def on_event(self, event: object) -> bool:
        """Handle an event; return whether it is about the account."""
        if not self._pending or getattr(event, "id", "") != self._pending:
            return False
        match event:
            case events.AccountFound():
                self.current, self.was_changed_by_user = event, self._changes
                if self.dialog is not None and event.has_token:
                    self.dialog.accept()
                self.changed.emit()
            case events.Failed() if self.dialog is not None:
                self.dialog.show_problem(event.problem)
            case events.Failed() if self._changes:
                self.failed.emit(event.problem)
        if isinstance(event, events.Ending):
            self._pending = ""
        return True

    def _send(self, command: commands.Question, *, changes: bool) -> None:
        self._pending, self._changes = command.id, changes
        self.ask.emit(command)

    def _on_closed(self) -> None:
        self.dialog = None
