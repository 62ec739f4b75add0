"""The plan of a setup: its packages, resolved with sizes and hashes before anything is changed."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lora_studio import __version__
from lora_studio.core.problems import Problem, Where, fail
from lora_studio.setup.detect import Accelerator, Variant
from lora_studio.setup.download import DownloadFile
from lora_studio.setup.engines import Engine
from lora_studio.setup.folders import EngineRoot
from lora_studio.setup.pythons import PythonInstallation
from lora_studio.setup.tools import (
    SetupLog,
    StopFlag,
    build_uv_environment,
    find_uv,
    is_frozen,
    list_bundled_paths,
    run_checked,
)

NAME = "lora-studio"
#: For builders: environment variable with the wheel of this program to install into engines.
WHEEL_VARIABLE = "LORA_STUDIO_WHEEL"
#: Requirements of the window only: the engine has no user interface.
WINDOW_ONLY = ("pyside6-essentials", "pyqtgraph")

#: Name of a PyTorch build, as opposed to a URL or folder.
BUILD = re.compile(r"cpu|xpu|cu\d+|rocm[\d.]+")
#: PyTorch source: the same index as all other packages.
STANDARD = "standard"


@dataclass(frozen=True)
class AppWheel:
    """The program's wheel, which is installed into every engine."""

    path: Path
    sha256: str


def provide_wheel(
    scratch: Path, stop: StopFlag, log: SetupLog, wheelhouse: Path | None = None
) -> AppWheel:
    """Return the wheel included with the app, or one built from this checkout into `scratch`.

    Building needs the network, so a wheel in the wheel folder takes precedence if one is used.
    Raises ProblemError if there is none.
    """
    if configured := os.environ.get(WHEEL_VARIABLE):
        return _hash_wheel(Path(configured))
    pattern = f"lora_studio-{__version__}-*.whl"
    brought = [file for folder in list_bundled_paths("wheels") for file in folder.glob(pattern)]
    if brought and (is_frozen() or _find_checkout() is None):
        return _hash_wheel(brought[0])
    if wheelhouse is not None and (included := next(wheelhouse.glob(pattern), None)):
        return _hash_wheel(included)
    checkout = _find_checkout()
    if checkout is None:
        raise fail(
            "engine.no_wheel",
            "This installation is missing its own wheel ({pattern}), which the engine needs.",
            "Reinstall LoRA Studio, or run it from source.",
            pattern=pattern,
        )
    built = scratch / "own"
    shutil.rmtree(built, ignore_errors=True)
    run_checked(
        [find_uv(), "build", "--wheel", "--out-dir", built, checkout],
        environment=build_uv_environment(), stop=stop, log=log, code="engine.own_wheel",
        what="The wheel of LoRA Studio couldn't be built from source",
        remedy="Check the network connection, or set up the engine from an installed app.",
    )  # fmt: skip
    return _hash_wheel(next(built.glob(pattern)))


