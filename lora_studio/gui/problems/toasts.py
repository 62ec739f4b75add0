"""Toasts: messages over the lower right corner of the page, which they never move."""

from __future__ import annotations

from PySide6.QtCore import QEvent, QObject, Qt, QTimer, Signal, SignalInstance
from PySide6.QtGui import QAccessible, QAccessibleEvent, QEnterEvent
from PySide6.QtWidgets import QFrame, QLabel, QPushButton, QVBoxLayout, QWidget

from lora_studio.gui.language import tr
from lora_studio.gui.message_translation import localize
from lora_studio.gui.problems.suggested_actions import Level, Toast, suggest_action
from lora_studio.gui.text_size import Size, set_scaled_sizes
from lora_studio.gui.theme import Role, Spacing, get_palette, get_theme, pixmap
from lora_studio.gui.widgets.basics import button, column, flow_row, label, row, tool_button

#: Milliseconds that messages without a problem are shown, and the minimum if the user changes the page.
_INFO_TIME, _READ_TIME = 6000, 1500
#: Maximum number of toasts, and their width in pixels at a text size of 100 %.
_MOST, _WIDTH = 3, 420

_LOOKS: dict[Level, tuple[str, Role]] = {
    "success": ("check", "ok"),
    "info": ("info", "muted"),
    "warning": ("warning", "warn"),
    "error": ("error", "error"),
}


class ToastCard(QFrame):
    """One message with the actions for its problem.

    Signals:
        closed: the message was dismissed, or its time is over.
        action_requested(problem): run the suggested action.
        explanation_requested(problem): explain the problem.
    """

    closed = Signal()
    action_requested = Signal(object)
    explanation_requested = Signal(object)

    def __init__(self, message: Toast, parent: QWidget | None = None) -> None:
        """Show the message; those without a problem disappear after a few seconds."""
        super().__init__(parent)
        self.setProperty("surface", "toast")
        self.setAccessibleName(tr("Message"))
        self.message = message
        self._glyph = QLabel()
        set_scaled_sizes(self._glyph, width=20, height=26)  # as high as the button that dismisses
        self._text = label(_format_message(message), wrap=True)
        self._text.setContentsMargins(0, Spacing.XS, 0, Spacing.XS)
        self._text.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.action, self.more = self._make_buttons()
        self._buttons = flow_row(self.action, self.more)
        self._buttons.setVisible(message.problem is not None)
        dismiss = tool_button("close", tr("Dismiss"), self.closed.emit)
        head = row(self._glyph, column(self._text, self._buttons, spacing=Spacing.XS), dismiss)
        head.setStretch(1, 1)
        head.setAlignment(self._glyph, Qt.AlignmentFlag.AlignTop)
        head.setAlignment(dismiss, Qt.AlignmentFlag.AlignTop)
        head.setContentsMargins(Spacing.M, Spacing.M, Spacing.S, Spacing.M)
        self.setLayout(head)
        self._timer = QTimer(self, singleShot=True, interval=_INFO_TIME)
        # `is_read` compares the remaining time, and a coarse timer can be off by 5 %.
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._timer.timeout.connect(self.closed)
        if message.level in ("success", "info"):
            self._timer.start()
        get_theme().changed.connect(self._tint)
        self._tint()

    @property
    def text(self) -> str:
        """The shown text."""
        return self._text.text()

    def is_read(self) -> bool:
        """Return whether the message disappears by itself, and there was time to read it."""
        return 0 < self._timer.remainingTime() < _INFO_TIME - _READ_TIME

    def enterEvent(self, event: QEnterEvent) -> None:
        """Keep the message while the mouse is over it."""
        super().enterEvent(event)
        self._timer.stop()

    def leaveEvent(self, event: QEvent) -> None:
        """Start the message's time again."""
        super().leaveEvent(event)
        if self.message.level in ("success", "info"):
            self._timer.start()

    def _make_buttons(self) -> tuple[QPushButton, QPushButton]:
        """Return the buttons for the suggested action and for an explanation, hidden if there is none."""
        problem = self.message.problem
        action = suggest_action(problem) if problem else None
        do = button(
            action.label if action else "", lambda: self._emit(self.action_requested), kind="link"
        )
        do.setVisible(action is not None)
        explain = button(
            tr("What now?"), lambda: self._emit(self.explanation_requested), kind="link"
        )
        explain.setVisible(problem is not None)
        return do, explain

    def _tint(self) -> None:
        glyph, role = _LOOKS[self.message.level]
        self._glyph.setPixmap(pixmap(glyph, getattr(get_palette(), role)))

    def _emit(self, signal: SignalInstance) -> None:
        if self.message.problem is not None:
            signal.emit(self.message.problem)


