"""A cache with one line about each run of a project, so that thousands are listed quickly."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter

from lora_studio import __version__
from lora_studio.core import limits
from lora_studio.core.evaluation.run_verdict import AnswerScore, read_answer_score
from lora_studio.core.messages import NO_TEXT, Text
from lora_studio.core.problems import ProblemError
from lora_studio.core.runs import checksums
from lora_studio.core.runs import facts as run_facts
from lora_studio.core.runs.annotations import RunAnnotations
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.runs.state import RunState, State
from lora_studio.core.system.files import write_atomic
from lora_studio.core.system.foreign_files import make_unicode, read_bytes

#: `unreadable`: folders that aren't a run or have unreadable settings are listed as well.
RowState = State | Literal["unreadable"]

#: Cache file in the runs folder; it may be deleted at any time.
CACHE = ".index.jsonl"
#: Seconds between two writes, since an active run changes all the time.
_WRITE_EVERY = 30.0
#: Version of the cache, incremented whenever an entry changes its meaning. Entries omit defaults,
#: so the version of the program is part of it.
_FORMAT = f"LoRA Studio runs 10 {__version__}"

#: Modification stamp of a summary's sources: (nanoseconds, bytes) of each file, nanoseconds of
#: folders.
Stamp = tuple[int, ...]

NOTHING_SAID = RunAnnotations()

Settings = dict[str, Any]  # "training.learning_rate" -> value


@dataclass(slots=True)  # not frozen: creating thousands would take three times as long
class RunSummary:
    """One run: what a table of runs shows, sorts and searches.

    `name` is its title or, without one, that of its project; `model` and `data` are short names.
    `loss` is that of the last step and `best_eval` the lowest eval loss, nats per trained token or as
    the objective has it; `best_reward`, of reward training, is the highest mean reward of an evaluation
    instead; `best_scores` are those of a classifier or an embedding model in the evaluation with the lowest
    loss, by name; `answers` is its score in the newest evaluation; `seconds` how long it trained; `bytes` its size on disk; `created` and
    `changed` seconds since 1970; `command` is the last one that changed the run, such as "merge"; `writes_text` says whether its adapter can chat. `settings` are those that are not at their defaults. `reason` is why
    it is unreadable, or what ended it; `warning` says which metrics are missing.
    """

    folder: str
    name: str = ""
    state: RowState = "new"
    model: str = ""
    data: str = ""
    rank: int | None = None
    loss: float | None = None
    best_eval: float | None = None
    best_reward: float | None = None
    best_scores: dict[str, float] = field(default_factory=dict)
    answers: AnswerScore | None = None
    step: int = 0
    steps: int = 0
    seconds: float = 0.0
    bytes: int = 0
    checkpoint_bytes: int = 0
    checkpoints: int = 0
    created: float = 0.0
    changed: float = 0.0
    reason: Text = NO_TEXT
    warning: Text = NO_TEXT
    command: str = ""
    has_adapter: bool = False
    writes_text: bool = False
    about: RunAnnotations = NOTHING_SAID
    settings: Settings = field(default_factory=dict)

    @property
    def tags(self) -> tuple[str, ...]:
        """The user's tags."""
        return self.about.tags

    @property
    def is_resumable(self) -> bool:
        """Whether its training can resume: from a checkpoint, or from a pause before the first one."""
        if self.state == "paused":
            return True
        return (
            self.command == "train"
            and self.state in ("interrupted", "failed", "stopped")
            and bool(self.checkpoints)
        )

    def get_value(self, setting: str) -> Any:
        """Return a setting of the run, `step.field`, its default included; raises KeyError if
        unknown."""
        if setting in self.settings:
            return self.settings[setting]
        return run_facts.get_default(setting)

    @property
    def searched(self) -> str:
        """All searchable text, in lower case."""
        about = self.about
        settings = [f"{name.partition('.')[2]}={value}" for name, value in self.settings.items()]
        parts = [
            self.folder,
            self.name,
            self.model,
            self.data,
            self.state,
            *about.tags,
            about.notes,
        ]
        return "\n".join([*parts, *settings]).lower()


@dataclass
class _Entry:
    """The cached data of one run; `progress` is needed to continue reading its events."""

    stamp: Stamp
    progress: RunState
    summary: RunSummary


