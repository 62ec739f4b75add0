"""Basic widgets: labels, buttons, cards, rows, columns and a flow layout."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Literal, TypeVar

from PySide6.QtCore import QPoint, QRect, QSize, Qt
from PySide6.QtGui import QWheelEvent
from PySide6.QtWidgets import (
    QBoxLayout,
    QFrame,
    QHBoxLayout,
    QLabel,
    QLayout,
    QLayoutItem,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QToolButton,
    QVBoxLayout,
    QWidget,
    QWidgetItem,
)

from lora_studio.gui.language import tr
from lora_studio.gui.theme import Role, Spacing, set_icon
from lora_studio.gui.widgets.tooltips import plain_tip

LabelRole = Literal[
    "body", "title", "section", "label", "muted", "caption", "ok", "warn", "error", "accent"
]

_Box = TypeVar("_Box", bound=QBoxLayout)
#: A line may break after this many characters without a space.
_LONG_WORD = re.compile(r"\S{24}")


def set_visible(widget: QWidget, visible: bool) -> None:
    """Show or hide a part of a page that may still be under construction.

    WORKAROUND: Qt styles a widget with all its children when it is shown, also inside a page that isn't
    visible yet, and again whenever one of its ancestors gets a parent. So it's shown only if it is hidden.
    """
    if not visible or widget.isHidden():
        widget.setVisible(visible)


def restyle(widget: QWidget) -> None:
    """Apply the style sheet again after a property has changed."""
    widget.style().unpolish(widget)
    widget.style().polish(widget)
    widget.update()


def label(text: str = "", role: LabelRole = "body", *, wrap: bool = False) -> QLabel:
    """Return a plain-text label in a role of the style sheet."""
    text_label = QLabel(text, textFormat=Qt.TextFormat.PlainText, wordWrap=wrap)
    text_label.setProperty("role", role)
    if wrap:
        policy = text_label.sizePolicy()
        policy.setHorizontalPolicy(QSizePolicy.Policy.Expanding)
        policy.setHeightForWidth(True)
        text_label.setSizePolicy(policy)
    return text_label


def make_scroll_area(inner: QWidget | None, name: str, *, sideways: bool = False) -> QScrollArea:
    """Return an area that scrolls `inner` up and down, with `sideways` in both directions.

    Tab stops at it, so that keys can scroll it; the style sheet shows its focus.
    """
    area = QScrollArea(widgetResizable=True)
    area.setFrameShape(QFrame.Shape.NoFrame)
    area.setProperty("surface", "stop")
    area.setAccessibleName(name)
    if not sideways:
        area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    if inner is not None:
        inner.setObjectName("scrolled")
        area.setWidget(inner)
    return area


def insert_breaks(text: str) -> str:
    """Return a text with zero-width spaces in long words, which a label can't wrap by itself."""
    return _LONG_WORD.sub("\\g<0>\N{ZERO WIDTH SPACE}", text)


def set_role(target: QLabel, role: LabelRole) -> None:
    """Change the role of a label."""
    if target.property("role") != role:
        target.setProperty("role", role)
        restyle(target)


def button(
    text: str,
    on_click: Callable[[], object] | None = None,
    *,
    icon: str = "",
    kind: Literal["", "primary", "danger", "link"] = "",
    role: Role | None = None,
) -> QPushButton:
    """Return a push button; `icon` is a name of the icon set."""
    push_button = QPushButton(text, autoDefault=False)
    if kind:
        push_button.setProperty("kind", kind)
    if icon:
        set_icon(push_button, icon, role or ("on_accent" if kind == "primary" else "text"))
    if on_click is not None:
        push_button.clicked.connect(lambda _=False: on_click())
    return push_button


def tool_button(
    icon: str, tip: str, on_click: Callable[[], object] | None = None, *, role: Role = "muted"
) -> QToolButton:
    """Return a button with only an icon; `tip` is its tooltip and accessible name."""
    tool_button = QToolButton(autoRaise=True)
    tool_button.setToolTip(plain_tip(tip))
    tool_button.setAccessibleName(tip)
    set_icon(tool_button, icon, role)
    if on_click is not None:
        tool_button.clicked.connect(lambda _=False: on_click())
    return tool_button


def row(*parts: QWidget | QLayout | int | None, spacing: int = Spacing.S) -> QHBoxLayout:
    """Return a horizontal layout; None is a stretch, a number is spacing in pixels."""
    return _fill_box(QHBoxLayout(), parts, spacing)


def column(*parts: QWidget | QLayout | int | None, spacing: int = Spacing.ROW) -> QVBoxLayout:
    """Return a vertical layout; None is a stretch, a number is spacing in pixels."""
    return _fill_box(QVBoxLayout(), parts, spacing)


def clear_layout(layout: QLayout) -> None:
    """Delete the widgets of a layout, and of those inside it."""
    while (item := layout.takeAt(0)) is not None:
        if (widget := item.widget()) is not None:
            widget.hide()
            widget.deleteLater()
        elif (inner := item.layout()) is not None:
            clear_layout(inner)


