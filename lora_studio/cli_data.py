"""`lora-studio data`: what a file, a folder or a hub dataset holds, before anything trains on it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from lora_studio import client, headless
from lora_studio.console import Display
from lora_studio.core import commands, events, words
from lora_studio.core.dataset import FORMAT_TITLES, DatasetSpec, Source
from lora_studio.core.events import SourceFound
from lora_studio.core.problems import Problem, ProblemError, Where, fail

app = typer.Typer(help="Look at data before training on it.", no_args_is_help=True)

FileArgument = Annotated[
    str, typer.Argument(metavar="FILE", help="File, folder of files, or id of a hub dataset.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]
FormatOption = Annotated[
    str, typer.Option("--format", help=f"Read it as one of: {', '.join(FORMAT_TITLES)}.")
]
MapOption = Annotated[
    list[str] | None,
    typer.Option(
        "--map",
        metavar="SLOT=COLUMN",
        help="Which column or template fills a slot, e.g. --map 'question={title}\\n{body}'.",
    ),
]
SubsetOption = Annotated[str, typer.Option(help="Configuration of a hub dataset.")]
SplitOption = Annotated[str, typer.Option(help="Split of a hub dataset.")]
RevisionOption = Annotated[str, typer.Option(help="Branch, tag or commit of a hub dataset.")]

_TASKS = {
    "sft": "conversations (supervised fine-tuning)",
    "text": "plain text",
    "preference": "pairs of a better and a worse answer",
    "kto": "answers labelled good or bad",
    "unsupported": "cannot be trained on",
}
_COLUMNS_SHOWN, _REASONS_SHOWN = 20, 12


@app.command()
def inspect(
    file: FileArgument,
    as_json: JsonOption = False,
    row_format: FormatOption = "auto",
    mapping: MapOption = None,
    subset: SubsetOption = "",
    split: SplitOption = "train",
    revision: RevisionOption = "main",
) -> None:
    """Say what format the rows have, which columns are used, and which rows are left out and why.

    The exit status is 0 when rows can be trained on, 2 when they cannot.
    """
    display = Display(as_json=as_json)
    try:
        source = source_of(
            file, row_format, mapping or [], subset=subset, split=split, revision=revision
        )
        answer = _answer(commands.InspectDataset(dataset=DatasetSpec(sources=(source,))), display)
    except ProblemError as error:
        answer = error.problems[0]
    report = (
        _report(answer, file)
        if isinstance(answer, events.DatasetInspected)
        else _refused(answer, file)
    )
    if as_json:
        print(json.dumps(report, indent=2))
    else:
        _show(report, display)
    raise typer.Exit(_status(report, answer))


def source_of(
    file: str,
    row_format: str,
    mapping: Sequence[str],
    *,
    subset: str = "",
    split: str = "train",
    revision: str = "main",
) -> Source:
    """The source that the options of a verb describe; raises ProblemError.

    What is no file here but has the spelling of a hub id is one.
    """
    if row_format != "auto" and row_format not in FORMAT_TITLES:
        raise _wrong(
            "dataset.unknown_format",
            f"There is no format “{row_format}”.",
            f"The formats are: auto, {', '.join(FORMAT_TITLES)}.",
        )
    slots: dict[str, str] = {}
    for entry in mapping:
        slot, equals, value = entry.partition("=")
        if not equals or not slot.strip():
            raise _wrong(
                "dataset.unknown_slot",
                f"“{entry}” maps nothing.",
                "Write SLOT=COLUMN or SLOT=TEMPLATE, e.g. question={title}.",
            )
        slots[slot.strip()] = value
    local = Path(file).expanduser()
    is_hub = bool(file) and not local.exists() and Source(path=file).is_hub
    return Source.model_validate(
        {
            "path": file if is_hub else str(local.resolve()),
            "format": row_format,
            "mapping": slots,
            "subset": subset,
            "split": split,
            "revision": revision,
        }
    )


def _answer(
    command: commands.InspectDataset, display: Display
) -> events.DatasetInspected | Problem:
    """The last word of a worker on a dataset; raises ProblemError when none can be started."""
    worker = client.Worker.start()
    worker.send(command)
    found: events.DatasetInspected | None = None
    quiet = Display(as_json=False)
    stream = client.until_ended(worker, command.id)
    try:
        for event in stream if display.as_json else quiet.shown(_but_failures(stream)):
            match event:
                case events.DatasetInspected():
                    found = event
                case events.Failed():
                    return event.problem
    except KeyboardInterrupt:
        worker.kill()
        raise typer.Exit(headless.INTERRUPTED) from None
    return found or client.crashed("ended without a result", None)
