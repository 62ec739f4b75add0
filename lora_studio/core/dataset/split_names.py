"""Detect which split a file belongs to, from its name and the names of its folders."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

_SPLITS = {
    "train": "train", "training": "train", "test": "test", "testing": "test", "eval": "test",
    "evaluation": "test", "validation": "validation", "valid": "validation", "val": "validation",
    "dev": "validation",
}  # fmt: skip


def detect_split(path: str) -> str:
    """Return the split that a path names, "" if none; the file's name takes precedence over its
    folders.
    """
    for part in reversed(PurePosixPath(path).parts):
        for word in re.split(r"[^a-z]+", part.lower()):
            if word in _SPLITS:
                return _SPLITS[word]
    return ""
