"""What a user says about a run: its title, tags and notes. Kept apart from what the worker writes."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


def clean_tags(tags: tuple[str, ...]) -> tuple[str, ...]:
    """Tags without blanks around them, commas, or repetitions."""
    parts = (" ".join(part.split()) for tag in tags for part in tag.split(","))
    return tuple(dict.fromkeys(part for part in parts if part))


class Grid(BaseModel):
    """The search that a run is part of: its name, and the one or two settings that it varies.

    A setting is named as on the command line: `training.learning_rate`.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str
    fields: tuple[str, ...] = Field(min_length=1, max_length=2)


class About(BaseModel):
    """`title` is "" where the run goes by its moment and its project's name."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    title: str = ""
    tags: Annotated[tuple[str, ...], AfterValidator(clean_tags)] = ()
    notes: str = ""
    grid: Grid | None = None
