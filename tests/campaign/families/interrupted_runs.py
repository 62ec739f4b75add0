"""Runs that are interrupted: by kills at any moment, and by a disk that fails.

Each input is a plan in JSON. All run on one tiny model, in forks of one process that has imported
torch; the first plan also carries out every job without interruption, for comparison.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import json
import random
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lora_studio.core.protocol import commands, events
from lora_studio.core.runs.folder import RunFolder
from tests.campaign.family import SimpleFamily, WrongResultError
from tests.helpers.runs.jobs import wait_until_free

#: Events of a training after which the disk fails, and how many of each there may be before.
_MOMENTS = {"any": 12, "step_done": 5, "checkpoint_saved": 2, "evaluated": 1}

#: Jobs that meet a failing disk, with parts of the paths of files that they write.
_JOBS = {
    "train": (
        "events.jsonl", "checkpoints", "adapter", "log.txt", "manifest.json", "optimizer", "adapter_model", "heldout", "requirements",
    ),
    "merge": ("events.jsonl", "merged", "model.safetensors", "manifest.json", "tokenizer"),
    "export": ("events.jsonl", "gguf", "manifest.json", "Modelfile", "selftest", ".tmp"),
    "selftest": ("events.jsonl", "selftest", "manifest.json"),
}  # fmt: skip
#: Operations of the disk that fail: writing, syncing, creating, moving.
_OPERATIONS = ("ws", "wscm", "wscm", "w", "cm")
#: Operations on chosen files that succeed before; many files are written by one only.
_CHOSEN = (0, 0, 0, 1, 2)
#: Parts of the paths of files that can't be read; what is mapped into memory can be read nevertheless.
_READ = (
    "rows.jsonl", "/model/", "model.safetensors", "config.json", "tokenizer", "checkpoints", "adapter", "manifest.json", "project.toml",
    "about.json", "events.jsonl", "heldout", "merged", "gguf", "state", "/runs/", "samples.json", "selftest.json",
)  # fmt: skip
_ERRORS = {errno.ENOSPC: "disk.full", errno.EDQUOT: "disk.full", errno.EIO: "disk.failing", errno.EROFS: "disk.read_only"}  # fmt: skip

#: Steps of a training, and faults that a run meets, one after another, before its job succeeds.
_STEPS, _FAULTS = 12, 10


def generate_kills(rng: random.Random) -> bytes:
    """Return the number of kills, and the seed of their moments."""
    return json.dumps({"kills": rng.randrange(6, 12), "seed": rng.randrange(1 << 32)}).encode()


def _draw_position(rng: random.Random) -> dict[str, Any]:
    """Return which of all operations on files of the run fails first, and how many fail."""
    return {
        "word": "/runs/",
        "share": round(0.9 * rng.random(), 4),
        "times": rng.choice((0, 0, 1, 3)),
    }


def generate_faults(rng: random.Random) -> bytes:
    """Return a job and faults of writing, one after another: which files, operations, and error, and from when on."""
    job = rng.choices(list(_JOBS), (4, 3, 1, 2))[0]
    faults = []
    for _ in range(_FAULTS):
        fault = {"errno": rng.choice(list(_ERRORS)), "operations": rng.choice(_OPERATIONS)}
        if rng.random() < 0.5:
            faults.append(fault | _draw_position(rng))
            continue
        event = rng.choice(list(_MOMENTS))
        faults.append(fault | {
            "word": rng.choice(_JOBS[job]), "skip": rng.choice(_CHOSEN), "times": rng.choice((0, 0, 0, 1)), "event": event,
            "after": rng.randrange(_MOMENTS[event]),
        })  # fmt: skip
    return json.dumps({"job": job, "faults": faults}).encode()


def generate_unreadable(rng: random.Random) -> bytes:
    """Return a job and faults of reading."""
    faults = []
    for _ in range(_FAULTS):
        fault = {"errno": errno.EIO, "operations": "r"}
        chosen = {"word": rng.choice(_READ), "skip": rng.choice((0, 0, rng.randrange(20))), "times": rng.choice((0, 0, 1)), "after": rng.choice((0, 0, 3))}  # fmt: skip
        faults.append(fault | (_draw_position(rng) if rng.random() < 0.4 else chosen))
    return json.dumps({"job": rng.choices(list(_JOBS), (3, 3, 1, 2))[0], "faults": faults}).encode()


class _Setting(NamedTuple):
    """What all plans share: trials of every job, the workers' engine, and the switch of its disk."""

    trials: Any
    engine: Any
    switch: Path
    #: For each job, how often an unbroken one does each operation on files of its run.
    operations: Mapping[str, Counter[str]]


