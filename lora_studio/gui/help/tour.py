"""The guided tour of the sample project: eight stops, about a minute."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from PySide6.QtCore import QEvent, QObject, QPoint, QRect, QRectF, Qt, QTimer, Signal
from PySide6.QtGui import (
    QColor,
    QDragEnterEvent,
    QKeyEvent,
    QMouseEvent,
    QPainter,
    QPainterPath,
    QPaintEvent,
    QPen,
)
from PySide6.QtWidgets import QAbstractButton, QFrame, QVBoxLayout, QWidget

from lora_studio.gui.frame.shell import Shell
from lora_studio.gui.language import mark, tr
from lora_studio.gui.problems.suggested_actions import STEP_TITLES
from lora_studio.gui.text_size import Size
from lora_studio.gui.theme import Spacing, color
from lora_studio.gui.widgets.basics import button, label, row


@dataclass(frozen=True)
class TourStop:
    """A page, the widget highlighted on it, and the text next to it."""

    page: str
    target: Callable[[Shell], QWidget]
    title: str
    text: str


#: All stops in the order of the tour.
STOPS: tuple[TourStop, ...] = (
    TourStop(
        "home",
        lambda shell: shell.home.sample,
        mark("Welcome"),
        mark(
            "This one-minute tour opens the sample project: a small model, some training data, "
            "and all settings filled in."
        ),
    ),
    TourStop(
        "model",
        lambda shell: shell.rail,
        mark("Six steps"),
        mark(
            "From the base model to Ollama. Each step shows its state: to do, ready, a problem, "
            "or running. Visit them in any order."
        ),
    ),
    TourStop(
        "model",
        lambda shell: shell.pages["model"].header.primary,
        mark("One main button"),
        mark(
            "Each page has one. If something is missing, its tooltip says what. Press Ctrl+Enter "
            "to click it from anywhere on the page."
        ),
    ),
    TourStop(
        "dataset",
        lambda shell: shell.pages["dataset"].area,
        mark("Your examples"),
        mark(
            "Drop your files here; common formats are detected. You see each row exactly as the "
            "model does, and mistakes are found before you train."
        ),
    ),
    TourStop(
        "training",
        lambda shell: shell.pages["training"].header.primary,
        mark("Training"),
        mark(
            "You see up front whether the training fits your device. It continues when you close "
            "the window, pauses at any step, and survives a crash."
        ),
    ),
    TourStop(
        "export",
        lambda shell: shell.pages["export"].area,
        mark("Verified in Ollama"),
        mark(
            "Export writes the files and asks the trained model and the exported one the same "
            "questions. You see how closely their answers agree."
        ),
    ),
    TourStop(
        "runs",
        lambda shell: shell.rail.button("runs"),
        mark("Runs and Playground"),
        mark(
            "Every training run keeps its settings and curves, so you can compare runs. In the "
            "Playground, you chat with the base model and the fine-tuned model side by side."
        ),
    ),
    TourStop(
        "home",
        lambda shell: shell.header,
        mark("From anywhere"),
        mark(
            "The header shows your device and the running job. Ctrl+K searches settings and "
            "commands, Ctrl+/ lists all shortcuts, and Help starts this tour again."
        ),
    ),
)


class Tour(QObject):
    """Shows one stop after another; when it ends, the window stays on the last page.

    Signals:
        ended: the last stop was passed, or the user ended the tour.
    """

    ended = Signal()

    def __init__(self, shell: Shell) -> None:
        """Show nothing until `start`."""
        super().__init__(shell)
        self._shell = shell
        self._marks: CoachMarks | None = None
        self._index = 0

    @property
    def is_running(self) -> bool:
        """Whether a stop is shown."""
        return self._marks is not None

    def start(self) -> None:
        """Show the first stop, and remember that the tour was seen."""
        if self._marks is not None:
            return
        preferences = self._shell.preferences
        preferences.tour_seen = True
        preferences.save()
        self._marks = CoachMarks(self._shell)
        self._marks.moved.connect(lambda by: self._show_stop(self._index + by))
        self._marks.ended.connect(self.end)
        self._show_stop(0)

    def end(self) -> None:
        """Remove the marks; safe to call while the tour isn't running."""
        if self._marks is not None:
            self._marks.hide()
            self._marks.deleteLater()
            self._marks = None
            if (page := self._shell.stack.currentWidget()) is not None:
                page.setFocus()
            self.ended.emit()

    def _show_stop(self, index: int) -> None:
        if self._marks is None:
            return
        if index >= len(STOPS):
            self.end()
            return
        self._index = max(0, index)
        stop, shell = STOPS[self._index], self._shell
        if stop.page in STEP_TITLES and not shell.has_project:
            shell.projects.open_sample()
        shell.show_page(stop.page)
        QTimer.singleShot(0, self, self._show_mark)  # the page has to be laid out first

    def _show_mark(self) -> None:
        if self._marks is not None:
            stop = STOPS[self._index]
            target = stop.target(self._shell)
            self._marks.show_mark(target, tr(stop.title), tr(stop.text), self._index, len(STOPS))


_WIDTH = 340
_AROUND = 6  # pixels between the highlighted widget and the outline
_SHADE = 130  # opacity of the dimmed area, out of 255


