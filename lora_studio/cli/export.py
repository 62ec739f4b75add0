"""`lora-studio export`, `selftest`, and `push`: create GGUF files, test them, and upload results."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, get_args

import typer

from lora_studio.cli import headless
from lora_studio.cli.common import JsonLinesOption, RunArgument, ask, exit_on_problem, parse_model
from lora_studio.cli.console import Display
from lora_studio.core import formatting
from lora_studio.core.export import QUANTIZATIONS, ExportSpec, Quantization, What
from lora_studio.core.messages import READABLE, text
from lora_studio.core.problems import ProblemError, Where, fail
from lora_studio.core.protocol import commands, events
from lora_studio.core.runs import step_records
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.spec import get_facts

QuantOption = Annotated[
    list[str] | None,
    typer.Option(
        "--quant",
        help="Quantization to create, such as Q4_K_M. Repeat it, or separate several by commas.",
    ),
]

ImatrixOption = Annotated[
    bool, typer.Option("--imatrix", help="Use an importance matrix for all quantizations.")
]
AdapterOption = Annotated[bool, typer.Option("--adapter", help="Also export the adapter as GGUF.")]
LmStudioOption = Annotated[
    bool, typer.Option("--lm-studio", help="Link the files into LM Studio's models folder.")
]
ConvertFromOption = Annotated[
    str,
    typer.Option(
        "--from",
        help="Source of the conversion: auto, adapter (without a merged copy), or merged.",
        metavar="WHAT",
    ),
]
LlamaCppOption = Annotated[
    Path | None, typer.Option("--llama-cpp", help="Folder of your own llama.cpp.")
]
ModelOption = Annotated[
    str | None, typer.Option("--model", help="Hugging Face model to convert instead of a run.")
]
OutOption = Annotated[Path | None, typer.Option("--out", help="Output folder for --model.")]
DataOption = Annotated[
    Path | None, typer.Option("--data", help="Dataset to compute the importance matrix on.")
]
SizesOption = Annotated[bool, typer.Option("--sizes", help="Only show the size of each file.")]


def export(
    path: Annotated[Path | None, typer.Argument(help="Run folder.")] = None,
    quant: QuantOption = None,
    imatrix: ImatrixOption = False,
    adapter: AdapterOption = False,
    lm_studio: LmStudioOption = False,
    convert_from: ConvertFromOption = "",
    llama_cpp: LlamaCppOption = None,
    model: ModelOption = None,
    out: OutOption = None,
    data: DataOption = None,
    sizes: SizesOption = False,
    as_json: JsonLinesOption = False,
) -> None:
    """Create and test the GGUF files of a run and its Ollama model, or convert any model."""
    display = Display(as_json=as_json)
    with exit_on_problem(display):
        changes = _parse_changes(
            quant or [],
            imatrix=imatrix,
            adapter=adapter,
            lm_studio=lm_studio,
            convert_from=convert_from,
            llama_cpp=llama_cpp,
        )
        if (path is None) == (model is None):
            raise fail(
                "export.what",
                "Nothing to export was specified.",
                "Specify a run, or --model MODEL and --out DIR.",
            )
        if sizes:
            _show_sizes(path, model, changes, display)
            return
        if path is not None:
            status = _export_run(path, changes, display)
        else:
            status = _convert(str(model), out, data, changes, display)
    raise typer.Exit(status)


def _parse_changes(
    quant: list[str],
    *,
    imatrix: bool,
    adapter: bool,
    lm_studio: bool,
    convert_from: str,
    llama_cpp: Path | None,
) -> dict[str, Any]:
    """Return the export settings that the options change; raises ProblemError."""
    changes: dict[str, Any] = {}
    if quant:
        changes["quantizations"] = parse_quantizations(quant)
    if imatrix:
        changes["imatrix"] = "always"
    if adapter:
        changes["adapter_gguf"] = True
    if lm_studio:
        changes["lm_studio"] = True
    if convert_from:
        ways = tuple(get_facts(ExportSpec, "convert_from").choices)
        if convert_from not in ways:
            raise _make_unknown_error("--from", convert_from, ways)
        changes["convert_from"] = convert_from
    if llama_cpp is not None:
        changes["llama_cpp"] = str(llama_cpp.expanduser().resolve())
    return changes


def selftest(
    path: RunArgument,
    all_rows: Annotated[
        bool, typer.Option("--all-rows", help="Check all rows of large tensors, not a sample.")
    ] = False,
    as_json: JsonLinesOption = False,
) -> None:
    """Test the merged model and all GGUF files of a run. Exit with 1 if a test fails."""
    display = Display(as_json=as_json)
    command = commands.SelfTest(run=str(path.resolve()), all_rows=all_rows)
    ending = headless.perform(command, display)
    status = headless.get_exit_status(ending)
    if status == 0 and headless.has_failed_selftest(RunFolder(path.resolve()), command):
        status = headless.FAILED
    raise typer.Exit(status)


def push(
    path: RunArgument,
    repository: Annotated[str, typer.Argument(help="Repository: NAME or ORGANIZATION/NAME.")],
    what: Annotated[
        str, typer.Option("--what", help="What to upload: adapter, merged, or gguf.")
    ] = "adapter",
    public: Annotated[bool, typer.Option("--public", help="Make the repository public.")] = False,
    as_json: JsonLinesOption = False,
) -> None:
    """Upload an adapter, merged model, or GGUF files to the Hugging Face Hub.

    Adds a model card. The repository is private unless you use --public.
    """
    display = Display(as_json=as_json)
    with exit_on_problem(display):
        if what not in get_args(What):
            raise _make_unknown_error("--what", what, get_args(What))
        command = commands.Push.model_validate(
            {
                "run": str(path.resolve()),
                "repository": repository,
                "what": what,
                "private": not public,
            }
        )
    raise typer.Exit(headless.get_exit_status(headless.perform(command, display)))


def parse_quantizations(given: list[str]) -> tuple[Quantization, ...]:
    """Return the quantizations named on the command line, ignoring case; raises ProblemError."""
    named = [part.strip().upper() for text in given for part in text.split(",") if part.strip()]
    choices: dict[str, Quantization] = {name: name for name in QUANTIZATIONS}
    for name in named:
        if name not in choices:
            raise _make_unknown_error("--quant", name, tuple(choices))
    return tuple(choices[name] for name in dict.fromkeys(named))


def _make_unknown_error(option: str, given: str, known: tuple[str, ...]) -> ProblemError:
    return fail(
        "export.unknown_choice",
        "Invalid value for {option}: {given}.",
        "Choose one of: {choices}.",
        where=Where(step="export"),
        option=option,
        given=given,
        choices=known,
    )


def _change_spec(spec: ExportSpec, changes: dict[str, Any]) -> ExportSpec:
    return ExportSpec.model_validate(spec.model_dump() | changes)


def _export_run(path: Path, changes: dict[str, Any], display: Display) -> int:
    run = RunFolder(path.resolve())
    if problem := headless.find_missing(run, "Export"):
        raise ProblemError([problem])
    if changes:
        project = run.load_project()
        spec = _change_spec(project.export, changes)
        changed = project.model_copy(update={"export": spec}).resolve(run.path)
        step_records.update_settings(run, changed, "export")
    return headless.run_stages(run, ("Export",), display)


def _convert(
    model: str, out: Path | None, data: Path | None, changes: dict[str, Any], display: Display
) -> int:
    if out is None:
        raise fail("export.no_out", "No output folder was specified.", "Specify one with --out.")
    command = commands.Convert(
        model=parse_model(model),
        out=str(out.expanduser().resolve()),
        export=_change_spec(ExportSpec(), changes),
        data=str(data.expanduser().resolve()) if data else "",
    )
    return headless.get_exit_status(headless.perform_outside(command, display))


def _show_sizes(
    path: Path | None, model: str | None, changes: dict[str, Any], display: Display
) -> None:
    run = RunFolder(path.resolve()) if path is not None else None
    project = run.load_project() if run is not None else None
    command = commands.EstimateSizes(
        model=project.model if project else parse_model(str(model)),
        export=_change_spec(project.export if project else ExportSpec(), changes),
        run=str(run.path) if run else "",
    )
    estimate = ask(command, events.SizesEstimated, display)
    if display.as_json:
        print(events.to_line(estimate, READABLE))
        return
    rows = []
    for name, quantization in QUANTIZATIONS.items():
        if name in estimate.bytes:
            note = "needs an importance matrix" if quantization.needs_imatrix else ""
            only = f"only for {quantization.only_for}" if quantization.only_for else note
            rows.append(
                (name, formatting.format_size(estimate.bytes[name]), quantization.loss, only)
            )
    display.print_table(("Quantization", "Size", "Loss", ""), rows)
    display.print_line(text("Tools: {tools}.", tools=estimate.tools))
