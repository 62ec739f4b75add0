"""The metrics of a training mirrored to TensorBoard, Weights & Biases and MLflow.

They follow the events of the training in a thread of their own: a server that hangs or refuses never
holds a step up, and a tracker that fails is told once and left out. Keys come from the trackers' own
settings (environment, login); none passes through here.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import queue
import shutil
import threading
import time
import traceback
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from lora_studio.core.problems import Problem, ProblemError, Where
from lora_studio.core.project.project import Project
from lora_studio.core.protocol import events
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.training.spec import TrainingSpec
from lora_studio.core.training.trackers import PACKAGES, TITLES, not_installed
from lora_studio.engine.runtime.channel import JobContext
from lora_studio.engine.runtime.failures import CancelledError

#: Longest wait for a tracker that has not written everything at the end, in seconds.
_PATIENCE = 60.0

Outcome = Literal["finished", "paused", "cancelled", "failed"]

_STEP_FIGURES = ("loss", "learning_rate", "grad_norm", "epoch", "tokens_per_s", "memory_bytes")


class TrackerSink(Protocol):
    """One tracker at work."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Takes the figures of an optimizer step or of an evaluation after it."""
        ...

    def close(self, outcome: Outcome) -> None:
        """Writes what is left, and how the training ended."""
        ...


@dataclass(frozen=True)
class TrackerInfo:
    """What a tracker gets to know of a run. `first` is the step that comes next; `told` and `judged`
    are the last step and evaluation that were told before the training was interrupted."""

    run: RunFolder
    project: Project
    first: int
    told: int
    judged: int

    @property
    def settings(self) -> dict[str, Any]:
        """The recipe by names such as lora.rank; of the dataset what says nothing about its content."""
        steps = ("model", "lora", "training")
        return {
            f"{step}.{name}": value
            for step in steps
            for name, value in getattr(self.project, step).model_dump().items()
        } | {"dataset.max_length": self.project.dataset.max_length}

    def once(self, name: str, made: Callable[[], str]) -> str:
        """A tracker's own number of this run, made when it is first asked for."""
        file = self.run.trackers / f"{name}-run.txt"
        if not file.is_file():
            file.write_text(made(), "utf-8")
        return file.read_text("utf-8")


def missing_packages() -> tuple[str, ...]:
    """The trackers that this environment lacks."""
    return tuple(name for name in PACKAGES if importlib.util.find_spec(name) is None)


def check(spec: TrainingSpec) -> None:
    """Raises ProblemError for a chosen tracker that is not installed."""
    if problems := not_installed(spec.trackers, missing_packages()):
        raise ProblemError(problems)


@contextlib.contextmanager
def following(run: RunFolder, project: Project, job: JobContext, *, resume: bool) -> Iterator[None]:
    """Within it the chosen trackers get what the job tells of its training.

    A training that begins anew begins anew there too; a resumed one goes on without a step twice.
    """
    chosen = project.training.trackers
    if not chosen:
        yield
        return
    if not resume:
        shutil.rmtree(run.trackers, ignore_errors=True)
    follower = _Follower(run, project, job, *(_told_before(run) if resume else (0, 0)))
    job.listeners.append(follower.put)
    broken: Outcome | None = None
    try:
        yield
    except CancelledError:
        broken = "cancelled"
        raise
    except BaseException:
        broken = "failed"
        raise
    finally:
        job.listeners.remove(follower.put)
        follower.end(broken)


class _Follower:
    """The thread that hands events on."""

    def __init__(
        self, run: RunFolder, project: Project, job: JobContext, told: int, judged: int
    ) -> None:
        self._run, self._project, self._job = run, project, job
        self._told, self._judged = told, judged
        # Of this process: a step that is done over when memory ran out is told the first time.
        self._step = self._evaluation = 0
        self._plan: events.TrainingStarted | None = None
        self._ended_early = False
        self._outcome: Outcome = "finished"
        self._events: queue.SimpleQueue[events.Event | None] = queue.SimpleQueue()
        self._sinks: dict[str, TrackerSink] = {}
        self._thread = threading.Thread(target=self._work, name="trackers", daemon=True)
        self._thread.start()

    def put(self, event: events.Event) -> None:
        """Takes an event; what is not to be tracked is passed over."""
        match event:
            case events.TrainingStarted() | events.StepDone() | events.Evaluated():
                self._events.put(event)
            case events.EndedEarly():
                self._ended_early = True

    def end(self, broken: Outcome | None) -> None:
        """Waits for what is left to be written, but not for ever."""
        self._outcome = broken or "finished"
        self._events.put(None)
        self._thread.join(_PATIENCE)

    def _work(self) -> None:
        while (event := self._events.get()) is not None:
            match event:
                case events.TrainingStarted():
                    self._plan, self._step = event, max(self._step, event.step)
                    self._open(event.step)
                case events.StepDone() if event.step > self._step:
                    self._step = event.step
                    values = {name: float(getattr(event, name)) for name in _STEP_FIGURES}
                    self._log("train", event.step, values | event.figures)
                case events.Evaluated() if event.step > self._evaluation:
                    self._evaluation = event.step
                    self._log("eval", event.step, {"loss": event.loss} | event.figures)
        outcome = self._how_it_ended()
        self._each(lambda sink: sink.close(outcome))

    def _log(self, kind: str, step: int, figures: Mapping[str, float]) -> None:
        values = {f"{kind}/{name}": value for name, value in figures.items()}
        self._each(lambda sink: sink.log(step, values))

    def _how_it_ended(self) -> Outcome:
        """A training that was left before its last step, and by nobody's wish, waits for its end."""
        if self._outcome != "finished" or self._plan is None:
            return self._outcome
        is_over = self._ended_early or self._job.flags.stop.is_set()
        return "finished" if is_over or self._step >= self._plan.steps else "paused"

    def _open(self, step: int) -> None:
        self._run.trackers.mkdir(parents=True, exist_ok=True)
        about = TrackerInfo(self._run, self._project, step + 1, self._told, self._judged)
        for name in self._project.training.trackers:
            try:
                self._sinks[name] = _SINKS[name](about)
            except Exception as error:
                self._give_up(name, error)

    def _each(self, do: Callable[[TrackerSink], None]) -> None:
        for name, sink in list(self._sinks.items()):
            try:
                do(sink)
            except Exception as error:
                del self._sinks[name]
                self._give_up(name, error)

    def _give_up(self, name: str, error: Exception) -> None:
        traceback.print_exception(error)
        reason = (str(error).strip().split("\n")[0] or type(error).__name__)[:300].rstrip(".")
        problem = Problem(
            code="training.tracker_failed",
            what=f"{TITLES[name]} takes no more metrics: {reason}.",
            remedy="Training goes on, and the run folder has all of them.",
            where=Where(step="training", field="trackers"),
            severity="warning",
        )
        with contextlib.suppress(OSError):
            self._job.emit(events.Warned(problem=problem))


