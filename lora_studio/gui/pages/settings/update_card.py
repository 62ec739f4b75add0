"""Whether the program may ask for a newer version of itself, and where; off until it is allowed."""

from __future__ import annotations

from PySide6.QtCore import QUrl, Signal
from PySide6.QtGui import QDesktopServices
from PySide6.QtWidgets import QCheckBox, QLineEdit, QWidget

from lora_studio.gui.language import tr
from lora_studio.gui.message_translation import tell
from lora_studio.gui.widgets.basics import Card, button, label, row


class UpdateCard(Card):
    """A box, an address, a button, and what came of it.

    Signals:
        allowed(yes): whether to ask at each start.
        address_chosen(address): where to ask.
        look: ask now.
    """

    allowed = Signal(bool)
    address_chosen = Signal(str)
    look = Signal()

    def __init__(
        self, *, allowed: bool, address: str, default: str, parent: QWidget | None = None
    ) -> None:
        """`default` is asked where the user names no `address`."""
        super().__init__(tr("Newer versions"), parent)
        self.box = QCheckBox(tr("Ask once a day, at the start"))
        self.box.setChecked(allowed)
        self.box.toggled.connect(self.allowed)
        self.address = QLineEdit(address)
        self.address.setAccessibleName(tr("Address to ask"))
        self.address.setPlaceholderText(default or tr("https://…"))
        self.address.editingFinished.connect(self._entered)
        self.now = button(tr("Ask now"), self._now)
        self.note = label("", "caption", wrap=True)
        self.note.hide()
        self.page = button(tr("Show its page"), self._show_page, kind="link")
        self.page.hide()
        self._page = ""
        about = label(
            tr(
                "Off, nothing is ever asked. On, one address is read; nothing about you or this "
                "machine is sent, and nothing is installed."
            ),
            "muted",
            wrap=True,
        )
        title = label(tr("Address"), "muted")
        title.setBuddy(self.address)
        self.add(
            about, self.box, row(title, self.address, self.now), self.note, row(self.page, None)
        )

    def tell(self, text: str, page: str) -> None:
        """What came of a question; `page` is that of a newer version."""
        self.note.setText(tell(text))
        self.note.show()
        self._page = page
        self.page.setVisible(bool(page))

    def _entered(self) -> None:
        self.address_chosen.emit(self.address.text())

    def _now(self) -> None:
        self._entered()
        self.note.setText(tr("Asking…"))
        self.note.show()
        self.look.emit()

    def _show_page(self) -> None:
        QDesktopServices.openUrl(QUrl(self._page))
