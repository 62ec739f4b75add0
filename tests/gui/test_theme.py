"""The theme: contrast in both palettes, switching without a restart, icons and fonts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import product

import pytest
from PySide6.QtCore import QEvent, QObject, Qt
from PySide6.QtGui import QPalette
from PySide6.QtWidgets import QApplication, QPushButton, QVBoxLayout, QWidget
from pytestqt.qtbot import QtBot

from lora_studio.core.system import paths
from lora_studio.gui import theme
from lora_studio.gui.controls.choices import ComboControl
from lora_studio.gui.controls.controls import LineControl, TextControl
from lora_studio.gui.frame.rail import Rail
from lora_studio.gui.pages.export.quant_table import QuantTable
from lora_studio.gui.pages.settings.page import SettingsPage
from lora_studio.gui.preferences import Preferences
from lora_studio.gui.project.state import ProjectState
from lora_studio.gui.text_size import Size
from lora_studio.gui.theme import DARK, LIGHT, ColorPalette

GROUNDS = ("window", "card", "field", "hover", "selected")
WORDS = ("text", "muted", "accent", "ok", "warn", "error")


def compute_contrast(first: str, second: str) -> float:
    """Return the contrast ratio of two colors, 1 to 21 (WCAG 2.2, relative luminance of sRGB)."""
    lighter, darker = sorted((_compute_luminance(first), _compute_luminance(second)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def _compute_luminance(hex_color: str) -> float:
    def linear(channel: int) -> float:
        value = channel / 255
        return value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4

    red, green, blue = (int(hex_color[start : start + 2], 16) for start in (1, 3, 5))
    return 0.2126 * linear(red) + 0.7152 * linear(green) + 0.0722 * linear(blue)


@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=lambda palette: palette.name)
@pytest.mark.parametrize(("words", "ground"), list(product(WORDS, GROUNDS)))
def test_text_contrasts_with_every_background(
    palette: ColorPalette, words: str, ground: str
) -> None:
    assert compute_contrast(getattr(palette, words), getattr(palette, ground)) >= 4.5


@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=lambda palette: palette.name)
def test_text_on_the_accent_color_has_contrast(palette: ColorPalette) -> None:
    assert compute_contrast(palette.on_accent, palette.accent) >= 4.5
    assert compute_contrast(palette.on_accent, palette.accent_hover) >= 4.5


@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=lambda palette: palette.name)
def test_curves_and_control_outlines_have_contrast(palette: ColorPalette) -> None:
    curves = (palette.loss, palette.evaluation, palette.learning_rate, *palette.series)
    for color in (*curves, palette.edge):
        assert compute_contrast(color, palette.card) >= 3.0


@pytest.mark.parametrize(
    ("first", "second", "ratio"),
    [("#000000", "#FFFFFF", 21.0), ("#777777", "#FFFFFF", 4.48), ("#FF0000", "#FF0000", 1.0)],
)
def test_contrast_is_the_wcag_ratio(first: str, second: str, ratio: float) -> None:
    assert compute_contrast(first, second) == pytest.approx(ratio, abs=0.005)
    assert compute_contrast(second, first) == compute_contrast(first, second)


def test_theme_switch_updates_palette_style_sheet_and_icons(
    qtbot: QtBot, qapp: QApplication
) -> None:
    button = QPushButton("Go")
    qtbot.addWidget(button)
    theme.set_icon(button, "play", "accent")
    light = button.icon().pixmap(20).toImage()
    with qtbot.waitSignal(theme.get_theme().changed):
        theme.apply(qapp, "dark")
    assert qapp.palette().color(QPalette.ColorRole.Window).name().upper() == DARK.window
    assert DARK.card in qapp.styleSheet()
    assert LIGHT.card not in qapp.styleSheet()
    assert button.icon().pixmap(20).toImage() != light


def test_application_has_one_theme_object(qapp: QApplication) -> None:
    assert theme.apply(qapp, "light") is theme.apply(qapp, "dark") is theme.get_theme()
    assert theme.get_palette() is DARK


def test_every_style_sheet_token_has_a_value(qapp: QApplication) -> None:
    assert "@{" not in qapp.styleSheet()


def test_icons_are_drawn_in_the_given_color(qapp: QApplication) -> None:
    files = sorted((paths.get_resources_folder() / "icons").glob("*.svg"))
    assert len(files) >= 30
    for file in files:
        assert re.findall(r"#[0-9a-fA-F]{3,6}", file.read_text()) == []
        image = theme.pixmap(file.stem, "#FF0000").toImage()
        colors = {image.pixelColor(x, y).getRgb()[:3] for x in range(20) for y in range(20)
                  if image.pixelColor(x, y).alpha() > 100}  # fmt: skip
        assert colors == {(255, 0, 0)}, file.name


def test_font_uses_tabular_numbers(qapp: QApplication) -> None:
    font = theme.body_font()
    assert font.isFeatureSet(theme.QFont.Tag("tnum"))
    assert font.pixelSize() == theme.Size.BODY


def test_each_widget_is_styled_once_when_the_theme_changes(
    qtbot: QtBot, qapp: QApplication
) -> None:
    theme.apply(qapp, "light")
    inner = window = QWidget()
    qtbot.addWidget(window)
    for _ in range(12):
        layout = QVBoxLayout(inner)
        inner = QWidget()
        layout.addWidget(inner)
    window.show()
    counter = _StyleCounter()
    inner.installEventFilter(counter)
    theme.apply(qapp, "dark")
    assert 1 <= counter.count <= 2, "not once for each of its ancestors"
    assert window.palette().color(QPalette.ColorRole.Window).name().upper() == DARK.window
    theme.apply(qapp, "light")


class _StyleCounter(QObject):
    """Counts how often the style of a widget changes."""

    count = 0

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        self.count += event.type() == QEvent.Type.StyleChange
        return False


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
