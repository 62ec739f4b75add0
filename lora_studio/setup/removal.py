"""Delete engines with progress events: tens of thousands of files take a while."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from lora_studio.core.protocol.events import Progress
from lora_studio.setup import engines
from lora_studio.setup.engines import Engine
from lora_studio.setup.tools import SetupLog

STAGE = "Removing"

#: A folder with the names of its folders and files, as `os.walk` yields it.
_Level = tuple[str, list[str], list[str]]

#: Seconds between two progress events.
_INTERVAL = 0.2


def iter_engine_deletion(old: Sequence[Engine], log: SetupLog) -> Iterator[Progress]:
    """Delete engines that aren't selected, yielding the progress; raises ProblemError."""
    yield from _iter_deletion({one.folder: one.bytes for one in old}, log)


def iter_folder_deletion(folders: Sequence[Path], log: SetupLog) -> Iterator[Progress]:
    """Delete folders that aren't complete engines, yielding the progress; raises ProblemError."""
    yield from _iter_deletion({one: measure_folder(one) for one in folders}, log)


def measure_folder(
    folder: Path, iterate: Callable[[Iterable[_Level]], Iterable[_Level]] = iter
) -> int:
    """Return the bytes of all files in a folder; `iterate` can pause or stop between its subfolders."""
    total = 0
    for parent, _, names in iterate(os.walk(folder)):
        for name in names:
            with contextlib.suppress(OSError):  # the file may have been deleted meanwhile
                total += os.lstat(os.path.join(parent, name)).st_size  # noqa: PTH118 - 40,000 of them
    return total


def _iter_deletion(sizes: Mapping[Path, int], log: SetupLog) -> Iterator[Progress]:
    """Delete folders whose sizes in bytes are known."""
    if not sizes:
        return
    total = sum(sizes.values())
    done, reported = 0, time.monotonic()
    yield Progress(stage=STAGE, done=0, total=total or None, unit="B")
    for folder in sizes:
        log.write(f"removing {folder.name}")
        for deleted in engines.iter_deletion(folder):
            done += deleted
            if (now := time.monotonic()) - reported >= _INTERVAL:
                reported = now
                yield Progress(stage=STAGE, done=min(done, total), total=total or None, unit="B")
