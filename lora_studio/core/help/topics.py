"""What explains the settings: one document in Markdown, a section for each topic."""

from __future__ import annotations

import functools
import re
from pathlib import Path

from lora_studio.core.system import paths

_HEADING = re.compile(r"^## (.+)$", re.MULTILINE)
_NO_WORD = re.compile(r"[^\w]+")


def file() -> Path:
    """Return the path of the document."""
    return paths.resources() / "docs" / "math.md"


@functools.cache
def text() -> str:
    """Return the whole document."""
    return file().read_text("utf-8")


def slug(heading: str) -> str:
    """Return the name of a topic: its heading in lowercase, with hyphens: `lora-update`."""
    return _NO_WORD.sub("-", heading.lower()).strip("-")


@functools.cache
def topics() -> dict[str, str]:
    """Return headings by topic, in the order of the document."""
    return {slug(heading): heading for heading in _HEADING.findall(text())}


@functools.cache
def section(topic: str) -> str:
    """Return the text of a topic without its heading; raises KeyError for an unknown topic."""
    heading = topics()[topic]
    _, _, rest = text().partition(f"\n## {heading}\n")
    return rest.partition("\n## ")[0].strip()
