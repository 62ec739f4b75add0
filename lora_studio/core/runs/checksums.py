"""Checksums of what a run has produced, so that damage is noticed before it is handed on.

Adapters, the merged model, the GGUF files and the files that jobs read again, such as the held-out rows,
are recorded in the manifest when they are written. A checkpoint and a best adapter record their own files.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from lora_studio.core.messages import Text, text
from lora_studio.core.problems import InvalidContentError, ProblemError, Where, fail
from lora_studio.core.runs import manifest
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.system import foreign_files
from lora_studio.core.system.files import FileState, get_file_state, write_file
from lora_studio.core.system.foreign_files import open_regular, read_json

#: The file with the checksums of a checkpoint, under its entry "files", and that of a best adapter.
CHECKPOINT = "checkpoint.json"
RECORD = "checksums.json"

#: Endings of files with weights: gigabytes that only those who use them read.
_WEIGHTS = (".safetensors", ".gguf", ".bin")

#: Files that were intact when they were read last, by path, with their state and checksum.
_INTACT: dict[str, tuple[FileState, int]] = {}

#: Called for each block that is read; may raise to cancel.
OnBlock = Callable[[], None]


def compute_checksum(file: Path, on_block: OnBlock = lambda: None) -> list[int]:
    """Return the size in bytes and the CRC-32: fast, and it detects files torn by a power cut."""
    checksum = 0
    with open_regular(file) as stream:
        while block := stream.read(1 << 22):
            on_block()
            checksum = zlib.crc32(block, checksum)
    return [file.stat().st_size, checksum]


def record_checksums(
    run: RunFolder, folder: Path, names: Iterable[str] = (), on_block: OnBlock = lambda: None
) -> None:
    """Record the files of a folder in the run's manifest, or only those with the given names.

    Folders that no longer exist are forgotten.
    """
    recorded = {
        name: files for name, files in read_recorded(run).items() if (run.path / name).is_dir()
    }
    chosen = [folder / name for name in names] or [f for f in folder.iterdir() if f.is_file()]
    files = {file.name: compute_checksum(file, on_block) for file in chosen}
    key = _get_name(run, folder)
    earlier = recorded.get(key, {}) if names else {}
    run.update_manifest(checksums=recorded | {key: earlier | files})


def forget_checksums(run: RunFolder, folder: Path, names: Iterable[str] = ()) -> None:
    """Remove a folder, or files in it, from the record before they are replaced.

    A kill between the replacement and the new record then leaves them unrecorded, not wrong.
    """
    recorded, key, replaced = read_recorded(run), _get_name(run, folder), set(names)
    files = recorded.pop(key, {})
    if files:
        left = {name: entry for name, entry in files.items() if replaced and name not in replaced}
        run.update_manifest(checksums=recorded | ({key: left} if left else {}))


def is_recorded(run: RunFolder, folder: Path) -> bool:
    """Return whether the manifest has checksums of a folder."""
    return bool(read_recorded(run).get(_get_name(run, folder)))


def find_damage(
    run: RunFolder,
    folder: Path,
    copy: Path | None = None,
    names: Iterable[str] = (),
    on_block: OnBlock = lambda: None,
) -> Text | None:
    """Return what is wrong with a recorded folder, or with a copy of it; None if all is as written.

    With `names`, only these files are compared. Folders of earlier versions aren't recorded. Raises
    OSError if a file can't be read although it may be as written.
    """
    expected = read_recorded(run).get(_get_name(run, folder), {})
    return _compare(expected, copy or folder, set(names), on_block)


def require_intact(
    run: RunFolder, folder: Path, names: Iterable[str] = (), on_block: OnBlock = lambda: None
) -> None:
    """Raise ProblemError if a recorded folder is damaged, or one of the given files in it."""
    if (damage := find_damage(run, folder, names=names, on_block=on_block)) is not None:
        raise _damaged_error(run, folder, damage)


def require_small_files(run: RunFolder, folder: Path) -> None:
    """Raise ProblemError if a recorded file that holds no weights is damaged or, as with its folder, missing."""
    if names := _list_small_files(run, folder):
        require_intact(run, folder, names)


def require_intact_source(
    path: Path, on_block: OnBlock = lambda: None, *, with_weights: bool = True
) -> None:
    """Raise ProblemError if an adapter, a model folder or a GGUF file from a run is damaged.

    Anything outside of a run has no checksums and isn't checked. Without weights, only small files are
    read: settings, tokenizer and chat template.
    """
    path = path.absolute()
    folder, names = (path, []) if path.is_dir() else (path.parent, [path.name])
    for parent in folder.parents[:2]:
        run = RunFolder(parent)
        if run.manifest_file.is_file() and run.project_file.is_file():
            if (folder / CHECKPOINT).is_file() and folder.parent == run.checkpoints:
                _require_intact_checkpoint(run, folder, on_block)
                continue
            if not with_weights and not names:
                names = _list_small_files(run, folder)
                if not names:
                    continue
            require_intact(run, folder, names, on_block)


def _list_small_files(run: RunFolder, folder: Path) -> list[str]:
    """Return the names of recorded files that hold no weights."""
    recorded = read_recorded(run).get(_get_name(run, folder), {})
    return [name for name in recorded if not name.endswith(_WEIGHTS)]


def write_record(folder: Path, entries: Mapping[str, Any] = {}, name: str = RECORD) -> None:
    """Write a file with the checksums of all others in a folder, and further entries; raises OSError."""
    files = {
        file.relative_to(folder).as_posix(): compute_checksum(file)
        for file in sorted(folder.rglob("*"))
        if not file.is_dir()
    }
    content = json.loads(json.dumps({**entries, "files": files}))
    write_file(folder / name, json.dumps(manifest.add_seal(content), indent=2))


def read_record(
    folder: Path, name: str = CHECKPOINT, on_block: OnBlock = lambda: None
) -> dict[str, Any]:
    """Return the entries of a folder that records its files; raises OSError, and ValueError if one is damaged."""
    entries = read_json(folder / name)
    if not isinstance(entries, dict) or not isinstance(entries.get("files"), dict):
        raise InvalidContentError("{file} has no list of files", file=name)
    if not manifest.remove_seal(entries):
        raise InvalidContentError("{file} has changed since it was written", file=name)
    if (damage := _compare(entries["files"], folder, set(), on_block)) is not None:
        raise InvalidContentError(damage)
    return entries


def _require_intact_checkpoint(run: RunFolder, folder: Path, on_block: OnBlock) -> None:
    try:
        read_record(folder, on_block=on_block)
    except InvalidContentError as error:
        raise _damaged_error(run, folder, error.reason) from error
    except (OSError, ValueError) as error:
        reason = text("{file} can't be read", file=CHECKPOINT)
        raise _damaged_error(run, folder, reason) from error


def _compare(
    expected: Mapping[str, Any], folder: Path, names: set[str], on_block: OnBlock
) -> Text | None:
    for name, entry in expected.items():
        if names and name not in names:
            continue
        file = folder / name
        # Checkpoints of version 0.1 record sizes only.
        written = entry if isinstance(entry, list) and len(entry) == 2 else [entry, None]
        if not isinstance(written[0], int):
            return text("the checksum of {file} is unreadable", file=name)
        try:
            if _was_intact(file, written):
                continue
            state = get_file_state(file)  # of before: a change while it is read counts
            size, checksum = compute_checksum(file, on_block)
        except FileNotFoundError:
            return text("{file} is missing", file=name)
        except OSError as error:
            foreign_files.raise_unless_damaged(error)
            return text("{file} is missing", file=name)
        if size < written[0]:
            return text("{file} is incomplete", file=name)
        if written not in ([size, checksum], [size, None]):
            return text("{file} has changed since it was written", file=name)
        _INTACT[str(file)] = (state, checksum)
    return None


def _was_intact(file: Path, written: list[Any]) -> bool:
    """Return whether this process has compared the file before and it hasn't been touched since."""
    state = get_file_state(file)
    return bool(state) and _INTACT.get(str(file)) == (state, written[1]) and state[0] == written[0]


