"""Export of a run as a folder to train elsewhere: on a machine with many GPUs, or on several nodes.

The folder is a run like any other, but includes the data and the model and uses relative paths.
`accelerate launch` starts the engine on every GPU of every node.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

from lora_studio import __version__
from lora_studio.core.dataset.spec import DatasetSpec
from lora_studio.core.model.spec import is_local_source
from lora_studio.core.problems import Problem, Where, error, fail
from lora_studio.core.project import access_requests
from lora_studio.core.project.access_requests import ClusterConsent
from lora_studio.core.project.project import Project
from lora_studio.core.rewards.spec import RewardSpec, map_reward_paths
from lora_studio.core.runs import folder as run_folder
from lora_studio.core.runs import frozen_project
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.runs.manifest import EVENTS_START
from lora_studio.core.system import paths
from lora_studio.core.system.files import (
    copy_file,
    create_folder,
    create_folder_atomic,
    describe_os_error,
    link_file,
    write_atomic,
)
from lora_studio.core.system.foreign_files import UnsafeFileError, leads_outside, read_text

#: Names in the folder.
MODEL, TEACHER, DATA, START, REWARDS = "model", "teacher", "data", "start", "rewards"
COMMAND, JOB, README = "train.sh", "train.slurm", "README.md"

#: A callback that receives the bytes of each copied chunk.
OnCopied = Callable[[int], None]


def export_project(
    project: Project,
    folder: Path,
    out: Path,
    *,
    with_model: bool = True,
    begun: RunFolder | None = None,
    on_copied: OnCopied = lambda size: None,
) -> RunFolder:
    """Write the run of a project as the folder `out`; the project's paths are relative to `folder`.

    Without the model, its folder stays empty, for a copy that the cluster already has. `begun` is
    the run to continue. `on_copied` is called with the bytes of each copied chunk and may raise to
    cancel. Raises ProblemError when `out` exists or something can't be copied; then nothing is left
    behind.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise fail(
            "cluster.exists",
            "{path} already exists.",
            "Choose a folder that doesn't exist yet.",
            path=str(out),
            where=Where(file=str(out)),
        )
    try:
        with create_folder_atomic(out) as target:
            _fill(project.resolve(folder), target, on_copied, with_model=with_model)
            if begun is not None:
                _copy_progress(begun, RunFolder(target))
    except OSError as cause:
        raise fail(
            "cluster.not_written",
            "Couldn't write the folder: {reason}.",
            "Check that the folder is writable and that the disk has space for the data and the model.",
            reason=describe_os_error(cause),
            where=Where(file=str(cause.filename or out)),
        ) from cause
    return RunFolder(out)


def measure_copy_size(project: Project, folder: Path) -> int:
    """Return the most bytes that `export_project` copies; a model on the same disk is hard-linked."""
    resolved = project.resolve(folder)
    spec = resolved.dataset
    names = [source.path for source in spec.sources if not source.is_hub]
    names += [name for name in (spec.validation_file, resolved.lora.start_from) if name]
    models = (resolved.model.source, resolved.training.teacher)
    names += [source for source in models if is_local_source(source)]
    return sum(_measure_size(Path(name)) for name in names)


def _measure_size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def export_run(run: RunFolder, out: Path, *, with_model: bool = True) -> RunFolder:
    """Write a started run as the folder `out`, with the checkpoints from which it continues.

    Raises ProblemError, also for a link in the run, or a run from elsewhere that the user hasn't allowed to read
    outside its folder: either could copy any file of the user.
    """
    run.require_no_links()
    project = run.load_project()
    access_requests.require_run_allowed(run.path, project)
    if run.start_adapter.is_dir():  # the run's own copy: the original may be gone
        lora = project.lora.model_copy(update={"start_from": str(run.start_adapter)})
        project = project.model_copy(update={"lora": lora})
    return export_project(project, run.path, out, with_model=with_model, begun=run)


