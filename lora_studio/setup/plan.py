"""What an engine will consist of: resolved with sizes and hashes before anything is changed."""

from __future__ import annotations

import re
import shutil
import tempfile
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from lora_studio.core.problems import Problem, ProblemError, Where, fail
from lora_studio.setup import download
from lora_studio.setup.detect import Accelerator, Variant
from lora_studio.setup.download import File
from lora_studio.setup.engines import Engine
from lora_studio.setup.environment import uv_environment
from lora_studio.setup.events import Event, Warned
from lora_studio.setup.folders import Root, not_writable
from lora_studio.setup.own import BUILD, NAME, STANDARD, OwnWheel, project_text
from lora_studio.setup.pythons import Python
from lora_studio.setup.tools import Log, Stop, find_uv, last_words, run

#: Chooses where PyTorch comes from: a build (cpu, cu128, rocm6.4), an index, a folder, or `standard`.
VARIABLE = "LORA_STUDIO_TORCH_INDEX"

#: Unpacked and byte-compiled, the packages take this many times the size of their wheels (measured:
#: 3.4 for the CPU set, 2.1 for the CUDA set).
_UNPACKED = 3.6
#: Left free on the disk whatever comes, in bytes.
_SPARE = 200_000_000


@dataclass(frozen=True)
class Wheel:
    """A package and the file that it comes in."""

    name: str
    version: str
    file: File


@dataclass(frozen=True)
class Plan:
    """Everything that a set-up needs to know; `kept` packages stay as the `base` engine has them."""

    root: Root
    variant: Variant
    torch: str
    python: Python
    own: OwnWheel
    wheels: tuple[Wheel, ...]
    base: Engine | None = None
    kept: tuple[str, ...] = ()
    wheelhouse: Path | None = None
    warnings: tuple[Problem, ...] = field(default=())

    @property
    def fetched(self) -> tuple[Wheel, ...]:
        """The wheels that have to come, from the network or a folder."""
        return tuple(wheel for wheel in self.wheels if wheel.name not in self.kept)

    @property
    def total(self) -> int:
        """Bytes of those wheels."""
        return sum(wheel.file.size or 0 for wheel in self.fetched)

    @property
    def missing(self) -> int:
        """Bytes still to be downloaded: what lies on this machine needs no network."""
        return sum(
            max(0, (wheel.file.size or 0) - wheel.file.present)
            for wheel in self.fetched
            if wheel.file.local is None
        )

    @property
    def needed(self) -> int:
        """Bytes that the disk must have free."""
        return self.missing + int(_UNPACKED * self.total) + _SPARE

    @property
    def free(self) -> int:
        """Bytes that the disk has free."""
        place = self.root.path
        while not place.exists() and place != place.parent:
            place = place.parent
        return shutil.disk_usage(place).free

    def check_disk(self) -> None:
        """Raises ProblemError when the disk has too little room."""
        if self.free < self.needed:
            raise fail(
                "disk.full",
                f"The engine needs {self.needed / 1e9:.1f} GB of free disk, and there are "
                f"{self.free / 1e9:.1f} GB.",
                "Free some space, or choose a folder on another disk.",
                where=Where(file=str(self.root.path)),
            )


def torch_source(
    accelerator: Accelerator, chosen: str | None, environ: dict[str, str], tag: str
) -> str:
    """Where PyTorch comes from: the user's word, else the user's own wheels, else the build that fits."""
    if word := chosen or environ.get(VARIABLE):
        return word
    if _has_own_torch(environ, tag):
        return STANDARD
    return accelerator.torch or STANDARD


def _has_own_torch(environ: dict[str, str], tag: str) -> bool:
    """Whether a folder of wheels that the user has set holds a PyTorch for this Python."""
    for place in environ.get("UV_FIND_LINKS", "").split(","):
        folder = Path(place.removeprefix("file://")).expanduser()
        if place and any(folder.glob(f"torch-*-{tag}-*.whl")):
            return True
    return False


def resolve(
    plan_for: tuple[Variant, str], python: Python | None, own: OwnWheel, root: Root, stop: Stop,
    log: Log, *, wheelhouse: Path | None = None, target: tuple[str, str] | None = None,
) -> Iterator[Event | tuple[str, tuple[Wheel, ...]]]:  # fmt: skip
    """Yields warnings, and last the build of PyTorch that was taken with every wheel and its size.

    Unsloth is left out where it fits nothing else; PyTorch comes from the standard index, said
    aloud, where its own cannot be reached. `target` is the platform and Python version of another
    machine. Raises ProblemError.
    """
    variant, torch = plan_for
    extras = [("engine", "unsloth"), ("engine",)] if variant == "cuda" else [("engine",)]
    sources = [torch] if torch == STANDARD or wheelhouse else [torch, STANDARD]
    problem: Problem | None = None
    for source in sources:
        for extra in extras:
            said, wheels = _compile(source, extra, python, own, root, stop, log, wheelhouse, target)
            if wheels is not None:
                if problem is not None:
                    yield Warned(problem=problem)
                yield source, tuple(_measured(wheels, stop, log))
                return
            if _is_network(said):
                break
            problem = problem or _without_unsloth(said) if len(extras) > 1 else problem
        if source != STANDARD and _is_network(said) and BUILD.fullmatch(source):
            problem = _standard_torch(source, said)
            continue
        break
    raise _unresolved(said, wheelhouse, log)


