"""Wait for a worker that has been killed to let go of its run."""

from __future__ import annotations

import time

from lora_studio.core.runs.folder import RunFolder

#: Seconds in which even a busy machine ends a killed worker.
_PATIENCE = 120.0


def wait_until_free(run: RunFolder) -> None:
    """Wait until no process has a run's lock; raises TimeoutError with the process that still has it."""
    until = time.monotonic() + _PATIENCE
    while run.is_running():
        if time.monotonic() > until:
            raise TimeoutError(f"{run.path} is still in use: {run.lock_file.read_text()}")
        time.sleep(0.005)
