"""Write Go definitions that strip white space or reasoning from a text.

Go templates have no function that trims. A definition that calls itself drops one character at a
time.
"""

from __future__ import annotations

from lora_studio.core.templates.go.functions import quote
from lora_studio.core.templates.probing.decision_trees import TrimPart
from lora_studio.core.templates.probing.prober import THINK_END

# White space of Python's str.strip, by the length of its UTF-8 form; Go templates see bytes.
_BLANKS = [chr(code) for code in range(0x3001) if chr(code).isspace()]
_BLANKS_BY_SIZE = {n: [c for c in _BLANKS if len(c.encode()) == n] for n in (1, 2, 3)}


class TrimWriter:
    """Writes trims, and adds the definitions that its code calls to `defines`."""

    def __init__(self, defines: dict[str, str]) -> None:
        """Store the definitions of the TEMPLATE, by name."""
        self._defines = defines

    def write(self, value: str, left: TrimPart, right: TrimPart) -> str:
        """Return code that prints `value` without white space at its ends."""
        if left is right is TrimPart.NONE:
            return f"{{{{{value}}}}}"
        sides = {"before": left, "after": right}
        names = [f"{trim} {side}" for side, trim in sides.items() if trim is not TrimPart.NONE]
        name = f"less {' and '.join(names)}"
        if name not in self._defines:
            if left is TrimPart.NONE:
                self._defines[name] = _define_trimmer(name, right, "{{.}}", at_end=True)
            else:
                then = self.write(".", TrimPart.NONE, right)
                self._defines[name] = _define_trimmer(name, left, then, at_end=False)
        return f'{{{{template "{name}" {value}}}}}'

    def write_after_thoughts(
        self, value: str, rest: tuple[TrimPart, TrimPart], whole: tuple[TrimPart, TrimPart]
    ) -> str:
        """Return code that prints what follows the last </think>, or all of `value` without one.

        `rest` are the trims of the rest, `whole` those of a text without </think>.
        """
        name = f"answer without thoughts, less {', '.join([*rest, *whole])}"
        if name not in self._defines:
            size = len(THINK_END)
            show = self.write("$rest", *rest)
            if flag := rest != whole:
                show = f"{{{{if $cut}}}}{show}{{{{else}}}}{self.write('.', *whole)}{{{{end}}}}"
            self._defines[name] = (
                f'{{{{define "{name}"}}}}{{{{$rest := .}}}}{"{{$cut := false}}" * flag}'
                "{{range $k := len .}}{{$s := slice $ $k}}"
                f'{{{{if and (ge (len $s) {size}) (eq (slice $s 0 {size}) "{THINK_END}")}}}}'
                f"{{{{$rest = slice $s {size}}}}}{'{{$cut = true}}' * flag}{{{{end}}}}{{{{end}}}}"
                f"{show}{{{{end}}}}"
            )
        return f'{{{{template "{name}" {value}}}}}'


def _define_trimmer(name: str, trim: TrimPart, then: str, *, at_end: bool) -> str:
    """Return a definition that drops characters at one end, then runs `then`."""
    tests = ""
    for size, blanks in _BLANKS_BY_SIZE.items():
        characters = trim.characters
        removed = [blank for blank in blanks if characters is None or blank in characters]
        if removed:
            # `and` stops at the first false operand, so no slice is ever out of range.
            is_long_enough = "." if size == 1 else f"(ge (len .) {size})"
            piece = f"slice . (len (slice . {size}))" if at_end else f"slice . 0 {size}"
            arguments = " ".join(quote(blank.encode()) for blank in removed)
            tests += f"{{{{if and {is_long_enough} (eq ({piece}) {arguments})}}}}{{{{$n = {size}}}}}{{{{end}}}}"
    rest = "slice . 0 (len (slice . $n))" if at_end else "slice . $n"
    return (
        f'{{{{define "{name}"}}}}{{{{$n := 0}}}}{tests}'
        f'{{{{if $n}}}}{{{{template "{name}" ({rest})}}}}{{{{else}}}}{then}{{{{end}}}}{{{{end}}}}'
    )
