"""Hashes that identify the model of a column, so that its answers can be reused.

They are of the whole content. Those of large files are kept with the state of the file: size, times, and
inode. A file that has the same state isn't read again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lora_studio.core import limits
from lora_studio.core.lora.adapters import WeightedAdapter
from lora_studio.core.system.files import create_folder, write_atomic
from lora_studio.core.system.foreign_files import open_regular, read_json
from lora_studio.core.system.paths import get_cache_folder

#: Bytes from which the hash of a file is kept; smaller files are read within milliseconds.
_LARGE = 32 << 20
#: Bytes that are read at once.
_BLOCK = 4 << 20
#: Files whose hashes are kept, the newest ones.
_MOST_FILES = 1000

#: Endings of the files that change the answers of a model.
_SUFFIXES = (".safetensors", ".json", ".jinja", ".model", ".txt")

#: Called for each block that is read; may raise to cancel.
OnBlock = Callable[[], None]


def hash_files(
    files: Sequence[Path], on_block: OnBlock = lambda: None, *, keep: bool = True
) -> str:
    """Return a digest of the names and contents of files; raises OSError.

    With `keep`, a large file that hasn't changed since it was read isn't read again.
    """
    digest = hashlib.sha256()
    for file in sorted(files):
        content = _hash_file(file, on_block, keep=keep)
        digest.update(f"{file.name}:{content}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def hash_model_folder(folder: Path, on_block: OnBlock = lambda: None, *, keep: bool = True) -> str:
    """Return a digest of the weights, configuration, tokenizer, and chat template of a model."""
    files = [file for file in folder.iterdir() if file.suffix in _SUFFIXES and file.is_file()]
    return hash_files(files, on_block, keep=keep)


def hash_adapters(adapters: Sequence[WeightedAdapter], on_block: OnBlock = lambda: None) -> str:
    """Return a digest of adapters with their weights, "" for none. They are always read as a whole."""
    parts = [
        f"{hash_model_folder(Path(each.folder), on_block, keep=False)} × {each.weight!r}"
        for each in adapters
    ]
    return combine(*parts) if parts else ""


def combine(*parts: str) -> str:
    """Return one digest of several facts."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _hash_file(file: Path, on_block: OnBlock, *, keep: bool) -> str:
    """Return the digest of a file, from an earlier evaluation if the file is the same one."""
    status = file.stat()
    keep = keep and status.st_size >= _LARGE
    key = str(file.resolve())
    state = [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]
    if keep and (known := _read_kept().get(key)) and known.get("state") == state:
        return str(known.get("sha256"))
    digest = hashlib.sha256()
    with open_regular(file) as stream:
        while block := stream.read(_BLOCK):
            on_block()
            digest.update(block)
    if keep:
        _store(key, {"state": state, "sha256": digest.hexdigest()})
    return digest.hexdigest()


def _get_kept_file() -> Path:
    return get_cache_folder() / "answers" / "model_hashes.json"


def _read_kept() -> dict[str, dict[str, Any]]:
    """Return the kept hashes by path; none if the file is missing or damaged."""
    try:
        content = read_json(_get_kept_file(), limits.LARGE_FILE)
    except (OSError, ValueError):
        return {}
    if not isinstance(content, dict):
        return {}
    return {path: entry for path, entry in content.items() if isinstance(entry, dict)}


def _store(key: str, entry: dict[str, Any]) -> None:
    """Keep a hash; a full or read-only disk only makes the next evaluation slower."""
    entries = {path: each for path, each in _read_kept().items() if path != key} | {key: entry}
    newest = dict(list(entries.items())[-_MOST_FILES:])
    file = _get_kept_file()
    with contextlib.suppress(OSError):
        create_folder(file.parent)
        write_atomic(file, json.dumps(newest, indent=1) + "\n")
