"""Mirror the metrics of a training to TensorBoard, Weights & Biases and MLflow.

A separate thread consumes the training's events, so that a hanging server never delays a step. A
tracker that fails is reported once and then skipped. Credentials come from the trackers' own settings
(environment, login).
"""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import os
import queue
import re
import shutil
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, Protocol, TypeVar
from urllib.parse import urlsplit

import psutil

from lora_studio.core.network.connections import OfflineError, contacting, note_contact
from lora_studio.core.network.purposes import Purpose
from lora_studio.core.network.secrets import (
    print_exception,
    split_credentials,
    without_secrets,
)
from lora_studio.core.problems import ProblemError, Where, warning
from lora_studio.core.project.project import Project
from lora_studio.core.protocol import events
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.system import offline
from lora_studio.core.system.files import create_folder, write_atomic
from lora_studio.core.system.foreign_files import read_text
from lora_studio.core.training.spec import TrainingSpec
from lora_studio.core.training.trackers import PACKAGES, TITLES, check_installed
from lora_studio.engine.runtime.channel import JobContext
from lora_studio.engine.runtime.failures import CancelledError

#: An ID of a run at a tracker.
_RUN_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")

#: Longest wait, in seconds, for trackers that haven't written everything at the end.
_TIMEOUT = 60.0

_T = TypeVar("_T")
Outcome = Literal["finished", "paused", "cancelled", "failed"]

_STEP_METRICS = ("loss", "learning_rate", "grad_norm", "epoch", "tokens_per_s", "memory_bytes")


class TrackerSink(Protocol):
    """One tracker with an open run; `purges` means that steps which a resumed training repeats replace earlier ones."""

    purges: bool

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Log the metrics of an optimizer step, or of the evaluation after it."""
        ...

    def close(self, outcome: Outcome) -> None:
        """Write what is left, and how the training ended."""
        ...


@dataclass(frozen=True)
class TrackerInfo:
    """What a tracker knows about a run; `next_step` is the first step of this process."""

    run: RunFolder
    project: Project
    next_step: int

    @property
    def settings(self) -> dict[str, Any]:
        """Return the recipe by names such as lora.rank, without anything about the dataset's content."""
        steps = ("model", "lora", "training")
        return {
            f"{step}.{name}": value
            for step in steps
            for name, value in getattr(self.project, step).model_dump().items()
        } | {"dataset.max_length": self.project.dataset.max_length}

    def run_id(self, name: str, create: Callable[[], str]) -> str:
        """Return a tracker's own id of this run, created on first use."""
        file = self.run.trackers / f"{name}-run.txt"
        with contextlib.suppress(OSError, ValueError):
            # Sent to the tracker: no other text than an ID, also not of a file that a link leads to.
            if not file.is_symlink() and _RUN_ID.fullmatch(stored := read_text(file).strip()):
                return stored
        write_atomic(file, created := create())
        return created


def get_missing_packages() -> tuple[str, ...]:
    """Return the trackers that this environment lacks."""
    return tuple(name for name in PACKAGES if importlib.util.find_spec(name) is None)


def check_trackers(spec: TrainingSpec) -> None:
    """Raise ProblemError for a chosen tracker that isn't installed."""
    if problems := check_installed(spec.trackers, get_missing_packages()):
        raise ProblemError(problems)


@contextlib.contextmanager
def mirror_metrics(
    run: RunFolder, project: Project, job: JobContext, *, resume: bool
) -> Iterator[None]:
    """Mirror the job's metrics to the chosen trackers within the block.

    A new training starts a new run there; a resumed one continues its run without logging a step twice.
    """
    chosen = project.training.trackers
    if not chosen:
        yield
        return
    if not resume:
        shutil.rmtree(run.trackers, ignore_errors=True)
    mirror = _Mirror(run, project, job, _read_last_logged(run) if resume else {})
    job.listeners.append(mirror.put)
    try:
        yield
    except CancelledError:
        mirror.outcome = "cancelled"
        raise
    except BaseException:
        mirror.outcome = "failed"
        raise
    finally:
        job.listeners.remove(mirror.put)
        mirror.close()


