"""Install an engine from a plan, next to the current one: check it, and only then switch to it."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import subprocess
import tempfile
import threading
import time
import zipfile
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from queue import Empty, Queue
from threading import Condition, Thread
from typing import Any

import psutil
from pydantic import ValidationError

from lora_studio import __version__
from lora_studio.core.dataset.spec import DatasetSpec, DataSource
from lora_studio.core.messages import Text, text
from lora_studio.core.model.spec import ModelSpec
from lora_studio.core.problems import Problem, ProblemError, Where, fail, warning
from lora_studio.core.project.project import Project
from lora_studio.core.protocol import commands, events
from lora_studio.core.runs import folder as run_folder
from lora_studio.core.system.files import create_folder, describe_os_error, link_or_copy
from lora_studio.core.system.programs import get_empty_folder
from lora_studio.core.training.spec import TrainingSpec
from lora_studio.setup import download, engines, pythons
from lora_studio.setup.download import DownloadFile
from lora_studio.setup.engines import Engine, InstalledPackage, version_mismatch_problem
from lora_studio.setup.events import EngineReady, Event, Progress, Warned
from lora_studio.setup.folders import EngineRoot, disk_problem, not_writable_error
from lora_studio.setup.plan import NAME, SetupPlan, provide_wheel, without_indexes
from lora_studio.setup.tools import (
    SetupLog,
    StopFlag,
    build_child_environment,
    build_uv_environment,
    find_uv,
    kill_tree,
    run,
    run_checked,
)

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
            yield from check_engine(engine, stop, log)
        engine = engine.model_copy(update={"bytes": engines.measure_folder(engine.folder)})
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
        yield from engines.iter_engine_deletion(engines.list_outdated_engines(root, engine), log)
    except ProblemError as error:
        log.write(str(error))
        yield Warned(problem=error.problems[0].model_copy(update={"severity": "warning"}))
    shutil.rmtree(root.downloads, ignore_errors=True)


def _iter_deletion(folders: Sequence[Path], log: SetupLog) -> Iterator[Event]:
    """Delete unused files; failures are logged, and the next setup retries."""
    try:
        yield from engines.iter_folder_deletion(folders, log)
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
    yield from engines.iter_folder_deletion(left, log)
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
        result = yield from check_engine(engine, stop, log)
        engine = engine.model_copy(
            update={
                "variant": result["backend"],
                "torch": result["torch"],
                "bytes": engines.measure_folder(engine.folder),
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


#: Bytes of wheels to start uv for while others are still downloading: a start takes 0.1 s.
ENOUGH = 64_000_000
#: Seconds that the first wheels wait for others: uv unpacks the wheels of one start in parallel,
#: but a second start waits for the first, so with a fast connection everything else would wait for
#: PyTorch.
GATHER = 1.0

#: Folders that are copied between two checks for a cancel.
_LOOK = 256
#: Seconds between two progress events.
_PROGRESS_INTERVAL = 0.25
_REMEDY = "Start the setup again; completed downloads are kept. Full details are in the log."


def install_packages(
    plan: SetupPlan, engine: Engine, stop: StopFlag, log: SetupLog
) -> Iterator[Event]:
    """Create an environment with every package of the plan. Raises ProblemError and SetupCancelledError."""
    environment = without_indexes(build_uv_environment({"UV_NO_CONFIG": "1"}))
    create_folder(engine.folder, exist_ok=False)
    run_checked(
        [
            find_uv(), "venv", "--relocatable", "--no-project", "--python", plan.python.path,
            engine.folder / "venv",
        ],
        environment=environment, stop=stop, log=log, code="engine.venv",
        what="The engine's environment couldn't be created", remedy=_REMEDY,
    )  # fmt: skip
    if plan.base is not None and plan.reused:
        yield from _copy_packages(plan.base, engine, stop, trusted=plan.trusted)
    files = _list_downloads(plan)
    with Installer(plan, engine, environment, log) as installer:
        installer.add(plan.own.path.name)
        for wheel in plan.fetched:
            if wheel.file.local is not None:
                installer.add(wheel.file.name)
        for progress in download.fetch(files, "Downloading", stop, log, installer.mark_downloaded):
            installer.check()
            yield progress
        installer.finish_downloads()
        yield installer.progress
        while not installer.ended():
            stop.check()
            yield installer.progress
        installer.check()
    _remove_unplanned(engine, environment, stop, log)


def _list_downloads(plan: SetupPlan) -> list[DownloadFile]:
    """Return the wheels of the plan to download; deletes outdated ones from the folder."""
    files = [wheel.file for wheel in plan.fetched if wheel.file.local is None]
    expected = {file.target.name for file in files} | {file.part.name for file in files}
    create_folder(plan.root.downloads)
    for old in plan.root.downloads.glob("*.whl*"):
        if old.name not in expected:
            old.unlink()
    return files


class Installer:
    """Installs wheels in a thread, as many at a time as have been downloaded."""

    def __init__(
        self,
        plan: SetupPlan,
        engine: Engine,
        environment: dict[str, str],
        log: SetupLog,
    ) -> None:
        """Start without wheels."""
        self._engine, self._environment = engine, environment
        self._root, self._log = plan.root, log
        self._anew = plan.base is not None and bool(plan.reused)
        self._requirements = {
            wheel.file.name: (f"{wheel.name}=={wheel.version}", wheel.file.size or 0)
            for wheel in plan.fetched
        } | {plan.own.path.name: (f"{NAME}=={__version__}", 0)}
        # Local wheels are installed from their own folders.
        local = {str(file.parent) for wheel in plan.fetched if (file := wheel.file.local)}
        self._places = [*sorted(local | {str(plan.own.path.parent)}), str(plan.root.downloads)]
        self._installed = 0
        self._came: list[str] = []
        self._complete = False
        self._changed = Condition()
        self._halt = StopFlag()
        self._failure: BaseException | None = None
        self._thread = Thread(target=self._work, name="install", daemon=True)

    def __enter__(self) -> Installer:
        """Start the thread."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop, even if downloads are incomplete."""
        self._halt.ask()
        self.finish_downloads()
        self._thread.join()

    def add(self, name: str) -> None:
        """Queue a wheel, by its file name, for installation."""
        with self._changed:
            self._came.append(name)
            self._changed.notify()

    def mark_downloaded(self, file: DownloadFile) -> None:
        """Queue a downloaded wheel for installation."""
        self.add(file.name)

    def finish_downloads(self) -> None:
        """Signal that all files have been downloaded."""
        with self._changed:
            self._complete = True
            self._changed.notify()

    @property
    def progress(self) -> Progress:
        """The progress of the installation."""
        total = len(self._requirements)
        return Progress(stage="Installing", done=self._installed, total=total, unit="packages")

    def ended(self) -> bool:
        """Return whether the thread has ended, after waiting briefly."""
        self._thread.join(_PROGRESS_INTERVAL)
        return not self._thread.is_alive()

    def check(self) -> None:
        """Raise the error of the installation, if any."""
        if self._failure is not None:
            raise self._failure

    def _work(self) -> None:
        try:
            while batch := self._next():
                self._install_or_anew([self._requirements[name][0] for name in batch])
                self._installed += len(batch)
        except BaseException as error:
            self._failure = error

    def _next(self) -> list[str]:
        """Return the wheels downloaded since the last call, once there are enough; empty at the end."""
        with self._changed:
            if not self._installed:
                self._changed.wait_for(lambda: self._complete, GATHER)
            while not self._complete:
                if sum(self._requirements[name][1] for name in self._came) >= ENOUGH:
                    break
                self._changed.wait()
            self._halt.check()
            batch, self._came = self._came, []
            return batch

    def _install_or_anew(self, requirements: list[str]) -> None:
        """Install wheels; on a failure, discard the cache, which may be damaged, and retry."""
        try:
            self._install(requirements)
        except ProblemError as error:
            if error.problems[0].code != "engine.install":
                raise
            self._log.write(str(error))
            self._root.discard_cache()
            self._install(requirements)

    def _install(self, requirements: list[str]) -> None:
        requirements_file = self._engine.folder / "requirements.txt"
        requirements_file.write_text("\n".join(requirements) + "\n", "utf-8")
        command: list[object] = [
            find_uv(), "pip", "install", "--python", self._engine.python, "--offline", "--no-index",
            "--no-deps", "--requirements", requirements_file,
            *(part for folder in self._places for part in ("--find-links", folder)),
        ]  # fmt: skip
        if self._anew:  # only these packages, since uv unpacks reinstalled ones again
            names = (one.partition("==")[0] for one in requirements)
            command += [part for name in names for part in ("--reinstall-package", name)]
        run_checked(
            command, environment=self._environment, stop=self._halt, log=self._log,
            code="engine.install", what="The packages couldn't be installed", remedy=_REMEDY,
        )  # fmt: skip


