"""Find a Python for an engine: a suitable one on this system, else a standalone build."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from lora_studio.core.messages import text
from lora_studio.core.problems import ProblemError, Where, fail
from lora_studio.setup import download
from lora_studio.setup.download import DownloadFile
from lora_studio.setup.events import Event, LogLine
from lora_studio.setup.folders import EngineRoot, disk_problem
from lora_studio.setup.tools import (
    SetupLog,
    StopFlag,
    build_child_environment,
    build_uv_environment,
    find_uv,
    get_error_line,
    list_bundled_paths,
    run,
    run_checked,
)

#: As in pyproject.toml.
RANGE = ">=3.11,<3.14"
#: Version to download if the system has no suitable one.
STANDALONE = "3.12"

_ASK = (
    "import json, struct, sys, sysconfig; print(json.dumps({'version': sys.version.split()[0], "
    "'bits': 8 * struct.calcsize('P'), 'path': sys.executable, "
    "'tag': f'cp{sys.version_info[0]}{sys.version_info[1]}'}))"
)


@dataclass(frozen=True)
class PythonInstallation:
    """An interpreter; `tag` is its wheel tag, such as cp312."""

    path: Path
    version: str
    tag: str


def find_python(
    request: str | None, root: EngineRoot, stop: StopFlag, log: SetupLog
) -> PythonInstallation | None:
    """Return the interpreter to use; None if the system has no suitable one.

    `request` is the path of an interpreter, or a version such as 3.12. Raises ProblemError if the
    interpreter can't be used.
    """
    if request and Path(request).expanduser().is_file():
        return examine_python(Path(request).expanduser().absolute(), stop, log)
    for folder in sorted(root.pythons.glob(f"cpython-{request or '3'}.*"), reverse=True):
        interpreter = _find_interpreter(folder)
        if interpreter is not None:
            return examine_python(interpreter, stop, log)
    command = [
        find_uv(), "python", "find", "--system", "--python-preference", "only-system", "--no-config",
        request or RANGE,
    ]  # fmt: skip
    status, output = run(command, environment=build_uv_environment(), stop=stop, log=log)
    if status and (problem := disk_problem(output, root.path)):  # uv caches what it has found
        raise problem
    if status and "No interpreter" not in output:
        raise fail(
            "engine.python",
            "The Python installations on this computer couldn't be listed: {reason}",
            "Enter the path of a Python 3.11, 3.12, or 3.13 executable. Full details are in the log.",
            where=Where(file=str(log.file)),
            reason=get_error_line(output),
        )
    path = Path(output.strip().splitlines()[-1]) if output.strip() else Path()
    return examine_python(path, stop, log) if status == 0 and path.is_file() else None


def python_not_found_error(request: str) -> ProblemError:
    """Return the error for a requested Python that doesn't exist."""
    return fail(
        "engine.python",
        "Python {version} wasn't found on this computer.",
        "Enter the path of a Python 3.11, 3.12, or 3.13 executable.",
        version=request,
    )


def examine_python(path: Path, stop: StopFlag, log: SetupLog) -> PythonInstallation:
    """Return the facts about an interpreter; raises ProblemError if it can't be started or isn't
    suitable.
    """
    try:
        status, output = run(
            [path, "-I", "-c", _ASK], environment=build_child_environment(), stop=stop, log=log
        )
        facts = json.loads(output.strip().splitlines()[-1])
        major, minor = (int(part) for part in facts["version"].split(".")[:2])
    except (OSError, ValueError, KeyError, IndexError) as error:
        raise fail(
            "engine.python",
            "This file isn't a Python executable.",
            "Enter the path of a Python 3.11, 3.12, or 3.13 executable.",
            where=Where(file=str(path)),
        ) from error
    if status or facts["bits"] != 64 or not (3, 11) <= (major, minor) < (3, 14):
        raise fail(
            "engine.python",
            "This is a {bits}-bit Python {version}.",
            "The engine needs a 64-bit Python 3.11, 3.12, or 3.13.",
            where=Where(file=str(path)),
            bits=facts["bits"],
            version=facts["version"],
        )
    return PythonInstallation(path, facts["version"], facts["tag"])


