"""The bar above the pages: what it leaves out where everything doesn't fit."""

from __future__ import annotations

from PySide6.QtWidgets import QMenu, QProgressBar, QWidget
from pytestqt.qtbot import QtBot

from lora_studio.core.messages import text
from lora_studio.gui.frame.header_bar import HeaderBar


def test_narrow_header_shows_the_whole_stop_button(qtbot: QtBot) -> None:
    over = QWidget()
    qtbot.addWidget(over)
    header = HeaderBar(QMenu(over), over)
    header.set_project("support-bot", "", saved="saved")
    header.resize(1200, 48)
    over.show()
    header.show_job(text("Training"), 0.4, 600.0)
    job, progress = header.job, header.job.findChild(QProgressBar)
    assert progress.isVisible()
    header.resize(360, 48)
    assert not progress.isVisible()
    for part in (job.open, job.stop):
        assert part.width() >= part.sizeHint().width()
    header.resize(1200, 48)
    header.show_job(text("Training"), 0.5, 600.0)
    assert job.width() >= job.sizeHint().width(), "laid out at once"
    assert progress.isVisible()
