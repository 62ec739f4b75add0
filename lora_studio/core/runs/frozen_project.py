"""The project of a run, as it was when the run was created.

Paths inside the project's folder are stored relative to the run, so that a moved or renamed project
continues. A checksum in the first line shows when something else has changed the file.
"""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from lora_studio.core.dataset.spec import DatasetSpec
from lora_studio.core.lora.adapters import parse_weighted
from lora_studio.core.merging import MergingSpec
from lora_studio.core.messages import Template
from lora_studio.core.model.spec import is_local_source
from lora_studio.core.problems import STEPS, Problem, ProblemError, Where, error, fail
from lora_studio.core.project import project
from lora_studio.core.project.project import Project
from lora_studio.core.rewards.spec import map_reward_paths
from lora_studio.core.spec import Spec, list_facts
from lora_studio.core.system.files import write_atomic
from lora_studio.core.system.foreign_files import read_text
from lora_studio.core.training.spec import TrainingSpec

#: The first line: CRC-32 of the lines below, and of the time at which the run was created.
_SEAL = re.compile(r"# checksum ([0-9a-f]{8}), run ([0-9a-f]{8})\. .*\n")
_SEAL_LINE = "# checksum {content:08x}, run {run:08x}. To edit the settings below by hand, delete this line.\n"

#: Folder of a project that its runs are in.
_RUNS = "runs"

ChangePath = Callable[[str], str]


def write(file: Path, frozen: Project, created: str) -> dict[str, str]:
    """Write the project of the run that was created at `created`; raises OSError.

    Returns the absolute path of each path that was stored relative to the run.
    """
    originals: dict[str, str] = {}
    run = file.parent.resolve()
    home = run.parent.parent

    def make_relative(name: str) -> str:
        path = Path(name)
        if run.parent.name != _RUNS or not path.is_absolute():
            return name
        if not path.is_relative_to(home) or path == home:
            return name
        relative = Path(os.path.relpath(path, run)).as_posix()
        originals[relative] = name
        return relative

    content = map_paths(frozen, make_relative).to_toml()
    seal = _SEAL_LINE.format(
        content=zlib.crc32(content.encode()),
        run=_compute_run_checksum(created),
    )
    write_atomic(file, seal + content)
    return originals


def read(file: Path, manifest: dict[str, Any]) -> Project:
    """Return the project with absolute paths; raises ProblemError if it is damaged."""
    _require_unchanged(file, manifest)
    frozen = project.load(file).freeze()
    paths = manifest.get("taken_along") or {}
    folder = file.parent.resolve()

    def locate(name: str) -> str:
        path = folder / name
        if name in paths and not path.exists() and Path(str(paths[name])).exists():
            return str(paths[name])
        if Path(name).is_absolute() and not path.exists():
            return str(find_in_project(path, folder) or name)
        return name

    return map_paths(frozen, locate).resolve(folder)


def map_paths(frozen: Project, change: ChangePath) -> Project:
    """Return the project with every local path replaced by `change(path)`; Hub IDs stay."""
    specs: dict[str, Any] = {step: _map_spec(frozen.get_spec(step), change) for step in STEPS}
    return frozen.model_copy(update=specs)


def _map_spec(spec: Spec, change: ChangePath) -> Spec:
    changes: dict[str, Any] = {
        facts.name: change(path)
        for facts in list_facts(type(spec))
        if facts.path and (path := getattr(spec, facts.name))
    }
    field = project.MODEL_FIELDS.get(type(spec), "")
    if field in changes and not is_local_source(getattr(spec, field)):
        del changes[field]
    if isinstance(spec, DatasetSpec):
        changes["sources"] = tuple(
            source if source.is_hub else source.model_copy(update={"path": change(source.path)})
            for source in spec.sources
        )
    if isinstance(spec, TrainingSpec) and spec.rewards:
        changes["rewards"] = tuple(map_reward_paths(reward, change) for reward in spec.rewards)
    if isinstance(spec, MergingSpec):
        changes["further"] = tuple(
            f"{change(each.folder)}={each.weight:g}" for each in map(parse_weighted, spec.further)
        )
    return spec.model_copy(update=changes)


def find_in_project(missing: Path, run: Path) -> Path | None:
    """Return where a missing file is in the project of a run that was moved, None if it isn't there.

    The project may have another name now, so the same position within it is searched: the longest
    ending of the old path that exists in the project's folder.
    """
    home = run.parent.parent
    if run.parent.name != _RUNS:
        return None
    parts = missing.parts[1:]
    candidates = (home.joinpath(*parts[number:]) for number in range(1, len(parts)))
    return next((path for path in candidates if path.exists()), None)


def list_missing_inputs(
    frozen: Project, run: Path, manifest: dict[str, Any], *, with_data: bool
) -> list[Problem]:
    """Return a problem for each local file or folder that a job needs and that doesn't exist.

    That is the base model and, with `with_data`, the dataset.
    """
    originals = manifest.get("taken_along") or {}
    old_by_path = {str((run / name).resolve()): str(old) for name, old in originals.items()}
    return [
        error(
            "run.missing_input",
            "{path} is missing. When the run was created, it was {old}."
            if old_by_path.get(name, name) != name
            else "{path} is missing. The run was created with it.",
            "If you moved it, move it back. If only its name has changed, rename it back.",
            path=name,
            old=old_by_path.get(name, name),
            where=Where(file=name),
        )
        for name in iter_inputs(frozen, with_data=with_data)
        if not Path(name).exists()
    ]


def iter_inputs(frozen: Project, *, with_data: bool) -> Iterator[str]:
    """Yield the base model and, with `with_data`, the teacher and the files of the dataset, unless they
    are on the Hub.
    """
    if is_local_source(frozen.model.source):
        yield frozen.model.source
    if with_data:
        if is_local_source(frozen.training.teacher):
            yield frozen.training.teacher
        yield from (source.path for source in frozen.dataset.sources if not source.is_hub)
        if frozen.dataset.validation_file:
            yield frozen.dataset.validation_file


def _require_unchanged(file: Path, manifest: dict[str, Any]) -> None:
    """Raise ProblemError if the file isn't as it was written, or belongs to another run."""
    try:
        content = read_text(file)
    except (OSError, UnicodeDecodeError):
        return  # reading it as a project names the reason
    if not content.strip():
        raise _damaged_error(file, "{file} in the run folder is empty.")
    seal = _SEAL.match(content)
    if seal is None:
        return  # of an earlier version, or edited by hand
    if int(seal[1], 16) != zlib.crc32(content[seal.end() :].encode()):
        raise _damaged_error(file, "{file} in the run folder has changed since it was written.")
    created = manifest.get("created")
    if created is not None and int(seal[2], 16) != _compute_run_checksum(created):
        raise _damaged_error(
            file, "{file} and manifest.json in the run folder belong to different runs."
        )


def _compute_run_checksum(created: str) -> int:
    return zlib.crc32(created.encode("utf-8", "surrogatepass"))


def _damaged_error(file: Path, what: Template) -> ProblemError:
    return fail(
        "run.damaged_settings",
        what,
        "Restore the file from a backup. To accept the settings in it, delete its first line.",
        where=Where(file=str(file)),
        file=file.name,
    )
