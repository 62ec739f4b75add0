"""Other programs: found on PATH, run from private copies, and started in an empty folder.

A terminal may be in a folder that somebody shared. Programs load libraries from the current folder (ggml's
`libggml-*.so`, everything with an empty entry in LD_LIBRARY_PATH or PYTHONPATH), and read settings from it (`uv.toml`).
"""

from __future__ import annotations

import atexit
import contextlib
import importlib.util
import os
import re
import shutil
import stat
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterable
from importlib import metadata
from pathlib import Path
from typing import Literal

from lora_studio.core.system import paths
from lora_studio.core.system.files import create_folder
from lora_studio.core.system.foreign_files import UnsafeFileError
from lora_studio.core.system.locks import hold_shared, unlink_if_unlocked

#: A file in a process's folder that is locked for as long as the process lives.
_LOCK = ".lock"

#: Folders by the ID of the process that created them: a fork gets its own.
_folders: dict[int, Path] = {}


def find_on_path(name: str) -> str | None:
    """Return a program of this name on PATH; one in the current folder doesn't count."""
    path = shutil.which(name)
    if path is None or not Path(path).is_absolute():
        return None
    with contextlib.suppress(FileNotFoundError):  # the current folder was deleted
        if Path(path).parent == Path.cwd():
            return None
    return path


def get_empty_folder() -> Path:
    """Return an empty folder that nothing writes to, as the current folder of programs; raises OSError.

    It outlives this process, as some of its programs do. What a program left there all the same is deleted.
    """
    folder = _get_root() / "empty"
    folder.mkdir(mode=0o500, exist_ok=True)
    _require_private(folder)
    if left := list(folder.iterdir()):
        folder.chmod(0o700)
        for path in left:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
    if folder.stat().st_mode & 0o777 != 0o500:
        folder.chmod(0o500)
    return folder


def create_private_folder() -> Path:
    """Create an empty folder that is deleted when this process ends; raises OSError."""
    process = os.getpid()
    if process not in _folders or not _folders[process].is_dir():
        _folders[process] = _create_process_folder()
        atexit.register(delete_private_folders)
    return Path(tempfile.mkdtemp(dir=_folders[process]))


def delete_private_folders() -> None:
    """Delete the private folders of this process, for one that exits without its exit handlers."""
    if folder := _folders.pop(os.getpid(), None):
        shutil.rmtree(folder, ignore_errors=True)


def _create_process_folder() -> Path:
    root = _get_root()
    _sweep(root)
    folder = Path(tempfile.mkdtemp(prefix=".code.", suffix=".tmp", dir=root))
    descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    hold_shared(descriptor)  # until the process ends, however it does
    return folder


def _sweep(root: Path) -> None:
    """Delete the folders of processes that were killed."""
    for folder in root.glob(".code.*.tmp"):
        with contextlib.suppress(OSError):
            unlink_if_unlocked(folder / _LOCK)
            shutil.rmtree(folder, ignore_errors=True)


def _get_root() -> Path:
    """Return the folder of private folders: in the cache, or in the system's temporary folder if the cache isn't writable."""
    user = str(os.getuid()) if hasattr(os, "getuid") else ""
    try:
        return _create_root(paths.get_cache_folder().absolute() / "private")
    except UnsafeFileError:
        raise
    except OSError:
        return _create_root(Path(tempfile.gettempdir()).absolute() / f"lora-studio{user}")


def _create_root(folder: Path) -> Path:
    create_folder(folder)
    _require_private(folder)
    folder.chmod(0o700)
    return folder


def _require_private(folder: Path) -> None:
    """Raise OSError for a link, or for a folder of another user, who could change what runs."""
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode):
        raise UnsafeFileError(folder, "it isn't a folder")
    if hasattr(os, "getuid") and status.st_uid != os.getuid():
        raise UnsafeFileError(folder, "it belongs to another user")


BuildTool = Literal["compiler", "headers"]


def find_missing_build_tool() -> BuildTool | None:
    """Return what Triton lacks to build the launchers of GPU kernels; None if nothing, or where it isn't installed.

    Triton takes the compiler in CC, else gcc or clang. Its builds for Windows include one.
    """
    if not sys.platform.startswith("linux") or importlib.util.find_spec("triton") is None:
        return None
    if not os.environ.get("CC") and not any(map(shutil.which, ("gcc", "clang"))):
        return "compiler"
    return _find_missing_headers()


def find_missing_cpu_build_tool() -> BuildTool | None:
    """Return what Inductor lacks to compile for a CPU on Linux: it takes the compiler in CXX, else g++."""
    if shutil.which(os.environ.get("CXX") or "g++") is None:
        return "compiler"
    return _find_missing_headers()


def set_compile_caches() -> None:
    """Let libraries keep what they compile in the user's cache; call it before they compile.

    Inductor's own folder is in the system's temporary one, under a name that others can guess, and code is
    loaded from it. Unsloth's is the current folder. Variables that are set already stay.
    """
    cache = paths.get_cache_folder()
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache / "inductor"))
    os.environ.setdefault("UNSLOTH_COMPILE_LOCATION", str(cache / "unsloth"))


def _find_missing_headers() -> BuildTool | None:
    header = Path(sysconfig.get_paths()["include"]) / "Python.h"
    return None if header.is_file() else "headers"


def normalize_package_name(name: str) -> str:
    """Return a package's name as the package index spells it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def resolve_closure(
    roots: Iterable[str], list_needed: Callable[[metadata.Distribution], Iterable[str]]
) -> dict[str, metadata.Distribution]:
    """Return packages and what they need, by normalized name; those not installed are left out.

    `list_needed` returns the names of the packages that a package needs.
    """
    packages: dict[str, metadata.Distribution] = {}
    pending = list(roots)
    while pending:
        name = normalize_package_name(pending.pop())
        if name in packages:
            continue
        try:
            packages[name] = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue
        pending += list_needed(packages[name])
    return packages
