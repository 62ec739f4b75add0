"""The bar above the page that shows the latest message."""

from __future__ import annotations

from PySide6.QtCore import Qt, QTimer, Signal, SignalInstance
from PySide6.QtWidgets import QFrame, QHBoxLayout, QLabel, QWidget

from lora_studio.gui.language import tr
from lora_studio.gui.message_translation import localize
from lora_studio.gui.problems.messages import Level, Toast
from lora_studio.gui.problems.suggested_actions import suggest_action
from lora_studio.gui.text_size import set_scaled_sizes
from lora_studio.gui.theme import Role, Spacing, get_palette, get_theme, pixmap
from lora_studio.gui.widgets.basics import button, label, tool_button

#: Milliseconds that an info message is shown, and the minimum if the user changes the page.
_INFO_TIME, _READ_TIME = 6000, 1500

_LOOKS: dict[Level, tuple[str, Role]] = {
    "info": ("check", "ok"),
    "warning": ("warning", "warn"),
    "error": ("error", "error"),
}


class MessageBar(QFrame):
    """Shows one message at a time; info messages disappear, others stay until dismissed.

    Signals:
        action_requested(problem): run the suggested action.
        explanation_requested(problem): explain the problem.
    """

    action_requested = Signal(object)
    explanation_requested = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        """Hide the bar until there is a message."""
        super().__init__(parent)
        self.setProperty("surface", "header")
        self.setAccessibleName(tr("Message"))
        self._message: Toast | None = None
        self._glyph = QLabel()
        set_scaled_sizes(self._glyph, width=20, height=20)
        self._text = label("", wrap=True)
        self._text.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.action = button("", lambda: self._emit(self.action_requested), kind="link")
        self.more = button(
            tr("What now?"), lambda: self._emit(self.explanation_requested), kind="link"
        )
        self._timer = QTimer(self, singleShot=True, interval=_INFO_TIME)
        # `on_page_left` compares the remaining time, and a coarse timer can be off by 5 %.
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._timer.timeout.connect(self.hide)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(Spacing.XL, Spacing.S, Spacing.XL, Spacing.S)
        layout.setSpacing(Spacing.S)
        layout.addWidget(self._glyph)
        layout.addWidget(self._text, 1)
        layout.addWidget(self.action)
        layout.addWidget(self.more)
        layout.addWidget(tool_button("close", tr("Dismiss"), self.hide))
        get_theme().changed.connect(self._tint)
        self.hide()

    @property
    def text(self) -> str:
        """The shown text, "" while hidden."""
        return self._text.text() if not self.isHidden() else ""

    def show_message(self, message: Toast) -> None:
        """Replace the shown message."""
        self._message = message
        problem = message.problem
        self._text.setText(
            f"{localize(problem.what)} {localize(problem.remedy)}"
            if problem
            else localize(message.text)
        )
        action = suggest_action(problem) if problem else None
        self.action.setVisible(action is not None and action.kind != "explain")
        self.action.setText(action.label if action else "")
        self.more.setVisible(problem is not None)
        self._tint()
        self.show()
        if message.level == "info":
            self._timer.start()
        else:
            self._timer.stop()

    def on_page_left(self) -> None:
        """Hide an info message about the previous page, once there was time to read it."""
        if 0 < self._timer.remainingTime() < _INFO_TIME - _READ_TIME:
            self._timer.stop()
            self.hide()

    def _tint(self) -> None:
        if self._message is not None:
            glyph, role = _LOOKS[self._message.level]
            self._glyph.setPixmap(pixmap(glyph, getattr(get_palette(), role)))

    def _emit(self, signal: SignalInstance) -> None:
        if self._message is not None and self._message.problem is not None:
            signal.emit(self._message.problem)