def format_project(wheel: Path, extras: tuple[str, ...], torch: str, versions: str = "") -> str:
    """Return a pyproject.toml whose dependencies are the engine's, for uv to resolve.

    `torch` is `STANDARD`, the name of a build (passed to uv separately), or an index or folder for
    PyTorch alone. `versions` limits its version, as in <2.11.
    """
    requirement = f"{NAME}[{','.join(extras)}] @ {wheel.resolve().as_uri()}"
    excluded = ", ".join(f"\"{name}; sys_platform == 'none'\"" for name in WINDOW_ONLY)
    lines = [
        "[project]", 'name = "engine"', 'version = "0"', 'requires-python = ">=3.11"',
        f'dependencies = ["{requirement}", "torch{versions}"]', "[tool.uv]", f"override-dependencies = [{excluded}]",
    ]  # fmt: skip
    if torch != STANDARD and not BUILD.fullmatch(torch):
        flat = Path(torch).expanduser().is_dir()
        index = Path(torch).expanduser().resolve().as_uri() if flat else torch
        lines += [
            "[tool.uv.sources]", 'torch = { index = "torch" }', "[[tool.uv.index]]",
            'name = "torch"', f'url = "{index}"', "explicit = true",
            *(['format = "flat"'] if flat else []),
        ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _find_checkout() -> Path | None:
    """Return the checkout that this code runs from, if any."""
    folder = Path(__file__).resolve().parents[2]
    return folder if (folder / "pyproject.toml").is_file() and not is_frozen() else None


def _hash_wheel(wheel: Path) -> AppWheel:
    with wheel.open("rb") as stream:
        return AppWheel(wheel, hashlib.file_digest(stream, "sha256").hexdigest())


#: Environment variable for the source of PyTorch: a build (cpu, cu128, rocm7.2), an index, a
#: folder, or `standard`.
VARIABLE = "LORA_STUDIO_TORCH_INDEX"

#: Ratio of the size of unpacked and byte-compiled packages to that of their wheels. Measured: 3.9
#: for the CPU build, 1.9 before byte-compiling for CUDA 13, whose libraries compress less well.
_UNPACKED: dict[Variant, float] = {"cpu": 4.1, "mps": 4.1, "cuda": 2.2, "rocm": 4.1}
#: Disk space to always leave free, in bytes.
_SPARE = 200_000_000


@dataclass(frozen=True)
class WheelFile:
    """A package and its wheel."""

    name: str
    version: str
    file: DownloadFile


@dataclass(frozen=True)
class SetupPlan:
    """Everything that a setup needs to know; `reused` packages come from the `base` engine.

    When repairing, the base's byte-code is not `trusted`, since it has no checksums.
    """

    root: EngineRoot
    variant: Variant
    torch: str
    python: PythonInstallation
    own: AppWheel
    wheels: tuple[WheelFile, ...]
    base: Engine | None = None
    reused: tuple[str, ...] = ()
    trusted: bool = True
    wheelhouse: Path | None = None
    warnings: tuple[Problem, ...] = field(default=())

    @property
    def fetched(self) -> tuple[WheelFile, ...]:
        """The wheels to fetch, from the network or a folder."""
        return tuple(wheel for wheel in self.wheels if wheel.name not in self.reused)

    @property
    def total(self) -> int:
        """Bytes of those wheels."""
        return sum(wheel.file.size or 0 for wheel in self.fetched)

    @property
    def missing(self) -> int:
        """Bytes to download; files on this machine don't count."""
        return sum(
            max(0, (wheel.file.size or 0) - wheel.file.present)
            for wheel in self.fetched
            if wheel.file.local is None
        )

    @property
    def needed(self) -> int:
        """Bytes that the disk must have free."""
        return self.missing + int(_UNPACKED[self.variant] * self.total) + _SPARE

    @property
    def free(self) -> int:
        """Bytes that the disk has free."""
        folder = self.root.path
        while not folder.exists() and folder != folder.parent:
            folder = folder.parent
        return shutil.disk_usage(folder).free

    def check_disk(self) -> None:
        """Raise ProblemError if there isn't enough disk space."""
        if self.free < self.needed:
            raise fail(
                "disk.full",
                "The engine needs {needed:size} of disk space, but only {free:size} is free.",
                "Free up some space, or choose a folder on another disk.",
                where=Where(file=str(self.root.path)),
                needed=self.needed,
                free=self.free,
            )


def choose_torch_source(
    accelerator: Accelerator, chosen: str | None, environ: Mapping[str, str], tag: str
) -> str:
    """Return the source of PyTorch: the user's choice, else the user's own wheels, else the
    matching build.
    """
    if word := chosen or environ.get(VARIABLE):
        return word
    if find_own_torch_wheels(environ, tag, accelerator.variant):
        return STANDARD
    return accelerator.torch or STANDARD


def find_own_torch_wheels(environ: Mapping[str, str], tag: str, variant: Variant) -> list[Path]:
    """Return wheels of PyTorch for this Python and device in the user's wheel folders (find-links)."""
    kinds = {"cpu": "cpu", "cuda": "cu", "rocm": "rocm", "mps": ""}
    wheels = []
    for link in environ.get("UV_FIND_LINKS", "").split(","):
        folder = Path(link.removeprefix("file://")).expanduser()
        for file in sorted(folder.glob(f"torch-*-{tag}-*.whl")) if link else ():
            _, plus, build = file.name.split("-")[1].partition("+")
            if not plus or (
                build.startswith(kinds[variant]) and (variant == "cpu") == (build == "cpu")
            ):
                wheels.append(file)
    return wheels


def _get_series(version: str) -> str:
    """Return the Python series that wheels are built for: 3.13 for 3.13.5."""
    return ".".join(version.split(".")[:2])


def find_reusable_packages(
    base: Engine, wheels: tuple[WheelFile, ...], python: PythonInstallation
) -> tuple[str, ...]:
    """Return packages that an engine has in the same version and build; none for another Python
    series.
    """
    if not base.own_python or _get_series(base.python_version) != _get_series(python.version):
        return ()
    unchanged = []
    for wheel in wheels:
        entry = base.packages.get(wheel.name)
        if entry and entry.version == wheel.version and entry.sha256 == wheel.file.sha256 != "":
            unchanged.append(wheel.name)
    return tuple(unchanged)
