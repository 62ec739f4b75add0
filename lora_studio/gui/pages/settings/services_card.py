"""The card with the Hugging Face account and the address of Ollama."""

from __future__ import annotations

import os

from PySide6.QtCore import Signal

from lora_studio.core.system import offline
from lora_studio.gui.controls.controls import LineEdit
from lora_studio.gui.jobs.hub_account import HubAccount
from lora_studio.gui.language import tr
from lora_studio.gui.preferences import Preferences
from lora_studio.gui.widgets.basics import Card, button, column, label, row


class ServicesCard(Card):
    """Signs in to the Hub, and sets the address of Ollama for all projects without their own.

    Signals:
        ollama_host_changed: the address of Ollama has changed.
    """

    ollama_host_changed = Signal()

    def __init__(self, preferences: Preferences) -> None:
        """Show the stored address; the account is queried when the card is shown."""
        super().__init__(tr("Accounts and servers"))
        self._preferences = preferences
        self.account = HubAccount(self)
        self.account.changed.connect(self._show_account)
        self.name = label("", "muted", wrap=True)
        self.sign_in = button(
            tr("Sign in…"), lambda: self.account.open_sign_in(self.window()), kind="link"
        )
        self.sign_out = button(tr("Sign out"), self.account.sign_out, kind="link")
        self.host = LineEdit()
        self.host.setPlaceholderText("http://127.0.0.1:11434")
        self.host.setAccessibleName(tr("Ollama address"))
        self.host.setText(preferences.ollama_host)
        self.host.connect_keys(self._save_host, self._show_host)
        self.note = label("", "caption", wrap=True)
        title = label(tr("Ollama address"), "label")
        title.setBuddy(self.host)
        self.add(
            row(
                label(tr("Hugging Face Hub"), "label"), self.name, None, self.sign_in, self.sign_out
            ),
            column(title, self.host, self.note),
        )
        self._show_account()
        self._show_host()

    def refresh(self) -> None:
        """Query the account the first time, unless offline mode is on."""
        if self.account.current is None and not offline.is_on():
            self.account.inspect()
        self._show_account()

    def _show_account(self) -> None:
        account = self.account.current
        has_token = account is not None and account.has_token
        from_environment = account is not None and account.from_environment
        self.sign_in.setVisible(not has_token)
        self.sign_in.setEnabled(not offline.is_on())
        self.sign_out.setVisible(has_token and not from_environment)
        if account is None:
            self.name.setText(tr("Offline mode is on.") if offline.is_on() else "")
        elif not has_token:
            self.name.setText(tr("Not signed in. Only gated and private models need it."))
        else:
            self.name.setText(tr("Signed in as {name}").format(name=account.name or "?"))

    def _show_host(self) -> None:
        self.host.setText(self._preferences.ollama_host)
        self.note.setText(
            tr("Used by projects without an address of their own. Leave empty for this computer.")
        )

    def _save_host(self) -> None:
        """Store the address and use it from now on; one with a password isn't stored."""
        typed = self.host.text().strip()
        if typed == self._preferences.ollama_host:
            return
        if "@" in typed:
            os.environ["OLLAMA_HOST"] = typed
            self._show_host()
            self.note.setText(
                tr(
                    "The address contains a password, so it is used only until you close the window."
                )
            )
        else:
            self._preferences.ollama_host = typed
            self._preferences.save()
            self._preferences.apply_ollama_host()
            self._show_host()
        self.ollama_host_changed.emit()
