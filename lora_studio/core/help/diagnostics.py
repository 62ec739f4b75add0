"""A diagnostics archive for support: versions, logs, settings and the last run, without private data.

All content is collected as text first, so that the user can read it before it is written.
"""

from __future__ import annotations

import functools
import getpass
import io
import json
import os
import platform
import re
import socket
import time
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path, PureWindowsPath
from typing import Any

from lora_studio import __version__
from lora_studio.core.messages import READABLE, Template
from lora_studio.core.problems import STEPS, ProblemError
from lora_studio.core.project import project
from lora_studio.core.project.project import SPECS
from lora_studio.core.protocol import events
from lora_studio.core.runs import folder
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.spec import get_facts
from lora_studio.core.system import paths
from lora_studio.core.system.files import write_atomic
from lora_studio.core.system.foreign_files import open_regular
from lora_studio.core.system.programs import normalize_package_name, resolve_closure

#: The most bytes of a log and lines of events to include, counted from the end.
_LOG_BYTES, _EVENT_LINES = 200_000, 2_000


@dataclass(frozen=True)
class ArchiveEntry:
    """One file of the bundle: its name, what it is in a sentence, and all of its text."""

    name: str
    about: Template
    text: str


def build_report() -> dict[str, Any]:
    """Return a report of this installation without the engine; `add_event` adds the rest."""
    return {
        "version": __version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "processors": os.cpu_count(),
        "packages": {name: _find_version(name) for name in ("PySide6-Essentials", "pyqtgraph", "pydantic")},
        "devices": [],
        "ollama": None,
        "problems": [],
    }  # fmt: skip


def add_event(report: dict[str, Any], event: object) -> None:
    """Add the facts in an event of the engine to a report."""
    match event:
        case events.DevicesFound():
            report["devices"] = [
                item.model_dump(exclude={"identifier"}) | {"title": str(item.title)}
                for item in event.devices
            ]
            report["packages"] |= event.packages
            if (unused := event.unused_gpu) is not None:
                report["problems"].append(unused.model_dump(mode="json", context=READABLE))
        case events.OllamaFound():
            report["ollama"] = {"host": event.host, "version": event.version}
        case events.Failed():
            problem = event.problem.model_dump(mode="json", context=READABLE)
            if problem not in report["problems"]:  # without an engine every command fails like this
                report["problems"].append(problem)


def collect_entries(doctor: Mapping[str, Any], path: Path | None = None) -> list[ArchiveEntry]:
    """Return all files of the archive; `path` is a project's file or folder, for its latest run."""
    redact = Redactor(
        folders={str((path if path.is_dir() else path.parent).absolute()): "PROJECT"}
        if path
        else {}
    )
    text = json.dumps(doctor, indent=2, ensure_ascii=False, default=str)
    entries = [
        ArchiveEntry(
            "doctor.json", "Versions, devices, and capabilities of the engine.", redact(text)
        ),
        _read_log_entry(
            "window.log", "Log of the window.", paths.get_log_folder() / "window.log", redact
        ),
        _read_log_entry(
            "setup.log", "Log of engine setups.", paths.get_log_folder() / "setup.log", redact
        ),
    ]
    if path is not None:
        entries += _iter_project_entries(path, redact)
    return [entry for entry in entries if entry.text]


