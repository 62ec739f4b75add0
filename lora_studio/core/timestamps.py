"""Format times for display, and parse those in the names of run folders."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Sequence
from datetime import date, datetime, timedelta

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
