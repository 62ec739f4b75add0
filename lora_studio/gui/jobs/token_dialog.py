"""Dialog that asks for a Hub token, typed or pasted into a hidden field."""

from __future__ import annotations

import os

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QLineEdit, QWidget

from lora_studio.core.problems import Problem
from lora_studio.gui.language import tr
from lora_studio.gui.message_translation import localize_problem
from lora_studio.gui.widgets.basics import button, label, row
from lora_studio.gui.widgets.dialog import Dialog
from lora_studio.gui.widgets.external_open import open_page


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