def _copy_packages(
    base: Engine, engine: Engine, stop: StopFlag, *, trusted: bool
) -> Iterator[Event]:
    """Copy all packages of another engine, as links if possible to save space.

    Untrusted byte-code is left out: Python runs it without checking its content.
    """
    source, target = engines.get_site_packages(base), engines.get_site_packages(engine)
    for number, (folder, inside, names) in enumerate(os.walk(source)):
        if not trusted and "__pycache__" in inside:
            inside.remove("__pycache__")
        if number % _LOOK == 0:
            stop.check()
            yield Progress(stage="Installing")
        target_folder = target / Path(folder).relative_to(source)
        create_folder(target_folder)
        for name in names:
            if not (target_folder / name).exists():
                link_or_copy(Path(folder) / name, target_folder / name, shutil.copy2)


def _remove_unplanned(
    engine: Engine, environment: dict[str, str], stop: StopFlag, log: SetupLog
) -> None:
    """Remove packages of the previous engine that are no longer needed."""
    installed = {
        engines.get_package_name(folder)
        for folder in engines.get_site_packages(engine).glob("*.dist-info")
    }
    if extra := sorted(installed - set(engine.packages)):
        run(
            [find_uv(), "pip", "uninstall", "--python", engine.python, *extra],
            environment=environment, stop=stop, log=log,
        )  # fmt: skip


