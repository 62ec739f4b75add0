"""What every place that is no step has: a name, a title above it, and a body to fill."""

from __future__ import annotations

from typing import ClassVar

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QFrame, QScrollArea, QVBoxLayout, QWidget

from lora_studio.gui.language import tr
from lora_studio.gui.pages.frame import PageHeader
from lora_studio.gui.theme import Spacing


class AppPage(QWidget):
    """Base of Home, Runs, Playground and Settings. A place puts its parts into `body`.

    Signals:
        ask(command): a question for the inspector; the answer comes through `on_event`.
        go_to(name): the user wants another place: a step or the `name` of a place.
    """

    ask = Signal(object)
    go_to = Signal(str)

    name: ClassVar[str]
    title: ClassVar[str]

    def __init__(self, parent: QWidget | None = None, *, scrolls: bool = True) -> None:
        """Builds the header, without Back and primary button, and an empty body.

        `scrolls` puts the body into a scrolling area; a place made of tables that scroll by
        themselves says False and gets all the room there is.
        """
        super().__init__(parent)
        self.setObjectName("page")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self.header = PageHeader(tr(self.title))
        self.header.back.hide()
        self.header.primary.hide()
        inner = QWidget()
        inner.setObjectName("scrolled")
        self.body = QVBoxLayout(inner)
        self.body.setContentsMargins(Spacing.PAGE, Spacing.S, Spacing.PAGE, Spacing.PAGE)
        self.body.setSpacing(Spacing.L)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(self.header)
        layout.addWidget(_scrolling(inner, tr(self.title)) if scrolls else inner, 1)

    def press_primary(self) -> None:
        """Ctrl+Enter: presses the primary button where there is one."""
        if self.header.primary.isVisible() and self.header.primary.isEnabled():
            self.header.primary.click()

    def on_shown(self) -> None:
        """The user came here: the time to look at what may have changed."""

    def on_event(self, event: object) -> None:
        """Takes every event of the inspector and of the job under way. One `match` per place."""

    def leave(self) -> None:
        """The window closes: the time to end threads and timers of one's own."""


def _scrolling(inner: QWidget, name: str) -> QScrollArea:
    area = QScrollArea(widgetResizable=True)
    area.setAccessibleName(name)
    area.setFrameShape(QFrame.Shape.NoFrame)
    area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    area.setWidget(inner)
    return area
