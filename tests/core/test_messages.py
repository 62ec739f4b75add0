"""Messages as data: templates, values, plurals and translation."""

from __future__ import annotations

import pytest

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
