"""The manifest of a run: a JSON object that shows when something else has changed it."""

from __future__ import annotations

import contextlib
import json
import zlib
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from lora_studio.core.messages import Text, text
from lora_studio.core.problems import Problem, ProblemError, Where, fail, warning
from lora_studio.core.system import foreign_files
from lora_studio.core.system.files import describe_os_error, write_atomic
from lora_studio.core.system.foreign_files import read_json
from lora_studio.core.tasks.classification import ClassificationReport
from lora_studio.core.tasks.table import TASKS
from lora_studio.core.tasks.task import Task

#: The step after which the events of an exported run start.
EVENTS_START = "events_start"

#: Types of the entries that are read again; each may be null.
_OBJECTS = (
    "backend", "base_model", "checksums", "dataset", "gguf", "kernels", "memory", "parameters",
    "results", "taken_along", "versions",
)  # fmt: skip
_TYPES: dict[str, type] = {"created": str, EVENTS_START: int, "threads": int} | dict.fromkeys(
    _OBJECTS, dict
)


def read(file: Path) -> dict[str, Any]:
    """Return the entries of the expected types; {} if the manifest is missing or unreadable."""
    try:
        return _read(file)
    except (OSError, ValueError):
        return {}


def get_task(entries: dict[str, Any]) -> Task | None:
    """Return the task of the data that a run has trained on, None before its training."""
    return TASKS.get(str((entries.get("dataset") or {}).get("task")))


def get_label_report(entries: dict[str, Any]) -> ClassificationReport | None:
    """Return how well the saved adapter of a classifier predicts labels, or else that of the last evaluation.

    None for other tasks, and without an evaluation.
    """
    results = entries.get("results")
    if not isinstance(results, dict):
        return None
    kept, evaluations = results.get("kept"), results.get("evaluations")
    step = kept.get("step") if isinstance(kept, dict) else None
    listed = evaluations if isinstance(evaluations, list) else []
    reported = [entry for entry in listed if isinstance(entry, dict) and entry.get("report")]
    chosen = [entry for entry in reported if entry.get("step") == step] or reported
    try:
        return ClassificationReport.model_validate(chosen[-1]["report"]) if chosen else None
    except ValidationError:
        return None


def _read(file: Path) -> dict[str, Any]:
    """Return the entries of the expected types; raises OSError and ValueError."""
    content = read_json(file)
    if not isinstance(content, dict):
        return {}
    remove_seal(content)
    return {
        name: value
        for name, value in content.items()
        if value is None or isinstance(value, _TYPES.get(name, object))
    }


def update(file: Path, entries: dict[str, Any]) -> None:
    """Add or replace entries, and keep a damaged file aside; raises OSError, also if it can't be read."""
    try:
        before = _read(file)
    except FileNotFoundError:
        before = {}
    except (OSError, ValueError) as error:
        foreign_files.raise_unless_damaged(error)
        before = {}
    if not before and file.exists():
        foreign_files.set_aside(file)
    content = json.loads(_dump(before | entries))
    write_atomic(file, _dump(add_seal(content)) + "\n")


def find_damage(file: Path) -> Text | str | None:
    """Return what is wrong with the manifest of a run that has started; None if nothing is.

    Raises OSError if it can't be read although it may be whole.
    """
    try:
        content = read_json(file)
    except FileNotFoundError:
        return text("it is missing")
    except OSError as error:
        foreign_files.raise_unless_damaged(error)
        return describe_os_error(error)
    except ValueError:
        return text("it isn't valid JSON")
    if not isinstance(content, dict):
        return text("it isn't a JSON object")
    return None if remove_seal(content) else text("it has changed since it was written")


def repair(file: Path) -> Problem | None:
    """Move a damaged manifest aside, so that jobs write a new one; return a warning if it was damaged.

    The warning is repeated until the adapter's checksums are recorded again. The readable entries of a manifest that was changed stay in use. Raises OSError if it can't be read
    although it may be whole.
    """
    entries, damage = read(file), find_damage(file)
    has_adapter = (file.parent / "adapter" / "adapter_config.json").is_file()
    is_unrecorded = has_adapter and "adapter" not in (entries.get("checksums") or {})
    if damage is None and not (is_unrecorded and entries.get("record_lost")):
        return None
    aside = file.with_name("manifest.damaged.json")
    is_kept = False
    if damage is not None and file.exists() and not aside.exists():
        with contextlib.suppress(OSError):
            file.rename(aside)
            is_kept = True
    if damage is not None and (entries or not file.exists()):
        update(file, entries | ({"record_lost": True} if is_unrecorded else {}))
    return warning(
        "run.damaged_manifest",
        "The record of this run, {file}, is damaged: {reason}. Its adapter and models can't be compared "
        "with what was trained.",
        "Restore the file from a backup, or resume the training, which writes the adapter and the "
        "record again from the last checkpoint. The damaged file is kept as {aside}."
        if is_kept
        else "Restore the file from a backup, or resume the training, which writes the adapter and the "
        "record again from the last checkpoint.",
        where=Where(file=str(file)),
        file=file.name,
        reason=damage or text("it was written again, without checksums"),
        aside=aside.name,
    )


def _dump(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False, default=str)


def not_written_error(file: Path, reason: Text | str) -> ProblemError:
    """Return the error of a file in a run that can't be written."""
    return fail(
        "run.not_written",
        "Couldn't save {file}: {reason}.",
        "Check that the run folder is writable and has free space.",
        file=file.name,
        reason=reason,
        where=Where(file=str(file)),
    )


#: Entry with the CRC-32 of all others.
_SEAL = "crc32"


def add_seal(content: dict[str, Any]) -> dict[str, Any]:
    """Return plain JSON values with the checksum."""
    return content | {_SEAL: _compute(content)}


def remove_seal(content: dict[str, Any]) -> bool:
    """Remove the checksum; return whether it fits. Files of earlier versions have none."""
    seal = content.pop(_SEAL, None)
    return seal is None or seal == _compute(content)


def _compute(content: dict[str, Any]) -> int:
    return zlib.crc32(json.dumps(content, sort_keys=True).encode())  # ASCII: also of odd text
