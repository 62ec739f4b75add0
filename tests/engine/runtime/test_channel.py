"""Commands that end with the process that sent them."""

from __future__ import annotations

import io
import os
import queue

import psutil
import pytest

from lora_studio.core import limits
from lora_studio.core.model.spec import ModelSpec
from lora_studio.core.protocol import commands
from lora_studio.core.protocol.serving import ServedRun
from lora_studio.engine.runtime.channel import Inbox

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
