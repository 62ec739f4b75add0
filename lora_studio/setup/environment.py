"""Environment variables for child processes: without those of a frozen app, with the user's package
indexes.
"""

from __future__ import annotations

import configparser
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from lora_studio.setup.folders import get_root
from lora_studio.setup.uv_contacts import LOG_FILTER

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
