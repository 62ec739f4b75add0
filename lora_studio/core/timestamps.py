"""Format times for display, and parse those in the names of run folders."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date, datetime

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
    match = _STAMP.match(folder)
    if match is None:
        return folder
    try:
        moment = datetime.strptime(match[1], "%Y%m%d-%H%M%S")
    except ValueError:
        return folder
    return f"{format_short_time(moment.timestamp(), seconds=True)} · {match[2]}"