def _told_before(run: RunFolder) -> tuple[int, int]:
    """The last step and the last evaluation in the run's events."""
    told = judged = 0
    for event in run.events():
        match event:
            case events.StepDone():
                told = max(told, event.step)
            case events.Evaluated():
                judged = max(judged, event.step)
    return told, judged


class _TensorBoard:
    """Event files in `trackers/tensorboard`; what a resumed training redoes is taken back."""

    def __init__(self, about: TrackerInfo) -> None:
        from torch.utils.tensorboard import SummaryWriter

        folder = about.run.trackers / "tensorboard"
        self._writer = SummaryWriter(str(folder), purge_step=about.first, flush_secs=30)
        if about.first == 1:
            lines = (f"    {name} = {value!r}" for name, value in about.settings.items())
            self._writer.add_text("settings", "\n".join(lines), 0)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self, outcome: Outcome) -> None:
        self._writer.close()


class _Unrepeated:
    """For trackers that can take nothing back: what was told before is not told again."""

    def __init__(self, about: TrackerInfo) -> None:
        self._about = about

    def log(self, step: int, values: Mapping[str, float]) -> None:
        is_evaluation = "eval/loss" in values
        if step > (self._about.judged if is_evaluation else self._about.told):
            self._log(step, values)

    def _log(self, step: int, values: Mapping[str, float]) -> None:
        raise NotImplementedError


class _WeightsAndBiases(_Unrepeated):
    """Online for who is logged in, else offline in `trackers/wandb`, to be sent by `wandb sync`.

    WANDB_MODE, WANDB_PROJECT and the like are heeded.
    """

    def __init__(self, about: TrackerInfo) -> None:
        super().__init__(about)
        import wandb

        is_known = "WANDB_MODE" in os.environ or bool(wandb.api.api_key)
        settings = wandb.Settings(console="off", silent=True, disable_code=True, disable_git=True)
        self._run: Any = wandb.init(
            project=os.environ.get("WANDB_PROJECT", about.project.name),
            name=about.run.path.name,
            id=about.once("wandb", lambda: uuid.uuid4().hex[:8]),
            dir=str(about.run.trackers),
            config=about.settings,
            resume="allow",
            mode=None if is_known else "offline",
            settings=settings,
        )

    def _log(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=step)

    def close(self, outcome: Outcome) -> None:
        self._run.finish(exit_code=int(outcome in ("failed", "cancelled")))


#: Parameters that MLflow takes at a time.
_MLFLOW_PARAMS = 100


class _Mlflow(_Unrepeated):
    """The server that MLFLOW_TRACKING_URI names, else files in `trackers/mlflow`."""

    def __init__(self, about: TrackerInfo) -> None:
        super().__init__(about)
        from mlflow import MlflowClient

        uri = os.environ.get("MLFLOW_TRACKING_URI")
        if not uri:
            # MLflow 3.7 and later write plain files only where this is set.
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
            uri = (about.run.trackers / "mlflow").resolve().as_uri()
        self._client = MlflowClient(tracking_uri=uri)
        self._id = about.once("mlflow", lambda: self._start(about))
        self._client.update_run(self._id, status="RUNNING")  # it may have been paused

    def _start(self, about: TrackerInfo) -> str:
        from mlflow.entities import Param

        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", about.project.name)
        known = self._client.get_experiment_by_name(name)
        experiment = known.experiment_id if known else self._client.create_experiment(name)
        made = self._client.create_run(experiment, run_name=about.run.path.name)
        params = [Param(key, str(value)[:500]) for key, value in about.settings.items()]
        for begin in range(0, len(params), _MLFLOW_PARAMS):  # a request each, not one a setting
            some = params[begin : begin + _MLFLOW_PARAMS]
            self._client.log_batch(made.info.run_id, params=some)
        return str(made.info.run_id)

    def _log(self, step: int, values: Mapping[str, float]) -> None:
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        self._client.log_batch(
            self._id, [Metric(name, value, now, step) for name, value in values.items()]
        )

    def close(self, outcome: Outcome) -> None:
        if outcome == "paused":
            self._client.update_run(self._id, status="SCHEDULED")
        else:
            status = {"failed": "FAILED", "cancelled": "KILLED"}.get(outcome, "FINISHED")
            self._client.set_terminated(self._id, status)


_SINKS: dict[str, Callable[[TrackerInfo], TrackerSink]] = {
    "tensorboard": _TensorBoard,
    "wandb": _WeightsAndBiases,
    "mlflow": _Mlflow,
}
