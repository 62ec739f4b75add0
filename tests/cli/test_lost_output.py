"""A job whose output can't be written continues, and the exit status says that output is missing."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from lora_studio.cli import app
from lora_studio.cli.console import Display, SafeConsole
from lora_studio.core.protocol import events

pytestmark = pytest.mark.skipif(not Path("/dev/full").exists(), reason="uses a device of Linux")


@contextlib.contextmanager
def full_stdout() -> Iterator[None]:
    """Let stdout be a full disk, until the buffers of the block are dropped."""
    full = os.open("/dev/full", os.O_WRONLY)
    with os.fdopen(full, "w", buffering=1, closefd=False) as stream:
        with contextlib.redirect_stdout(stream):
            yield
        os.dup2(os.open(os.devnull, os.O_WRONLY), full)
    os.close(full)


@pytest.mark.parametrize("as_json", [True, False], ids=["json", "text"])
def test_lost_output_of_a_job_is_reported(
    as_json: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = []

    def run_job(**_: object) -> None:
        display = Display(as_json=as_json)
        display.outlive_output()
        for step in range(3):
            display.show(events.LogLine(id="1", text=f"step {step}"))
            shown.append(step)

    monkeypatch.setattr(SafeConsole, "lost_output", None)
    monkeypatch.setattr(app, "app", run_job)
    with full_stdout(), pytest.raises(SystemExit) as ended:
        app.main()
    assert ended.value.code == 1
    assert shown == [0, 1, 2]
    reason = "not all of its output could be written: No space left on device"
    assert reason in capsys.readouterr().err
