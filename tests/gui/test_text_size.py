"""Text size and language settings."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from lora_studio.gui import theme
from lora_studio.gui.controls.choices import ComboControl
from lora_studio.gui.controls.controls import LineControl, TextControl
from lora_studio.gui.frame.rail import Rail
from lora_studio.gui.pages.export.quant_table import QuantTable
from lora_studio.gui.pages.settings.page import SettingsPage
from lora_studio.gui.preferences import Preferences
from lora_studio.gui.project.state import ProjectState
from lora_studio.gui.text_size import Size


@pytest.fixture
def _reset_text_size() -> Iterator[None]:
    yield
    theme.get_theme().set_text_size(100)


@pytest.mark.usefixtures("_reset_text_size")
def test_text_size_setting_resizes_text_and_widgets(
    qtbot: QtBot,
) -> None:
    state = ProjectState()
    page, rail = SettingsPage(state, Preferences()), Rail()
    rail.add("model", "model", "A title that needs its room")
    number = LineControl(state.get_facts("training", "seed"))
    for widget in (page, rail, number):
        qtbot.addWidget(widget)
        widget.show()
    page.text_size_chosen.connect(theme.get_theme().set_text_size)
    before = rail.width(), number.line.width(), rail.button("model").sizeHint().height()
    qtbot.mouseClick(page.text_size.button("150"), Qt.MouseButton.LeftButton)
    assert QApplication.font().pixelSize() == Size.BODY == 20
    assert rail.width() > before[0]
    assert number.line.width() == round(1.5 * before[1])
    assert rail.button("model").sizeHint().height() > before[2]
    assert page.text_size.button("150").fontInfo().pixelSize() == 20


@pytest.mark.usefixtures("_reset_text_size")
def test_widgets_fit_a_new_text_size_as_after_a_restart(qtbot: QtBot) -> None:
    def create() -> tuple[ComboControl, TextControl, QuantTable]:
        widgets = ComboControl({"a": "A title that needs its room"}), TextControl(), QuantTable()
        for widget in widgets:
            qtbot.addWidget(widget)
            widget.show()
        return widgets

    def measure(combo: ComboControl, text: TextControl, table: QuantTable) -> list[int]:
        view = table.view
        widths = [combo.box.minimumWidth(), view.columnWidth(0)]
        return [*widths, text.box.height(), view.height(), view.rowHeight(0)]

    before = create()
    small = measure(*before)
    theme.get_theme().set_text_size(150)
    assert measure(*before) == measure(*create())
    assert all(now > then for now, then in zip(measure(*before), small, strict=True))


def test_settings_remember_text_size_and_language() -> None:
    Preferences(text_size=125, language="de").save()
    loaded = Preferences.load()
    assert (loaded.text_size, loaded.language) == (125, "de")


def test_language_choice_applies_at_the_next_start(
    qtbot: QtBot,
) -> None:
    page = SettingsPage(ProjectState(), Preferences())
    qtbot.addWidget(page)
    with qtbot.waitSignal(page.language_chosen) as chosen:
        page.language.box.setFocus()
        page.language.box.setCurrentIndex(page.language.box.findText("Deutsch"))
        page.language.box.activated.emit(page.language.box.currentIndex())
    assert chosen.args == ["de"]
    assert "next time" in page.note.text()