def _damaged_error(run: RunFolder, folder: Path, damage: Text) -> ProblemError:
    where, name = Where(file=str(folder)), _get_name(run, folder)
    if folder == run.merged:
        return fail(
            "run.damaged_merged",
            "The merged model is damaged: {reason}.",
            "Merge the adapter again.",
            where=where,
            reason=damage,
        )
    if folder == run.gguf:
        return fail(
            "run.damaged_gguf",
            "The exported model is damaged: {reason}.",
            "Export the run again.",
            where=where,
            reason=damage,
        )
    if folder.parent == run.checkpoints:
        return fail(
            "run.damaged_checkpoint",
            "The checkpoint {folder} is damaged: {reason}.",
            "Choose another checkpoint.",
            where=where,
            folder=name,
            reason=damage,
        )
    return fail(
        "run.damaged_adapter",
        "The adapter in {folder} is damaged: {reason}.",
        "Restore the folder from a backup."
        if folder in (run.start_adapter, run.initial_adapter)
        else "Restore the folder from a backup, or resume the training, which writes it again from "
        "the last checkpoint.",
        where=where,
        folder=name,
        reason=damage,
    )


def read_recorded(run: RunFolder) -> dict[str, dict[str, Any]]:
    """Return the size in bytes and the CRC-32 of each file, by folder and name."""
    recorded = run.read_manifest().get("checksums") or {}
    return {name: files for name, files in recorded.items() if isinstance(files, dict)}


def _get_name(run: RunFolder, folder: Path) -> str:
    return folder.relative_to(run.path).as_posix()
