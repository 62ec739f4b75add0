"""The documentation names only files that exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
#: Folders that the text has just named, so that a file may be given without them.
FOLDERS = ("", "lora_studio", "lora_studio/core/dataset", "lora_studio/core/protocol",
           "lora_studio/engine/dataset", "lora_studio/engine/training")  # fmt: skip


def test_files_named_in_contributing_exist() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    named = {name for name in re.findall(r"`([\w/]+\.\w+)`", text) if "/" in name}
    missing = {
        name for name in named if not any((ROOT / folder / name).exists() for folder in FOLDERS)
    }
    assert len(named) > 30
    assert missing == set()
