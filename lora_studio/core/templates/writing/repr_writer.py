"""Python's repr of a value, written by a TEMPLATE from the JSON text of it.

Some chat templates print a dictionary or a list as Python shows it. Go has JSON only, so that text is
walked character by character; a string has to be looked through before its first mark is written,
since Python takes double marks for one that holds single marks and no double ones.
"""

from __future__ import annotations

from lora_studio.core.templates.go.functions import quote

#: What is left of JSON's escapes: those of Go that Python does not need, and those it writes in
#: another way.
_ESCAPES = (
    (r"\"", '"'), (r"\u003c", "<"), (r"\u003e", ">"), (r"\u0026", "&"),
    (r"\b", r"\x08"), (r"\f", r"\x0c"),
)  # fmt: skip
_WORDS = {"t": ("True", "true"), "f": ("False", "false"), "n": ("None", "null")}


def walker(name: str) -> str:
    """A definition that writes the JSON text it is given as Python's repr.

    $q: the mark that ends the string; $skip: as many characters are left out as it is long.
    """
    escapes = "".join(
        f"{{{{else if eq (slice $six 0 {len(json)}) {_quoted(json)}}}}}"
        f"{{{{{_quoted(python)}}}}}{_skip(len(json) - 1)}"
        for json, python in _ESCAPES
    )
    words = "".join(
        f'{{{{else if eq $c "{first}"}}}}{python}{_skip(len(json) - 1)}'
        for first, (python, json) in _WORDS.items()
    )
    return (
        f'{{{{define "{name}"}}}}{{{{$q := ""}}}}{{{{$skip := ""}}}}'
        "{{range $k := len .}}{{$r := slice $ $k}}{{$c := slice $r 0 1}}"
        "{{if $skip}}{{$skip = slice $skip 1}}"
        '{{else if and $q (eq $c "\\"")}}{{$q}}{{$q = ""}}'
        '{{else if and $q (eq $c "\\\\")}}{{$six := print (slice $r 0 2) "    "}}'
        "{{if ge (len $r) 6}}{{$six = slice $r 0 6}}{{end}}"
        f"{{{{if not $q}}}}{escapes}"
        f'{{{{else if eq (slice $six 0 4) "\\\\u00"}}}}{{{{"\\\\x"}}}}{{{{slice $six 4}}}}{_skip(5)}'
        f"{{{{else}}}}{{{{slice $r 0 2}}}}{_skip(1)}{{{{end}}}}"
        "{{else if $q}}{{if eq $c $q}}\\{{end}}{{$c}}"
        f'{{{{else if eq $c "\\""}}}}{_opening()}'
        '{{else if or (eq $c ",") (eq $c ":")}}{{$c}} '
        f"{words}{{{{else}}}}{{{{$c}}}}{{{{end}}}}{{{{end}}}}{{{{end}}}}"
    )


def _opening() -> str:
    """Looks through the string that begins here for marks inside it, and writes the one it takes."""
    return (
        "{{$single := false}}{{$double := false}}{{$escaped := false}}{{$rest := slice $r 1}}"
        "{{range $m := len $rest}}{{$d := slice (slice $rest $m) 0 1}}"
        '{{if $escaped}}{{$escaped = false}}{{if eq $d "\\""}}{{$double = true}}{{end}}'
        '{{else if eq $d "\\\\"}}{{$escaped = true}}{{else if eq $d "\\""}}{{break}}'
        '{{else if eq $d "\'"}}{{$single = true}}{{end}}{{end}}'
        '{{$q = "\'"}}{{if and $single (not $double)}}{{$q = "\\""}}{{end}}{{$q}}'
    )


def _skip(count: int) -> str:
    return f'{{{{$skip = "{"12345"[:count]}"}}}}'


def _quoted(text: str) -> str:
    return quote(text.encode())
