"""Child processes that can be canceled, end with this process and are read line by line.

Also the program that such a child runs: it watches its stdin, which closes when the parent ends, so
that no orphan keeps working.
"""

from __future__ import annotations

import os
import queue
import runpy
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from lora_studio.engine.runtime.channel import JobContext

_PACKAGE_PARENT = Path(__file__).resolve().parents[3]


@dataclass(frozen=True)
class ChildExit:
    """How a child ended: its exit status (negative: a signal) and its last lines."""

    status: int
    lines: tuple[str, ...]


def get_python_command(program: str, *arguments: str) -> list[str]:
    """Return the command that runs a script (`….py`) or a module with this Python as a watched
    child.
    """
    # -P: the folder that happens to be the current one must not shadow a module.
    return [sys.executable, "-P", "-u", "-m", __name__, program, *arguments]


def run(command: Sequence[str], job: JobContext, on_line: Callable[[str], None]) -> ChildExit:
    """Run a command to its end and pass on each line that it prints; kill it on a cancel.

    Raises OSError when it can't be started.
    """
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=build_environment(),
    )
    assert process.stdin is not None
    assert process.stdout is not None
    lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    reader = threading.Thread(target=_read, args=(process.stdout, lines), daemon=True)
    reader.start()
    last: deque[str] = deque(maxlen=60)
    try:
        while True:
            job.check()
            try:
                line = lines.get(timeout=0.2)
            except queue.Empty:
                continue
            if line is None:
                return ChildExit(process.wait(), tuple(last))
            last.append(line)
            on_line(line)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        process.stdin.close()
        reader.join(1)  # a grandchild may still hold the other end


def build_environment() -> dict[str, str]:
    """Return the environment of a child that runs this package's modules."""
    paths = [str(_PACKAGE_PARENT), os.environ.get("PYTHONPATH", "")]
    return os.environ | {
        "PYTHONPATH": os.pathsep.join(path for path in paths if path),
        "PYTHONIOENCODING": "utf-8",
    }


def _read(stream: IO[bytes], lines: queue.SimpleQueue[str | None]) -> None:
    """Split the output into lines, also at carriage returns, which progress bars write."""
    pending = b""
    with stream:
        while chunk := stream.read1(4096):  # type: ignore[attr-defined]  # a pipe is buffered
            *complete, pending = (pending + chunk).replace(b"\r", b"\n").split(b"\n")
            for line in complete:
                if line.strip():
                    lines.put(line.decode("utf-8", errors="replace").rstrip())
    if pending.strip():
        lines.put(pending.decode("utf-8", errors="replace").rstrip())
    lines.put(None)


def _main() -> None:
    program, *arguments = sys.argv[1:]
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    sys.argv = [program, *arguments]
    if program.endswith(".py"):
        sys.path.insert(0, str(Path(program).resolve().parent))
        runpy.run_path(program, run_name="__main__")
    else:
        runpy.run_module(program, run_name="__main__", alter_sys=True)


def _exit_with_parent() -> None:
    while os.read(0, 4096):
        pass
    os._exit(1)


if __name__ == "__main__":
    _main()
