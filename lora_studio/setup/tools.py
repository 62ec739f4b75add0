"""Find uv, and run it and other programs of a setup: log their output, and kill them on a cancel."""

from __future__ import annotations

import configparser
import contextlib
import importlib.util
import os
import re
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

import psutil

from lora_studio.core.messages import Template, text
from lora_studio.core.network.connections import note_contact
from lora_studio.core.network.purposes import Purpose
from lora_studio.core.network.secrets import without_secrets
from lora_studio.core.problems import Where, fail
from lora_studio.core.system import paths
from lora_studio.core.system.files import create_folder, describe_os_error
from lora_studio.core.system.programs import find_on_path, get_empty_folder
from lora_studio.setup.folders import disk_problem, get_root

#: Environment variable with the path of another uv.
VARIABLE = "LORA_STUDIO_UV"
#: Log files larger than this are rotated; one older file is kept.
_LOG_BYTES = 5_000_000
#: Seconds between two checks for a cancel while a program runs.
_TURN = 0.1
#: The same interval after the program has closed its output.
_SOON = 0.005


class SetupCancelledError(Exception):
    """The user canceled the setup."""


class StopFlag:
    """A flag to request a cancel from any thread; the work checks it between its parts."""

    def __init__(self) -> None:
        """Start without a request."""
        self._asked = threading.Event()

    def ask(self) -> None:
        """Request the cancel."""
        self._asked.set()

    @property
    def asked(self) -> bool:
        """Whether a cancel was requested."""
        return self._asked.is_set()

    def check(self) -> None:
        """Raise SetupCancelledError if a cancel was requested."""
        if self._asked.is_set():
            raise SetupCancelledError

    def wait(self, seconds: float) -> None:
        """Wait for some seconds; raises SetupCancelledError as soon as a cancel is requested."""
        if self._asked.wait(seconds):
            raise SetupCancelledError


class SetupLog:
    """The log file of a setup; if it can't be written, the setup continues without a log."""

    def __init__(self, file: Path) -> None:
        """Append to the file, or start a new one if it is too large."""
        self.file = file
        self._stream: IO[str] | None = None
        with contextlib.suppress(OSError):
            create_folder(file.parent)
            if file.exists() and file.stat().st_size > _LOG_BYTES:
                file.replace(file.with_suffix(".old.log"))
            self._stream = file.open("a", encoding="utf-8")

    def write(self, line: str) -> None:
        """Write a line with the time, without passwords in addresses."""
        if self._stream is not None:
            with contextlib.suppress(OSError):
                stamp = time.strftime("%Y-%m-%d %H:%M:%S")
                self._stream.write(f"{stamp} {without_secrets(line.rstrip())}\n")
                self._stream.flush()

    @property
    def stream(self) -> IO[str] | int:
        """A stream for the errors of a program."""
        return self._stream if self._stream is not None else subprocess.DEVNULL

    def close(self) -> None:
        """Close the file."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None


def find_uv() -> Path:
    """Return the path of uv: the configured one, the app's, the Python package's, or one on PATH.

    The last may be too old to know the builds of PyTorch that setup asks for. Raises ProblemError if there is none.
    """
    name = "uv.exe" if os.name == "nt" else "uv"
    configured = os.environ.get(VARIABLE)
    for candidate in (
        Path(configured) if configured else None,
        *list_bundled_paths("bin", name),
        _find_package_uv(),
        _find_on_path(name),
    ):
        if candidate is not None and candidate.is_file():
            return candidate
    raise fail(
        "engine.no_uv",
        "The uv installer wasn't found.",
        "Install it with `pip install uv`, or set {variable} to its path.",
        variable=VARIABLE,
    )


def list_bundled_paths(*parts: str) -> list[Path]:
    """Return the paths where a bundled file can be: in the resources, or beside the app's program."""
    candidates = []
    with contextlib.suppress(FileNotFoundError):
        candidates.append(paths.get_resources_folder().joinpath(*parts))
    candidates.append(Path(sys.executable).parent / Path(*parts))
    return candidates


def _find_package_uv() -> Path | None:
    if importlib.util.find_spec("uv") is None:
        return None
    import uv

    with contextlib.suppress(FileNotFoundError):
        return Path(uv.find_uv_bin())
    return None