class RunIndex:
    """A cached index of all runs in one folder, which rereads only what has changed.

    Not thread-safe. Damaged run folders never make it fail.
    """

    def __init__(self, runs: Path) -> None:
        """Set the runs folder; nothing is read yet."""
        self.runs = runs
        self._entries: dict[str, _Entry] = {}
        self._loaded = False
        self._changed = False
        self._written = -_WRITE_EVERY

    def load(self) -> list[RunSummary]:
        """Return the cached summaries without reading the runs: fast, but possibly outdated."""
        if not self._loaded:
            self._loaded = True
            self._entries = _read_cache(self.runs / CACHE)
        return self.list_summaries()

    def refresh(
        self, gently: Callable[[Iterable[str]], Iterable[str]] = iter
    ) -> Iterator[list[RunSummary]]:
        """Reread changed runs; yield all summaries from time to time, and once more at the end.

        `gently` wraps the iteration over folder names, and may sleep or raise between two of them.
        The cache is written at the end if anything has changed.
        """
        self.load()
        names = _list_folders(self.runs)
        deleted = self._entries.keys() - set(names)
        for name in deleted:
            del self._entries[name]
        self._changed = self._changed or bool(deleted)
        stamps = {name: _read_stamp(f"{self.runs}/{name}") for name in names}
        changed = [name for name in names if name not in self._entries or
                 self._entries[name].stamp != stamps[name]]  # fmt: skip
        for number, name in enumerate(gently(changed), start=1):
            self._read(name, stamps[name])
            if number % 200 == 0:
                yield self.list_summaries()
        self._look_at_locks()
        self._write_cache()
        yield self.list_summaries()

    def list_summaries(self) -> list[RunSummary]:
        """Return the current summaries, newest first."""
        summaries = [entry.summary for entry in self._entries.values()]
        return sorted(summaries, key=lambda run: (run.created, run.folder), reverse=True)

    # --- inside -------------------------------------------------------------------------------

    def _read(self, name: str, stamp: Stamp) -> None:
        before = self._entries.get(name)
        folder = RunFolder(self.runs / name)
        progress = run_facts.follow_events(folder, before.progress if before else RunState())
        self._entries[name] = _Entry(stamp, progress, _build_summary(folder, progress))
        self._changed = True

    def _look_at_locks(self) -> None:
        """Update which runs are running.

        Only the lock shows whether an unfinished command is running: no file changes when a worker
        is killed.
        """
        for entry in self._entries.values():
            progress = entry.progress
            if not progress.command or entry.summary.state == "unreadable":
                continue
            is_running = RunFolder(self.runs / entry.summary.folder).is_running()
            state: RowState = "running" if is_running else progress.state
            reason = run_facts.explain_end(progress) if state == "interrupted" else NO_TEXT
            if (state, reason) != (entry.summary.state, entry.summary.reason):
                entry.summary = replace(entry.summary, state=state, reason=reason)
                self._changed = True

    def _write_cache(self) -> None:
        """Write the cache; a folder that can't be written to is read again each time."""
        if not self._changed or time.monotonic() - self._written < _WRITE_EVERY:
            return
        lines = [_FORMAT, *(_to_line(name, entry) for name, entry in self._entries.items())]
        with contextlib.suppress(OSError):
            write_atomic(self.runs / CACHE, "\n".join(lines) + "\n")
            self._changed, self._written = False, time.monotonic()


def read_summaries(runs: Path) -> list[RunSummary]:
    """Return all runs in a folder, newest first, up to date."""
    summaries: list[RunSummary] = []
    for summaries in RunIndex(runs).refresh():  # noqa: B007 - the last of them is the whole
        pass
    return summaries


# --- one run --------------------------------------------------------------------------------------


def _build_summary(run: RunFolder, progress: RunState) -> RunSummary:
    about = run.read_about()
    lost = run_facts.lost_steps_warning(run, progress.lost, up_to_checkpoint=not progress.command)
    summary = RunSummary(
        run.path.name,
        **asdict(run_facts.measure_sizes(run)),
        about=about,
        created=_read_creation_time(run),
        loss=progress.loss,
        best_eval=progress.best_eval,
        best_reward=progress.best_reward,
        best_scores=progress.best_scores,
        answers=read_answer_score(run.evaluations_folder, checksums.read_recorded(run)),
        step=progress.step,
        steps=progress.steps,
        seconds=progress.seconds,
        changed=progress.time,
        warning=NO_TEXT if lost is None else lost.what,
        command=progress.changing if progress.time else "train",
    )
    try:
        frozen = run_facts.read_frozen_settings(run)
    except ProblemError as error:
        summary.name = about.title or make_unicode(Path(run.path.name))
        summary.state, summary.reason = "unreadable", error.problems[0].what
        return summary
    summary.settings = frozen.settings
    summary.name = about.title or frozen.name
    summary.state = progress.state if progress.time else run.infer_state()
    summary.reason = progress.problem if progress.state == "failed" else NO_TEXT
    summary.model = run_facts.get_short_name(str(summary.get_value("model.source")))
    summary.data = ", ".join(frozen.data)
    summary.rank = _to_whole(summary.get_value("lora.rank"))
    return summary


