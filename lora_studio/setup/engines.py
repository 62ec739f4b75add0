"""The installed engines: list them, get the current one, and get the command line of its workers."""

from __future__ import annotations

import base64
import contextlib
import csv
import hashlib
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path

import psutil
from pydantic import BaseModel, ConfigDict, ValidationError

from lora_studio import __version__
from lora_studio.core.problems import Problem, ProblemError, Where, error, fail
from lora_studio.core.protocol.events import Progress
from lora_studio.core.system.files import describe_os_error, write_atomic
from lora_studio.core.system.programs import normalize_package_name
from lora_studio.setup.detect import Variant
from lora_studio.setup.folders import EngineRoot, get_root, not_writable_error
from lora_studio.setup.tools import SetupLog

MANIFEST = "engine.json"

#: Seconds to wait for workers to end before an engine counts as in use.
_PATIENCE = 2.0


class InstalledPackage(BaseModel):
    """An installed package; `sha256` is that of the wheel it came from."""

    model_config = ConfigDict(defer_build=True, frozen=True, extra="ignore")

    version: str
    sha256: str = ""


class Engine(BaseModel):
    """An engine as described by its manifest, which is written last: a folder without one isn't an
    engine.

    `interpreter` is set for an existing Python installation of the user, which the engine only
    refers to.
    """

    model_config = ConfigDict(defer_build=True, frozen=True, extra="ignore")

    name: str
    variant: Variant
    app_version: str
    python_version: str
    torch: str = ""
    created: str = ""
    bytes: int = 0
    packages: dict[str, InstalledPackage] = {}
    interpreter: str = ""
    folder: Path = Path()

    @property
    def python(self) -> Path:
        """The interpreter that runs workers."""
        return Path(self.interpreter) if self.interpreter else get_venv_python(self.folder / "venv")

    @property
    def own_python(self) -> bool:
        """Whether we installed its packages and may change them."""
        return not self.interpreter

    @property
    def fits(self) -> bool:
        """Whether it has this program's version."""
        return self.app_version == __version__

    @property
    def environment(self) -> dict[str, str]:
        """Additional environment variables of its workers; an empty value removes one.

        `PYTHONPATH` lets the user's own Python find the program's package; for our engines it is
        removed.
        """
        package = "" if self.own_python else str(self.folder / "package")
        return {"PYTHONPATH": package, "PYTHONHOME": ""}


class _Pointer(BaseModel):
    model_config = ConfigDict(extra="ignore")

    current: str = ""
    before: str = ""


def get_python() -> Path | None:
    """Return the interpreter of the current engine, or None if no engine is installed.

    Raises ProblemError if its version doesn't match or it is missing.
    """
    engine = get_usable_engine()
    return engine.python if engine else None


def get_command() -> tuple[list[str], dict[str, str]] | None:
    """Return the command line and additional environment of a worker, or None without an engine.

    Raises ProblemError like `get_python`.
    """
    engine = get_usable_engine()
    if engine is None:
        return None
    # -P: modules in the current folder must not shadow installed ones.
    return [str(engine.python), "-P", "-m", "lora_studio.engine"], engine.environment


def get_usable_engine() -> Engine | None:
    """Return the current engine, or None if none is installed. Raises ProblemError if it can't be used."""
    engine = get_current()
    if engine is None:
        return None
    if not engine.python.exists():
        raise fail(
            "engine.gone",
            "The engine {name} is damaged: its Python is missing.",
            "Repair it in Settings, or run `lora-studio engine repair`.",
            where=Where(file=str(engine.python)),
            name=engine.name,
        )
    if not engine.fits:
        raise ProblemError(version_mismatch_problem(engine.app_version))
    return engine


def version_mismatch_problem(version: str) -> Problem:
    """Return the problem for an engine of another program version."""
    return error(
        "engine.version",
        "The engine has version {engine}, but LoRA Studio has version {app}.",
        "Update the engine in Settings, or run `lora-studio engine update`. Only changes are downloaded.",
        engine=version,
        app=__version__,
    )


