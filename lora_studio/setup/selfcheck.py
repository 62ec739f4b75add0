"""Check that an engine works: import everything, and train a tiny random model through the
protocol.
"""

from __future__ import annotations

import contextlib
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
from lora_studio.core.dataset.spec import DatasetSpec, DataSource
from lora_studio.core.messages import Text, text
from lora_studio.core.model.spec import ModelSpec
from lora_studio.core.problems import Problem, ProblemError, Where, fail, warning
from lora_studio.core.project.project import Project
from lora_studio.core.protocol import commands, events
from lora_studio.core.runs import folder as run_folder
from lora_studio.core.system.files import describe_os_error
from lora_studio.core.system.programs import get_empty_folder
from lora_studio.core.training.spec import TrainingSpec
from lora_studio.setup.engines import Engine, version_mismatch_problem
from lora_studio.setup.events import Event, Progress, Warned
from lora_studio.setup.tools import SetupLog, StopFlag, build_child_environment, kill_tree

STAGE = "Checking"
_REMEDY = "Run `lora-studio engine repair`. Full details are in the log."


def check_engine(
    engine: Engine, stop: StopFlag, log: SetupLog, steps: int = 1
) -> Generator[Event, None, dict[str, Any]]:
    """Check the engine as a job would use it; return the report of its trial.

    One process does both, so that modules are imported only once. Raises ProblemError if anything
    is wrong.
    """
    yield Progress(stage=STAGE, done=0, total=2)
    with tempfile.TemporaryDirectory(
        prefix="lora-studio-check-", ignore_cleanup_errors=True
    ) as name:
        folder = Path(name)
        with _Trial(engine, folder, stop, log) as trial:
            report = trial.report()
            if engine.variant != "cpu" and not report["gpu"]:
                yield Warned(problem=_no_gpu_warning(engine))
            yield Progress(stage=STAGE, done=1, total=2)
            _run_training(trial, folder, steps, log)
    yield Progress(stage=STAGE, done=2, total=2)
    return report


def _run_training(trial: _Trial, folder: Path, steps: int, log: SetupLog) -> None:
    """Train a few steps in the worker; raises ProblemError if that fails."""
    project = Project(
        name="Check",
        model=ModelSpec(source=str(folder / "model")),
        dataset=DatasetSpec(
            sources=(DataSource(path=str(folder / "rows.jsonl")),),
            max_length=64,
            validation_share=0.0,
        ),
        training=TrainingSpec(max_steps=steps, micro_batch=2, gradient_accumulation=1),
    )
    run = run_folder.create_run(folder / "runs", project, folder)
    trial.send(commands.Train(run=str(run.path)))
    ending: events.Event | None = None
    trained = 0
    for event in trial.iter_events():
        match event:
            case events.Hello() if event.app_version != __version__:
                raise ProblemError(version_mismatch_problem(event.app_version))
            case events.StepDone():
                trained = event.step
            case events.Done() | events.Failed() | events.Cancelled():
                ending = event
    if isinstance(ending, events.Failed):
        raise _damaged_engine_error(
            text("A test training run failed: {reason}", reason=ending.problem.what), log
        )
    if not isinstance(ending, events.Done) or trained != steps:
        raise _damaged_engine_error(text("A test training run ended early."), log)


