"""Limits of the user's account are named, not reported as unexpected errors."""

from __future__ import annotations

import errno
import io
import os
import queue
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import psutil
import pytest

from lora_studio.client.worker import parse_events
from lora_studio.core import limits
from lora_studio.core.messages import text
from lora_studio.core.model.spec import ModelSpec
from lora_studio.core.problems import Fix, Problem, ProblemError, fail
from lora_studio.core.protocol import commands, events
from lora_studio.core.protocol.chat import ServedRun
from lora_studio.core.runs.folder import RunFolder
from lora_studio.engine.runtime.channel import Channel, Inbox
from lora_studio.engine.runtime.disk import find_program_disk_problem
from lora_studio.engine.runtime.failures import (
    CancelledError,
    to_problem,
    translate_library_errors,
)


@pytest.mark.parametrize(
    ("exception", "code"),
    [
        (ImportError("libtorch.so: failed to map segment from shared object"), "system.address_space"),
        (FileNotFoundError(2, "No usable temporary directory found in ['/tmp']"), "system.no_temporary_folder"),
        (OSError(errno.EMFILE, "Too many open files"), "system.open_files"),
        (BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"), "system.processes"),
        (RuntimeError("can't start new thread"), "system.processes"),
        (Exception('ThreadPoolBuildError { kind: IOError(Os { code: 11, kind: WouldBlock, message: "…" }) }'), "system.processes"),
        (Exception("Too many open files (os error 24)"), "system.open_files"),
        (Exception("Error while deserializing header: Input/output error (os error 5)"), "disk.failing"),
        (RuntimeError("PytorchStreamReader failed reading file: Input/output error"), "disk.failing"),
        (Exception("Disk quota exceeded (os error 122)"), "disk.full"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "disk.full"),
        (OSError(errno.EFBIG, "File too large"), "disk.file_too_large"),
        (OSError(errno.EIO, "Input/output error"), "disk.failing"),
        (OSError(errno.EROFS, "Read-only file system"), "disk.read_only"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_limit_of_the_system_is_named(exception: Exception, code: str) -> None:
    assert to_problem(exception, "Training").code == code


@pytest.mark.parametrize("trains", [True, False])
def test_failed_gpu_is_named_with_what_to_do(trains: bool) -> None:
    lost = RuntimeError("CUDA error: unspecified launch failure\nCUDA kernel errors might be …")
    problem = to_problem(lost, "Training", trains=trains)
    assert problem.code == "gpu.failed"
    assert str(problem.what) == (
        "Training failed: the GPU reported an error (CUDA error: unspecified launch failure)."
    )
    assert ("Resume training" in str(problem.remedy)) == trains
    full = to_problem(RuntimeError("CUDA error: out of memory"), "Training", trains=trains)
    assert full.code == "device.out_of_memory"


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        ("CUDA error: uncorrectable ECC error encountered", "gpu.failed"),
        ("CUDA error: an illegal instruction was encountered", "gpu.failed"),
        ("HIP error: unspecified launch failure", "gpu.failed"),
        ("CUDA error: device-side assert triggered", "engine.unexpected"),
        ("CUDA error: invalid argument", "engine.unexpected"),
        ("CUDA error: misaligned address", "engine.unexpected"),
    ],
)
def test_only_errors_like_those_of_hardware_blame_the_gpu(reason: str, code: str) -> None:
    assert to_problem(RuntimeError(reason), "Training").code == code
    caused = RuntimeError("the forward pass failed")
    caused.__cause__ = RuntimeError(reason)
    assert to_problem(caused, "Training").code == code


@pytest.mark.parametrize(
    ("number", "cause"), [(errno.EDQUOT, "your disk quota is used up"), (errno.ENOSPC, "the disk is full")]
)  # fmt: skip
def test_quota_is_not_called_a_full_disk(number: int, cause: str) -> None:
    for exception in (OSError(number, "x", "/a/b"), Exception(f"write failed (os error {number})")):
        problem = to_problem(exception, "Export")
        assert cause in str(problem.what)
        assert ("quota" in str(problem.what)) == ("Delete some" in str(problem.remedy))


@pytest.mark.parametrize(
    ("number", "code"), [(errno.EIO, "disk.failing"), (errno.EMFILE, "system.open_files"), (errno.ENOENT, "test.odd")]
)  # fmt: skip
def test_file_that_the_system_cannot_read_is_not_damaged(number: int, code: str) -> None:
    unreadable = _to_error("config.json can't be read")
    unreadable.__cause__ = OSError(number, "odd")
    problem = to_problem(unreadable, "Training")
    assert problem.code == code
    assert str(problem.what) == "config.json can't be read."


@pytest.mark.skipif(sys.platform != "linux", reason="/proc has a file whose reading fails")
@pytest.mark.parametrize(
    ("line", "is_unreadable", "code", "file"),
    [
        ("OSError: [Errno 5] Input/output error: '/x/tokenizer.json'", False, "disk.failing", "/x/tokenizer.json"),
        ("OSError: [Errno 30] Read-only file system", False, "disk.read_only", "target.gguf"),
        ("write failed: Disk quota exceeded", False, "disk.full", "target.gguf"),
        ("failed to quantize: basic_ios::clear: iostream error", False, "disk.failing", "target.gguf"),
        ("failed to quantize: tensor is not within the file bounds", True, "disk.failing", "source.gguf"),
        ("failed to quantize: tensor is not within the file bounds", False, None, None),
    ],
    ids=["named", "read-only", "quota", "stream", "unreadable source", "another cause"],
)  # fmt: skip
def test_program_on_a_failing_disk_names_the_file(
    line: str, is_unreadable: bool, code: str | None, file: str | None, tmp_path: Path
) -> None:
    source = tmp_path / "source.gguf"
    if is_unreadable:
        source.symlink_to("/proc/self/mem")
    else:
        source.write_bytes(b"GGUF")
    target = tmp_path / "target.gguf"
    problem = find_program_disk_problem(["main: start", line], "Quantizing", source, target)
    assert (problem.code if problem else None) == code
    if problem and file:
        assert str(problem.where.file).endswith(file)
        assert file in str(problem.what) or problem.code == "disk.full"


class PanicException(BaseException):
    """As a library in Rust raises it."""


@pytest.mark.parametrize("exception", [Exception("odd"), PanicException("odd"), TypeError("odd")])
def test_any_exception_of_a_library_is_translated(exception: BaseException) -> None:
    with pytest.raises(ProblemError), translate_library_errors(_to_error):
        raise exception


@pytest.mark.parametrize(
    "exception",
    [MemoryError(), CancelledError(), OSError(errno.EIO, "disk"), PermissionError("no"), KeyboardInterrupt(),
     RuntimeError("can't start new thread"), OSError(errno.EMFILE, "files")],
)  # fmt: skip
def test_what_is_not_about_content_passes(exception: BaseException) -> None:
    with pytest.raises(type(exception)), translate_library_errors(_to_error):
        raise exception


def _to_error(reason: object) -> ProblemError:
    return fail("test.odd", "{reason}.", "Again.", reason=str(reason))


@pytest.mark.skipif(sys.platform != "linux", reason="/dev/full has no space left")
def test_program_on_a_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a quantizer prints it whose disk is full: a stream of C++ keeps no number."""
    source = tmp_path / "source.gguf"
    source.write_bytes(b"GGUF")
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **_: io.FileIO("/dev/full", "wb"))
    problem = find_program_disk_problem(
        ["basic_ios::clear: iostream error"], "Quantizing", source, tmp_path / "target.gguf"
    )
    assert problem is not None
    assert problem.code == "disk.full"
    assert str(problem.where.file).endswith("target.gguf")


#: Events that may repeat what a library or a server said.
TELLING = [
    events.Warned(problem=Problem(code="a.b", what=text("{x}", x="http://pim:pa55@host"), remedy="R.")),
    events.Failed(problem=Problem(code="a.b", what="W.", remedy=text("{x}", x=["http://pim:pa55@host"]))),
    events.LogLine(text=text("at {x}", x="http://pim:pa55@host")),
    events.ServerLogged(lines=("http://pim:pa55@host",)),
]  # fmt: skip


@pytest.fixture
def channel(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Channel, IO[bytes]]]:
    """Yield a channel that leaves this process's stdout alone, and its pipe."""
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb") as received, os.fdopen(writer, "wb", buffering=0) as pipe:
        with monkeypatch.context() as patch:
            patch.setattr(os, "dup", lambda _: writer)
            patch.setattr(os, "dup2", lambda *_: None)
            patch.setattr(os, "fdopen", lambda *_, **__: pipe)
            patch.setattr(sys, "stdout", sys.stdout)
            opened = Channel()
        yield opened, received
        opened.drain()


@pytest.mark.parametrize("event", TELLING, ids=lambda event: event.kind)
def test_no_event_repeats_a_password(
    event: events.Event, channel: tuple[Channel, IO[bytes]], tmp_path: Path
) -> None:
    opened, received = channel
    run = RunFolder(tmp_path)
    opened.open_run(run)
    opened.emit(event)
    opened.close_run()
    line = received.readline()
    assert line == run.events_file.read_bytes()
    assert b"pa55" not in line
    assert b"http://***@host" in line


def test_fix_of_a_problem_reaches_the_parent(channel: tuple[Channel, IO[bytes]]) -> None:
    opened, received = channel
    fix = Fix(label=text("Less"), step="lora", field="rank", value=4)
    opened.emit(events.Warned(problem=Problem(code="a.b", what="W.", remedy="R.", fix=fix)))
    (event,) = parse_events([received.readline()], is_own=True)
    assert isinstance(event, events.Warned)
    assert event.problem.fix == fix


SERVE = commands.Serve(runs=(ServedRun(run="run"),))


@pytest.mark.parametrize("starts_first", [True, False])
@pytest.mark.parametrize(
    ("command", "is_canceled"),
    [
        pytest.param(SERVE, True, id="serve"),
        pytest.param(commands.SelfTest(run="run"), False, id="self-test"),
    ],
)
def test_closed_pipe_cancels_what_ends_with_its_parent(
    command: commands.Serve | commands.SelfTest, is_canceled: bool, starts_first: bool
) -> None:
    received: queue.Queue[object] = queue.Queue()
    inbox = Inbox(received.put)
    reader, writer = os.pipe()
    flags = inbox.start_command(command) if starts_first else inbox.get_flags(command.id)
    with os.fdopen(reader, "rb", buffering=0) as stream:
        inbox.read_pipe(stream)
        os.close(writer)
        assert received.get(timeout=60) is None
    inbox.start_command(command)
    assert flags.cancel.is_set() is is_canceled


@pytest.mark.parametrize("parent", ["replaced", "ended", "alive"])
def test_reader_ends_soon_after_its_parent_was_killed(
    parent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Windows keeps the ID of a parent that has ended."""
    exits: queue.Queue[int] = queue.Queue()
    received: queue.Queue[object] = queue.Queue()
    inbox = Inbox(received.put)
    monkeypatch.setattr(limits, "READER_CANCEL", 0.0)
    monkeypatch.setattr(os, "_exit", exits.put)
    if parent == "replaced":
        monkeypatch.setattr(os, "getppid", lambda: 1)
    elif parent == "ended":
        monkeypatch.setattr(psutil.Process, "is_running", lambda _: False)
    inbox.start_command(commands.InspectModel(model=ModelSpec(source="deep.gguf")))
    reader = inbox.read_pipe(io.BytesIO(b""))
    assert received.get(timeout=60) is None
    reader.join()
    assert exits.qsize() == (parent != "alive")
