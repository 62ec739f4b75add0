"""Arrange the parts of the window: rail, header, page, problem strip."""

from __future__ import annotations

from PySide6.QtCore import QByteArray, QSize
from PySide6.QtWidgets import QHBoxLayout, QVBoxLayout, QWidget

from lora_studio.gui.frame.shell import Shell
from lora_studio.gui.language import mark
from lora_studio.gui.problems.suggested_actions import PAGE_TITLES, STEP_TITLES

_ICONS = {
    "model": "model", "lora": "lora", "dataset": "dataset", "training": "train",
    "merging": "merge", "export": "export",
}  # fmt: skip
#: Height of a title bar in pixels, which isn't known before the window is shown.
_TITLE_BAR = 40


def build_layout(window: Shell) -> None:
    """Lay out the parts around Home, and restore the last size and position."""
    window.setWindowTitle("LoRA Studio")
    room = window.screen().availableGeometry().size() - QSize(0, _TITLE_BAR)
    window.setMinimumSize(QSize(960, 640).boundedTo(room))
    window.resize(QSize(1280, 800).boundedTo(room))
    window.restoreGeometry(QByteArray.fromHex(window.preferences.geometry.encode()))
    _fill_rail(window)
    window.stack.addWidget(window.home)
    right = QVBoxLayout()
    right.setSpacing(0)
    right.addWidget(window.header)
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


def fit_to_screen(window: QWidget) -> None:
    """Shrink and move a window that is shown, so that its frame is inside its screen."""
    if window.isMaximized() or window.isFullScreen():
        return
    room, frame = window.screen().availableGeometry(), window.frameGeometry()
    if room.contains(frame):
        return
    border = frame.size() - window.size()
    window.resize(window.size().boundedTo(room.size() - border))
    left = min(max(frame.left(), room.left()), room.right() + 1 - window.frameGeometry().width())
    top = min(max(frame.top(), room.top()), room.bottom() + 1 - window.frameGeometry().height())
    window.move(left, top)


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
