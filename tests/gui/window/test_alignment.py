"""Small things that the eye meets on every page: edges, lines of type, heights and icons."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from PySide6.QtCore import QEvent, QRect, Qt
from PySide6.QtGui import QImage
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QVBoxLayout, QWidget
from pytestqt.qtbot import QtBot

from lora_studio.gui import theme
from lora_studio.gui.frame.rail import Rail
from lora_studio.gui.pages.dataset.source_list import SourceList
from lora_studio.gui.pages.playground.prompt_box import PromptBox
from lora_studio.gui.pages.settings.page import SettingsPage
from lora_studio.gui.preferences import Preferences
from lora_studio.gui.project.state import ProjectState
from lora_studio.gui.theme import Spacing
from lora_studio.gui.widgets import tab_order
from lora_studio.gui.widgets.basics import button, tool_button
from lora_studio.gui.widgets.columns import ResponsiveColumns
from lora_studio.gui.widgets.fact_list import FactList
from lora_studio.gui.widgets.glyph import ElidedLabel, Glyph
from lora_studio.gui.window.main_window import Window


@pytest.fixture
def _usual_size() -> Iterator[None]:
    yield
    theme.theme().set_text_size(100)


@pytest.mark.parametrize("width", [1000, 1300])
def test_settings_reach_as_far_to_the_right_as_every_page(
    qtbot: QtBot, state: ProjectState, width: int
) -> None:
    page = SettingsPage(state, Preferences())
    qtbot.addWidget(page)
    page.resize(width, 1200)
    page.show()
    columns = page.findChild(ResponsiveColumns)
    assert columns is not None
    qtbot.waitUntil(lambda: columns.width() == width - 2 * Spacing.PAGE)


def test_settings_stay_at_the_left_where_there_is_room_for_more_than_can_be_read(
    qtbot: QtBot, state: ProjectState
) -> None:
    page = SettingsPage(state, Preferences())
    qtbot.addWidget(page)
    page.resize(2400, 1200)
    page.show()
    columns = page.findChild(ResponsiveColumns)
    assert columns is not None
    qtbot.waitUntil(lambda: columns.width() == columns.maximumWidth())
    assert columns.x() == Spacing.PAGE


def _first_ink(picture: QImage, place: QRect) -> int:
    """The highest line, in pixels, with ink in the first letter."""
    return next(
        y
        for y in range(place.top(), place.bottom() + 1)
        for x in range(place.left(), place.left() + 8)
        if picture.pixelColor(x, y).lightness() < 160
    )


def test_a_name_stands_on_the_line_of_its_value_even_where_that_is_long(qtbot: QtBot) -> None:
    facts = FactList()
    qtbot.addWidget(facts)
    facts.show_facts([("Layers", "Layers"), ("License", "Licence " + "of many words " * 9)])
    facts.resize(220, 400)
    facts.show()
    QTest.qWait(50)
    picture = facts.grab().toImage()
    for name, value in facts._labels:
        assert _first_ink(picture, name.geometry()) == _first_ink(picture, value.geometry())


def test_the_prompt_box_is_as_high_before_the_first_letter_as_after_it(qtbot: QtBot) -> None:
    holder = QWidget()
    qtbot.addWidget(holder)
    box = PromptBox()
    QVBoxLayout(holder).addWidget(box)
    holder.show()
    before = box.height()
    qtbot.keyClicks(box, "Where is the harbour?")
    assert box.height() == before


@pytest.mark.usefixtures("_usual_size")
def test_icons_grow_with_the_text(qtbot: QtBot) -> None:
    holder = QWidget()
    qtbot.addWidget(holder)
    parts = button("Open", icon="folder"), tool_button("close", "Close"), Glyph()
    layout = QVBoxLayout(holder)
    for part in parts:
        layout.addWidget(part)
    holder.show()
    with_words, alone, glyph = parts
    before = with_words.iconSize(), alone.iconSize(), glyph.width(), glyph.pixmap().width()
    theme.theme().set_text_size(150)
    assert with_words.iconSize() == before[0] * 1.5
    assert alone.iconSize() == before[1] * 1.5
    assert glyph.width() == 1.5 * before[2]
    assert glyph.pixmap().width() == 1.5 * before[3]


@pytest.mark.usefixtures("_usual_size")
def test_the_rail_has_room_for_its_larger_icons(qtbot: QtBot, qapp: QApplication) -> None:
    rail = Rail()
    qtbot.addWidget(rail)
    rail.add("model", "model", "A title that needs its room")
    narrow = rail.width()
    theme.theme().set_text_size(150)
    qapp.sendPostedEvents(None, QEvent.Type.LayoutRequest.value)
    assert rail.width() > 1.3 * narrow


def test_tab_reaches_the_rail_of_every_place_after_it_had_the_focus_once(window: Window) -> None:
    window.show_page("home")
    window.rail.button("home").setFocus(Qt.FocusReason.TabFocusReason)
    for name in ("runs", "settings", "home"):
        window.show_page(name)
        assert window.rail.button(name) in tab_order.focus_order(window)


def _first_column(picture: QImage) -> int:
    """How many pixels of the leftmost letter's first column have ink: few of a slash, many of an h."""
    for x in range(picture.width()):
        inked = [picture.pixelColor(x, y).lightness() < 160 for y in range(picture.height())]
        if any(inked):
            return sum(inked)
    return 0


@pytest.fixture
def _usual_direction(qapp: QApplication) -> Iterator[None]:
    yield
    qapp.setLayoutDirection(Qt.LayoutDirection.LeftToRight)


@pytest.mark.usefixtures("_usual_direction")
def test_a_path_begins_with_its_slash_where_lines_go_from_right_to_left(
    qtbot: QtBot, qapp: QApplication
) -> None:
    qapp.setLayoutDirection(Qt.LayoutDirection.RightToLeft)
    columns = []
    for text in ("/home/ada", "home/ada/"):
        holder = QWidget()
        qtbot.addWidget(holder)
        QVBoxLayout(holder).addWidget(ElidedLabel(text))
        holder.resize(300, 60)
        holder.show()
        columns.append(_first_column(holder.grab().toImage()))
    slash, letter = columns
    assert 0 < 2 * slash < letter


def test_a_source_that_is_gone_says_so_on_its_own_card(qtbot: QtBot, tmp_path: Path) -> None:
    (tmp_path / "there.jsonl").write_text("{}", "utf-8")
    sources = SourceList()
    qtbot.addWidget(sources)
    sources.base = tmp_path
    sources.show_value(({"path": "there.jsonl"}, {"path": "gone.jsonl"}, {"path": "org/name"}))
    said = [card.verdict.text() for card in sources.cards]
    assert ["not found" in text for text in said] == [False, True, False]
