"""The parts around a page: its header. Rail, header bar and problem strip have their own files."""

from __future__ import annotations

from typing import cast

from PySide6.QtWidgets import QHBoxLayout, QWidget

from lora_studio.gui.language import tr
from lora_studio.gui.text_size import sized
from lora_studio.gui.theme import Spacing
from lora_studio.gui.widgets.basics import FlowLayout, button, flowing, label


class PageHeader(QWidget):
    """Title, Back and the one primary button of a page; `extra` takes what stands between."""

    def __init__(self, title: str, parent: QWidget | None = None) -> None:
        """`primary` says Continue until the page says otherwise."""
        super().__init__(parent)
        self.title = label(title, "title")
        self.back = button(tr("Back"))
        self.primary = button(tr("Continue"), kind="primary")
        sized(self.title, height=32)  # as high as buttons, also where there are none
        extra = flowing()
        self.extra = cast(FlowLayout, extra.layout())
        layout = QHBoxLayout(self)
        layout.setContentsMargins(Spacing.PAGE, Spacing.L, Spacing.PAGE, Spacing.S)
        layout.setSpacing(Spacing.S)
        layout.addWidget(self.title)
        layout.addWidget(extra, 1)
        layout.addWidget(self.back)
        layout.addWidget(self.primary)
