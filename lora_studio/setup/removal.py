"""Deletes engines and tells how far that is: tens of thousands of files take a while."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from lora_studio.core.events import Progress
from lora_studio.setup import engines
from lora_studio.setup.engines import Engine
from lora_studio.setup.tools import Log

STAGE = "Removing"

#: Seconds between two words about progress.
_INTERVAL = 0.2


def removing(old: Sequence[Engine], log: Log) -> Iterator[Progress]:
    """Deletes the engines, which nothing points to any more; raises ProblemError."""
    if not old:
        return
    total = sum(one.bytes for one in old)
    done, said = 0, time.monotonic()
    yield Progress(stage=STAGE, done=0, total=total or None, unit="B")
    for engine in old:
        log.write(f"removing {engine.name}")
        for gone in engines.deleting(engine.folder):
            done += gone
            if (now := time.monotonic()) - said >= _INTERVAL:
                said = now
                yield Progress(stage=STAGE, done=min(done, total), total=total or None, unit="B")
