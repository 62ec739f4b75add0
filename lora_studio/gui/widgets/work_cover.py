"""Cover the window while something freezes it, so that it says what it is doing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from PySide6.QtCore import Qt, QTimer
from PySide6.QtGui import QColor, QPainter, QPaintEvent
from PySide6.QtWidgets import QWidget

from lora_studio.gui import theme

#: Milliseconds until a painted cover is on the screen.
_SHOWN = 30
#: Opacity of the cover, from 0 to 255.
_OPACITY = 225


class WorkCover(QWidget):
    """Covers a window and names the work; it ignores the mouse."""

    def __init__(self, window: QWidget, doing: str) -> None:
        """Cover all of `window`."""
        super().__init__(window)
        self._doing = doing
        self._work: Callable[[], object] | None = None
        self.setAccessibleName(doing)
        self.setGeometry(window.rect())

    def start(self, work: Callable[[], object]) -> None:
        """Run `work` once the cover is on the screen, then remove the cover.

        The cover holds the work only until then. A connection would hold it for as long as the cover
        exists: if the work were the last owner of the window, the window would be deleted while Qt
        deletes the cover, and delete it a second time.
        """
        self._work = work
        QTimer.singleShot(_SHOWN, self, self._finish)

    def _finish(self) -> None:
        work, self._work = self._work, None
        try:
            if work is not None:
                work()
        finally:
            remove_cover(self)

    def paintEvent(self, event: QPaintEvent) -> None:
        """Paint the text over the faded window."""
        background = QColor(theme.get_palette().window)
        background.setAlpha(_OPACITY)
        painter = QPainter(self)
        painter.fillRect(self.rect(), background)
        painter.setFont(theme.body_font(theme.Size.SECTION, bold=True))
        painter.setPen(theme.color("text"))
        painter.drawText(self.rect(), Qt.AlignmentFlag.AlignCenter, self._doing)


def run_covered(window: QWidget, doing: str, work: Callable[[], object]) -> None:
    """Run work that freezes the window, after it has said what it is doing.

    The work runs at once if the window isn't visible.
    """
    if not window.isVisible():
        work()
        return
    show_cover(window, doing).start(work)


@contextmanager
def cover_window(window: QWidget, doing: str) -> Iterator[None]:
    """Cover a visible window during the block, which freezes it and can't be delayed."""
    cover = show_cover(window, doing) if window.isVisible() else None
    try:
        yield
    finally:
        if cover is not None:
            remove_cover(cover)


def show_cover(window: QWidget, doing: str) -> WorkCover:
    """Cover a window until `remove_cover`."""
    cover = WorkCover(window, doing)
    cover.show()
    cover.raise_()
    cover.repaint()
    return cover


def remove_cover(cover: WorkCover) -> None:
    """Show the window below a cover again."""
    cover.hide()
    cover.deleteLater()
