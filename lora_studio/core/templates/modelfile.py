"""Writes a Modelfile for `ollama create -f`, with everything quoted that its reader would drop."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePath

from lora_studio.core.problems import fail
from lora_studio.core.templates.go.functions import quote
from lora_studio.core.templates.ollama_template import DerivedTemplate

Parameter = str | int | float | bool | Sequence[str]
_ACTION = re.compile(r'\{\{(?:/\*.*?\*/|"(?:\\.|[^"\\])*"|`[^`]*`|\}(?!\})|[^}"`])*\}\}', re.DOTALL)


def modelfile(
    from_path: PurePath | str,
    derived: DerivedTemplate,
    system: str | None = None,
    parameters: Mapping[str, Parameter] | None = None,
) -> str:
    """A Modelfile for `ollama create -f`; raises ProblemError for what it cannot hold.

    `parameters` are the server's (temperature, num_ctx, …); stop strings of `derived` are added.
    """
    if system and derived.system == "refused":
        raise fail(
            "export.system_refused",
            "This model's chat template takes no system message.",
            "Remove the system prompt from the export settings.",
        )
    lines = [f"FROM {from_path}", f'TEMPLATE """{_template_text(derived.template)}"""']
    if system:
        if not _survives(system):
            lines.append(
                "# `ollama create -f` drops characters of this text that cannot be printed."
            )
        lines.append(f"SYSTEM {_value(system, 'system prompt')}")
    stops = [*derived.stops]
    for name, value in (parameters or {}).items():
        if name == "stop":
            stops += [value] if isinstance(value, str) else map(str, _listed(value))
        else:
            text = str(value).lower() if isinstance(value, bool) else str(value)
            lines.append(f"PARAMETER {name} {text}")
    lines += [f"PARAMETER stop {_value(stop, 'stop string')}" for stop in dict.fromkeys(stops)]
    return "\n".join(lines) + "\n"


def _listed(value: Parameter) -> Sequence[object]:
    return value if isinstance(value, Sequence) else [value]


def _template_text(template: str) -> str:
    """The TEMPLATE with everything quoted that a Modelfile's reader would end at or drop."""
    pieces, at = [], 0
    for action in _ACTION.finditer(template):
        pieces += [_as_actions(template[at : action.start()]), action.group()]
        at = action.end()
    text = "".join(pieces) + _as_actions(template[at:])
    if '"""' in text or not _survives(text):
        raise fail(
            "export.template_unquotable",
            "The TEMPLATE holds, inside an action, characters that a Modelfile cannot carry.",
            'Write them as escapes in a Go string, as in {{"\\u00a0"}}.',
        )
    return text


def _as_actions(text: str) -> str:
    return re.sub(
        r'\{?("{3,}|[^ -~\n\t]+)',  # a brace would make three of the two that begin an action
        lambda found: (
            found[0]
            if _survives(found[1]) and found[1][0] != '"'
            else f"{{{{{quote(found[0].encode())}}}}}"
        ),
        text,
    )


def _survives(text: str) -> bool:
    """Whether a Modelfile's reader keeps every character: it drops what is not printable."""
    return all(character.isprintable() or character in "\n\t" for character in text)


def _value(text: str, what: str) -> str:
    # A quoted value ends at the first closing mark that white space follows.
    if not re.search(r'"""(\s|$)', text):
        return f'"""{text}"""'
    if not re.search(r'"(\s|$)', text) and not text.startswith('"'):
        return f'"{text}"'
    raise fail(
        "export.unquotable",
        f"A Modelfile cannot hold this {what}: {text[:60]!r}.",
        "Take out the double quotes, or create the model through the program instead.",
    )