def no_engine_problem() -> Problem:
    """Return the problem for a computer without an engine."""
    return error(
        "engine.missing",
        "The engine isn't installed.",
        "Set it up in Settings, or run `lora-studio engine install`.",
    )


def get_current(at: EngineRoot | None = None) -> Engine | None:
    """Return the current engine, regardless of its state."""
    at = at or get_root()
    name = _read_pointer(at).current
    return find_engine(name, at) if name else None


def get_previous(at: EngineRoot | None = None) -> Engine | None:
    """Return the previous engine, the target of a rollback."""
    at = at or get_root()
    name = _read_pointer(at).before
    return find_engine(name, at) if name else None


def find_engine(name: str, at: EngineRoot | None = None) -> Engine | None:
    """Return the engine with this name, or None if it doesn't exist or is incomplete."""
    folder = (at or get_root()).engines / name
    try:
        engine = Engine.model_validate_json((folder / MANIFEST).read_bytes())
    except (OSError, ValidationError):
        return None
    return engine.model_copy(update={"folder": folder, "name": name})


def list_engines(at: EngineRoot | None = None) -> list[Engine]:
    """Return all complete engines, newest first."""
    at = at or get_root()
    with contextlib.suppress(OSError):
        candidates = [find_engine(folder.name, at) for folder in at.engines.iterdir()]
        return sorted(
            (one for one in candidates if one),
            key=lambda one: (_parse_creation_time(one), one.created),
            reverse=True,
        )
    return []


def create_timestamp(at: EngineRoot) -> str:
    """Return the time of creation of a new engine, later than that of all others: the clock may be set back."""
    newest = max(map(_parse_creation_time, list_engines(at)), default=0.0)
    return datetime.fromtimestamp(max(time.time(), newest + 1)).astimezone().isoformat()


def _parse_creation_time(engine: Engine) -> float:
    with contextlib.suppress(ValueError, OverflowError, OSError):
        return datetime.fromisoformat(engine.created).timestamp()
    return 0.0


def get_engine(name: str, at: EngineRoot | None = None) -> Engine:
    """Return the engine with this name, or the newest of this variant; raises ProblemError."""
    at = at or get_root()
    engine = find_engine(name, at) or next(
        (one for one in list_engines(at) if one.variant == name), None
    )
    if engine is None:
        names = ", ".join(one.name for one in list_engines(at))
        raise fail(
            "engine.unknown",
            "There is no engine named {name}.",
            "Choose an installed engine: {installed}."
            if names
            else "Install one with `lora-studio engine install`.",
            name=name,
            installed=names,
        )
    return engine


def create_name(kind: str, at: EngineRoot) -> str:
    """Return an unused folder name for an engine, based on the current time."""
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    names = (f"{kind}-{stamp}", *(f"{kind}-{stamp}-{number}" for number in range(2, 99)))
    return next(name for name in names if not (at.engines / name).exists())


def write_manifest(engine: Engine) -> None:
    """Mark a folder as a complete engine by writing its manifest; raises OSError."""
    text = engine.model_dump_json(indent=2, exclude={"folder"})
    write_atomic(engine.folder / MANIFEST, text + "\n")


def switch_engine(engine: Engine, at: EngineRoot) -> None:
    """Switch to this engine and remember the previous one, atomically; raises ProblemError."""
    old = _read_pointer(at)
    previous = old.before if old.current == engine.name else old.current
    _write_pointer(_Pointer(current=engine.name, before=previous), at)


def roll_back(at: EngineRoot) -> Engine:
    """Switch back to the previous engine; raises ProblemError if there is none."""
    earlier = get_previous(at)
    if earlier is None:
        raise fail(
            "engine.no_previous",
            "There is no previous engine to return to.",
            "LoRA Studio keeps the previous engine after an update or repair. Install another engine instead.",
        )
    switch_engine(earlier, at)
    return earlier


