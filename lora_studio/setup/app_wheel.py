"""Provide this program's wheel; the engine's requirements are read from its metadata."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from lora_studio import __version__
from lora_studio.core.problems import fail
from lora_studio.setup.environment import build_uv_environment, is_frozen
from lora_studio.setup.tools import SetupLog, StopFlag, find_uv, list_bundled_paths, run_checked

NAME = "lora-studio"
#: For builders: environment variable with the wheel of this program to install into engines.
VARIABLE = "LORA_STUDIO_WHEEL"
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
    if configured := os.environ.get(VARIABLE):
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
