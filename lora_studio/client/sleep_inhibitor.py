"""Keeps the system from going to sleep while a worker is at work; the screen may go dark."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

_LOG = logging.getLogger("lora_studio")


class SleepInhibitor(Protocol):
    """One way to keep the system awake."""

    def hold(self, worker: int, why: str) -> None:
        """From now on, until `release` or until the process `worker` has ended."""

    def release(self) -> None:
        """The system may sleep again. Harmless when nothing is held."""

    def let_go(self) -> None:
        """The window closes: the worker goes on, and as far as possible so does the hold."""


class NoInhibitor:
    """Where there is no desktop, or none that can be asked."""

    def hold(self, worker: int, why: str) -> None:
        """Does nothing."""

    def release(self) -> None:
        """Does nothing."""

    def let_go(self) -> None:
        """Does nothing."""


class ProcessInhibitor:
    """A helper process that the system knows for this holds until the worker has ended.

    It watches the worker itself, so that a training which goes on without the window is safe too, and
    nothing is held for ever where both end at once.
    """

    def __init__(self, command: Callable[[int, str], Sequence[str]]) -> None:
        """`command(worker, why)` is what is started."""
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None

    def hold(self, worker: int, why: str) -> None:
        """Starts the helper; one that cannot be started costs no more than a line in the log."""
        self.release()
        try:
            self._process = subprocess.Popen(
                self._command(worker, why),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl+C in a terminal is for the job, which may take its time
            )
        except OSError as error:
            _LOG.warning("The system cannot be kept awake: %s", error)

    def release(self) -> None:
        """Ends the helper."""
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(OSError):
                process.terminate()
            process.wait()

    def let_go(self) -> None:
        """Leaves the helper to watch the worker."""
        self._process = None


class ThreadStateInhibitor:
    """Windows: a state of the calling thread, which ends with this process."""

    _CONTINUOUS, _SYSTEM_REQUIRED = 0x80000000, 0x00000001

    def __init__(self, set_state: Callable[[int], object]) -> None:
        """`set_state` is kernel32's SetThreadExecutionState."""
        self._set_state = set_state

    def hold(self, worker: int, why: str) -> None:
        """Asks for a system that stays awake."""
        self._set_state(self._CONTINUOUS | self._SYSTEM_REQUIRED)

    def release(self) -> None:
        """Takes it back."""
        self._set_state(self._CONTINUOUS)

    def let_go(self) -> None:
        """Ends with this process anyway."""


@contextlib.contextmanager
def while_working(why: str, awake: SleepInhibitor | None = None) -> Iterator[None]:
    """Keeps the system awake while the block runs, for as long as this process lives at most."""
    held = awake or of_system()
    held.hold(os.getpid(), why)
    try:
        yield
    finally:
        held.release()


def of_system(platform: str = sys.platform) -> SleepInhibitor:
    """The way of this system."""
    if os.environ.get("QT_QPA_PLATFORM") in ("offscreen", "minimal"):
        return NoInhibitor()  # nobody sits here
    if platform == "win32":
        import ctypes

        return ThreadStateInhibitor(ctypes.windll.kernel32.SetThreadExecutionState)  # type: ignore[attr-defined,unused-ignore] # only there
    if platform == "darwin":
        return ProcessInhibitor(_caffeinate)
    if shutil.which("systemd-inhibit") and shutil.which("tail"):
        return ProcessInhibitor(_systemd_inhibit)
    return NoInhibitor()


def _caffeinate(worker: int, _why: str) -> list[str]:
    return ["caffeinate", "-i", "-w", str(worker)]


def _systemd_inhibit(worker: int, why: str) -> list[str]:
    """logind's lock lasts as long as the command under it: tail, which waits for the worker."""
    inhibit = ["systemd-inhibit", "--what=sleep:idle", "--who=LoRA Studio", f"--why={why}", "--mode=block"]  # fmt: skip
    return [*inhibit, "tail", f"--pid={worker}", "-f", "/dev/null"]
