"""Move engines to another folder or disk: copy them, check them there, and only then switch."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from lora_studio.core.problems import Where, fail
from lora_studio.core.protocol.events import Progress
from lora_studio.core.system.files import link_or_copy
from lora_studio.core.system.mounts import create_folder
from lora_studio.setup import engines, folders, selfcheck
from lora_studio.setup.events import Event
from lora_studio.setup.folders import EngineRoot
from lora_studio.setup.tools import SetupLog, StopFlag

_STAGE = "Moving"


def move_engines(to: Path, stop: StopFlag, log: SetupLog) -> Iterator[Event]:
    """Move all engines to another folder; raises ProblemError and leaves everything in place.

    If canceled or killed before the end, the old folder stays in use and the next attempt copies
    only what is missing.
    """
    old = folders.get_root()
    new = _prepare_target(to, old)
    with old.lock(), new.lock():
        for engine in engines.list_engines(old):
            engines.require_idle(engine)
        total = measure_total_size((old.engines, old.pythons))
        _require_space(new, total)
        yield from copy_engines(old, new, total, stop)
        for engine in engines.list_engines(new):
            repoint_environment(engine.folder, old.path, new.path)
        current = engines.get_current(new)
        if current is not None:
            yield from selfcheck.check_engine(current, stop, log)
        folders.move_root(new.path)
    log.write(f"moved from {old.path} to {new.path}")
    old.delete()


def _prepare_target(to: Path, old: EngineRoot) -> EngineRoot:
    """Return the new folder, created if necessary; raises ProblemError if it can't be used."""
    if os.environ.get(folders.VARIABLE):
        raise fail(
            "engine.folder",
            "The environment variable {variable} sets the engine folder.",
            "Change the variable, and move the folder yourself.",
            variable=folders.VARIABLE,
        )
    new = folders.prepare_root(to)
    if new.path == old.path or old.path in new.path.parents:
        raise fail(
            "engine.folder",
            "The engines are already in this folder.",
            "Choose a folder outside the current one.",
            where=Where(file=str(new.path)),
        )
    return new


def _require_space(new: EngineRoot, needed: int) -> None:
    free = shutil.disk_usage(new.path).free
    if free < needed:
        raise fail(
            "disk.full",
            "The engines need {needed:size} of disk space, but only {free:size} is free.",
            "Free up some space there, or choose a folder on another disk.",
            where=Where(file=str(new.path)),
            needed=needed,
            free=free,
        )


def measure_total_size(parts: tuple[Path, ...]) -> int:
    """Return the bytes of all files; files shared by several engines count once."""
    sizes: dict[tuple[int, int], int] = {}
    for part in parts:
        for parent, _, names in os.walk(part):
            for name in names:
                facts = (Path(parent) / name).lstat()
                sizes[facts.st_dev, facts.st_ino] = facts.st_size
    return sum(sizes.values())


def copy_engines(old: EngineRoot, new: EngineRoot, total: int, stop: StopFlag) -> Iterator[Event]:
    """Copy engines and Pythons; files that engines share stay shared."""
    done = 0
    copied: dict[tuple[int, int], Path] = {}
    yield Progress(stage=_STAGE, done=0, total=total, unit="B")
    for part in (old.engines, old.pythons):
        for number, (parent, names, files) in enumerate(os.walk(part)):
            target = new.path / Path(parent).relative_to(old.path)
            create_folder(target)
            links = [name for name in names if (Path(parent) / name).is_symlink()]
            for name in [*files, *links]:
                source = Path(parent) / name
                facts = source.lstat()
                twin = copied.setdefault((facts.st_dev, facts.st_ino), target / name)
                if twin == target / name:
                    done += _copy_one(source, target / name, old.path, new.path)
                elif not (target / name).exists():  # hard-linked by several engines, here too
                    link_or_copy(twin, target / name, shutil.copy2)
            if number % 32 == 0:
                stop.check()
                yield Progress(stage=_STAGE, done=min(done, total), total=total, unit="B")
    if old.current.is_file():
        shutil.copy2(old.current, new.current)


def _copy_one(source: Path, target: Path, old: Path, new: Path) -> int:
    """Copy a file or a link; a link into the old folder then points into the new one."""
    facts = source.lstat()
    if source.is_symlink():
        target.unlink(missing_ok=True)
        aim = source.readlink()
        if aim.is_absolute() and aim.is_relative_to(old):
            aim = new / aim.relative_to(old)
        target.symlink_to(aim)
    elif not _is_same_file(target, facts):
        shutil.copy2(source, target)
    return facts.st_size


def _is_same_file(target: Path, facts: os.stat_result) -> bool:
    try:
        existing = target.stat()
    except OSError:
        return False
    return existing.st_size == facts.st_size and int(existing.st_mtime) == int(facts.st_mtime)


def repoint_environment(engine: Path, old: Path, new: Path) -> None:
    """Point an environment at its standalone Python in the new folder."""
    config = engine / "venv" / "pyvenv.cfg"
    if config.is_file():
        text = config.read_text("utf-8")
        config.write_text(text.replace(str(old / "python"), str(new / "python")), "utf-8")
