"""The reference pages out of the program itself: `python packaging/reference.py` writes both anew.

settings.md comes from the specs, errors.md from every place in the source that makes a problem.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lora_studio.core.problems import STEPS
from lora_studio.core.project.project import SPECS
from lora_studio.core.spec import FieldFacts, all_facts

CHECKOUT = Path(__file__).resolve().parent.parent
DOCS = CHECKOUT / "packaging" / "docs"

_CODE = re.compile(r"[a-z]+\.[a-z_0-9]+")
#: Calls with a string that looks like a code and is a name in some file format.
_NO_PROBLEMS = ("get", "text", "import_module", "startswith")
_MADE = "<!-- Made by packaging/reference.py: change the program instead. -->"


@dataclass(frozen=True)
class Entry:
    """One way in which something goes wrong; what differs from case to case is an ellipsis."""

    code: str
    what: str
    remedy: str


def settings_page() -> str:
    """Every setting, by step."""
    lines = [
        "# Settings",
        "",
        _MADE,
        "",
        "Each setting has its place on the page of its step, and is called `step.name` in the project "
        "file and after `--set` on the command line:",
        "",
        "```bash",
        "lora-studio run PROJECT --set training.epochs=2 --set lora.rank=32",
        "```",
    ]
    for step in STEPS:
        title = {"lora": "LoRA"}.get(step, step.capitalize())
        lines += ["", f"## {title}", "", "| setting | default | values | what it does |"]
        lines.append("|---|---|---|---|")
        lines += [_row(step, fact) for fact in all_facts(SPECS[step])]
    return "\n".join(lines) + "\n"


def _row(step: str, fact: FieldFacts) -> str:
    name = f"**{fact.title}**<br>`{step}.{fact.name}`"
    cells = (name, _default(fact), _values(fact), fact.description)
    return "| " + " | ".join(_cell(cell) for cell in cells) + " |"


def _default(fact: FieldFacts) -> str:
    value = fact.default
    if value is None or value in ("", ()):
        return "–"
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, tuple | list):
        return ", ".join(f"`{item}`" for item in value)
    return f"`{value}` {fact.unit}".strip()


def _values(fact: FieldFacts) -> str:
    if fact.kind == "flag":
        return "on, off"
    if fact.choices:
        return ", ".join(f"`{value}`" for value in fact.choices)
    low, high = _number(fact.minimum), _number(fact.maximum)
    over = "more than" if fact.exclusive_minimum else "from"
    if fact.minimum is not None and fact.maximum is not None:
        return f"{over} {low} to {high}"
    if fact.minimum is not None:
        return f"{over} {low}"
    if fact.maximum is not None:
        return f"to {high}"
    return {"list": "list", "path": "path", "text": "text"}.get(fact.kind, "any number")


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:g}"


def _cell(text: str) -> str:
    return re.sub(r"\s+", " ", text).replace("|", "\\|").strip()


def errors_page() -> str:
    """Every problem that the program can tell of, by the first part of its code."""
    lines = [
        "# Problems by code",
        "",
        _MADE,
        "",
        "Every problem that the window or the command line shows has a code. With `--json` the code "
        "stands beside the text. What differs from case to case is left out here (…).",
        "[Troubleshooting](troubleshooting.md) says more about those that people meet.",
    ]
    area = ""
    for entry in entries(CHECKOUT / "lora_studio"):
        if entry.code.split(".")[0] != area:
            area = entry.code.split(".")[0]
            lines += [
                "",
                f"## {area}",
                "",
                "| code | what happened | what to do |",
                "|---|---|---|",
            ]
        cells = (f"`{entry.code}`", entry.what, entry.remedy)
        lines.append("| " + " | ".join(_cell(cell) for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def entries(source: Path) -> list[Entry]:
    """The problems made anywhere under `source`, each code once, in the order of the alphabet."""
    found: dict[str, Entry] = {}
    for file in sorted(source.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Call):
                for entry in _entry(node):
                    known = found.get(entry.code)
                    if known is None or ("…" in (known.what, known.remedy) and _told(entry)):
                        found[entry.code] = entry
    return [found[code] for code in sorted(found)]


def _told(entry: Entry) -> bool:
    """Whether both sentences stand where the problem is made."""
    return "…" not in (entry.what, entry.remedy)


def _entry(call: ast.Call) -> Iterator[Entry]:
    if getattr(call.func, "attr", getattr(call.func, "id", "")) in _NO_PROBLEMS:
        return
    named = {keyword.arg: _text(keyword.value) for keyword in call.keywords}
    for name in {"what", "remedy"} & set(named):
        named[name] = named[name] or "…"  # made elsewhere, out of what is the case
    texts = [text for text in map(_text, call.args) if text]
    code = named.get("code") or (texts[0] if texts else "")
    if not _CODE.fullmatch(code):
        return
    sentences = [text for text in texts if " " in text]
    if getattr(call.func, "id", "") == "fail" and len(call.args) > 2:
        sentences = [_text(text) or "…" for text in call.args[1:3]]
    what = named.get("what") or (sentences.pop(0) if sentences else "")
    remedy = named.get("remedy") or (sentences.pop(0) if sentences else "")
    if what and remedy:
        yield Entry(code, re.sub("…+", "…", what), re.sub("…+", "…", remedy))


def _text(node: ast.expr) -> str:
    """The constant part of a text, the rest as an ellipsis; empty for what is no text."""
    match node:
        case ast.Constant(value=str() as value):
            return value
        case ast.JoinedStr(values=parts):
            return "".join(_text(part) if isinstance(part, ast.Constant) else "…" for part in parts)
        case ast.BinOp(op=ast.Add(), left=left, right=right):
            return (_text(left) or "…") + (_text(right) or "…")
        case ast.IfExp(body=body, orelse=otherwise):
            return _text(body) or _text(otherwise)
        case ast.Call(func=ast.Attribute(value=inner, attr="format")):
            return re.sub(r"\{[^{}]*\}", "…", _text(inner))
        case ast.Call(func=ast.Name(id="tr"), args=[inner, *_]):
            return _text(inner)
    return ""


PAGES: dict[str, Any] = {"settings.md": settings_page, "errors.md": errors_page}


if __name__ == "__main__":
    for page_name, page in PAGES.items():
        (DOCS / page_name).write_text(page(), encoding="utf-8")
