"""tqdm classes that the Hub library reports to, in place of bars in a terminal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tqdm.auto import tqdm

from lora_studio.core.messages import Template, Text
from lora_studio.engine.runtime.channel import JobContext


class SilentBar(tqdm):
    """A bar that shows nothing."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # The library opens one bar for bytes from the network and one for bytes on disk.
        self.counts_disk_bytes = str(kwargs.get("desc", "")).startswith("Reconstructing")
        kwargs.pop("name", None)
        super().__init__(*args, **kwargs | {"disable": True})
        self.total = kwargs.get("total")


def create_job_bar(job: JobContext, stage: Template | Text) -> type[tqdm]:
    """Return a bar class that reports bytes on disk to the job and lets a cancel through."""

    class JobBar(SilentBar):
        def update(self, n: float | None = 1) -> bool | None:
            self.n += n or 0
            job.check()
            if self.counts_disk_bytes:
                job.report_progress(stage, self.n, self.total or None, "bytes")
            return None

    return JobBar


def create_disk_bytes_bar(on_bytes: Callable[[int], None]) -> type[tqdm]:
    """Return a bar class that passes on how many more bytes are on disk, 0 for any other step."""

    class DiskBytesBar(SilentBar):
        def update(self, n: float | None = 1) -> bool | None:
            on_bytes(int(n or 0) if self.counts_disk_bytes else 0)
            return None

    return DiskBytesBar


def create_every_bytes_bar(on_bytes: Callable[[int], None]) -> type[tqdm]:
    """Return a bar class that passes on every count of bytes."""

    class EveryBytesBar(SilentBar):
        def update(self, n: float | None = 1) -> bool | None:
            on_bytes(int(n or 0))
            return None

    return EveryBytesBar
