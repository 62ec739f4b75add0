"""Work that freezes the window is announced first."""

from __future__ import annotations

import pytest
from PySide6.QtWidgets import QWidget
from pytestqt.qtbot import QtBot

from lora_studio.gui.widgets.work_cover import WorkCover, cover_window, run_covered


def find_cover(window: QWidget) -> WorkCover | None:
    return next((cover for cover in window.findChildren(WorkCover) if cover.isVisible()), None)


def test_window_says_what_it_does_before_it_freezes(qtbot: QtBot) -> None:
    window = QWidget()
    qtbot.addWidget(window)
    window.resize(300, 200)
    window.show()
    seen: list[str] = []

    def work() -> None:
        cover = find_cover(window)
        assert cover is not None
        seen.append(cover.accessibleName())

    before = window.grab().toImage()
    run_covered(window, "Changing the theme…", work)
    assert seen == [], "the cover is painted first"
    assert window.grab().toImage() != before
    qtbot.waitUntil(lambda: seen == ["Changing the theme…"])
    assert find_cover(window) is None


def test_hidden_window_is_changed_at_once(qtbot: QtBot) -> None:
    window = QWidget()
    qtbot.addWidget(window)
    done: list[int] = []
    run_covered(window, "Changing the theme…", lambda: done.append(1))
    assert done == [1]


def test_work_that_cannot_be_delayed_is_covered(qtbot: QtBot) -> None:
    window = QWidget()
    qtbot.addWidget(window)
    with cover_window(window, "Preparing the pages…"):
        assert find_cover(window) is None, "the window isn't visible"
    window.show()
    with cover_window(window, "Preparing the pages…"):
        assert find_cover(window) is not None
    assert find_cover(window) is None


def test_failed_work_uncovers_the_window(qtbot: QtBot) -> None:
    window = QWidget()
    qtbot.addWidget(window)
    window.show()
    with qtbot.captureExceptions() as exceptions:
        run_covered(window, "Opening…", lambda: 1 / 0)
        qtbot.waitUntil(lambda: bool(exceptions))
    assert find_cover(window) is None


def test_work_may_be_the_last_owner_of_the_window(qtbot: QtBot) -> None:
    seen: list[str] = []

    class Covered(QWidget):
        def __init__(self) -> None:
            super().__init__()
            self.destroyed.connect(lambda: seen.append("deleted"))

        def work(self) -> None:
            seen.append("worked")

    window = Covered()
    window.show()
    run_covered(window, "Opening…", lambda window=window: window.work())
    del window
    # A cover that is deleted twice ends the process.
    qtbot.waitUntil(lambda: seen == ["worked", "deleted"])


@pytest.mark.parametrize("size", [(1280, 800), (640, 480)])
def test_cover_fills_the_window(qtbot: QtBot, size: tuple[int, int]) -> None:
    window = QWidget()
    qtbot.addWidget(window)
    window.resize(*size)
    window.show()
    run_covered(window, "Opening…", lambda: None)
    cover = find_cover(window)
    assert cover is not None
    assert cover.geometry() == window.rect()
    qtbot.waitUntil(lambda: find_cover(window) is None)
