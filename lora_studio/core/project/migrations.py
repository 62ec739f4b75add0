"""Migrate project files of older versions, with one decorated function per version."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Document = dict[str, Any]
_Step = Callable[[Document], Document]

#: Version written into project files.
CURRENT_VERSION = 3

_STEPS: dict[int, _Step] = {}


def register_migration(from_version: int) -> Callable[[_Step], _Step]:
    """Register the migration from one version to the next."""

    def register(step: _Step) -> _Step:
        if from_version in _STEPS:
            raise ValueError(f"Two migrations start from version {from_version}.")
        _STEPS[from_version] = step
        return step

    return register


@register_migration(1)
def convert_file_to_sources(document: Document) -> Document:
    """Replace the single file by a list of sources, each with its format."""
    dataset = document.get("dataset")
    if isinstance(dataset, dict):
        dataset = dict(dataset)
        file, shape = dataset.pop("file", ""), dataset.pop("format", "auto")
        if file:
            dataset["sources"] = [{"path": file, "format": shape}]
        document = {**document, "dataset": dataset}
    return document


@register_migration(2)
def convert_gradient_checkpointing(document: Document) -> Document:
    """Replace the gradient checkpointing flag by a choice of kinds."""
    training = document.get("training")
    if isinstance(training, dict):
        before = training.get("gradient_checkpointing")
        if isinstance(before, bool):
            training = training | {"gradient_checkpointing": "on" if before else "off"}
        document = {**document, "training": training}
    return document


def migrate(document: Document, version: int) -> Document:
    """Return the document in the current version's format; raises KeyError if a migration is
    missing.
    """
    for current in range(version, CURRENT_VERSION):
        document = _STEPS[current](document)
    return document
