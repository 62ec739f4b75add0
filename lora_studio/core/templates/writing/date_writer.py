"""Write the current date in a strftime format, from the server's `currentDate`.

`currentDate` prints YYYY-MM-DD. Years, months and days are sliced from it; month names are looked
up.
"""

from __future__ import annotations

import re

from lora_studio.core.templates.probing.decision_trees import FixedPart, refuse_date
from lora_studio.core.templates.writing.pieces import ActionPiece, Item

# Position of a directive in YYYY-MM-DD.
_SLICES = {"Y": (0, 4), "y": (2, 4), "m": (5, 7), "d": (8, 10)}
_MONTHS = {
    "B": "January February March April May June July August September October November December",
    "b": "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec",
}
_MONTHS["h"] = _MONTHS["b"]


class DateWriter:
    """Writes dates, and adds the definitions that its code calls to `defines`."""

    def __init__(self, defines: dict[str, str]) -> None:
        """Store the definitions of the TEMPLATE, by name."""
        self._defines = defines

    def write(self, form: str) -> list[Item]:
        """Return the pieces that write today's date in a strftime format.

        Raises NotDerivableError for directives that YYYY-MM-DD does not contain, such as weekdays.
        """
        form = form.replace("%F", "%Y-%m-%d")
        if form == "%Y-%m-%d":
            return [ActionPiece("{{currentDate}}")]
        items: list[Item] = []
        for bare, directive in re.findall(r"([^%]+)|%(-?.)", form):
            if bare:
                items.append(FixedPart(bare))
            elif directive == "%":
                items.append(FixedPart("%"))
            elif directive in _SLICES:
                start, stop = _SLICES[directive]
                items.append(ActionPiece(f"{{{{slice currentDate {start} {stop}}}}}"))
            elif directive in _MONTHS:
                items.append(ActionPiece(self._month(directive)))
            elif directive in ("-d", "-m", "e"):
                items.append(ActionPiece(self._unpadded(directive)))
            else:
                raise refuse_date(form, directive)
        return items

    def _month(self, directive: str) -> str:
        name = {"B": "month"}.get(directive, "short month")
        cases = "{{else if ".join(
            f'eq . "{number:02d}"}}}}{word}'
            for number, word in enumerate(_MONTHS[directive].split(), 1)
        )
        self._defines[name] = f'{{{{define "{name}"}}}}{{{{if {cases}{{{{end}}}}{{{{end}}}}'
        return f'{{{{template "{name}" (slice currentDate 5 7)}}}}'

    def _unpadded(self, directive: str) -> str:
        start, stop = _SLICES["m" if directive == "-m" else "d"]
        pad = " " if directive == "e" else ""
        name = "number after a blank" if pad else "number"
        self._defines[name] = (
            f'{{{{define "{name}"}}}}{{{{if eq (slice . 0 1) "0"}}}}{pad}{{{{slice . 1}}}}'
            "{{else}}{{.}}{{end}}{{end}}"
        )
        return f'{{{{template "{name}" (slice currentDate {start} {stop})}}}}'
