"""The latest message to the user, above the page until it is put away."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import Qt, QTimer, QUrl
from PySide6.QtGui import QDesktopServices
from PySide6.QtWidgets import QFrame, QHBoxLayout, QLabel, QWidget

from lora_studio.gui.language import tr
from lora_studio.gui.messages import Level, Message
from lora_studio.gui.theme import Role, Space, current, pixmap, theme
from lora_studio.gui.told import tell
from lora_studio.gui.widgets.basics import button, label, tool_button

#: Milliseconds that good news stays.
_INFO_TIME = 6000

_LOOKS: dict[Level, tuple[str, Role]] = {
    "info": ("check", "ok"),
    "warning": ("warning", "warn"),
    "error": ("error", "error"),
}


class MessageBar(QFrame):
    """One message at a time; good news goes by itself, the rest stays until it is read."""

    def __init__(self, parent: QWidget | None = None) -> None:
        """Hidden while there is nothing to say."""
        super().__init__(parent)
        self.setProperty("surface", "header")
        self.setAccessibleName(tr("Message"))
        self._message: Message | None = None
        self._glyph = QLabel()
        self._glyph.setFixedSize(20, 20)
        self._text = label("", wrap=True)
        self._text.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self._file = button(tr("Open log"), self._open_file, kind="link")
        self._timer = QTimer(self, singleShot=True, interval=_INFO_TIME)
        self._timer.timeout.connect(self.hide)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(Space.XL, Space.S, Space.XL, Space.S)
        layout.setSpacing(Space.S)
        layout.addWidget(self._glyph)
        layout.addWidget(self._text, 1)
        layout.addWidget(self._file)
        layout.addWidget(tool_button("close", tr("Put this message away"), self.hide))
        theme().changed.connect(self._tint)
        self.hide()

    @property
    def text(self) -> str:
        """What is shown, empty while nothing is."""
        return self._text.text() if not self.isHidden() else ""

    def show_message(self, message: Message) -> None:
        """Shows a message instead of the one before."""
        self._message = message
        problem = message.problem
        self._text.setText(
            f"{tell(problem.what)} {tell(problem.remedy)}" if problem else tell(message.text)
        )
        file = problem.where.file if problem else None
        self._file.setVisible(bool(file) and Path(file or "").is_file())
        self._file.setText(tr("Open log") if (file or "").endswith(".txt") else tr("Open file"))
        self._tint()
        self.show()
        if message.level == "info":
            self._timer.start()
        else:
            self._timer.stop()

    def _tint(self) -> None:
        if self._message is not None:
            glyph, role = _LOOKS[self._message.level]
            self._glyph.setPixmap(pixmap(glyph, getattr(current(), role)))

    def _open_file(self) -> None:
        if self._message and self._message.problem and self._message.problem.where.file:
            QDesktopServices.openUrl(QUrl.fromLocalFile(self._message.problem.where.file))
