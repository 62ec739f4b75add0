"""Moments as people write them, and those in the names of run folders."""

from __future__ import annotations

import re
from datetime import datetime

_STAMP = re.compile(r"(\d{8}-\d{6})-(.+)\Z")


def in_words(moment: float, *, seconds: bool = False) -> str:
    """When something was: `24 Nov 2026, 14:05`; "" for no moment."""
    at = datetime.fromtimestamp(moment)
    exact = ":%S" if seconds else ""
    return f"{at.day} {at:%b %Y, %H:%M{exact}}" if moment else ""


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
