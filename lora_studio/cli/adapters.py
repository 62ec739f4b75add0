"""`lora-studio merge`, `adapters`, and `import`: list, inspect, combine, and merge adapters."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import typer

from lora_studio.cli import common, headless
from lora_studio.cli.common import (
    JsonLinesOption,
    JsonOption,
    ProjectArgument,
    ask,
    exit_on_problem,
    parse_model,
    print_json,
)
from lora_studio.cli.console import Display
from lora_studio.core import formatting
from lora_studio.core.lora.adapters import (
    METHODS,
    AdapterFacts,
    AdapterMix,
    Method,
    WeightedAdapter,
    parse_weighted,
)
from lora_studio.core.merging import MergingSpec
from lora_studio.core.messages import READABLE, text
from lora_studio.core.problems import ProblemError, fail
from lora_studio.core.project import checks, project
from lora_studio.core.protocol import commands, events
from lora_studio.core.runs import folder as run_folder
from lora_studio.core.runs import step_records
from lora_studio.core.runs.folder import RunFolder

app = typer.Typer(help="List, inspect, and combine adapters.", no_args_is_help=True)

WeightedOption = Annotated[
    list[str] | None,
    typer.Option("--adapter", help="Adapter folder, optionally with a weight: DIR or DIR=0.5."),
]
Dtype = Literal["auto", "bf16", "fp16", "fp32"]


def merge(
    run: Annotated[Path | None, typer.Argument(help="Run folder. Omit it with --base.")] = None,
    base: Annotated[
        str | None, typer.Option(help="Model to merge into: folder, Hub ID, or builtin:NAME.")
    ] = None,
    adapter: WeightedOption = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the merged model. Required without a run.")
    ] = None,
    dtype: Annotated[Dtype | None, typer.Option(help="Precision of the merged model.")] = None,
    shard_size: Annotated[float | None, typer.Option(help="Maximum file size in GB.")] = None,
    weight: Annotated[float | None, typer.Option(help="Weight of the run's adapter.")] = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="Only show what merging a run would do and need.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Merge the adapter of a run, or any adapters, into a base model.

    With a run, --adapter adds more adapters and --base specifies the 16-bit original of a quantized base model.
    Without a run, use --base MODEL --adapter DIR[=WEIGHT] --out DIR. If a merge is interrupted, run the command again
    to continue; finished files are reused.
    """
    display = Display(as_json=as_json)
    settings = {"dtype": dtype, "shard_size_gb": shard_size, "weight": weight}
    changes: dict[str, Any] = {name: value for name, value in settings.items() if value is not None}
    with exit_on_problem(display):
        if run is None:
            _merge_outside(base, adapter or [], out, changes, display)
        if adapter:
            changes["further"] = tuple(f"{a.folder}={a.weight:g}" for a in _parse_weighted(adapter))
        if base is not None:
            changes["base"] = _to_absolute(base)
        _merge_run(RunFolder(run.resolve()), changes, plan, display)


