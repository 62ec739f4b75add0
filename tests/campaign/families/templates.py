"""Chat templates in Jinja and TEMPLATEs in Go: rendered within limits, or refused."""

from __future__ import annotations

import random
import string
from datetime import date
from pathlib import Path
from typing import Any

import jinja2

from lora_studio.core import limits
from lora_studio.core.templates.chat_template import ChatTemplate
from lora_studio.core.templates.go.rendering import GoTemplateError
from lora_studio.core.templates.server.rendering import render_as_server
from lora_studio.core.templates.server.terms import RenderRequest
from tests.campaign.family import SimpleFamily, WrongResultError
from tests.campaign.mutation import draw_text

_TOOL = {
    "type": "function",
    "function": {"name": "f", "description": "d", "parameters": {"type": "object", "properties": {"a": {"type": "string"}}}},
}  # fmt: skip
_TALK: list[dict[str, Any]] = [
    {"role": "system", "content": "S"}, {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "A"},
    {"role": "user", "content": "é {{ x }}"},
]  # fmt: skip

_EXPRESSIONS = (
    "messages", "messages[0]", "message.content", "message['role']", "bos_token", "s", "n", "i", "loop.index", "loop", "tools",
    "'a'", "''", "1", "0", "-1", "2.5", "99", "1000000000", "true", "none", "[]", "{}", "[1, 2]", "{'a': 1}", "range(9)",
    "range(1000000000)", "namespace(v='a')", "cycler('a')", "joiner()", "lipsum(5)", "dict(a=1)", "self", "undefined_name",
    "strftime_now('%Y' * 99)", "raise_exception('x')", "s.v", "''.__class__", "messages.__class__", "f(1)", "caller()",
)  # fmt: skip
_FILTERS = (
    "trim", "upper", "length", "join", "join(',')", "list", "tojson", "tojson(indent=4)", "first", "last", "string", "int", "float",
    "replace('a', 'aa')", "replace('', 'b' * 999)", "center(99999999)", "indent(9999)", "batch(3)", "slice(3)", "sort", "unique",
    "map('upper')", "map(attribute='role')", "select('string')", "selectattr('role', 'equalto', 'user')", "groupby('role')",
    "format(1)", "default('x')", "dictsort", "items", "reverse", "sum", "min", "max", "wordwrap(1)", "truncate(3)", "urlize",
    "xmlattr", "pprint", "random", "round", "abs", "wordcount", "title", "filesizeformat", "striptags", "e", "safe", "attr('__class__')",
)  # fmt: skip
_METHODS = (
    "split()", "split('a')", "strip()", "format(1)", "join(['a', 'b'])", "replace('a', 'b' * 99)", "items()", "keys()", "get('a')",
    "append(1)", "update({})", "pop()", "startswith('a')", "encode()", "zfill(99999999)", "ljust(9999999999)", "expandtabs(999999)",
    "splitlines()", "upper()", "format_map({})", "translate({97: 'b' * 9999})", "maketrans('a', 'b')", "count('a')", "mro()",
)  # fmt: skip
_OPERATORS = (
    "+",
    "-",
    "*",
    "/",
    "//",
    "%",
    "**",
    "~",
    "==",
    "<",
    "in",
    "not in",
    "and",
    "or",
    "is",
    ".",
    "[",
)


def _draw_expression(rng: random.Random, depth: int = 0) -> str:
    text = rng.choice(_EXPRESSIONS)
    for _ in range(rng.choice((0, 1, 1, 2, 3) if depth < 4 else (0,))):
        match rng.randrange(5):
            case 0:
                text = f"{text}|{rng.choice(_FILTERS)}"
            case 1:
                text = f"({text}).{rng.choice(_METHODS)}"
            case 2:
                text = f"{text} {rng.choice(_OPERATORS[:-3])} {_draw_expression(rng, depth + 1)}"
            case 3:
                text = f"({text})[{_draw_expression(rng, depth + 1)}:{rng.choice(('', '1', '-1'))}]"
            case _:
                text = f"[{text}, {_draw_expression(rng, depth + 1)}]"
    return text