def _find_on_path(name: str) -> Path | None:
    beside = Path(sys.executable).parent / name
    program = find_on_path(name)
    return Path(program) if program else beside


def run(
    command: Sequence[object], *, environment: Mapping[str, str], stop: StopFlag, log: SetupLog,
    on_line: Callable[[str], None] | None = None, cwd: Path | None = None,
) -> tuple[int, str]:  # fmt: skip
    """Run a program to its end; return its exit status and the last lines of its output.

    Each line is passed to `on_line`, or else to the log. On a cancel, kills the program with its
    descendants and raises SetupCancelledError. Raises OSError if it can't be started.
    """
    log.write("$ " + " ".join(str(part) for part in command))
    process = subprocess.Popen(
        [str(part) for part in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, env=dict(environment), cwd=cwd or get_empty_folder(),
        creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
    )  # fmt: skip
    last_lines: deque[str] = deque(maxlen=200)
    assert process.stdout is not None
    listener = threading.Thread(
        target=_pass_on, args=(process.stdout, last_lines, on_line or log.write),
        name="program output", daemon=True,
    )  # fmt: skip
    listener.start()
    try:
        while process.poll() is None:
            # A program usually ends when its output does; a fixed wait would delay each program.
            listener.join(_TURN)
            stop.check() if listener.is_alive() else stop.wait(_SOON)
    except BaseException:
        kill_tree(process.pid)
        process.wait()
        raise
    finally:
        listener.join(5.0)
    return process.returncode, "\n".join(last_lines)


def _pass_on(output: IO[bytes], last_lines: deque[str], on_line: Callable[[str], None]) -> None:
    """Pass each line of a program's output to `on_line`, and keep the last ones."""
    contacted = UvContacts()
    with output:
        for line in output:
            decoded = line.decode("utf-8", "replace").rstrip()
            if contacted.read_line(decoded):
                continue
            last_lines.append(decoded)
            on_line(decoded)


def kill_tree(pid: int) -> None:
    """Kill a process and all its descendants."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        for victim in [*process.children(recursive=True), process]:
            with contextlib.suppress(psutil.NoSuchProcess):
                victim.kill()


def run_checked(
    command: Sequence[object], *, environment: Mapping[str, str], stop: StopFlag, log: SetupLog,
    code: str, what: Template, remedy: Template,
) -> str:  # fmt: skip
    """Run a program and return its output; raises ProblemError with its last line if it fails."""
    try:
        status, output = run(command, environment=environment, stop=stop, log=log)
    except OSError as error:
        raise fail(
            code, "{task}: {reason}.", remedy, task=text(what), reason=describe_os_error(error)
        ) from error
    if status and (problem := disk_problem(output, log.file, what)):
        raise problem
    if status:
        reason = get_error_line(output)
        raise fail(
            code,
            "{task}: {reason}" if reason else "{task}.",
            remedy,
            where=Where(file=str(log.file)),
            task=text(what),
            reason=reason,
        )
    return output


def get_error_line(output: str) -> str:
    """Return the part of a program's output that says what went wrong, on one line."""
    lines = [line.strip(" │├╰╭─▶×·").removeprefix("cause: ") for line in output.splitlines()]
    lines = [
        line for line in lines if line and not line.startswith(("warning:", "Resolved", "Using"))
    ]
    # The resolver states its reason first, then its conclusions, wrapped over several narrow lines.
    begin = next((n for n, line in enumerate(lines) if line.startswith("Because ")), -6)
    text = " ".join(lines[begin:]).removeprefix("error: ")
    return without_secrets(text[:500]).strip()


#: What makes uv log its connections: the modules of its HTTP client that open them.
LOG_FILTER = ("RUST_LOG", "reqwest::connect=debug,hyper_util::client::legacy::connect::http=debug")

_LOG_LINE = re.compile(r"\s*DEBUG (?P<message>.*)")
_NAME = re.compile(r"starting new connection.*?(?:Some\(\"|//)(?P<host>[^\"/:)\s]+)")
_PROXY = re.compile(r"proxy\(.*?//(?:[^@/]*@)?(?P<host>[^/:)\s]+).*\) intercepts")
_ADDRESS = re.compile(r"connecting to (?P<address>.+):(?P<port>\d+)\s*$")


class UvContacts:
    """Reads uv's output and counts each connection that its log names."""

    def __init__(self) -> None:
        """Start without a connection."""
        self._started: deque[str] = deque()
        self._last = ""

    def read_line(self, line: str) -> bool:
        """Count the connection that a line is about; return whether it is a line of that log."""
        match = _LOG_LINE.fullmatch(line)
        if match is None:
            return False
        message = match["message"]
        if (proxy := _PROXY.search(message)) is not None:
            if self._started:
                self._started[-1] = proxy["host"]
        elif (name := _NAME.search(message)) is not None:
            self._started.append(name["host"])
        elif (address := _ADDRESS.match(message)) is not None:
            # Several addresses of one host are tried in turn.
            self._last = self._started.popleft() if self._started else self._last
            host = self._last or address["address"].strip("[]")
            note_contact(host, int(address["port"]), Purpose.ENGINE_SETUP)
        return True


# Environment variables for child processes: without those of a frozen app, with the user's package
# indexes.

#: Variables that a frozen app sets for itself; child processes would load its libraries and
#: modules.
_OF_THE_BUNDLE = (
    "PYTHONHOME", "PYTHONPATH", "PYTHONEXECUTABLE", "QT_PLUGIN_PATH", "QT_QPA_PLATFORM_PLUGIN_PATH",
    "QML2_IMPORT_PATH", "QML_IMPORT_PATH",
)  # fmt: skip
_LIBRARY_PATHS = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "LIBPATH")

