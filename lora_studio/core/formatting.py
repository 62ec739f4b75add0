"""Format numbers for display: sizes, counts, shares and durations, each with its unit."""

from __future__ import annotations

import contextlib
import csv
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import TextIO

_UNKNOWN = "–"


@dataclass(frozen=True)
class NumberStyle:
    """How a language writes numbers: its separators, and short forms of thousand to trillion."""

    thousands: str = ","
    decimal: str = "."
    scales: tuple[str, str, str, str] = ("K", "M", "B", "T")


#: The style in use, one for the whole process.
_style = NumberStyle()


def set_number_style(style: NumberStyle) -> None:
    """Set how the user's language writes numbers, for the whole process."""
    global _style
    _style = style


def localize_digits(digits: str) -> str:
    """Return digits that Python has formatted with the separators of the user's language."""
    marks = {",": _style.thousands, ".": _style.decimal}
    return "".join(marks.get(letter, letter) for letter in digits)


def format_float(value: float, form: str = ".12g") -> str:
    """Return a number in one of Python's formats, with the separators of the user's language."""
    return localize_digits(format(value, form))


def format_decimal(value: float) -> str:
    """Return a number without trailing zeros, and small numbers in the form 2e-4."""
    if value and abs(value) < 1e-3 and math.isfinite(value):
        digits, exponent = f"{value:.11e}".split("e")
        return localize_digits(f"{digits.rstrip('0').rstrip('.')}e{int(exponent)}")
    return format_float(value)


def format_number(value: int) -> str:
    """Return a whole number with thousands separators: `12,345`."""
    return localize_digits(f"{value:,}")


def format_plural(count: int, singular: str, several: str = "") -> str:
    """Return a number with its noun: `1 row`, `1,240 rows`."""
    noun = singular if count == 1 else several or f"{singular}s"
    return f"{format_number(count)} {noun}"


def format_count(value: int) -> str:
    """Return a large number in short form: `16.8 M`, `3.2 B`, `960`."""
    return _format_scaled(value, 1000, ("", *_style.scales))


def format_size(value: float) -> str:
    """Return bytes of a file or download, in powers of 1000: `67 MB`, `4.9 GB`."""
    return _format_scaled(value, 1000, ("B", "kB", "MB", "GB", "TB"), whole_below=3)


def format_memory(value: float) -> str:
    """Return bytes of memory, in powers of 1024 as devices are sold and monitored: `18.2 GiB`."""
    return _format_scaled(value, 1024, ("B", "KiB", "MiB", "GiB", "TiB"), whole_below=3)


def format_percent(share: float) -> str:
    """Return a share from 0 to 1 with two significant digits: `0.52 %`, `3.1 %`, `98.7 %`.

    Never rounds to 0 % or 100 %: `< 0.01 %`, `> 99.9 %`.
    """
    value = 100.0 * share
    if not math.isfinite(value):
        return _UNKNOWN
    if value in (0.0, 100.0):
        return f"{value:.0f} %"
    if 0 < value < 0.01:
        return f"< {localize_digits('0.01')} %"
    if 99.9 < value < 100:
        return f"> {localize_digits('99.9')} %"
    digits = f"{value:.2f}" if abs(value) < 1 else f"{value:.1f}".removesuffix(".0")
    return f"{localize_digits(digits)} %"


def format_duration(seconds: float | None) -> str:
    """Return seconds in readable units: `< 1 s`, `40 s`, `12 min`, `2 h 10 min`, `3 d 4 h`."""
    if seconds is None or not math.isfinite(seconds):
        return _UNKNOWN
    if 0 < seconds < 0.5:
        return "< 1 s"
    if seconds < 59.5:
        return f"{max(0, round(seconds))} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 24 * 60:
        hours, minutes = divmod(minutes, 60)
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(round(minutes / 60), 24)
    return f"{days} d {hours} h" if hours else f"{days} d"


def format_loss(value: float) -> str:
    """Return a loss in nats per token: two decimals, four below 0.1."""
    if not math.isfinite(value):
        return str(value)
    return format_float(value, ".2f" if abs(value) >= 0.1 else ".4f")


def format_reward(value: float) -> str:
    """Return a reward: two decimals, four below 0.1, and 0 as it is."""
    return format_loss(value) if value else "0"


def format_setting(value: float) -> str:
    """Return a setting that spans magnitudes, as people type it: `2e-4`, `1.5e-5`, `0.05`, `3`."""
    return localize_digits(format_setting_value(value))


