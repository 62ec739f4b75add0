"""Check the wording of code and documentation: `python packaging/wording.py`.

Searches strings, docstrings, and comments in `lora_studio/`, the user documentation, and the texts of the window for
stilted phrases and British spelling. Prints each match and exits with 1 if there is any.
"""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "packaging/README.md")

#: A phrase that reads stilted or a British spelling -> what to write instead.
PHRASES = {
    r"(is|are|was|were) told": "say who reports what",
    r"go(es)? on( with)?": "continues",
    r"comes? along": "is included",
    r"otherwise than": "differently from",
    r"nobody(?! answered)|whoever": "no one, or name the person",
    r"lies? in": "is in",
    r"what was said": "the output",
    r"who helps": "support",
    r"be of (no )?use": "be useful",
    r"anew": "again",
    r"heed(s|ed|ing)?": "respond to",
    r"mend(s|ed|ing)?": "fix",
    r"beforehand": "in advance",
    r"under way": "in progress",
    r"free some space": "free up some space",
    r"in the (model|lora|dataset|training|merging|export) step": "on the … page",
    r"(?-i:the hub)": "the Hub",
    r"parts from": "differs from",
    r"quantis\w*|optimis\w*|initialis\w*|normalis\w*|recognis\w*|organis\w*|tokenis\w*": "-ize",
    r"colours?|coloured|labelled|labelling|catalogue|cancelled by the": "American spelling",
}
_PATTERN = re.compile("|".join(rf"(?P<p{n}>\b(?:{p})\b)" for n, p in enumerate(PHRASES)), re.I)
#: Code in a text, which isn't checked.
_CODE = re.compile(r"`[^`]*`")
_ADVICE = list(PHRASES.values())


def texts_of_code(file: Path) -> Iterator[tuple[int, str]]:
    """Yield (line, text) of every string with more than one word, and of every comment."""
    source = file.read_text("utf-8")
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
            yield node.lineno, node.value
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string


def texts() -> Iterator[tuple[str, int, str]]:
    """Yield (file, line, text) of everything that is checked."""
    for file in sorted((ROOT / "lora_studio").rglob("*.py")):
        name = file.relative_to(ROOT).as_posix()
        yield from ((name, line, text) for line, text in texts_of_code(file))
    documents = [ROOT / name for name in DOCUMENTS]
    documents += sorted((ROOT / "packaging" / "docs").glob("*.md"))
    documents += sorted((ROOT / "resources" / "docs").glob("*.md"))
    for document in documents:
        name = document.relative_to(ROOT).as_posix()
        for number, line in enumerate(document.read_text("utf-8").splitlines(), 1):
            yield name, number, line
    window = ROOT / "resources" / "translations" / "de.ts"
    for message in ET.parse(window).getroot().iter("message"):
        yield window.name, 0, message.findtext("source") or ""


def main() -> int:
    """Print every match and return 1 if there is any, else 0."""
    count = 0
    for name, line, text in texts():
        text = _CODE.sub("", text)
        for match in _PATTERN.finditer(text):
            advice = _ADVICE[int((match.lastgroup or "p0")[1:])]
            around = " ".join(text[max(0, match.start() - 30) : match.end() + 30].split())
            print(f"{name}:{line}: “{match[0]}”: {advice} (… {around} …)")
            count += 1
    return min(count, 1)


if __name__ == "__main__":
    sys.exit(main())
