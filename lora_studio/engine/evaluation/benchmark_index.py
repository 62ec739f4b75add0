"""The list of lm-eval's benchmarks, read once from its definitions and kept in the cache folder."""

from __future__ import annotations

import functools
import hashlib
import os
import sys
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from lora_studio.core import limits
from lora_studio.core.messages import text
from lora_studio.core.problems import fail
from lora_studio.core.protocol.evaluation import BenchmarkInfo
from lora_studio.core.system import paths
from lora_studio.core.system.files import create_folder, write_atomic
from lora_studio.core.system.foreign_files import read_text
from lora_studio.engine.runtime import fast_imports
from lora_studio.engine.runtime.channel import JobContext

#: Folders with definitions of the user's own, separated as in PATH.
OWN_FOLDERS = "LORA_STUDIO_BENCHMARKS"

#: Packages that have another name than their module.
_PACKAGES = {
    "antlr4": "antlr4-python3-runtime==4.11",
    "math_verify": "math-verify",
    "rouge_score": "rouge-score",
    "sklearn": "scikit-learn",
}

_LIST = TypeAdapter(dict[str, BenchmarkInfo])


def search(words: str, job: JobContext) -> list[BenchmarkInfo]:
    """Return the benchmarks whose name or dataset contains all words; raises ProblemError."""
    wanted = words.lower().split()
    return [
        info
        for info in read_index(job).values()
        if all(word in f"{info.name} {info.dataset}".lower() for word in wanted)
    ]


def read_index(job: JobContext) -> dict[str, BenchmarkInfo]:
    """Return all benchmarks by name, sorted; raises ProblemError without lm-eval."""
    require_lm_eval()
    return dict(sorted((_read_defaults(job) | read_own()).items()))


def read_own() -> dict[str, BenchmarkInfo]:
    """Return the benchmarks in the user's own folders by name; raises ProblemError without lm-eval."""
    require_lm_eval()
    folders = get_own_folders()
    return _index(folders, include_defaults=False) if folders else {}


@functools.lru_cache(maxsize=4)
def _read_installed(file: Path) -> dict[str, BenchmarkInfo] | None:
    try:
        return _LIST.validate_json(read_text(file, limits.LARGE_FILE))
    except (OSError, ValueError, ValidationError):
        return None


def _read_defaults(job: JobContext) -> dict[str, BenchmarkInfo]:
    """Return lm-eval's benchmarks, from the cache folder where possible."""
    version = f"{metadata.version('lm-eval')} {find_spec('lm_eval')}"
    digest = hashlib.sha256(version.encode()).hexdigest()[:16]
    file = paths.get_cache_folder() / "benchmarks" / f"{digest}.json"
    installed = _read_installed(file)
    if installed is None:
        job.show_stage(text("indexing the benchmarks"))
        installed = _index((), include_defaults=True)
        create_folder(file.parent)
        write_atomic(file, _LIST.dump_json(installed).decode())
        _read_installed.cache_clear()
    return installed


def _index(folders: tuple[Path, ...], *, include_defaults: bool) -> dict[str, BenchmarkInfo]:
    """Return the benchmarks that lm-eval finds in folders, without groups and tags."""
    manager = import_task_manager()(include_path=list(folders), include_defaults=include_defaults)
    found = {}
    for name in manager.all_subtasks:
        entry = manager.task_index[name]
        config = entry.cfg or {}
        if entry.yaml_path is None or config.get("class"):
            continue
        found[name] = BenchmarkInfo(
            name=name,
            dataset=str(config.get("dataset_path") or ""),
            output_type=str(config.get("output_type") or ""),
            file=str(entry.yaml_path),
        )
    return found


def get_own_folders() -> tuple[Path, ...]:
    """Return the folders with the user's own definitions."""
    return tuple(
        Path(part).expanduser().resolve()
        for part in os.environ.get(OWN_FOLDERS, "").split(os.pathsep)
        if part
    )


def require_lm_eval() -> None:
    """Raise ProblemError unless lm-eval is installed."""
    if find_spec("lm_eval") is None:
        raise fail(
            "evaluation.no_benchmarks",
            "Public benchmarks need the package {package}, which isn't installed.",
            "Install it in the engine's environment: {command}",
            package="lm-eval",
            command=format_install_command("lm-eval"),
        )


def import_task_manager() -> Any:
    """Return lm-eval's class of tasks; raises ProblemError if lm-eval or what it needs is missing."""
    require_lm_eval()
    fast_imports.show_rarely_used_packages()
    try:
        from lm_eval.tasks import TaskManager
    except ImportError as error:
        package = name_package(error)
        raise fail(
            "evaluation.incomplete_lm_eval",
            "lm-eval can't be loaded, because the package {package} is missing or damaged.",
            "Install it in the engine's environment: {command}",
            package=package,
            command=format_install_command("lm-eval", package),
        ) from error
    return TaskManager


def name_package(error: ImportError) -> str:
    """Return the name under which the package of a missing module is installed."""
    module = (error.name or "").partition(".")[0]
    return _PACKAGES.get(module, module) or "lm-eval"


def format_install_command(*packages: str) -> str:
    """Return the command that installs packages into the environment of this worker.

    Environments that uv creates, such as those of the app, have no pip, but Python contains it.
    """
    python = f'"{sys.executable}"' if " " in sys.executable else sys.executable
    install = f"{python} -m pip install {' '.join(dict.fromkeys(packages))}"
    if find_spec("pip") is None:
        return f"{python} -m ensurepip && {install}"
    return install