class _CountingEngine:
    """An engine that counts the operations of the disk in the first job of each kind."""

    def __init__(self, engine: Any, switch: Path) -> None:
        self._engine, self._switch = engine, switch
        self.operations: dict[str, Counter[str]] = {}

    def begin(self, command: commands.Job) -> Iterator[events.Event]:
        if command.kind in self.operations:
            yield from self._engine.begin(command)
            return
        self._switch.write_text(f"{errno.EIO} /runs/ -1 wscmr")
        yield from self._engine.begin(command)
        self._switch.unlink()
        hits = self._switch.with_name("bad.hits")
        self.operations[command.kind] = Counter(hits.read_text())
        hits.unlink()


@functools.cache
def _create_setting(folder: Path) -> _Setting:
    """Carry out every job once on a disk that doesn't fail."""
    from tests.helpers.faults import bad_disk
    from tests.helpers.faults.kill_trials import KillTrials
    from tests.helpers.faults.killed_runs import ForkingEngine
    from tests.helpers.models.tiny_models import tiny_model

    shutil.rmtree(folder, ignore_errors=True)  # of a setting that failed
    folder.mkdir()
    switch = folder / "bad"
    library = bad_disk.build(folder)
    model = tiny_model("llama3", folder / "model")
    with contextlib.ExitStack() as undo:
        engine = ForkingEngine(bad_disk.environment(library, "nothing", errno.EIO, switch))
        undo.callback(engine.close)
        counting = _CountingEngine(engine, switch)
        trials = KillTrials(counting, model, folder, _STEPS)
        undo.pop_all()  # the engine ends with this process
    return _Setting(trials, engine, switch, counting.operations)


def run_kills(content: bytes, sandbox: Path) -> dict[str, int] | str:
    """Train, merge, export and test a run while its workers are killed; nothing is lost."""
    setting = _create_setting(sandbox.parent / "shared")
    try:
        plan = {name: int(value) for name, value in json.loads(content).items()}
    except (ValueError, AttributeError, TypeError):
        return "noise"
    report = setting.trials.run(kills=plan.get("kills", 1), seed=plan.get("seed", 0))
    if report.losses:
        raise WrongResultError("; ".join(map(str, report.losses)))
    return {"kills": report.kills} | {f"of {job}": count for job, count in report.hits.items()}


def run_faults(content: bytes, sandbox: Path) -> dict[str, int] | str:
    """Let a job fail on a bad disk several times: each cause is named, nothing is lost, and in the end all is right."""
    setting = _create_setting(sandbox.parent / "shared")
    try:
        plan = json.loads(content)
        job, faults = str(plan["job"]), [_read_fault(setting, str(plan["job"]), fault) for fault in plan["faults"]]  # fmt: skip
    except (ValueError, TypeError, KeyError):
        return "noise"
    run = _prepare_run(setting, sandbox / "project", job)
    outcomes: Counter[str] = Counter()
    for fault in faults:
        outcome = _meet_fault(setting, run, job, fault)
        outcomes["faults"] += bool(outcome)
        outcomes[f"{job}: {outcome}" if outcome else "not reached"] += 1
        if job == "train" and run.read_state() == "trained":
            break
    _repeat_job(setting, run, job)
    return dict(outcomes)


class _Fault(NamedTuple):
    """A fault of the disk: the content of its switch, and after how many events of a kind it begins."""

    errno: int
    operations: str
    switch: str
    event: str
    after: int


def _read_fault(setting: _Setting, job: str, fault: dict[str, Any]) -> _Fault:
    """Return a fault of a plan; raises ValueError, TypeError or KeyError for one that isn't complete."""
    number, operations = int(fault["errno"]), str(fault["operations"])
    skip = int(fault.get("skip", 0))
    if "share" in fault:
        counts = setting.operations[job]
        skip = int(float(fault["share"]) * sum(counts[operation] for operation in operations))
    switch = f"{number} {fault['word']} {skip} {operations} {int(fault.get('times', 0))}"
    return _Fault(number, operations, switch, str(fault.get("event", "any")), int(fault.get("after", 0)))  # fmt: skip


def _meet_fault(setting: _Setting, run: RunFolder, job: str, fault: _Fault) -> str:
    """Carry out a job on a bad disk; return how it ended, "" if it did nothing that fails."""
    hits = setting.switch.with_name("bad.hits")
    hits.unlink(missing_ok=True)
    before = run.read_about()
    try:
        seen = _run_job(setting, run, job, fault)
    finally:
        setting.switch.unlink(missing_ok=True)
    wait_until_free(run)
    if not hits.exists():
        return ""
    outcome = _judge_ending(seen, fault)
    if run.read_about() != before:
        raise WrongResultError("the notes are lost")
    if job != "train" and (changes := setting.trials.find_changes(run)):
        raise WrongResultError(f"a failed {job} lost {', '.join(changes)}")
    _check_checkpoints(run)
    return outcome


