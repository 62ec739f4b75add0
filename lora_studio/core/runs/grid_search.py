"""Grid search over one or two settings: the searchable settings, and tables of the eval loss or reward."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from lora_studio.core.problems import STEPS, Problem, ProblemError, Step, Where, fail
from lora_studio.core.project import access_requests, checks, presets
from lora_studio.core.project.project import SPECS, Draft, Project
from lora_studio.core.runs import checksums, facts, folder, table
from lora_studio.core.runs.annotations import GridSettings, RunAnnotations
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.runs.index import RunSummary
from lora_studio.core.spec import FieldFacts, list_facts

#: Merging and exporting don't affect training, so their settings can't be searched.
_SEARCHED = ("model", "lora", "dataset", "training")
_KINDS = ("integer", "number", "choice", "flag")


def list_searchable_settings() -> dict[str, FieldFacts]:
    """Return every setting that can be searched over, `training.learning_rate`, in the order of the
    specs."""
    return {
        f"{step}.{about.name}": about
        for step in STEPS
        if step in _SEARCHED
        for about in list_facts(SPECS[step])
        if about.kind in _KINDS
    }


def check_value(draft: Draft, setting: str, value: Any) -> Problem | None:
    """Return why a setting can't have a value."""
    step, name = split_setting(setting)
    trial = Draft(draft.name, {step: {name: value}} | {s: {} for s in STEPS if s != step})
    return next((p for p in trial.list_problems() if p.where.field == name), None)


@dataclass(frozen=True)
class GridTable:
    """Runs of a search by the values of its settings; a cell is None if its run is missing.

    `columns` is [None] for a search over one setting.
    """

    name: str
    settings: tuple[str, ...]
    rows: list[Any]
    columns: list[Any]
    cells: list[list[RunSummary | None]]

    @property
    def best(self) -> RunSummary | None:
        """The run with the best answers if all are scored alike, else that with the best evaluation."""
        if self.is_by_answers:
            return max(self._runs, key=lambda run: run.answers.score if run.answers else 0.0)
        evaluated = [(cost, run) for run in self._runs if (cost := _get_cost(run)) is not None]
        return min(evaluated, key=lambda pair: pair[0], default=(0.0, None))[1]

    @property
    def is_by_reward(self) -> bool:
        """Whether the cells are mean rewards instead of eval losses."""
        return any(run.best_reward is not None for run in self._runs)

    @property
    def is_by_answers(self) -> bool:
        """Whether every run was evaluated on the same test set by the same metric."""
        asked = {
            (run.answers.test_set, run.answers.metric) if run.answers else None
            for run in self._runs
        }
        return len(asked) == 1 and None not in asked

    @property
    def _runs(self) -> list[RunSummary]:
        return [run for line in self.cells for run in line if run]

    def share(self, run: RunSummary) -> float | None:
        """Return the position of a run's evaluation in its search: 0 for the best, 1 for the worst."""
        costs = [cost for each in self._runs if (cost := _get_cost(each)) is not None]
        if (cost := _get_cost(run)) is None:
            return None
        low, high = min(costs), max(costs)
        return (cost - low) / (high - low) if high > low else 0.0


def _get_cost(run: RunSummary) -> float | None:
    """Return the lowest eval loss, or the negative of the highest mean reward; None before an evaluation."""
    return run.best_eval if run.best_reward is None else -run.best_reward


def build_tables(runs: Sequence[RunSummary]) -> list[GridTable]:
    """Return every search among runs, in the order of the runs."""
    by_grid: dict[str, list[RunSummary]] = {}
    for run in runs:
        if run.about.grid is not None and run.state != "unreadable":
            by_grid.setdefault(run.about.grid.name, []).append(run)
    return [_build_table(name, members) for name, members in by_grid.items()]


def _build_table(name: str, runs: list[RunSummary]) -> GridTable:
    grid = runs[0].about.grid
    assert grid is not None
    first, second = grid.fields[0], grid.fields[1] if len(grid.fields) > 1 else ""
    rows = _list_values(runs, first)
    columns = _list_values(runs, second) if second else [None]
    placed = {
        (
            _get_cell_key(run.get_value(first)),
            _get_cell_key(run.get_value(second)) if second else _get_cell_key(None),
        ): run
        for run in reversed(runs)
    }
    cells = [
        [placed.get((_get_cell_key(row), _get_cell_key(column))) for column in columns]
        for row in rows
    ]
    return GridTable(name, grid.fields, rows, columns, cells)


def _list_values(runs: list[RunSummary], setting: str) -> list[Any]:
    values = {_get_cell_key(run.get_value(setting)): run.get_value(setting) for run in runs}
    numbers = all(isinstance(value, int | float) for value in values.values())
    return sorted(values.values(), key=None if numbers else str)


def _get_cell_key(value: Any) -> str:
    return repr(value)


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
        "Enter the setting as step.field.",
        setting=setting,
    )


def list_settings(run: RunFolder) -> list[tuple[Step, str, Any]]:
    """Return every setting of a run as a change to a project; raises ProblemError."""
    frozen = facts.read_frozen_settings(run)
    return [
        (*split_setting(setting), frozen.settings.get(setting, facts.get_default(setting)))
        for setting in facts.DEFAULTS
    ]
