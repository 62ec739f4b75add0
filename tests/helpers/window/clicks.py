"""Click as a person does, and count."""

from __future__ import annotations

from PySide6.QtCore import QPoint, Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QWidget


class Clicks:
    """What a person did with the mouse, in words, in order."""

    def __init__(self) -> None:
        """Begin without any."""
        self.done: list[str] = []

    def add(self, what: str) -> None:
        """Count something else than a click, such as a drop."""
        self.done.append(what)

    def click(self, widget: QWidget, place: QPoint | None = None) -> None:
        """Click in a widget, on whatever is on top there."""
        top, place = widget.window(), place or widget.rect().center()
        at = widget.mapTo(top, place)
        target = top.childAt(at) or widget
        text = getattr(target, "text", lambda: "")()
        self.add(f"click {type(target).__name__} {text}")
        QTest.mouseClick(target, Qt.MouseButton.LeftButton, pos=target.mapFrom(top, at))
