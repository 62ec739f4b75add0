"""Checksums of the adapters in a run folder, so that damage is noticed before they are used."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

from lora_studio.core.messages import Text, text
from lora_studio.core.problems import Where, fail
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.system.foreign_files import open_regular

#: Entry of the manifest: folder -> file name -> size in bytes and CRC-32.
_ENTRY = "checksums"


def compute_checksum(file: Path) -> list[int]:
    """Return the size in bytes and the CRC-32: fast, and it detects files torn by a power cut."""
    checksum = 0
    with open_regular(file) as stream:
        while block := stream.read(1 << 22):
            checksum = zlib.crc32(block, checksum)
    return [file.stat().st_size, checksum]


def record_checksums(run: RunFolder, folder: Path) -> None:
    """Record the files of a folder in the run's manifest; forgets folders that no longer exist."""
    recorded = {
        name: files for name, files in _get_recorded(run).items() if (run.path / name).is_dir()
    }
    files = {file.name: compute_checksum(file) for file in folder.iterdir() if file.is_file()}
    run.update_manifest(checksums=recorded | {_get_name(run, folder): files})


def find_damage(run: RunFolder, folder: Path, copy: Path | None = None) -> Text | None:
    """Return what is wrong with a recorded folder, or with a copy of it; None if all is as written.

    Folders of earlier versions aren't recorded.
    """
    files = _get_recorded(run).get(_get_name(run, folder), {})
    for name, expected in files.items():
        file = (copy or folder) / name
        try:
            size, checksum = compute_checksum(file)
        except OSError:
            return text("{file} is missing", file=name)
        if size < expected[0]:
            return text("{file} is incomplete", file=name)
        if [size, checksum] != expected:
            return text("{file} has changed since it was written", file=name)
    return None


def require_intact(run: RunFolder, folder: Path) -> None:
    """Raise ProblemError if a recorded folder is damaged."""
    if (damage := find_damage(run, folder)) is not None:
        raise fail(
            "run.damaged_adapter",
            "The adapter in {folder} is damaged: {reason}.",
            "Restore the folder from a backup, or resume the training, which writes it again from "
            "the last checkpoint.",
            where=Where(file=str(folder)),
            folder=_get_name(run, folder),
            reason=damage,
        )


def _get_recorded(run: RunFolder) -> dict[str, dict[str, Any]]:
    recorded = run.read_manifest().get(_ENTRY)
    return recorded if isinstance(recorded, dict) else {}


def _get_name(run: RunFolder, folder: Path) -> str:
    return folder.relative_to(run.path).as_posix()
