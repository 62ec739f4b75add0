"""The latest message to the user, above the page until it is put away."""

from __future__ import annotations

from PySide6.QtCore import Qt, QTimer, Signal, SignalInstance
from PySide6.QtWidgets import QFrame, QHBoxLayout, QLabel, QWidget

from lora_studio.gui.language import tr
from lora_studio.gui.message_translation import tell
from lora_studio.gui.problems.messages import Level, Toast
from lora_studio.gui.problems.remedies import what_now
from lora_studio.gui.text_size import sized
from lora_studio.gui.theme import Role, Spacing, current, pixmap, theme
from lora_studio.gui.widgets.basics import button, label, tool_button

#: Milliseconds that good news stays, and those for which it stays wherever the user goes.
_INFO_TIME, _READ_TIME = 6000, 1500

_LOOKS: dict[Level, tuple[str, Role]] = {
    "info": ("check", "ok"),
    "warning": ("warning", "warn"),
    "error": ("error", "error"),
}


class MessageBar(QFrame):
    """One message at a time; good news goes by itself, the rest stays until it is read.

    Signals:
        act(problem): the user wants what the button beside a problem says.
        explain(problem): the user wants to know more about it.
    """

    act = Signal(object)
    explain = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        """Hidden while there is nothing to say."""
        super().__init__(parent)
        self.setProperty("surface", "header")
        self.setAccessibleName(tr("Message"))
        self._message: Toast | None = None
        self._glyph = QLabel()
        sized(self._glyph, width=20, height=20)
        self._text = label("", wrap=True)
        self._text.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.action = button("", lambda: self._tell(self.act), kind="link")
        self.more = button(tr("What now?"), lambda: self._tell(self.explain), kind="link")
        self._timer = QTimer(self, singleShot=True, interval=_INFO_TIME)
        # How much of it is left is asked for, and a coarse timer may be off by a twentieth.
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._timer.timeout.connect(self.hide)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(Spacing.XL, Spacing.S, Spacing.XL, Spacing.S)
        layout.setSpacing(Spacing.S)
        layout.addWidget(self._glyph)
        layout.addWidget(self._text, 1)
        layout.addWidget(self.action)
        layout.addWidget(self.more)
        layout.addWidget(tool_button("close", tr("Put this message away"), self.hide))
        theme().changed.connect(self._tint)
        self.hide()

    @property
    def text(self) -> str:
        """What is shown, empty while nothing is."""
        return self._text.text() if not self.isHidden() else ""

    def show_message(self, message: Toast) -> None:
        """Shows a message instead of the one before."""
        self._message = message
        problem = message.problem
        self._text.setText(
            f"{tell(problem.what)} {tell(problem.remedy)}" if problem else tell(message.text)
        )
        now = what_now(problem) if problem else None
        self.action.setVisible(now is not None and now.deed != "explain")
        self.action.setText(now.label if now else "")
        self.more.setVisible(problem is not None)
        self._tint()
        self.show()
        if message.level == "info":
            self._timer.start()
        else:
            self._timer.stop()

    def on_page_left(self) -> None:
        """Good news about the page before goes with it, once there was time to read it."""
        if 0 < self._timer.remainingTime() < _INFO_TIME - _READ_TIME:
            self._timer.stop()
            self.hide()

    def _tint(self) -> None:
        if self._message is not None:
            glyph, role = _LOOKS[self._message.level]
            self._glyph.setPixmap(pixmap(glyph, getattr(current(), role)))

    def _tell(self, wish: SignalInstance) -> None:
        if self._message is not None and self._message.problem is not None:
            wish.emit(self._message.problem)
