"""Accessibility of every page and state in several languages, text sizes and directions."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from PySide6.QtCore import QEvent, QRect, Qt
from PySide6.QtGui import QImage
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QVBoxLayout, QWidget
from pytestqt.qtbot import QtBot

from lora_studio.core.problems import STEPS
from lora_studio.gui import language, message_translation, theme
from lora_studio.gui.frame import lazy_pages
from lora_studio.gui.frame.rail import Rail
from lora_studio.gui.pages.dataset.source_list import SourceList
from lora_studio.gui.pages.merging import MergingPage
from lora_studio.gui.pages.model.page import ModelPage
from lora_studio.gui.pages.playground.prompt_card import PromptBox
from lora_studio.gui.pages.settings.page import SettingsPage
from lora_studio.gui.preferences import Preferences, TextSize
from lora_studio.gui.problems.suggested_actions import PAGE_TITLES
from lora_studio.gui.project.commands import NewProjectDialog
from lora_studio.gui.project.state import ProjectState
from lora_studio.gui.theme import Spacing
from lora_studio.gui.widgets import tab_order
from lora_studio.gui.widgets.basics import CollapsibleSection, button, tool_button
from lora_studio.gui.widgets.columns import ResponsiveColumns
from lora_studio.gui.widgets.dialog import Dialog
from lora_studio.gui.widgets.fact_list import FactList
from lora_studio.gui.widgets.glyph import Glyph
from lora_studio.gui.window import main_window as main_window_module
from lora_studio.gui.window.main_window import Window
from lora_studio.gui.window.wiring import make_window
from tests import screenshots, screenshots_model
from tests.helpers.runs import planted_evaluation
from tests.helpers.set_up_script import NO_NETWORK
from tests.helpers.window import classifier_shots, fake_engine, seen

#: Kind of fault -> function that finds it.
_KINDS: dict[str, Callable[[QWidget], list[str]]] = {
    "cut": seen.cut_texts,
    "cut in a table": seen.cut_cells,
    "squeezed": seen.squeezed,
    "too wide": seen.too_wide,
    "without a name": seen.nameless,
    "out of reach": seen.out_of_reach,
}

#: The same for the language of a German window.
_GERMAN_KINDS: dict[str, Callable[[QWidget], list[str]]] = {
    "with a decimal point": seen.decimal_points,
    "in English": lambda root: seen.english_texts(root, _read_others()),
}

#: Number of checks of a faulty window, 0.2 s apart.
_LOOKS_AT_MOST = 25

LOOKS = [
    pytest.param(("en", 100), id="English", marks=pytest.mark.thorough),
    pytest.param(("en", 150), id="English-150", marks=pytest.mark.thorough),
    pytest.param(("de", 100), id="German", marks=pytest.mark.thorough),
    pytest.param(("de", 150), id="German-150"),
]


@pytest.fixture
def window(
    qapp: QApplication, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[Window]:  # fmt: skip
    """Yield the real window at 1280 × 800 pixels with a project whose facts are all known."""
    code, size = request.param
    file = tmp_path / "scenario.json"
    file.write_text(json.dumps(screenshots.scenario(tmp_path)))
    monkeypatch.setenv("LORA_STUDIO_ENGINE", fake_engine.command_line(file))
    _look(qapp, code, size)
    # A window shrinks to its screen, which is smaller here.
    monkeypatch.setattr(main_window_module, "fit_to_screen", lambda _: None)
    main_window = make_window(Preferences(tour_seen=True), lazy_pages.make_step_pages)
    main_window.resize(1280, 800)
    main_window.show()
    main_window.open_project(screenshots.make_project(tmp_path))
    yield main_window
    main_window.shut_down()
    main_window.close()
    main_window.deleteLater()
    qapp.processEvents()
    _look(qapp, "en", 100)


def _look(app: QApplication, code: str, size: TextSize) -> None:
    language.install(app, code)
    message_translation.localize_facts.cache_clear()
    theme.apply(app, "light").set_text_size(size)


def _visit(window: Window) -> Iterator[str]:
    for name in (*STEPS, "home", *PAGE_TITLES):
        window.show_page(name)
        QTest.qWait(250)
        yield name
        folded = window.stack.currentWidget().findChildren(CollapsibleSection)
        for more in folded:
            more.set_open(True)
        if folded:
            QTest.qWait(250)
            yield f"{name}, unfolded"
    for dialog in _dialogs(window):
        dialog.show()
        QTest.qWait(20)
        yield type(dialog).__name__
        dialog.reject()


def _dialogs(window: Window) -> Iterator[Dialog]:
    yield NewProjectDialog(Path("/tmp"), window)
    yield window.closing.make_job_dialog("train")
    yield window.closing.make_unsaved_dialog()


@pytest.mark.slow
@pytest.mark.parametrize("window", LOOKS, indirect=True)
def test_pages_have_no_cut_texts_or_unreachable_controls(window: Window) -> None:
    wrong = []
    for name in _visit(window):
        shown = window.findChildren(Dialog) if name.endswith("Dialog") else [window]
        wrong += [f"{name}: {item}" for item in _faults(shown)]
    assert not wrong, "\n" + "\n".join(dict.fromkeys(wrong))


def _read_others() -> str:
    """Return what the workers of the pictures say in English, and the names of data formats."""
    file = Path(os.environ["LORA_STUDIO_CONFIG"]).parent / "scenario.json"
    problems = (screenshots.WARNING, NO_NETWORK)
    said = [str(part) for problem in problems for part in (problem.what, problem.remedy)]
    said += map(planted_evaluation.ask, range(200))
    said += [screenshots_model.GATED, "ShareGPT (conversations: from, value)"]
    said += [*classifier_shots.COUNTS, *classifier_shots.TEXTS]
    return "\n".join([json.dumps(json.loads(file.read_text()), ensure_ascii=False), *said])


def _faults(shown: Sequence[QWidget], code: str = "") -> list[str]:
    """Return layout faults that persist; a busy machine needs time for the layout."""
    kinds = _KINDS | (_GERMAN_KINDS if code == "de" else {})
    for _ in range(_LOOKS_AT_MOST):
        faults = [
            f"{what}: {item}"
            for root in shown
            for what, look in kinds.items()
            for item in look(root)
        ]
        if not faults:
            break
        QTest.qWait(200)
    return faults


@pytest.fixture
def look(qapp: QApplication, request: pytest.FixtureRequest) -> Iterator[str]:
    """Set the language and text size of widgets made during the test; yield the language."""
    code, size = request.param
    _look(qapp, code, size)
    yield code
    _look(qapp, "en", 100)


@pytest.mark.slow
@pytest.mark.parametrize(
    "look",
    [
        pytest.param(("en", 100), id="English", marks=pytest.mark.thorough),
        pytest.param(("de", 150), id="German-150"),
    ],
    indirect=True,
)
def test_pictures_have_no_faults_of_layout_or_language(
    look: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(
        "LORA_STUDIO_ENGINE", ""
    )  # restored at the end, whatever changes it in between
    screenshots.isolate_settings(tmp_path)
    wrong = []
    for name, shown in screenshots.shots(tmp_path):
        if isinstance(shown, Window):
            shown.resize(1280, 800)
        wrong += [f"{name}: {item}" for item in _faults([shown], look)]
    led = [
        item for item in wrong if "QListView in Palette" in item
    ]  # reachable by the arrow keys of its line edit
    assert [item for item in wrong if item not in led] == []


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
@pytest.mark.parametrize("window", [("en", 100)], indirect=True)
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
