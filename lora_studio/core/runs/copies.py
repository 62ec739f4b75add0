"""Create runs from earlier ones (repeat, continue), and many from one project (grid search)."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from lora_studio.core.problems import STEPS, ProblemError, Step, Where, fail
from lora_studio.core.project import access_requests, checks, presets
from lora_studio.core.project.project import Draft, Project
from lora_studio.core.runs import checksums, facts, folder, table
from lora_studio.core.runs.annotations import GridSettings, RunAnnotations
from lora_studio.core.runs.folder import RunFolder

#: The most runs to create at once; more are probably a mistake.
MOST = 500

Axis = tuple[str, tuple[Any, ...]]  # a setting, "training.learning_rate", and its values


def repeat_run(run: RunFolder) -> RunFolder:
    """Create a run with the settings of another one; raises ProblemError."""
    copy = _copy(run, run.load_project())
    copy.write_about(RunAnnotations(tags=run.read_about().tags))
    return copy


def continue_training(run: RunFolder) -> RunFolder:
    """Create a run that continues training the adapter of another one; raises ProblemError."""
    if not (run.adapter / "adapter_config.json").is_file():
        raise fail(
            "run.no_adapter",
            "{run} has no adapter to continue from.",
            "Finish its training, or stop it and keep the adapter.",
            run=run.path.name,
            where=Where(file=str(run.path)),
        )
    run.require_no_links()
    checksums.require_intact(run, run.adapter)
    frozen = run.load_project()
    lora = frozen.lora.model_copy(update={"start_from": str(run.adapter)})
    copy = _copy(run, frozen.model_copy(update={"lora": lora}))
    copy.write_about(
        RunAnnotations(tags=run.read_about().tags, notes=f"Continues from {run.path.name}.")
    )
    return copy


def _copy(run: RunFolder, frozen: Project) -> RunFolder:
    """Create a run beside another one, which may do no more outside the project than that one."""
    is_allowed = not access_requests.list_unallowed_of_run(run.path, run.load_project())
    return folder.create_run(run.path.parent, frozen, run.path, is_allowed=is_allowed)


def create_grid_runs(draft: Draft, axes: Sequence[Axis]) -> Iterator[RunFolder]:
    """Yield a run of a project for each combination of the values of one or two settings.

    Settings that follow one of them, such as alpha the rank, keep their ratio to it. Every combination
    is checked before the first run is created; raises ProblemError.
    """
    assert draft.folder is not None
    frozen = []
    for values in list_combinations(axes):
        changed = Draft(draft.name, {step: dict(draft.values[step]) for step in STEPS}, draft.path)
        chosen = [
            (*split_setting(setting), value)
            for (setting, _), value in zip(axes, values, strict=True)
        ]
        for step, name, value in presets.list_linked_changes(draft.get, chosen):
            changed.set(step, name, value)
        if errors := checks.filter_errors(checks.check(changed)):
            raise ProblemError(errors[0])
        frozen.append((values, changed.freeze()))
    name = f"grid {datetime.now():%Y-%m-%d %H:%M:%S}"
    about = GridSettings(name=name, fields=tuple(setting for setting, _ in axes))
    for values, project in frozen:
        run = folder.create_run(draft.folder / "runs", project, draft.folder)
        value_tags = (
            f"{setting.partition('.')[2]}={table.format_value(value)}"
            for (setting, _), value in zip(axes, values, strict=True)
        )
        run.write_about(RunAnnotations(tags=(name, *value_tags), grid=about))
        yield run


def list_combinations(axes: Sequence[Axis]) -> list[tuple[Any, ...]]:
    """Return every combination of the values; raises ProblemError if there are none, or too many."""
    products = list(itertools.product(*(tuple(dict.fromkeys(values)) for _, values in axes)))
    if not axes or not products:
        raise fail("grid.empty", "Enter the values to try.", "Enter at least one for each setting.")
    if len(products) > MOST:
        raise fail(
            "grid.too_many",
            "These values create {count} runs.",
            "Enter fewer values: at most {most} runs can be created at once.",
            count=len(products),
            most=MOST,
        )
    return products


def split_setting(setting: str) -> tuple[Step, str]:
    """Split `training.learning_rate` into step and field; raises ProblemError for an unknown step."""
    step_name, _, name = setting.partition(".")
    for step in STEPS:
        if step == step_name:
            return step, name
    raise fail(
        "project.unknown_field",
        "There is no setting named {setting}.",
        "Enter step.field.",
        setting=setting,
    )


def list_settings(run: RunFolder) -> list[tuple[Step, str, Any]]:
    """Return every setting of a run as a change to a project; raises ProblemError."""
    frozen = facts.read_frozen_settings(run)
    return [
        (*split_setting(setting), frozen.settings.get(setting, facts.get_default(setting)))
        for setting in facts.DEFAULTS
    ]
