"""The language of the window."""

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


def test_a_text_without_a_translation_stays_as_it_is_written() -> None:
    assert tr("No language knows this sentence.") == "No language knows this sentence."
    assert mark("A word") == "A word"


def test_a_number_takes_its_form_and_is_filled_in() -> None:
    assert tr_n("{n} run in {place}", "{n} runs in {place}", 1, place="A") == "1 run in A"
    assert tr_n("{n} run in {place}", "{n} runs in {place}", 1200, place="A") == "1,200 runs in A"


@pytest.fixture
def german(qapp: QApplication) -> Iterator[None]:
    """The window in German until the end of the test."""
    language.install(qapp, "de")
    message_translation.localize_facts.cache_clear()
    yield
    language.install(qapp, "en")
    message_translation.localize_facts.cache_clear()


@pytest.mark.usefixtures("german")
def test_texts_numbers_and_fields_come_in_the_language_of_the_window() -> None:
    assert tr("Continue") == "Weiter"
    assert tr_n("{n} row", "{n} rows", 1) == "1 Zeile"
    assert tr_n("{n} row", "{n} rows", 1200) == "1\u202f200 Zeilen"
    about = ProjectState().about("training", "learning_rate")
    assert about.title == "Lernrate"
    assert ProjectState().about("training", "micro_batch").unit == "rows"  # read by `quantities`


@pytest.mark.usefixtures("german")
def test_message_without_translation_is_shown_in_english() -> None:
    assert message_translation.localize("A text without a translation") == (
        "A text without a translation"
    )
    assert message_translation.localize("") == ""


@pytest.mark.usefixtures("german")
def test_moments_are_written_with_the_months_of_the_language() -> None:
    december = datetime(2020, 12, 4, 10, 15).timestamp()
    assert timestamps.in_words(december) == "4. Dez 2020, 10:15"
    folder = timestamps.format_run_name("20201204-101512-support-bot")
    assert folder == "4. Dez 2020, 10:15:12 · support-bot"


def test_moments_are_english_again_after_another_language(qapp: QApplication) -> None:
    language.install(qapp, "de")
    language.install(qapp, "en")
    assert timestamps.in_words(datetime(2020, 12, 4, 10, 15).timestamp()) == "4 Dec 2020, 10:15"


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
)
def test_what_workers_and_readers_of_data_say_is_german_to_its_last_word(
    text: str | Text, shown: str
) -> None:
    assert message_translation.localize(text) == shown


@pytest.mark.parametrize("wrap", [False, True])
def test_words_begin_at_the_right_in_a_window_from_right_to_left(
    qapp: QApplication, wrap: bool
) -> None:
    qapp.setLayoutDirection(Qt.LayoutDirection.RightToLeft)
    try:
        made = label("Rank", wrap=wrap)
        made.resize(400, 30)
        picture = made.grab().toImage()
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
def test_cards_keep_their_width_beside_a_scroll_bar_in_both_directions(
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
