"""GGUF files where LM Studio looks for them: models folder / publisher / model / file."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from lora_studio.core.model.folders import lm_studio_folders
from lora_studio.core.problems import Problem, Where, fail
from lora_studio.core.project.project import Project, file_name
from lora_studio.core.protocol import events
from lora_studio.engine.runtime import disk
from lora_studio.engine.runtime.channel import JobContext

#: Under which publisher the files are listed.
PUBLISHER = "lora-studio"


def place(project: Project, files: Iterable[Path], job: JobContext) -> None:
    """Links the files there, or copies them to another disk; a warning where there is no folder.

    Raises ProblemError when the folder that the user named is none, or the disk is full.
    """
    models = _models(project.export.lm_studio_folder)
    if models is None:
        job.emit(events.Warned(problem=_not_found()))
        return
    folder = models / PUBLISHER / file_name(project.name)
    folder.mkdir(parents=True, exist_ok=True)
    for file in files:
        _put(file, folder / file.name)
    job.emit(
        events.Log(text=f"In LM Studio as {PUBLISHER}/{folder.name}: {folder}. Refresh its list.")
    )


def _models(chosen: str) -> Path | None:
    if chosen:
        if not Path(chosen).is_dir():
            raise fail(
                "export.no_lm_studio",
                f"{chosen} is no folder.",
                "Name LM Studio's models folder, or empty the field to have it looked for.",
                where=Where(step="export", field="lm_studio_folder"),
            )
        return Path(chosen)
    return next(iter(lm_studio_folders()), None)


def _put(file: Path, target: Path) -> None:
    """In one step, so that LM Studio never lists half a file."""
    part = target.with_name(f".{target.name}.part")
    part.unlink(missing_ok=True)
    try:
        try:
            os.link(file, part)
        except OSError:  # another disk, or one without links
            disk.require(target.parent, file.stat().st_size, "The copy for LM Studio")
            shutil.copyfile(file, part)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def _not_found() -> Problem:
    return Problem(
        code="export.no_lm_studio",
        what="LM Studio's models folder was not found on this computer.",
        remedy="Start LM Studio once, or name the folder in the export step.",
        where=Where(step="export", field="lm_studio_folder"),
        severity="warning",
    )
