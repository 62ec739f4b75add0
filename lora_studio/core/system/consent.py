"""The user's consent to run code that came with a model, a project or a folder.

Projects, models and adapters are shared between people, so nothing in them may decide that their own
code runs. Consent is kept in the user's configuration, by a hash of the code itself: it stays when
the folder moves, and ends when a file of the code changes.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from lora_studio.core import limits
from lora_studio.core.system import foreign_files, paths
from lora_studio.core.system.files import create_folder, write_atomic
from lora_studio.core.system.foreign_files import raise_unless_damaged, read_bytes, read_json

#: What the code is: Python files of a model, the programs in a folder of llama.cpp, or the file of a reward.
CodeKind = Literal["model", "llama_cpp", "reward"]

#: Environment variable with hashes that are trusted in this process and its children.
TRUST_VARIABLE = "LORA_STUDIO_TRUST"

#: Hex digits of a hash: 128 bits, which no one can match with other code.
_DIGITS = 32


@dataclass(frozen=True)
class ForeignCode:
    """Code that runs only with the user's consent: a folder, and files relative to it.

    `hashes` has the SHA-256 of each file, so that what is shown of the code can be compared with what was hashed.
    """

    kind: CodeKind
    folder: Path
    files: tuple[str, ...]
    digest: str
    hashes: tuple[bytes, ...] = field(default=(), repr=False)


def identify_code(
    kind: CodeKind, folder: Path, files: Iterable[Path], copy: Path | None = None
) -> ForeignCode:
    """Return the code with its hash, which covers names and contents; raises OSError.

    With `copy`, an empty folder, what was hashed is also written there: regular files only, so that the copy runs
    whatever happens to the original meanwhile.
    """
    names = sorted(file.relative_to(folder).as_posix() for file in files)
    return _identify(kind, folder, _iter_hashes(folder, names, copy))


def _iter_hashes(folder: Path, names: list[str], copy: Path | None) -> Iterator[tuple[str, bytes]]:
    copied: dict[bytes, Path] = {}
    for name in names:
        content = read_bytes(folder / name, limits.LARGE_FILE)
        hashed = hashlib.sha256(content).digest()
        if copy is not None:
            target = copy / name
            create_folder(target.parent)
            if hashed in copied:  # builds have three names for each library
                os.link(copied[hashed], target)
            else:
                target.write_bytes(content)
                target.chmod(0o700)
                copied[hashed] = target
        yield name, hashed


def identify_contents(kind: CodeKind, folder: Path, contents: Mapping[str, bytes]) -> ForeignCode:
    """Return code that is in memory with its hash, so that exactly what was hashed can run."""
    hashes = ((name, hashlib.sha256(contents[name]).digest()) for name in sorted(contents))
    return _identify(kind, folder, hashes)


def _identify(kind: CodeKind, folder: Path, hashes: Iterable[tuple[str, bytes]]) -> ForeignCode:
    files: dict[str, bytes] = {}
    digest = hashlib.sha256(kind.encode())
    for name, hashed in hashes:
        files[name] = hashed
        digest.update(f"\0{name}\0".encode())
        digest.update(hashed)
    return ForeignCode(
        kind, folder, tuple(files), digest.hexdigest()[:_DIGITS], tuple(files.values())
    )


def is_as_hashed(code: ForeignCode, name: str, content: bytes) -> bool:
    """Return whether the content of a file is the one that was hashed."""
    return hashlib.sha256(content).digest() == code.hashes[code.files.index(name)]


def compute_digest(content: bytes) -> str:
    """Return the hash under which the user can allow what isn't code."""
    return hashlib.sha256(content).hexdigest()[:_DIGITS]


def is_trusted_here(digest: str) -> bool:
    """Return whether the user allowed a hash for this process: `lora-studio --trust`."""
    return digest in _get_trusted_here()


def is_trusted(code: ForeignCode) -> bool:
    """Return whether the user allowed this code to run."""
    return code.digest in _get_trusted_here() or code.digest in read_trusted()


def trust(code: ForeignCode) -> None:
    """Allow this code to run from now on; raises OSError."""
    entry = {
        "kind": code.kind,
        "folder": str(code.folder),
        "files": list(code.files),
        "trusted": datetime.now().astimezone().isoformat(timespec="seconds"),
    }
    _write({**_read(), code.digest: entry})


def revoke(digest: str) -> None:
    """Withdraw the consent to the code with this hash; raises OSError."""
    _write({key: entry for key, entry in _read().items() if key != digest})


def trust_in_this_process(digests: Iterable[str]) -> None:
    """Allow the code with these hashes in this process and in workers that it starts."""
    given = {digest.strip().lower() for digest in digests} - {""}
    os.environ[TRUST_VARIABLE] = ",".join(sorted(_get_trusted_here() | given))


def read_trusted() -> dict[str, dict[str, Any]]:
    """Return the stored consents by hash; {} if there are none, or none can be read.

    A damaged file is set aside.
    """
    with contextlib.suppress(OSError):
        return _read()
    return {}


def _read() -> dict[str, dict[str, Any]]:
    """Return the stored consents; raises OSError if the file can't be read."""
    try:
        content = read_json(_get_file())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        foreign_files.raise_unless_damaged(error)
        content = None
    if not isinstance(content, dict):
        foreign_files.set_aside(_get_file())
        return {}
    return {key: entry for key, entry in content.items() if isinstance(entry, dict)}


def _write(trusted: dict[str, dict[str, Any]]) -> None:
    write_atomic(_get_file(), json.dumps(trusted, indent=1, ensure_ascii=False) + "\n")


def _get_file() -> Path:
    return paths.get_config_folder() / "trusted_code.json"


def _get_trusted_here() -> set[str]:
    return set(os.environ.get(TRUST_VARIABLE, "").split(",")) - {""}


@dataclass(frozen=True)
class DigestRecord:
    """A list of digests in a file of the user's configuration; the oldest are forgotten."""

    name: str

    def add(self, digest: str) -> bool:
        """Add a digest; return False if it can't be stored."""
        try:
            known = self._read(raise_unless_damaged)
            if digest not in known:
                known = [*known, digest][-limits.KNOWN_PROJECTS :]
                write_atomic(
                    paths.get_config_folder() / self.name, json.dumps(known, indent=1) + "\n"
                )
        except OSError:
            return False
        return True

    def __contains__(self, digest: str) -> bool:
        """Return whether a digest was added."""
        return digest in self._read()

    def _read(self, on_error: Callable[[Exception], None] = lambda _: None) -> list[str]:
        content = read_record(paths.get_config_folder() / self.name, on_error)
        return (
            [each for each in content if isinstance(each, str)] if isinstance(content, list) else []
        )


def read_record(file: Path, on_error: Callable[[Exception], None] = lambda _: None) -> Any:
    """Return the content of a JSON file of the user, None without one; `on_error` gets the error of an unreadable one."""
    try:
        return read_json(file)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        on_error(error)
        return None
