"""Tooltips that show foreign text as it is.

Qt treats a tooltip that looks like HTML as HTML, and would read the files that it names: a path or a
model's name such as `<img src="file:///dev/zero">` could fill the memory.
"""

from __future__ import annotations

from PySide6.QtGui import Qt


def plain_tip(text: str) -> str:
    """Return a text that Qt shows character by character as a tooltip."""
    return Qt.convertFromPlainText(text) if Qt.mightBeRichText(text) else text
