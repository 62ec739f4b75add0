"""The front matter of a model's or dataset's card: YAML from anybody."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from lora_studio.core import limits
from lora_studio.core.system.foreign_files import read_text

#: The lines between two lines of dashes.
_FRONT_MATTER = re.compile(r"\s*---[ \t\r]*\n(.*?)\n---", re.DOTALL)


class _PlainLoader(yaml.BaseLoader):
    """YAML whose scalars are texts, without aliases: a few bytes of them stand for gigabytes.

    So an impossible date or number, or a tag of another program, doesn't spoil the other fields.
    """

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.composer.ComposerError(None, None, "aliases aren't supported")
        return super().compose_node(parent, index)


def read_front_matter(card: Path) -> dict[str, Any]:
    """Return the fields at the top of a card as texts, lists and dicts; {} if they can't be read."""
    try:
        front_matter = _FRONT_MATTER.match(read_text(card, errors="replace"))
        if front_matter is None or len(front_matter[1]) > limits.FRONT_MATTER:
            return {}
        fields = yaml.load(front_matter[1], _PlainLoader)
    except (OSError, ValueError, RecursionError, yaml.YAMLError):
        return {}
    return fields if isinstance(fields, dict) else {}
