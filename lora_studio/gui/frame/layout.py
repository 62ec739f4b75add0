"""Where the parts of the window stand: rail, header, message, page, problems."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QByteArray
from PySide6.QtWidgets import QHBoxLayout, QVBoxLayout, QWidget

from lora_studio.gui.language import mark
from lora_studio.gui.problems.remedies import PLACE_TITLES, STEP_TITLES

if TYPE_CHECKING:
    from lora_studio.gui.frame.shell import Window

_ICONS = {
    "model": "model", "lora": "lora", "dataset": "dataset", "training": "train",
    "merging": "merge", "export": "export",
}  # fmt: skip


def lay_out(window: Window) -> None:
    """Puts the frame around Home, once; the window is as large and where it was the last time."""
    window.setWindowTitle("LoRA Studio")
    window.setMinimumSize(960, 640)
    window.resize(1280, 800)
    window.restoreGeometry(QByteArray.fromHex(window.preferences.geometry.encode()))
    _fill_rail(window)
    window.stack.addWidget(window.home)
    right = QVBoxLayout()
    right.setSpacing(0)
    right.addWidget(window.header)
    right.addWidget(window.message_bar)
    right.addWidget(window.stack, 1)
    right.addWidget(window.strip)
    inner = QWidget()
    inner.setObjectName("window")
    layout = QHBoxLayout(inner)
    layout.setContentsMargins(0, 0, 0, 0)
    layout.setSpacing(0)
    layout.addWidget(window.rail)
    layout.addLayout(right, 1)
    window.setCentralWidget(inner)


def _fill_rail(window: Window) -> None:
    """Before the places themselves are there: their titles are known."""
    rail = window.rail
    rail.add("home", "home", mark("Home"))
    rail.add_gap()
    for step, title in STEP_TITLES.items():
        rail.add(step, _ICONS[step], title)
    rail.add_space()
    for name, title in PLACE_TITLES.items():
        rail.add(name, name, title)
