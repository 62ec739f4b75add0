"""The sources of a dataset as plain values: what a project file keeps and undo compares."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, cast

from lora_studio.core.dataset.spec import DatasetSpec, DataSource

#: One source with the fields that differ from their defaults; always has "path".
Plain = dict[str, Any]


def plain(value: object) -> list[Plain]:
    """Whatever a draft holds as sources; entries that are none are left out."""
    if not isinstance(value, list | tuple):
        return []
    return [made for item in value if (made := _one(item))]


def spelled(path: Path, folder: Path | None) -> str:
    """A path as the project names it: relative to its folder when it lies inside."""
    if folder is not None and path.is_relative_to(folder):
        return Path(os.path.relpath(path, folder)).as_posix()
    return str(path)


def with_added(value: object, paths: Iterable[str]) -> list[Plain]:
    """The sources and, behind them, those of the paths that are not among them yet."""
    sources = plain(value)
    for path in paths:
        if path and all(source["path"] != path for source in sources):
            sources.append({"path": path})
    return sources


def with_changed(value: object, index: int, **fields: Any) -> list[Plain]:
    """The sources with some fields of one changed; a field at its default drops out."""
    sources = plain(value)
    changed = sources[index] | fields
    sources[index] = {
        name: item
        for name, item in changed.items()
        if name == "path"
        or item != DataSource.model_fields[name].get_default(call_default_factory=True)
    }
    return sources


def without(value: object, index: int) -> list[Plain]:
    """The sources but for one."""
    return [source for number, source in enumerate(plain(value)) if number != index]


def moved(sources: Sequence[Plain], folder: Path) -> list[Plain]:
    """The sources for a project elsewhere: those that lie in `folder` by their full path."""
    return [
        source | {"path": str(folder / source["path"])}
        if (folder / source["path"]).exists()
        else source
        for source in sources
    ]


def is_hub(source: Plain) -> bool:
    """Whether a source is spelled as a dataset on the hub."""
    return DataSource(path=source["path"]).is_hub


def rows_per_epoch(sources: Sequence[Plain], used: Sequence[int]) -> int:
    """Rows that one epoch sees: those used of each source, times its weight."""
    return sum(round(count * weight(item)) for count, item in zip(used, sources, strict=False))


def weight(source: Plain) -> float:
    """How often a row is seen in an epoch; 1 where the draft holds no number."""
    value = source.get("weight", 1.0)
    return float(value) if isinstance(value, int | float) else 1.0


def narrowed(dataset: DatasetSpec, fields: Iterable[str]) -> DatasetSpec:
    """The dataset with only these fields set, so that a change of another asks nothing anew."""
    return DatasetSpec(**{name: getattr(dataset, name) for name in fields})


def _one(item: object) -> Plain:
    if isinstance(item, str) and item:
        return {"path": item}
    if isinstance(item, DataSource):
        return item.model_dump(exclude_defaults=True)
    if isinstance(item, dict) and isinstance(item.get("path"), str) and item["path"]:
        return cast(Plain, {name: item[name] for name in item if name in DataSource.model_fields})
    return {}
