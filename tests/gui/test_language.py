"""Translation of the window and dates."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QApplication, QLabel
from pytestqt.qtbot import QtBot

from lora_studio.core import formatting
from lora_studio.core.dataset.formats.detection import detect
from lora_studio.core.messages import Text, text
from lora_studio.core.runs import table
from lora_studio.gui import language, message_translation
from lora_studio.gui.controls.adapter_weights import WeightEditor
from lora_studio.gui.controls.controls import format_value, parse
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
def test_numbers_have_the_marks_and_units_of_the_language(state: ProjectState) -> None:
    assert formatting.format_count(134_500_000) == "134,5 Mio."
    assert formatting.format_percent(0.0052) == "0,52 %"
    assert formatting.format_rate(3.44) == "3,4 tokens/s"
    assert formatting.format_setting(1.5e-5) == "1,5e-5"
    assert message_translation.localize(text("{a} {b:.3g} {c:g}", a=0.5, b=1.234, c=2)) == (
        "0,5 1,23 2"
    )
    about = state.get_facts("lora", "dropout")
    assert format_value(0.05, about) == "0,05"
    assert parse("0,05", about) == parse("0.05", about) == 0.05


@pytest.mark.usefixtures("german")
def test_number_fields_take_a_point_and_a_comma(qtbot: QtBot) -> None:
    editor = WeightEditor(1.0, "bot")
    qtbot.addWidget(editor)
    assert editor.text() == "1,00"
    for typed in ("0.5", "0,5"):
        editor.setValue(1.0)
        editor.selectAll()
        qtbot.keyClicks(editor, typed)
        qtbot.keyClick(editor, Qt.Key.Key_Return)
        assert editor.value() == 0.5


@pytest.mark.usefixtures("german")
def test_run_tags_keep_the_decimal_point() -> None:
    assert table.format_value(0.05) == "0.05"


@pytest.mark.usefixtures("german")
def test_message_without_translation_is_shown_in_english() -> None:
    assert message_translation.localize("A text without a translation") == (
        "A text without a translation"
    )
    assert message_translation.localize("") == ""


@pytest.mark.usefixtures("german")
def test_dates_use_the_month_names_of_the_language() -> None:
    december = datetime(2020, 12, 4, 10, 15).timestamp()
    assert formatting.format_time(december) == "4. Dez. 2020, 10:15"
    folder = formatting.format_run_name("20201204-101512-support-bot")
    assert folder == "4. Dez. 2020, 10:15:12 · support-bot"


def test_dates_are_english_after_switching_back(qapp: QApplication) -> None:
    language.install(qapp, "de")
    language.install(qapp, "en")
    assert formatting.format_time(datetime(2020, 12, 4, 10, 15).timestamp()) == "4 Dec 2020, 10:15"


@pytest.mark.usefixtures("german")
@pytest.mark.parametrize(
    ("message", "shown"),
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
def test_engine_messages_are_fully_translated(message: str | Text, shown: str) -> None:
    assert message_translation.localize(message) == shown


HEAVY = ("torch", "transformers", "peft", "datasets", "bitsandbytes", "lora_studio.engine")


def test_gui_import_does_not_load_engine_libraries() -> None:
    code = (
        f"import sys, lora_studio.gui.app\nprint([name for name in {HEAVY} if name in sys.modules])"
    )
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert process.stdout.strip() == "[]"


CALLS = 2000


@pytest.mark.slow
def test_qt_calls_do_not_change_the_reference_count_of_none(qtbot: QtBot) -> None:
    label = QLabel()
    qtbot.addWidget(label)
    label.setText("warm up")
    before = sys.getrefcount(None)
    for _ in range(CALLS):
        label.setText("x")
    assert abs(sys.getrefcount(None) - before) < CALLS / 10
