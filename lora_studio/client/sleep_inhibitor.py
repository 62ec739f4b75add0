"""Prevent the system from sleeping while a worker is running; the screen can still turn off."""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from lora_studio.core.system.programs import find_on_path, get_empty_folder

_LOG = logging.getLogger("lora_studio")


class SleepInhibitor(Protocol):
    """A way to keep the system awake."""

    def hold(self, worker: int, why: str) -> None:
        """Keep the system awake until `release` or until the process `worker` ends."""

    def release(self) -> None:
        """Allow the system to sleep again; do nothing if it is allowed already."""

    def detach(self) -> None:
        """Prepare for the window closing: if possible, keep the system awake for the worker."""


class NoInhibitor:
    """An inhibitor that does nothing, for systems without a desktop or without support for
    inhibitors.
    """

    def hold(self, worker: int, why: str) -> None:
        """Do nothing."""

    def release(self) -> None:
        """Do nothing."""

    def detach(self) -> None:
        """Do nothing."""


class ProcessInhibitor:
    """A system helper process that keeps the system awake until the worker ends.

    The helper watches the worker itself, so a training run that continues without the window is
    covered, and the inhibitor never outlives the worker.
    """

    def __init__(self, command: Callable[[int, str], Sequence[str]]) -> None:
        """Store `command`; `command(worker, why)` returns the command line of the helper."""
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None

    def hold(self, worker: int, why: str) -> None:
        """Start the helper; if it can't be started, log a warning."""
        self.release()
        try:
            self._process = subprocess.Popen(
                self._command(worker, why),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd=get_empty_folder(),
                start_new_session=True,  # Ctrl+C in a terminal is meant for the job
            )
        except OSError as error:
            _LOG.warning("Couldn't prevent the system from sleeping: %s", error)

    def release(self) -> None:
        """Stop the helper."""
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(OSError):
                process.terminate()
            process.wait()

    def detach(self) -> None:
        """Leave the helper running until the worker ends."""
        self._process = None


class ThreadStateInhibitor:
    """An inhibitor for Windows: the execution state of the calling thread, which ends with this
    process.
    """

    _CONTINUOUS, _SYSTEM_REQUIRED = 0x80000000, 0x00000001

    def __init__(self, set_state: Callable[[int], object]) -> None:
        """Store `set_state`, which is SetThreadExecutionState of kernel32."""
        self._set_state = set_state

    def hold(self, worker: int, why: str) -> None:
        """Request that the system stay awake."""
        self._set_state(self._CONTINUOUS | self._SYSTEM_REQUIRED)

    def release(self) -> None:
        """Withdraw the request."""
        self._set_state(self._CONTINUOUS)

    def detach(self) -> None:
        """Do nothing: the state ends with this process."""


@contextlib.contextmanager
def prevent_sleep(why: str, inhibitor: SleepInhibitor | None = None) -> Iterator[None]:
    """Keep the system awake while the block runs."""
    active = inhibitor or create_inhibitor()
    active.hold(os.getpid(), why)
    try:
        yield
    finally:
        active.release()


def create_inhibitor(platform: str = sys.platform) -> SleepInhibitor:
    """Return the inhibitor for this system."""
    if os.environ.get("QT_QPA_PLATFORM") in ("offscreen", "minimal"):
        return NoInhibitor()  # no display
    if platform == "win32":
        import ctypes

        return ThreadStateInhibitor(ctypes.windll.kernel32.SetThreadExecutionState)  # type: ignore[attr-defined,unused-ignore] # only there
    if platform == "darwin":
        return ProcessInhibitor(_build_caffeinate_command)
    if find_on_path("systemd-inhibit") and find_on_path("tail"):
        return ProcessInhibitor(build_systemd_inhibit_command)
    return NoInhibitor()


def _build_caffeinate_command(worker: int, _why: str) -> list[str]:
    return ["caffeinate", "-i", "-w", str(worker)]


def build_systemd_inhibit_command(worker: int, why: str) -> list[str]:
    """Return a command that holds a logind lock until the worker exits; `tail` waits for the
    worker.
    """
    inhibit = ["systemd-inhibit", "--what=sleep:idle", "--who=LoRA Studio", f"--why={why}", "--mode=block"]  # fmt: skip
    return [*inhibit, "tail", f"--pid={worker}", "-f", "/dev/null"]
