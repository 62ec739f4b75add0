"""The process that runs inputs: it is watched and limited from outside, and may die at any input.

It reads requests as JSON lines. One with `{"first": 0, "count": 100, "until": TIME}` gets several answers, the
last of which says so: the figures of each slow input, or of many fast ones, so that none are lost if a later input
ends the process. One with `{"content": base64}` gets one answer. Before each input, its number is written to a small
shared file.
"""

from __future__ import annotations

import base64
import contextlib
import faulthandler
import hashlib
import json
import mmap
import os
import random
import resource
import struct
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.campaign.family import Family, Figures, Finding, Outcome, WrongResultError
from tests.campaign.pool import end_processes

#: Most memory that one input may use, the libraries included, in bytes.
MAX_MEMORY = 1_000_000_000

#: Address space beyond that of the libraries that an input may reserve, in bytes.
_RESERVE = 1_500_000_000

#: Audit events of connections, and of programs that are started.
_CONNECTIONS = ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto")
_PROGRAMS = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "os.forkpty")

#: Seconds after which the figures of inputs are reported.
_REPORT_SECONDS = 0.5

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class Watch:
    """Records what an input does outside of its sandbox."""

    def __init__(self, sandbox: Path) -> None:
        """Watch from now on; audit hooks can't be removed."""
        self.events: list[str] = []
        self.allows_programs = False
        self._inside = (str(sandbox), "/dev/null", str(Path(sys.prefix)))
        sys.addaudithook(self._on_event)

    def _on_event(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            if isinstance(flags, int) and flags & _WRITING and isinstance(path, str | bytes):
                self._note("wrote", path)
        elif event in ("os.remove", "os.rename", "os.rmdir", "os.truncate", "os.chmod"):
            if isinstance(arguments[0], str | bytes):
                self._note(event, arguments[0])
        elif event in _CONNECTIONS:
            address = str(arguments[1] if event == "socket.connect" else arguments[0])
            if not self.allows_programs or not ("127.0.0.1" in address or "/" in address):
                self.events.append(f"{event} {address[:200]}")
        elif event in _PROGRAMS and not self.allows_programs:
            self.events.append(f"{event} {str(arguments[0])[:200]}")

    def _note(self, event: str, path: str | bytes) -> None:
        name = os.path.abspath(os.fsdecode(path))  # noqa: PTH100 - a path as it was written
        if name.startswith("/proc/"):  # a file in a folder that is open
            name = os.path.realpath(name)
        if not name.startswith(self._inside) and "__pycache__" not in name:
            self.events.append(f"{event} {name[:200]}")


class Canary:
    """Files beside the sandbox that nothing may change."""

    def __init__(self, folder: Path) -> None:
        """Create the files, if there are none."""
        self._folder = folder
        folder.mkdir(exist_ok=True)
        for name in ("notes.txt", "secret.json", "code.py", "model.safetensors"):
            (folder / name).write_text("private\n")
        self._state = self._read()

    def _read(self) -> dict[str, tuple[int, str]]:
        return {
            entry.name: (entry.stat().st_mtime_ns, hashlib.sha256(entry.read_bytes()).hexdigest())
            for entry in sorted(self._folder.iterdir())
        }

    def has_changed(self) -> bool:
        """Return whether a file was changed, added, or removed."""
        return self._read() != self._state


def describe_error(error: BaseException) -> str:
    """Return the kind of an error and the innermost function of the program that it passed."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "/lora_studio/" in frame.filename] or list(frames)[-1:]
    where = f"{Path(own[-1].filename).stem}.{own[-1].name}" if own else "?"
    what = f": {str(error)[:120]}" if isinstance(error, WrongResultError) else ""
    return f"{type(error).__name__} in {where}{what}"


class Child:
    """Runs the inputs of one or several families."""

    def __init__(self, families: Sequence[Family], seed: int, folder: Path) -> None:
        """Prepare the sandbox and the limits; import what the families need."""
        self._families, self._seed = {family.name: family for family in families}, seed
        self._sandbox = folder / "sandbox"
        self._sandbox.mkdir(exist_ok=True)
        self._canary = Canary(folder / "canary")
        with (folder / "progress").open("r+b") as file:
            self._progress = mmap.mmap(file.fileno(), 8)
        for family in families:
            if family.shares:  # a fault in what is shared would be repeated by every input
                family.run(b"", self._sandbox)
                continue
            with contextlib.suppress(Exception):
                family.run(family.generate(random.Random(0)), self._sandbox)
        self._stderr = os.fstat(2).st_size
        _limit_memory()
        self._watch = Watch(folder)

    def run_many(self, name: str, first: int, count: int, until: float) -> Iterator[dict[str, Any]]:
        """Run inputs one after another, as long as there is time, and yield their figures in parts."""
        measure = time.monotonic if self._families[name].starts_programs else time.process_time
        figures, reported = Figures(), time.monotonic()
        for index in range(first, first + count):
            struct.pack_into("<q", self._progress, 0, index)
            began = measure()
            outcome, kind, details = self.run_one(name, self._generate(name, index))
            figures.count(outcome, measure() - began)
            if kind:
                finding = Finding(name, index, kind, str(outcome), details)
                figures.findings.setdefault(finding.signature, finding)
            if time.time() > until or kind == "memory":  # the peak would count for all that follow
                break
            if time.monotonic() - reported > _REPORT_SECONDS:
                yield self._describe(figures)
                figures, reported = Figures(), time.monotonic()
        if self._canary.has_changed():
            figures.findings["canary"] = Finding(name, first, "file changed", "canary", "")
        yield self._describe(figures) | {"is_last": True}

    def _describe(self, figures: Figures) -> dict[str, Any]:
        return asdict(figures) | {
            "peak": _read_peak(),
            "findings": list(figures.findings.values()),
        }

    def _generate(self, name: str, index: int) -> bytes:
        return self._families[name].generate(random.Random(f"{self._seed}/{name}/{index}"))

    def run_one(self, name: str, content: bytes) -> tuple[Outcome, str, str]:
        """Run one input; return the outcome or signature, the kind of a finding or "", and details."""
        family = self._families[name]
        outcome: Outcome
        self._watch.allows_programs = family.starts_programs
        try:
            outcome, kind, details = family.run(content, self._sandbox), "", ""
        except MemoryError as error:
            outcome, kind, details = describe_error(error), "memory", traceback.format_exc()
        except WrongResultError as error:
            outcome, kind, details = describe_error(error), "wrong result", str(error)
        except BaseException as error:
            outcome, kind, details = describe_error(error), "exception", traceback.format_exc()
        if self._watch.events:
            details, kind = "\n".join(self._watch.events), "outside"
            outcome = f"outside: {self._watch.events[0]}"
            self._watch.events.clear()
        if not kind and (errors := self._read_stderr()):
            outcome, kind, details = (
                "traceback: " + errors.strip().splitlines()[-1],
                "stderr",
                errors,
            )
        if not kind and _read_peak() > MAX_MEMORY:
            outcome, kind, details = "more than 1 GB", "memory", ""
        return outcome, kind, details[-4000:]

    def _read_stderr(self) -> str:
        """Return what was written to stderr since the last input, if it has a traceback."""
        sys.stderr.flush()
        size = os.fstat(2).st_size
        if size == self._stderr:
            return ""
        text = os.pread(2, min(size - self._stderr, 100_000), self._stderr).decode(
            "utf-8", "replace"
        )
        self._stderr = size
        return text if "Traceback (most recent call last)" in text else ""


def _read_peak() -> int:
    """Return the peak of resident memory in bytes; `ru_maxrss` would include the parent's."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(
        next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))
    )


