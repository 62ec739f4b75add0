"""Answers on disk, by model, prompt, and sampling: a second evaluation doesn't compute them again."""

from __future__ import annotations

import contextlib
import hashlib
import json
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from lora_studio.core.chat import Sampling
from lora_studio.core.evaluation.measures import Logprobs
from lora_studio.core.evaluation.results import ItemResult
from lora_studio.core.system.files import create_folder
from lora_studio.core.system.paths import get_cache_folder

#: Increase this whenever the same model would answer the same prompt differently.
_VERSION = 2

#: Bytes of the cache above which the answers that were used longest ago are removed, half of them.
_MAX_BYTES = 2_000_000_000

_LOOKUP = "SELECT value FROM answers WHERE key = ?"
_TOUCH = "UPDATE answers SET used = ? WHERE key = ?"
_STORE = "INSERT OR REPLACE INTO answers VALUES (?, ?, ?)"
_PRUNE = "DELETE FROM answers WHERE used <= (SELECT used FROM answers ORDER BY used LIMIT 1 OFFSET (SELECT COUNT(*) / 2 FROM answers))"

#: What is stored of a result.
_FIELDS = {"answer", "tokens", "prompt_tokens", "seconds", "ending", "logprobs"}


class AnswerCache:
    """The answers of one model; without a hash of it, nothing is stored or looked up."""

    def __init__(self, connection: sqlite3.Connection | None, model_hash: str) -> None:
        """Take an open database, or None if there is none."""
        self._connection = connection if model_hash else None
        self._model_hash = model_hash

    def get_key(self, prompt: str, sampling: Sampling | None, targets: Sequence[str] = ()) -> bytes:
        """Return the key of an answer, or of log-likelihoods of `targets` where `sampling` is None.

        `prompt` is the rendered text, or the messages as JSON for models on servers.
        """
        settings = None if sampling is None else sampling.model_dump(mode="json")
        parts = [_VERSION, self._model_hash, prompt, settings, list(targets)]
        plain = json.dumps(parts, ensure_ascii=False, sort_keys=True)
        return hashlib.blake2b(plain.encode("utf-8", "replace"), digest_size=16).digest()

    def find(self, key: bytes) -> Mapping[str, Any] | None:
        """Return the stored fields of a result, None without one."""
        if self._connection is None:
            return None
        with contextlib.suppress(sqlite3.Error, ValueError, ValidationError):
            row = self._connection.execute(_LOOKUP, (key,)).fetchone()
            if row is not None:
                value = json.loads(row[0])
                if value.get("logprobs") is not None:
                    value["logprobs"] = Logprobs.model_validate(value["logprobs"])
                self._connection.execute(_TOUCH, (time.time(), key))
                return {name: value[name] for name in _FIELDS if name in value}
        return None

    def store(self, key: bytes, result: ItemResult) -> None:
        """Store a result; a full or damaged disk only makes the next evaluation slower."""
        if self._connection is None or result.problem is not None:
            return
        with contextlib.suppress(sqlite3.Error):
            value = result.model_dump_json(include=_FIELDS, exclude_defaults=True)
            self._connection.execute(_STORE, (key, value, time.time()))


@contextmanager
def open_database() -> Iterator[sqlite3.Connection | None]:
    """Yield the database of the user's cache, None if it can't be opened; a damaged one is replaced."""
    file = get_cache_folder() / "answers" / "answers.sqlite"
    try:
        connection = _connect(file)
    except (OSError, sqlite3.Error):
        connection = None
    try:
        yield connection
    finally:
        if connection is not None:
            with contextlib.suppress(sqlite3.Error):
                if file.stat().st_size > _MAX_BYTES:
                    connection.execute(_PRUNE)
                    connection.execute("VACUUM")
            connection.close()


def _connect(file: Path) -> sqlite3.Connection:
    create_folder(file.parent)
    try:
        return _prepare(file)
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.OperationalError):  # locked, read-only, or a full disk
            raise
        file.unlink()
        return _prepare(file)


def _prepare(file: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(file, timeout=10.0, isolation_level=None)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute(
            "CREATE TABLE IF NOT EXISTS answers (key BLOB PRIMARY KEY, value TEXT, used REAL)"
        )
    except sqlite3.Error:
        connection.close()
        raise
    return connection
