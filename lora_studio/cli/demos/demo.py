"""Run a sample project without a window, and check its result."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Protocol

import typer

from lora_studio.cli import headless
from lora_studio.cli.common import JsonLinesOption
from lora_studio.cli.console import Display
from lora_studio.cli.demos.assistant import AssistantDemo
from lora_studio.cli.demos.reward import RewardDemo
from lora_studio.core import problems
from lora_studio.core.messages import text
from lora_studio.core.problems import Problem, ProblemError, Where
from lora_studio.core.project.samples import SampleName, copy_sample
from lora_studio.core.runs.folder import RunFolder


class Demo(Protocol):
    """What is done with the run of a sample project, and how its result is checked."""

    @property
    def stages(self) -> Sequence[str]:
        """Names of the stages that run, in order."""

    def check(self, run: RunFolder, display: Display) -> bool:
        """Show what the model learned, and return whether it learned what it should.

        Raises ProblemError if the result can't be checked.
        """


#: Creates the demo of a sample project from its folder.
_DEMOS: Mapping[SampleName, Callable[[Path], Demo]] = {
    "assistant": AssistantDemo,
    "reward": RewardDemo,
}


def demo(
    sample: Annotated[
        SampleName,
        typer.Option(help="Sample project: assistant learns from examples, reward from rewards."),
    ] = "assistant",
    folder: Annotated[
        Path | None, typer.Option(help="Folder for the sample project.", file_okay=False)
    ] = None,
    as_json: JsonLinesOption = False,
) -> None:
    """Train a sample project, and check what the model has learned."""
    raise typer.Exit(run(sample, folder, Display(as_json=as_json)))


def run(sample: SampleName, folder: Path | None, display: Display) -> int:
    """Run the stages of a sample project and check the result; return 0 only if every check passes."""
    began = time.monotonic()
    try:
        project_folder = copy_sample(sample, folder)
        plan = _DEMOS[sample](project_folder)
    except (OSError, KeyError, TypeError, ValueError) as error:
        display.print_problems([_make_unreadable_problem(folder, error)])
        return headless.REFUSED
    display.print_title(f"Sample project in {project_folder}")
    draft = headless.open_project(project_folder, [], display)
    if draft is None:
        return headless.REFUSED
    try:
        run_folder = headless.create_run(draft)
        if status := headless.run_stages(run_folder, tuple(plan.stages), display):
            return status
        display.print_title("Comparison")
        passed = plan.check(run_folder, display)
    except ProblemError as error:
        display.print_problems(error.problems)
        return headless.FAILED
    display.print_line(text("Results: {folder}", folder=str(run_folder.path)))
    display.print_line(text("Finished in {time:duration}.", time=time.monotonic() - began))
    return 0 if passed else headless.FAILED


def _make_unreadable_problem(folder: Path | None, error: Exception) -> Problem:
    return problems.error(
        "demo.unreadable",
        "The sample project couldn't be created: {error}.",
        "Specify an empty folder on a disk with enough free space: lora-studio demo --folder FOLDER.",
        where=Where(file=str(folder) if folder else None),
        error=str(error),
    )