def remove_engine(engine: Engine, at: EngineRoot) -> None:
    """Delete an engine and switch to another one if available.

    Raises ProblemError if a job is using it.
    """
    deselect_engine(engine, at)
    delete_folder(engine.folder)


def deselect_engine(engine: Engine, at: EngineRoot) -> None:
    """Switch to another engine if this one is current, so it can be deleted; raises ProblemError."""
    require_idle(engine)
    pointer = _read_pointer(at)
    if engine.name in (pointer.current, pointer.before):
        others = [one.name for one in list_engines(at) if one.name != engine.name]
        left = [name for name in (pointer.current, pointer.before) if name in others]
        _write_pointer(
            _Pointer(current=(left or others or [""])[0], before=left[1] if left[1:] else ""), at
        )


def require_idle(engine: Engine) -> None:
    """Raise ProblemError if a worker of this engine is running."""
    until = time.monotonic() + _PATIENCE
    while is_in_use(engine):
        if time.monotonic() < until:  # a worker that was asked to end needs a moment
            time.sleep(0.1)
            continue
        raise fail(
            "engine.at_work",
            "The engine {name} is in use by a job or another window.",
            "Wait until the job finishes, or close other windows, then try again.",
            where=Where(file=str(engine.folder)),
            name=engine.name,
        )


def is_in_use(engine: Engine) -> bool:
    """Return whether any process runs in one of our engines, whichever program started it.

    A user's Python installation also runs other programs, perhaps this one: only processes that
    load our package from the engine's folder count.
    """
    python, package = str(engine.python), engine.environment["PYTHONPATH"]
    for process in psutil.process_iter(["cmdline"]):
        if (process.info["cmdline"] or [""])[0] == python:
            with contextlib.suppress(psutil.Error):
                if not package or process.environ().get("PYTHONPATH") == package:
                    return True
    return False


def delete_folder(folder: Path) -> None:
    """Delete a folder that may be an engine; raises ProblemError."""
    for _ in iter_deletion(folder):
        pass


def iter_deletion(folder: Path) -> Iterator[int]:
    """Delete the folder and yield the bytes deleted, one subfolder at a time.

    Deletes its manifest first, so that a partly deleted folder doesn't count as an engine. Raises
    ProblemError.
    """
    try:
        (folder / MANIFEST).unlink(missing_ok=True)
        for parent, names, files in os.walk(folder, topdown=False, onerror=_reraise):
            directory = Path(parent)
            links = [name for name in names if (directory / name).is_symlink()]
            deleted = 0
            for item in [directory / name for name in [*files, *links]]:
                deleted += item.lstat().st_size
                item.unlink()
            directory.rmdir()
            yield deleted
    except FileNotFoundError:
        return
    except OSError as error:
        raise fail(
            "engine.not_removed",
            "The engine couldn't be removed completely: {reason}.",
            "Close programs that use it, then delete the folder yourself.",
            where=Where(file=str(error.filename or folder)),
            reason=describe_os_error(error),
        ) from error


def _reraise(error: OSError) -> None:
    raise error


def list_outdated_engines(at: EngineRoot, keep: Engine) -> list[Engine]:
    """Return engines of the same variant that aren't a rollback target and aren't running a job.

    A user's Python installation is never outdated: only the user decides about it.
    """
    spared = {keep.name, _read_pointer(at).before}
    return [
        one
        for one in list_engines(at)
        if one.variant == keep.variant
        and one.own_python
        and one.name not in spared
        and not is_in_use(one)
    ]


def iter_unfinished_folders(at: EngineRoot) -> Iterator[Path]:
    """Return the folders of interrupted setups."""
    if at.engines.is_dir():
        yield from (
            folder
            for folder in at.engines.iterdir()
            if folder.is_dir()
            and find_engine(folder.name, at) is None  # file managers create hidden files
        )


def get_venv_python(venv: Path) -> Path:
    """Return the interpreter of a virtual environment."""
    return venv / "Scripts" / "python.exe" if os.name == "nt" else venv / "bin" / "python"


