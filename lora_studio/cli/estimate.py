"""`lora-studio estimate`: estimate the memory and time of a training run."""

from __future__ import annotations

from typing import Annotated, TypeVar, cast

import typer
from rich.table import Table

from lora_studio.cli import headless
from lora_studio.cli.common import (
    JsonObjectOption,
    PresetOption,
    ProjectArgument,
    ask_all,
    print_json,
)
from lora_studio.cli.console import Display
from lora_studio.cli.event_text import describe
from lora_studio.core import formatting
from lora_studio.core.dataset.spec import DatasetSpec
from lora_studio.core.lora import adapters
from lora_studio.core.lora.spec import LoraSpec
from lora_studio.core.memory import advice, calibration
from lora_studio.core.memory.adapter_size import with_head
from lora_studio.core.memory.advice import MemoryChange, fill_micro_batches
from lora_studio.core.memory.estimate import estimate
from lora_studio.core.memory.plan import MemoryPlan, pick_device
from lora_studio.core.memory.rows import build_row_statistics
from lora_studio.core.memory.weights import describe_placement, spread_over_gpus
from lora_studio.core.messages import READABLE, Text, counted, text
from lora_studio.core.model.spec import ModelSpec
from lora_studio.core.problems import ProblemError, fail
from lora_studio.core.project.project import Draft
from lora_studio.core.protocol import commands, events
from lora_studio.core.protocol.training import COMPONENTS, MemoryEstimate, describe_teacher
from lora_studio.core.training.recipe_checks import check_for
from lora_studio.core.training.spec import TrainingSpec

_Answer = TypeVar("_Answer", bound=events.Event)


def estimate_(
    path: ProjectArgument,
    as_json: JsonObjectOption = False,
    change: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="Change a setting first, for example --set training.micro_batch=8."
        ),
    ] = None,
    preset: PresetOption = "",
) -> None:
    """Estimate the memory and time of a training run, and suggest changes if it doesn't fit."""
    display = Display(as_json=as_json)
    draft = headless.open_project(path, change or [], display, preset)
    if draft is None:
        raise typer.Exit(headless.REFUSED)
    try:
        plan, planned = make_plan(draft, display)
    except ProblemError as error:
        display.print_problems(error.problems)
        raise typer.Exit(headless.FAILED) from None
    except KeyboardInterrupt:
        raise typer.Exit(headless.INTERRUPTED) from None
    memory = estimate(fill_micro_batches(plan))
    largest = advice.find_largest_micro_batch(plan)
    helps = None if memory.fits else advice.find_cheapest_change(plan)
    if as_json:
        print_json(_dump_json(memory, largest, helps) | _dump_rows(plan, planned))
    else:
        for line in (describe(planned), _describe_steps(plan.training, planned)):
            display.print_line(line)
        display.print_findings(check_for(planned.task, plan.training))
        display.print_findings(plan.inspected.adapter_notes)
        _print(memory, largest, helps, display)
        if placement := describe_placement(plan):
            display.print_line(placement)


def make_plan(draft: Draft, display: Display) -> tuple[MemoryPlan, events.DatasetPlanned]:
    """Ask a worker about the model, rows, and devices; raises ProblemError.

    Returns the memory plan and the rows of the run.
    """
    model = cast(ModelSpec, draft.get_spec("model"))
    dataset = cast(DatasetSpec, draft.get_spec("dataset"))
    lora = cast(LoraSpec, draft.get_spec("lora"))
    training = cast(TrainingSpec, draft.get_spec("training"))
    shape = adapters.resolve_lora(lora)
    teacher = training.make_teacher_spec(model) if training.teacher.strip() else None
    tokens = lora.new_tokens
    questions: tuple[commands.Question, ...] = (
        commands.InspectDevices(),
        commands.InspectModel(model=model, lora=lora, teacher=teacher),
        commands.MeasureDataset(dataset=dataset, model=model, new_tokens=tokens),
        commands.PlanDataset(dataset=dataset, model=model, new_tokens=tokens, seed=training.seed),
    )
    replies = ask_all(questions, display)
    inspected = _find_last(replies, events.ModelInspected)
    if inspected.adapter_problem is not None:
        raise ProblemError(inspected.adapter_problem)
    if inspected.teacher_problem is not None:
        raise ProblemError(inspected.teacher_problem)
    planned = _find_last(replies, events.DatasetPlanned)
    devices = _find_last(replies, events.DevicesFound)
    inspected = with_head(inspected, training.count_head_outputs(planned.task, len(planned.labels)))
    plan = MemoryPlan(
        inspected=inspected,
        model=model,
        lora=shape,
        training=training,
        rows=build_row_statistics(planned, _find_last(replies, events.LengthsMeasured)),
        limit=dataset.max_length,
        device=pick_device(devices, model.device) or devices.devices[0],
        teacher=inspected.teacher,
    )
    plan = spread_over_gpus(plan, devices)
    return calibration.apply_correction(plan, calibration.load()), planned


