"""The user's title, tags and notes for a run, stored separately from the files that workers write."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from lora_studio.core.system import foreign_files
from lora_studio.core.system.foreign_files import read_bytes

#: A line of the notes about a step: `@1200 lowered the rate`.
_STEP = re.compile(r"^@(\d{1,12})\b", re.MULTILINE)


def list_noted_steps(notes: str) -> tuple[int, ...]:
    """Return the steps that notes refer to, each once, in order."""
    return tuple(sorted({int(digits) for digits in _STEP.findall(notes)}))


def clean_tags(tags: tuple[str, ...]) -> tuple[str, ...]:
    """Return tags without surrounding blanks, commas, or repetitions."""
    parts = (" ".join(part.split()) for tag in tags for part in tag.split(","))
    return tuple(dict.fromkeys(part for part in parts if part))


def read_annotations(file: Path) -> RunAnnotations | None:
    """Return the annotations in a file; None if it is missing, damaged, or can't be read."""
    try:
        return RunAnnotations.model_validate_json(read_bytes(file))
    except (OSError, ValidationError):
        return None


def set_damaged_aside(file: Path) -> None:
    """Keep damaged annotations aside before they are replaced; raises OSError if they can't be read."""
    try:
        RunAnnotations.model_validate_json(read_bytes(file))
    except FileNotFoundError:
        return
    except (OSError, ValidationError) as error:
        foreign_files.raise_unless_damaged(error)
        foreign_files.set_aside(file)


class GridSettings(BaseModel):
    """The grid search that a run is part of: its name, and the one or two settings that it varies.

    A setting is named as on the command line: `training.learning_rate`.
    """

    model_config = ConfigDict(defer_build=True, frozen=True, extra="ignore")

    name: str
    fields: tuple[str, ...] = Field(min_length=1, max_length=2)


class RunAnnotations(BaseModel):
    """The user's annotations of a run; without a `title`, it is named by its start time and
    project.
    """

    model_config = ConfigDict(defer_build=True, frozen=True, extra="ignore")

    title: str = ""
    tags: Annotated[tuple[str, ...], AfterValidator(clean_tags)] = ()
    notes: str = ""
    grid: GridSettings | None = None