def get_site_packages(engine: Engine) -> Path:
    """Return the folder of installed packages."""
    if os.name == "nt":
        return engine.folder / "venv" / "Lib" / "site-packages"
    minor = ".".join(engine.python_version.split(".")[:2])
    return engine.folder / "venv" / "lib" / f"python{minor}" / "site-packages"


def _read_pointer(at: EngineRoot) -> _Pointer:
    try:
        return _Pointer.model_validate_json(at.current.read_bytes())
    except (OSError, ValidationError):
        return _Pointer()


def _write_pointer(pointer: _Pointer, at: EngineRoot) -> None:
    try:
        write_atomic(at.current, pointer.model_dump_json() + "\n")
    except OSError as error:
        raise not_writable_error(at.current, error) from error


def find_damaged_packages(engine: Engine, look: Callable[[], None] = lambda: None) -> list[str]:
    """Return the normalized names of packages with missing or modified files.

    Compares the checksums in each package's RECORD; `look` is called between packages.
    """
    site = get_site_packages(engine)
    bad = set(engine.packages)
    for record in site.glob("*.dist-info/RECORD"):
        look()
        name = get_package_name(record.parent)
        bad.discard(name)
        if not _is_intact(record, site):
            bad.add(name)
    return sorted(bad)


def get_package_name(dist_info: Path) -> str:
    """Return the normalized package name of a .dist-info folder."""
    name = dist_info.name.removesuffix(".dist-info").rsplit("-", 1)[0]
    return normalize_package_name(name)


def _is_intact(record: Path, site: Path) -> bool:
    try:
        with record.open(encoding="utf-8", newline="") as lines:
            for row in csv.reader(lines):
                if len(row) != 3 or not row[1].startswith("sha256=") or row[0].startswith(".."):
                    continue
                with (site / row[0]).open("rb") as stream:
                    digest = hashlib.file_digest(stream, "sha256").digest()
                actual = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
                if actual != row[1].removeprefix("sha256="):
                    return False
    except (OSError, csv.Error, UnicodeDecodeError):
        return False
    return True


STAGE = "Removing"

#: A folder with the names of its folders and files, as `os.walk` yields it.
_Level = tuple[str, list[str], list[str]]

#: Seconds between two progress events.
_INTERVAL = 0.2


def iter_engine_deletion(old: Sequence[Engine], log: SetupLog) -> Iterator[Progress]:
    """Delete engines that aren't selected, yielding the progress; raises ProblemError."""
    yield from _iter_sized_deletion({one.folder: one.bytes for one in old}, log)


def iter_folder_deletion(folders: Sequence[Path], log: SetupLog) -> Iterator[Progress]:
    """Delete folders that aren't complete engines, yielding the progress; raises ProblemError."""
    yield from _iter_sized_deletion({one: measure_folder(one) for one in folders}, log)


def measure_folder(
    folder: Path, iterate: Callable[[Iterable[_Level]], Iterable[_Level]] = iter
) -> int:
    """Return the bytes of all files in a folder; `iterate` can pause or stop between its subfolders."""
    total = 0
    for parent, _, names in iterate(os.walk(folder)):
        for name in names:
            with contextlib.suppress(OSError):  # the file may have been deleted meanwhile
                total += os.lstat(os.path.join(parent, name)).st_size  # noqa: PTH118 - 40,000 of them
    return total


def _iter_sized_deletion(sizes: Mapping[Path, int], log: SetupLog) -> Iterator[Progress]:
    """Delete folders whose sizes in bytes are known."""
    if not sizes:
        return
    total = sum(sizes.values())
    done, reported = 0, time.monotonic()
    yield Progress(stage=STAGE, done=0, total=total or None, unit="B")
    for folder in sizes:
        log.write(f"removing {folder.name}")
        for deleted in iter_deletion(folder):
            done += deleted
            if (now := time.monotonic()) - reported >= _INTERVAL:
                reported = now
                yield Progress(stage=STAGE, done=min(done, total), total=total or None, unit="B")
