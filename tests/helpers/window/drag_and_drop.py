"""Files dropped on a widget."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QMimeData, QPointF, Qt, QUrl
from PySide6.QtGui import QDropEvent

_COPY, _LEFT, _NONE = Qt.DropAction.CopyAction, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier  # fmt: skip


def make_mime_data(*paths: Path) -> QMimeData:
    """Return what a file manager passes on when files are dragged."""
    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile(str(path)) for path in paths])
    return data


class FileDrop(QDropEvent):
    """A drop of files; an event does not keep its data alive by itself."""

    def __init__(self, *paths: Path) -> None:
        """Create the event."""
        self.data = make_mime_data(*paths)
        super().__init__(QPointF(5, 5), _COPY, self.data, _LEFT, _NONE)