class _Trial:
    """A process that imports everything, reports the result, and then serves as a worker."""

    def __init__(self, engine: Engine, folder: Path, stop: StopFlag, log: SetupLog) -> None:
        """Start the process; raises ProblemError if that fails."""
        self._engine, self._stop, self._log = engine, stop, log
        log.write(f"trying {engine.name}")
        try:
            self._process = subprocess.Popen(
                [str(engine.python), "-P", *_get_trial_command(engine), str(folder)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log.stream,
                env=build_child_environment(_build_isolated_environment(engine, folder)),
                cwd=get_empty_folder(), creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
            )  # fmt: skip
        except OSError as error:
            why = text(
                "The engine's Python can't be started: {reason}.", reason=describe_os_error(error)
            )
            raise _damaged_engine_error(why, log) from error
        self._lines: Queue[bytes | None] = Queue()
        threading.Thread(target=self._listen, name="trial", daemon=True).start()

    def __enter__(self) -> _Trial:
        """Return the trial."""
        return self

    def __exit__(self, *_: object) -> None:
        """Kill the process and its children."""
        kill_tree(self._process.pid)
        self._process.wait()
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()

    def report(self) -> dict[str, Any]:
        """Return the report of the process; raises ProblemError if something is missing or broken."""
        for line in self._iter_lines():
            try:
                values: dict[str, Any] = json.loads(line)
                broken = values["broken"]
            except (ValueError, KeyError, TypeError):
                self._log.write(line.decode("utf-8", "replace"))
                continue
            if broken and not self._engine.own_python:
                raise (
                    fail(
                        "engine.python_lacks",
                        "This Python lacks packages that training needs: {packages}.",
                        "Install them there: {python} -m pip install {missing}",
                        where=Where(file=str(self._engine.python)),
                        packages=", ".join(broken),
                        python=str(self._engine.python),
                        missing=" ".join(broken),
                    )
                )
            if broken:
                why = text(
                    "Packages of the engine don't work: {packages}.",
                    packages=[
                        text("{name} ({reason})", name=name, reason=reason)
                        for name, reason in broken.items()
                    ],
                )
                raise _damaged_engine_error(why, self._log)
            return values
        raise _damaged_engine_error(
            text(
                "The engine ended with exit status {code:d} during its test.",
                code=self._process.wait(),
            ),
            self._log,
        )

    def send(self, command: commands.Train) -> None:
        """Send the only command to the worker."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(events.to_line(command).encode() + b"\n")
            self._process.stdin.close()
        except OSError as error:
            raise _damaged_engine_error(
                text("The engine's worker ended: {reason}.", reason=describe_os_error(error)),
                self._log,
            ) from error

    def iter_events(self) -> Iterator[events.Event]:
        """Yield the events of the worker until it ends."""
        for line in self._iter_lines():
            try:
                yield events.parse(line)
            except ValidationError:
                self._log.write(line.decode("utf-8", "replace"))

    def _iter_lines(self) -> Iterator[bytes]:
        """Yield the output's lines as they arrive; raises SetupCancelledError if canceled."""
        while True:
            self._stop.check()
            try:
                line = self._lines.get(timeout=0.1)
            except Empty:
                continue
            if line is None:
                return
            yield line

    def _listen(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as stream:
            for line in stream:
                self._lines.put(line)
        self._lines.put(None)


def _build_isolated_environment(engine: Engine, folder: Path) -> dict[str, str]:
    """Return an environment in which the trial stays offline and doesn't touch the user's data."""
    private = {
        name: str(folder / "own")
        for name in ("LORA_STUDIO_DATA", "LORA_STUDIO_CACHE", "LORA_STUDIO_LOGS", "HF_HOME")
    }
    # bitsandbytes calls torch.compile during import, which would load the whole compiler. A worker sets the second
    # variable itself, but the trial imports PyTorch before it becomes one.
    overrides = {"TORCHDYNAMO_DISABLE": "1", "TORCH_DISABLE_NATIVE_JIT": "1"}
    if engine.own_python:
        overrides["PYTHONDONTWRITEBYTECODE"] = (
            ""  # empty: write missing byte-code, for the next start
        )
    return engine.environment | private | overrides | {"PYTHONUTF8": "1", "HF_HUB_OFFLINE": "1"}


def _damaged_engine_error(why: Text, log: SetupLog) -> ProblemError:
    return fail(
        "engine.check",
        why,
        _REMEDY,
        where=Where(file=str(log.file)),
    )


def _get_trial_command(engine: Engine) -> list[str]:
    """Return the command line of the trial; in a user's Python installation, it runs as a file.

    As a module, it would fail at the first import of our own package and couldn't report missing
    packages.
    """
    if engine.own_python:
        return ["-m", "lora_studio.engine.trial"]
    return [str(engine.folder / "package" / "lora_studio" / "engine" / "trial.py")]


def _no_gpu_warning(engine: Engine) -> Problem:
    return warning(
        "engine.no_gpu",
        "PyTorch {version} works but can't use a GPU here. Training runs on the CPU.",
        "Check the GPU driver, or choose another PyTorch build.",
        version=engine.torch,
    )
