"""Asks for a token of the hub: typed or pasted unseen, and passed on to the worker alone."""

from __future__ import annotations

import os

from PySide6.QtCore import QUrl, Signal
from PySide6.QtGui import QDesktopServices
from PySide6.QtWidgets import QLineEdit, QWidget

from lora_studio.core.problems import Problem
from lora_studio.gui.language import tr
from lora_studio.gui.message_translation import tell_problem
from lora_studio.gui.widgets.basics import button, label, row
from lora_studio.gui.widgets.dialog import Dialog


def hub_address() -> str:
    """Where the hub's pages are."""
    return os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")


class TokenDialog(Dialog):
    """One hidden line. It stays open until the hub has taken the token or the user gives up.

    Signals:
        given(str): a token to try.
    """

    given = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        """Nothing is typed yet."""
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
        self.said = label("", "muted", wrap=True)
        self.page = button(tr("Create a token…"), self._open_page, kind="link")
        self.body.addWidget(self.line)
        self.body.addLayout(row(self.page, None))
        self.body.addWidget(self.said)
        self.add_button(button(tr("Cancel"), self.reject))
        self.sign_in = self.add_button(
            button(tr("Sign in"), self._give, kind="primary"), default=True
        )
        self.sign_in.setEnabled(False)
        self.line.textChanged.connect(lambda text: self.sign_in.setEnabled(bool(text.strip())))
        self.line.setFocus()

    def show_problem(self, problem: Problem) -> None:
        """Why the hub did not take it; another may be tried."""
        self._say(tell_problem(problem))
        self.sign_in.setEnabled(True)
        self.line.selectAll()
        self.line.setFocus()

    def _say(self, text: str) -> None:
        self.said.setText(text)
        self.adjustSize()

    def _give(self) -> None:
        self._say(tr("Checking the token…"))
        self.sign_in.setEnabled(False)
        self.given.emit(self.line.text().strip())

    def _open_page(self) -> None:
        QDesktopServices.openUrl(QUrl(f"{hub_address()}/settings/tokens"))
