"""Base of the window's dialogs: a title, a text, a body and a row of buttons."""

from __future__ import annotations

from PySide6.QtGui import QShowEvent
from PySide6.QtWidgets import QDialog, QPushButton, QVBoxLayout, QWidget

from lora_studio.gui.theme import Spacing
from lora_studio.gui.widgets import tab_order
from lora_studio.gui.widgets.basics import column, label, row

#: Minimum width of a dialog's content; set on the dialog itself, it would let the buttons shrink.
DIALOG_WIDTH = 440


class Dialog(QDialog):
    """A modal dialog; it is opened with `open()`, never with the blocking `exec()`."""

    def __init__(self, title: str, text: str, parent: QWidget | None = None) -> None:
        """Build the dialog; parts added to `body` appear between the text and the buttons."""
        super().__init__(parent)
        self.setWindowTitle(title)
        self.setModal(True)
        self.text = label(text, wrap=True)
        if not text:
            self.text.hide()
        self.text.setMinimumWidth(DIALOG_WIDTH)
        self.body = column()
        self.buttons = row(None)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(Spacing.XL, Spacing.XL, Spacing.XL, Spacing.L)
        layout.setSpacing(Spacing.L)
        layout.addWidget(label(title, "section"))
        layout.addWidget(self.text)
        layout.addLayout(self.body)
        layout.addLayout(self.buttons)
        self.finished.connect(self.deleteLater)

    def focusNextPrevChild(self, forwards: bool) -> bool:
        """Move the focus to the next or previous control."""
        return tab_order.move_focus(self, forwards)

    def showEvent(self, event: QShowEvent) -> None:
        """Grow to fit wrapped text, for which a layout reserves only one line."""
        super().showEvent(event)
        layout = self.layout()
        if layout is not None and layout.hasHeightForWidth():
            needed = layout.totalHeightForWidth(self.width())
            available = self.screen().availableGeometry().height()
            self.resize(self.width(), max(self.height(), min(needed, available)))

    def add_button(self, button: QPushButton, *, default: bool = False) -> QPushButton:
        """Add a button after the others; the default one answers Enter."""
        self.buttons.addWidget(button)
        button.setDefault(default)
        return button