class CoachMarks(QWidget):
    """An overlay for the window, which remains visible; a click on it ends the tour.

    Signals:
        moved(by): go to the next (1) or previous (-1) mark.
        ended: the user pressed Esc or "End tour", or clicked elsewhere.
    """

    moved = Signal(int)
    ended = Signal()

    def __init__(self, over: QWidget) -> None:
        """Cover the widget `over` and follow its size."""
        super().__init__(over)
        self._over = over
        self._target: QWidget | None = None
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setAcceptDrops(True)
        self.bubble = QFrame(self)
        self.bubble.setProperty("surface", "card")
        self._width = Size.scaled(_WIDTH)
        self.bubble.setFixedWidth(self._width)
        self.title = label("", "section", wrap=True)
        self.text = label("", wrap=True)
        self.position = label("", "caption")
        self.skip = button(tr("End tour"), self.ended.emit, kind="link")
        self.skip.setToolTip(tr("End tour (Esc)"))
        self.back = button(tr("Back"), lambda: self.moved.emit(-1))
        self.next = button(tr("Next"), lambda: self.moved.emit(1), kind="primary")
        self._layout = layout = QVBoxLayout(self.bubble)
        layout.setContentsMargins(Spacing.CARD, Spacing.CARD, Spacing.CARD, Spacing.M)
        layout.setSpacing(Spacing.M)
        layout.addWidget(self.title)
        layout.addWidget(self.text)
        layout.addLayout(row(self.position, self.skip, None, self.back, self.next))
        over.installEventFilter(self)
        for part in (self.skip, self.back, self.next):
            part.installEventFilter(self)  # buttons would use the arrow keys to move the focus
        self.setGeometry(over.rect())
        self.hide()

    def show_mark(
        self, target: QWidget | None, title: str, text: str, index: int, count: int
    ) -> None:
        """Highlight a widget; center the text for None or a hidden widget."""
        self._target = target if target is not None and target.isVisible() else None
        self.title.setText(title)
        self.text.setText(text)
        self.position.setText(tr("{index} of {count}").format(index=index + 1, count=count))
        self.back.setVisible(index > 0)
        last = index == count - 1
        self.next.setText(tr("Done") if last else tr("Next"))
        self.skip.setVisible(not last)
        self.bubble.setAccessibleName(f"{title}. {text}")
        self.next.setAccessibleDescription(f"{title}. {text}")  # screen readers read it on focus
        self.show()
        self.raise_()
        self._arrange()
        self.next.setFocus()

    def highlight(self) -> QRect:
        """Return the highlighted area in this widget's coordinates, empty for none."""
        if self._target is None:
            return QRect()
        corner = self._target.mapTo(self._over, QPoint(0, 0))
        around = QRect(corner, self._target.size()).adjusted(-_AROUND, -_AROUND, _AROUND, _AROUND)
        return around.intersected(self.rect().adjusted(2, 2, -2, -2))

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Follow the size of the window, and handle keys before the buttons do."""
        if event.type() == QEvent.Type.Resize and watched is self._over:
            self.setGeometry(self._over.rect())
            self._arrange()
        elif isinstance(event, QKeyEvent) and event.type() == QEvent.Type.KeyPress:
            return self._handle_key(Qt.Key(event.key()))
        return super().eventFilter(watched, event)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """End with Esc, move with the arrow keys, press the focused button with Enter or Space."""
        if not self._handle_key(Qt.Key(event.key())):
            super().keyPressEvent(event)

    def _handle_key(self, key: Qt.Key) -> bool:
        if key == Qt.Key.Key_Escape:
            self.ended.emit()
        elif key == Qt.Key.Key_Right:
            self.moved.emit(1)
        elif key == Qt.Key.Key_Left and not self.back.isHidden():
            self.moved.emit(-1)
        elif key in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            focused = [part for part in (self.skip, self.back) if part.hasFocus()]
            (focused or [self.next])[0].click()
        else:
            return False
        return True

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        """End after a click outside the text, and press the button at that place."""
        if self.bubble.geometry().contains(event.position().toPoint()):
            return
        over, place = self._over, event.position().toPoint()
        self.ended.emit()
        target = over.childAt(place)
        while target is not None and not isinstance(target, QAbstractButton):
            target = target.parentWidget()
        if target is not None and target.window() is over.window():
            target.click()

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        """End when something is dragged over the window, so that what is below can accept it."""
        event.ignore()
        self.ended.emit()

    def focusNextPrevChild(self, forwards: bool) -> bool:
        """Keep Tab among the buttons of the mark."""
        inside = [part for part in (self.skip, self.back, self.next) if not part.isHidden()]
        focused = self.focusWidget()
        index = inside.index(focused) if focused in inside else -1
        inside[(index + (1 if forwards else -1)) % len(inside)].setFocus()
        return True

    def paintEvent(self, event: QPaintEvent) -> None:
        """Dim everything except the highlighted area, and outline it."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        shade = QPainterPath()
        shade.addRect(QRectF(self.rect()))
        light = self.highlight()
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
        """Move the bubble to where it fits: right, below, above, or left of the highlighted area, else inside it."""
        self.bubble.adjustSize()
        self.bubble.setFixedHeight(self._layout.totalHeightForWidth(self._width))
        size, light, room = (
            self.bubble.size(),
            self.highlight(),
            self.rect().adjusted(12, 12, -12, -12),
        )
        if light.isEmpty():
            self.bubble.move(room.center() - QPoint(size.width() // 2, size.height() // 2))
        else:
            gap = Spacing.M
            top = min(max(light.top(), room.top()), room.bottom() - size.height())
            left = min(max(light.left(), room.left()), room.right() - size.width())
            positions = (
                QPoint(light.right() + gap, top),
                QPoint(left, light.bottom() + gap),
                QPoint(left, light.top() - gap - size.height()),
                QPoint(light.left() - gap - size.width(), top),
            )
            inside = QPoint(
                light.right() - gap - size.width(), light.bottom() - gap - size.height()
            )
            fitting = (position for position in positions if room.contains(QRect(position, size)))
            self.bubble.move(next(fitting, inside))
        self.update()