def install_standalone(
    root: EngineRoot, series: str, wheelhouse: Path | None, stop: StopFlag, log: SetupLog
) -> Iterator[Event]:
    """Install a standalone build into the engines' folder, downloading it unless it is bundled.

    The address and the checksum are uv's own. Raises ProblemError.
    """
    url = _find_download_url(series, stop, log)
    release, name = _split_url(url)
    places = list_bundled_paths("python", release, name)
    if wheelhouse is not None:
        places.insert(0, wheelhouse / "python" / release / name)
    brought = next((one for one in places if one.is_file()), None)
    mirror = brought.parent.parent if brought else root.downloads / "python"
    fetched = mirror / release / name
    if brought is None:
        yield LogLine(text=text("No compatible Python was found; {name} is downloaded.", name=name))
        file = DownloadFile(name=name, url=url, target=fetched)
        yield from download.fetch([file], "Downloading Python", stop, log)
    try:
        run_checked(
            [
                find_uv(), "python", "install", series, "--install-dir", root.pythons, "--no-bin",
                "--mirror", mirror.absolute().as_uri(), "--no-config",
            ],
            environment=build_uv_environment({"UV_PYTHON_DOWNLOADS": "manual"}),
            stop=stop, log=log, code="engine.python_install",
            what="The standalone Python couldn't be installed",
            remedy="Start the setup again; damaged files are downloaded again.",
        )  # fmt: skip
    except ProblemError:
        if brought is None:
            fetched.unlink(missing_ok=True)
        raise


def fetch_build(
    series: str, platform: str, into: Path, stop: StopFlag, log: SetupLog
) -> Iterator[Event]:
    """Download a standalone build for a platform (as uv names it) into a wheel folder. Raises
    ProblemError.

    uv verifies its checksum when it is installed.
    """
    url = _find_download_url(series, stop, log, platform)
    release, name = _split_url(url)
    file = DownloadFile(name=name, url=url, target=into / "python" / release / name)
    yield from download.fetch([file], "Downloading Python", stop, log)


def _find_download_url(series: str, stop: StopFlag, log: SetupLog, platform: str = "") -> str:
    """Return the URL of a build for this machine or, with `platform`, for another platform of the
    same architecture.
    """
    command: list[object] = [
        find_uv(), "python", "list", "--only-downloads", "--output-format", "json", "--no-config",
        *(["--all-platforms", "--all-arches"] if platform else []), series,
    ]  # fmt: skip
    output = run_checked(
        command, environment=build_uv_environment({"UV_PYTHON_DOWNLOADS": "manual"}), stop=stop, log=log,
        code="engine.python", what="The available standalone Pythons couldn't be listed",
        remedy="Install Python 3.12, then start the setup again.",
    )  # fmt: skip
    try:
        builds = [
            one
            for one in json.loads(output[output.index("[") :])
            if _is_for_platform(one, platform)
        ]
        return str(builds[0]["url"])
    except (ValueError, KeyError, IndexError) as error:
        raise fail(
            "engine.python",
            "No standalone Python {series} is available for {platform}."
            if platform
            else "No standalone Python {series} is available for this system.",
            "Install Python 3.12 on that system, then start the setup again.",
            series=series,
            platform=platform,
        ) from error


def _is_for_platform(build: dict[str, str], platform: str) -> bool:
    """Return whether a build is a plain CPython for a platform."""
    if build["implementation"] != "cpython" or build.get("variant", "default") != "default":
        return False
    arch = {"windows": "x86_64", "macos": "aarch64", "linux": "x86_64"}
    return not platform or (
        build["os"] == platform
        and build["arch"] == arch[platform]
        and build["libc"] in ("gnu", "none")
    )


def _split_url(url: str) -> tuple[str, str]:
    """Return the release and the file name, the last two parts of a URL."""
    release, name = unquote(urlsplit(url).path).split("/")[-2:]
    return release, name


def _find_interpreter(folder: Path) -> Path | None:
    for part in ("bin/python3", "python.exe"):
        if (folder / part).exists():
            return folder / part
    return None
