"""Proves that an engine works: imports everything, trains a tiny random model through the protocol."""

from __future__ import annotations

import json
import subprocess
import tempfile
import threading
from collections.abc import Generator, Iterator
from pathlib import Path
from queue import Empty, Queue
from typing import Any

from pydantic import ValidationError

from lora_studio import __version__
from lora_studio.core import commands, events, run_folder
from lora_studio.core.dataset import DatasetSpec, Source
from lora_studio.core.model import ModelSpec
from lora_studio.core.problems import Problem, ProblemError, Where, fail
from lora_studio.core.project import Project
from lora_studio.core.training import TrainingSpec
from lora_studio.setup.engines import Engine, other_version
from lora_studio.setup.environment import child_environment
from lora_studio.setup.events import Event, Progress, Warned
from lora_studio.setup.tools import CancelledError, Log, Stop, kill, run

STAGE = "Checking"
_REMEDY = "Repair it: `lora-studio engine repair`. All that was said is in the log."


def check(
    engine: Engine, stop: Stop, log: Log, steps: int = 1
) -> Generator[Event, None, dict[str, Any]]:
    """Tries the engine as a job would use it; returns what its trial reports.

    Raises ProblemError when anything is wrong.
    """
    yield Progress(stage=STAGE, done=0, total=2)
    with tempfile.TemporaryDirectory(
        prefix="lora-studio-check-", ignore_cleanup_errors=True
    ) as name:
        folder = Path(name)
        report = _report(engine, folder, stop, log)
        if engine.variant != "cpu" and not report["gpu"]:
            yield Warned(problem=_no_gpu(engine))
        yield Progress(stage=STAGE, done=1, total=2)
        _train(engine, folder, steps, stop, log)
    yield Progress(stage=STAGE, done=2, total=2)
    return report


def _report(engine: Engine, folder: Path, stop: Stop, log: Log) -> dict[str, Any]:
    """What the engine's own trial says; raises ProblemError."""
    command = [engine.python, "-P", "-m", "lora_studio.engine.trial", folder]
    environment = child_environment(_quiet(engine))
    try:
        status, said = run(command, environment=environment, stop=stop, log=log)
    except OSError as error:
        raise _damaged(f"its Python cannot be started: {error.strerror or error}", log) from error
    try:
        report: dict[str, Any] = json.loads(said.splitlines()[-1])
        broken = report["broken"]
    except (IndexError, ValueError, KeyError, TypeError) as error:
        last = said.splitlines()[-1] if said else f"it ended with status {status}"
        raise _damaged(last, log) from error
    if broken and not engine.own_python:
        raise _lacking(engine, broken)
    if broken:
        raise _damaged("; ".join(f"{name} ({why})" for name, why in broken.items()), log)
    return report


def _train(engine: Engine, folder: Path, steps: int, stop: Stop, log: Log) -> None:
    """Trains a few steps in a worker; raises ProblemError when it does not end well."""
    project = Project(
        name="Check",
        model=ModelSpec(source=str(folder / "model")),
        dataset=DatasetSpec(
            sources=(Source(path=str(folder / "rows.jsonl")),), max_length=64, validation_share=0.0
        ),
        training=TrainingSpec(max_steps=steps, micro_batch=2, gradient_accumulation=1),
    )
    run_ = run_folder.create(folder / "runs", project, folder)
    command = commands.Train(run=str(run_.path))
    ending: events.Event | None = None
    trained = 0
    for event in _worker(engine, command, stop, log):
        match event:
            case events.Hello() if event.app_version != __version__:
                raise ProblemError(other_version(event.app_version))
            case events.StepDone():
                trained = event.step
            case events.Done() | events.Failed() | events.Cancelled():
                ending = event
    if isinstance(ending, events.Failed):
        raise _damaged(f"a trial training failed: {ending.problem.what}", log)
    if not isinstance(ending, events.Done) or trained != steps:
        raise _damaged("a trial training ended in the middle", log)


def _worker(
    engine: Engine, command: commands.Train, stop: Stop, log: Log
) -> Iterator[events.Event]:
    """The events of a worker of that engine about one command."""
    log.write(f"starting a worker of {engine.name}")
    process = subprocess.Popen(
        [str(engine.python), "-P", "-m", "lora_studio.engine"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        env=child_environment(_quiet(engine)),
        creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    lines: Queue[bytes | None] = Queue()

    def listen() -> None:
        assert process.stdout is not None
        with process.stdout as stream:
            for line in stream:
                lines.put(line)
        lines.put(None)

    threading.Thread(target=listen, name="trial worker", daemon=True).start()
    try:
        process.stdin.write(events.to_line(command).encode() + b"\n")
        process.stdin.close()
        while True:
            if stop.asked:
                raise CancelledError
            try:
                line = lines.get(timeout=0.1)
            except Empty:
                continue
            if line is None:
                return
            try:
                yield events.parse(line)
            except ValidationError:
                log.write(line.decode("utf-8", "replace"))
    except OSError as error:
        raise _damaged(f"its worker ended: {error.strerror or error}", log) from error
    finally:
        kill(process.pid)
        process.wait()


def _quiet(engine: Engine) -> dict[str, str]:
    """The trial asks no hub for anything."""
    return engine.environment | {"PYTHONUTF8": "1", "HF_HUB_OFFLINE": "1"}


def _damaged(why: str, log: Log) -> ProblemError:
    return fail(
        "engine.check",
        f"The engine does not work: {why.rstrip('.')}.",
        _REMEDY,
        where=Where(file=str(log.file)),
    )


def _lacking(engine: Engine, broken: dict[str, str]) -> ProblemError:
    return fail(
        "engine.python_lacks",
        f"This Python lacks what training needs: {', '.join(broken)}.",
        f"Install it there: {engine.python} -m pip install {' '.join(broken)}",
        where=Where(file=str(engine.python)),
    )


def _no_gpu(engine: Engine) -> Problem:
    return Problem(
        code="engine.no_gpu",
        what=f"PyTorch {engine.torch} works, but sees no GPU here: it computes on the processor.",
        remedy="Check the GPU's driver, or choose another build of PyTorch.",
        severity="warning",
    )
