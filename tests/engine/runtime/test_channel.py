"""Commands that end with the process that sent them."""

from __future__ import annotations

import io
import os
import queue
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import psutil
import pytest

from lora_studio.client.link import parse_events
from lora_studio.core import limits
from lora_studio.core.messages import text
from lora_studio.core.model.spec import ModelSpec
from lora_studio.core.problems import Fix, Problem
from lora_studio.core.protocol import commands, events
from lora_studio.core.protocol.chat import ServedRun
from lora_studio.core.runs.folder import RunFolder
from lora_studio.engine.runtime.channel import Channel, Inbox

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
