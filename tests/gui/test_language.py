"""The language of the window."""

from __future__ import annotations

from lora_studio.gui.language import mark, tr, tr_n


def test_a_text_without_a_translation_stays_as_it_is_written() -> None:
    assert tr("No language knows this sentence.") == "No language knows this sentence."
    assert mark("A word") == "A word"


def test_a_number_takes_its_form_and_is_filled_in() -> None:
    assert tr_n("{n} run in {place}", "{n} runs in {place}", 1, place="A") == "1 run in A"
    assert tr_n("{n} run in {place}", "{n} runs in {place}", 1200, place="A") == "1,200 runs in A"
