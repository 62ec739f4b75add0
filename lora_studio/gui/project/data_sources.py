"""Dataset sources as plain values, as project files and undo store them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, cast

from lora_studio.core.dataset.spec import DatasetSpec, DataSource

#: Files that dialogs for data show first, as a filter of Qt has them.
PATTERNS = "*.json *.jsonl *.ndjson *.csv *.tsv *.parquet *.arrow *.txt *.md *.markdown *.gz *.bz2 *.xz *.zst *.zip"

#: One source with the fields that differ from their defaults; always has "path".
Plain = dict[str, Any]


def to_plain(value: object) -> list[Plain]:
    """Return the valid sources of a draft."""
    if not isinstance(value, list | tuple):
        return []
    return [source for item in value if (source := _to_plain_one(item))]


def to_stored_path(path: Path, folder: Path | None) -> str:
    """Return a path relative to the project's folder if it is inside."""
    if folder is not None and path.is_relative_to(folder):
        return Path(os.path.relpath(path, folder)).as_posix()
    return str(path)


def add_sources(value: object, paths: Iterable[str]) -> list[Plain]:
    """Return the sources with new paths appended."""
    sources = to_plain(value)
    for path in paths:
        if path and all(source["path"] != path for source in sources):
            sources.append({"path": path})
    return sources


def change_source(value: object, index: int, **fields: Any) -> list[Plain]:
    """Return the sources with some fields of one changed; default values are dropped."""
    sources = to_plain(value)
    changed = sources[index] | fields
    sources[index] = {
        name: item
        for name, item in changed.items()
        if name == "path"
        or item != DataSource.model_fields[name].get_default(call_default_factory=True)
    }
    return sources


def remove_source(value: object, index: int) -> list[Plain]:
    """Return the sources without one of them."""
    return [source for number, source in enumerate(to_plain(value)) if number != index]


def move_sources(sources: Sequence[Plain], folder: Path) -> list[Plain]:
    """Return the sources for a copy of the project elsewhere, with full paths to `folder`."""
    return [
        source | {"path": str(folder / source["path"])}
        if (folder / source["path"]).exists()
        else source
        for source in sources
    ]


def is_hub(source: Plain) -> bool:
    """Return whether a source is a dataset on the Hub."""
    return DataSource(path=source["path"]).is_hub


def count_rows_per_epoch(sources: Sequence[Plain], used: Sequence[int]) -> int:
    """Return the rows of one epoch: used rows of each source times its weight."""
    return sum(round(count * get_weight(item)) for count, item in zip(used, sources, strict=False))


def get_weight(source: Plain) -> float:
    """Return how often a row is seen per epoch; 1 if the draft has no number."""
    value = source.get("weight", 1.0)
    return float(value) if isinstance(value, int | float) else 1.0


def select_fields(dataset: DatasetSpec, fields: Iterable[str]) -> DatasetSpec:
    """Return the dataset with only these fields set, so that other changes don't trigger a new query."""
    return DatasetSpec(**{name: getattr(dataset, name) for name in fields})


def _to_plain_one(item: object) -> Plain:
    if isinstance(item, str) and item:
        return {"path": item}
    if isinstance(item, DataSource):
        return item.model_dump(exclude_defaults=True)
    if isinstance(item, dict) and isinstance(item.get("path"), str) and item["path"]:
        return cast(Plain, {name: item[name] for name in item if name in DataSource.model_fields})
    return {}