class _Mirror:
    """The thread that passes events on to the trackers."""

    def __init__(
        self, run: RunFolder, project: Project, job: JobContext, logged: dict[str, int]
    ) -> None:
        """Start; `logged` has the last step that an interrupted training logged, and its last evaluation."""
        self._run, self._project, self._job, self._logged = run, project, job, logged
        # Last ones logged by this process, so that steps repeated after an OOM aren't logged twice.
        self._last = {"train": 0, "eval": 0}
        self._plan: events.TrainingStarted | None = None
        self._ended_early = False
        self.outcome: Outcome = "finished"
        self._events: queue.SimpleQueue[events.Event | None] = queue.SimpleQueue()
        self._sinks: dict[str, TrackerSink] = {}
        self._thread = threading.Thread(target=self._run_thread, name="trackers", daemon=True)
        self._thread.start()

    def put(self, event: events.Event) -> None:
        """Queue an event; ignores events that aren't tracked."""
        match event:
            case events.TrainingStarted() | events.StepDone() | events.Evaluated():
                self._events.put(event)
            case events.EndedEarly():
                self._ended_early = True

    def close(self) -> None:
        """Wait until everything is written, but not forever."""
        self._events.put(None)
        self._thread.join(_TIMEOUT)

    def _run_thread(self) -> None:
        while (event := self._events.get()) is not None:
            match event:
                case events.TrainingStarted():
                    self._plan = event
                    self._last["train"] = max(self._last["train"], event.step)
                    self._open(event.step)
                case events.StepDone():
                    values = {name: float(getattr(event, name)) for name in _STEP_METRICS}
                    self._log("train", event.step, values | event.metrics)
                case events.Evaluated():
                    loss = {} if event.has_rewards else {"loss": event.loss}
                    self._log("eval", event.step, loss | event.metrics)
        outcome = self._get_final_outcome()
        for name, sink in list(self._sinks.items()):
            self._call(name, partial(sink.close, outcome))

    def _log(self, kind: str, step: int, metrics: Mapping[str, float]) -> None:
        if step <= self._last[kind]:
            return
        self._last[kind] = step
        values = {f"{kind}/{name}": value for name, value in metrics.items()}
        for name, sink in list(self._sinks.items()):
            if sink.purges or step > self._logged.get(kind, 0):
                self._call(name, partial(sink.log, step, values))

    def _get_final_outcome(self) -> Outcome:
        """Return "paused" for a training that left its loop early without being stopped."""
        if self.outcome != "finished" or self._plan is None:
            return self.outcome
        is_over = self._ended_early or self._job.flags.stop.is_set()
        return "finished" if is_over or self._last["train"] >= self._plan.steps else "paused"

    def _open(self, step: int) -> None:
        create_folder(self._run.trackers)
        info = TrackerInfo(self._run, self._project, step + 1)
        for name in self._project.training.trackers:
            if sink := self._call(name, partial(SINKS[name], info)):
                self._sinks[name] = sink

    def _call(self, name: str, do: Callable[[], _T]) -> _T | None:
        """Call a tracker; one that fails is reported, and not called again."""
        purpose = _PURPOSES.get(name)
        try:
            with contacting(purpose) if purpose else contextlib.nullcontext():
                return do()
        except Exception as error:
            self._sinks.pop(name, None)
            self._report_failure(name, error)
        return None

    def _report_failure(self, name: str, error: Exception) -> None:
        print_exception(error)
        said = without_secrets(str(error).strip().split("\n")[0])  # before it is cut
        reason = (said or type(error).__name__)[:300].rstrip(".")
        problem = warning(
            "training.tracker_failed",
            "{tracker} stopped receiving metrics: {reason}.",
            "Training continues, and the run folder has all metrics.",
            where=Where(step="training", field="trackers"),
            tracker=TITLES[name],
            reason=reason,
        )
        with contextlib.suppress(OSError):
            self._job.emit(events.Warned(problem=problem))


#: Trackers that can send to a server.
_PURPOSES = {"wandb": Purpose.WANDB, "mlflow": Purpose.MLFLOW}


def _read_last_logged(run: RunFolder) -> dict[str, int]:
    """Return the last step and the last evaluation in the run's events."""
    logged = {"train": 0, "eval": 0}
    for event in run.iter_events_of("step_done", "evaluated"):
        match event:
            case events.StepDone():
                logged["train"] = max(logged["train"], event.step)
            case events.Evaluated():
                logged["eval"] = max(logged["eval"], event.step)
    return logged


class _TensorBoard:
    """Event files in `trackers/tensorboard`; steps that a resumed training repeats are purged."""

    purges = True

    def __init__(self, info: TrackerInfo) -> None:
        from torch.utils.tensorboard import SummaryWriter

        folder = info.run.trackers / "tensorboard"
        self._writer = SummaryWriter(str(folder), purge_step=info.next_step, flush_secs=30)
        if info.next_step == 1:
            lines = (f"    {name} = {value!r}" for name, value in info.settings.items())
            self._writer.add_text("settings", "\n".join(lines), 0)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self, outcome: Outcome) -> None:
        self._writer.close()


