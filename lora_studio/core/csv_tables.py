"""Write CSV tables that spreadsheets open without calculating anything."""

from __future__ import annotations

import contextlib
import csv
from collections.abc import Iterable
from typing import TextIO

#: What spreadsheets take for the beginning of a formula, also after it is typed in a wide script.
#: Source: OWASP, CSV Injection.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


class CsvWriter:
    """Writes rows; a text that a spreadsheet would calculate gets an apostrophe before it.

    Answers of models, rows of datasets, and notes of runs are from others, and `=HYPERLINK(…)` in a
    cell would send its neighbors to a server. Numbers remain numbers, also negative ones.
    """

    def __init__(self, sink: TextIO) -> None:
        """Write to a text file."""
        self._writer = csv.writer(sink, lineterminator="\n")

    def writerow(self, cells: Iterable[object]) -> None:
        """Write one line."""
        self._writer.writerow([_neutralize(cell) for cell in cells])


def _neutralize(cell: object) -> object:
    """Return a cell that isn't a formula."""
    if not isinstance(cell, str) or not cell.startswith(_FORMULA):
        return cell
    with contextlib.suppress(ValueError):
        float(cell)
        return cell
    return f"'{cell}"