# --- the check: a process that imports everything and trains a tiny random model -------------------


def check_engine(
    engine: Engine, stop: StopFlag, log: SetupLog, steps: int = 1
) -> Generator[Event, None, dict[str, Any]]:
    """Check the engine as a job would use it; return the report of its trial.

    One process does both, so that modules are imported only once. Raises ProblemError if anything
    is wrong.
    """
    yield Progress(stage="Checking", done=0, total=2)
    with tempfile.TemporaryDirectory(
        prefix="lora-studio-check-", ignore_cleanup_errors=True
    ) as name:
        folder = Path(name)
        with _Trial(engine, folder, stop, log) as trial:
            report = trial.report()
            if engine.variant != "cpu" and not report["gpu"]:
                yield Warned(problem=_no_gpu_warning(engine))
            yield Progress(stage="Checking", done=1, total=2)
            _run_training(trial, folder, steps, log)
    yield Progress(stage="Checking", done=2, total=2)
    return report


def _run_training(trial: _Trial, folder: Path, steps: int, log: SetupLog) -> None:
    """Train a few steps in the worker; raises ProblemError if that fails."""
    project = Project(
        name="Check",
        model=ModelSpec(source=str(folder / "model")),
        dataset=DatasetSpec(
            sources=(DataSource(path=str(folder / "rows.jsonl")),),
            max_length=64,
            validation_share=0.0,
        ),
        training=TrainingSpec(max_steps=steps, micro_batch=2, gradient_accumulation=1),
    )
    run = run_folder.create_run(folder / "runs", project, folder)
    trial.send(commands.Train(run=str(run.path)))
    ending: events.Event | None = None
    trained = 0
    for event in trial.iter_events():
        match event:
            case events.Hello() if event.app_version != __version__:
                raise ProblemError(version_mismatch_problem(event.app_version))
            case events.StepDone():
                trained = event.step
            case events.Done() | events.Failed() | events.Cancelled():
                ending = event
    if isinstance(ending, events.Failed):
        raise _damaged_engine_error(
            text("A test training run failed: {reason}", reason=ending.problem.what), log
        )
    if not isinstance(ending, events.Done) or trained != steps:
        raise _damaged_engine_error(text("A test training run ended early."), log)


