"""Shows the document that explains the settings, at one of its sections."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QResizeEvent, QTextCursor, QTextDocument
from PySide6.QtWidgets import (
    QDialog,
    QListWidget,
    QListWidgetItem,
    QTextBrowser,
    QVBoxLayout,
    QWidget,
)

from lora_studio.core.help import topics
from lora_studio.gui import theme
from lora_studio.gui.language import tr
from lora_studio.gui.text_size import Size
from lora_studio.gui.theme import Spacing
from lora_studio.gui.widgets.basics import button, row

_WIDTH, _HEIGHT, _LIST_WIDTH = 880, 620, 210


class DocsViewer(QDialog):
    """Topics to the left, their text to the right. The window behind stays usable."""

    def __init__(self, parent: QWidget | None = None) -> None:
        """At its beginning."""
        super().__init__(parent)
        self.setWindowTitle(tr("Settings reference"))
        self.resize(Size.scaled(_WIDTH), Size.scaled(_HEIGHT))
        self.topics = QListWidget()
        self.topics.setAccessibleName(tr("Topics"))
        self.topics.setFixedWidth(Size.scaled(_LIST_WIDTH))
        for topic, heading in topics.topics().items():
            item = QListWidgetItem(heading)
            item.setData(Qt.ItemDataRole.UserRole, topic)
            self.topics.addItem(item)
        self.page = _Page()
        self.page.setAccessibleName(tr("Settings reference"))
        self._headings: dict[str, int] = {}
        self._fill()
        close = button(tr("Close"), self.close)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(Spacing.L, Spacing.L, Spacing.L, Spacing.L)
        layout.setSpacing(Spacing.M)
        held = row(self.topics, self.page, spacing=Spacing.M)
        held.setStretch(1, 1)
        layout.addLayout(held)
        layout.addLayout(row(None, close))
        self.page.resized.connect(lambda: self._scroll(self.topic))
        self.topics.currentItemChanged.connect(lambda item, _: self._chosen(item))
        theme.theme().changed.connect(self._fill)

    @property
    def topic(self) -> str:
        """The section that is shown."""
        item = self.topics.currentItem()
        return str(item.data(Qt.ItemDataRole.UserRole)) if item else ""

    def show_topic(self, topic: str) -> None:
        """Shows a section."""
        places = list(topics.topics())
        if topic in places:
            self.topics.setCurrentRow(places.index(topic))
            self._scroll(topic)

    def _fill(self) -> None:
        document = self.page.document()
        document.setDocumentMargin(Spacing.L)
        document.setDefaultFont(theme.body_font(Size.BODY))
        self._headings = {}
        self.page.setMarkdown(topics.text())
        _give_air(document)
        self._headings = self._find_headings()
        self._scroll(self.topic)

    def _find_headings(self) -> dict[str, int]:
        """Where in the document each topic begins."""
        found = {}
        block = self.page.document().begin()
        while block.isValid():
            if block.blockFormat().headingLevel() == 2:
                found[topics.slug(block.text())] = block.position()
            block = block.next()
        return found

    def _chosen(self, item: QListWidgetItem | None) -> None:
        if item is not None:
            self._scroll(str(item.data(Qt.ItemDataRole.UserRole)))

    def _scroll(self, topic: str) -> None:
        if topic not in self._headings:
            return
        document: QTextDocument = self.page.document()
        cursor = QTextCursor(document)
        cursor.setPosition(self._headings[topic])
        self.page.setTextCursor(cursor)
        top = document.documentLayout().blockBoundingRect(cursor.block()).top()
        self.page.verticalScrollBar().setValue(round(top))


class _Page(QTextBrowser):
    """Text that says when it is laid out anew.

    Signals:
        resized: every place in it is elsewhere now.
    """

    resized = Signal()

    def __init__(self) -> None:
        super().__init__(openExternalLinks=True)

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self.resized.emit()


def _give_air(document: QTextDocument) -> None:
    """Distances between paragraphs, which Qt's Markdown has none of."""
    cursor = QTextCursor(document)
    block = document.begin()
    while block.isValid():
        cursor.setPosition(block.position())
        shape = block.blockFormat()
        heading = shape.headingLevel()
        shape.setTopMargin(Spacing.XL if heading else Spacing.S)
        shape.setBottomMargin(Spacing.XS)
        cursor.setBlockFormat(shape)
        block = block.next()


def show(topic: str, over: QWidget) -> DocsViewer:
    """Opens the document over a window, or the one that is open there, at a topic."""
    window = over.window()
    viewer = window.findChild(DocsViewer) or DocsViewer(window)
    viewer.show()
    viewer.activateWindow()
    viewer.show_topic(topic)
    return viewer
