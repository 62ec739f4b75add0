"""A child process that replies to each line of JSON with a line of JSON, within a time limit."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from lora_studio.core import limits
from lora_studio.core.system.programs import get_empty_folder

#: Variables of the environment that such a process gets: no secrets.
_VARIABLES = ("PATH", "LANG", "LC_ALL", "SYSTEMROOT", "TEMP", "TMP", "TMPDIR")

#: Lines that are read before they are asked for.
_WAITING = 4

#: Seconds between two looks for a cancel.
_INTERVAL = 0.1


class LineProcess:
    """Runs a Python program on its own, with an environment that has no secrets.

    The program ends when its input closes, so also when this process ends.
    """

    def __init__(self, program: Path) -> None:
        """Start the program; raises OSError."""
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-u", str(program)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=get_empty_folder(),
            env={name: os.environ[name] for name in _VARIABLES if name in os.environ}
            | {"PYTHONIOENCODING": "utf-8", "PYTHONDONTWRITEBYTECODE": "1"},
        )
        assert self._process.stdout is not None
        self._replies: queue.Queue[bytes] = queue.Queue(
            _WAITING
        )  # what it writes unasked has to wait
        arguments = (self._process.stdout, self._replies)
        self._reader = threading.Thread(target=_read_replies, args=arguments, daemon=True)
        self._reader.start()

    def ask(self, request: Any, seconds: float, check: Callable[[], None]) -> dict[str, Any]:
        """Return the reply to a request; calls `check` meanwhile, which may raise.

        Raises TimeoutError after `seconds`, and EOFError if the process ends or replies with anything else
        than a JSON object.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
        except OSError as error:
            raise EOFError from error
        deadline = time.monotonic() + seconds
        while True:
            check()
            try:
                line = self._replies.get(timeout=_INTERVAL)
            except queue.Empty:
                if time.monotonic() > deadline:
                    raise TimeoutError from None
                continue
            return _parse(line)

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            try:
                stream.close()
            except OSError:
                continue  # what was still to be written has no reader
        deadline = time.monotonic() + 1
        while self._reader.is_alive() and time.monotonic() < deadline:
            with contextlib.suppress(queue.Empty):  # makes room for lines that no one asked for
                self._replies.get(timeout=0.01)


def _read_replies(stream: IO[bytes], replies: queue.Queue[bytes]) -> None:
    """Pass on each line, and an empty one at the end."""
    try:
        while line := stream.readline(limits.REPLY_BYTES):
            replies.put(line)
    except (OSError, ValueError):
        pass  # closed from the other thread
    replies.put(b"")


def _parse(line: bytes) -> dict[str, Any]:
    try:
        reply = json.loads(line)
    except (ValueError, RecursionError):
        raise EOFError from None
    if not isinstance(reply, dict):
        raise EOFError
    return reply
