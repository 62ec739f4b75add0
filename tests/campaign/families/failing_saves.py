"""Small files that are saved on a failing disk: the old content or the new one, and the reason is named.

Each input is a plan in JSON: faults of the disk, one after another, by their position among all operations of a save
of every file. Nothing is lost by any of them, and the save that follows on a good disk leaves nothing behind.
"""

from __future__ import annotations

import errno
import functools
import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

from lora_studio.core.project import project
from lora_studio.core.project.project import Project
from lora_studio.core.runs import folder as run_folder
from lora_studio.core.runs import leftovers, queue
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.system import consent
from lora_studio.core.system.files import list_temporaries
from tests.campaign.family import SimpleFamily, WrongResultError

#: Faults of one plan, and operations of writing in a save of everything.
_FAULTS, _OPERATIONS = 6, 60
#: Names by which a reason may call an error of the disk.
_REASONS = {
    errno.ENOSPC: ("No space left on device", "disk is full"),
    errno.EDQUOT: ("Disk quota exceeded", "quota"),
    errno.EIO: ("Input/output error",),
    errno.EROFS: ("Read-only file system",),
}
_RUNS = ("first", "second", "third")


class _Saver(NamedTuple):
    """The process that saves, its project, and the switch of its disk."""

    process: subprocess.Popen[bytes]
    folder: Path
    switch: Path

    def save(self, number: int) -> dict[str, str]:
        """Save a number everywhere; return the reason of each save that failed, "" for the others."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{number}\n".encode())
        self.process.stdin.flush()
        answer: dict[str, str] = json.loads(self.process.stdout.readline())
        return answer


def generate_faults(rng: random.Random) -> bytes:
    """Return which operations fail, from which one on, how many, and with which error."""
    return json.dumps([
        {
            "errno": rng.choice(list(_REASONS)), "operations": rng.choice(("ws", "wscm", "wscm", "cm", "s")),
            "skip": rng.randrange(_OPERATIONS), "times": rng.choice((0, 1, 1, 2)),
        }
        for _ in range(_FAULTS)
    ]).encode()  # fmt: skip


@functools.cache
def _start_saver(folder: Path) -> _Saver:
    from tests.helpers.faults import bad_disk

    folder.mkdir(exist_ok=True)
    switch, home = folder / "bad", folder / "project"
    library = bad_disk.build(folder)
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.campaign.saving_process", str(home)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | bad_disk.environment(library, "nothing", errno.EIO, switch),
    )
    return _Saver(process, home, switch)


def create_project(folder: Path) -> None:
    """Create a project with three queued runs, and forget all consents."""
    (Path(os.environ["LORA_STUDIO_CONFIG"]) / "trusted_code.json").unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    project.Draft(name="n0").save(folder / "p.lorastudio")
    for name in _RUNS:
        created = run_folder.create_run(folder / "runs", Project(name="x"), folder)
        created.path.rename(folder / "runs" / name)
    queue.add(folder / "runs", [queue.QueuedRun(run=name) for name in _RUNS])


def read_all(folder: Path) -> dict[str, int]:
    """Return the number in each file as the next job finds it; raises WrongResultError for damage."""
    run, draft = RunFolder(folder / "runs" / "first"), project.load(folder)
    leftovers.sweep(run)  # brings back what couldn't be replaced
    if draft.list_problems() or not draft.name[1:].isdecimal():
        raise WrongResultError(f"the project is damaged: {draft.list_problems()}")
    if sorted(queue.load(run.path.parent).names) != sorted(_RUNS):
        raise WrongResultError("the queue lost a run")
    contents = {file.read_text() for file in run.adapter.iterdir()} if run.adapter.is_dir() else {"0\n" * 400}  # fmt: skip
    if len(contents) != 1 or len(lines := next(iter(contents)).split()) != 400:
        raise WrongResultError("a folder has files of different saves")
    return {
        "project": int(draft.name[1:]),
        "settings": run.load_project().lora.rank,
        "notes": int(run.read_about().title or 0),
        "manifest": int(run.read_manifest().get("number", 0)),
        "consent": max((int(digest, 16) for digest in consent.read_trusted()), default=0),
        "adapter": int(lines[0]),
    }


def run_faults(content: bytes, sandbox: Path) -> dict[str, int] | str:
    """Save everything on a disk that fails again and again; nothing is lost, and each failure is reported."""
    try:
        faults = [_describe_switch(fault) for fault in json.loads(content)]
    except (ValueError, TypeError, KeyError, AttributeError):
        return "noise"
    saver = _start_saver(sandbox.parent / "saver")
    create_project(saver.folder)
    saver.save(1)
    before, hits, reported = read_all(saver.folder), 0, 0
    for number, (error, switch) in enumerate(faults, 2):
        saver.switch.write_text(switch)
        try:
            reasons = saver.save(number)
        finally:
            saver.switch.unlink()
        after = read_all(saver.folder)
        _judge(before, after, reasons, number, error)
        before, reported = after, reported + sum(map(bool, reasons.values()))
        hits += _was_hit(saver.switch.with_name("bad.hits"))
    _check_recovery(saver, len(faults) + 2)
    return {"faults": hits, "reported": reported}


def _describe_switch(fault: dict[str, Any]) -> tuple[int, str]:
    number = int(fault["errno"])
    if number not in _REASONS:
        raise ValueError(number)
    # Any path: the disk has a project and the user's configuration.
    return number, f"{number} / {int(fault['skip'])} {fault['operations']} {int(fault['times'])}"


def _was_hit(hits: Path) -> bool:
    is_hit = hits.exists()
    hits.unlink(missing_ok=True)
    return is_hit


def _judge(
    before: dict[str, int], after: dict[str, int], reasons: dict[str, str], number: int, error: int
) -> None:
    """Raise WrongResultError if a save lost something, or reports something else than what happened."""
    for name, reason in reasons.items():
        if reason and not any(words in reason for words in _REASONS[error]):
            raise WrongResultError(f"{name}: a failing disk ({errno.errorcode[error]}) is called {reason}")  # fmt: skip
        if name in after and after[name] not in (before[name], number):
            raise WrongResultError(f"{name}: {before[name]} became {after[name]}")
        if name in after and not reason and after[name] != number:
            raise WrongResultError(f"{name}: reported as saved, but still {after[name]}")


def _check_recovery(saver: _Saver, number: int) -> None:
    """Save on a good disk: everything is new, and no file is left over."""
    check_saved(saver.folder, number, saver.save(number))


def check_saved(folder: Path, number: int, reasons: dict[str, str]) -> None:
    """Raise WrongResultError unless a save of `number` succeeded everywhere and left nothing behind."""
    if failed := {name: reason for name, reason in reasons.items() if reason}:
        raise WrongResultError(f"a good disk is refused: {failed}")
    if set(read_all(folder).values()) != {number}:
        raise WrongResultError(f"not everything is saved: {read_all(folder)}")
    runs = folder / "runs"
    left = [file for each in (folder, runs, runs / "first") for file in list_temporaries(each)]
    if left:
        raise WrongResultError(f"{len(left)} temporary files are left behind: {left[0].name}")


FAMILIES = [
    SimpleFamily("bad-saves", generate_faults, run_faults, seconds=20.0, weight=1.0, goal=("faults", 2000), smoke=3, starts_programs=True),
]  # fmt: skip