def _draw_jinja(rng: random.Random, depth: int = 0) -> str:
    parts = []
    for _ in range(rng.randrange(1, 4)):
        expression = _draw_expression(rng)
        body = _draw_jinja(rng, depth + 1) if depth < 3 else "x"
        parts.append(
            rng.choice((
                draw_text(rng),
                f"{{{{ {expression} }}}}",
                f"{{%- for message in messages %}}{body}{{% endfor %}}",
                f"{{% for i in {expression} %}}{body}{{% else %}}e{{% endfor %}}",
                f"{{% if {expression} %}}{body}{{% elif {_draw_expression(rng)} %}}y{{% endif -%}}",
                f"{{% set s = {expression} %}}",
                f"{{% set s %}}{body}{{% endset %}}{{{{ s ~ s }}}}",
                f"{{% set s = namespace(v='ab') %}}{{% for i in range(40) %}}{{% set s.v = s.v {rng.choice('+~')} s.v %}}{{% endfor %}}",
                f"{{% macro f(n) %}}{body}{{{{ f(n) }}}}{{% endmacro %}}{{{{ f({expression}) }}}}",
                f"{{% call f() %}}{body}{{% endcall %}}",
                f"{{% filter {rng.choice(_FILTERS)} %}}{body}{{% endfilter %}}",
                f"{{% generation %}}{body}{{% endgeneration %}}",
                f"{{% with s = {expression} %}}{body}{{% endwith %}}",
                "{% include 'x' %}", "{% import 'x' as y %}", "{% extends 'x' %}", "{% raw %}{{{% endraw %}", "{# c #}",
                "{% break %}", "{% continue %}", f"{{% block b %}}{body}{{% endblock %}}", "{% do x %}", "{{ super() }}",
            ))
        )  # fmt: skip
    return "".join(parts)


def _break(rng: random.Random, text: str, pieces: tuple[str, ...]) -> str:
    """Return a template with a few characters removed or added."""
    for _ in range(rng.randrange(3)):
        at = rng.randrange(len(text) + 1)
        text = (
            text[:at]
            + rng.choice((*pieces, rng.choice(string.printable), ""))
            + text[at + rng.randrange(4) :]
        )
    return text


def generate_jinja(rng: random.Random) -> bytes:
    """Return a chat template."""
    text = _draw_jinja(rng)
    if rng.random() < 0.3:
        text = _break(rng, text, ("{{", "}}", "{%", "%}", "'", "(", ")", "|", "."))
    return text.encode("utf-8", "surrogatepass")


def run_jinja(content: bytes, sandbox: Path) -> str:
    """Compile and render the template; its own errors are Jinja's or those of an expression."""
    limits.TEMPLATE_SECONDS = 0.5  # so that a loop costs the campaign little
    try:
        template = ChatTemplate(content.decode("utf-8", "replace"), {"bos_token": "<s>"})
    except jinja2.TemplateError:
        return "refused"
    outcome = "rendered"
    for tools in (None, [_TOOL]):
        try:
            text = template.render(_TALK, tools=tools)
        except MemoryError:
            raise
        except Exception:  # a template may raise anything, and callers expect it
            outcome = "failed"
            continue
        if not isinstance(text, str):
            raise WrongResultError("a rendering isn't a text")
        if len(text) > limits.TEMPLATE_TOTAL:
            raise WrongResultError("a rendering is longer than allowed")
    return outcome


_GO_VALUES = (
    ".", ".Messages", ".System", ".Prompt", ".Response", ".Tools", "$", "$m", "$.Messages", "$i", ".Role", ".Content", ".ToolCalls",
    '"a"', "`b`", "1", "-1", "1.5", "'x'", "true", "nil", ".Nope", ".Role.X", "(len .Messages)", '(index .Messages 0)', ".Function.Arguments",
    "0x_f", "1e400", '"\\u00zz"', "9999999999999999999999", "1i", ".Think",
)  # fmt: skip
_GO_CALLS = (
    "eq", "ne", "lt", "and", "or", "not", "len", "index", "slice", "print", "printf", 'printf "%s %d %v %q %x"', 'printf "%999999999d"',
    "println", "json", "currentDate", "yesterdayDate", "toTypeScriptType", "html", "js", "call", "urlquote", "nope",
    'printf "%*d"', 'printf "%[3]d"', 'printf "%.999999999f"', 'printf "%-+# 0500d"',
)  # fmt: skip


