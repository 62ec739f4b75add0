"""Operations on engines, each as a stream of events that ends in Done, Failed or Cancelled."""

from __future__ import annotations

import functools
import os
import shutil
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Concatenate, Literal, ParamSpec

from lora_studio import __version__
from lora_studio.core.messages import text
from lora_studio.core.network.secrets import without_secrets
from lora_studio.core.problems import ProblemError, Where, error, fail, warning
from lora_studio.core.protocol.events import Cancelled, Done, Failed, Warned
from lora_studio.core.system import offline
from lora_studio.core.system.files import create_folder, link_or_copy
from lora_studio.setup import engines, folders, install
from lora_studio.setup.detect import ROCM_BUILD, Accelerator, Variant, detect_accelerator, get_cpu
from lora_studio.setup.engines import Engine
from lora_studio.setup.events import Event, MachineFound, Progress, SetupPlanned
from lora_studio.setup.folders import EngineRoot, not_writable_error
from lora_studio.setup.plan import (
    Resolver,
    SetupPlan,
    WheelhouseInfo,
    choose_torch_source,
    fill_wheelhouse,
    find_reusable_packages,
    provide_wheel,
    read_info,
)
from lora_studio.setup.pythons import (
    STANDALONE,
    fetch_build,
    find_python,
    install_standalone,
    python_not_found_error,
)
from lora_studio.setup.tools import SetupCancelledError, SetupLog, StopFlag, build_uv_environment

_P = ParamSpec("_P")


def _operation(
    work: Callable[Concatenate[SetupLog, _P], Iterator[Event]],
) -> Callable[_P, Iterator[Event]]:
    """Let work write to a setup's log, and end its events with Done, Failed or Cancelled; errors become problems."""

    @functools.wraps(work)
    def run(*arguments: _P.args, **named: _P.kwargs) -> Iterator[Event]:
        log = SetupLog(folders.get_root().log)
        try:
            yield from work(log, *arguments, **named)
            yield Done()
        except SetupCancelledError:
            log.write("cancelled")
            yield Cancelled()
        except ProblemError as failure:
            log.write(str(failure))
            yield Failed(problem=failure.problems[0])
        except OSError as failure:
            log.write(traceback.format_exc())
            path = Path(str(failure.filename or folders.get_root().path))
            yield Failed(problem=not_writable_error(path, failure).problems[0])
        except Exception as failure:
            log.write(traceback.format_exc())
            yield Failed(
                problem=error(
                    "engine.unexpected",
                    "The setup failed unexpectedly: {error}.",
                    "The current engine is unchanged. Start the setup again; full details are in the log.",
                    where=Where(file=str(log.file)),
                    error=type(failure).__name__,
                )
            )
        finally:
            log.close()

    return run


@dataclass(frozen=True)
class SetupRequest:
    """What to set up; None means as detected.

    `to` is another folder for engines, which is used once its engine works. `update` reuses the
    packages of the current engine; `repair` reuses those that aren't damaged.
    """

    variant: Variant | None = None
    torch: str | None = None
    python: str | None = None
    wheelhouse: Path | None = None
    to: Path | None = None
    mode: Literal["install", "update", "repair"] = "install"


