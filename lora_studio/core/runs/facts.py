"""Facts about one run for a list of runs: settings, a summary of its events, and sizes."""

from __future__ import annotations

import contextlib
import math
import os
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from typing import Any

import psutil
from pydantic import ValidationError

from lora_studio.core.lora.adapters import writes_text
from lora_studio.core.messages import NO_TEXT, Template, Text, counted, text
from lora_studio.core.problems import STEPS, Problem, ProblemError, Where, fail, warning
from lora_studio.core.project.project import FORMAT_VERSION, SPECS
from lora_studio.core.protocol import events
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.runs.manifest import EVENTS_START
from lora_studio.core.runs.state import LostSteps, StateFold
from lora_studio.core.spec import get_facts
from lora_studio.core.system.foreign_files import iter_lines, open_regular, read_text
from lora_studio.core.tasks.classification import ACCURACY, MACRO_F1
from lora_studio.core.training.retrieval import MRR, RECALLS

#: The events that a summary uses, as they appear in a line; other lines are not parsed.
_SUMMARIZED = tuple(
    f'"kind":"{kind}"'.encode()
    for kind in (
        "started",
        "done",
        "failed",
        "cancelled",
        "training_started",
        "evaluated",
        "recovered",
    )
)
_STEP = b'"kind":"step_done"'
#: Scores of evaluations that summaries have; all are 0 to 1, and higher is better.
SCORES = (ACCURACY, MACRO_F1, *RECALLS.values(), MRR)
_STEP_NUMBER = re.compile(rb'"step":(\d{1,12}),')

#: Every setting, `step.field`, with its default, in the order of the specs.
DEFAULTS: dict[str, Any] = {
    f"{step}.{name}": get_facts(SPECS[step], name).default
    for step in STEPS
    for name in SPECS[step].model_fields
}
_ORDER = {name: number for number, name in enumerate(DEFAULTS)}


# --- settings -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class FrozenSettings:
    """The settings that a run started with; `data` are the short names of its sources."""

    name: str
    settings: dict[str, Any]
    data: tuple[str, ...]


