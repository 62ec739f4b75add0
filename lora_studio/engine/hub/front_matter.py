"""The front matter of a model's or dataset's card: YAML from anybody."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from lora_studio.core import limits
from lora_studio.core.system.foreign_files import read_text


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
        parts = read_text(card, errors="replace").split("---", 2)
        if len(parts) < 3 or parts[0].strip() or len(parts[1]) > limits.FRONT_MATTER:
            return {}
        fields = yaml.load(parts[1], _PlainLoader)
    except (OSError, ValueError, RecursionError, yaml.YAMLError):
        return {}
    return fields if isinstance(fields, dict) else {}
