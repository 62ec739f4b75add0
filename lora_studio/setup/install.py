"""Makes an engine out of a plan: beside the one in use, checked, and only then switched to."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from lora_studio import __version__
from lora_studio.core.events import Progress, Warned
from lora_studio.core.problems import ProblemError, fail
from lora_studio.setup import download, engines, removal, selfcheck
from lora_studio.setup.download import File
from lora_studio.setup.engines import Engine, Package
from lora_studio.setup.environment import uv_environment
from lora_studio.setup.events import EngineReady, Event
from lora_studio.setup.folders import Root, not_writable
from lora_studio.setup.own import NAME
from lora_studio.setup.plan import Plan
from lora_studio.setup.resolve import without_indexes
from lora_studio.setup.tools import Log, Stop, checked, find_uv, run

#: What is not compiled beforehand, half of all source: tests, and large parts of which a program imports a
#: file or two, such as each model's own code. Python compiles such a file when it is first imported.
_LATER = re.compile(
    r"[/\\]site-packages[/\\](?:.*[/\\]tests?[/\\]|transformers[/\\]models[/\\].+[/\\]|"
    r"torch[/\\]testing[/\\]|pygments[/\\]lexers[/\\]|sympy[/\\]physics[/\\])"
)

#: Every so many files a copy looks whether it is still wanted.
_LOOK = 256


def carry_out(plan: Plan, stop: Stop, log: Log) -> Iterator[Event]:
    """Downloads, installs, compiles, checks and switches; under the root's lock.

    Whenever it ends before the switch, the engine in use is as it was, and the next attempt goes on
    with what has come. Raises ProblemError and CancelledError.
    """
    began = time.monotonic()
    clear(plan.root, log)
    plan.check_disk()
    yield from _fetch(plan, stop, log)
    engine = _new_engine(plan)
    try:
        yield from _fill(plan, engine, stop, log)
        yield from selfcheck.check(engine, stop, log)
        engine = engine.model_copy(update={"bytes": size_of(engine.folder)})
        engines.write_manifest(engine)
    except OSError as error:
        engines.delete(engine.folder)
        raise _not_installed(plan, error) from error
    except BaseException:
        engines.delete(engine.folder)
        raise
    engines.switch(engine, plan.root)
    yield from _tidy(plan.root, engine, log)
    yield EngineReady(
        name=engine.name, folder=str(engine.folder), python=str(engine.python),
        bytes=engine.bytes, seconds=time.monotonic() - began,
    )  # fmt: skip


def _tidy(root: Root, engine: Engine, log: Log) -> Iterator[Event]:
    """Deletes what the engine replaces and was made of; what stays is told, since it does work."""
    try:
        yield from removal.removing(engines.outdated(root, engine), log)
    except ProblemError as error:
        log.write(str(error))
        yield Warned(problem=error.problems[0].model_copy(update={"severity": "warning"}))
    for folder in (root.downloads, root.cache):
        shutil.rmtree(folder, ignore_errors=True)


def clear(root: Root, log: Log) -> None:
    """Deletes what set-ups that were killed have left, other than downloads."""
    for folder in list(engines.unfinished(root)):
        log.write(f"removing {folder.name}, which was never finished")
        engines.delete(folder)
    for scratch in root.path.glob("resolve-*"):
        shutil.rmtree(scratch, ignore_errors=True)


def _fetch(plan: Plan, stop: Stop, log: Log) -> Iterator[Event]:
    """Every wheel of the plan that is not on this machine into the downloads folder, and our own."""
    files = [wheel.file for wheel in plan.fetched if wheel.file.local is None]
    wanted = {file.target.name for file in files} | {file.part.name for file in files}
    plan.root.downloads.mkdir(parents=True, exist_ok=True)
    for old in plan.root.downloads.glob("*.whl*"):
        if old.name not in wanted:
            old.unlink()
    own = File(
        plan.own.path.name, plan.own.path.resolve().as_uri(), plan.root.downloads / plan.own.path.name,
        plan.own.path.stat().st_size, plan.own.sha256,
    )  # fmt: skip
    yield from download.fetch([*files, own], "Downloading", stop, log)


def _new_engine(plan: Plan) -> Engine:
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    name = next(
        name
        for name in (
            f"{plan.variant}-{stamp}",
            *(f"{plan.variant}-{stamp}-{n}" for n in range(2, 99)),
        )
        if not (plan.root.engines / name).exists()
    )
    packages = {w.name: Package(version=w.version, sha256=w.file.sha256) for w in plan.wheels}
    packages[NAME] = Package(version=__version__, sha256=plan.own.sha256)
    torch = packages["torch"].version if "torch" in packages else ""
    return Engine(
        name=name, variant=plan.variant, app_version=__version__, torch=torch,
        python_version=plan.python.version, created=datetime.now().astimezone().isoformat(),
        packages=packages, folder=plan.root.engines / name,
    )  # fmt: skip


def _fill(plan: Plan, engine: Engine, stop: Stop, log: Log) -> Iterator[Event]:
    """An environment with every package of the plan, byte-compiled."""
    environment = without_indexes(uv_environment({"UV_NO_CONFIG": "1"}))
    venv = engine.folder / "venv"
    engine.folder.mkdir(parents=True)
    yield Progress(stage="Installing")
    make = [find_uv(), "venv", "--relocatable", "--no-project", "--python", plan.python.path, venv]
    what = "The engine's environment could not be made"
    remedy = "All that was said is in the log. Start the set-up again; downloads are kept."
    checked(
        make, environment=environment, stop=stop, log=log, code="engine.venv", what=what,
        remedy=remedy,
    )  # fmt: skip
    if plan.base is not None and plan.kept:
        yield from _take_over(plan.base, engine, stop)
    wanted = [f"{wheel.name}=={wheel.version}" for wheel in plan.fetched]
    # Wheels of this machine are used where they lie: uv has read and hashed them for the plan.
    local = (wheel.file.local for wheel in plan.fetched)
    places = [*sorted({str(file.parent) for file in local if file}), str(plan.root.downloads)]
    listed = engine.folder / "requirements.txt"
    listed.write_text("\n".join([*wanted, f"{NAME}=={__version__}"]) + "\n", "utf-8")
    add = [
        find_uv(), "pip", "install", "--python", engine.python, "--offline", "--no-index", "--no-deps",
        "--requirements", listed,
        *(part for place in places for part in ("--find-links", place)),
    ]  # fmt: skip
    if plan.base is not None and plan.kept:
        # uv reads and unpacks again what it is told to install anew, so not all.
        fresh = [NAME, *(wheel.name for wheel in plan.fetched)]
        add += [part for name in fresh for part in ("--reinstall-package", name)]
    checked(
        add, environment=environment, stop=stop, log=log, code="engine.install",
        what="The packages could not be installed", remedy=remedy,
    )  # fmt: skip
    _drop_unplanned(engine, environment, stop, log)
    yield from compile_all(engine, stop, log)


def _take_over(base: Engine, engine: Engine, stop: Stop) -> Iterator[Event]:
    """All packages of another engine: linked where that can be done, so that they cost no space."""
    source, target = engines.site_packages(base), engines.site_packages(engine)
    for number, (folder, _, names) in enumerate(os.walk(source)):
        if number % _LOOK == 0:
            stop.check()
            yield Progress(stage="Installing")
        place = target / Path(folder).relative_to(source)
        place.mkdir(parents=True, exist_ok=True)
        for name in names:
            link_or_copy(Path(folder) / name, place / name)


def link_or_copy(source: Path, target: Path) -> None:
    """The same file at another place, on the same disk without its bytes."""
    if target.exists():
        return
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _drop_unplanned(engine: Engine, environment: dict[str, str], stop: Stop, log: Log) -> None:
    """Removes packages that came with the engine before and are needed no more."""
    there = {
        engines.package_of(folder) for folder in engines.site_packages(engine).glob("*.dist-info")
    }
    if extra := sorted(there - set(engine.packages)):
        run(
            [find_uv(), "pip", "uninstall", "--python", engine.python, *extra],
            environment=environment, stop=stop, log=log,
        )  # fmt: skip


def compile_all(engine: Engine, stop: Stop, log: Log) -> Iterator[Event]:
    """Byte-compiles what is imported at a start, which would take three times as long otherwise."""
    from queue import Empty, SimpleQueue
    from threading import Thread

    site = engines.site_packages(engine)
    total = sum(1 for file in site.rglob("*.py") if not _LATER.search(str(file)))
    lines: SimpleQueue[str] = SimpleQueue()
    command: list[object] = [engine.python, "-I", "-m", "compileall", "-j", "0"]
    command += ["-x", _LATER.pattern, site]
    ended: list[BaseException | int] = []

    def work() -> None:
        try:
            environment = uv_environment({"PYTHONUNBUFFERED": "1"})
            # Some packages carry files for other Pythons on purpose: a failure says nothing.
            ended.append(
                run(command, environment=environment, stop=stop, log=log, on_line=lines.put)[0]
            )
        except BaseException as error:
            ended.append(error)

    thread = Thread(target=work, name="byte-compile")
    thread.start()
    done = 0
    try:
        while thread.is_alive():
            thread.join(0.25)
            try:
                while True:
                    done += lines.get_nowait().startswith("Compiling")
            except Empty:
                yield Progress(stage="Compiling", done=min(done, total), total=total, unit="files")
    finally:
        if thread.is_alive():
            thread.join()
    if ended and isinstance(ended[0], BaseException):
        raise ended[0]


def size_of(folder: Path) -> int:
    """Bytes of all files in a folder."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            total += os.lstat(os.path.join(place, name)).st_size  # noqa: PTH118 - 40,000 of them
    return total


def _not_installed(plan: Plan, error: OSError) -> Exception:
    import errno

    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return download.disk_full(plan.root.path)
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return not_writable(plan.root.path, error)
    return fail(
        "engine.install",
        f"The engine could not be installed: {error.strerror or error}.",
        "Start the set-up again; downloads are kept.",
    )
