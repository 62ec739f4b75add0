"""Layout of a run on disk; the only place that knows the file names in it."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
from pydantic import ValidationError

from lora_studio.core.formatting import create_run_stamp
from lora_studio.core.messages import Text, text
from lora_studio.core.problems import ProblemError, Where, fail
from lora_studio.core.project import access_requests, project
from lora_studio.core.project.project import Project
from lora_studio.core.protocol import events
from lora_studio.core.protocol.events import Event
from lora_studio.core.runs import frozen_project, manifest
from lora_studio.core.runs.annotations import RunAnnotations, read_annotations, set_damaged_aside
from lora_studio.core.runs.state import RunState, State
from lora_studio.core.system import memory_limits
from lora_studio.core.system.files import (
    DiskNotMountedError,
    create_folder,
    describe_os_error,
    write_atomic,
)
from lora_studio.core.system.foreign_files import iter_lines, open_regular, read_json
from lora_studio.core.system.locks import FileLock

#: Content of most lines of a run's events; quotes inside a text would be escaped.
_ROUTINE = (b'"kind":"step_done"', b'"kind":"progress"')

#: The most seconds by which the clocks of a computer and a network drive may differ.
_CLOCKS = 3600.0
#: Files that a worker creates when it starts on a run, and writes to while it works.
_TOUCHED = ("run.lock", "events.jsonl")

#: Folder and name of wandb's link to the log of its service.
_LOG_IN_CACHE = ("logs", "debug-core.log")

_CHECKPOINT = re.compile(r"step-(\d+)\Z")


#: What names of projector files begin with; LM Studio and llama.cpp recognize them by it.
PROJECTOR_PREFIX = "mmproj-"


@dataclass(frozen=True)
class RunFolder:
    """One run. Everything in it is written to a temporary name and renamed."""

    path: Path

    @property
    def project_file(self) -> Path:
        """The frozen project."""
        return self.path / "project.toml"

    @property
    def manifest_file(self) -> Path:
        """Versions, seeds and hashes, needed to understand or repeat the run."""
        return self.path / "manifest.json"

    @property
    def about_file(self) -> Path:
        """Title, tags and notes. Not in the manifest, which a worker may be writing at the time."""
        return self.path / "about.json"

    @property
    def events_file(self) -> Path:
        """Every event of the run, one JSON line each, appended by workers."""
        return self.path / "events.jsonl"

    @property
    def mailbox_file(self) -> Path:
        """Commands from processes that did not start the worker, one JSON line each."""
        return self.path / "commands.jsonl"

    @property
    def log_file(self) -> Path:
        """Output of the libraries, and tracebacks."""
        return self.path / "log.txt"

    @property
    def lock_file(self) -> Path:
        """Locked by the run's worker."""
        return self.path / "run.lock"

    @property
    def guard_file(self) -> Path:
        """Locked by the supervisor that restarts the worker if the system kills it for lack of memory."""
        return self.path / "guard.lock"

    @property
    def checkpoints(self) -> Path:
        """Folder of checkpoints, one folder `step-N` each."""
        return self.path / "checkpoints"

    @property
    def adapter(self) -> Path:
        """The trained adapter in PEFT's layout, with the tokenizer."""
        return self.path / "adapter"

    @property
    def start_adapter(self) -> Path:
        """A copy of the adapter that training continued from, if any."""
        return self.path / "start-adapter"

    @property
    def initial_adapter(self) -> Path:
        """The adapter that was subtracted from the base weights before training, with PiSSA."""
        return self.path / "initial-adapter"

    @property
    def best(self) -> Path:
        """Adapters of the best evaluations so far, during training."""
        return self.path / "best"

    def get_best_adapter(self, step: int) -> Path:
        """Return the folder of the best adapter so far, evaluated after an optimizer step."""
        return self.best / f"step-{step:08d}"

    @property
    def samples_file(self) -> Path:
        """The base model's answers to the sample prompts."""
        return self.path / "samples.json"

    @property
    def merged(self) -> Path:
        """The merged model, a Hugging Face folder."""
        return self.path / "merged"

    @property
    def has_adapter(self) -> bool:
        """Whether the run has an adapter, trained or imported."""
        return (self.adapter / "adapter_config.json").is_file()

    @property
    def has_merged(self) -> bool:
        """Whether there is a merged model."""
        return (self.merged / "config.json").is_file()

    @property
    def tokenizer(self) -> Path:
        """The folder with the tokenizer to export; a complete merged model has the adapter's."""
        has_tokenizer = (self.merged / "tokenizer_config.json").is_file()
        return self.merged if self.has_merged and has_tokenizer else self.adapter

    @property
    def gguf(self) -> Path:
        """Folder of GGUF files."""
        return self.path / "gguf"

    @property
    def modelfile(self) -> Path:
        """The Modelfile of the Ollama model."""
        return self.path / "Modelfile"

    @property
    def selftest_file(self) -> Path:
        """Results of the self-test of every stage."""
        return self.path / "selftest.json"

    @property
    def heldout_file(self) -> Path:
        """Conversations held out of training, one JSON line each; the self-test uses them."""
        return self.path / "heldout.jsonl"

    @property
    def evaluations_folder(self) -> Path:
        """Folder of evaluations, one folder each."""
        return self.path / "evaluations"

    @property
    def train_script(self) -> Path:
        """A script that repeats the training with transformers and PEFT, and TRL for rewards."""
        return self.path / "train.py"

    @property
    def rewards_script(self) -> Path:
        """The rewards that `train_script` imports after a reward training."""
        return self.path / "rewards.py"

    @property
    def lock_list(self) -> Path:
        """Exact versions of the libraries that `train_script` needs."""
        return self.path / "requirements.lock.txt"

    @property
    def data(self) -> Path:
        """The rows that `train_script` reads: tokens, and the order of training."""
        return self.path / "data"

    @property
    def trackers(self) -> Path:
        """Files of the selected trackers: TensorBoard, Weights & Biases and MLflow."""
        return self.path / "trackers"

    @property
    def temporary(self) -> Path:
        """Scratch folder; its content may be deleted while no worker runs."""
        return self.path / "tmp"

    def get_gguf_file(self, name: str, quantization: str) -> Path:
        """Return the GGUF file of one quantization."""
        return self.gguf / f"{project.to_file_name(name)}-{quantization}.gguf"

    def get_projector_file(self, name: str) -> Path:
        """Return the GGUF file of the encoders of images and audio, which llama.cpp calls the projector."""
        return self.gguf / f"{PROJECTOR_PREFIX}{project.to_file_name(name)}-F16.gguf"

    def checkpoint(self, step: int) -> Path:
        """Return the folder of the checkpoint after `step` optimizer steps."""
        return self.checkpoints / f"step-{step:08d}"

    def list_checkpoint_steps(self) -> list[int]:
        """Return the steps with a checkpoint on disk, ascending."""
        if not self.checkpoints.is_dir():
            return []
        matches = (_CHECKPOINT.match(entry.name) for entry in self.checkpoints.iterdir())
        return sorted(int(match[1]) for match in matches if match)

    def load_project(self) -> Project:
        """Return the frozen project; raises ProblemError if the folder isn't a run."""
        if not self.project_file.is_file():
            raise fail(
                "run.not_found",
                "{path} isn't a run folder.",
                "Choose a folder inside the project's runs folder.",
                path=str(self.path),
                where=Where(file=str(self.path)),
            )
        return frozen_project.read(self.project_file, self.read_manifest())

    def require_inputs(self, frozen: Project, *, with_data: bool) -> None:
        """Raise ProblemError if the base model or, with `with_data`, a file of the dataset is missing."""
        folder, entries = self.path.resolve(), self.read_manifest()
        find = frozen_project.list_missing_inputs
        if problems := find(frozen, folder, entries, with_data=with_data):
            raise ProblemError(problems)

    def write_project(self, frozen: Project) -> None:
        """Write the frozen project, whose paths are absolute; raises OSError."""
        entries = self.read_manifest()
        originals = frozen_project.write(self.project_file, frozen, entries.get("created") or "")
        earlier = entries.get("taken_along") or {}
        if (taken_along := earlier | originals) != earlier:
            self.update_manifest(taken_along=taken_along)

    def require_no_links(self) -> None:
        """Raise ProblemError if a file or folder of the run is a symbolic link.

        A job writes and deletes in these folders; a link in a run from somebody else could lead it to
        any folder of the user. Trackers may link to files in their own folder. wandb's link to a log in its
        cache, which nothing reads, is deleted.
        """
        for parent, folders, files in os.walk(self.path):
            folder = Path(parent)
            is_of_tracker = self.trackers in folder.parents
            for name in (*folders, *files):
                if not (folder / name).is_symlink():
                    continue
                if is_of_tracker and (folder.name, name) == _LOG_IN_CACHE:
                    (folder / name).unlink(missing_ok=True)
                elif not (is_of_tracker and _leads_into(folder / name, self.trackers)):
                    raise fail(
                        "run.link",
                        "{file} in the run folder is a link. Jobs don't write through links.",
                        "Replace the link with the files that it leads to, or delete it.",
                        file=str((folder / name).relative_to(self.path)),
                        where=Where(file=str(folder / name)),
                    )

    def read_manifest(self) -> dict[str, Any]:
        """Return the manifest, empty if there is none yet or it is damaged."""
        return manifest.read(self.manifest_file)

    def update_manifest(self, **entries: Any) -> None:
        """Add or replace entries of the manifest; raises OSError."""
        manifest.update(self.manifest_file, entries)

    def read_about(self) -> RunAnnotations:
        """Return the user's annotations of the run; empty if they are missing or damaged."""
        return read_annotations(self.about_file) or RunAnnotations()

    def write_about(self, about: RunAnnotations) -> None:
        """Write the user's annotations; raises ProblemError, also if the run was deleted."""
        if not self.path.is_dir():
            raise manifest.not_written_error(self.about_file, text("the run no longer exists"))
        try:
            set_damaged_aside(self.about_file)
            write_atomic(self.about_file, about.model_dump_json(indent=2) + "\n")
        except OSError as error:
            raise manifest.not_written_error(self.about_file, describe_os_error(error)) from error

    def iter_events(self) -> Iterator[events.Event]:
        """Yield every event so far; incomplete and unknown lines are skipped."""
        return self._parsed(lambda line: True)

    def iter_milestones(self) -> Iterator[Event]:
        """Yield every event but steps and progress, whose lines, maybe millions, aren't parsed."""
        return self._parsed(lambda line: not any(mark in line for mark in _ROUTINE))

    def iter_events_of(self, *kinds: str) -> Iterator[Event]:
        """Yield the events of some kinds; other lines aren't parsed."""
        marks = [f'"kind":"{kind}"'.encode() for kind in kinds]
        return self._parsed(lambda line: any(mark in line for mark in marks))

    def _parsed(self, is_wanted: Callable[[bytes], bool]) -> Iterator[Event]:
        try:
            file = open_regular(self.events_file)
        except OSError:
            return
        with file:
            for line, _ in iter_lines(file):
                if is_wanted(line):
                    with contextlib.suppress(ValidationError):
                        yield events.parse(line)

    def is_running(self) -> bool:
        """Return whether a worker is working on the run."""
        return FileLock(self.lock_file).is_held()

    def worker_pid(self) -> int | None:
        """Return the process ID of the run's worker, None if there is none."""
        if not self.is_running():
            return None
        try:
            return int(read_json(self.lock_file)["pid"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def is_guarded(self) -> bool:
        """Return whether a supervisor restarts the worker if the system kills it to free memory."""
        return FileLock(self.guard_file).is_held()

    def has_run_out_of_memory(self) -> bool:
        """Return whether the system killed the last worker for lack of memory; False if unknown."""
        return memory_limits.has_risen(FileLock(self.lock_file).read_stale_holder().get("kills"))

    def read_state(self) -> State:
        """Return the state of the run from its events and its lock."""
        if self.is_running():
            return "running"
        state, has_events = RunState(), False
        for event in self.iter_milestones():
            state.on_event(event)
            has_events = True
        return state.state if has_events else self.infer_state()

    def infer_state(self) -> State:
        """Return the state of a run whose events are missing, from what it has produced."""
        if self.list_checkpoint_steps():
            return "interrupted"
        return "trained" if self.has_adapter else "new"


def _leads_into(link: Path, folder: Path) -> bool:
    """Return whether a link leads to a place in a folder."""
    try:
        target = link.resolve()  # of links in a circle, Python 3.13 returns one of them
    except (OSError, RuntimeError):
        return False
    return not target.is_symlink() and target.is_relative_to(folder.resolve())


def create_run(
    runs: Path, frozen: Project, source_folder: Path, *, is_allowed: bool = True
) -> RunFolder:
    """Create a run in the folder `runs`; raises ProblemError if that fails.

    Its jobs may read, write, and contact what the project names, unless it comes from elsewhere (`is_allowed`).
    """
    _require_allowed_link(runs)
    stamp = create_run_stamp(_list_names(runs))
    slug = re.sub(r"[^\w-]+", "-", frozen.name).strip("-") or "run"
    for attempt in range(1, 1000):
        path = runs / (f"{stamp}-{slug}" if attempt == 1 else f"{stamp}-{slug}-{attempt}")
        try:
            create_folder(path, exist_ok=False)
        except FileExistsError:
            continue
        except DiskNotMountedError:
            raise
        except OSError as error:
            raise _not_created_error(path, describe_os_error(error)) from error
        run = RunFolder(path)
        try:
            run.update_manifest(name=frozen.name, created=format_now())
            run.write_project(resolved := frozen.resolve(source_folder))
        except OSError as error:
            shutil.rmtree(path, ignore_errors=True)
            raise _not_created_error(path, describe_os_error(error)) from error
        if is_allowed:
            access_requests.allow_requests(access_requests.list_run_requests(path, resolved))
        return run
    raise _not_created_error(runs, text("too many runs were created in one second"))


def _require_allowed_link(runs: Path) -> None:
    """Raise ProblemError for a folder of runs that is a link out of its project, unless the user has accepted it."""
    target = access_requests.find_outside(runs.name, runs.parent) if runs.is_symlink() else None
    if target is None:
        return
    home = runs.parent.resolve()
    if f"write {target}" not in access_requests.list_accepted(home):
        raise fail(
            "run.runs_link",
            "The folder of the project's runs, {file}, is a link to {target}, which you haven't allowed.",
            "Open the project again and allow it, or replace the link with a folder.",
            where=Where(file=str(runs)),
            file=runs.name,
            target=target,
        )


def format_now() -> str:
    """Return the current time in the manifest's format."""
    return datetime.now().astimezone().isoformat()


def find_latest(runs: Path) -> RunFolder | None:
    """Return the running run, else the newest started one; a queued run has nothing to show yet.

    Reads as few folders as possible: there may be thousands, and a window waits for the answer.
    """
    names = _list_names(runs)
    for run in _iter_running(runs, names):
        return run
    first: RunFolder | None = None
    for run in (RunFolder(runs / name) for name in names):
        if run.project_file.is_file():
            first = first or run
            if run.events_file.is_file():
                return run
    return first


def list_running_runs(runs: Path) -> list[RunFolder]:
    """Return the runs that a worker is working on, newest first."""
    return list(_iter_running(runs, _list_names(runs)))


def _iter_running(runs: Path, names: list[str]) -> Iterator[RunFolder]:
    since = psutil.boot_time() - _CLOCKS  # locks don't survive a restart of the computer
    for name in names:
        with contextlib.suppress(OSError):
            # If the clock was set forward, the restart seems later than the lock.
            if any(os.stat(f"{runs}/{name}/{file}").st_mtime > since for file in _TOUCHED):  # noqa: PTH116 - of thousands
                run = RunFolder(runs / name)
                if run.project_file.is_file() and run.is_running():
                    yield run


def _list_names(runs: Path) -> list[str]:
    """Return the names in a folder of runs, newest first."""
    try:
        with os.scandir(runs) as entries:
            return sorted((e.name for e in entries if e.name[0] != "."), reverse=True)
    except OSError:
        return []


def list_started_runs(runs: Path, most: int) -> list[RunFolder]:
    """Return the started runs, newest first, reading no more folders than requested."""
    folders = (RunFolder(runs / name) for name in _list_names(runs))
    started = (run for run in folders if run.events_file.is_file() and run.project_file.is_file())
    return list(itertools.islice(started, most))


def list_runs(runs: Path) -> list[RunFolder]:
    """Return all runs in a folder, newest first."""
    if not runs.is_dir():
        return []
    folders = [RunFolder(entry) for entry in runs.iterdir() if (entry / "project.toml").is_file()]
    return sorted(folders, key=lambda run: run.path.name, reverse=True)


def _not_created_error(path: Path, reason: Text | str) -> ProblemError:
    return fail(
        "run.not_created",
        "Couldn't create the run folder: {reason}.",
        "Check that the project folder is writable and has free space.",
        reason=reason,
        where=Where(file=str(path)),
    )
