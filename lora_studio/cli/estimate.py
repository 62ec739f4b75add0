"""`lora-studio estimate`: the memory and time that a training will take, before it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeVar, cast

import typer
from rich.table import Table

from lora_studio.cli import headless
from lora_studio.cli.common import answers_to, print_json
from lora_studio.cli.console import Display
from lora_studio.core import formatting
from lora_studio.core.dataset.spec import DatasetSpec
from lora_studio.core.lora import starting_adapter
from lora_studio.core.lora.spec import LoraSpec
from lora_studio.core.memory import advice, calibration
from lora_studio.core.memory.advice import MemoryChange
from lora_studio.core.memory.estimate import estimate
from lora_studio.core.memory.plan import MemoryPlan, pick_device
from lora_studio.core.memory.rows import rows_of
from lora_studio.core.messages import READABLE
from lora_studio.core.model.spec import ModelSpec
from lora_studio.core.problems import ProblemError, fail
from lora_studio.core.project import presets
from lora_studio.core.project.project import Draft
from lora_studio.core.protocol import commands, events
from lora_studio.core.protocol.training import COMPONENTS, MemoryEstimate
from lora_studio.core.training.spec import TrainingSpec

_Answer = TypeVar("_Answer", bound=events.Event)


def estimate_(
    path: Annotated[Path, typer.Argument(help="Project folder or .lorastudio file.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    change: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="Change a setting first, for example --set training.micro_batch=8."
        ),
    ] = None,
    preset: Annotated[
        str,
        typer.Option(
            help=f"A whole recipe: {formatting.listed([p.name for p in presets.PRESETS], 'or')}."
        ),
    ] = "",
) -> None:
    """Estimate the memory and time of a training run, and suggest changes if it does not fit."""
    display = Display(as_json=as_json)
    draft = headless.open_project(path, change or [], display, preset)
    if draft is None:
        raise typer.Exit(headless.REFUSED)
    try:
        plan = plan_of(draft, display)
    except ProblemError as error:
        display.problems(error.problems)
        raise typer.Exit(headless.FAILED) from None
    except KeyboardInterrupt:
        raise typer.Exit(headless.INTERRUPTED) from None
    found = estimate(plan)
    largest = advice.largest_micro_batch_that_fits(plan)
    helps = None if found.fits else advice.cheapest_change(plan)
    if as_json:
        print_json(_as_json(found, largest, helps))
    else:
        _print(found, largest, helps, display)


def plan_of(draft: Draft, display: Display) -> MemoryPlan:
    """Asks one worker for the facts of model, rows and devices; raises ProblemError."""
    model = cast(ModelSpec, draft.spec("model"))
    dataset = cast(DatasetSpec, draft.spec("dataset"))
    lora = cast(LoraSpec, draft.spec("lora"))
    shape = starting_adapter.effective(lora)
    questions: tuple[commands.Question, ...] = (
        commands.InspectDevices(),
        commands.InspectModel(model=model, lora=lora),
        commands.MeasureDataset(dataset=dataset, model=model),
        commands.InspectDataset(dataset=dataset, preview=0),
    )
    found = answers_to(questions, display)
    inspected = _last(found, events.ModelInspected)
    rows = _last(found, events.DatasetInspected)
    devices = _last(found, events.DevicesFound)
    device = pick_device(devices, model.device) or devices.devices[0]
    plan = MemoryPlan(
        inspected=inspected,
        model=model,
        lora=shape,
        training=cast(TrainingSpec, draft.spec("training")),
        rows=rows_of(
            _last(found, events.LengthsMeasured),
            rows.task,
            dataset.max_length,
            0.0 if dataset.validation_file else dataset.validation_share,
        ),
        limit=dataset.max_length,
        device=device,
    )
    return calibration.corrected(plan, calibration.load())


def _last(found: list[events.Event], kind: type[_Answer]) -> _Answer:
    answers = [event for event in found if isinstance(event, kind)]
    if not answers:
        raise fail(
            "estimate.no_answer",
            "The engine ended before it returned an answer.",
            "Try again. Run `lora-studio doctor` to check your installation.",
        )
    return answers[-1]


def _as_json(
    found: MemoryEstimate, largest: int | None, helps: MemoryChange | None
) -> dict[str, object]:
    return found.model_dump(mode="json", context=READABLE) | {
        "total": found.total,
        "fits": found.fits,
        "largest_micro_batch_that_fits": largest,
        "cheapest_change": None if helps is None else {
            "title": str(helps.title),
            "changes": {f"{step}.{field}": value for step, field, value in helps.changes},
        },
    }  # fmt: skip


def _print(
    found: MemoryEstimate, largest: int | None, helps: MemoryChange | None, display: Display
) -> None:
    table = Table(box=None, show_header=False)
    table.add_column()
    table.add_column(justify="right")
    for name, size in found.parts.items():
        table.add_row(COMPONENTS[name], formatting.memory(size))
    table.add_row("[bold]Together[/bold]", f"[bold]{formatting.memory(found.total)}[/bold]")
    display.console.print(table)
    for line in sentences(found, largest, helps):
        display.say(line)


def sentences(found: MemoryEstimate, largest: int | None, helps: MemoryChange | None) -> list[str]:
    """Whether it fits, what would, and how long it takes."""
    said = [f"The largest micro-batch has {formatting.plural(found.tokens, 'token')}."]
    if found.available is not None:
        verdict = "It fits" if found.fits else "It doesn't fit"
        said.append(f"{verdict}: {found.device} has {formatting.memory(found.available)} free.")
    if largest is not None:
        said.append(f"Largest micro-batch that fits: {largest}, with the same effective batch.")
    if found.fits is False:
        said.append(
            f"Cheapest change: {helps.title}."
            if helps
            else "No change of the settings makes it fit."
        )
    if found.seconds is not None:
        said.append(f"Time: {formatting.remaining(found.seconds)}, at the speed of earlier runs.")
    return said