def _prepare_run(setting: _Setting, folder: Path, job: str) -> RunFolder:
    """Return a new run to train, or a copy of the complete one."""
    shutil.rmtree(folder, ignore_errors=True)
    if job == "train":
        new: RunFolder = setting.trials.create_run(folder)
        return new
    whole = setting.trials.whole
    project = whole.path.parent.parent
    shutil.copytree(project, folder)
    return RunFolder(folder / whole.path.relative_to(project))


def _run_job(setting: _Setting, run: RunFolder, job: str, fault: _Fault) -> list[Any]:
    """Carry out a job whose disk fails from an event on, and return its events."""
    left = fault.after
    if job != "train" or left == 0:
        setting.switch.write_text(fault.switch)
    seen = []
    for event in setting.engine.begin(setting.trials.create_command(run, job)):
        seen.append(event)
        left -= fault.event in ("any", event.kind)
        if left < 0 and not setting.switch.exists():
            setting.switch.write_text(fault.switch)
    return seen


def _judge_ending(seen: Sequence[Any], fault: _Fault) -> str:
    """Return how a job on a bad disk ended, in a word; raises WrongResultError if the cause isn't named.

    Of an error that has passed, a stream of C++ in llama.cpp's quantizer doesn't keep the number.
    """
    code, is_reading = _ERRORS[fault.errno], fault.operations == "r"
    has_passed = not fault.switch.endswith(" 0")
    warned = [str(event.problem.what) for event in seen if isinstance(event, events.Warned)]
    codes = [event.problem.code for event in seen if isinstance(event, events.Warned)]
    ending = seen[-1] if seen else None
    if isinstance(ending, events.Failed):
        problem = ending.problem
        is_named = problem.code == code or "nput/output error" in str(problem.what)
        is_stream = has_passed and problem.code == "disk.failing"
        if not is_named and not ((is_reading or is_stream) and problem.where.file):
            raise WrongResultError(f"a failing disk ({code}) is called {problem.code}")
        if not problem.where.file:
            raise WrongResultError(f"{problem.code} names no file: {problem.what}")
        return str(problem.code)
    if isinstance(ending, events.Done) and ending.paused:
        if code not in codes:
            raise WrongResultError("a training pauses without naming the disk")
        return "paused"
    if isinstance(ending, events.Done):
        failed = [
            event for event in seen if isinstance(event, events.SelfTested) and not event.passed
        ]
        if failed:
            raise WrongResultError(f"a self-test on a failing disk isn't passed: {warned}")
        return "done"
    raise WrongResultError(f"a worker on a failing disk ({code}) ends without a reason")


def _check_checkpoints(run: RunFolder) -> None:
    from lora_studio.engine.training import checkpoint_files

    for step in run.list_checkpoint_steps():
        checkpoint_files.read_checkpoint(run.checkpoint(step))


def _repeat_job(setting: _Setting, run: RunFolder, job: str) -> None:
    """Carry out the job again, now that the disk is fine, and compare all with the unbroken run."""
    if job != "train" or run.read_state() != "trained":
        *_, ending = setting.engine.begin(setting.trials.create_command(run, job))
        if isinstance(ending, events.Failed):
            raise WrongResultError(f"{job} can't be repeated: {ending.problem.code}")
    if job == "train":
        changes = setting.trials.find_lost_metrics(run)
        changes += setting.trials.find_changes(run, "adapter/", "heldout.jsonl", "data/")
    else:
        changes = setting.trials.find_changes(run)
    if changes:
        raise WrongResultError(f"differs from an unbroken run: {', '.join(changes)}")


FAMILIES = [
    SimpleFamily("kills", generate_kills, run_kills, seconds=120.0, weight=4.0, goal=("kills", 150), smoke=0, starts_programs=True, shares="runs"),
    SimpleFamily("bad-disks", generate_faults, run_faults, seconds=90.0, weight=4.0, goal=("faults", 200), smoke=0, starts_programs=True, shares="runs"),
    SimpleFamily("bad-reads", generate_unreadable, run_faults, seconds=90.0, weight=3.0, goal=("faults", 150), smoke=0, starts_programs=True, shares="runs"),
]  # fmt: skip
