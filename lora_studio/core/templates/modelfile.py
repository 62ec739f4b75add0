"""Write a Modelfile for `ollama create -f`, quoting everything that its parser would drop."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePath

from lora_studio.core.messages import Text
from lora_studio.core.problems import ProblemError, fail
from lora_studio.core.templates.go.rendering import quote
from lora_studio.core.templates.ollama_template import DerivedTemplate

_SYSTEM_PROMPT, _STOP_STRING = Text(template="system prompt"), Text(template="stop string")
_PATH = Text(template="path")

_ACTION = re.compile(r'\{\{(?:/\*.*?\*/|"(?:\\.|[^"\\])*"|`[^`]*`|\}(?!\})|[^}"`])*\}\}', re.DOTALL)

#: Half of a character, as broken JSON contains it.
_SURROGATE = re.compile("[\ud800-\udfff]")


def build_modelfile(
    from_path: PurePath | str,
    derived: DerivedTemplate,
    system: str | None = None,
    parameters: Mapping[str, float] | None = None,
) -> str:
    """Return a Modelfile; raises ProblemError for text that a Modelfile cannot contain.

    `parameters` are the server's (temperature, num_ctx, …). The stop strings of `derived` are
    added.
    """
    if system and derived.system == "refused":
        raise fail(
            "export.system_refused",
            "This model's chat template doesn't support a system message.",
            "Remove the system prompt from the export settings.",
        )
    if not str(from_path).isprintable() or '"' in str(from_path):
        raise _unquotable_error(str(from_path), _PATH)
    lines = [f"FROM {from_path}", f'TEMPLATE """{_quote_template(derived.template)}"""']
    if system:
        if not _is_kept_by_parser(system):
            lines.append("# `ollama create -f` drops unprintable characters of this text.")
        lines.append(f"SYSTEM {_quote_value(system, _SYSTEM_PROMPT)}")
    lines += [f"PARAMETER {name} {value}" for name, value in (parameters or {}).items()]
    stops = dict.fromkeys(derived.stops)
    lines += [f"PARAMETER stop {_quote_value(stop, _STOP_STRING)}" for stop in stops]
    return "\n".join(lines) + "\n"


def _quote_template(template: str) -> str:
    """Return the TEMPLATE, quoting everything that would end the value or be dropped."""
    pieces, at = [], 0
    for action in _ACTION.finditer(template):
        pieces += [_to_actions(template[at : action.start()]), action.group()]
        at = action.end()
    text = "".join(pieces) + _to_actions(template[at:])
    if '"""' in text or not _is_kept_by_parser(text):
        raise fail(
            "export.template_unquotable",
            "An action of the TEMPLATE contains characters that a Modelfile can't contain.",
            "Write them as escapes in a Go string, such as {example}.",
            example=r'{{"\u00a0"}}',
        )
    return text


def _to_actions(text: str) -> str:
    return re.sub(
        r'\{?("{3,}|[^ -~\n\t]+)',  # another brace would turn {{ into {{{
        lambda match: (
            match[0]
            if _is_kept_by_parser(match[1]) and match[1][0] != '"'
            else f"{{{{{quote(match[0].encode('utf-8', 'surrogatepass'))}}}}}"
        ),
        text,
    )


def _is_kept_by_parser(text: str) -> bool:
    """Return whether the Modelfile parser keeps every character; it drops unprintable ones."""
    return all(character.isprintable() or character in "\n\t" for character in text)


def _quote_value(text: str, kind: Text) -> str:
    """Return the value in quotation marks; raises ProblemError if Ollama would end it too early.

    A quoted value ends at the first closing quotation mark followed by white space. Ollama's reader
    drops characters that it can't print before it looks for the end: what follows the value would
    be read as commands. Which ones it drops depends on its version, so all but ASCII are tried.
    """
    if _SURROGATE.search(text):  # has no UTF-8
        raise _unquotable_error(text, kind)
    readings = (text, *(re.sub(rf"[^ -~{kept}]", "", text) for kept in ("\n\t", "\n\t\r")))
    if not any(re.search(r'"""(\s|$)', reading) for reading in readings):
        return f'"""{text}"""'
    if not any(re.search(r'^"|"(\s|$)', reading) for reading in readings):
        return f'"{text}"'
    raise _unquotable_error(text, kind)


def _unquotable_error(text: str, kind: Text) -> ProblemError:
    return fail(
        "export.unquotable",
        "A Modelfile can't contain this {kind}: {value}.",
        "Remove the double quotes, or create the model with LoRA Studio instead.",
        kind=kind,
        value=repr(text[:60]),
    )
