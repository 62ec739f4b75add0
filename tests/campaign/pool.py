"""Start the processes that run inputs, watch them, and replace those that die."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import select
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil

from tests.campaign.family import Family

#: Seconds in which a process with all that it started uses at least some processor time, unless it hangs.
_STALL_SECONDS, _STALL_USE = 120.0, 0.02

#: Wall-clock limit of an input as a multiple of its limit in processor time, but never less than the seconds of a
#: stall: with ten other processes on two cores, inputs that take a second alone were not done after 40.
_PATIENCE = 20

#: Processor seconds that a process may take to import what it needs, and to prepare what families share.
_START_SECONDS = 120


class ChildDiedError(Exception):
    """Raised when a process ended or was killed during an input."""

    def __init__(self, kind: str, signature: str, index: int, details: str) -> None:
        """Store what happened: the kind of the finding, and the input's number."""
        super().__init__(signature)
        self.kind, self.signature, self.index, self.details = kind, signature, index, details


def end_processes(folder: Path) -> None:
    """End all processes whose home is in a folder: workers and converters are in sessions of their own."""
    for _ in range(2):  # one may have started another in the meantime
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                home = process.environ().get("HOME", "")
                if process.pid != os.getpid() and Path(home).is_relative_to(folder):
                    process.kill()


def _read_processor_time(pid: int) -> float:
    """Return the processor seconds of a process and of all that it started."""
    seconds = 0.0
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        for each in (process, *process.children(recursive=True)):
            with contextlib.suppress(psutil.Error):
                times = each.cpu_times()
                seconds += times.user + times.system + times.children_user + times.children_system
    return seconds


class _Stopwatch:
    """Measures one input: by processor time, by the clock, and how long nothing has happened."""

    def __init__(self, pid: int, index: int) -> None:
        """Start; `index` is the input's number."""
        self.index, self._pid = index, pid
        self._began = self._moved = time.monotonic()
        self._used = self._last = _read_processor_time(pid)

    def is_over(self, seconds: float) -> bool:
        """Return whether the input has used up its limit, or hangs."""
        now, used = time.monotonic(), _read_processor_time(self._pid)
        if abs(used - self._last) > _STALL_USE:  # less if a process with a parent of its own ends
            self._last, self._moved = used, now
        is_stalled = now - self._moved > _STALL_SECONDS
        is_late = now - self._began > max(seconds * _PATIENCE, _STALL_SECONDS)
        return used - self._used > seconds or is_late or is_stalled


class ChildProcess:
    """One process for one or several families."""

    def __init__(self, families: Sequence[Family], seed: int) -> None:
        """Start it; the first request waits until it is ready."""
        self._folder = Path(tempfile.mkdtemp(prefix="campaign-"))
        (self._folder / "progress").write_bytes(struct.pack("<q", -1))
        for name in ("data", "config", "home"):
            (self._folder / name).mkdir()
        names = ",".join(family.name for family in families)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.campaign.child", names, str(seed), str(self._folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=self._build_environment(),
            cwd=Path(__file__).parents[2],
            start_new_session=True,
        )
        self._is_ready = False
        #: What was received of the answers that haven't been read.
        self._received = b""

    def _build_environment(self) -> dict[str, str]:
        return os.environ | {
            "LORA_STUDIO_DATA": str(self._folder / "data"),
            "LORA_STUDIO_CONFIG": str(self._folder / "config"),
            "HOME": str(self._folder / "home"),
            "HF_HOME": str(self._folder / "home" / "hf"),
            "LORA_STUDIO_LOGS": str(self._folder / "logs"),
            "LORA_STUDIO_CACHE": str(self._folder / "cache"),
            "TMPDIR": str(self._folder / "sandbox"),
            "QT_QPA_PLATFORM": "offscreen",
            "OMP_NUM_THREADS": "1",
            "PYTHONHASHSEED": "0",
        }

    def wait_until_ready(self) -> None:
        """Wait until the process has prepared all families; raises ChildDiedError."""
        if not self._is_ready:
            self._read(_START_SECONDS, is_start=True)
            self._is_ready = True

    def run_batch(
        self, family: Family, first: int, count: int, until: float
    ) -> Iterator[dict[str, Any]]:
        """Run inputs and yield their figures, part by part; raises ChildDiedError."""
        self._send(family, first=first, count=count, until=until)
        answer: dict[str, Any] = {}
        while not answer.get("is_last"):
            answer = self._read(family.seconds)
            yield answer

    def _send(self, family: Family, **content: Any) -> None:
        self.wait_until_ready()
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.write(
                json.dumps({"family": family.name, **content}).encode() + b"\n"
            )
            self._process.stdin.flush()

    def run_content(self, family: Family, content: bytes) -> tuple[str, str]:
        """Run one input; return its signature and the kind of the finding, "" if there is none."""
        self._send(family, content=base64.b64encode(content).decode())
        outcome, kind, _ = self._read(family.seconds)
        return outcome, kind

    def _read(self, seconds: float, *, is_start: bool = False) -> Any:
        """Return the next answer; ends the process if one input takes longer than its limit, or waits for nothing."""
        assert self._process.stdout is not None
        watch = _Stopwatch(self._process.pid, self._read_progress())
        while True:
            line, end, rest = self._received.partition(b"\n")
            if end:  # several answers may have come at once
                self._received = rest
                return json.loads(line)
            ready, _, _ = select.select([self._process.stdout], [], [], 0.2)
            if ready:
                received = os.read(self._process.stdout.fileno(), 1 << 16)
                if not received:
                    raise self._describe_death(is_start=is_start)
                self._received += received
                continue
            if (now := self._read_progress()) != watch.index:
                watch = _Stopwatch(self._process.pid, now)
            elif watch.is_over(seconds):
                self._process.send_signal(signal.SIGABRT)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(5)
                raise self._describe_death(hang=True)

    def _describe_death(self, *, hang: bool = False, is_start: bool = False) -> ChildDiedError:
        self.close()
        details = self._details
        own = [line for line in details.splitlines() if "/lora_studio/" in line]
        where = own[0].strip().rpartition("/")[2] if own else "?"
        status = self._process.returncode
        index = self._index
        if hang:
            return ChildDiedError("hang", f"hang in {where}", index, details)
        kind = "start" if is_start else "crash"
        return ChildDiedError(kind, f"{kind} with status {status} in {where}", index, details)

    def _read_progress(self) -> int:
        return int(struct.unpack("<q", (self._folder / "progress").read_bytes())[0])

    def close(self) -> None:
        """End the process with all that it started, and remove its folder."""
        if not self._folder.exists():
            return
        with contextlib.suppress(OSError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        end_processes(self._folder)
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
        self._index = self._read_progress()
        log = self._folder / "stderr"
        self._details = log.read_text("utf-8", "replace")[-4000:] if log.exists() else ""
        shutil.rmtree(self._folder, ignore_errors=True)