class _WeightsAndBiases:
    """Online when logged in, else offline in `trackers/wandb`, for `wandb sync`.

    Respects WANDB_MODE, WANDB_PROJECT and the other environment variables.
    """

    purges = False

    def __init__(self, info: TrackerInfo) -> None:
        import wandb

        # Its own program makes the connections: only its own switch keeps it offline.
        is_online = not offline.is_on() and ("WANDB_MODE" in os.environ or bool(wandb.api.api_key))
        self._server = ""
        if is_online and os.environ.get("WANDB_MODE", "online") in ("online", "shared"):
            address = urlsplit(wandb.setup().settings.base_url)
            self._server = address.hostname or "?"
            note_contact(self._server, address.port or 443, Purpose.WANDB)
        settings = wandb.Settings(console="off", silent=True, disable_code=True, disable_git=True)
        self._run: Any = wandb.init(
            project=os.environ.get("WANDB_PROJECT", info.project.name),
            name=info.run.path.resolve().name,
            id=info.run_id("wandb", lambda: uuid.uuid4().hex[:8]),
            dir=str(info.run.trackers),
            config=info.settings,
            resume="allow",
            mode=None if is_online else "offline",
            settings=settings,
        )

    def log(self, step: int, values: Mapping[str, float]) -> None:
        if self._server and offline.is_on():  # turned on since the start
            for child in psutil.Process().children(recursive=True):
                if child.name().startswith("wandb-core"):
                    child.kill()  # its files are complete up to here, for `wandb sync`
            raise OfflineError(self._server)
        self._run.log(dict(values), step=step)

    def close(self, outcome: Outcome) -> None:
        self._run.finish(exit_code=int(outcome in ("failed", "cancelled")))


class _Mlflow:
    """The server in MLFLOW_TRACKING_URI, else files in `trackers/mlflow`."""

    purges = False

    def __init__(self, info: TrackerInfo) -> None:
        from mlflow import MlflowClient

        uri = os.environ.get("MLFLOW_TRACKING_URI")
        if not uri:
            # MLflow 3.7 and later write plain files only with this.
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
            uri = (info.run.trackers / "mlflow").resolve().as_uri()
        # Errors and the library's own log name the address.
        uri, user, password = split_credentials(uri)
        if user or password:
            os.environ["MLFLOW_TRACKING_USERNAME"] = user
            os.environ["MLFLOW_TRACKING_PASSWORD"] = password
            os.environ["MLFLOW_TRACKING_URI"] = uri
        self._client = MlflowClient(tracking_uri=uri)
        self._id = info.run_id("mlflow", lambda: self._start(info))
        self._client.update_run(self._id, status="RUNNING")  # it may have been paused
        self._names: dict[str, str] = {}

    def _start(self, info: TrackerInfo) -> str:
        from mlflow.entities import Param

        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", info.project.name)
        existing = self._client.get_experiment_by_name(name)
        experiment = existing.experiment_id if existing else self._client.create_experiment(name)
        created = self._client.create_run(experiment, run_name=info.run.path.resolve().name)
        params = [Param(key, str(value)[:500]) for key, value in info.settings.items()]
        self._client.log_batch(created.info.run_id, params=params)
        return str(created.info.run_id)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        self._client.log_batch(
            self._id,
            [
                Metric(clean_metric_name(name, self._names), value, now, step)
                for name, value in values.items()
            ],
        )

    def close(self, outcome: Outcome) -> None:
        if outcome == "paused":
            self._client.update_run(self._id, status="SCHEDULED")
        else:
            status = {"failed": "FAILED", "cancelled": "KILLED"}.get(outcome, "FINISHED")
            self._client.set_terminated(self._id, status)


def clean_metric_name(name: str, cleaned: dict[str, str]) -> str:
    """Return the name without what MLflow refuses, such as a question mark in that of a reward.

    `cleaned` has the names so far, to which this one is added; those that would be equal are numbered in
    their order.
    """
    if name not in cleaned:
        parts = re.sub(r"[^\w/.: -]", "_", name).split("/")
        # as parts of a path, they would lead to another metric
        plain = "/".join("_" * len(part) if part in (".", "..") else part for part in parts)
        numbered = (f"{plain}_{number}" for number in itertools.count(2))
        taken = cleaned.values()
        cleaned[name] = next(new for new in itertools.chain([plain], numbered) if new not in taken)
    return cleaned[name]


SINKS: dict[str, Callable[[TrackerInfo], TrackerSink]] = {
    "tensorboard": _TensorBoard,
    "wandb": _WeightsAndBiases,
    "mlflow": _Mlflow,
}
