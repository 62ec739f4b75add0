"""Moments as people write them, and those in the names of run folders."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime

_STAMP = re.compile(r"(\d{8}-\d{6})-(.+)\Z")

#: Short names of the months, and how a day is written before one: for the whole process.
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


def set_words(months: Sequence[str], day: str) -> None:
    """Writes dates in another way from now on, as the user's language does: `{day}. {month}`."""
    global _months, _day
    _months, _day = tuple(months), day


def in_words(moment: float, *, seconds: bool = False) -> str:
    """When something was: `24 Nov 2026, 14:05`; "" for no moment."""
    at = datetime.fromtimestamp(moment)
    exact = ":%S" if seconds else ""
    day = _day.format(day=at.day, month=_months[at.month - 1])
    return f"{day} {at:%Y, %H:%M{exact}}" if moment else ""


def shortly(moment: float, *, seconds: bool = False) -> str:
    """The same without its year where that is this one."""
    return in_words(moment, seconds=seconds).replace(f" {datetime.now().year},", ",")


def of_run(folder: str) -> str:
    """The name of a run's folder as `24 Nov, 14:05:12 · support-bot`; any other name as it is."""
    found = _STAMP.match(folder)
    if found is None:
        return folder
    try:
        moment = datetime.strptime(found[1], "%Y%m%d-%H%M%S")
    except ValueError:
        return folder
    return f"{shortly(moment.timestamp(), seconds=True)} · {found[2]}"
