"""The plan of a setup: its packages, resolved by uv with sizes and hashes before anything is changed."""

from __future__ import annotations

import hashlib
import html
import json
import os
import re
import shutil
import sys
import tempfile
import time
import tomllib
from collections import defaultdict
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from pydantic import BaseModel, ConfigDict, ValidationError

from lora_studio import __version__
from lora_studio.core.messages import Text, text
from lora_studio.core.network.secrets import without_secrets
from lora_studio.core.problems import Problem, ProblemError, Where, fail, warning
from lora_studio.core.system.files import create_folder, describe_os_error, write_atomic
from lora_studio.core.system.programs import normalize_package_name
from lora_studio.setup import download
from lora_studio.setup.detect import Accelerator, Variant
from lora_studio.setup.download import DownloadFile, clock_problem
from lora_studio.setup.engines import Engine
from lora_studio.setup.events import Event, Progress, Warned, WheelhouseReady
from lora_studio.setup.folders import EngineRoot, disk_problem, not_writable_error
from lora_studio.setup.pythons import PythonInstallation
from lora_studio.setup.tools import (
    SetupLog,
    StopFlag,
    build_uv_environment,
    find_uv,
    get_error_line,
    is_frozen,
    list_bundled_paths,
    run,
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


def find_reusable_packages(
    base: Engine, wheels: tuple[WheelFile, ...], python: PythonInstallation
) -> tuple[str, ...]:
    """Return packages that an engine has in the same version and build; none for another Python
    series.
    """
    if not base.own_python or base.python_version.split(".")[:2] != python.version.split(".")[:2]:
        return ()
    unchanged = []
    for wheel in wheels:
        entry = base.packages.get(wheel.name)
        if entry and entry.version == wheel.version and entry.sha256 == wheel.file.sha256 != "":
            unchanged.append(wheel.name)
    return tuple(unchanged)


#: Deployment target when resolving for another Mac: uv's default is 13, for which PyTorch has no
#: wheels.
OLDEST_MACOS = "14.0"

#: Lets uv trust the system's certificates instead of its own; the second is the name in older versions.
_SYSTEM_CERTIFICATES = {"UV_SYSTEM_CERTS": "1", "UV_NATIVE_TLS": "1"}

#: Versions of PyTorch whose standard Linux wheels are for the CUDA version of a build; None if there are none. Later
#: ones are for CUDA 13, which older drivers and GPUs can't run.
_STANDARD_VERSIONS = {"cu118": None, "cu126": "<2.8", "cu128": "<2.11"}


@dataclass(frozen=True)
class Resolver:
    """The inputs of a package resolution.

    `wheelhouse` is the only folder to use wheels from, if set; `target` is the platform (as uv
    names it) and Python version of another machine, `into` the folder to download wheels to.
    """

    root: EngineRoot
    own: AppWheel
    stop: StopFlag
    log: SetupLog
    python: PythonInstallation | None
    wheelhouse: Path | None = None
    target: tuple[str, str] | None = None
    into: Path | None = None

    def resolve(
        self, variant: Variant, torch: str
    ) -> Generator[Event, None, tuple[str, tuple[WheelFile, ...]]]:
        """Return the source of PyTorch that was used and every wheel with its size; yields
        warnings.

        Unsloth and Liger's kernels are left out if they are incompatible with the rest. If
        PyTorch's own index can't be reached, the standard index is used, with a warning. Raises
        ProblemError.
        """
        extras = _EXTRAS if variant == "cuda" else (("engine",),)
        sources = [(torch, "")]
        versions = self._get_standard_versions(variant, torch)
        if BUILD.fullmatch(torch) and self.wheelhouse is None and versions is not None:
            sources.append((STANDARD, versions))
        if self.wheelhouse is not None:
            local = yield from read_checksums(self.wheelhouse, self.stop)
        else:
            local = yield from compute_checksums(self._own_torch(torch, variant), self.stop)
        warnings: list[Problem] = []
        output = ""
        for source, versions in sources:
            failures: dict[str, str] = {}
            for extra in extras:
                output, wheels = self._compile(source, extra, local, versions)
                if wheels is not None:
                    missing = [name for name in extras[0] if name not in extra]
                    warnings += [_LEFT_OUT[name](failures[name]) for name in missing]
                    for problem in warnings:
                        yield Warned(problem=problem)
                    files = download.measure_sizes(
                        [one.file for one in wheels], self.stop, self.log
                    )
                    measured = zip(wheels, files, strict=True)
                    return source, tuple(replace(one, file=file) for one, file in measured)
                if is_network_error(output):
                    break
                failures |= dict.fromkeys(extra, output)
            if not is_network_error(output):
                break
            warnings = [_standard_torch_warning(source, output)]
        raise self._unresolved(output)

    def _get_standard_versions(self, variant: Variant, torch: str) -> str | None:
        """Return the versions whose standard wheels can replace a build of PyTorch; None if none can.

        The standard index's Linux wheels are for NVIDIA GPUs, but also run without a GPU. Its Windows
        wheels are for the CPU only.
        """
        platform = self.target[0] if self.target is not None else sys.platform
        if variant == "cuda" and not platform.startswith("win"):
            return _STANDARD_VERSIONS.get(torch, "")
        return "" if variant in ("cpu", "mps") else None

    def _compile(
        self, torch: str, extras: tuple[str, ...], local: dict[Path, str], versions: str
    ) -> tuple[str, list[WheelFile] | None]:
        """Return uv's output, and the wheels unless it failed; `versions` limits that of PyTorch."""
        try:
            create_folder(self.root.path)
        except OSError as error:
            raise not_writable_error(self.root.path, error) from error
        self.log.write(f"resolving {extras} with PyTorch from {torch}")
        with tempfile.TemporaryDirectory(prefix="resolve-", dir=self.root.path) as scratch:
            folder = Path(scratch)
            # Write an index even for an empty wheel folder: otherwise uv would use its default
            # index.
            is_local = local or self.wheelhouse is not None
            index = write_index(local, folder / "index") if is_local else ""
            if self.wheelhouse is not None:
                return self._lock(STANDARD, extras, folder, index)
            if index and torch == STANDARD:
                output, wheels = self._lock(index, extras, folder)
                if wheels is not None:
                    return output, wheels
            return self._lock(torch, extras, folder, versions=versions)

    def _own_torch(self, torch: str, variant: Variant) -> list[Path]:
        """Return the user's own wheels of PyTorch if its source is the standard index."""
        if torch != STANDARD:
            return []
        version = self.target[1] if self.target is not None else ""
        tag = self.python.tag if self.python is not None else f"cp{version.replace('.', '')}"
        return find_own_torch_wheels(build_uv_environment(), tag, variant)

    def _lock(
        self,
        torch: str,
        extras: tuple[str, ...],
        folder: Path,
        index: str = "",
        versions: str = "",
    ) -> tuple[str, list[WheelFile] | None]:
        """Return uv's output and the wheels, with PyTorch from `torch`, and only from `index` if it
        is set.
        """
        text = format_project(self.own.path, extras, torch, versions)
        (folder / "pyproject.toml").write_text(text, "utf-8")
        lock = folder / "pylock.toml"
        environment = build_uv_environment()
        if self.target is not None and self.target[0] == "macos":
            environment.setdefault("MACOSX_DEPLOYMENT_TARGET", OLDEST_MACOS)
        if self.wheelhouse is not None:
            environment = without_indexes(environment)
        command = self._command(folder, lock, torch, index)
        start = partial(run, command, stop=self.stop, log=self.log, cwd=folder)
        status, output = start(environment=environment)
        if status and "UnknownIssuer" in output:
            # Of a proxy that inspects connections: only the system's certificates include its own.
            status, output = start(environment=environment | _SYSTEM_CERTIFICATES)
        if status:
            return output, None
        locked = tomllib.loads(lock.read_text("utf-8"))
        return output, read_wheels(locked, self.into or self.root.downloads)

    def _command(self, folder: Path, lock: Path, torch: str, index: str) -> list[object]:
        command: list[object] = [
            find_uv(), "pip", "compile", "--quiet", "--only-binary", ":all:",
            "--format", "pylock.toml", "--output-file", lock, folder / "pyproject.toml",
        ]  # fmt: skip
        if self.python is not None:
            command += ["--python", self.python.path]
        if self.target is not None:
            command += ["--python-platform", self.target[0], "--python-version", self.target[1]]
        if BUILD.fullmatch(torch):
            command += ["--torch-backend", torch]
        if index:
            command += ["--offline", "--default-index", index]
        return command

    def _unresolved(self, output: str) -> ProblemError:
        if problem := disk_problem(output, self.root.path):  # uv caches metadata
            return problem
        if self.wheelhouse is not None:
            return fail(
                "engine.wheelhouse",
                "The wheel folder lacks packages that the engine needs here: {reason}",
                "Create it again for this operating system and Python version: `lora-studio engine "
                "wheelhouse FOLDER`.",
                where=Where(file=str(self.wheelhouse)),
                reason=get_error_line(output),
            )
        if problem := clock_problem(output):
            return problem
        if is_network_error(output):
            return fail(
                "engine.network",
                "The package index can't be reached: {reason}.",
                suggest_remedy(output),
                where=Where(file=str(self.log.file)),
                reason=_get_last_line(output),
            )
        return fail(
            "engine.unresolved",
            "No compatible set of packages was found: {reason}",
            "Try another Python version from 3.11 to 3.13, or other index settings. Full details are in "
            "the log.",
            where=Where(file=str(self.log.file)),
            reason=get_error_line(output),
        )


def without_indexes(environment: dict[str, str]) -> dict[str, str]:
    """Return the environment without package indexes and uv settings, for files on this machine only."""
    names = (
        "UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_INDEX", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS",
        "UV_NO_INDEX", "UV_CONSTRAINT", "UV_BUILD_CONSTRAINT", "UV_OVERRIDE", "UV_TORCH_BACKEND", "UV_EXCLUDE_NEWER",
        "UV_PRERELEASE", "UV_RESOLUTION", "UV_CONFIG_FILE",
    )  # fmt: skip
    return {name: value for name, value in environment.items() if name not in names}


def read_wheels(lock: dict[str, Any], downloads: Path) -> list[WheelFile]:
    """Return the wheels in a pylock.toml, without our own; raises ProblemError for a package without one."""
    wheels = []
    for package in lock.get("packages", ()):
        name = normalize_package_name(package["name"])
        if name == NAME:
            continue
        files = package.get("wheels") or ([package["archive"]] if "archive" in package else [])
        if not files:
            raise fail(
                "engine.no_wheel_for",
                "{package} has no prebuilt wheel for this computer.",
                "Try another Python version from 3.11 to 3.13.",
                package=f"{name} {package.get('version', '')}".strip(),
            )
        entry = files[0]
        url = entry.get("url") or entry["path"]
        file_name = entry.get("name") or unquote(urlsplit(url).path).rsplit("/", 1)[-1]
        wheels.append(
            WheelFile(
                name,
                str(package["version"]),
                DownloadFile(
                    name=file_name,
                    url=url,
                    target=downloads / file_name,
                    size=entry.get("size"),
                    sha256=entry.get("hashes", {}).get("sha256", ""),
                ),
            )
        )
    return wheels


_NETWORK = re.compile(
    r"Failed to fetch|error sending request|dns error|Could not connect|timed? ?out|tunnel|"
    r"HTTP status (server|client) error|Connection refused|network",
    re.IGNORECASE,
)


def suggest_remedy(output: str) -> Text:
    """Return what to do about a network error of uv."""
    if re.search(r"\b407\b|proxy authorization required", output):
        return text(
            "The proxy requires a user name and password. Add them to HTTPS_PROXY: "
            "NAME:PASSWORD@HOST:PORT. They aren't written to the log."
        )
    return text(
        "Check the network, proxy, and index settings (HTTPS_PROXY, UV_DEFAULT_INDEX, or pip's "
        "configuration). Without internet access, use a wheel folder from another computer."
    )


def is_network_error(output: str) -> bool:
    return bool(_NETWORK.search(output))


def _standard_torch_warning(source: str, output: str) -> Problem:
    return warning(
        "engine.standard_torch",
        "PyTorch's own index for {source} can't be reached ({reason}). Its default build is used from your "
        "index instead, which can be older and larger.",
        "To choose where PyTorch comes from, set {variable}.",
        source=source,
        reason=_get_last_line(output),
        variable=VARIABLE,
    )


def _no_unsloth_warning(output: str) -> Problem:
    return warning(
        "engine.no_unsloth",
        "Unsloth isn't installed because it isn't compatible with the other packages ({reason}).",
        "Training uses PEFT. Only runs that select the Unsloth backend need it.",
        reason=_get_last_line(output),
    )


def _no_liger_warning(output: str) -> Problem:
    return warning(
        "engine.no_liger",
        "Liger kernels aren't installed because they aren't compatible with the other packages ({reason}).",
        "Training is slower without them but gives the same results.",
        reason=_get_last_line(output),
    )


#: Extras to try for NVIDIA GPUs, the most complete set first.
_EXTRAS: tuple[tuple[str, ...], ...] = (
    ("engine", "unsloth", "liger"), ("engine", "unsloth"), ("engine", "liger"), ("engine",),
)  # fmt: skip
_LEFT_OUT = {"unsloth": _no_unsloth_warning, "liger": _no_liger_warning}


def _get_last_line(output: str) -> Text:
    """Return the last line of a program's output, or that there is none."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    if not lines:
        return text("no reason was given")
    return text("{reason}", reason=without_secrets(lines[-1].removeprefix("cause: ")[:160]))


#: File that describes the folder; written last.
FACTS = "wheelhouse.json"


class WheelhouseInfo(BaseModel):
    """The target of a wheel folder: an engine variant, a Python such as 3.12, and a platform as uv
    names it.

    `sha256` has the checksum of each wheel in hexadecimal digits, by file name.
    """

    model_config = ConfigDict(defer_build=True, frozen=True, extra="ignore")

    app_version: str
    variant: Variant
    python: str
    platform: str = ""
    sha256: dict[str, str] = {}


def read_info(folder: Path) -> WheelhouseInfo | None:
    """Return the description of a wheel folder; None for a folder that was put together by hand.

    Raises ProblemError if another version of this program created it.
    """
    try:
        facts = WheelhouseInfo.model_validate_json((folder / FACTS).read_bytes())
    except (OSError, ValidationError):
        if not any(folder.glob("*.whl")):
            raise fail(
                "engine.wheelhouse",
                "This folder contains no wheels.",
                "Create a wheel folder on a computer with internet access: `lora-studio engine wheelhouse "
                "FOLDER`.",
                where=Where(file=str(folder)),
            ) from None
        return None
    if facts.app_version != __version__:
        raise fail(
            "engine.wheelhouse",
            "This wheel folder is for version {folder}, but LoRA Studio has version {app}.",
            "Create it again with this version of LoRA Studio.",
            where=Where(file=str(folder)),
            folder=facts.app_version,
            app=__version__,
        )
    return facts


def read_checksums(folder: Path, stop: StopFlag) -> Generator[Progress, None, dict[Path, str]]:
    """Return every wheel with its checksum. Raises ProblemError if one has changed or can't be
    read.
    """
    facts = read_info(folder)
    promised = facts.sha256 if facts else {}
    try:
        computed = yield from compute_checksums(sorted(folder.glob("*.whl")), stop)
    except OSError as error:
        raise _damaged_wheel_error(
            Path(error.filename or folder), describe_os_error(error)
        ) from error
    for wheel, digest in computed.items():
        if promised.get(wheel.name, digest) != digest:
            raise _damaged_wheel_error(
                wheel,
                text("its checksum differs from the one recorded when the folder was created"),
            )
    return computed


def _damaged_wheel_error(wheel: Path, reason: Text | str) -> ProblemError:
    return fail(
        "engine.wheelhouse",
        "{wheel} in the wheel folder is damaged: {reason}.",
        "Copy it again, or run `lora-studio engine wheelhouse FOLDER` on the other computer, which "
        "downloads only missing or damaged files.",
        where=Where(file=str(wheel)),
        wheel=wheel.name,
        reason=reason,
    )


def fill_wheelhouse(
    folder: Path,
    wheels: tuple[WheelFile, ...],
    app_wheel: AppWheel,
    facts: WheelhouseInfo,
    stop: StopFlag,
    log: SetupLog,
) -> Iterator[Event]:
    """Download every wheel into the folder; resumes an interrupted download. Raises ProblemError."""
    files = [wheel.file for wheel in wheels]
    need = sum(max(0, (file.size or 0) - file.present) for file in files)
    free = shutil.disk_usage(folder).free
    if free < need:
        raise fail(
            "disk.full",
            "The wheels need {needed:size} more disk space, but only {free:size} is free.",
            "Choose a folder on a larger disk.",
            where=Where(file=str(folder)),
            needed=need,
            free=free,
        )
    own_file = DownloadFile(
        app_wheel.path.name, app_wheel.path.resolve().as_uri(), folder / app_wheel.path.name,
        app_wheel.path.stat().st_size, app_wheel.sha256,
    )  # fmt: skip
    yield from download.fetch([*files, own_file], "Downloading", stop, log)
    expected = {file.target.name for file in [*files, own_file]}
    for old in folder.glob("*.whl*"):
        if old.name not in expected:
            old.unlink()
    checksums = {file.target.name: file.sha256 for file in [*files, own_file] if file.sha256}
    updated = facts.model_copy(update={"sha256": checksums})
    write_atomic(folder / FACTS, json.dumps(updated.model_dump(mode="json"), indent=2) + "\n")
    size = sum(file.stat().st_size for file in folder.glob("*.whl"))
    yield WheelhouseReady(folder=str(folder), files=len(expected), bytes=size)


#: Bytes that are hashed between two checks for a cancel.
_CHUNK = 4_000_000
#: Seconds between two progress events.
_PROGRESS_INTERVAL = 0.25


def compute_checksums(
    wheels: Sequence[Path], stop: StopFlag
) -> Generator[Progress, None, dict[Path, str]]:
    """Return the SHA-256 of each wheel in hexadecimal digits; raises SetupCancelledError and
    OSError.
    """
    total = sum(wheel.stat().st_size for wheel in wheels)
    checksums: dict[Path, str] = {}
    done, reported = 0, time.monotonic()
    for wheel in wheels:
        digest = hashlib.sha256()
        with wheel.open("rb") as stream:
            while chunk := stream.read(_CHUNK):
                stop.check()
                digest.update(chunk)
                done += len(chunk)
                if (now := time.monotonic()) - reported >= _PROGRESS_INTERVAL:
                    reported = now
                    yield Progress(stage="Planning", done=done, total=total, unit="B")
        checksums[wheel] = digest.hexdigest()
    return checksums


def write_index(wheels: Mapping[Path, str], into: Path) -> str:
    """Write a package index of these wheels with their checksums, and return its URL."""
    pages: dict[str, list[str]] = defaultdict(list)
    for wheel, digest in wheels.items():
        address = html.escape(f"{wheel.resolve().as_uri()}#sha256={digest}")
        line = f'<a href="{address}">{html.escape(wheel.name)}</a>'
        pages[normalize_package_name(wheel.name.partition("-")[0])].append(line)
    for name, lines in pages.items():
        page = into / name / "index.html"
        create_folder(page.parent, exist_ok=False)
        body = "\n".join(lines)
        page.write_text(f"<!DOCTYPE html><html><body>\n{body}\n</body></html>\n", "utf-8")
    return into.resolve().as_uri()