def list_missing_files(run: RunFolder) -> list[Problem]:
    """Return a problem for each file that the exported folder lacks."""
    return [
        error(
            "cluster.missing",
            "{path} is missing.",
            "Copy it into the run's folder, then start again.",
            path=name,
            where=Where(file=name),
        )
        for name in frozen_project.iter_inputs(run.load_project(), with_data=True)
        if not Path(name).exists()
    ]


def _fill(project: Project, target: Path, on_copied: OnCopied, *, with_model: bool) -> None:
    originals: dict[str, str] = {}
    sources = {MODEL: project.model.source, TEACHER: project.training.teacher}
    models = {
        name: _copy_model(source, name, target, originals, on_copied, with_model=with_model)
        for name, source in sources.items()
    }
    dataset = _copy_data(project.dataset, target, originals, on_copied)
    lora = project.lora
    if lora.start_from:
        _require_no_uncopied_links(Path(lora.start_from))
        shutil.copytree(lora.start_from, target / START, copy_function=_make_copier(on_copied))
        originals[START] = lora.start_from
        lora = lora.model_copy(update={"start_from": START})
    rewards = _copy_rewards(project, target, originals, on_copied)
    device = "cpu" if project.model.devices[0] == "cpu" else "auto"
    changed = project.model_copy(
        update={
            "model": project.model.model_copy(update={"source": models[MODEL], "device": device}),
            "training": project.training.model_copy(
                update={"teacher": models[TEACHER], "rewards": rewards}
            ),
            "dataset": dataset,
            "lora": lora,
        }
    )
    run = RunFolder(target)
    run.update_manifest(name=project.name, created=run_folder.format_now(), taken_along=originals)
    run.write_project(changed)
    consents = access_requests.list_cluster_consents(project)
    for name, text in _build_files(changed, consents).items():
        write_atomic(target / name, text)
    (target / COMMAND).chmod(0o755)


def _copy_progress(run: RunFolder, target: RunFolder) -> None:
    """Copy checkpoints, the best adapters that they refer to, and the base model's sample answers."""
    for folder, copy in ((run.checkpoints, target.checkpoints), (run.best, target.best)):
        if folder.is_dir():
            shutil.copytree(
                folder, copy, ignore=shutil.ignore_patterns(".*"), copy_function=copy_file
            )
    if run.samples_file.is_file():
        copy_file(run.samples_file, target.samples_file)
    if steps := run.list_checkpoint_steps():
        target.update_manifest(**{EVENTS_START: steps[-1]})


def _copy_model(
    model: str,
    folder: str,
    target: Path,
    originals: dict[str, str],
    on_copied: OnCopied,
    *,
    with_model: bool,
) -> str:
    """Copy a model into `folder` if wanted, and return its source as seen from the exported folder.

    Hub models and the built-in one are downloaded on the cluster.
    """
    if not is_local_source(model):
        return model
    source = Path(model)
    name = folder if source.is_dir() else f"{folder}/{source.name}"
    if with_model and source.is_dir():
        _require_no_uncopied_links(source)
        shutil.copytree(
            source, target / folder, copy_function=partial(_link_or_copy, on_copied=on_copied)
        )
    elif with_model:
        (target / folder).mkdir()
        _link_or_copy(str(source), str(target / name), on_copied=on_copied)
    originals[name] = model
    return name


def _find_uncopied_links(folder: Path, parent: str, names: list[str]) -> list[str]:
    """Return the names in a folder or a subfolder that are links out of it, or to another folder in it."""
    return [name for name in names if _is_uncopied_link(Path(parent, name), folder)]


def _require_no_uncopied_links(folder: Path) -> None:
    """Raise UnsafeFileError for a link out of a folder that is copied, or to another folder in it."""
    for path in folder.rglob("*"):
        if _is_uncopied_link(path, folder):
            raise UnsafeFileError(path, "it is a link to a folder or out of its folder")


def _is_uncopied_link(path: Path, folder: Path) -> bool:
    """Return whether a path in a folder leads out of it, or around in it without an end."""
    return leads_outside(path, folder) or (path.is_symlink() and path.is_dir())


