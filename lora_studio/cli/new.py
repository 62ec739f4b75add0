"""`lora-studio new`: create a project without the window."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from lora_studio.cli import headless
from lora_studio.cli.common import JsonObjectOption, exit_on_problem, print_json
from lora_studio.cli.console import Display
from lora_studio.core.dataset.spec import DataSource
from lora_studio.core.messages import text
from lora_studio.core.model.spec import is_local_source
from lora_studio.core.project import access_requests, checks, known_projects, presets, project
from lora_studio.core.project.project import SUFFIX, Draft
from lora_studio.core.system.paths import expand_home

_ChangeOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="SETTING=VALUE",
        help="Change a setting, for example --set training.epochs=1. Can be repeated.",
    ),
]


def new(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Folder of the project, which is created.")
    ],
    model: Annotated[
        str, typer.Option(metavar="MODEL", help="Folder, .gguf file, Hub ID, or builtin:NAME.")
    ],
    data: Annotated[
        list[str],
        typer.Option(metavar="FILE", help="File, folder, or Hub dataset ID. Can be repeated."),
    ],
    name: Annotated[
        str,
        typer.Option(metavar="NAME", help="Name of the project. Without it, that of the folder."),
    ] = "",
    preset: Annotated[
        str, typer.Option(metavar="PRESET", help="Preset, such as quick, balanced, or best.")
    ] = "",
    change: _ChangeOption = None,
    as_json: JsonObjectOption = False,
) -> None:
    """Create a project from a model and a dataset. `run` and the window open it."""
    display = Display(as_json=as_json)
    folder = expand_home(folder).resolve()
    with exit_on_problem(display):
        draft = _make_draft(folder, name or folder.name, model, data, preset)
        headless.apply_overrides(draft, change or [], display)
        if errors := checks.filter_errors(checks.check(draft)):
            display.print_problems(errors)
            raise typer.Exit(headless.REFUSED)
        created = project.create(folder, draft.name, draft.values)
        # the user has typed what it asks for
        known_projects.accept(created, access_requests.list_requests(created))
    if as_json:
        print_json({"project": str(created.path)})
    else:
        _print_next_steps(created, folder, display)


def _print_next_steps(created: Draft, folder: Path, display: Display) -> None:
    display.print_line(text("Project created: {file}", file=str(created.path)))
    display.print_line(
        text(
            "Next: `lora-studio estimate {folder}`, then `lora-studio run {folder}`.",
            folder=shlex.quote(str(folder)),
        )
    )


def _make_draft(folder: Path, title: str, model: str, data: list[str], preset: str) -> Draft:
    """Return a project with a model, a dataset and the settings of a preset; raises ProblemError."""
    draft = Draft(title, path=folder / f"{project.to_file_name(title)}{SUFFIX}")
    source = _make_absolute(model, is_remote=not is_local_source(model))
    draft.values["model"]["source"] = source
    draft.values["dataset"]["sources"] = [{"path": _resolve_data(each)} for each in data]
    if preset:
        presets.apply_preset(draft, presets.find_preset(preset))
    return draft


def _resolve_data(source: str) -> str:
    return _make_absolute(source, is_remote=DataSource(path=source).is_hub)


def _make_absolute(source: str, *, is_remote: bool) -> str:
    """Return a local path as an absolute one, and a remote source unchanged, unless a file has its name."""
    local = expand_home(Path(source))
    return source if is_remote and not local.exists() else str(local.resolve())
