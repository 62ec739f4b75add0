"""Remove private data from a text: names, locations, keys, and text that the user wrote."""

from __future__ import annotations

import getpass
import os
import re
import socket
from collections.abc import Mapping
from pathlib import Path, PureWindowsPath
from typing import Any

#: Event fields whose text comes from the program; any other text may be the user's.
_OWN_WORDS = {
    "kind", "id", "command", "stage", "doing", "code", "severity", "target", "quantization", "dtype",
    "device", "tool", "version", "precision", "architecture", "unit", "step", "field", "backend",
    "optimizer", "schedule", "packages", "reason_kind", "state", "python", "platform", "created",
}  # fmt: skip

#: Sentences of the program, which may quote the user's text.
_SENTENCES = {"what", "remedy", "why"}

_SECRETS = (
    re.compile(r"\bhf_[A-Za-z0-9]{8,}"),
    re.compile(r"\b(?:sk|pk|rk|xox[a-z])-[A-Za-z0-9_-]{16,}"),
    re.compile(r"\b(?:gh[pousr]|github_pat|glpat|wandb)[_-][A-Za-z0-9_-]{16,}"),
    re.compile(r"\bAKIA[A-Z0-9]{12,}"),
    re.compile(r"\bAIza[A-Za-z0-9_-]{20,}"),
    re.compile(r"\b[0-9a-f]{32,}\b"),
    re.compile(r"\beyJ[A-Za-z0-9_-]{6,}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+"),
    re.compile(r"(?<=://)[^/\s@]+@"),
    re.compile(r"(?i)(?<=bearer )\S+|(?<=basic )[A-Za-z0-9+/=]{8,}"),
    # A number under a key with "token" in its name may be a count; one under "password" is not.
    re.compile(r"(?i)\b[\w-]*token[\w-]*[\"']?\s*[=:]\s*[\"']?(?!-?\d+(?:\.\d*)?(?:[\s,;}\]]|$))[^\s\"',}]{4,}"),
    re.compile(r"(?i)\b[\w-]*(?:secret|passw(?:or)?[dt]|api[_-]?key|signature|credential|session_?id)[\w-]*[\"']?\s*"
               r"(?:[=:]|\bis\b)\s*[\"']?[^\s\"',}]{4,}"),
    # A long run with uppercase, lowercase and digits isn't a word.
    re.compile(r"\b(?=[\w-]*\d)(?=[\w-]*[A-Z])(?=[\w-]*[a-z])[A-Za-z0-9_-]{28,}\b"),
)  # fmt: skip
_MAIL = re.compile(r"\b[\w.+-]+@[\w-]+\.[\w.-]*\w")
#: The user name in a home folder's path, on any system.
_HOME_NAME = re.compile(
    r"(?i)(?<=[/\\](?:home|user)[/\\])[^/\\\s\"':]+|(?<=[/\\]users[/\\])[^/\\\s\"':]+"
)
_SECRET_NAME = re.compile(r"(?i)token|secret|passw|api_?key|credential")
_QUOTED = re.compile(r"“[^”]*”|‘[^’]*’|\"[^\"]*\"")
_PATH = re.compile(r"(?<![\w…])(?:[A-Za-z]:)?[/\\][^\s“”\"',;]*[^\s“”\"',;:.]")


class Redactor:
    """Removes names of the user and the computer from a text, and anything that looks like a key."""

    def __init__(
        self,
        environment: Mapping[str, str] | None = None,
        folders: Mapping[str, str] | None = None,
    ) -> None:
        """Collect the secrets in `environment`, by default that of this process.

        `folders` maps paths to the names that replace them.
        """
        variables = os.environ if environment is None else environment
        secrets = [value for name, value in variables.items() if _SECRET_NAME.search(name)]
        self._secrets = sorted(
            (value for value in secrets if len(value) >= 6), key=len, reverse=True
        )
        self._folders = {**(folders or {}), str(Path.home()): "~"}
        names = {_get_user_name(): "USER", socket.gethostname(): "HOST"}
        self._names = [
            (re.compile(rf"(?<![A-Za-z0-9]){re.escape(name)}(?![A-Za-z0-9])"), instead)
            for name, instead in names.items()
            if len(name) > 2
        ]

    def __call__(self, text: str) -> str:
        """Return the text with the home folder as ~, names replaced and secrets removed."""
        for secret in self._secrets:
            text = text.replace(secret, "[removed]")
        for pattern in _SECRETS:
            text = pattern.sub("[removed]", text)
        for folder, instead in self._folders.items():
            for spelled in {folder, folder.replace("\\", "/"), folder.replace("\\", "\\\\")}:
                if len(spelled) > 1:
                    text = text.replace(spelled, instead)
        text = _MAIL.sub("MAIL", _HOME_NAME.sub("USER", text))
        for name, instead in self._names:
            text = name.sub(instead, text)
        return text


#: Fields of a stored message, `core.messages.Text`.
_MESSAGE = {"template", "values", "singular"}


def without_texts(value: Any, key: str = "") -> Any:
    """Return the value without texts, except under names whose text comes from the program."""
    if isinstance(value, dict) and value.keys() >= _MESSAGE:
        if not value["values"]:  # possibly not a template, but somebody's text
            return without_texts(value["template"], key)
        return {name: value[name] for name in ("template", "singular")} | {
            "values": {
                name: without_texts(item, "values") for name, item in value["values"].items()
            }
        }
    if isinstance(value, dict):
        inside = "packages" if key in ("packages", "versions") else ""
        return {
            _redact_key(name, number): without_texts(item, inside or name)
            for number, (name, item) in enumerate(value.items(), start=1)
        }
    if isinstance(value, list):
        return [without_texts(item, key) for item in value] if key in _OWN_WORDS or not any(
            isinstance(item, str) for item in value
        ) else f"[{len(value)} texts]"  # fmt: skip
    if not isinstance(value, str) or key in _OWN_WORDS:
        return value
    return without_quotes(value) if key in _SENTENCES else f"[{len(value)} characters]"


def _redact_key(name: str, number: int) -> str:
    """Return the key of an entry; a path that leads out of the run's folder becomes a number."""
    leads_out = name.startswith(("../", "/", "~")) or PureWindowsPath(name).is_absolute()
    return f"[path {number}]" if leads_out else name


def without_quotes(sentence: str) -> str:
    """Return a sentence of the program without quoted text and paths."""
    return _PATH.sub("[path]", _QUOTED.sub("“…”", sentence))


def _get_user_name() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return ""
