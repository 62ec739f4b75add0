"""Check for disk space before a large file is written."""

from __future__ import annotations

import shutil
from pathlib import Path

from lora_studio.core.messages import Template, Text
from lora_studio.core.problems import Where, fail

#: Room left for everything else that writes to the same disk, in bytes.
RESERVE = 64 * 1024 * 1024

_REMEDY = "Free up some space or move the project to a larger disk, then start this step again."


def require_free_space(
    folder: Path, needed: int, purpose: Template | Text, remedy: Template | Text = _REMEDY
) -> None:
    """Raise ProblemError `disk.full` unless `needed` bytes (and a reserve) are free in `folder`.

    `purpose` begins a sentence ("The export needs …"); `remedy` replaces the usual advice when the
    disk is not the project's.
    """
    free = shutil.disk_usage(folder).free
    if free < needed + RESERVE:
        raise fail(
            "disk.full",
            "{purpose} needs {needed:size} of free disk space, of which {reserve:size} are a reserve, but "
            "only {free:size} is free.",
            remedy,
            where=Where(file=str(folder)),
            purpose=Text.model_validate(purpose),
            needed=needed + RESERVE,
            reserve=RESERVE,
            free=free,
        )
