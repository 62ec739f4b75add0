"""The button that shows a folder in the system's file manager."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from PySide6.QtCore import QUrl
from PySide6.QtGui import QDesktopServices
from PySide6.QtWidgets import QPushButton

from lora_studio.gui.language import tr
from lora_studio.gui.widgets.basics import button


def folder_button(folder: Callable[[], Path | None]) -> QPushButton:
    """“Show folder”, of whatever folder there is when it is pressed; None does nothing."""

    def show() -> None:
        if (found := folder()) is not None:
            QDesktopServices.openUrl(QUrl.fromLocalFile(str(found)))

    return button(tr("Show folder"), show, icon="folder")