def with_title(title: str, part: QWidget) -> QWidget:
    """Return a widget with a title above it."""
    box = QWidget()
    box.setLayout(column(label(title, "label"), part, spacing=Spacing.XS))
    return box


def separator() -> QFrame:
    """Return a thin horizontal line."""
    divider = QFrame()
    divider.setProperty("surface", "line")
    return divider


class FocusFrame(QFrame):
    """A frame that Tab stops at, for plots that keys read; the style sheet shows its focus."""

    def __init__(self, parent: QWidget | None = None) -> None:
        """Create it without content."""
        super().__init__(parent)
        self.setProperty("surface", "stop")
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)


class WheelNeedsFocus:
    """A mixin for widgets that ignore the wheel without focus, so that scrolling a page changes
    no value.
    """

    def wheelEvent(self, event: QWheelEvent) -> None:
        """Pass the wheel on to the page unless the widget has the focus."""
        if self.hasFocus():  # type: ignore[attr-defined]  # a method of the widget
            super().wheelEvent(event)  # type: ignore[misc]  # the widget that it is mixed into has it
        else:
            event.ignore()


class Card(QFrame):
    """A card with a title and a column of widgets."""

    def __init__(self, title: str = "", parent: QWidget | None = None) -> None:
        """Create the card; `head` holds the title, `body` the widgets."""
        super().__init__(parent)
        self.setProperty("surface", "card")
        outer = QVBoxLayout(self)
        outer.setContentsMargins(Spacing.CARD, Spacing.CARD, Spacing.CARD, Spacing.CARD)
        outer.setSpacing(Spacing.M)
        self.head = QHBoxLayout()
        self.head.setSpacing(Spacing.S)
        self.title = label(title, "section")
        if not title:
            self.title.hide()
        else:
            self.head.addWidget(self.title)
            self.head.addStretch(1)
            outer.addLayout(self.head)
        self.body = QVBoxLayout()
        self.body.setSpacing(Spacing.ROW)
        outer.addLayout(self.body)

    def add(self, *parts: QWidget | QLayout) -> None:
        """Append widgets or layouts."""
        _add_parts(self.body, parts)


class CollapsibleSection(QWidget):
    """A section that can be folded."""

    def __init__(self, title: str = "", parent: QWidget | None = None) -> None:
        """Create the section folded; `body` holds the widgets."""
        super().__init__(parent)
        self.opener = button(
            title or tr("Advanced"), self._toggle, kind="link", icon="chevron-right", role="accent"
        )
        self.opener.setCheckable(True)
        self._inner = QWidget()
        self.body = QVBoxLayout(self._inner)
        self.body.setContentsMargins(0, Spacing.S, 0, 0)
        self.body.setSpacing(Spacing.ROW)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.setSpacing(0)
        outer.addWidget(self.opener, 0, Qt.AlignmentFlag.AlignLeft)
        outer.addWidget(self._inner)
        self._inner.hide()

    def add(self, *parts: QWidget | QLayout) -> None:
        """Append widgets or layouts."""
        _add_parts(self.body, parts)

    def is_open(self) -> bool:
        """Return whether the section is open."""
        return not self._inner.isHidden()

    def set_open(self, opened: bool) -> None:
        """Open or fold the section."""
        self._inner.setVisible(opened)
        self.opener.setChecked(opened)
        set_icon(self.opener, "chevron-down" if opened else "chevron-right", "accent")

    def _toggle(self) -> None:
        self.set_open(not self.is_open())


class EmptyState(QWidget):
    """A placeholder with a text, a button and an example."""

    def __init__(
        self,
        title: str,
        text: str,
        action: QPushButton | None = None,
        example: str = "",
        parent: QWidget | None = None,
    ) -> None:
        """Center the parts."""
        super().__init__(parent)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(Spacing.XL, Spacing.XL, Spacing.XL, Spacing.XL)
        layout.setSpacing(Spacing.M)
        layout.addStretch(1)
        headings: tuple[tuple[str, LabelRole], ...] = ((title, "section"), (text, "muted"))
        for heading, role in headings:
            part = label(heading, role, wrap=True)
            part.setAlignment(Qt.AlignmentFlag.AlignHCenter)
            layout.addWidget(part)
        if action is not None:
            layout.addWidget(action, 0, Qt.AlignmentFlag.AlignHCenter)
        if example:
            part = label(example, "caption", wrap=True)
            part.setAlignment(Qt.AlignmentFlag.AlignHCenter)
            layout.addWidget(part)
        layout.addStretch(1)


