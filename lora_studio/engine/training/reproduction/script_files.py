"""The files of a reproduction script in a run folder: which are as written, damaged, or edited by the user."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from pathlib import Path

from lora_studio.core.runs import checksums
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.system.files import write_atomic
from lora_studio.core.system.foreign_files import raise_unless_damaged, read_text


def is_complete(run: RunFolder) -> bool:
    """Return whether a run folder has the script, its rows and its requirements, all as they were written.

    Raises OSError if a file can't be read at the moment.
    """
    scripts = [run.train_script, *(file for file in run.script_modules if file.exists())]
    if not all(_read_whole(file) for file in (*scripts, run.lock_list)):
        return False
    names = [file.name for file in (run.train_script, *run.script_modules, run.lock_list)]
    is_intact = checksums.find_damage(run, run.path, names=names) is None
    is_intact = is_intact and checksums.find_damage(run, run.data) is None
    return is_intact and (run.data / "order.npy").is_file()


def write_files(run: RunFolder, sources: Mapping[Path, str | None]) -> list[Path]:
    """Write the files of a run, and delete those that are None; return those that the user has edited.

    These stay as they are, and so does a file that the run didn't write and doesn't need. Raises OSError.
    """
    edited = [file for file, source in sources.items() if _is_edited(run, file, source or "")]
    ours = checksums.read_recorded(run).get(".", {})
    replaced = {file: source for file, source in sources.items() if file not in edited}
    if not replaced:
        return edited
    checksums.forget_checksums(run, run.path, [file.name for file in replaced])
    for file, source in replaced.items():
        if source is not None:
            write_atomic(file, source)
        elif file.name in ours:
            file.unlink(missing_ok=True)
    written = [file.name for file, source in replaced.items() if source is not None]
    if written:
        checksums.record_checksums(run, run.path, written)
    return edited


def _is_edited(run: RunFolder, file: Path, source: str) -> bool:
    """Return whether a file has been changed since the run wrote it, and isn't only cut off or unreadable."""
    if checksums.find_damage(run, run.path, names=[file.name]) is None:
        return False
    content = _read_whole(file)
    return bool(content) and not source.startswith(content)


def _read_whole(file: Path) -> str:
    """Return the content of a script or of a list of requirements, "" if it is missing or damaged."""
    try:
        content = read_text(file)
        if file.suffix == ".py":
            return content if ast.parse(content).body else ""
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise_unless_damaged(error)
        return ""
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return ""
    return content if content.endswith("\n") else ""