class EngineSetup:
    """One setup, from planning to completion; the caller can inspect the plan first."""

    def __init__(self, request: SetupRequest, stop: StopFlag) -> None:
        """Start without a plan."""
        self.request = request
        self.stop = stop
        self.plan: SetupPlan | None = None

    def prepare(self) -> Iterator[Event]:
        """Plan the setup and yield events up to `SetupPlanned`, then Done, Failed, or Cancelled."""
        return _operation(self._prepare)()

    def carry_out(self) -> Iterator[Event]:
        """Carry out the plan; make one first if there is none."""
        return _operation(self._carry_out)()

    def _prepare(self, log: SetupLog) -> Iterator[Event]:
        with folders.use_root(self.request.to):
            root = folders.get_root()
            with root.lock():
                if self._foreign(root) is None:
                    yield from self._planned(root, log)

    def _carry_out(self, log: SetupLog) -> Iterator[Event]:
        none_before = engines.get_current() is None
        before = folders.get_root()
        with folders.use_root(self.request.to):
            root = folders.get_root()
            if self.request.to is not None and none_before:
                folders.move_root(root.path)  # an interrupted first setup continues there
            yield from self._carry_out_in(root, log)
            if self.request.to is not None:
                folders.move_root(root.path)
                yield from _report_unused_engines(before, root)

    def _carry_out_in(self, root: EngineRoot, log: SetupLog) -> Iterator[Event]:
        with root.lock():
            foreign = self._foreign(root)
            if foreign is not None:
                yield from install.adopt_python(Path(foreign.interpreter), root, self.stop, log)
                return
            if self.plan is None:
                yield from self._planned(root, log)
            assert self.plan is not None
            yield from install.install_engine(self.plan, self.stop, log)

    def _foreign(self, root: EngineRoot) -> Engine | None:
        """Return the engine in the user's own Python that is updated or repaired, else None."""
        base = engines.get_current(root) if self.request.mode != "install" else None
        return base if base and not base.own_python else None

    def _planned(self, root: EngineRoot, log: SetupLog) -> Iterator[Event]:
        request = self.request
        _require_network(request.wheelhouse)
        yield Progress(stage="Planning")
        base = engines.get_current(root) if request.mode != "install" else None
        facts = read_info(request.wheelhouse) if request.wheelhouse else None
        accelerator = self._accelerator(base, facts)
        yield MachineFound(accelerator=accelerator)
        series = facts.python if facts else None
        python = find_python(request.python or series, root, self.stop, log)
        if python is None:
            if request.python:
                raise python_not_found_error(request.python)
            series = series or STANDALONE
            yield from install_standalone(root, series, request.wheelhouse, self.stop, log)
            python = find_python(series, root, self.stop, log)
            assert python is not None
        app_wheel = provide_wheel(root.downloads, self.stop, log, request.wheelhouse)
        source = choose_torch_source(accelerator, request.torch, build_uv_environment(), python.tag)
        resolver = Resolver(root, app_wheel, self.stop, log, python, wheelhouse=request.wheelhouse)
        torch, wheels = yield from resolver.resolve(accelerator.variant, source)
        plan = SetupPlan(root, accelerator.variant, torch, python, app_wheel, wheels)
        if base is not None and base.variant == plan.variant:
            trusted = request.mode != "repair"
            plan = replace(plan, base=base, reused=self._reused(base, plan), trusted=trusted)
        self.plan = plan
        yield summarize_plan(plan)

    def _accelerator(self, base: Engine | None, facts: WheelhouseInfo | None) -> Accelerator:
        variant = self.request.variant or (base.variant if base else None)
        variant = variant or (facts.variant if facts else None)
        return _choose_accelerator(variant, detect_accelerator())

    def _reused(self, base: Engine, plan: SetupPlan) -> tuple[str, ...]:
        unchanged = find_reusable_packages(base, plan.wheels, plan.python)
        if self.request.mode == "repair":
            damaged = set(engines.find_damaged_packages(base, self.stop.check))
            unchanged = tuple(name for name in unchanged if name not in damaged)
        return unchanged


def _report_unused_engines(before: EngineRoot, root: EngineRoot) -> Iterator[Event]:
    """Report engines in a folder that is no longer used: they use disk space but aren't listed."""
    if before.path != root.path and (left := engines.list_engines(before)):
        yield Warned(
            problem=warning(
                "engine.left_behind",
                "The previous folder still contains engines ({bytes:size}).",
                "LoRA Studio no longer uses them. You can delete that folder.",
                where=Where(file=str(before.path)),
                bytes=sum(one.bytes for one in left),
            )
        )


def _require_network(folder: Path | None) -> None:
    """Raise ProblemError in offline mode without a wheelhouse."""
    if folder is None and offline.is_on():
        raise offline.offline_error(
            text("In offline mode, you can only install an engine from a wheel folder.")
        )


def _choose_accelerator(variant: Variant | None, accelerator: Accelerator) -> Accelerator:
    """Return the detected accelerator, or the requested variant."""
    if variant is None or variant == accelerator.variant:
        return accelerator
    if variant == "cpu":
        return get_cpu()
    return Accelerator(variant=variant, title="", torch=DEFAULT_BUILDS[variant])


#: Default builds of PyTorch for a GPU that is not in this machine.
DEFAULT_BUILDS: dict[Variant, str] = {"cuda": "cu128", "rocm": ROCM_BUILD, "mps": "", "cpu": "cpu"}


def summarize_plan(plan: SetupPlan) -> SetupPlanned:
    """Return the event that shows a plan to the user."""
    return SetupPlanned(
        variant=plan.variant, folder=str(plan.root.path), python=f"{plan.python.version}",
        torch=without_secrets(plan.torch), packages=len(plan.wheels), reused=len(plan.reused),
        download=plan.missing, total=plan.total, needed=plan.needed, free=plan.free,
    )  # fmt: skip


@_operation
def check_engine(log: SetupLog, stop: StopFlag, name: str = "", steps: int = 1) -> Iterator[Event]:
    """Check an engine, by default the current one."""
    engine = engines.get_engine(name) if name else engines.get_current()
    if engine is None:
        raise ProblemError(engines.no_engine_problem())
    yield from install.check_engine(engine, stop, log, steps)