def _draw_pipe(rng: random.Random, depth: int = 0) -> str:
    def operand() -> str:
        return (
            f"({_draw_pipe(rng, depth + 1)})"
            if depth < 3 and rng.random() < 0.2
            else rng.choice(_GO_VALUES)
        )

    command = operand()
    if rng.random() < 0.6:
        command = " ".join([rng.choice(_GO_CALLS), *(operand() for _ in range(rng.randrange(4)))])
    if rng.random() < 0.2:
        command += f" | {rng.choice(_GO_CALLS)}"
    return command


def _draw_go(rng: random.Random, depth: int = 0) -> str:
    parts = []
    for _ in range(rng.randrange(1, 4)):
        pipe = _draw_pipe(rng)
        body = _draw_go(rng, depth + 1) if depth < 3 else "x"
        left, right = rng.choice((("{{", "}}"), ("{{- ", " -}}"), ("{{", " -}}")))
        parts.append(
            rng.choice((
                draw_text(rng),
                f"{left}{pipe}{right}",
                f"{left}range .Messages{right}{body}{left}end{right}",
                f"{left}range $i, $m := {pipe}{right}{body}{left}else{right}e{left}end{right}",
                f"{left}if {pipe}{right}{body}{left}else if {_draw_pipe(rng)}{right}y{left}end{right}",
                f"{left}with {pipe}{right}{body}{left}end{right}",
                f"{left}$m := {pipe}{right}", f"{left}$m = {pipe}{right}",
                f'{left}define "t"{right}{body}{left}end{right}', f'{left}template "t" {pipe}{right}',
                f'{left}define "t"{right}a{left}template "t" .{right}{left}end{right}{left}template "t" .{right}',
                f'{left}define "t"{right}{left}template "t" .{right}{left}template "t" .{right}{left}end{right}{left}template "t" .{right}',
f'{left}block "b" {pipe}{right}{body}{left}end{right}',
                f"{left}break{right}", f"{left}continue{right}", f"{left}/* c */{right}", "{{", "}}",
            ))
        )  # fmt: skip
    return "".join(parts)


#: TEMPLATEs that are short and do much.
_GO_BOMBS = (
    '{{$m := "a"}}' + "{{range .Messages}}" * 4 + '{{$m = printf "%s%s" $m $m}}' + "{{end}}" * 4 + "{{$m}}",
    "".join(f'{{{{define "a{n}"}}}}{{{{template "a{n + 1}" .}}}}{{{{template "a{n + 1}" .}}}}{{{{end}}}}' for n in range(30))
    + '{{define "a30"}}x{{end}}{{template "a0" .}}',
    "{{range 999999999}}x{{end}}",
    "{{range .Messages}}" * 14 + "x" + "{{end}}" * 14,
    "{{" + "(" * 3000 + "1" + ")" * 3000 + "}}",
)  # fmt: skip


def generate_go(rng: random.Random) -> bytes:
    """Return a TEMPLATE."""
    text = _draw_go(rng)
    if rng.random() < 0.01:
        text += rng.choice(_GO_BOMBS)
    if rng.random() < 0.3:
        text = _break(rng, text, ("{{", "}}", '"', "`", "(", ")", "|", ".", "$", "-", ":="))
    return text.encode("utf-8", "surrogatepass")


def run_go(content: bytes, sandbox: Path) -> str:
    """Render the TEMPLATE as a server does."""
    limits.GO_SECONDS = 0.5
    request = RenderRequest(messages=tuple(_TALK), tools=(_TOOL,))
    try:
        render_as_server(content.decode("utf-8", "replace"), request, today=date(2026, 1, 2))
    except GoTemplateError as error:
        str(error)
        return "refused"
    return "rendered"


FAMILIES = [
    SimpleFamily("chat-templates", generate_jinja, run_jinja, seconds=4.0, weight=1.5, smoke=40),
    SimpleFamily("go-templates", generate_go, run_go, seconds=4.0, weight=1.5, smoke=40),
]
