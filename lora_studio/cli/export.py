"""`lora-studio export`, `selftest` and `push`: from a run, or any model folder, to where it is used."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, get_args

import typer
from rich.table import Table

from lora_studio.cli import headless
from lora_studio.cli.common import ask, model_of, refusing
from lora_studio.cli.console import Display
from lora_studio.core import formatting
from lora_studio.core.export import QUANTIZATIONS, ExportSpec, Quantization, What
from lora_studio.core.messages import READABLE
from lora_studio.core.problems import ProblemError, Where, fail
from lora_studio.core.protocol import commands, events
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.spec import facts

RunArgument = Annotated[Path, typer.Argument(help="Folder of a run, inside a project's runs/.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print events as JSON lines instead.")]
QuantOption = Annotated[
    list[str] | None,
    typer.Option(
        "--quant", help="Quantisation to write, such as Q4_K_M; several, or joined by commas."
    ),
]


def export(
    path: Annotated[Path | None, typer.Argument(help="Folder of a run.")] = None,
    quant: QuantOption = None,
    imatrix: Annotated[
        bool, typer.Option("--imatrix", help="Importance matrix for every quantisation.")
    ] = False,
    adapter: Annotated[bool, typer.Option("--adapter", help="The adapter as GGUF too.")] = False,
    lm_studio: Annotated[bool, typer.Option("--lm-studio", help="Put into LM Studio.")] = False,
    convert_from: Annotated[
        str,
        typer.Option(
            "--from", help="auto, adapter (straight, no merged copy) or merged.", metavar="WHAT"
        ),
    ] = "",
    llama_cpp: Annotated[
        Path | None, typer.Option("--llama-cpp", help="A llama.cpp of your own.")
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", help="Any Hugging Face model instead of a run.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Where its files go.")] = None,
    data: Annotated[
        Path | None, typer.Option("--data", help="Rows to measure its importance matrix on.")
    ] = None,
    sizes: Annotated[
        bool, typer.Option("--sizes", help="Only say how large each file would be.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Write the GGUF files of a run, test them and create the Ollama model; or convert a model."""
    display = Display(as_json=as_json)
    changes: dict[str, Any] = {
        name: True
        for name, chosen in (("adapter_gguf", adapter), ("lm_studio", lm_studio))
        if chosen
    }
    if imatrix:
        changes["imatrix"] = "always"
    if llama_cpp is not None:
        changes["llama_cpp"] = str(llama_cpp.expanduser().resolve())
    with refusing(display):
        if convert_from:
            ways = tuple(facts(ExportSpec, "convert_from").choices)
            if convert_from not in ways:
                raise _unknown("way to convert", convert_from, ways)
            changes["convert_from"] = convert_from
        if quant:
            changes["quantizations"] = quantizations(quant)
        if (path is None) == (model is None):
            raise fail(
                "export.what",
                "It is not clear what to export.",
                "Name a run, or a model with --model and a folder with --out.",
            )
        if sizes:
            _show_sizes(path, model, changes, display)
            return
        if path is not None:
            status = _export_run(path, changes, display)
        else:
            status = _convert(str(model), out, data, changes, display)
    raise typer.Exit(status)


def selftest(path: RunArgument, as_json: JsonOption = False) -> None:
    """Test the merged model and every GGUF file of a run; the exit status is 1 when one failed."""
    display = Display(as_json=as_json)
    command = commands.SelfTest(run=str(path.resolve()))
    ending = headless.perform(command, display)
    status = headless.exit_status(ending)
    if status == 0 and any(not stage.passed for stage in _stages(path, command.id)):
        status = headless.FAILED
    raise typer.Exit(status)


def push(
    path: RunArgument,
    repository: Annotated[str, typer.Argument(help="Repository: name or organisation/name.")],
    what: Annotated[str, typer.Option("--what", help="adapter, merged or gguf.")] = "adapter",
    public: Annotated[bool, typer.Option("--public", help="For everyone to see.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Upload what a run has made to the Hugging Face hub, with a model card; private by default."""
    display = Display(as_json=as_json)
    with refusing(display):
        if what not in get_args(What):
            raise _unknown("what", what, get_args(What))
        command = commands.Push.model_validate(
            {
                "run": str(path.resolve()),
                "repository": repository,
                "what": what,
                "private": not public,
            }
        )
    raise typer.Exit(headless.exit_status(headless.perform(command, display)))


def quantizations(given: list[str]) -> tuple[Quantization, ...]:
    """The quantisations that are meant, whatever their case; raises ProblemError."""
    named = [part.strip().upper() for text in given for part in text.split(",") if part.strip()]
    known: dict[str, Quantization] = {name: name for name in QUANTIZATIONS}
    for name in named:
        if name not in known:
            raise _unknown("quantisation", name, tuple(known))
    return tuple(known[name] for name in dict.fromkeys(named))


def _unknown(kind: str, given: str, known: tuple[str, ...]) -> ProblemError:
    return fail(
        "export.unknown_choice",
        f"There is no {kind} “{given}”.",
        f"Known are: {', '.join(known)}.",
        where=Where(step="export"),
    )


def _spec(spec: ExportSpec, changes: dict[str, Any]) -> ExportSpec:
    return ExportSpec.model_validate(spec.model_dump() | changes)


def _export_run(path: Path, changes: dict[str, Any], display: Display) -> int:
    run = RunFolder(path.resolve())
    if problem := headless.missing(run, "Export"):
        raise ProblemError([problem])
    if changes:
        project = run.load_project()
        spec = _spec(project.export, changes)
        run.take_later_settings(project.model_copy(update={"export": spec}), run.path)
    return headless.run_stages(run, ("Export",), display)


def _convert(
    model: str, out: Path | None, data: Path | None, changes: dict[str, Any], display: Display
) -> int:
    if out is None:
        raise fail("export.no_out", "There is no folder to write to.", "Name one with --out.")
    command = commands.Convert(
        model=model_of(model),
        out=str(out.expanduser().resolve()),
        export=_spec(ExportSpec(), changes),
        data=str(data.expanduser().resolve()) if data else "",
    )
    return headless.exit_status(headless.perform_outside(command, display))


def _show_sizes(
    path: Path | None, model: str | None, changes: dict[str, Any], display: Display
) -> None:
    run = RunFolder(path.resolve()) if path is not None else None
    project = run.load_project() if run is not None else None
    command = commands.EstimateSizes(
        model=project.model if project else model_of(str(model)),
        export=_spec(project.export if project else ExportSpec(), changes),
        run=str(run.path) if run else "",
    )
    found = ask(command, events.SizesEstimated, display)
    if display.as_json:
        print(found.model_dump_json(context=READABLE))
        return
    table = Table("Quantisation", "Size", "Loss", "", box=None)
    for name, known in QUANTIZATIONS.items():
        if name in found.bytes:
            note = "needs a matrix" if known.needs_imatrix else ""
            only = f"only for {known.only_for}" if known.only_for else note
            table.add_row(name, formatting.size(found.bytes[name]), known.loss, only)
    display.console.print(table)
    display.say(f"With {found.tools}.")


def _stages(path: Path, command: str) -> list[events.SelfTested]:
    found = RunFolder(path.resolve()).events()
    return [e for e in found if isinstance(e, events.SelfTested) and e.id == command]