@_operation
def make_wheelhouse(
    log: SetupLog,
    folder: Path,
    request: SetupRequest,
    stop: StopFlag,
    platform: str = "",
    *,
    with_python: bool = False,
) -> Iterator[Event]:
    """Create a wheel folder from which another computer can install an engine offline.

    `platform` is another system as uv names it (linux, windows, macos); the request's Python is
    then a version such as 3.12. `with_python` puts a standalone build of it there too.
    """
    target = folder.expanduser().absolute()
    try:
        create_folder(target)
    except OSError as error:
        raise not_writable_error(target, error) from error
    _require_network(None)
    root = folders.get_root()
    with root.lock():
        yield from _fill_wheelhouse(
            target, request, root, stop, log, platform, with_python=with_python
        )
        root.discard_cache()


def _fill_wheelhouse(
    target: Path,
    request: SetupRequest,
    root: EngineRoot,
    stop: StopFlag,
    log: SetupLog,
    platform: str,
    *,
    with_python: bool,
) -> Iterator[Event]:
    """Resolve the packages for this or another system and download them to `target`."""
    yield Progress(stage="Planning")
    accelerator = _choose_accelerator(request.variant, detect_accelerator())
    other, python = None, None
    if platform or request.python:
        other = (platform or PLATFORMS[sys.platform], request.python or STANDALONE)
        series = other[1]
    else:
        python = find_python(None, root, stop, log)
        series = ".".join(python.version.split(".")[:2]) if python else STANDALONE
        other = None if python else (PLATFORMS[sys.platform], STANDALONE)
    app_wheel = provide_wheel(root.downloads, stop, log)
    tag = f"cp{series.replace('.', '')}"
    source = choose_torch_source(accelerator, request.torch, build_uv_environment(), tag)
    resolver = Resolver(root, app_wheel, stop, log, python, target=other, into=target)
    _, wheels = yield from resolver.resolve(accelerator.variant, source)
    facts = WheelhouseInfo(
        app_version=__version__, variant=accelerator.variant, python=series, platform=platform
    )
    if with_python:
        system = platform or PLATFORMS[sys.platform]
        yield from fetch_build(series, system, target, stop, log)
    yield from fill_wheelhouse(target, wheels, app_wheel, facts, stop, log)


#: Systems as uv names them.
PLATFORMS = {"linux": "linux", "win32": "windows", "darwin": "macos"}


@_operation
def adopt_python(log: SetupLog, path: Path, stop: StopFlag) -> Iterator[Event]:
    """Switch to an existing Python installation of the user."""
    root = folders.get_root()
    with root.lock():
        yield from install.adopt_python(path, root, stop, log)


@_operation
def roll_back(log: SetupLog, _stop: StopFlag) -> Iterator[Event]:
    """Switch back to the previous engine."""
    yield from _switch(engines.roll_back, log)


@_operation
def switch_engine(log: SetupLog, name: str, _stop: StopFlag) -> Iterator[Event]:
    """Switch to another installed engine, by name or variant."""
    yield from _switch(
        lambda root: engines.switch_engine(engines.get_engine(name, root), root), log
    )


def _switch(action: Callable[[EngineRoot], object], log: SetupLog) -> Iterator[Event]:
    """Switch to another engine under the root's lock."""
    root = folders.get_root()
    with root.lock():
        action(root)
        current = engines.get_current(root)
    log.write(f"{current.name if current else 'no engine'} is in use")
    yield from ()


@_operation
def remove_engines(log: SetupLog, name: str, _stop: StopFlag) -> Iterator[Event]:
    """Delete an engine, or with "" every engine and all downloads."""
    root = folders.get_root()
    with root.lock():
        chosen = [engines.get_engine(name, root)] if name else engines.list_engines(root)
        for engine in chosen:
            engines.deselect_engine(engine, root)
        yield from engines.iter_engine_deletion(chosen, log)
        if not name:
            yield from install.iter_leftover_deletion(root, log)
    if not name:
        root.delete()
        if not os.environ.get(folders.VARIABLE):  # takes precedence over the chosen folder
            folders.forget_root()


_MOVING = "Moving"


@_operation
def move_engines(log: SetupLog, to: Path, stop: StopFlag) -> Iterator[Event]:
    """Move all engines to another folder, or leave everything in place.

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
            yield from install.check_engine(current, stop, log)
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
    yield Progress(stage=_MOVING, done=0, total=total, unit="B")
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
                yield Progress(stage=_MOVING, done=min(done, total), total=total, unit="B")
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
