"""Child processes that can be canceled, end with this process and are read line by line.

Also the program that such a child runs: it watches its stdin, which closes when the parent ends, so
that no orphan keeps working. It runs Python code itself, or starts another program and ends it.
"""

from __future__ import annotations

import contextlib
import os
import queue
import runpy
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from lora_studio.core.system.programs import get_empty_folder
from lora_studio.engine.runtime.channel import JobContext

_PACKAGE_PARENT = Path(__file__).resolve().parents[3]

#: First argument of a child that starts another program instead of Python code.
_OTHER_PROGRAM = "--program"

#: Seconds that a child may take to end what it started before it is killed.
_GRACE = 5.0


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


def get_watched_command(program: str, *arguments: str) -> list[str]:
    """Return the command that runs another program as a watched child.

    Such a program would outlive this process if it were started directly.
    """
    return get_python_command(_OTHER_PROGRAM, program, *arguments)


def run(
    command: Sequence[str],
    job: JobContext,
    on_line: Callable[[str], None],
    variables: Mapping[str, str] = {},
) -> ChildExit:
    """Run a command to its end and pass on each line that it prints; end it on a cancel.

    `variables` are added to its environment. Raises OSError when it can't be started.
    """
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=get_empty_folder(),
        env=build_environment() | dict(variables),
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
        process.stdin.close()
        if process.poll() is None:
            _end(process, _GRACE if _OTHER_PROGRAM in command else 0.0)
        reader.join(1)  # a grandchild may still hold the other end


def run_alone(command: Sequence[str], seconds: float) -> int:
    """Run a command whose output isn't needed, and return its exit status (negative: a signal).

    Raises TimeoutError after `seconds`, and OSError when it can't be started.
    """
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=get_empty_folder(),
        env=build_environment(),
    ) as process:
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise TimeoutError from None
        finally:
            process.kill()


def _end(process: subprocess.Popen[bytes], grace: float) -> None:
    """Kill a child whose stdin is closed, unless it ends within some seconds."""
    try:
        process.wait(grace)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


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
    if program == _OTHER_PROGRAM:
        sys.exit(_run_program(arguments))
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    sys.argv = [program, *arguments]
    if program.endswith(".py"):
        sys.path.insert(0, str(Path(program).resolve().parent))
        runpy.run_path(program, run_name="__main__")
    else:
        runpy.run_module(program, run_name="__main__", alter_sys=True)


def _run_program(command: Sequence[str]) -> int:
    """Run a program until it ends or the parent does; return its exit status."""
    _lift_memory_limit()
    try:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, cwd=get_empty_folder())
    except OSError as error:
        print(f"{command[0]}: {error.strerror or error}", flush=True)
        return 1
    threading.Thread(target=_exit_with_parent, args=(process.kill,), daemon=True).start()
    return process.wait()


def _lift_memory_limit() -> None:
    """Lift the limit of a worker that reads foreign files, which holds its own libraries only.

    A program such as llama-server needs as much memory as its model.
    """
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (hard, hard))


def _exit_with_parent(end: Callable[[], None] = lambda: None) -> None:
    while os.read(0, 4096):
        pass
    end()
    os._exit(1)


if __name__ == "__main__":
    _main()
