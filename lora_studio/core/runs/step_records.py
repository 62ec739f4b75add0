"""Which settings made the merged model, the GGUF files, and the Ollama model of a run.

The settings of a result never change afterwards: a job updates only those of its own step in
project.toml when it starts, and the manifest records them when it has succeeded.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

from lora_studio.core.export import ExportSpec, is_direct_export
from lora_studio.core.merging import MergingSpec
from lora_studio.core.messages import Text
from lora_studio.core.problems import Step
from lora_studio.core.project import access_requests
from lora_studio.core.project.presets import SettingDifference
from lora_studio.core.project.project import Project
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.runs.manifest import not_written_error
from lora_studio.core.spec import Spec
from lora_studio.core.system.files import describe_os_error

#: The results of a run after training, by the command that creates them.
RecordedStep = Literal["merge", "export", "create_ollama"]
STEPS: tuple[RecordedStep, ...] = get_args(RecordedStep)

#: The settings that only the Ollama model depends on.
OLLAMA_FIELDS = (
    "ollama_create", "ollama_host", "ollama_name", "system_prompt", "temperature", "top_p", "num_ctx",
)  # fmt: skip

#: The settings that are recorded, without paths, which project.toml keeps valid when a project moves.
_RECORDED: dict[RecordedStep, tuple[str, ...]] = {
    "merge": ("dtype", "weight", "shard_size_gb"),
    "export": ("quantizations", "imatrix", "adapter_gguf"),
    "create_ollama": ("ollama_name", "system_prompt", "temperature", "top_p", "num_ctx"),
}
#: Other settings that a result depends on.
_PATHS: dict[RecordedStep, tuple[str, ...]] = {"merge": ("base", "further")}
_ENTRIES: dict[RecordedStep, str] = {
    "merge": "merged",
    "export": "exported",
    "create_ollama": "in_ollama",
}


def update_settings(run: RunFolder, project: Project, step: RecordedStep) -> None:
    """Write the settings that a job is about to use into a run; raises ProblemError.

    Those of other steps stay as they made their results. `project` has absolute paths, and is the user's own; the rest
    of the run may not be.
    """
    before = run.load_project()
    is_allowed = not access_requests.list_unallowed_of_run(run.path, before)
    # A merged model that isn't exported because it was rounded keeps its settings.
    is_direct = is_direct_export(project.export, has_merged=run.has_merged)
    uses_merging = step == "merge" or (step == "export" and is_direct)
    names = {
        "merge": ("self_test",),
        "export": tuple(ExportSpec.model_fields),
        "create_ollama": OLLAMA_FIELDS,
    }[step]
    export = before.export.model_copy(
        update={name: getattr(project.export, name) for name in names}
    )
    merging = project.merging if uses_merging else before.merging
    try:
        run.write_project(before.model_copy(update={"merging": merging, "export": export}))
    except OSError as error:
        raise not_written_error(run.project_file, describe_os_error(error)) from error
    if is_allowed:
        access_requests.allow_requests(
            access_requests.list_run_requests(run.path, run.load_project())
        )


def record_settings(run: RunFolder, project: Project, step: RecordedStep, **facts: str) -> None:
    """Record the settings of a result that was just completed, with further `facts`; raises OSError."""
    spec = _get_spec(project, step)
    plain = spec.model_dump(mode="json", include=set(_RECORDED[step]))
    run.update_manifest(**{_ENTRIES[step]: plain | facts})


def list_outdated(
    run: RunFolder, current: Spec, step: RecordedStep
) -> tuple[SettingDifference, ...]:
    """Return the settings that differ now from those that made a result; () where none is recorded.

    `current` is the project's spec of the step with absolute paths. Raises ProblemError.
    """
    recorded = run.read_manifest().get(_ENTRIES[step])
    if not isinstance(recorded, Mapping):
        return ()
    frozen = _get_spec(run.load_project(), step)
    values: dict[str, Any] = {
        name: recorded.get(name, getattr(frozen, name)) for name in _RECORDED[step]
    }
    values |= {name: getattr(frozen, name) for name in _PATHS.get(step, ())}
    try:
        then = type(frozen).model_validate(frozen.model_dump() | values)
    except ValueError:  # the manifest was changed
        return ()
    where: Step = "merging" if step == "merge" else "export"
    return tuple(
        SettingDifference(where, name, getattr(then, name), getattr(current, name))
        for name in values
        if _is_different(name, getattr(then, name), getattr(current, name))
    )


def describe_changes(differences: tuple[SettingDifference, ...]) -> tuple[Text, ...]:
    """Return each changed setting with its value then and now."""
    return tuple(difference.text for difference in differences)


def _is_different(name: str, then: Any, now: Any) -> bool:
    if name == "quantizations":  # files of earlier exports stay
        return not {*now} <= {*then}
    return bool(then != now)


def _get_spec(project: Project, step: RecordedStep) -> MergingSpec | ExportSpec:
    return project.merging if step == "merge" else project.export