#: pip's settings, and the equivalent variables of uv.
_PIP_TO_UV = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "constraint": "UV_CONSTRAINT",
    "no-index": "UV_NO_INDEX",
    "trusted-host": "UV_INSECURE_HOST",
    "timeout": "UV_HTTP_TIMEOUT",
}
#: uv's variables for package sources, network access, and version constraints. Other variables
#: could break a setup, such as links into a cache that is deleted.
_OF_THE_SOURCES = re.compile(
    r"UV_(DEFAULT_INDEX|INDEX(_.*)?|EXTRA_INDEX_URL|FIND_LINKS|NO_INDEX|TORCH_BACKEND|"
    r"INSECURE_HOST|HTTP_.*|REQUEST_TIMEOUT|NATIVE_TLS|SYSTEM_CERTS|OFFLINE|CONCURRENT_.*|"
    r"KEYRING_PROVIDER|CREDENTIALS_DIR|.*_TOKEN|"
    r"CONSTRAINT|BUILD_CONSTRAINT|OVERRIDE|EXCLUDE_NEWER(_.*)?|PRERELEASE|RESOLUTION|"
    r"CONFIG_FILE|NO_CONFIG|PYTHON_INSTALL_MIRROR|PYTHON_DOWNLOADS_JSON_URL)$"
)
#: uv zeroes a buffer for every file that it unpacks. Its allocator (jemalloc) leaves that to the
#: kernel by returning pages and faulting them in again, which takes a third of the CPU time of an
#: installation. With thp:always, it zeroes memory itself.
#: https://github.com/jemalloc/jemalloc/blob/5.3.0/src/ehooks.c (ehooks_default_zero_impl)
ALLOCATOR = ("_RJEM_MALLOC_CONF", "thp:always")

#: Older names of the same variables; if one of them is set, it is respected.
_ALIASES = {"UV_DEFAULT_INDEX": ("UV_INDEX_URL",), "UV_INDEX": ("UV_EXTRA_INDEX_URL",)}


def is_frozen() -> bool:
    """Return whether this is the packaged app, not a Python with the package installed."""
    return bool(getattr(sys, "frozen", False))


def build_child_environment(
    extra: Mapping[str, str] | None = None, base: Mapping[str, str] | None = None,
    *, bundled: bool | None = None,
) -> dict[str, str]:  # fmt: skip
    """Return the environment for programs that are not part of this one, with `extra` set in it.

    Empty values in `extra` remove a variable. A frozen app has put its own folders into the
    variables of the loader and Python; the user's values are restored from `NAME_ORIG`. When
    running from source, nothing else is removed.
    """
    variables = dict(os.environ if base is None else base)
    if is_frozen() if bundled is None else bundled:
        for name in _LIBRARY_PATHS:
            before = variables.pop(f"{name}_ORIG", None)
            variables.pop(name, None)
            if before:
                variables[name] = before
        for name in list(variables):
            if name in _OF_THE_BUNDLE or name.startswith("_PYI_"):
                del variables[name]
    for name, value in (extra or {}).items():
        variables.pop(name, None) if not value else variables.update({name: value})
    return variables


