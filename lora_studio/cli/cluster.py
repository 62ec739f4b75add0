"""`lora-studio cluster`: a run as a folder that trains on many GPUs, on one machine or several."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lora_studio.cli import headless
from lora_studio.cli.common import refusing
from lora_studio.cli.console import Display
from lora_studio.core.runs import cluster as run_cluster
from lora_studio.core.runs.folder import RunFolder


def cluster(
    path: Annotated[Path, typer.Argument(help="Project, or the folder of a run to go on with.")],
    out: Annotated[Path, typer.Argument(help="Folder to write; it must not exist yet.")],
    model: Annotated[
        bool,
        typer.Option("--model/--no-model", help="Take along a model that is a folder or file."),
    ] = True,
    change: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change a setting for this run, e.g. --set training.epochs=1."),
    ] = None,
) -> None:
    """Write a run as a folder that trains elsewhere with one command, on any number of GPUs.

    Its README.md says how. Copied back into the project's runs/, it is a run like any other.
    """
    display = Display()
    run = RunFolder(path.resolve())
    with refusing(display):
        if run.project_file.is_file():
            written = run_cluster.export_run(run, out.resolve(), with_model=model)
        else:
            draft = headless.open_project(path, change or [], display)
            if draft is None:
                raise typer.Exit(headless.REFUSED)
            assert draft.folder is not None
            written = run_cluster.export(
                draft.freeze(), draft.folder, out.resolve(), with_model=model
            )  # fmt: skip
    display.console.print(f"Written: {written.path}", soft_wrap=True, markup=False)
    display.say(
        f"Copy it to the cluster and start {run_cluster.COMMAND} there; README.md says more."
    )
