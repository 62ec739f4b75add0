"""A folder that the worker keeps writing to when somebody renames or moves it.

On Linux, a path through the open directory (`/proc/PID/fd/N`) leads to the folder wherever it is, for
child processes as well, and to nothing once it was deleted: a folder of the old name is never created
again. Elsewhere the path stays what it is, and the work ends when it no longer leads to the folder.
"""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path

from lora_studio.core.problems import ProblemError, Where, fail

#: Where Linux lists the open files of this process.
DESCRIPTORS = Path("/proc/self/fd")


class PinnedFolder:
    """An open folder; `path` leads to it even after it was moved."""

    def __init__(self, folder: Path) -> None:
        """Open the folder; raises OSError."""
        self._original = folder
        self._facts = folder.stat()
        self._descriptor: int | None = None
        self.path = folder
        if hasattr(os, "O_DIRECTORY") and DESCRIPTORS.is_dir():
            self._descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            self.path = Path(f"/proc/{os.getpid()}/fd/{self._descriptor}")

    def close(self) -> None:
        """Close the folder."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def locate(self) -> Path | None:
        """Return where the folder is now; None if it was deleted, or moved to another disk."""
        if self._descriptor is not None:
            current = self.path.readlink()
            return current if _is_same(current, self._facts) else None
        return self._original if _is_same(self._original, self._facts) else None

    def translate(self, line: str) -> str:
        """Return a JSON line with the folder's real path instead of the one through the descriptor."""
        if self._descriptor is None or str(self.path) not in line:
            return line
        current = str(self.locate() or self._original)
        return line.replace(str(self.path), json.dumps(current)[1:-1])

    def gone_error(self) -> ProblemError:
        """Return the error for a folder that was deleted or moved where it can't be followed."""
        return fail(
            "run.moved",
            "The run folder {path} was moved or deleted while a job was using it.",
            "If you moved it, start the step again at its new location: everything that was saved moved "
            "with it.",
            path=str(self._original),
            where=Where(file=str(self._original)),
        )


def _is_same(path: Path, facts: os.stat_result) -> bool:
    with contextlib.suppress(OSError):
        return os.path.samestat(path.stat(), facts)
    return False
