"""Install an engine from a plan, next to the current one: check it, and only then switch to it."""

from __future__ import annotations

import contextlib
import errno
import shutil
import threading
import time
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil

from lora_studio import __version__
from lora_studio.core.problems import ProblemError, Where, fail
from lora_studio.core.protocol.events import Progress, Warned
from lora_studio.core.system.files import describe_os_error
from lora_studio.setup import engines, pythons, removal, selfcheck
from lora_studio.setup.app_wheel import NAME, provide_wheel
from lora_studio.setup.engines import Engine, InstalledPackage
from lora_studio.setup.events import EngineReady, Event
from lora_studio.setup.folders import EngineRoot, disk_problem, not_writable_error
from lora_studio.setup.install_pipeline import install_packages
from lora_studio.setup.plan import SetupPlan
from lora_studio.setup.tools import SetupLog, StopFlag, kill_tree

#: Seconds to wait for a killed process to end.
_PATIENCE = 5.0


def install_engine(plan: SetupPlan, stop: StopFlag, log: SetupLog) -> Iterator[Event]:
    """Download, install, and check an engine, then switch to it; requires the root's lock.

    If it ends before the switch, the current engine is unchanged, and the next attempt continues
    with the completed downloads. Raises ProblemError and SetupCancelledError.
    """
    began = time.monotonic()
    yield from iter_leftover_deletion(plan.root, log)
    plan.check_disk()
    engine = _create_engine(plan)
    try:
        yield from install_packages(plan, engine, stop, log)
        with _delete_cache_meanwhile(plan.root):  # its files are linked into the engine by now
            yield from selfcheck.check_engine(engine, stop, log)
        engine = engine.model_copy(update={"bytes": removal.measure_folder(engine.folder)})
        engines.write_manifest(engine)
    except OSError as error:
        yield from _iter_deletion([engine.folder], log)
        raise _install_error(plan, error) from error
    except Exception:
        yield from _iter_deletion([engine.folder], log)
        raise
    except BaseException:  # the consumer has stopped listening
        engines.delete_folder(engine.folder)
        raise
    engines.switch_engine(engine, plan.root)
    yield from _clean_up(plan.root, engine, log)
    yield EngineReady(
        name=engine.name, folder=str(engine.folder), python=str(engine.python),
        bytes=engine.bytes, seconds=time.monotonic() - began,
    )  # fmt: skip


def _clean_up(root: EngineRoot, engine: Engine, log: SetupLog) -> Iterator[Event]:
    """Delete what the engine replaces and its build files; reports what couldn't be deleted, since the engine works."""
    try:
        yield from removal.iter_engine_deletion(engines.list_outdated_engines(root, engine), log)
    except ProblemError as error:
        log.write(str(error))
        yield Warned(problem=error.problems[0].model_copy(update={"severity": "warning"}))
    shutil.rmtree(root.downloads, ignore_errors=True)


def _iter_deletion(folders: Sequence[Path], log: SetupLog) -> Iterator[Event]:
    """Delete unused files; failures are logged, and the next setup retries."""
    try:
        yield from removal.iter_folder_deletion(folders, log)
    except ProblemError as error:
        log.write(str(error))


@contextlib.contextmanager
def _delete_cache_meanwhile(root: EngineRoot) -> Iterator[None]:
    """Delete the cache in a thread while the block runs."""
    work = threading.Thread(target=root.discard_cache)
    work.start()
    try:
        yield
    finally:
        work.join()


def iter_leftover_deletion(root: EngineRoot, log: SetupLog) -> Iterator[Event]:
    """Delete leftovers of killed setups except downloads, yielding the progress; raises ProblemError."""
    left = list(engines.iter_unfinished_folders(root))
    for folder in left:
        log.write(f"{folder.name} was never finished")
        _kill_leftovers(folder)
    yield from removal.iter_folder_deletion(left, log)
    if root.trash.is_dir():
        yield from _iter_deletion([root.trash], log)
    for scratch in root.path.glob("resolve-*"):
        shutil.rmtree(scratch, ignore_errors=True)


def _kill_leftovers(folder: Path) -> None:
    """Kill processes left by a killed setup that still write into its engine."""
    python = str(engines.get_venv_python(folder / "venv"))
    for process in psutil.process_iter(["pid", "name", "cmdline"]):
        command = process.info["cmdline"] or [""]
        installs = process.info["name"] in ("uv", "uv.exe") and python in command
        if command[0] == python or installs:
            kill_tree(process.info["pid"])
            with contextlib.suppress(psutil.Error):
                process.wait(_PATIENCE)


def _create_engine(plan: SetupPlan) -> Engine:
    name = engines.create_name(plan.variant, plan.root)
    packages = {
        w.name: InstalledPackage(version=w.version, sha256=w.file.sha256) for w in plan.wheels
    }
    packages[NAME] = InstalledPackage(version=__version__, sha256=plan.own.sha256)
    torch = packages["torch"].version if "torch" in packages else ""
    return Engine(
        name=name, variant=plan.variant, app_version=__version__, torch=torch,
        python_version=plan.python.version, created=engines.create_timestamp(plan.root),
        packages=packages, folder=plan.root.engines / name,
    )  # fmt: skip


def _install_error(plan: SetupPlan, error: OSError) -> Exception:
    if disk_problem(error, plan.root.path) or error.errno in (errno.EACCES, errno.EPERM):
        return not_writable_error(plan.root.path, error)
    return fail(
        "engine.install",
        "The engine couldn't be installed: {reason}.",
        "Start the setup again; completed downloads are kept. If it fails again, check the file named here.",
        where=Where(file=str(error.filename or plan.root.path)),
        reason=describe_os_error(error),
    )


def adopt_python(path: Path, root: EngineRoot, stop: StopFlag, log: SetupLog) -> Iterator[Event]:
    """Create an engine from an interpreter with PyTorch; requires the root's lock.

    Adds only this program's package, in its own folder. Raises ProblemError for missing packages.
    """
    began = time.monotonic()
    yield Progress(stage="Checking Python")
    # Don't resolve links: a virtual environment's interpreter links to its base.
    python = pythons.examine_python(path.expanduser().absolute(), stop, log)
    yield from iter_leftover_deletion(root, log)
    app_wheel = provide_wheel(root.downloads, stop, log)
    name = engines.create_name("own", root)
    engine = Engine(
        name=name, variant="cpu", app_version=__version__, python_version=python.version,
        created=engines.create_timestamp(root), interpreter=str(python.path),
        folder=root.engines / name,
    )  # fmt: skip
    try:
        with zipfile.ZipFile(app_wheel.path) as archive:
            archive.extractall(engine.folder / "package")
        result = yield from selfcheck.check_engine(engine, stop, log)
        engine = engine.model_copy(
            update={
                "variant": result["backend"],
                "torch": result["torch"],
                "bytes": removal.measure_folder(engine.folder),
            }
        )
        engines.write_manifest(engine)
    except BaseException:
        engines.delete_folder(engine.folder)
        raise
    _remove_older(engine, root)
    engines.switch_engine(engine, root)
    yield EngineReady(
        name=name, folder=str(engine.folder), python=str(python.path), bytes=engine.bytes,
        seconds=time.monotonic() - began,
    )  # fmt: skip


def _remove_older(engine: Engine, root: EngineRoot) -> None:
    """Remove other engines of the same interpreter, except those that a job is using."""
    for old in engines.list_engines(root):
        is_replaced = old.interpreter == engine.interpreter and old.name != engine.name
        if is_replaced and not engines.is_in_use(old):
            engines.remove_engine(old, root)
