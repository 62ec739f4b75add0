"""The Hub account whose token is used, and the dialog that changes it."""

from __future__ import annotations

import os

from pydantic import SecretStr
from PySide6.QtCore import QObject, Signal
from PySide6.QtWidgets import QLineEdit, QWidget

from lora_studio.core.problems import Problem
from lora_studio.core.protocol import commands, events
from lora_studio.gui.language import tr
from lora_studio.gui.message_translation import localize_problem
from lora_studio.gui.widgets.basics import button, label, row
from lora_studio.gui.widgets.dialog import Dialog
from lora_studio.gui.widgets.external_open import open_page


class HubAccount(QObject):
    """Asks the query workers for the account. It passes the token on without storing it.

    Signals:
        ask(command): a question for the query workers; its events arrive in `on_event`.
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


def get_hub_address() -> str:
    """Return the base URL of the Hub's web pages, without a trailing slash."""
    return os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")


class TokenDialog(Dialog):
    """A dialog that stays open until the Hub accepts the token or the user cancels.

    Signals:
        token_entered(str): a token to try.
    """

    token_entered = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        """Create the dialog with an empty field."""
        super().__init__(
            tr("Sign in to Hugging Face"),
            tr(
                "Gated and private models need an access token. A token with read "
                "access is enough. LoRA Studio saves it only in the standard Hugging "
                "Face token file on this computer, which other tools also read."
            ),
            parent,
        )
        self.line = QLineEdit(echoMode=QLineEdit.EchoMode.Password)
        self.line.setPlaceholderText("hf_…")
        self.line.setAccessibleName(tr("Access token"))
        self.status = label("", "muted", wrap=True)
        self.create_token = button(tr("Create a token…"), self._open_page, kind="link")
        self.body.addWidget(self.line)
        self.body.addLayout(row(self.create_token, None))
        self.body.addWidget(self.status)
        self.add_button(button(tr("Cancel"), self.reject))
        self.sign_in = self.add_button(
            button(tr("Sign in"), self._submit, kind="primary"), default=True
        )
        self.sign_in.setEnabled(False)
        self.line.textChanged.connect(lambda text: self.sign_in.setEnabled(bool(text.strip())))
        self.line.setFocus()

    def show_problem(self, problem: Problem) -> None:
        """Show why the Hub rejected the token and let the user try another one."""
        self._show_status(localize_problem(problem))
        self.sign_in.setEnabled(True)
        self.line.selectAll()
        self.line.setFocus()

    def _show_status(self, text: str) -> None:
        self.status.setText(text)
        self.adjustSize()

    def _submit(self) -> None:
        self._show_status(tr("Checking the token…"))
        self.sign_in.setEnabled(False)
        self.token_entered.emit(self.line.text().strip())

    def _open_page(self) -> None:
        open_page(f"{get_hub_address()}/settings/tokens")