def _compile(
    torch: str, extras: tuple[str, ...], python: Python | None, own: OwnWheel, root: Root,
    stop: Stop, log: Log, wheelhouse: Path | None, target: tuple[str, str] | None,
) -> tuple[str, list[Wheel] | None]:  # fmt: skip
    """Lets uv resolve; what it said, and the wheels unless it failed."""
    try:
        root.downloads.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise not_writable(root.downloads, error) from error
    environment = uv_environment({"UV_CACHE_DIR": str(root.cache)})
    with tempfile.TemporaryDirectory(prefix="resolve-", dir=root.path) as scratch:
        folder = Path(scratch)
        torch_here = STANDARD if wheelhouse else torch
        (folder / "pyproject.toml").write_text(project_text(own.path, extras, torch_here), "utf-8")
        lock = folder / "pylock.toml"
        command = [
            find_uv(), "pip", "compile", "--quiet", "--only-binary", ":all:",
            "--format", "pylock.toml", "--output-file", lock, folder / "pyproject.toml",
        ]  # fmt: skip
        if python is not None:
            command += ["--python", python.path]
        if target is not None:
            command += ["--python-platform", target[0], "--python-version", target[1]]
        if BUILD.fullmatch(torch_here):
            command += ["--torch-backend", torch_here]
        if wheelhouse is not None:
            environment = _offline(environment)
            command += ["--offline", "--no-index", "--find-links", wheelhouse.resolve()]
        log.write(f"resolving {extras} with PyTorch from {torch}")
        status, said = run(command, environment=environment, stop=stop, log=log, cwd=folder)
        if status:
            return said, None
        return said, wheels_of(tomllib.loads(lock.read_text("utf-8")), root.downloads)


def _offline(environment: dict[str, str]) -> dict[str, str]:
    """The same without any index: a wheel folder alone decides."""
    names = (
        "UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_INDEX", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS",
        "UV_CONSTRAINT", "UV_OVERRIDE", "UV_TORCH_BACKEND",
    )  # fmt: skip
    return {name: value for name, value in environment.items() if name not in names}


def wheels_of(lock: dict[str, Any], downloads: Path) -> list[Wheel]:
    """The wheels in a pylock.toml, without our own; raises ProblemError for a package without one."""
    found = []
    for package in lock.get("packages", ()):
        name = normal(package["name"])
        if name == NAME:
            continue
        files = package.get("wheels") or ([package["archive"]] if "archive" in package else [])
        if not files:
            raise fail(
                "engine.no_wheel_for",
                f"{name} {package.get('version', '')} has no ready-made wheel for this machine.",
                "Try another Python from 3.11 to 3.13.",
            )
        entry = files[0]
        url = entry.get("url") or entry["path"]
        file_name = entry.get("name") or unquote(urlsplit(url).path).rsplit("/", 1)[-1]
        found.append(
            Wheel(
                name,
                str(package["version"]),
                File(
                    name=file_name,
                    url=url,
                    target=downloads / file_name,
                    size=entry.get("size"),
                    sha256=entry.get("hashes", {}).get("sha256", ""),
                ),
            )
        )
    return found


def normal(name: str) -> str:
    """A package's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def kept_from(base: Engine, wheels: tuple[Wheel, ...], python: Python) -> tuple[str, ...]:
    """Packages that an engine has in the very version and build; none for another Python."""
    if not base.own_python or base.python_version != python.version:
        return ()
    kept = []
    for wheel in wheels:
        there = base.packages.get(wheel.name)
        if there and there.version == wheel.version and there.sha256 == wheel.file.sha256 != "":
            kept.append(wheel.name)
    return tuple(kept)


def _measured(wheels: list[Wheel], stop: Stop, log: Log) -> list[Wheel]:
    files = download.measured([wheel.file for wheel in wheels], stop, log)
    return [
        Wheel(wheel.name, wheel.version, file) for wheel, file in zip(wheels, files, strict=True)
    ]


_NETWORK = re.compile(
    r"Failed to fetch|error sending request|dns error|Could not connect|timed? ?out|tunnel|"
    r"HTTP status (server|client) error|Connection refused|network",
    re.IGNORECASE,
)


def _is_network(said: str) -> bool:
    return bool(_NETWORK.search(said))


def _standard_torch(source: str, said: str) -> Problem:
    return Problem(
        code="engine.standard_torch",
        what=f"PyTorch's own index for “{source}” cannot be reached ({_short(said)}); its standard "
        "build is taken from your index in its place, which may be larger.",
        remedy=f"To choose where PyTorch comes from, set {VARIABLE}.",
        severity="warning",
    )


def _without_unsloth(said: str) -> Problem:
    return Problem(
        code="engine.no_unsloth",
        what=f"Unsloth is left out: it does not go together with the other packages "
        f"({_short(said)}).",
        remedy="PEFT trains the same, somewhat slower.",
        severity="warning",
    )


def _short(said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return lines[-1].removeprefix("cause: ")[:160] if lines else "no reason was given"


def _unresolved(said: str, wheelhouse: Path | None, log: Log) -> ProblemError:
    if wheelhouse is not None:
        return fail(
            "engine.wheelhouse",
            f"The wheel folder does not hold all that the engine needs here: {last_words(said)}",
            "Make it again on a machine with the same system and Python: `lora-studio engine "
            "wheelhouse FOLDER`.",
            where=Where(file=str(wheelhouse)),
        )
    if _is_network(said):
        return fail(
            "engine.network",
            f"The package index cannot be reached: {_short(said)}.",
            "Check the network, and the proxy and index settings (HTTPS_PROXY, UV_DEFAULT_INDEX or "
            "pip's configuration). Without a network use a wheel folder from another machine.",
            where=Where(file=str(log.file)),
        )
    return fail(
        "engine.unresolved",
        f"No set of packages fits together here: {last_words(said)}",
        "Try another Python from 3.11 to 3.13, or other index settings. All that was said is in the "
        "log.",
        where=Where(file=str(log.file)),
    )