def _find_last(replies: list[events.Event], kind: type[_Answer]) -> _Answer:
    answers = [event for event in replies if isinstance(event, kind)]
    if not answers:
        raise fail(
            "estimate.no_answer",
            "The engine stopped before it returned a result.",
            "Try again. Run `lora-studio doctor` to check your installation.",
        )
    return answers[-1]


def _dump_json(
    memory: MemoryEstimate, largest: int | None, helps: MemoryChange | None
) -> dict[str, object]:
    return memory.model_dump(mode="json", context=READABLE) | {
        "device": str(memory.device),
        "total": memory.total,
        "fits": memory.fits,
        "largest_micro_batch_that_fits": largest,
        "cheapest_change": None if helps is None else {
            "title": str(helps.title),
            "changes": {f"{step}.{field}": value for step, field, value in helps.changes},
        },
    }  # fmt: skip


def _dump_rows(plan: MemoryPlan, planned: events.DatasetPlanned) -> dict[str, object]:
    return {
        "rows_train": planned.rows_train,
        "rows_validation": planned.rows_validation,
        "rows_per_epoch": planned.rows_per_epoch,
        "longest_row": planned.longest_row,
        "steps": plan.training.count_steps(planned.rows_per_epoch),
    }


def _describe_steps(training: TrainingSpec, planned: events.DatasetPlanned) -> Text:
    return counted(
        training.count_steps(planned.rows_per_epoch),
        "{n} step of {batch} rows, {per_epoch} per epoch. The longest row has {longest} tokens.",
        "{n} steps of {batch} rows, {per_epoch} per epoch. The longest row has {longest} tokens.",
        batch=training.effective_batch,
        per_epoch=training.count_steps_per_epoch(planned.rows_per_epoch),
        longest=planned.longest_row,
    )


def _print(
    memory: MemoryEstimate, largest: int | None, helps: MemoryChange | None, display: Display
) -> None:
    table = Table(box=None, show_header=False)
    table.add_column()
    table.add_column(justify="right")
    for name, size in memory.parts.items():
        table.add_row(COMPONENTS[name], formatting.format_memory(size))
    table.add_row("[bold]Total[/bold]", f"[bold]{formatting.format_memory(memory.total)}[/bold]")
    display.console.print(table)
    for line in describe_fit(memory, largest, helps):
        display.print_line(line)


def describe_fit(
    memory: MemoryEstimate, largest: int | None, helps: MemoryChange | None
) -> list[Text]:
    """Return whether training fits, what would make it fit, and how long it takes."""
    lines = [
        counted(
            memory.tokens,
            "The largest micro-batch has {n} token.",
            "The largest micro-batch has {n} tokens.",
        )
    ]
    if memory.available is not None:
        template = (
            "It fits: {device} has {free:memory} free."
            if memory.fits
            else "It doesn't fit: {device} has {free:memory} free."
        )
        lines.append(text(template, device=memory.device, free=memory.available))
    if memory.teacher:
        lines.append(describe_teacher(memory))
    if largest is not None:
        lines.append(
            text(
                "Largest micro-batch that fits with the same effective batch size: {size}.",
                size=largest,
            )
        )
    if memory.fits is False and helps is None:
        lines.append(text("No change to the settings makes it fit."))
    elif memory.fits is False and helps is not None:
        lines.append(text("Suggested change: {change}.", change=helps.title))
    if memory.seconds is not None:
        lines.append(text("Time: {time:remaining}, based on earlier runs.", time=memory.seconds))
    return lines
