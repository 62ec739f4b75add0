"""Arrange the parts of the window: rail, header, message bar, page, problem strip."""

from __future__ import annotations

from PySide6.QtCore import QByteArray
from PySide6.QtWidgets import QHBoxLayout, QVBoxLayout, QWidget

from lora_studio.gui.frame.shell import Shell
from lora_studio.gui.language import mark
from lora_studio.gui.problems.suggested_actions import PAGE_TITLES, STEP_TITLES

_ICONS = {
    "model": "model", "lora": "lora", "dataset": "dataset", "training": "train",
    "merging": "merge", "export": "export",
}  # fmt: skip


def build_layout(window: Shell) -> None:
    """Lay out the parts around Home, and restore the last size and position."""
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


def _fill_rail(window: Shell) -> None:
    """Add an entry per page; the pages themselves need not exist yet."""
    rail = window.rail
    rail.add("home", "home", mark("Home"))
    rail.add_gap()
    for step, title in STEP_TITLES.items():
        rail.add(step, _ICONS[step], title)
    rail.add_space()
    for name, title in PAGE_TITLES.items():
        rail.add(name, name, title)