class FlowLayout(QLayout):
    """A layout that wraps into more rows."""

    def __init__(
        self, parent: QWidget | None = None, spacing: int = Spacing.S, *, at_end: bool = False
    ) -> None:
        """Create the layout without margins; `at_end` aligns rows at the end of the line."""
        super().__init__(parent)
        self._at_end = at_end
        self.setContentsMargins(0, 0, 0, 0)
        self.setSpacing(spacing)
        self._items: list[QLayoutItem] = []
        self._at_right: QLayoutItem | None = None

    def addWidget(self, widget: QWidget) -> None:
        """Append a widget.

        WORKAROUND: Qt's own `addWidget` creates the item in C++. When shiboken considers a parent of
        this layout deleted, it invalidates its wrapper of such an item, although the item still exists.
        Asking the item for its size then raises "already deleted", and an exception in a layout ends
        the program. Items that are created in Python stay valid.
        """
        self.addChildWidget(widget)
        self.addItem(QWidgetItem(widget))

    def add_at_right(self, widget: QWidget) -> None:
        """Append the last widget, at the right of the last row."""
        self.addWidget(widget)
        self._at_right = self._items[-1]

    def addItem(self, item: QLayoutItem) -> None:
        """Append an item."""
        self._items.append(item)

    def count(self) -> int:
        """Return the number of items."""
        return len(self._items)

    def itemAt(self, index: int) -> QLayoutItem | None:
        """Return an item, or None past the end."""
        return self._items[index] if 0 <= index < len(self._items) else None

    def takeAt(self, index: int) -> QLayoutItem | None:
        """Remove and return an item."""
        return self._items.pop(index) if 0 <= index < len(self._items) else None

    def expandingDirections(self) -> Qt.Orientation:
        """Return that the layout doesn't expand."""
        return Qt.Orientation(0)

    def hasHeightForWidth(self) -> bool:
        """Return that the height depends on the width."""
        return True

    def heightForWidth(self, width: int) -> int:
        """Return the height for a width."""
        return self._arrange(QRect(0, 0, width, 0), move=False)

    def setGeometry(self, rect: QRect) -> None:
        """Arrange the items."""
        super().setGeometry(rect)
        self._arrange(rect, move=True)

    def sizeHint(self) -> QSize:
        """Return the size of a single row."""
        visible = self._list_visible()
        width = sum(item.sizeHint().width() + self.spacing() for item in visible)
        height = max((item.sizeHint().height() for item in visible), default=0)
        return QSize(max(0, width - self.spacing()), height)

    def minimumSize(self) -> QSize:
        """Return the size with one item per row."""
        result = QSize()
        for item in self._list_visible():
            result = result.expandedTo(item.minimumSize())
        return result

    def _list_visible(self) -> list[QLayoutItem]:
        return [item for item in self._items if not item.isEmpty()]

    def _arrange(self, rect: QRect, *, move: bool) -> int:
        y = rect.y()
        for items in self._split_rows(rect.width()):
            hints = [item.sizeHint() for item in items]
            width = sum(hint.width() + self.spacing() for hint in hints) - self.spacing()
            x = rect.x() + max(0, rect.width() - width if self._at_end else 0)
            height = max(hint.height() for hint in hints)
            for item, hint in zip(items, hints, strict=True) if move else ():
                if item is self._at_right:
                    x = max(x, rect.right() + 1 - hint.width())
                item.setGeometry(QRect(QPoint(x, y + (height - hint.height()) // 2), hint))
                x += hint.width() + self.spacing()
            y += height + self.spacing()
        return max(0, y - self.spacing() - rect.y())

    def _split_rows(self, width: int) -> list[list[QLayoutItem]]:
        """Return the items of each row."""
        rows: list[list[QLayoutItem]] = []
        taken = 0
        for item in self._list_visible():
            needed = item.sizeHint().width()
            if rows and taken + self.spacing() + needed <= width:
                rows[-1].append(item)
                taken += self.spacing() + needed
            else:
                rows.append([item])
                taken = needed
        return rows


def flow_row(*parts: QWidget, at_right: QWidget | None = None, at_end: bool = True) -> QWidget:
    """Return widgets in a wrapping row, aligned at the end of the line or at its beginning.

    With `at_right`, they are aligned at its beginning, and that widget is at the right of the last row.
    """
    box = QWidget()
    policy = QSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Preferred)
    policy.setHeightForWidth(True)
    box.setSizePolicy(policy)
    flow = FlowLayout(box, at_end=at_end and at_right is None)
    for part in parts:
        flow.addWidget(part)
    if at_right is not None:
        flow.add_at_right(at_right)
    return box


def _fill_box(box: _Box, parts: tuple[QWidget | QLayout | int | None, ...], spacing: int) -> _Box:
    box.setContentsMargins(0, 0, 0, 0)
    box.setSpacing(spacing)
    _add_parts(box, parts)
    return box


def _add_parts(box: QBoxLayout, parts: Iterable[QWidget | QLayout | int | None]) -> None:
    for part in parts:
        if part is None:
            box.addStretch(1)
        elif isinstance(part, int):
            box.addSpacing(part)
        elif isinstance(part, QLayout):
            box.addLayout(part)
        else:
            box.addWidget(part)
