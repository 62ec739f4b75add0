"""Alignment on every page: edges, baselines, heights and icons."""

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
from lora_studio.gui.pages.merging import MergingPage
from lora_studio.gui.pages.model.page import ModelPage
from lora_studio.gui.pages.playground.prompt_card import PromptBox
from lora_studio.gui.pages.settings.page import SettingsPage
from lora_studio.gui.preferences import Preferences
from lora_studio.gui.project.state import ProjectState
from lora_studio.gui.theme import Spacing
from lora_studio.gui.widgets import tab_order
from lora_studio.gui.widgets.basics import button, tool_button
from lora_studio.gui.widgets.columns import ResponsiveColumns
from lora_studio.gui.widgets.fact_list import FactList
from lora_studio.gui.widgets.glyph import Glyph
from lora_studio.gui.window.main_window import Window


@pytest.fixture
def _reset_text_size() -> Iterator[None]:
    yield
    theme.get_theme().set_text_size(100)


@pytest.mark.parametrize("width", [1000, 1300])
def test_settings_fill_the_page_width(qtbot: QtBot, state: ProjectState, width: int) -> None:
    page = SettingsPage(state, Preferences())
    qtbot.addWidget(page)
    page.resize(width, 1200)
    page.show()
    columns = page.findChild(ResponsiveColumns)
    assert columns is not None
    qtbot.waitUntil(lambda: columns.width() == width - 2 * Spacing.PAGE)


def test_settings_stay_left_at_their_maximum_width(qtbot: QtBot, state: ProjectState) -> None:
    page = SettingsPage(state, Preferences())
    qtbot.addWidget(page)
    page.resize(2400, 1200)
    page.show()
    columns = page.findChild(ResponsiveColumns)
    assert columns is not None
    qtbot.waitUntil(lambda: columns.width() == columns.maximumWidth())
    assert columns.x() == Spacing.PAGE


def _first_ink(picture: QImage, area: QRect) -> int:
    """Return the top row, in pixels, with ink in the first letter."""
    return next(
        y
        for y in range(area.top(), area.bottom() + 1)
        for x in range(area.left(), area.left() + 8)
        if picture.pixelColor(x, y).lightness() < 160
    )


def test_fact_name_aligns_with_the_first_line_of_its_value(qtbot: QtBot) -> None:
    facts = FactList()
    qtbot.addWidget(facts)
    facts.show_facts([("Layers", "Layers"), ("License", "Licence " + "of many words " * 9)])
    facts.resize(220, 400)
    facts.show()
    QTest.qWait(50)
    picture = facts.grab().toImage()
    for name, value in facts.labels:
        assert _first_ink(picture, name.geometry()) == _first_ink(picture, value.geometry())


def test_prompt_box_keeps_its_height_when_typing_starts(qtbot: QtBot) -> None:
    holder = QWidget()
    qtbot.addWidget(holder)
    box = PromptBox()
    QVBoxLayout(holder).addWidget(box)
    holder.show()
    before = box.height()
    qtbot.keyClicks(box, "Where is the harbour?")
    assert box.height() == before


@pytest.mark.usefixtures("_reset_text_size")
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
    theme.get_theme().set_text_size(150)
    assert with_words.iconSize() == before[0] * 1.5
    assert alone.iconSize() == before[1] * 1.5
    assert glyph.width() == 1.5 * before[2]
    assert glyph.pixmap().width() == 1.5 * before[3]


@pytest.mark.usefixtures("_reset_text_size")
def test_rail_widens_for_larger_icons(qtbot: QtBot, qapp: QApplication) -> None:
    rail = Rail()
    qtbot.addWidget(rail)
    rail.add("model", "model", "A title that needs its room")
    narrow = rail.width()
    theme.get_theme().set_text_size(150)
    qapp.sendPostedEvents(None, QEvent.Type.LayoutRequest.value)
    assert rail.width() > 1.3 * narrow


@pytest.mark.slow
def test_tab_order_includes_the_rail_on_every_page(window: Window) -> None:
    window.show_page("home")
    window.rail.button("home").setFocus(Qt.FocusReason.TabFocusReason)
    for name in ("runs", "settings", "home"):
        window.show_page(name)
        assert window.rail.button(name) in tab_order.list_focus_order(window)


def test_missing_source_is_marked_on_its_card(qtbot: QtBot, tmp_path: Path) -> None:
    (tmp_path / "there.jsonl").write_text("{}", "utf-8")
    sources = SourceList()
    qtbot.addWidget(sources)
    sources.base = tmp_path
    sources.show_value(({"path": "there.jsonl"}, {"path": "gone.jsonl"}, {"path": "org/name"}))
    verdicts = [card.verdict.text() for card in sources.cards]
    assert ["not found" in text for text in verdicts] == [False, True, False]


def test_cards_are_centered_beside_a_scroll_bar(qtbot: QtBot) -> None:
    page = MergingPage(ProjectState())
    qtbot.addWidget(page)
    page.resize(900, 300)
    page.show()
    qtbot.waitUntil(page.area.verticalScrollBar().isVisible)
    card = page.body.itemAt(0).widget()
    left = card.mapTo(page, card.rect().topLeft()).x()
    assert left == page.width() - left - card.width()


@pytest.mark.usefixtures("_reset_text_size")
@pytest.mark.parametrize("size", [100, 150])
def test_models_keep_their_names_at_every_text_size(
    qtbot: QtBot, state: ProjectState, size: int
) -> None:
    theme.get_theme().set_text_size(size)
    page = ModelPage(state, Preferences())
    qtbot.addWidget(page)
    page.resize(1000, 700)  # of a window of 1280 pixels, beside its navigation
    page.show()
    qtbot.waitExposed(page)
    assert page.browser.list.width() >= 260 * size / 100
    assert page.facts.width() <= 1000
