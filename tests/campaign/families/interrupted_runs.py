"""Runs that are interrupted: by kills at any moment, and by a disk that fails.

Each input is a plan in JSON. All run on one tiny model, in forks of one process that has imported
torch; the first plan also creates the unbroken run that the others are compared with.
"""

from __future__ import annotations

import errno
import functools
import json
import random
import shutil
import time
from pathlib import Path
from typing import Any, NamedTuple

from lora_studio.core.protocol import commands, events
from lora_studio.core.runs.folder import RunFolder
from tests.campaign.family import SimpleFamily, WrongResultError

_STEPS = 14

#: Events after which the disk fails, and how many of each there may be before.
_MOMENTS = {
    "any": 12,
    "step_done": 9,
    "checkpoint_saved": 3,
    "evaluated": 1,
    "adapter_saved": 1,
    "hello": 1,
}

#: Parts of the paths of files that can't be written.
_PLACES = (
    "events.jsonl", "checkpoints", "/runs/", "adapter", "log.txt", "manifest.json", "run.lock", "optimizer", ".tmp", "adapter_model",
    "heldout", "requirements", "cache",
)  # fmt: skip
_ERRORS = {errno.ENOSPC: "disk.full", errno.EDQUOT: "disk.full", errno.EIO: "disk.failing", errno.EROFS: "disk.read_only"}  # fmt: skip


def generate_kills(rng: random.Random) -> bytes:
    """Return the number of kills, and the seed of their moments."""
    return json.dumps({"kills": rng.randrange(3, 9), "seed": rng.randrange(1 << 32)}).encode()


def generate_faults(rng: random.Random) -> bytes:
    """Return a plan of a fault: which files, which error, and from which event on."""
    event = rng.choice(("any", "step_done", "checkpoint_saved", "evaluated"))
    return json.dumps({
        "word": rng.choice(_PLACES), "errno": rng.choice(list(_ERRORS)), "event": event,
        "after": rng.randrange(_MOMENTS[event]),
    }).encode()  # fmt: skip


class _Setting(NamedTuple):
    """What all plans share."""

    engine: Any
    model: Path
    whole: RunFolder
    switch: Path


@functools.cache
def _get_setting(folder: Path) -> _Setting:
    """Build the model, start the engine, and train the unbroken run."""
    from tests.helpers import bad_disk
    from tests.helpers.killed_runs import ForkingEngine, new_small_run
    from tests.helpers.tiny_models import tiny_model

    folder.mkdir(exist_ok=True)
    switch = folder / "bad"
    library = bad_disk.build(folder)
    engine = ForkingEngine(bad_disk.environment(library, "nothing", errno.EIO, switch))
    model = tiny_model("llama3", folder / "model")
    whole = new_small_run(folder / "whole", model, _STEPS)
    for event in engine.begin(commands.Train(run=str(whole.path))):
        if isinstance(event, events.Failed):
            raise WrongResultError(str(event.problem))
    return _Setting(engine, model, whole, switch)


def _new_run(setting: _Setting, sandbox: Path) -> RunFolder:
    from tests.helpers.killed_runs import new_small_run

    shutil.rmtree(sandbox / "project", ignore_errors=True)
    return new_small_run(sandbox / "project", setting.model, _STEPS)


def _is_moment(event: events.Event, moment: dict[str, Any]) -> bool:
    return bool(moment["event"] in ("any", event.kind))


def _finish(setting: _Setting, run: RunFolder) -> None:
    """Resume until the run is trained, and compare it with the unbroken one."""
    from tests.helpers.killed_runs import find_differences

    if run.read_state() != "trained":
        for event in setting.engine.begin(commands.Train(run=str(run.path), resume=True)):
            if isinstance(event, events.Failed):
                raise WrongResultError(f"can't be resumed: {event.problem.code}")
    if differences := find_differences(run, setting.whole):
        raise WrongResultError(f"differs from an unbroken run: {', '.join(differences)}")


@functools.cache
def _start_trials(folder: Path) -> Any:
    """Carry out every job once without kills."""
    from tests.helpers.kill_trials import KillTrials
    from tests.helpers.killed_runs import ForkingEngine
    from tests.helpers.tiny_models import tiny_model

    folder.mkdir(exist_ok=True)
    return KillTrials(ForkingEngine(), tiny_model("llama3", folder / "model"), folder)


def run_kills(content: bytes, sandbox: Path) -> str:
    """Train, merge, export and test a run while its workers are killed; nothing is lost."""
    try:
        plan = {name: int(value) for name, value in json.loads(content).items()}
    except (ValueError, AttributeError, TypeError):
        return "noise"
    trials = _start_trials(sandbox.parent / "trials")
    report = trials.run(kills=plan.get("kills", 1), seed=plan.get("seed", 0))
    if report.losses:
        raise WrongResultError("; ".join(map(str, report.losses)))
    return f"{report.kills} kills"


def run_faults(content: bytes, sandbox: Path) -> str:
    """Let writes fail during a training: the cause is named, and once they succeed, it is resumed."""
    from lora_studio.engine.training import checkpoint_files

    try:
        plan = dict(json.loads(content))
        number, word = int(plan["errno"]), str(plan["word"])
    except (ValueError, TypeError, KeyError):
        return "noise"
    setting = _get_setting(sandbox.parent / "shared")
    run = _new_run(setting, sandbox)
    left, ending, warned = plan.get("after", 0), None, []
    try:
        for event in setting.engine.begin(commands.Train(run=str(run.path))):
            left -= _is_moment(event, plan)
            if left < 0 and not setting.switch.exists():
                setting.switch.write_text(f"{number} {word}")
            if isinstance(event, events.Warned):
                warned.append(event.problem.code)
            if isinstance(event, events.Ending):
                ending = event
    finally:
        setting.switch.unlink(missing_ok=True)
    while run.is_running():
        time.sleep(0.005)
    outcome = "finished"
    if isinstance(ending, events.Failed):
        outcome = ending.problem.code
        if outcome != _ERRORS[number]:
            raise WrongResultError(f"a failing disk is called {outcome}")
    elif isinstance(ending, events.Done) and ending.paused:
        outcome = "paused"
        if _ERRORS[number] not in warned:
            raise WrongResultError("a training pauses without naming the disk")
    for step in run.list_checkpoint_steps():
        checkpoint_files.read_checkpoint(run.checkpoint(step))
    _finish(setting, run)
    return outcome


FAMILIES = [
    SimpleFamily("kills", generate_kills, run_kills, seconds=60.0, weight=1.5, smoke=0, starts_programs=True),
    SimpleFamily("bad-disks", generate_faults, run_faults, seconds=60.0, weight=1.5, smoke=0, starts_programs=True),
]  # fmt: skip