def write_archive(entries: Iterable[ArchiveEntry], file: Path) -> None:
    """Write the archive as a ZIP file atomically; raises OSError."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        now = max(time.localtime()[:6], (1980, 1, 1, 0, 0, 0))  # a ZIP file has no earlier times
        for entry in entries:
            info = zipfile.ZipInfo(entry.name, now)
            archive.writestr(info, entry.text, zipfile.ZIP_DEFLATED)
    write_atomic(file, buffer.getvalue())


def _iter_project_entries(path: Path, redact: Redactor) -> Iterator[ArchiveEntry]:
    try:
        draft = project.load(path)
    except ProblemError as error:
        yield ArchiveEntry("project.txt", "Why the project couldn't be read.", redact(str(error)))
        return
    yield ArchiveEntry("project.json", "Settings of the project, without texts and names.", redact(_format_settings(draft)))  # fmt: skip
    runs = folder.list_runs(draft.folder / "runs") if draft.folder else []
    if runs:
        yield from _iter_run_entries(runs[0], redact)


def _format_settings(draft: project.Draft) -> str:
    """Return settings without private values: numbers and choices unchanged, only the suffix of
    paths, and only the length of texts.
    """
    values = {
        step: {name: _mask_setting(step, name, value) for name, value in draft.values[step].items()}
        for step in STEPS
    }
    content: dict[str, Any] = {"settings": values}
    content["problems"] = [
        {
            "code": problem.code,
            "field": str(problem.where.field),
            "what": without_quotes(str(problem.what)),
        }
        for problem in draft.list_problems()
    ]
    return json.dumps(content, indent=2, ensure_ascii=False, default=str)


def _mask_setting(step: Any, name: str, value: object) -> object:
    if isinstance(value, bool | int | float) or value is None:
        return value
    if name not in SPECS[step].model_fields:
        return "[unknown setting]"
    about = get_facts(SPECS[step], name)
    if about.choices and isinstance(value, str):
        return value if value in about.choices else f"[{len(value)} characters]"
    if isinstance(value, list | tuple):
        return f"[{len(value)} entries]"
    if isinstance(value, str) and (about.path or name == "source"):
        return f"[…{Path(value).suffix}]" if value else ""
    return f"[{len(str(value))} characters]"


def _iter_run_entries(run: RunFolder, redact: Redactor) -> Iterator[ArchiveEntry]:
    lines = _read_last_bytes(run.events_file, 20 * _LOG_BYTES).splitlines()[-_EVENT_LINES:]
    redacted = [
        json.dumps(without_texts(event), ensure_ascii=False) for event in _iter_parsed(lines)
    ]
    yield ArchiveEntry("run/events.jsonl", "Events of the latest run, without your texts.", redact("\n".join(redacted)))  # fmt: skip
    manifest = json.dumps(without_texts(run.read_manifest()), indent=2, ensure_ascii=False)
    yield ArchiveEntry(
        "run/manifest.json", "Versions and metrics of the latest run.", redact(manifest)
    )
    about = (
        "Output of the libraries during the latest run. Check it: libraries can quote your data."
    )
    yield _read_log_entry("run/log.txt", about, run.log_file, redact)


def _iter_parsed(lines: Iterable[str]) -> Iterator[Any]:
    for line in lines:
        try:
            yield json.loads(line)
        except ValueError:
            continue  # the first one may be cut, the last one half-written


def _read_log_entry(name: str, about: Template, file: Path, redact: Redactor) -> ArchiveEntry:
    return ArchiveEntry(name, about, redact(_read_last_bytes(file, _LOG_BYTES)))


def _read_last_bytes(file: Path, size: int) -> str:
    try:
        with open_regular(file) as stream:
            stream.seek(max(0, file.stat().st_size - size))
            return stream.read().decode("utf-8", "replace")
    except OSError:
        return ""


def _find_version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


#: Event fields whose text comes from the program; any other text may be the user's.
_OWN_WORDS = {
    "kind", "id", "command", "stage", "doing", "code", "severity", "target", "quantization", "dtype",
    "device", "tool", "version", "precision", "architecture", "unit", "step", "field", "backend",
    "optimizer", "schedule", "packages", "reason_kind", "state", "python", "platform", "created",
}  # fmt: skip

#: Sentences of the program, which may quote the user's text.
_SENTENCES = {"what", "remedy", "why"}

_SECRETS = (
    re.compile(r"\bhf_[A-Za-z0-9]{8,}"),
    re.compile(r"\b(?:sk|pk|rk|xox[a-z])-[A-Za-z0-9_-]{16,}"),
    re.compile(r"\b(?:gh[pousr]|github_pat|glpat|wandb)[_-][A-Za-z0-9_-]{16,}"),
    re.compile(r"\bAKIA[A-Z0-9]{12,}"),
    re.compile(r"\bAIza[A-Za-z0-9_-]{20,}"),
    re.compile(r"\b[0-9a-f]{32,}\b"),
    re.compile(r"\beyJ[A-Za-z0-9_-]{6,}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+"),
    re.compile(r"(?<=://)[^/\s@]+@"),
    re.compile(r"(?i)(?<=bearer )\S+|(?<=basic )[A-Za-z0-9+/=]{8,}"),
    # A number under a key with "token" in its name may be a count; one under "password" is not.
    re.compile(r"(?i)\b[\w-]*token[\w-]*[\"']?\s*[=:]\s*[\"']?(?!-?\d+(?:\.\d*)?(?:[\s,;}\]]|$))[^\s\"',}]{4,}"),
    re.compile(r"(?i)\b[\w-]*(?:secret|passw(?:or)?[dt]|api[_-]?key|signature|credential|session_?id)[\w-]*[\"']?\s*"
               r"(?:[=:]|\bis\b)\s*[\"']?[^\s\"',}]{4,}"),
    # A long run with uppercase, lowercase and digits isn't a word.
    re.compile(r"\b(?=[\w-]*\d)(?=[\w-]*[A-Z])(?=[\w-]*[a-z])[A-Za-z0-9_-]{28,}\b"),
)  # fmt: skip
_MAIL = re.compile(r"\b[\w.+-]+@[\w-]+\.[\w.-]*\w")
#: The user name in a home folder's path, on any system.
_HOME_NAME = re.compile(
    r"(?i)(?<=[/\\](?:home|user)[/\\])[^/\\\s\"':]+|(?<=[/\\]users[/\\])[^/\\\s\"':]+"
)
_SECRET_NAME = re.compile(r"(?i)token|secret|passw|api_?key|credential")
_QUOTED = re.compile(r"“[^”]*”|‘[^’]*’|\"[^\"]*\"")
_PATH = re.compile(r"(?<![\w…])(?:[A-Za-z]:)?[/\\][^\s“”\"',;]*[^\s“”\"',;:.]")


class Redactor:
    """Removes names of the user and the computer from a text, and anything that looks like a key."""

    def __init__(
        self,
        environment: Mapping[str, str] | None = None,
        folders: Mapping[str, str] | None = None,
    ) -> None:
        """Collect the secrets in `environment`, by default that of this process.

        `folders` maps paths to the names that replace them.
        """
        variables = os.environ if environment is None else environment
        secrets = [value for name, value in variables.items() if _SECRET_NAME.search(name)]
        self._secrets = sorted(
            (value for value in secrets if len(value) >= 6), key=len, reverse=True
        )
        self._folders = {**(folders or {}), str(Path.home()): "~"}
        names = {_get_user_name(): "USER", socket.gethostname(): "HOST"}
        self._names = [
            (re.compile(rf"(?<![A-Za-z0-9]){re.escape(name)}(?![A-Za-z0-9])"), instead)
            for name, instead in names.items()
            if len(name) > 2
        ]

    def __call__(self, text: str) -> str:
        """Return the text with the home folder as ~, names replaced and secrets removed."""
        for secret in self._secrets:
            text = text.replace(secret, "[removed]")
        for pattern in _SECRETS:
            text = pattern.sub("[removed]", text)
        for path, instead in self._folders.items():
            for spelled in {path, path.replace("\\", "/"), path.replace("\\", "\\\\")}:
                if len(spelled) > 1:
                    text = text.replace(spelled, instead)
        text = _MAIL.sub("MAIL", _HOME_NAME.sub("USER", text))
        for name, instead in self._names:
            text = name.sub(instead, text)
        return text


#: Fields of a stored message, `core.messages.Text`.
_MESSAGE = {"template", "values", "singular"}


def without_texts(value: Any, key: str = "") -> Any:
    """Return the value without texts, except under names whose text comes from the program."""
    if isinstance(value, dict) and value.keys() >= _MESSAGE:
        if not value["values"]:  # possibly not a template, but somebody's text
            return without_texts(value["template"], key)
        return {name: value[name] for name in ("template", "singular")} | {
            "values": {
                name: without_texts(item, "values") for name, item in value["values"].items()
            }
        }
    if isinstance(value, dict):
        inside = "packages" if key in ("packages", "versions") else ""
        return {
            _redact_key(name, number): without_texts(item, inside or name)
            for number, (name, item) in enumerate(value.items(), start=1)
        }
    if isinstance(value, list):
        return [without_texts(item, key) for item in value] if key in _OWN_WORDS or not any(
            isinstance(item, str) for item in value
        ) else f"[{len(value)} texts]"  # fmt: skip
    if not isinstance(value, str) or key in _OWN_WORDS:
        return value
    return without_quotes(value) if key in _SENTENCES else f"[{len(value)} characters]"


def _redact_key(name: str, number: int) -> str:
    """Return the key of an entry; a path that leads out of the run's folder becomes a number."""
    leads_out = name.startswith(("../", "/", "~")) or PureWindowsPath(name).is_absolute()
    return f"[path {number}]" if leads_out else name


