"""The tour: keyboard control, its stops, and that it starts by itself only once."""

from __future__ import annotations

from pathlib import Path

import pytest
from PySide6.QtCore import QPoint, QRect, Qt
from PySide6.QtGui import QDragEnterEvent
from PySide6.QtWidgets import QApplication, QWidget
from pytestqt.qtbot import QtBot

from lora_studio.gui.help.tour import STOPS, CoachMarks
from lora_studio.gui.preferences import Preferences
from lora_studio.gui.window.main_window import Window
from tests.gui.conftest import WAIT
from tests.helpers.window.drag_and_drop import make_mime_data


def _marks(window: Window) -> CoachMarks:
    return window.findChildren(CoachMarks)[-1]


@pytest.mark.slow
def test_tour_visits_every_stop_by_keyboard(qtbot: QtBot, window: Window) -> None:
    window.actions_.commands["tour"].trigger()
    qtbot.waitUntil(lambda: _marks(window).isVisible(), timeout=WAIT)
    assert not window.has_project, "no project is opened before the user continues"
    pages = []
    marks = _marks(window)
    for at, stop in enumerate(STOPS):
        qtbot.waitUntil(lambda stop=stop: marks.title.text() == stop.title, timeout=WAIT)
        pages.append(window.page_name)
        target = stop.target(window)
        assert target.isVisible(), f"stop {at} highlights a hidden widget"
        assert marks.highlight().isValid()
        assert window.rect().contains(marks.bubble.geometry())
        assert marks.focusWidget() is marks.next
        assert stop.text in marks.next.accessibleDescription()
        qtbot.keyClick(marks.next, Qt.Key.Key_Right if at % 2 else Qt.Key.Key_Space)
    assert pages == [stop.page for stop in STOPS]
    assert window.state.draft.folder is not None
    assert not window.tour.is_running


@pytest.mark.slow
def test_escape_ends_the_tour_and_marks_it_as_seen(qtbot: QtBot, window: Window) -> None:
    assert not window.preferences.tour_seen
    window.tour.start()
    qtbot.waitUntil(lambda: _marks(window).isVisible(), timeout=WAIT)
    qtbot.keyClick(_marks(window).next, Qt.Key.Key_Escape)
    assert not window.tour.is_running
    assert not window.has_project
    assert Preferences.load().tour_seen
    window.tour.start()
    assert window.tour.is_running, "Help starts it again"
    window.tour.end()


def test_file_dragged_over_the_tour_ends_it(qtbot: QtBot, window: Window, tmp_path: Path) -> None:
    window.tour.start()
    qtbot.waitUntil(lambda: _marks(window).isVisible(), timeout=WAIT)
    data = make_mime_data(tmp_path / "rows.csv")
    copy, left, none = Qt.DropAction.CopyAction, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier  # fmt: skip
    drag = QDragEnterEvent(QPoint(5, 5), copy, data, left, none)
    QApplication.sendEvent(_marks(window), drag)
    assert not window.tour.is_running
    assert not drag.isAccepted(), "what is below accepts it"


def test_click_elsewhere_ends_the_tour_and_counts(qtbot: QtBot, window: Window) -> None:
    window.tour.start()
    qtbot.waitUntil(lambda: _marks(window).isVisible(), timeout=WAIT)
    marks, new = _marks(window), window.home.new
    qtbot.mouseClick(marks, Qt.MouseButton.LeftButton, pos=marks.bubble.geometry().center())
    assert window.tour.is_running
    with qtbot.waitSignal(window.home.new_clicked):
        place = new.mapTo(window, new.rect().center())
        qtbot.mouseClick(marks, Qt.MouseButton.LeftButton, pos=place)
    assert not window.tour.is_running


@pytest.mark.slow
def test_tab_stays_within_the_tour_and_left_goes_back(qtbot: QtBot, window: Window) -> None:
    window.tour.start()
    qtbot.waitUntil(lambda: _marks(window).isVisible(), timeout=WAIT)
    marks = _marks(window)
    focused: set[QWidget | None] = set()
    for _ in range(4):
        marks.focusNextPrevChild(True)
        focused.add(marks.focusWidget())
    assert focused == {marks.skip, marks.next}
    qtbot.keyClick(marks.next, Qt.Key.Key_Right)
    qtbot.waitUntil(lambda: not marks.back.isHidden(), timeout=WAIT)
    qtbot.keyClick(marks.next, Qt.Key.Key_Left)
    qtbot.waitUntil(lambda: marks.back.isHidden(), timeout=WAIT)
    assert window.page_name == "home"
    window.tour.end()


def test_bubble_stays_inside_the_window_for_any_target(qtbot: QtBot, qapp: QApplication) -> None:
    over = QWidget()
    qtbot.addWidget(over)
    over.resize(960, 640)
    target = QWidget(over)
    marks = CoachMarks(over)
    over.show()
    for rectangle in (
        QRect(0, 0, 184, 640), QRect(900, 0, 60, 40), QRect(0, 600, 960, 40),
        QRect(184, 40, 776, 600), QRect(400, 300, 100, 40),
    ):  # fmt: skip
        target.setGeometry(rectangle)
        marks.show_mark(target, "A title", "Some words that take a line or two. " * 4, 1, 3)
        assert over.rect().contains(marks.bubble.geometry()), rectangle
        # A line that is one pixel too short loses its descenders.
        assert marks.text.height() >= marks.text.heightForWidth(marks.text.width())
    over.resize(1280, 800)
    assert marks.size() == over.size()
