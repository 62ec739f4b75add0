"""Translation of the window and dates."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

import pytest
from PySide6.QtWidgets import QApplication

from lora_studio.core import timestamps
from lora_studio.core.dataset.formats.detection import detect
from lora_studio.core.messages import Text
from lora_studio.gui import language, message_translation
from lora_studio.gui.language import mark, tr, tr_n
from lora_studio.gui.project.state import ProjectState


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