def without_quotes(sentence: str) -> str:
    """Return a sentence of the program without quoted text and paths."""
    return _PATH.sub("[path]", _QUOTED.sub("“…”", sentence))


def _get_user_name() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return ""


_NAME = re.compile(r"^[A-Za-z0-9._-]+")
_CLASSIFIER = "License :: "
#: Longer texts in the license field are the license itself, not its name.
_LONGEST_NAME = 60


@dataclass(frozen=True)
class LicensedPackage:
    """An installed package; `license_name` is an SPDX expression if the package has one."""

    name: str
    version: str
    license_name: str


def list_packages(root: str = "lora-studio") -> list[LicensedPackage]:
    """Return the package `root` and its installed dependencies, including extras, by name.

    Optional groups for developers are not followed; packages that aren't installed are left out.
    """

    def list_needed(package: metadata.Distribution) -> list[str]:
        is_root = normalize_package_name(package.name) == normalize_package_name(root)
        return [
            match[0]
            for needed in package.requires or []
            if _is_wanted(needed, is_root=is_root) and (match := _NAME.match(needed))
        ]

    licensed = [
        LicensedPackage(package.name, package.version, read_license_name(package.metadata))
        for package in resolve_closure([root], list_needed).values()
    ]
    return sorted(licensed, key=lambda item: item.name.lower())


