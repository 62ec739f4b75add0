"""A part of the window in the light, a few words beside it, and the rest in the shade."""

from __future__ import annotations

from PySide6.QtCore import QEvent, QObject, QPoint, QRect, QRectF, Qt, Signal
from PySide6.QtGui import QColor, QKeyEvent, QPainter, QPainterPath, QPaintEvent, QPen
from PySide6.QtWidgets import QFrame, QVBoxLayout, QWidget

from lora_studio.gui.language import tr
from lora_studio.gui.text_size import Size
from lora_studio.gui.theme import Spacing, color
from lora_studio.gui.widgets.basics import button, label, row

_WIDTH = 340
_AROUND = 6  # pixels between what is shown and the edge of the light
_SHADE = 130  # of 255


class CoachMarks(QWidget):
    """Lies over the window until it is ended; the window underneath is seen and not pressed.

    Signals:
        moved(by): 1 for the next mark, -1 for the one before.
        ended: with Esc or the button for it.
    """

    moved = Signal(int)
    ended = Signal()

    def __init__(self, over: QWidget) -> None:
        """Covers `over`, whatever its size becomes."""
        super().__init__(over)
        self._over = over
        self._target: QWidget | None = None
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.bubble = QFrame(self)
        self.bubble.setProperty("surface", "card")
        self._width = Size.scaled(_WIDTH)
        self.bubble.setFixedWidth(self._width)
        self.title = label("", "section", wrap=True)
        self.text = label("", wrap=True)
        self.place = label("", "caption")
        self.skip = button(tr("End the tour"), self.ended.emit, kind="link")
        self.skip.setToolTip(tr("End the tour (Esc)"))
        self.back = button(tr("Back"), lambda: self.moved.emit(-1))
        self.next = button(tr("Next"), lambda: self.moved.emit(1), kind="primary")
        self._layout = layout = QVBoxLayout(self.bubble)
        layout.setContentsMargins(Spacing.CARD, Spacing.CARD, Spacing.CARD, Spacing.M)
        layout.setSpacing(Spacing.M)
        layout.addWidget(self.title)
        layout.addWidget(self.text)
        layout.addLayout(row(self.place, self.skip, None, self.back, self.next))
        over.installEventFilter(self)
        for made in (self.skip, self.back, self.next):
            made.installEventFilter(self)  # buttons use the arrow keys to move the focus
        self.setGeometry(over.rect())
        self.hide()

    def show_mark(self, target: QWidget | None, title: str, text: str, at: int, count: int) -> None:
        """Lights up a widget; None, or one that is not to be seen, puts the words in the middle."""
        self._target = target if target is not None and target.isVisible() else None
        self.title.setText(title)
        self.text.setText(text)
        self.place.setText(tr("{at} of {count}").format(at=at + 1, count=count))
        self.back.setVisible(at > 0)
        last = at == count - 1
        self.next.setText(tr("Done") if last else tr("Next"))
        self.skip.setVisible(not last)
        self.bubble.setAccessibleName(f"{title}. {text}")
        self.next.setAccessibleDescription(f"{title}. {text}")  # read out as the focus comes here
        self.show()
        self.raise_()
        self._arrange()
        self.next.setFocus()

    def light(self) -> QRect:
        """What is lit, in this widget's own coordinates; empty for nothing."""
        if self._target is None:
            return QRect()
        corner = self._target.mapTo(self._over, QPoint(0, 0))
        around = QRect(corner, self._target.size()).adjusted(-_AROUND, -_AROUND, _AROUND, _AROUND)
        return around.intersected(self.rect().adjusted(2, 2, -2, -2))

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Keeps covering the window; hears keys before the buttons do."""
        if event.type() == QEvent.Type.Resize and watched is self._over:
            self.setGeometry(self._over.rect())
            self._arrange()
        elif isinstance(event, QKeyEvent) and event.type() == QEvent.Type.KeyPress:
            return self._take_key(Qt.Key(event.key()))
        return super().eventFilter(watched, event)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Esc ends, arrows go on and back; Enter and Space press the button that has the focus."""
        if not self._take_key(Qt.Key(event.key())):
            super().keyPressEvent(event)

    def _take_key(self, key: Qt.Key) -> bool:
        forwards = Qt.Key.Key_Right if self.isLeftToRight() else Qt.Key.Key_Left
        backwards = Qt.Key.Key_Left if self.isLeftToRight() else Qt.Key.Key_Right
        if key == Qt.Key.Key_Escape:
            self.ended.emit()
        elif key == forwards:
            self.moved.emit(1)
        elif key == backwards and not self.back.isHidden():
            self.moved.emit(-1)
        elif key in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            focused = [made for made in (self.skip, self.back) if made.hasFocus()]
            (focused or [self.next])[0].click()
        else:
            return False
        return True

    def focusNextPrevChild(self, forwards: bool) -> bool:
        """Tab goes round among the buttons of the mark."""
        inside = [made for made in (self.skip, self.back, self.next) if not made.isHidden()]
        focused = self.focusWidget()
        index = inside.index(focused) if focused in inside else -1
        inside[(index + (1 if forwards else -1)) % len(inside)].setFocus()
        return True

    def paintEvent(self, event: QPaintEvent) -> None:
        """The shade with a hole, and a line around the hole."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        shade = QPainterPath()
        shade.addRect(QRectF(self.rect()))
        light = self.light()
        if not light.isEmpty():
            hole = QPainterPath()
            hole.addRoundedRect(QRectF(light), 8, 8)
            shade = shade.subtracted(hole)
        painter.fillPath(shade, QColor(0, 0, 0, _SHADE))
        if not light.isEmpty():
            painter.setPen(QPen(color("accent"), 2))
            painter.drawRoundedRect(QRectF(light), 8, 8)
        painter.end()

    def _arrange(self) -> None:
        """The bubble stands where there is room: beside, under, over, else in the lit part."""
        self.bubble.adjustSize()
        self.bubble.setFixedHeight(self._layout.totalHeightForWidth(self._width))
        size, light, room = self.bubble.size(), self.light(), self.rect().adjusted(12, 12, -12, -12)
        if light.isEmpty():
            self.bubble.move(room.center() - QPoint(size.width() // 2, size.height() // 2))
        else:
            gap = Spacing.M
            top = min(max(light.top(), room.top()), room.bottom() - size.height())
            left = min(max(light.left(), room.left()), room.right() - size.width())
            places = (
                QPoint(light.right() + gap, top),
                QPoint(left, light.bottom() + gap),
                QPoint(left, light.top() - gap - size.height()),
                QPoint(light.left() - gap - size.width(), top),
            )
            inside = QPoint(
                light.right() - gap - size.width(), light.bottom() - gap - size.height()
            )
            fitting = (place for place in places if room.contains(QRect(place, size)))
            self.bubble.move(next(fitting, inside))
        self.update()
