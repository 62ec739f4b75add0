"""The result of comparing one stage with what was trained, value by value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lora_studio.core.messages import NO_TEXT, Text, counted

#: Faults that are named one by one; of more, only the number is shown.
MAX_FAULTS = 8


@dataclass(frozen=True)
class StageComparison:
    """What differs; without `faults`, the stage has the values that were trained.

    `cause` explains the faults together, if anything does. `is_reproduced`: doing it again gives every byte of
    the weights. `is_exact`: so it is, and rules that share nothing with the program prove them right.
    `compared` says what was compared, or why nothing was.
    """

    faults: tuple[Text, ...] = ()
    cause: Text = NO_TEXT
    is_reproduced: bool = False
    is_exact: bool = False
    compared: Text = NO_TEXT


def summarize_faults(faults: Sequence[Text]) -> tuple[Text, ...]:
    """Return the first faults and how many more there are."""
    if len(faults) <= MAX_FAULTS:
        return tuple(faults)
    rest = len(faults) - MAX_FAULTS
    more = counted(rest, "{n} more difference", "{n} more differences")
    return (*faults[:MAX_FAULTS], more)
