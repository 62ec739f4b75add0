"""Card with the update settings: whether to check, and the URL to check."""

from __future__ import annotations

from PySide6.QtCore import QUrl, Signal
from PySide6.QtGui import QDesktopServices
from PySide6.QtWidgets import QCheckBox, QLineEdit, QWidget

from lora_studio.gui.language import tr
from lora_studio.gui.widgets.basics import Card, button, label, row


class UpdateCard(Card):
    """A check box, a URL, a button, and the result of the check.

    Signals:
        allowed(on): check at startup.
        address_chosen(address): the URL to read.
        check_requested: check now.
    """

    allowed = Signal(bool)
    address_chosen = Signal(str)
    check_requested = Signal()

    def __init__(
        self, *, allowed: bool, address: str, default: str, parent: QWidget | None = None
    ) -> None:
        """Create the card; `default` is read if the user enters no `address`."""
        super().__init__(tr("Updates"), parent)
        self.box = QCheckBox(tr("Check for updates at startup, at most once a day"))
        self.box.setChecked(allowed)
        self.box.toggled.connect(self.allowed)
        self.address = QLineEdit(address)
        self.address.setAccessibleName(tr("Update URL"))
        self.address.setPlaceholderText(default or tr("https://…"))
        self.address.editingFinished.connect(self._on_entered)
        self.check = button(tr("Check now"), self._check_now)
        self.note = label("", "caption", wrap=True)
        self.note.hide()
        self.page = button(tr("Open release page"), self._show_page, kind="link")
        self.page.hide()
        self._page = ""
        about = label(
            tr(
                "LoRA Studio doesn't check for updates unless you turn this on. It "
                "then reads one URL, sends nothing about you or this computer, and "
                "installs nothing."
            ),
            "muted",
            wrap=True,
        )
        title = label(tr("URL"), "muted")
        title.setBuddy(self.address)
        self.add(
            about, self.box, row(title, self.address, self.check), self.note, row(self.page, None)
        )

    def show_result(self, text: str, page: str) -> None:
        """Show the result of a check; `page` is the URL of a newer release or ""."""
        self.note.setText(text)
        self.note.show()
        self._page = page
        self.page.setVisible(bool(page))

    def _on_entered(self) -> None:
        self.address_chosen.emit(self.address.text())

    def _check_now(self) -> None:
        self._on_entered()
        self.note.setText(tr("Checking…"))
        self.note.show()
        self.check_requested.emit()

    def _show_page(self) -> None:
        QDesktopServices.openUrl(QUrl(self._page))
