"""Parsing and formatting of typed numbers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lora_studio.core.project.project import SPECS
from lora_studio.core.spec import FieldFacts, get_facts
from lora_studio.gui.controls.controls import format_value, parse

RATE = get_facts(SPECS["training"], "learning_rate")
SHARE = get_facts(SPECS["dataset"], "validation_share")
TOKENS = get_facts(SPECS["dataset"], "max_length")
STEPS = get_facts(SPECS["training"], "max_steps")


@pytest.mark.parametrize(
    ("text", "about", "value"),
    [
        ("2e-4", RATE, 2e-4),
        (" 2E-4 ", RATE, 2e-4),
        ("0,0002", RATE, 2e-4),
        (".5", RATE, 0.5),
        ("−1", RATE, -1.0),
        ("5 %", SHARE, 0.05),
        ("0.1", SHARE, 0.1),
        ("8k", TOKENS, 8192),
        ("1m", TOKENS, 1 << 20),
        ("2048 tokens", TOKENS, 2048),
        ("4,096", TOKENS, 4096),
        ("4.096", TOKENS, 4096),
        ("1 000 000", TOKENS, 1_000_000),
        ("2k", STEPS, 2000),
        ("1.5k", STEPS, 1500),
        ("500 steps", STEPS, 500),
        ("1e3", STEPS, 1000),
        ("-3", STEPS, -3),
    ],
    ids=lambda value: value.name if isinstance(value, FieldFacts) else None,
)
def test_typed_number_is_parsed(text: str, about: FieldFacts, value: float) -> None:
    number = parse(text, about)
    assert number == pytest.approx(value)
    assert isinstance(number, int if about.kind == "integer" else float)


@pytest.mark.parametrize(
    "text", ["", "abc", "1.2.3", "two", "8kk", "1,2,3", "nan", "inf", "2e", "0x10", "1e999"]
)
@pytest.mark.parametrize("about", [RATE, TOKENS], ids=lambda about: about.name)
def test_text_that_is_not_a_number_is_returned_unchanged(text: str, about: FieldFacts) -> None:
    assert parse(text, about) == text


def test_fraction_is_not_accepted_for_an_integer_field() -> None:
    assert parse("1.5", STEPS) == "1.5"


def test_numbers_are_shown_in_short_notation() -> None:
    assert format_value(2e-4, RATE) == "2e-4"
    assert format_value(1.5e-5, RATE) == "1.5e-5"
    assert format_value(0.05, SHARE) == "0.05"
    assert format_value(3.0, RATE) == "3"
    assert format_value(2048, TOKENS) == "2048"
    assert format_value("abc", RATE) == "abc"


@given(st.floats(min_value=1e-9, max_value=1e6, allow_nan=False))
def test_shown_number_parses_to_the_same_value(value: float) -> None:
    assert parse(format_value(value, RATE), RATE) == pytest.approx(value, rel=1e-11)


@given(st.integers(min_value=-(10**9), max_value=2**40))
def test_shown_integer_parses_to_the_same_value(value: int) -> None:
    assert parse(format_value(value, STEPS), STEPS) == value
