"""Translation of the window, dates, and right-to-left layout."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from lora_studio.core import timestamps
from lora_studio.core.dataset.formats.detection import detect
from lora_studio.core.messages import Text
from lora_studio.gui import language, message_translation
from lora_studio.gui.language import mark, tr, tr_n
from lora_studio.gui.pages.merging import MergingPage
from lora_studio.gui.project.state import ProjectState
from lora_studio.gui.widgets.basics import label


def test_untranslated_text_is_returned_unchanged() -> None:
    assert tr("No language knows this sentence.") == "No language knows this sentence."
    assert mark("A word") == "A word"


def test_count_selects_the_plural_form() -> None:
    assert tr_n("{n} run in {place}", "{n} runs in {place}", 1, place="A") == "1 run in A"
    assert tr_n("{n} run in {place}", "{n} runs in {place}", 1200, place="A") == "1,200 runs in A"


@pytest.fixture
def german(qapp: QApplication) -> Iterator[None]:
    """Switch the window to German for the test."""
    language.install(qapp, "de")
    message_translation.localize_facts.cache_clear()
    yield
    language.install(qapp, "en")
    message_translation.localize_facts.cache_clear()


@pytest.mark.usefixtures("german")
def test_texts_counts_and_fields_are_translated() -> None:
    assert tr("Continue") == "Weiter"
    assert tr_n("{n} row", "{n} rows", 1) == "1 Zeile"
    assert tr_n("{n} row", "{n} rows", 1200) == "1\u202f200 Zeilen"
    about = ProjectState().get_facts("training", "learning_rate")
    assert about.title == "Lernrate"
    assert (
        ProjectState().get_facts("training", "micro_batch").unit == "rows"
    )  # read by `quantities`


@pytest.mark.usefixtures("german")
def test_message_without_translation_is_shown_in_english() -> None:
    assert message_translation.localize("A text without a translation") == (
        "A text without a translation"
    )
    assert message_translation.localize("") == ""


@pytest.mark.usefixtures("german")
def test_dates_use_the_month_names_of_the_language() -> None:
    december = datetime(2020, 12, 4, 10, 15).timestamp()
    assert timestamps.format_time(december) == "4. Dez 2020, 10:15"
    folder = timestamps.format_run_name("20201204-101512-support-bot")
    assert folder == "4. Dez 2020, 10:15:12 · support-bot"


def test_dates_are_english_after_switching_back(qapp: QApplication) -> None:
    language.install(qapp, "de")
    language.install(qapp, "en")
    assert timestamps.format_time(datetime(2020, 12, 4, 10, 15).timestamp()) == "4 Dec 2020, 10:15"


@pytest.mark.usefixtures("german")
@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Base model", "Basismodell"),
        (
            detect([{"question": "Who?", "answer": "I."}] * 19 + [{"question": "Who?"}]).evidence,
            "Die Spalten „question“ und „answer“ passen zu „Frage und Antwort“ in 19 von 20 geprüften "
            "Zeilen (95 %).",
        ),
    ],
    ids=["plain", "nested"],
)
def test_engine_messages_are_fully_translated(text: str | Text, shown: str) -> None:
    assert message_translation.localize(text) == shown


@pytest.mark.parametrize("wrap", [False, True])
def test_text_is_right_aligned_in_right_to_left_layout(qapp: QApplication, wrap: bool) -> None:
    qapp.setLayoutDirection(Qt.LayoutDirection.RightToLeft)
    try:
        caption = label("Rank", wrap=wrap)
        caption.resize(400, 30)
        picture = caption.grab().toImage()
    finally:
        qapp.setLayoutDirection(Qt.LayoutDirection.LeftToRight)
    empty = picture.pixel(0, 0)
    inked = [
        x
        for x in range(picture.width())
        if any(picture.pixel(x, y) != empty for y in range(picture.height()))
    ]
    assert inked
    assert min(inked) > picture.width() / 2


@pytest.mark.parametrize("mirrored", [False, True])
def test_cards_are_centered_beside_a_scroll_bar(
    qtbot: QtBot, qapp: QApplication, mirrored: bool
) -> None:
    ways = (Qt.LayoutDirection.LeftToRight, Qt.LayoutDirection.RightToLeft)
    qapp.setLayoutDirection(ways[mirrored])
    try:
        page = MergingPage(ProjectState())
        qtbot.addWidget(page)
        page.resize(900, 300)
        page.show()
        qtbot.waitUntil(page.area.verticalScrollBar().isVisible)
        card = page.body.itemAt(0).widget()
        left = card.mapTo(page, card.rect().topLeft()).x()
        right = page.width() - left - card.width()
        assert left == right
    finally:
        qapp.setLayoutDirection(ways[0])