def _to_whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _read_creation_time(run: RunFolder) -> float:
    """Return seconds since 1970 from the folder's name, which a copy keeps; else its last change."""
    with contextlib.suppress(ValueError, OverflowError):
        return datetime.strptime(run.path.name[:15], "%Y%m%d-%H%M%S").timestamp()
    with contextlib.suppress(OSError):
        return run.path.stat().st_mtime
    return 0.0


# --- the disk -------------------------------------------------------------------------------------


def _list_folders(runs: Path) -> list[str]:
    """Return the names of all candidate runs; a leading dot marks one being created or deleted."""
    names = []
    try:
        with os.scandir(runs) as entries:
            for entry in entries:
                with contextlib.suppress(OSError):  # such as a link to itself
                    if entry.name[0] != "." and entry.is_dir():
                        names.append(entry.name)
    except OSError:
        return []
    return sorted(names)


_FILES = ("project.toml", "about.json", "events.jsonl")
_FOLDERS = ("", "checkpoints")


def _read_stamp(folder: str) -> Stamp:
    stamp: list[int] = []
    for name in _FILES:
        try:
            facts = os.stat(f"{folder}/{name}")  # noqa: PTH116 - a Path for each costs as much as the look
        except OSError:
            stamp += (0, 0)
        else:
            stamp += (facts.st_mtime_ns, facts.st_size)
    for name in _FOLDERS:
        try:
            stamp.append(os.stat(f"{folder}/{name}").st_mtime_ns)  # noqa: PTH116 - see above
        except OSError:
            stamp.append(0)
    return tuple(stamp)


def _read_cache(file: Path) -> dict[str, _Entry]:
    """Return the entries of the cache, one per line; none if it is missing or of another version.

    Parses line by line, since parsing everything at once would block the window.
    """
    entries: dict[str, _Entry] = {}
    try:
        head, *lines = read_bytes(file, limits.LARGE_FILE).splitlines()
        if head != _FORMAT.encode():
            return {}
        for line in lines:
            with contextlib.suppress(
                ValueError, KeyError, TypeError, AttributeError, RecursionError
            ):
                name, entry = _from_line(line)
                entries[name] = entry
    except (OSError, ValueError):
        return {}
    return entries


_PROGRESS_FIELDS = {item.name for item in fields(RunState)}
_SUMMARY_FIELDS = tuple(item.name for item in fields(RunSummary) if item.name != "about")


@functools.cache  # takes 0.1 s, which a command that reads no runs should not need
def _make_adapters() -> tuple[TypeAdapter[RunState], TypeAdapter[RunSummary]]:
    return TypeAdapter(RunState), TypeAdapter(RunSummary)


def _to_plain(value: Text | AnswerScore) -> dict[str, Any]:
    return asdict(value) if isinstance(value, AnswerScore) else value.model_dump()


def _to_line(name: str, entry: _Entry) -> str:
    summary = {name: getattr(entry.summary, name) for name in _SUMMARY_FIELDS}
    about = entry.summary.about
    if about != NOTHING_SAID:
        summary["about"] = about.model_dump(mode="json")
    plain = {"run": name, "stamp": entry.stamp, "told": asdict(entry.progress), "summary": summary}
    line = json.dumps(plain, default=_to_plain)  # ASCII: names may have odd characters
    return f"{zlib.crc32(line.encode()):08x} {line}"


def _from_line(line: bytes) -> tuple[str, _Entry]:
    """Return the entry of a line, which its CRC-32 precedes.

    Raises ValueError and others if it is damaged or has values of wrong types.
    """
    checksum, _, content = line.partition(b" ")
    if int(checksum, 16) != zlib.crc32(content):
        raise ValueError("the line has changed since it was written")
    plain = json.loads(content)
    if plain["told"].keys() != _PROGRESS_FIELDS:
        raise ValueError("the entry is incomplete")
    progress_adapter, summary_adapter = _make_adapters()
    progress = progress_adapter.validate_python(plain["told"])
    summary = summary_adapter.validate_python(plain["summary"])
    if summary.folder != plain["run"]:
        raise ValueError("the entry is of another folder")
    return summary.folder, _Entry(tuple(plain["stamp"]), progress, summary)