def _limit_memory() -> None:
    pages = Path("/proc/self/statm").read_text().split()[0]
    used = int(pages) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + _RESERVE, resource.RLIM_INFINITY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _end_with_parent(parent: int, folder: Path) -> None:
    """End this process and all that it started once the campaign has ended, however it did."""
    while os.getppid() == parent:
        time.sleep(0.5)
    end_processes(folder)
    os._exit(1)


def main(names: str, seed: int, folder: Path) -> None:
    """Answer requests until stdin ends."""
    from tests.campaign.families import load_family

    watchdog = threading.Thread(target=_end_with_parent, args=(os.getppid(), folder), daemon=True)
    watchdog.start()
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    log = os.open(folder / "stderr", os.O_RDWR | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 2)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    faulthandler.enable(all_threads=True)
    os.chdir(folder)
    warnings.simplefilter("ignore")
    child = Child([load_family(name) for name in names.split(",")], seed, folder)
    answers.write(json.dumps({"ready": True, "peak": _read_peak()}) + "\n")
    for line in sys.stdin:
        request = json.loads(line)
        if "content" in request:
            content = base64.b64decode(request["content"])
            answers.write(json.dumps(child.run_one(request["family"], content)) + "\n")
            continue
        limits = request["first"], request["count"], request["until"]
        for part in child.run_many(request["family"], *limits):
            answers.write(json.dumps(part) + "\n")
    answers.flush()
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