class _Trial:
    """A process that imports everything, reports the result, and then serves as a worker."""

    def __init__(self, engine: Engine, folder: Path, stop: StopFlag, log: SetupLog) -> None:
        """Start the process; raises ProblemError if that fails."""
        self._engine, self._stop, self._log = engine, stop, log
        log.write(f"trying {engine.name}")
        # In the user's Python it runs as a file: as a module, it would fail at the first import of our own package
        # and couldn't report missing packages.
        trial = (
            ["-m", "lora_studio.engine.trial"]
            if engine.own_python
            else [str(engine.folder / "package" / "lora_studio" / "engine" / "trial.py")]
        )
        try:
            self._process = subprocess.Popen(
                [str(engine.python), "-P", *trial, str(folder)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log.stream,
                env=build_child_environment(_build_isolated_environment(engine, folder)),
                cwd=get_empty_folder(), creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
            )  # fmt: skip
        except OSError as error:
            why = text(
                "The engine's Python can't be started: {reason}.", reason=describe_os_error(error)
            )
            raise _damaged_engine_error(why, log) from error
        self._lines: Queue[bytes | None] = Queue()
        threading.Thread(target=self._listen, name="trial", daemon=True).start()

    def __enter__(self) -> _Trial:
        """Return the trial."""
        return self

    def __exit__(self, *_: object) -> None:
        """Kill the process and its children."""
        kill_tree(self._process.pid)
        self._process.wait()
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()

    def report(self) -> dict[str, Any]:
        """Return the report of the process; raises ProblemError if something is missing or broken."""
        for line in self._iter_lines():
            try:
                values: dict[str, Any] = json.loads(line)
                broken = values["broken"]
            except (ValueError, KeyError, TypeError):
                self._log.write(line.decode("utf-8", "replace"))
                continue
            if broken and not self._engine.own_python:
                raise fail(
                    "engine.python_lacks",
                    "This Python lacks packages that training needs: {packages}.",
                    "Install them there: {python} -m pip install {missing}",
                    where=Where(file=str(self._engine.python)),
                    packages=", ".join(broken),
                    python=str(self._engine.python),
                    missing=" ".join(broken),
                )
            if broken:
                why = text(
                    "Packages of the engine don't work: {packages}.",
                    packages=[
                        text("{name} ({reason})", name=name, reason=reason)
                        for name, reason in broken.items()
                    ],
                )
                raise _damaged_engine_error(why, self._log)
            return values
        raise _damaged_engine_error(
            text(
                "The engine ended with exit status {code:d} during its test.",
                code=self._process.wait(),
            ),
            self._log,
        )

    def send(self, command: commands.Train) -> None:
        """Send the only command to the worker."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(events.to_line(command).encode() + b"\n")
            self._process.stdin.close()
        except OSError as error:
            raise _damaged_engine_error(
                text("The engine's worker ended: {reason}.", reason=describe_os_error(error)),
                self._log,
            ) from error

    def iter_events(self) -> Iterator[events.Event]:
        """Yield the events of the worker until it ends."""
        for line in self._iter_lines():
            try:
                yield events.parse(line)
            except ValidationError:
                self._log.write(line.decode("utf-8", "replace"))

    def _iter_lines(self) -> Iterator[bytes]:
        """Yield the output's lines as they arrive; raises SetupCancelledError if canceled."""
        while True:
            self._stop.check()
            try:
                line = self._lines.get(timeout=0.1)
            except Empty:
                continue
            if line is None:
                return
            yield line

    def _listen(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as stream:
            for line in stream:
                self._lines.put(line)
        self._lines.put(None)


def _build_isolated_environment(engine: Engine, folder: Path) -> dict[str, str]:
    """Return an environment in which the trial stays offline and doesn't touch the user's data."""
    private = {
        name: str(folder / "own")
        for name in ("LORA_STUDIO_DATA", "LORA_STUDIO_CACHE", "LORA_STUDIO_LOGS", "HF_HOME")
    }
    # bitsandbytes calls torch.compile during import, which would load the whole compiler. A worker sets the second
    # variable itself, but the trial imports PyTorch before it becomes one.
    overrides = {"TORCHDYNAMO_DISABLE": "1", "TORCH_DISABLE_NATIVE_JIT": "1"}
    if engine.own_python:
        overrides["PYTHONDONTWRITEBYTECODE"] = ""  # write missing byte-code, for the next start
    return engine.environment | private | overrides | {"PYTHONUTF8": "1", "HF_HUB_OFFLINE": "1"}


def _damaged_engine_error(why: Text, log: SetupLog) -> ProblemError:
    return fail(
        "engine.check",
        why,
        "Run `lora-studio engine repair`. Full details are in the log.",
        where=Where(file=str(log.file)),
    )


def _no_gpu_warning(engine: Engine) -> Problem:
    return warning(
        "engine.no_gpu",
        "PyTorch {version} works but can't use a GPU here. Training runs on the CPU.",
        "Check the GPU driver, or choose another PyTorch build.",
        version=engine.torch,
    )
