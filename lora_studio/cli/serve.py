"""`lora-studio serve`: serve runs at an OpenAI-compatible address with llama-server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lora_studio.cli import headless
from lora_studio.cli.common import JsonLinesOption, exit_on_problem
from lora_studio.cli.console import Display
from lora_studio.cli.export import LlamaCppOption
from lora_studio.core import serving
from lora_studio.core.lora.adapters import parse_weighted
from lora_studio.core.protocol import commands
from lora_studio.core.protocol.chat import ServedRun
from lora_studio.core.runs.folder import RunFolder

RunsArgument = Annotated[
    list[str],
    typer.Argument(
        help="Run folders of one base model, each optionally with a scale: RUN or RUN=0.5.",
        metavar="RUN…",
    ),
]
PortOption = Annotated[
    int, typer.Option("--port", help="Port. 0 uses a free one.", min=0, max=65535)
]
AdapterOption = Annotated[
    bool,
    typer.Option("--adapter", help="Serve base model and adapter even if the run has a GGUF file."),
]


def serve(
    runs: RunsArgument,
    port: PortOption = 0,
    adapter: AdapterOption = False,
    llama_cpp: LlamaCppOption = None,
    as_json: JsonLinesOption = False,
) -> None:
    """Serve a run at an OpenAI-compatible address on this computer until Ctrl+C.

    Serves the run's GGUF file if it has one. Without one, or with several runs, serves the base model with the
    adapters, without a merge; requests choose a scale for each adapter. Needs llama-server.
    """
    display = Display(as_json=as_json)
    with exit_on_problem(display):
        command = make_command(runs, port=port, adapter=adapter, llama_cpp=llama_cpp)
    raise typer.Exit(headless.get_exit_status(headless.perform_outside(command, display)))


def make_command(
    runs: list[str], *, port: int, adapter: bool, llama_cpp: Path | None
) -> commands.Serve:
    """Return the command for runs as they are named on the command line; raises ProblemError."""
    weighted = [parse_weighted(name) for name in runs]
    folders = [RunFolder(Path(each.folder).resolve()) for each in weighted]
    projects = [run.load_project() for run in folders]
    is_merged = len(runs) == 1 and weighted[0].weight == 1.0 and not adapter
    file = serving.choose_gguf_file(folders[0]) if is_merged else None
    return commands.Serve(
        runs=tuple(
            ServedRun(run=str(run.path), scale=each.weight)
            for run, each in zip(folders, weighted, strict=True)
        ),
        file=str(file or ""),
        port=port,
        llama_cpp=str(llama_cpp.expanduser().resolve())
        if llama_cpp is not None
        else projects[0].export.llama_cpp,
    )
