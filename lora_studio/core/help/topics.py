"""The help text about the settings: one Markdown document with a section for each topic."""

from __future__ import annotations

import functools
import re
from pathlib import Path

from lora_studio.core.system import paths

_HEADING = re.compile(r"^## (.+)$", re.MULTILINE)
_NO_WORD = re.compile(r"[^\w]+")


def get_path() -> Path:
    """Return the path of the document."""
    return paths.get_resources_folder() / "docs" / "math.md"


@functools.cache
def read_text() -> str:
    """Return the whole document."""
    return get_path().read_text("utf-8")


def slugify(heading: str) -> str:
    """Return the name of a topic: its heading in lowercase, with hyphens: `lora-update`."""
    return _NO_WORD.sub("-", heading.lower()).strip("-")


@functools.cache
def list_topics() -> dict[str, str]:
    """Return headings by topic, in the order of the document."""
    return {slugify(heading): heading for heading in _HEADING.findall(read_text())}