class ToastStack(QWidget):
    """The latest messages, the newest at the bottom; it covers only what it needs.

    Signals:
        action_requested(problem): run the suggested action.
        explanation_requested(problem): explain the problem.
    """

    action_requested = Signal(object)
    explanation_requested = Signal(object)

    def __init__(self, over: QWidget) -> None:
        """Create an empty stack over the lower right corner of a widget."""
        super().__init__(over)
        self._over = over
        self._cards: list[ToastCard] = []
        self._layout = QVBoxLayout(self)
        self._layout.setContentsMargins(0, 0, 0, 0)
        self._layout.setSpacing(Spacing.S)
        over.installEventFilter(self)
        get_theme().changed.connect(self._arrange)
        self.hide()

    @property
    def cards(self) -> list[ToastCard]:
        """The shown messages, oldest first."""
        return list(self._cards)

    @property
    def text(self) -> str:
        """The text of the newest message, "" for none."""
        return self._cards[-1].text if self._cards else ""

    @property
    def action(self) -> QPushButton:
        """The button for the suggested action of the newest message."""
        return self._cards[-1].action

    @property
    def more(self) -> QPushButton:
        """The button that explains the newest message."""
        return self._cards[-1].more

    def show_message(self, message: Toast) -> None:
        """Show a message, instead of an equal one and of the oldest ones that don't fit."""
        for card in self._cards[:]:
            if card.message == message:
                self._remove(card)
        while len(self._cards) >= _MOST:
            brief = (card for card in self._cards if card.message.problem is None)
            self._remove(next(brief, self._cards[0]))
        card = ToastCard(message, self)
        card.closed.connect(lambda: self._remove(card))
        card.action_requested.connect(self.action_requested)
        card.explanation_requested.connect(self.explanation_requested)
        self._cards.append(card)
        self._layout.addWidget(card)
        self._arrange()
        QAccessible.updateAccessibility(QAccessibleEvent(card, QAccessible.Event.Alert))

    def clear(self) -> None:
        """Dismiss all messages, for example because another project is opened."""
        for card in self._cards[:]:
            self._remove(card)

    def on_page_left(self) -> None:
        """Dismiss messages about the previous page that there was time to read."""
        for card in [card for card in self._cards if card.is_read()]:
            self._remove(card)
        self.raise_()  # pages that were created later are above

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Follow the size of the widget below."""
        if watched is self._over and event.type() == QEvent.Type.Resize:
            self._arrange()
        return super().eventFilter(watched, event)

    def _remove(self, card: ToastCard) -> None:
        if card in self._cards:
            self._cards.remove(card)
            self._layout.removeWidget(card)
            card.hide()
            card.deleteLater()
            self._arrange()

    def _arrange(self) -> None:
        self.setVisible(bool(self._cards))
        if not self._cards:
            return
        area = self._over.rect().adjusted(Spacing.L, Spacing.L, -Spacing.L, -Spacing.L)
        width = min(Size.scaled(_WIDTH), area.width())
        heights = [max(card.heightForWidth(width), 1) for card in self._cards]
        height = sum(heights) + Spacing.S * (len(heights) - 1)
        self.setGeometry(area.right() + 1 - width, area.bottom() + 1 - height, width, height)
        self.raise_()


def _format_message(message: Toast) -> str:
    if message.problem is None:
        return localize(message.text)
    return f"{localize(message.problem.what)} {localize(message.problem.remedy)}"