def _copy_data(
    spec: DatasetSpec, target: Path, originals: dict[str, str], on_copied: OnCopied
) -> DatasetSpec:
    def copy_source(path: str, number: int) -> str:
        # Three parts, since a name with two would look like a Hub dataset ID.
        name = f"{DATA}/{number}/{Path(path).name}"
        create_folder((target / name).parent)
        if Path(path).is_dir():
            shutil.copytree(
                path,
                target / name,
                ignore=partial(_find_uncopied_links, Path(path)),  # their rows aren't read either
                copy_function=_make_copier(on_copied),
            )
        else:
            copy_file(path, target / name, on_copied)
        originals[name] = path
        return name

    sources = tuple(
        source
        if source.is_hub
        else source.model_copy(update={"path": copy_source(source.path, number)})
        for number, source in enumerate(spec.sources, 1)
    )
    validation = copy_source(spec.validation_file, 0) if spec.validation_file else ""
    return spec.model_copy(update={"sources": sources, "validation_file": validation})


def _copy_rewards(
    project: Project, target: Path, originals: dict[str, str], on_copied: OnCopied
) -> tuple[RewardSpec, ...]:
    """Copy the schema and the Python file of each reward that has one."""

    def copy(path: str, number: int) -> str:
        name = f"{REWARDS}/{number}/{Path(path).name}"
        create_folder((target / name).parent)
        copy_file(path, target / name, on_copied)
        originals[name] = path
        return name

    return tuple(
        map_reward_paths(reward, partial(copy, number=number))
        for number, reward in enumerate(project.training.rewards, 1)
    )


def _make_copier(on_copied: OnCopied) -> Callable[[str, str], str]:
    return partial(copy_file, on_copied=on_copied)


def _link_or_copy(source: str, target: str, *, on_copied: OnCopied) -> str:
    """Hard-link a large file, or copy it if the target is on another disk."""
    if not link_file(Path(source).resolve(), Path(target)):
        return copy_file(source, target, on_copied)
    on_copied(Path(target).stat().st_size)
    return target


def _build_files(project: Project, consents: list[ClusterConsent]) -> dict[str, str]:
    """Return the launch command, an example for SLURM, and a README about both."""
    options = access_requests.format_options(consents)
    folder = paths.get_resources_folder() / "cluster"
    spec = project.training
    values = {
        "@VERSION@": __version__,
        "@NAME@": project.name,
        "@ROWS@": str(spec.effective_batch),
        "@MODEL@": _describe_model(project),
        "@CONSENT@": _describe_consents(consents),
        "@OPTIONS@": f"    # to allow what README.md lists, add: {options}" if options else "",
    }
    contents = {}
    for name in (COMMAND, JOB, README):
        text = read_text(folder / name)
        for mark, value in values.items():
            text = text.replace(mark, value)
        contents[name] = text
    return contents


def _describe_model(project: Project) -> str:
    match project.model.kind:
        case "hub":
            return (
                f"The model {project.model.source} is downloaded from the Hub by the first process. "
                "Where the nodes have no internet, download it on the login node first "
                f"(`hf download {project.model.source}`); the cache has to be in a folder that all "
                "nodes share (`HF_HOME`)."
            )
        case "builtin":
            return "The built-in model is downloaded by the first process."
    return (
        f"The model is in `{project.model.source}`. If it was left out, copy it there, or make it a "
        "link to where the cluster has it."
    )


def _describe_consents(consents: list[ClusterConsent]) -> str:
    """Return the section of the README about what the run needs consent for."""
    if not consents:
        return ""
    lines = [
        "This run needs your consent on the cluster, where nothing that you allowed at home is known. Check the list, and "
        "add the options to `./train.sh`; without them, it ends and says so:",
        "",
        *(
            f"- `--trust {consent.digest}`: {' '.join(map(str, consent.texts))}"
            for consent in consents
        ),
        "",
        f"    ./train.sh {access_requests.format_options(consents)}",
        "",
    ]
    return "\n".join(lines)
