"""A worker with the real channel, lock and mailbox whose jobs play a scenario.

`python -m tests.helpers.window.fake_engine SCENARIO.json` replaces the engine through the environment
variable LORA_STUDIO_ENGINE. A scenario maps a kind of command to a list of steps:

    {"emit": {"kind": "log", "text": "…"}}   sends an event
    {"sleep": 0.1}                           waits; can be canceled
    {"await": "…/file"}                      waits until a file exists; can be canceled
    {"touch": "…/file"}                      writes a file, to report the job's progress
    {"steps": 40, "seconds": 0.02}           trains: losses fall; can be stopped, paused and saved
                                             with "after": 1000, the first step is 1001
    {"make": ["adapter/adapter_model.safetensors"]}   writes files into the run
    {"fail": {"code": …, "what": …, "remedy": …}}     ends with a problem
    {"exit": 3} {"kill": true}               ends the process immediately

A kind without an entry ends immediately and successfully.
"""

from __future__ import annotations

import json
import math
import os
import shlex
import signal
import sys
import time
from pathlib import Path
from typing import Any

from PySide6.QtCore import QMimeData, QPoint, QPointF, Qt, QUrl
from PySide6.QtGui import QDropEvent
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QWidget

from lora_studio.core.problems import Problem, ProblemError
from lora_studio.core.protocol import events
from lora_studio.core.runs.folder import RunFolder
from lora_studio.engine import worker
from lora_studio.engine.runtime.channel import JobContext

Scenario = dict[str, list[dict[str, Any]]]


def command_line(file: Path) -> str:
    """Return the value of LORA_STUDIO_ENGINE for a scenario file."""
    return shlex.join([sys.executable, "-m", "tests.helpers.window.fake_engine", str(file)])


class ScenarioPlayer:
    """Carry out commands by playing a scenario."""

    def __init__(self, file: Path) -> None:
        """Read the scenario from `file`, again for every command."""
        self._file = file

    def run_command(self, command: Any, job: JobContext) -> events.Ending:
        """Play the steps for the command's kind and return how it ended."""
        run = RunFolder(Path(command.run)) if hasattr(command, "run") else None
        scenario: Scenario = json.loads(self._file.read_text("utf-8"))
        ending: events.Done | None = None
        for step in scenario.get(command.kind, []):
            ending = _play(step, job, run) or ending
        return ending or events.Done()


def _play(step: dict[str, Any], job: JobContext, run: RunFolder | None) -> events.Done | None:
    match step:
        case {"emit": event}:
            job.emit(events.parse(json.dumps(event), is_own=True))
        case {"sleep": seconds}:
            _sleep(seconds, job)
        case {"await": file}:
            while not Path(file).exists():
                _sleep(0.05, job)
        case {"touch": file}:
            Path(file).touch()
        case {"steps": steps, "seconds": seconds}:
            after = step.get("after", 0)
            return _train(steps, seconds, job, run, step.get("save_every", 0), after)
        case {"make": names}:
            for name in names:
                assert run is not None
                file = run.path / name
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(b"\0" * 1000)
        case {"fail": problem}:
            raise ProblemError(Problem.model_validate(problem))
        case {"exit": status}:
            job.channel.drain()
            os._exit(status)
        case {"kill": True}:
            job.channel.drain()
            os.kill(os.getpid(), signal.SIGKILL)
        case _:
            raise ValueError(f"no such step: {step}")
    return None


def _sleep(seconds: float, job: JobContext) -> None:
    until = time.monotonic() + seconds
    while (remaining := until - time.monotonic()) > 0:
        job.check()
        time.sleep(min(0.02, remaining))


def _train(
    steps: int,
    seconds: float,
    job: JobContext,
    run: RunFolder | None,
    save_every: int = 0,
    after: int = 0,
) -> events.Done | None:
    steps += after
    job.emit(
        events.TrainingStarted(
            steps=steps, steps_per_epoch=steps / 3, effective_batch=16, step=after
        )
    )
    for step in range(after + 1, steps + 1):
        _sleep(seconds, job)
        job.emit(_step_done(step, steps, seconds))
        if step % 10 == 0:
            job.emit(events.Evaluated(step=step, loss=_loss(step, steps) * 1.06 + 0.05))
        is_due = bool(save_every) and step % save_every == 0
        if is_due or job.flags.checkpoint.is_set() or job.flags.pause.is_set():
            job.flags.checkpoint.clear()
            if run is not None:
                run.checkpoint(step).mkdir(parents=True, exist_ok=True)
            job.emit(events.CheckpointSaved(step=step, folder=str(run and run.checkpoint(step))))
        if job.flags.stop.is_set():
            return events.Done(stopped=True)
        if job.flags.pause.is_set():
            return events.Done(paused=True)
    return None


def _loss(step: int, steps: int) -> float:
    return 1.1 + 1.4 * math.exp(-3.5 * step / steps) + 0.07 * math.sin(step * 12.9898)


def _step_done(step: int, steps: int, seconds: float) -> events.StepDone:
    return events.StepDone(
        step=step,
        steps=steps,
        epoch=3 * step / steps,
        loss=_loss(step, steps),
        learning_rate=1e-4 * (1 + math.cos(math.pi * step / steps)),
        grad_norm=0.8 + 0.3 * math.sin(step),
        tokens=step * 4096,
        tokens_per_s=2310.0,
        memory_bytes=9_200_000_000,
        gpu_percent=96.0 + step % 4,
        gpu_celsius=58.0 + min(8.0, step / 20),
        eta_s=(steps - step) * max(seconds, 0.001),
    )


def main() -> None:
    """Play the scenario named on the command line."""
    worker.main(ScenarioPlayer(Path(sys.argv[1])).run_command)


if __name__ == "__main__":
    main()


class Clicks:
    """What a person did with the mouse, in words, in order."""

    def __init__(self) -> None:
        """Begin without any."""
        self.done: list[str] = []

    def add(self, what: str) -> None:
        """Count something else than a click, such as a drop."""
        self.done.append(what)

    def click(self, widget: QWidget, place: QPoint | None = None) -> None:
        """Click in a widget, on whatever is on top there."""
        top, place = widget.window(), place or widget.rect().center()
        at = widget.mapTo(top, place)
        target = top.childAt(at) or widget
        text = getattr(target, "text", lambda: "")()
        self.add(f"click {type(target).__name__} {text}")
        QTest.mouseClick(target, Qt.MouseButton.LeftButton, pos=target.mapFrom(top, at))


_COPY, _LEFT, _NONE = Qt.DropAction.CopyAction, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier  # fmt: skip


def make_mime_data(*paths: Path) -> QMimeData:
    """Return what a file manager passes on when files are dragged."""
    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile(str(path)) for path in paths])
    return data


class FileDrop(QDropEvent):
    """A drop of files; an event does not keep its data alive by itself."""

    def __init__(self, *paths: Path) -> None:
        """Create the event."""
        self.data = make_mime_data(*paths)
        super().__init__(QPointF(5, 5), _COPY, self.data, _LEFT, _NONE)
