"""The settings reference in a separate window."""

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

from lora_studio.core.help import diagnostics
from lora_studio.gui import theme
from lora_studio.gui.language import tr
from lora_studio.gui.text_size import Size
from lora_studio.gui.theme import Spacing
from lora_studio.gui.widgets.basics import button, row

_WIDTH, _HEIGHT, _LIST_WIDTH = 880, 620, 210


class DocsViewer(QDialog):
    """A non-modal window with topics on the left and the document on the right."""

    def __init__(self, parent: QWidget | None = None) -> None:
        """Create the viewer at the first topic."""
        super().__init__(parent)
        self.setWindowTitle(tr("Settings reference"))
        self.resize(Size.scaled(_WIDTH), Size.scaled(_HEIGHT))
        self.topics = QListWidget()
        self.topics.setAccessibleName(tr("Topics"))
        self.topics.setFixedWidth(Size.scaled(_LIST_WIDTH))
        for topic, heading in diagnostics.list_topics().items():
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
        content = row(self.topics, self.page, spacing=Spacing.M)
        content.setStretch(1, 1)
        layout.addLayout(content)
        layout.addLayout(row(None, close))
        self.page.resized.connect(lambda: self._scroll_to(self.topic))
        self.topics.currentItemChanged.connect(lambda item, _: self._on_chosen(item))
        theme.get_theme().changed.connect(self._fill)

    @property
    def topic(self) -> str:
        """The shown topic."""
        item = self.topics.currentItem()
        return str(item.data(Qt.ItemDataRole.UserRole)) if item else ""

    def show_topic(self, topic: str) -> None:
        """Show a topic."""
        names = list(diagnostics.list_topics())
        if topic in names:
            self.topics.setCurrentRow(names.index(topic))
            self._scroll_to(topic)

    def _fill(self) -> None:
        document = self.page.document()
        document.setDocumentMargin(Spacing.L)
        document.setDefaultFont(theme.body_font(Size.BODY))
        self._headings = {}
        self.page.setMarkdown(diagnostics.read_text())
        _add_margins(document)
        self._headings = self._find_headings()
        self._scroll_to(self.topic)

    def _find_headings(self) -> dict[str, int]:
        """Return the position of each topic's heading."""
        positions = {}
        block = self.page.document().begin()
        while block.isValid():
            if block.blockFormat().headingLevel() == 2:
                positions[diagnostics.slugify(block.text())] = block.position()
            block = block.next()
        return positions

    def _on_chosen(self, item: QListWidgetItem | None) -> None:
        if item is not None:
            self._scroll_to(str(item.data(Qt.ItemDataRole.UserRole)))

    def _scroll_to(self, topic: str) -> None:
        if topic not in self._headings:
            return
        document: QTextDocument = self.page.document()
        cursor = QTextCursor(document)
        cursor.setPosition(self._headings[topic])
        self.page.setTextCursor(cursor)
        top = document.documentLayout().blockBoundingRect(cursor.block()).top()
        self.page.verticalScrollBar().setValue(round(top))


class _Page(QTextBrowser):
    """A text browser that reports when it is resized.

    Signals:
        resized: all positions in the text have changed.
    """

    resized = Signal()

    def __init__(self) -> None:
        super().__init__(openExternalLinks=True)

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self.resized.emit()


def _add_margins(document: QTextDocument) -> None:
    """Add margins to paragraphs, which Qt's Markdown lacks."""
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
    """Open the reference at a topic; reuse an open one."""
    window = over.window()
    viewer = window.findChild(DocsViewer) or DocsViewer(window)
    viewer.show()
    viewer.activateWindow()
    viewer.show_topic(topic)
    return viewer