def import_(
    path: ProjectArgument,
    adapter: Annotated[
        Path | None,
        typer.Option(help="Adapter folder in PEFT format. Creates a run that you can merge."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="With --adapter, its base model. Without it, creates a run that you can export."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Create a run from an existing adapter (to merge) or model (to export).

    The base model of an adapter is the project's model unless you specify --model.
    """
    display = Display(as_json=as_json)
    with exit_on_problem(display):
        if adapter is None and model is None:
            raise fail(
                "import.nothing",
                "Nothing to import was specified.",
                "Specify --adapter DIR, or --model MODEL to export a model without an adapter.",
            )
        run = _create_run(path, model, display)
    display.console.print(f"Run: {run.path}", soft_wrap=True, markup=False)
    command: commands.ImportAdapter | commands.ImportModel = (
        commands.ImportModel(run=str(run.path))
        if adapter is None
        else commands.ImportAdapter(run=str(run.path), adapter=_to_absolute(str(adapter)))
    )
    status = headless.get_exit_status(headless.perform(command, display))
    if status:
        shutil.rmtree(run.path, ignore_errors=True)  # the folder contains only the failed attempt
    raise typer.Exit(status)


@app.command(name="list")
def list_(
    folders: Annotated[
        list[Path] | None,
        typer.Argument(help="Folders to search. Default: the current folder."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List the adapters in folders and their subfolders, newest first."""
    display = Display(as_json=as_json)
    named = tuple(_to_absolute(str(folder)) for folder in folders or [Path()])
    event = ask(commands.ListAdapters(folders=named), events.AdaptersFound, display)
    if as_json:
        print_json([facts.model_dump(mode="json", context=READABLE) for facts in event.adapters])
        return
    if not event.adapters:
        display.console.print(str(text("No adapters in {folders}.", folders=named)))
        return
    titles = ("Adapter", "Kind", "Rank", "Modules", "Base", "Size")
    display.print_table(titles, map(_format_cells, event.adapters))


@app.command()
def show(
    folder: Annotated[Path, typer.Argument(help="Adapter folder.")],
    model: Annotated[
        str | None, typer.Option(help="Check whether the adapter fits this model.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show the layers of an adapter. With --model, exit with 1 if the adapter doesn't fit the model."""
    display = Display(as_json=as_json)
    command = commands.ShowAdapter(
        folder=_to_absolute(str(folder)), model=parse_model(model) if model else None
    )
    event = ask(command, events.AdapterShown, display)
    if as_json:
        print_json(event)
    else:
        _print_shown(event, display)
    raise typer.Exit(headless.FAILED if event.fit is not None and not event.fit.fits else 0)


@app.command()
def combine(
    adapters: Annotated[
        list[str], typer.Argument(help="Adapter folders, optionally with weights: DIR or DIR=0.5.")
    ],
    out: Annotated[Path, typer.Option(help="New folder for the combined adapter.")],
    method: Annotated[
        Method,
        typer.Option(help=" ".join(f"{name}: {help_text}" for name, help_text in METHODS.items())),
    ] = "cat",
    rank: Annotated[int | None, typer.Option(help="Rank of the result, for svd.")] = None,
    density: Annotated[
        float, typer.Option(help="Fraction of values to keep, for ties, dare, and pruning.")
    ] = 0.5,
    seed: Annotated[int, typer.Option(help="Random seed, for dare.")] = 0,
    as_json: JsonLinesOption = False,
) -> None:
    """Combine several adapters into one in PEFT format, without loading a model."""
    display = Display(as_json=as_json)
    with exit_on_problem(display):
        command = commands.CombineAdapters(
            adapters=_parse_weighted(adapters),
            method=method,
            out=_to_absolute(str(out)),
            rank=rank,
            density=density,
            seed=seed,
        )
    raise typer.Exit(headless.get_exit_status(headless.perform_outside(command, display)))


def parse_mixes(texts: list[str]) -> tuple[AdapterMix, ...]:
    """Return the adapters named on the command line as one mix, or () if there are none."""
    each = _parse_weighted(texts)
    return (AdapterMix(name=" + ".join(texts), adapters=each),) if each else ()


def _parse_weighted(texts: list[str]) -> tuple[WeightedAdapter, ...]:
    """Return adapters with absolute folders; raises ProblemError for an invalid weight."""
    parsed = [parse_weighted(each) for each in texts]
    return tuple(each.model_copy(update={"folder": _to_absolute(each.folder)}) for each in parsed)


def _merge_run(run: RunFolder, given: dict[str, Any], plan: bool, display: Display) -> NoReturn:
    """Save the settings in the run, as the window does, and merge."""
    frozen = run.load_project()
    spec = MergingSpec.model_validate(frozen.merging.model_dump() | given)
    if problem := headless.find_missing(run, "Merge"):
        raise ProblemError(problem)
    if plan:
        command = commands.PlanMerge(run=str(run.path), merging=spec)
        _print_plan(ask(command, events.MergePlanned, display), display)
        raise typer.Exit
    if given:
        changed = frozen.model_copy(update={"merging": spec}).resolve(run.path)
        step_records.update_settings(run, changed, "merge")
    raise typer.Exit(headless.run_stages(run, ("Merge",), display))


def _merge_outside(
    base: str | None, adapters: list[str], out: Path | None, given: dict[str, Any], display: Display
) -> NoReturn:
    if base is None or not adapters or out is None:
        raise fail(
            "merging.what",
            "Nothing to merge was specified.",
            "Specify a run, or --base MODEL, --adapter DIR, and --out DIR.",
        )
    if "weight" in given:
        raise fail(
            "merging.what",
            "--weight applies only to a run's adapter.",
            "Add the weight to the folder: --adapter DIR=0.5.",
        )
    command = commands.MergeAdapters(
        base=parse_model(base),
        adapters=_parse_weighted(adapters),
        out=_to_absolute(str(out)),
        merging=MergingSpec.model_validate(given),
    )
    raise typer.Exit(headless.get_exit_status(headless.perform_outside(command, display)))


def _create_run(path: Path, model: str | None, display: Display) -> RunFolder:
    """Create a run of a project; only its model settings must be valid."""
    draft = project.load(path)
    common.ask_for_project(draft, display)
    if model is not None:
        draft.set("model", "source", parse_model(model).source)
    wrong = checks.filter_errors(checks.filter_by_step(checks.check(draft), "model"))
    if wrong:
        raise ProblemError(wrong)
    assert draft.folder is not None
    return run_folder.create_run(draft.folder / "runs", draft.freeze(), draft.folder)


def _to_absolute(folder: str) -> str:
    return str(Path(folder).expanduser().resolve())


def _format_cells(facts: AdapterFacts) -> list[str]:
    if facts.problem is not None:
        return [facts.folder, "✗", "", str(facts.problem.what), "", ""]
    low, high = facts.ranks
    return [
        facts.folder,
        facts.kind,
        str(low) if low == high else f"{low}–{high}",
        ", ".join(facts.modules),
        facts.base,
        formatting.format_size(facts.bytes),
    ]


def _print_shown(event: events.AdapterShown, display: Display) -> None:
    facts, fit = event.adapter, event.fit
    size = f"{formatting.format_count(facts.parameters)}, {formatting.format_size(facts.bytes)}"
    shown: list[tuple[str, object]] = [
        ("Adapter", facts.folder),
        ("Kind", facts.kind),
        ("Base", facts.base or "unknown"),
        ("Rank, alpha", f"{_format_cells(facts)[2]}, {facts.alpha:g}"),
        ("Parameters", size),
        ("Trained in full", ", ".join(facts.trained_whole)),
        ("Note", facts.note),
    ]
    if fit is not None:
        verdict = ("fits. " if fit.fits else "doesn't fit. ") + str(fit.reason)
        shown += [(f"Model {fit.model}", verdict), ("", fit.warning)]
    display.print_facts(shown)
    display.print_table(
        ("Layer", "Rank", "Scale", "‖ΔW‖"),
        (
            (
                layer.module,
                layer.rank,
                f"{layer.scale:.3g}",
                "" if layer.norm is None else f"{layer.norm:.3g}",
            )
            for layer in facts.layers
        ),
    )


def _print_plan(event: events.MergePlanned, display: Display) -> None:
    if display.as_json:
        print_json(event)
        return
    needed, free = map(formatting.format_size, (event.missing, event.free))
    done = event.finished_shards
    display.print_facts(
        [
            ("Changes", f"{event.tensors_changed} of {event.tensors} tensors"),
            ("Precision", f"{event.dtype}, {formatting.format_plural(event.shards, 'file')}"),
            ("Disk", f"{needed} needed, {free} free"),
            ("Memory", f"about {formatting.format_memory(event.memory)} at its peak"),
            ("Finished", formatting.format_plural(done, "file") if done else ""),
            ("Merged by PEFT", event.by_peft),
        ]
    )
    for problem in event.problems:
        display.print_problem(problem)