def read_frozen_settings(run: RunFolder) -> FrozenSettings:
    """Return the non-default settings of a run, unchecked; raises ProblemError."""
    try:
        document = tomllib.loads(read_text(run.project_file))
    except FileNotFoundError:
        raise _unreadable_error(
            "The folder has no project.toml: it isn't a run, or creating it was interrupted."
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable_error(
            "Couldn't read project.toml: {reason}.", reason=str(error)
        ) from None
    except ValueError as error:
        raise _unreadable_error("project.toml is damaged: {reason}.", reason=str(error)) from None
    version = document.pop("schema_version", FORMAT_VERSION)
    if not isinstance(version, int) or not 1 <= version <= FORMAT_VERSION:
        raise _unreadable_error("The run was created by a newer version of LoRA Studio.")
    settings: dict[str, Any] = {}
    for step in STEPS:
        values = document.get(step, {})
        for name, value in values.items() if isinstance(values, dict) else ():
            setting = f"{step}.{name}"
            if setting in DEFAULTS and value != _to_plain(DEFAULTS[setting]):
                settings[setting] = _resolve_paths(value, run.path)
    sources = settings.get("dataset.sources", [])
    return FrozenSettings(
        str(document.get("name", run.path.name)), settings, tuple(_iter_data_names(sources))
    )


def _resolve_paths(value: Any, folder: Path) -> Any:
    """Return a setting with absolute paths: those inside the project are stored relative to the run."""
    if isinstance(value, list):
        return [_resolve_paths(item, folder) for item in value]
    if isinstance(value, dict):
        return {name: _resolve_paths(item, folder) for name, item in value.items()}
    if isinstance(value, str) and value.startswith("../"):
        return os.path.normpath(folder / value)
    return value


def _unreadable_error(what: Template, **values: Any) -> ProblemError:
    return fail("run.unreadable", what, "Choose another run.", **values)


def get_default(setting: str) -> Any:
    """Return the default of a setting, as in a project file; raises KeyError for an unknown
    setting.
    """
    return _to_plain(DEFAULTS[setting])


def sort_settings(settings: Iterable[str]) -> list[str]:
    """Return settings in the order of the specs."""
    return sorted((name for name in settings if name in _ORDER), key=_ORDER.__getitem__)


def get_short_name(path: str) -> str:
    """Return the last part of a model or file path, which distinguishes it from others."""
    return PurePath(path.replace("\\", "/").rstrip("/")).name or path


def _to_plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _iter_data_names(sources: Any) -> Iterator[str]:
    for source in sources if isinstance(sources, list) else ():
        path = source.get("path", "") if isinstance(source, dict) else source
        if isinstance(path, str) and path:
            yield get_short_name(path)


# --- events ---------------------------------------------------------------------------------------


@dataclass
class RunProgress:
    """A summary of a run's events up to byte `position` of its file.

    `records` are the successive evaluations with the lowest loss so far, as (step, loss, scores), so that
    the best one is still known when training resumes from an earlier checkpoint. The scores are those
    of classifiers and embeddings by name. Where `has_rewards`, the loss is the negative mean reward. `command` is the
    one without an ending yet, `began` its start time; `training` says whether it is a training.
    """

    position: int = 0
    state: StateFold = field(default_factory=StateFold)
    command: str = ""
    training: bool = False
    began: float = 0.0
    time: float = 0.0
    trained: float = 0.0
    step: int = 0
    steps: int = 0
    loss: float | None = None
    records: list[tuple[int, float, dict[str, float]]] = field(default_factory=list)
    has_rewards: bool = False
    problem: Text = NO_TEXT
    lost: LostSteps = field(default_factory=LostSteps)

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> RunProgress:
        """Return the progress from the result of `dataclasses.asdict`."""
        values = dict(plain)
        values["state"] = StateFold(**values["state"])
        values["problem"] = Text.model_validate(values["problem"])
        ranges = [(first, last) for first, last in values["lost"]["ranges"]]
        values["lost"] = LostSteps(ranges, values["lost"]["last"])
        values["records"] = [tuple(record) for record in values["records"]]
        return cls(**values)

    @property
    def best_eval(self) -> float | None:
        """The lowest eval loss; None for reward training."""
        return None if self.has_rewards else self._lowest

    @property
    def best_reward(self) -> float | None:
        """The highest mean reward of an evaluation; None for other training."""
        return -self._lowest if self.has_rewards and self._lowest is not None else None

    @property
    def best_scores(self) -> dict[str, float]:
        """How well labels are predicted, or texts found, in the evaluation with the lowest loss."""
        return self.records[-1][2] if self.records else {}

    @property
    def _lowest(self) -> float | None:
        return self.records[-1][1] if self.records else None

    @property
    def seconds(self) -> float:
        """Duration of its training, interrupted parts included."""
        return self.trained + (max(0.0, self.time - self.began) if self.training else 0.0)

    def on_event(self, event: events.Event) -> None:
        """Follow an event; events come in the order of the file."""
        self.state.on_event(event)
        self.lost.on_event(event)
        match event:
            case events.Started():
                self._end(self.time)
                self.command, self.began = event.id, event.time
                self.training = event.command == "train"
            case events.Done() | events.Cancelled() | events.Failed() if event.id == self.command:
                self._end(event.time)
                self.problem = event.problem.what if isinstance(event, events.Failed) else NO_TEXT
            case events.TrainingStarted():
                self.steps = event.steps
                self._rewind(event.step)
            case events.Recovered():
                self._rewind(event.step)
            case events.Evaluated():
                self.has_rewards = event.has_rewards
                is_known = not (event.has_rewards and math.isnan(event.loss))
                if is_known and (self._lowest is None or event.loss < self._lowest):
                    scores = {name: event.figures[name] for name in SCORES if name in event.figures}
                    self.records.append((event.step, event.loss, scores))
            case events.StepDone():
                self.step, self.steps, self.loss = event.step, event.steps, event.loss
        self.time = event.time

    def _end(self, time: float) -> None:
        if self.training:
            self.trained += max(0.0, time - self.began)
        self.command, self.training = "", False

    def _rewind(self, step: int) -> None:
        self.step = min(self.step, step)
        self.records = [record for record in self.records if record[0] <= step]


def follow_events(run: RunFolder, progress: RunProgress) -> RunProgress:
    """Return the progress updated with the events after its position.

    Starts over if the file was replaced. Of the steps, of which there may be millions, only the
    last one is parsed.
    """
    try:
        file = open_regular(run.events_file)
    except OSError:
        return RunProgress()
    with file:
        if os.fstat(file.fileno()).st_size < progress.position:
            progress = RunProgress()
        file.seek(progress.position)
        last_step = b""
        for line, size in iter_lines(file):
            progress.position += size
            if _STEP in line:
                last_step = line
                if (
                    (number := _STEP_NUMBER.search(line))
                    and line[:1] == b"{"
                    and line[-2:] == b"}\n"
                ):
                    progress.lost.on_step(int(number[1]))
            elif any(mark in line for mark in _SUMMARIZED):
                _follow_line(progress, last_step)
                last_step = b""
                _follow_line(progress, line)
        _follow_line(progress, last_step)
    return progress


def _follow_line(progress: RunProgress, line: bytes) -> None:
    if line:
        with contextlib.suppress(ValidationError):
            progress.on_event(events.parse(line))


def explain_end(progress: RunProgress) -> Text:
    """Return why a worker ended without an event, if the system reports it."""
    if progress.time and psutil.boot_time() > progress.time:
        return text("The computer was shut down or restarted while it ran.")
    return text("Its process was killed, for example because the computer ran out of memory.")


def find_lost_steps(run: RunFolder, progress: RunProgress) -> Problem | None:
    """Return the warning about missing metrics of a run; None if none are missing."""
    lost = replace(progress.lost, ranges=[*progress.lost.ranges])
    if not progress.command:  # a running training writes events before checkpoints
        expect_checkpoints(lost, run)
    return lost_steps_warning(run, lost) if lost.ranges else None


def expect_checkpoints(lost: LostSteps, run: RunFolder) -> None:
    """Add the steps up to the last checkpoint; a running training writes events before checkpoints."""
    if steps := run.list_checkpoint_steps():
        lost.expect(steps[-1])


def lost_steps_warning(run: RunFolder, lost: LostSteps) -> Problem | None:
    """Return the warning about missing metrics; None if none are missing.

    A run that was exported to a cluster starts without the events of its first steps.
    """
    before = run.read_manifest().get(EVENTS_START) or 0
    ranges = [(max(first, before + 1), last) for first, last in lost.ranges if last > before]
    if not ranges:
        return None
    return warning(
        "run.lost_metrics",
        counted(
            sum(last - first + 1 for first, last in ranges),
            "The metrics of {n} step are missing: {steps}. {file} is damaged.",
            "The metrics of {n} steps are missing: {steps}. {file} is damaged.",
            steps=tuple(
                text("{first:d} to {last:d}", first=first, last=last) for first, last in ranges
            ),
            file=run.events_file.name,
        ),
        "Restore the file from a backup to get the curves back. The adapter and the checkpoints are not "
        "affected.",
        where=Where(file=str(run.events_file)),
    )


# --- sizes ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RunSizes:
    """Bytes on disk of a run and of its checkpoints, and what its adapter can do."""

    total: int = 0
    checkpoints: int = 0
    checkpoint_count: int = 0
    has_adapter: bool = False
    writes_text: bool = False


def measure_sizes(run: RunFolder) -> RunSizes:
    """Return the sizes of a run's files; files that vanish meanwhile don't count."""
    steps = 0
    with contextlib.suppress(OSError):
        steps = len(run.list_checkpoint_steps())
    checkpoints = _measure_folder(str(run.checkpoints))
    adapter = (run.adapter / "adapter_config.json").is_file() or any(
        (run.adapter / name).is_file() for name in ("adapter_model.safetensors",)
    )
    return RunSizes(
        _measure_folder(str(run.path)), checkpoints, steps, adapter, writes_text(run.adapter)
    )


def _measure_folder(folder: str) -> int:
    total = 0
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                with contextlib.suppress(OSError):
                    if entry.is_dir(follow_symlinks=False):
                        total += _measure_folder(entry.path)
                    else:
                        total += entry.stat(follow_symlinks=False).st_size
    except OSError:
        pass
    return total
