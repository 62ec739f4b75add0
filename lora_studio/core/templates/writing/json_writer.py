"""Write JSON in a TEMPLATE as a chat template does.

Go's JSON has no blanks, escapes <, > and &, and orders the fields of a tool as the server's structs
do. Models were trained on the layout of Python's json.dumps and on the order in which clients send
tools, so the output of `json` is walked character by character and rewritten.
"""

from __future__ import annotations

from lora_studio.core.templates.go.functions import quote
from lora_studio.core.templates.probing.decision_trees import Layout

# Structs have "required" before "properties", clients and training data after it. A
# parameter list with another first field is written unchanged.
_START = '{"type":"object","required":'
_FUNCTION = (
    "{{$p := json .Function.Parameters}}"
    f"{{{{if and (ge (len $p) {len(_START)}) (eq (slice $p 0 {len(_START)}) {quote(_START.encode())})}}}}"
    '{{$p = print "{\\"type\\":\\"object\\",\\"properties\\":" (json .Function.Parameters.Properties)}}'
    "{{if .Function.Parameters.Required}}"
    '{{$p = print $p ",\\"required\\":" (json .Function.Parameters.Required)}}{{end}}'
    '{{$p = print $p "}"}}{{end}}'
)
_DESCRIBED = (
    '{{$d := ""}}{{if .Function.Description}}'
    '{{$d = print ",\\"description\\":" (json .Function.Description)}}{{end}}'
    '{{$f := print "{\\"name\\":" (json .Function.Name) $d ",\\"parameters\\":" $p "}"}}'
)
_TOOL = '(print "{\\"type\\":" (json .Type) ",\\"function\\":" $f "}")'

# Characters that Go escapes and Python does not.
_ESCAPED = {"003c": "<", "003e": ">", "0026": "&", "2028": "\\u2028", "2029": "\\u2029"}


class JsonWriter:
    """Writes JSON, and adds the definitions that its code calls to `defines`."""

    def __init__(self, defines: dict[str, str]) -> None:
        """Store the definitions of the TEMPLATE, by name."""
        self._defines = defines

    def write(self, json: str, layout: Layout) -> str:
        """Return code that rewrites the JSON text of the expression `json` in a layout."""
        name = {"spaced": "json", "compact": "compact json"}.get(
            str(layout), f"json indented by {layout}"
        )
        self._defines.setdefault(name, _define_walker(name, layout))
        return f'{{{{template "{name}" ({json})}}}}'

    def plain(self, value: str, *, python_words: bool) -> str:
        """Return code that writes a value of any kind: text unchanged, everything else as JSON.

        With `python_words`, True, False and None are written as in Python.
        """
        name = "value, words as in Python" if python_words else "value"
        if name not in self._defines:
            rest = self.write("$j", "spaced")
            if python_words:
                words = {"true": "True", "false": "False", "null": "None"}
                tests = "{{else if ".join(f'eq $j "{j}"}}}}{p}' for j, p in words.items())
                rest = f"{{{{if {tests}{{{{else}}}}{rest}{{{{end}}}}"
            self._defines[name] = (
                f'{{{{define "{name}"}}}}{{{{$j := json .}}}}'
                f'{{{{if eq (slice $j 0 1) "\\""}}}}{{{{.}}}}{{{{else}}}}{rest}{{{{end}}}}{{{{end}}}}'
            )
        return f'{{{{template "{name}" {value}}}}}'

    def tool(self, what: str, layout: Layout) -> str:
        """Return code that writes a tool, a part of it, or the list of all tools."""
        match what:
            case "properties":
                return self.write("json .Function.Parameters.Properties", layout)
            case "parameters":
                return self._defined("parameters", _FUNCTION + self.write("$p", layout), layout)
            case "function":
                code = _FUNCTION + _DESCRIBED + self.write("$f", layout)
                return self._defined("function", code, layout)
            case "tool":
                code = _FUNCTION + _DESCRIBED + self.write(_TOOL[1:-1], layout)
                return self._defined("tool", code, layout)
        item = "$f" if what == "functions" else _TOOL
        code = (
            '{{$all := ""}}{{range .}}' + _FUNCTION + _DESCRIBED +
            f'{{{{if $all}}}}{{{{$all = print $all ","}}}}{{{{end}}}}{{{{$all = print $all {item}}}}}'
            "{{end}}" + self.write('print "[" $all "]"', layout)
        )  # fmt: skip
        return self._defined(what, code, layout, "$.Tools")

    def _defined(self, what: str, code: str, layout: Layout, dot: str = ".") -> str:
        name = what if layout == "spaced" else f"{what}, {layout}"
        self._defines.setdefault(name, f'{{{{define "{name}"}}}}{code}{{{{end}}}}')
        return f'{{{{template "{name}" {dot}}}}}'


def _define_walker(name: str, layout: Layout) -> str:
    """Return a definition that writes its JSON text in a layout.

    $q: inside a string; $skip: its length is the number of characters to omit.
    """
    escapes = "".join(
        f'{{{{else if eq $six "\\\\u{code}"}}}}{text if len(text) == 1 else f"{{{{{chr(34)}{text}{chr(34)}}}}}"}'
        '{{$skip = "12345"}}'
        for code, text in _ESCAPED.items()
    )
    return (
        f'{{{{define "{name}"}}}}{{{{$q := false}}}}{{{{$skip := ""}}}}{_start(layout)}'
        "{{range $k := len .}}{{$r := slice $ $k}}{{$c := slice $r 0 1}}"
        "{{if $skip}}{{$skip = slice $skip 1}}"
        '{{else if and $q (eq $c "\\\\")}}'
        '{{$six := ""}}{{if ge (len $r) 6}}{{$six = slice $r 0 6}}{{end}}'
        f'{{{{if not $six}}}}{{{{slice $r 0 2}}}}{{{{$skip = "1"}}}}{escapes}'
        '{{else}}{{slice $r 0 2}}{{$skip = "1"}}{{end}}'
        '{{else if eq $c "\\""}}{{$c}}{{$q = not $q}}'
        f"{{{{else if $q}}}}{{{{$c}}}}{_write_between(layout)}{{{{else}}}}{{{{$c}}}}{{{{end}}}}"
        "{{end}}{{end}}"
    )


def _start(layout: Layout) -> str:
    return '{{$pad := "\\n"}}' if isinstance(layout, int) else ""


def _write_between(layout: Layout) -> str:
    """Return what to write for characters outside strings, as further branches."""
    if layout == "compact":
        return ""
    if layout == "spaced":
        return '{{else if or (eq $c ",") (eq $c ":")}}{{$c}} '
    step = " " * int(layout)
    empty = 'or (eq (slice $r 0 2) "{}") (eq (slice $r 0 2) "[]")'
    return (
        '{{else if eq $c ":"}}{{$c}} '
        '{{else if eq $c ","}}{{$c}}{{$pad}}'
        '{{else if or (eq $c "{") (eq $c "[")}}'
        f'{{{{if {empty}}}}}{{{{slice $r 0 2}}}}{{{{$skip = "1"}}}}'
        f'{{{{else}}}}{{{{$pad = print $pad "{step}"}}}}{{{{$c}}}}{{{{$pad}}}}{{{{end}}}}'
        '{{else if or (eq $c "}") (eq $c "]")}}'
        f"{{{{$pad = slice $pad 0 (len (slice $pad {int(layout)}))}}}}{{{{$pad}}}}{{{{$c}}}}"
    )
