"""Facts about one run for a list of runs: settings, a summary of its events, and sizes."""

from __future__ import annotations

import contextlib
import os
import re
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import psutil
from pydantic import ValidationError

from lora_studio.core.lora.adapters import writes_text
from lora_studio.core.messages import Template, Text, counted, text
from lora_studio.core.problems import STEPS, Problem, ProblemError, Where, fail, warning
from lora_studio.core.project.project import FORMAT_VERSION, SPECS
from lora_studio.core.protocol import events
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.runs.manifest import EVENTS_START
from lora_studio.core.runs.state import LostSteps, RunState
from lora_studio.core.spec import get_facts
from lora_studio.core.system.foreign_files import iter_lines, open_regular, read_text

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


def follow_events(run: RunFolder, state: RunState) -> RunState:
    """Return the state updated with the events after its position.

    Starts over if the file was replaced. Of the steps, of which there may be millions, only the
    last one is parsed.
    """
    try:
        file = open_regular(run.events_file)
    except OSError:
        return RunState()
    with file:
        if os.fstat(file.fileno()).st_size < state.position:
            state = RunState()
        file.seek(state.position)
        last_step = b""
        for line, size in iter_lines(file):
            state.position += size
            if _STEP in line:
                last_step = line
                if (
                    (number := _STEP_NUMBER.search(line))
                    and line[:1] == b"{"
                    and line[-2:] == b"}\n"
                ):
                    state.lost.on_step(int(number[1]))
            elif any(mark in line for mark in _SUMMARIZED):
                _follow_line(state, last_step)
                last_step = b""
                _follow_line(state, line)
        _follow_line(state, last_step)
    return state


def _follow_line(state: RunState, line: bytes) -> None:
    if line:
        with contextlib.suppress(ValidationError):
            state.on_event(events.parse(line))


def explain_end(state: RunState) -> Text:
    """Return why a worker ended without an event, if the system reports it."""
    if state.time and psutil.boot_time() > state.time:
        return text("The computer was shut down or restarted while it ran.")
    return text("Its process was killed, for example because the computer ran out of memory.")


def lost_steps_warning(
    run: RunFolder, lost: LostSteps, *, up_to_checkpoint: bool = False
) -> Problem | None:
    """Return the warning about missing metrics; None if none are missing.

    With `up_to_checkpoint`, those of the last checkpoint are expected: a running training writes events
    before checkpoints. A run that was exported to a cluster starts without the events of its first steps.
    """
    ranges = lost.ranges
    if up_to_checkpoint and (steps := run.list_checkpoint_steps()) and steps[-1] > lost.last:
        ranges = [*ranges, (lost.last + 1, steps[-1])]
    before = (run.read_manifest().get(EVENTS_START) or 0) if ranges else 0
    ranges = [(max(first, before + 1), last) for first, last in ranges if last > before]
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

    bytes: int = 0
    checkpoint_bytes: int = 0
    checkpoints: int = 0
    has_adapter: bool = False
    writes_text: bool = False


def measure_sizes(run: RunFolder) -> RunSizes:
    """Return the sizes of a run's files; files that vanish meanwhile don't count."""
    steps = 0
    with contextlib.suppress(OSError):
        steps = len(run.list_checkpoint_steps())
    files = ("adapter_config.json", "adapter_model.safetensors")
    return RunSizes(
        _measure_folder(str(run.path)),
        _measure_folder(str(run.checkpoints)),
        steps,
        any((run.adapter / name).is_file() for name in files),
        writes_text(run.adapter),
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
