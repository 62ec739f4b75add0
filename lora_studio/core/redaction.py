"""Takes what is private out of a text: who and where somebody is, keys, and the user's own words."""

from __future__ import annotations

import getpass
import os
import re
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

#: Entries of events whose words are the program's own; every other text may be the user's.
_OWN_WORDS = {
    "kind", "id", "command", "stage", "doing", "code", "severity", "target", "quantization", "dtype",
    "device", "tool", "version", "precision", "architecture", "unit", "step", "field", "backend",
    "optimizer", "schedule", "packages", "reason_kind", "state", "python", "platform", "created",
}  # fmt: skip

#: Sentences of the program, which may quote something of the user's.
_SENTENCES = {"what", "remedy", "why"}

_SECRETS = (
    re.compile(r"\bhf_[A-Za-z0-9]{8,}"),
    re.compile(r"\b(?:sk|pk|rk)-[A-Za-z0-9_-]{16,}"),
    re.compile(r"\bgh[pousr]_[A-Za-z0-9]{16,}"),
    re.compile(r"\bglpat-[A-Za-z0-9_-]{16,}"),
    re.compile(r"\bAKIA[A-Z0-9]{12,}"),
    re.compile(r"\b[0-9a-f]{40}\b"),
    re.compile(r"\beyJ[A-Za-z0-9_-]{6,}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+"),
    re.compile(r"(?<=://)[^/\s@]+@"),
    re.compile(r"(?i)(?<=bearer )\S+"),
    re.compile(r"(?i)\b[\w-]*(?:token|secret|passw(?:or)?d|api[_-]?key)[\w-]*[\"']?\s*[=:]\s*[\"']?[^\s\"',}]{4,}"),
)  # fmt: skip
_SECRET_NAME = re.compile(r"(?i)token|secret|passw|api_?key|credential")
_QUOTED = re.compile(r"“[^”]*”|‘[^’]*’")


class Redactor:
    """Takes out of a text who and where somebody is, and whatever looks like a key."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        """`environment` may hold secrets by their names; this process's unless one is given."""
        variables = os.environ if environment is None else environment
        named = [value for name, value in variables.items() if _SECRET_NAME.search(name)]
        self._secrets = sorted((value for value in named if len(value) >= 6), key=len, reverse=True)
        names = {_user(): "USER", socket.gethostname(): "HOST"}
        self._names = [
            (re.compile(rf"(?<![A-Za-z0-9]){re.escape(name)}(?![A-Za-z0-9])"), instead)
            for name, instead in names.items()
            if len(name) > 2
        ]

    def __call__(self, text: str) -> str:
        """The same text with the home folder as ~, names as words and secrets gone."""
        for secret in self._secrets:
            text = text.replace(secret, "[removed]")
        for pattern in _SECRETS:
            text = pattern.sub("[removed]", text)
        home = str(Path.home())
        for spelled in {home, home.replace("\\", "/"), home.replace("\\", "\\\\")}:
            if len(spelled) > 1:
                text = text.replace(spelled, "~")
        for name, instead in self._names:
            text = name.sub(instead, text)
        return text


def without_texts(value: Any, key: str = "") -> Any:
    """The same value; texts stay only under names whose words are the program's own."""
    if isinstance(value, dict):
        inside = "packages" if key in ("packages", "versions") else ""
        return {name: without_texts(item, inside or name) for name, item in value.items()}
    if isinstance(value, list):
        return [without_texts(item, key) for item in value] if key in _OWN_WORDS or not any(
            isinstance(item, str) for item in value
        ) else f"[{len(value)} texts]"  # fmt: skip
    if not isinstance(value, str) or key in _OWN_WORDS:
        return value
    return unquoted(value) if key in _SENTENCES else f"[{len(value)} characters]"


def unquoted(sentence: str) -> str:
    """A sentence of the program without what it quotes."""
    return _QUOTED.sub("“…”", sentence)


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return ""