def format_setting_value(value: float) -> str:
    """Return a setting as `format_setting` does, with a decimal point in every language.

    It is for files, commands, and names such as `dropout=0.05`.
    """
    if value == 0 or not math.isfinite(value) or 0.01 <= abs(value) < 10_000:
        return f"{value:.4g}"
    mantissa, exponent = f"{value:.2e}".split("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"


def format_rate(per_second: float, unit: str = "tokens") -> str:
    """Return a speed: `1,240 tokens/s`, `3.4 tokens/s`."""
    if not math.isfinite(per_second):
        return _UNKNOWN
    return f"{format_float(per_second, ',.0f' if per_second >= 10 else '.1f')} {unit}/s"


def join_names(items: Sequence[str], joint: str = "and") -> str:
    """Return names joined into one phrase: `a`, `a and b`, `a, b, and c`.

    `joint` may be a translation; other languages have no comma before it.
    """
    if len(items) < 2:
        return "".join(items)
    comma = "," if len(items) > 2 and joint in ("and", "or") else ""
    return f"{', '.join(items[:-1])}{comma} {joint} {items[-1]}"


def _format_scaled(value: float, base: int, units: tuple[str, ...], whole_below: int = 0) -> str:
    """Return `value` in the largest unit that leaves at least 1, with one decimal at most.

    From 10 on, numbers in units before index `whole_below` lose the decimal.
    """
    if not math.isfinite(value):
        return _UNKNOWN
    scaled, index = float(value), 0
    while index + 1 < len(units) and _round_for_display(scaled, index, whole_below)[0] >= base:
        scaled, index = scaled / base, index + 1
    rounded, decimals = _round_for_display(scaled, index, whole_below)
    digits = localize_digits(f"{rounded:,.{decimals}f}".removesuffix(".0"))
    return f"{digits} {units[index]}".strip()


def _round_for_display(scaled: float, index: int, whole_below: int) -> tuple[float, int]:
    """Return a number rounded for display, and its number of decimals."""
    decimals = 0 if index == 0 or (index < whole_below and scaled >= 10) else 1
    return round(scaled, decimals), decimals


#: The time in the name of a run folder.
_FORMAT = "%Y%m%d-%H%M%S"
_STAMP = re.compile(r"(\d{8}-\d{6})-(.+)\Z")

#: Short month names and the order of day and month, for the whole process.
_months: tuple[str, ...] = (
    "Jan",
    "Feb",
    "Mar",
    "Apr",
    "May",
    "Jun",
    "Jul",
    "Aug",
    "Sep",
    "Oct",
    "Nov",
    "Dec",
)
_day = "{day} {month}"


def set_date_names(months: Sequence[str], day: str) -> None:
    """Set the month names and day order of the user's language for the whole process: `{day}.
    {month}`.
    """
    global _months, _day
    _months, _day = tuple(months), day


def format_time(moment: float, *, seconds: bool = False) -> str:
    """Return a time as `24 Nov 2026, 14:05`; "" for time 0 and for a time that no calendar has."""
    try:
        at = datetime.fromtimestamp(moment)
    except (OverflowError, ValueError, OSError):
        return ""
    exact = ":%S" if seconds else ""
    day = _day.format(day=at.day, month=_months[at.month - 1])
    return f"{day} {at:%Y, %H:%M{exact}}" if moment else ""


def format_day(day: str) -> str:
    """Return an ISO date such as 2026-11-24 as `24 Nov 2026`."""
    at = date.fromisoformat(day)
    return f"{_day.format(day=at.day, month=_months[at.month - 1])} {at.year}"


def format_short_time(moment: float, *, seconds: bool = False) -> str:
    """Return a time without its year if that is the current one."""
    return format_time(moment, seconds=seconds).replace(f" {datetime.now().year},", ",")


def format_run_name(folder: str) -> str:
    """Return a run folder's name as `24 Nov, 14:05:12 · support-bot`; any other name unchanged."""
    moment = _parse_stamp(folder)
    if moment is None:
        return folder
    return f"{format_short_time(moment.timestamp(), seconds=True)} · {folder[16:]}"


def create_run_stamp(folders: Iterable[str]) -> str:
    """Return the stamp of a new run's name, given the names of the other runs, newest first.

    Runs are ordered by name. If the clock was set back (daylight saving time, another time zone, an
    empty battery), the new run is dated one second after the newest one, so that it is the newest.
    """
    now = datetime.now().replace(microsecond=0)
    newest = next(filter(None, map(_parse_stamp, folders)), now)
    if newest > now:
        with contextlib.suppress(OverflowError):  # the last second of the year 9999
            now = newest + timedelta(seconds=1)
    return f"{now:{_FORMAT}}"


def _parse_stamp(folder: str) -> datetime | None:
    """Return the time in a run folder's name, None if it has none."""
    match = _STAMP.match(folder)
    with contextlib.suppress(ValueError):
        return datetime.strptime(match[1], _FORMAT) if match else None
    return None


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
