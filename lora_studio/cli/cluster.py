"""`lora-studio cluster`: a run as a folder that trains on many GPUs, on one machine or several."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lora_studio.cli import headless
from lora_studio.cli.common import exit_on_problem
from lora_studio.cli.console import Display
from lora_studio.core.messages import text
from lora_studio.core.runs import cluster as run_cluster
from lora_studio.core.runs.folder import RunFolder


def cluster(
    path: Annotated[Path, typer.Argument(help="Project, or the folder of a run to continue.")],
    out: Annotated[Path, typer.Argument(help="Folder to create. It must not exist.")],
    model: Annotated[
        bool,
        typer.Option(
            "--model/--no-model", help="Include the model if it is a local folder or file."
        ),
    ] = True,
    change: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="Change a setting for this run, for example --set training.epochs=1."
        ),
    ] = None,
) -> None:
    """Export a run as a folder that trains on a cluster with one command, on any number of GPUs.

    The README.md in the folder explains how. When training is done, copy the folder back to the project's runs folder.
    """
    display = Display()
    run = RunFolder(path.resolve())
    with exit_on_problem(display):
        if run.project_file.is_file():
            written = run_cluster.export_run(run, out.resolve(), with_model=model)
        else:
            draft = headless.open_project(path, change or [], display)
            if draft is None:
                raise typer.Exit(headless.REFUSED)
            assert draft.folder is not None
            written = run_cluster.export_project(
                draft.freeze(), draft.folder, out.resolve(), with_model=model
            )  # fmt: skip
    display.console.print(f"Written: {written.path}", soft_wrap=True, markup=False)
    display.print_line(
        text(
            "Copy the folder to the cluster and run {command} there. For details, see README.md.",
            command=run_cluster.COMMAND,
        )
    )