def read_license_name(about: metadata.PackageMetadata) -> str:
    """Return the license's name, from the newest of three metadata fields that packages use."""
    expression = _read_first_line(about, "License-Expression")
    if expression:
        return expression
    classified = [
        entry.removeprefix(_CLASSIFIER).removeprefix("OSI Approved :: ")
        for entry in about.get_all("Classifier") or []
        if entry.startswith(_CLASSIFIER)
    ]
    plain = _read_first_line(about, "License")
    short_name = plain if plain and "\n" not in plain and len(plain) <= _LONGEST_NAME else ""
    return short_name or "; ".join(entry for entry in classified if entry) or "see the package"


def _read_first_line(about: metadata.PackageMetadata, field: str) -> str:
    return str((about.get_all(field) or [""])[0]).strip()


def _is_wanted(needed: str, *, is_root: bool) -> bool:
    """Return whether a requirement is needed to run the program; optional ones count only for
    the root.
    """
    if "extra ==" not in needed:
        return True
    return is_root and "extra == 'test'" not in needed and 'extra == "test"' not in needed


_HEADING = re.compile(r"^## (.+)$", re.MULTILINE)
_NO_WORD = re.compile(r"[^\w]+")


def get_path() -> Path:
    """Return the path of the document."""
    return paths.get_resources_folder() / "docs" / "math.md"


@functools.cache
def read_text() -> str:
    """Return the whole document."""
    return get_path().read_text("utf-8")


def slugify(heading: str) -> str:
    """Return the name of a topic: its heading in lowercase, with hyphens: `lora-update`."""
    return _NO_WORD.sub("-", heading.lower()).strip("-")


@functools.cache
def list_topics() -> dict[str, str]:
    """Return headings by topic, in the order of the document."""
    return {slugify(heading): heading for heading in _HEADING.findall(read_text())}
