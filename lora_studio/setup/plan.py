"""What an engine will consist of: resolved with sizes and hashes before anything is changed."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lora_studio.core.problems import Problem, Where, fail
from lora_studio.setup.app_wheel import STANDARD, AppWheel
from lora_studio.setup.detect import Accelerator, Variant
from lora_studio.setup.download import DownloadFile
from lora_studio.setup.engines import Engine
from lora_studio.setup.folders import EngineRoot
from lora_studio.setup.pythons import PythonInstallation

#: Chooses where PyTorch comes from: a build (cpu, cu128, rocm6.4), an index, a folder, or `standard`.
VARIABLE = "LORA_STUDIO_TORCH_INDEX"

#: Unpacked and byte-compiled, packages take this many times the size of their wheels. Measured: 3.9
#: for the CPU set, 1.9 before byte-compiling for that of CUDA 13, whose libraries pack less well.
_UNPACKED: dict[Variant, float] = {"cpu": 4.1, "mps": 4.1, "cuda": 2.2, "rocm": 4.1}
#: Left free on the disk whatever comes, in bytes.
_SPARE = 200_000_000


@dataclass(frozen=True)
class WheelFile:
    """A package and the file that it comes in."""

    name: str
    version: str
    file: DownloadFile


@dataclass(frozen=True)
class SetupPlan:
    """Everything that a set-up needs to know; `reused` packages come from the `base` engine.

    Where the base is to be repaired, its byte-code is not `trusted`: its checksums are unknown.
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
        """The wheels that have to come, from the network or a folder."""
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
                "The engine needs {needed:size} of disk space, but only {free:size} are free.",
                "Free some space, or choose a folder on another disk.",
                where=Where(file=str(self.root.path)),
                needed=self.needed,
                free=self.free,
            )


def choose_torch_source(
    accelerator: Accelerator, chosen: str | None, environ: Mapping[str, str], tag: str
) -> str:
    """Return where PyTorch comes from: the user's word, else the user's own wheels, else the build that fits."""
    if word := chosen or environ.get(VARIABLE):
        return word
    if find_own_torch_wheels(environ, tag, accelerator.variant):
        return STANDARD
    return accelerator.torch or STANDARD


def find_own_torch_wheels(environ: Mapping[str, str], tag: str, variant: Variant) -> list[Path]:
    """Return wheels of PyTorch for this Python and device in the folders of wheels that the user has set."""
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


def normalize_name(name: str) -> str:
    """Return a package's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _get_series(version: str) -> str:
    """Return what wheels are made for: 3.13 of 3.13.5."""
    return ".".join(version.split(".")[:2])


def find_reusable_packages(
    base: Engine, wheels: tuple[WheelFile, ...], python: PythonInstallation
) -> tuple[str, ...]:
    """Return packages that an engine has in the very version and build; none for another series of Python."""
    if not base.own_python or _get_series(base.python_version) != _get_series(python.version):
        return ()
    unchanged = []
    for wheel in wheels:
        there = base.packages.get(wheel.name)
        if there and there.version == wheel.version and there.sha256 == wheel.file.sha256 != "":
            unchanged.append(wheel.name)
    return tuple(unchanged)
