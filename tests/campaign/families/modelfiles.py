"""Texts in a Modelfile: what Ollama's reader finds is what was meant, whatever they contain."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path

from lora_studio.core.problems import ProblemError
from lora_studio.core.templates.modelfile import build_modelfile
from lora_studio.core.templates.ollama_template import DerivedTemplate
from tests.campaign.family import SimpleFamily, WrongResultError
from tests.campaign.mutation import draw_text, dump

_PIECES = (
    '"""', '"', '""', "\n", " ", "\t", "\r", "\u200b", "\u2028", "\u00a0", "\u0085", "\x1b", "\0", "{{", "}}", "{", "}", "ADAPTER x",
    "FROM y", "SYSTEM z", "PARAMETER stop a", "#", "é", "\\", "`", '{{ "a" }}', "{{/* \" */}}", "{{- `\"\"\"` }}", "TEMPLATE", "\ud800",
)  # fmt: skip


def _draw(rng: random.Random) -> str:
    return "".join(
        rng.choice((rng.choice(_PIECES), rng.choice(_PIECES), draw_text(rng, 6)))
        for _ in range(rng.randrange(9))
    )


def generate_texts(rng: random.Random) -> bytes:
    """Return a template, a system prompt, stop strings, and a path."""
    return dump({
        "from": rng.choice(("m.gguf", "m.gguf", "/a b/m.gguf", _draw(rng))),
        "template": _draw(rng),
        "system": _draw(rng),
        "stops": [_draw(rng) for _ in range(rng.randrange(3))],
    })  # fmt: skip


def read_modelfile(text: str) -> list[tuple[str, str]]:
    """Return the commands in a Modelfile as Ollama's reader finds them.

    It drops characters that Go doesn't print, and ends a quoted value at its closing quotation mark
    followed by white space (parser.go).
    """
    text = "".join(c for c in text if c.isprintable() or c in "\n\t\r")
    commands, at = [], 0
    while match := re.compile(r"[ \t\r\n]*(#[^\n]*(\n|\Z))?").match(text, at):
        if match.end() == at:
            break
        at = match.end()
    while at < len(text):
        word = re.compile(r"[ \t\r\n]*(?:#[^\n]*\n[ \t\r\n]*)*([A-Za-z]+)[ \t]+").match(text, at)
        if word is None:
            if text[at:].strip():
                raise WrongResultError("a Modelfile has text between its commands")
            break
        at, name = word.end(), word[1].lower()
        if name == "parameter":
            inner = re.compile(r"(\w+)[ \t]+").match(text, at)
            if inner is None:
                raise WrongResultError("a Modelfile has a parameter without a value")
            at, name = inner.end(), f"parameter {inner[1]}"
        for mark in ('"""', '"'):
            if text.startswith(mark, at):
                end = re.compile(rf"{mark}(?=\s|\Z)").search(text, at + len(mark))
                if end is None:
                    raise WrongResultError("a quoted value in a Modelfile doesn't end")
                commands.append((name, text[at + len(mark) : end.start()]))
                at = end.end()
                break
        else:
            end_of_line = text.find("\n", at)
            end_of_line = len(text) if end_of_line < 0 else end_of_line
            commands.append((name, text[at:end_of_line]))
            at = end_of_line
    return commands


def run_texts(content: bytes, sandbox: Path) -> str:
    """Write the Modelfile and read it back."""
    try:
        texts = json.loads(content)
        derived = DerivedTemplate(template=texts["template"], stops=tuple(texts["stops"]))
        source, system = str(texts["from"]), str(texts["system"])
    except (ValueError, KeyError, TypeError):
        return "noise"
    try:
        written = build_modelfile(source, derived, system)
    except ProblemError as error:
        str(error)
        return "refused"
    names = [name for name, _ in read_modelfile(written)]
    expected = ["from", "template", *(["system"] if system else [])]
    expected += ["parameter stop"] * len(dict.fromkeys(derived.stops))
    if names != expected:
        raise WrongResultError("a Modelfile has other commands than were written")
    return "written"


FAMILIES = [SimpleFamily("modelfiles", generate_texts, run_texts)]
