"""Find uv, and run it and other programs of a setup: log their output, and kill them on a cancel."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

import psutil

from lora_studio.core.messages import Template, text
from lora_studio.core.network.secrets import without_secrets
from lora_studio.core.problems import Where, fail
from lora_studio.core.system import paths
from lora_studio.core.system.files import describe_os_error
from lora_studio.core.system.mounts import create_folder
from lora_studio.core.system.programs import find_on_path, get_empty_folder
from lora_studio.setup.folders import disk_problem
from lora_studio.setup.uv_contacts import UvContacts

#: Environment variable with the path of another uv.
VARIABLE = "LORA_STUDIO_UV"
#: Log files larger than this are rotated; one older file is kept.
_LOG_BYTES = 5_000_000
#: Seconds between two checks for a cancel while a program runs.
_TURN = 0.1
#: The same interval after the program has closed its output.
_SOON = 0.005


class SetupCancelledError(Exception):
    """The user canceled the setup."""


class StopFlag:
    """A flag to request a cancel from any thread; the work checks it between its parts."""

    def __init__(self) -> None:
        """Start without a request."""
        self._asked = threading.Event()

    def ask(self) -> None:
        """Request the cancel."""
        self._asked.set()

    @property
    def asked(self) -> bool:
        """Whether a cancel was requested."""
        return self._asked.is_set()

    def check(self) -> None:
        """Raise SetupCancelledError if a cancel was requested."""
        if self._asked.is_set():
            raise SetupCancelledError

    def wait(self, seconds: float) -> None:
        """Wait for some seconds; raises SetupCancelledError as soon as a cancel is requested."""
        if self._asked.wait(seconds):
            raise SetupCancelledError


class SetupLog:
    """The log file of a setup; if it can't be written, the setup continues without a log."""

    def __init__(self, file: Path) -> None:
        """Append to the file, or start a new one if it is too large."""
        self.file = file
        self._stream: IO[str] | None = None
        with contextlib.suppress(OSError):
            create_folder(file.parent)
            if file.exists() and file.stat().st_size > _LOG_BYTES:
                file.replace(file.with_suffix(".old.log"))
            self._stream = file.open("a", encoding="utf-8")

    def write(self, line: str) -> None:
        """Write a line with the time, without passwords in addresses."""
        if self._stream is not None:
            with contextlib.suppress(OSError):
                stamp = time.strftime("%Y-%m-%d %H:%M:%S")
                self._stream.write(f"{stamp} {without_secrets(line.rstrip())}\n")
                self._stream.flush()

    @property
    def stream(self) -> IO[str] | int:
        """A stream for the errors of a program."""
        return self._stream if self._stream is not None else subprocess.DEVNULL

    def close(self) -> None:
        """Close the file."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None


def find_uv() -> Path:
    """Return the path of uv: the configured one, the app's, the Python package's, or one on PATH.

    The last may be too old to know the builds of PyTorch that setup asks for. Raises ProblemError if there is none.
    """
    name = "uv.exe" if os.name == "nt" else "uv"
    configured = os.environ.get(VARIABLE)
    for candidate in (
        Path(configured) if configured else None,
        *list_bundled_paths("bin", name),
        _find_package_uv(),
        _find_on_path(name),
    ):
        if candidate is not None and candidate.is_file():
            return candidate
    raise fail(
        "engine.no_uv",
        "The uv installer wasn't found.",
        "Install it with `pip install uv`, or set {variable} to its path.",
        variable=VARIABLE,
    )


def list_bundled_paths(*parts: str) -> list[Path]:
    """Return the paths where a bundled file can be: in the resources, or beside the app's program."""
    candidates = []
    with contextlib.suppress(FileNotFoundError):
        candidates.append(paths.get_resources_folder().joinpath(*parts))
    candidates.append(Path(sys.executable).parent / Path(*parts))
    return candidates


def _find_package_uv() -> Path | None:
    if importlib.util.find_spec("uv") is None:
        return None
    import uv

    with contextlib.suppress(FileNotFoundError):
        return Path(uv.find_uv_bin())
    return None


def _find_on_path(name: str) -> Path | None:
    beside = Path(sys.executable).parent / name
    program = find_on_path(name)
    return Path(program) if program else beside


def run(
    command: Sequence[object], *, environment: Mapping[str, str], stop: StopFlag, log: SetupLog,
    on_line: Callable[[str], None] | None = None, cwd: Path | None = None,
) -> tuple[int, str]:  # fmt: skip
    """Run a program to its end; return its exit status and the last lines of its output.

    Each line is passed to `on_line`, or else to the log. On a cancel, kills the program with its
    descendants and raises SetupCancelledError. Raises OSError if it can't be started.
    """
    log.write("$ " + " ".join(str(part) for part in command))
    process = subprocess.Popen(
        [str(part) for part in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, env=dict(environment), cwd=cwd or get_empty_folder(),
        creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
    )  # fmt: skip
    last_lines: deque[str] = deque(maxlen=200)
    assert process.stdout is not None
    listener = threading.Thread(
        target=_pass_on, args=(process.stdout, last_lines, on_line or log.write),
        name="program output", daemon=True,
    )  # fmt: skip
    listener.start()
    try:
        while process.poll() is None:
            # A program usually ends when its output does; a fixed wait would delay each program.
            listener.join(_TURN)
            stop.check() if listener.is_alive() else stop.wait(_SOON)
    except BaseException:
        kill_tree(process.pid)
        process.wait()
        raise
    finally:
        listener.join(5.0)
    return process.returncode, "\n".join(last_lines)


def _pass_on(output: IO[bytes], last_lines: deque[str], on_line: Callable[[str], None]) -> None:
    """Pass each line of a program's output to `on_line`, and keep the last ones."""
    contacted = UvContacts()
    with output:
        for line in output:
            decoded = line.decode("utf-8", "replace").rstrip()
            if contacted.read_line(decoded):
                continue
            last_lines.append(decoded)
            on_line(decoded)


def kill_tree(pid: int) -> None:
    """Kill a process and all its descendants."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        for victim in [*process.children(recursive=True), process]:
            with contextlib.suppress(psutil.NoSuchProcess):
                victim.kill()


def run_checked(
    command: Sequence[object], *, environment: Mapping[str, str], stop: StopFlag, log: SetupLog,
    code: str, what: Template, remedy: Template,
) -> str:  # fmt: skip
    """Run a program and return its output; raises ProblemError with its last line if it fails."""
    try:
        status, output = run(command, environment=environment, stop=stop, log=log)
    except OSError as error:
        raise fail(
            code, "{task}: {reason}.", remedy, task=text(what), reason=describe_os_error(error)
        ) from error
    if status and (problem := disk_problem(output, log.file, what)):
        raise problem
    if status:
        reason = get_error_line(output)
        raise fail(
            code,
            "{task}: {reason}" if reason else "{task}.",
            remedy,
            where=Where(file=str(log.file)),
            task=text(what),
            reason=reason,
        )
    return output


def get_error_line(output: str) -> str:
    """Return the part of a program's output that says what went wrong, on one line."""
    lines = [line.strip(" │├╰╭─▶×·").removeprefix("cause: ") for line in output.splitlines()]
    lines = [
        line for line in lines if line and not line.startswith(("warning:", "Resolved", "Using"))
    ]
    # The resolver states its reason first, then its conclusions, wrapped over several narrow lines.
    begin = next((n for n, line in enumerate(lines) if line.startswith("Because ")), -6)
    text = " ".join(lines[begin:]).removeprefix("error: ")
    return without_secrets(text[:500]).strip()