def build_uv_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment for uv, with the indexes, proxies and certificates that the user has
    set for pip.

    uv doesn't read pip's settings. The user's uv variables take precedence, but only those that
    choose package sources and versions: the setup decides where and how packages are installed.
    """
    variables = {
        name: value
        for name, value in build_child_environment().items()
        if not name.startswith("UV_") or _OF_THE_SOURCES.match(name)
    }
    for name, value in read_pip_settings(variables).items():
        variable = _PIP_TO_UV.get(name)
        if variable and not any(
            variables.get(one) for one in (variable, *_ALIASES.get(variable, ()))
        ):
            variables[variable] = _join_values(value, "," if variable == "UV_FIND_LINKS" else " ")
            if variable == "UV_INDEX":
                # pip takes the newest version of all indexes, uv by default that of the first with the package.
                variables.setdefault("UV_INDEX_STRATEGY", "unsafe-best-match")
        elif name == "cert":
            variables.setdefault("SSL_CERT_FILE", value)
        elif name == "proxy":
            variables.setdefault("ALL_PROXY", value if "://" in value else f"http://{value}")
    variables.update({"UV_NO_PROGRESS": "1", "UV_PYTHON_DOWNLOADS": "never", "NO_COLOR": "1"})
    # On the engines' disk, so that files can be linked, even if the home folder isn't writable.
    variables["UV_CACHE_DIR"] = str(get_root().cache)
    variables.setdefault(*ALLOCATOR)
    variables.update([LOG_FILTER])
    variables.pop("VIRTUAL_ENV", None)
    return variables | dict(extra or {})


def _join_values(value: str, between: str) -> str:
    """Return several values in uv's format; pip separates them by newlines or spaces."""
    lines = [line.strip() for line in value.splitlines() if line.strip()]
    return between.join(lines if len(lines) > 1 else value.split())


def read_pip_settings(environ: Mapping[str, str]) -> dict[str, str]:
    """Return pip's effective settings for an installation, from its files and PIP_ variables."""
    settings: dict[str, str] = {}
    for file in list_pip_files(environ):
        parser = configparser.RawConfigParser()
        try:
            parser.read(file, encoding="utf-8")
        except (OSError, configparser.Error, UnicodeDecodeError):
            continue
        for section in ("global", "install"):
            if parser.has_section(section):
                settings.update({name: value for name, value in parser.items(section) if value})
    for name, value in environ.items():
        if name.startswith("PIP_") and value and name != "PIP_CONFIG_FILE":
            settings[name.removeprefix("PIP_").lower().replace("_", "-")] = value
    return settings


def list_pip_files(environ: Mapping[str, str]) -> list[Path]:
    """Return the configuration files of pip, highest precedence last."""
    home = Path(environ.get("HOME") or environ.get("USERPROFILE") or Path.home())
    configured = environ.get("PIP_CONFIG_FILE", "")
    if configured == os.devnull:
        return []
    if sys.platform == "win32":
        shared = [Path(environ.get("PROGRAMDATA", "C:\\ProgramData")) / "pip" / "pip.ini"]
        user = [home / "pip" / "pip.ini", Path(environ.get("APPDATA", home)) / "pip" / "pip.ini"]
    elif sys.platform == "darwin":
        support = Path("Library") / "Application Support" / "pip" / "pip.conf"
        shared = [Path("/") / support]
        user = [home / ".pip" / "pip.conf", home / ".config" / "pip" / "pip.conf", home / support]
    else:
        xdg = environ.get("XDG_CONFIG_DIRS") or "/etc/xdg"
        shared = [Path(one) / "pip" / "pip.conf" for one in reversed(xdg.split(":")) if one]
        shared.append(Path("/etc/pip.conf"))
        config = Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
        user = [home / ".pip" / "pip.conf", config / "pip" / "pip.conf"]
    prefix = environ.get("VIRTUAL_ENV")
    ini = "pip.ini" if sys.platform == "win32" else "pip.conf"
    site = [Path(prefix) / ini] if prefix else []
    return [*shared, *user, *site, *([Path(configured)] if configured else [])]
