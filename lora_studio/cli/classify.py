"""`lora-studio classify`: predict the labels of texts with a trained classifier."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.table import Table
from rich.text import Text

from lora_studio.cli import common, headless
from lora_studio.cli.common import RunArgument, exit_on_problem
from lora_studio.cli.console import Display, print_report, write_out
from lora_studio.client import worker as client_worker
from lora_studio.client.worker import iter_until_ended
from lora_studio.core import formatting
from lora_studio.core.dataset.spec import DataSource
from lora_studio.core.formatting import CsvWriter
from lora_studio.core.problems import Where, fail
from lora_studio.core.protocol import commands, events
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.runs.manifest import get_label_report
from lora_studio.core.system.files import open_atomic
from lora_studio.core.system.paths import expand_home

#: Labels that are shown for each text, the most probable first.
_SHOWN = 5

TextsArgument = Annotated[list[str] | None, typer.Argument(metavar="[TEXT]...", help="Texts to classify.")]  # fmt: skip
FileOption = Annotated[
    Path | None, typer.Option("--file", help="Classify the rows of this CSV, JSON, Parquet, Arrow, or text file.")
]  # fmt: skip
ColumnOption = Annotated[str, typer.Option("--column", help="Column of the file that has the texts, or a template such as '{title} {body}'.")]  # fmt: skip
OutOption = Annotated[
    Path | None, typer.Option("--out", help="Write the rows with their labels to this CSV or JSON lines file.")
]  # fmt: skip
JsonTextsOption = Annotated[
    bool, typer.Option("--json", help="Print JSON lines with the probabilities of all labels.")
]


def classify(
    path: RunArgument,
    texts: TextsArgument = None,
    file: FileOption = None,
    column: ColumnOption = "",
    out: OutOption = None,
    as_json: JsonTextsOption = False,
) -> None:
    """Predict the labels of texts with the classifier that a run has trained.

    Without texts, shows how well it predicts each label on rows that were held out of training.
    """
    display = Display(as_json=as_json)
    run = RunFolder(path.resolve())
    with exit_on_problem(display):
        frozen = run.load_project()
        if texts and file is not None:
            raise fail(
                "classify.two_inputs",
                "Texts and a file can't be classified at once.",
                "Run the command once for each.",
            )
        if file is not None or texts:
            common.ask_for_run(run, frozen, display)
        if file is not None:
            _classify_file(run, expand_home(file).resolve(), column, out, display)
        elif texts:
            _classify_texts(run, texts, out, display)
        else:
            _show_report(run, display)


def _classify_file(
    run: RunFolder, file: Path, column: str, out: Path | None, display: Display
) -> None:
    """Classify the rows of a file, and write them with their labels."""
    source = DataSource(path=str(file))
    command = commands.ClassifyFile(run=str(run.path), source=source, column=column)
    with _open_output(out, file, display) as writer:
        for predicted in _predict(command, display):
            writer.add([json.loads(row) for row in predicted.rows], predicted)


def _classify_texts(run: RunFolder, texts: list[str], out: Path | None, display: Display) -> None:
    """Classify texts, and print a table of them, or write them to a file."""
    command = commands.Classify(run=str(run.path), texts=tuple(texts))
    if out is None and not display.as_json:
        for predicted in _predict(command, display):
            display.console.print(_make_table(texts, predicted))
        return
    with _open_output(out, None, display) as writer:
        for predicted in _predict(command, display):
            writer.add([{"text": each} for each in texts], predicted)


@contextmanager
def _open_output(
    out: Path | None, source: Path | None, display: Display
) -> Iterator[PredictionWriter]:
    """Yield what writes rows to a file or to stdout, in the format of the output or else like the input."""
    if out is None:
        kind: Kind = "jsonl" if display.as_json else choose_printed_kind(source)
        yield PredictionWriter(kind, write_out)
        return
    kind = get_output_kind(out)
    with open_atomic(out) as sink:
        yield PredictionWriter(kind, lambda line: sink.write(line.encode()))
    display.console.print(f"Written: {out}", soft_wrap=True, markup=False)


def _predict(
    command: commands.Classify | commands.ClassifyFile, display: Display
) -> Iterator[events.TextsClassified]:
    """Yield the predictions as they come; exits if they fail."""
    worker = client_worker.Worker.start()
    cut = 0
    try:
        worker.send(command)
        for event in display.show_progress(iter_until_ended(worker, command.id)):
            match event:
                case events.Warned():
                    display.print_problem(event.problem)
                case events.TextsClassified():
                    cut += event.cut
                    yield event
                case events.Failed():
                    display.print_problems([event.problem])
                    raise typer.Exit(headless.FAILED)
        if cut:
            line = f"Longer than the max. sequence length, and classified by their beginning: {formatting.format_plural(cut, 'text')}"
            display.notes.print(line, soft_wrap=True, style="dim", markup=False)
    except KeyboardInterrupt:
        raise typer.Exit(headless.INTERRUPTED) from None
    finally:
        worker.kill()
        worker.close()


def _make_table(texts: Sequence[str], predicted: events.TextsClassified) -> Table:
    """Return each text with its most probable labels; texts are on one line, and shortened to the terminal."""
    table = Table(box=None)
    table.add_column("Text", no_wrap=True, overflow="ellipsis")
    table.add_column("Label")
    table.add_column("Probability", justify="right", no_wrap=True)
    for content, values in zip(texts, predicted.probabilities, strict=True):
        ranked = sorted(zip(values, predicted.labels, strict=bool(values)), reverse=True)[:_SHOWN]
        shown = " ".join(content.split())
        if not ranked:
            table.add_row(Text(shown), Text("(no text)", "dim"), Text("–"))
        for number, (value, label) in enumerate(ranked):
            style = "" if number else "bold"
            table.add_row(
                Text("" if number else shown),
                Text(label, style),
                Text(formatting.format_percent(value), style),
            )
    return table


def _show_report(run: RunFolder, display: Display) -> None:
    """Print how well a classifier predicts each label; raises ProblemError without an evaluation."""
    if (report := get_label_report(run.read_manifest())) is None:
        raise fail(
            "classify.no_report",
            "This run has no evaluation of a classifier.",
            "Name texts to classify, or train with rows held out for validation.",
        )
    if display.as_json:
        write_out(report.model_dump_json() + "\n")
    else:
        print_report(report, display)


Kind = Literal["csv", "jsonl"]
Row = Mapping[str, Any]

#: The kind of a file of predictions by its suffix.
_KINDS: dict[str, Kind] = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
#: Suffixes of files whose rows are printed as CSV.
_TABLES = (".csv", ".tsv", ".txt")
#: The columns that are added to each row.
LABEL, PROBABILITY, PROBABILITIES = "predicted_label", "probability", "probabilities"


def get_output_kind(out: Path) -> Kind:
    """Return the kind of a file to write by its suffix; raises ProblemError for others."""
    if (kind := _KINDS.get(out.suffix.lower())) is None:
        raise fail(
            "classify.unknown_file",
            "Predictions can't be written as {suffix}.",
            "Choose a file that ends in one of: {suffixes}.",
            where=Where(file=str(out)),
            suffix=out.suffix or out.name,
            suffixes=tuple(_KINDS),
        )
    return kind


def choose_printed_kind(source: Path | None) -> Kind:
    """Return the kind in which the rows of a file, or texts without one, are printed."""
    return "csv" if source is None or source.suffix.lower() in _TABLES else "jsonl"


class PredictionWriter:
    """Writes rows with their predicted label and its probability, as JSON lines with those of all labels."""

    def __init__(self, kind: Kind, write: Callable[[str], object]) -> None:
        """Write CSV or JSON lines with `write`."""
        self._kind, self._write = kind, write
        self._columns: list[str] = []

    def add(self, rows: Sequence[Row], predicted: events.TextsClassified) -> None:
        """Write rows, in the order of their texts."""
        for row, values in zip(rows, predicted.probabilities, strict=True):
            best = max(values, default=None)
            label = None if best is None else predicted.labels[values.index(best)]
            added = {**row, LABEL: label, PROBABILITY: best}
            if self._kind == "jsonl":
                all_labels = dict(zip(predicted.labels, values, strict=bool(values)))
                line = json.dumps({**added, PROBABILITIES: all_labels}, ensure_ascii=False)
                self._write(line + "\n")
            else:
                self._write(self._format_line(added))

    def _format_line(self, row: Row) -> str:
        """Return a line of CSV, after the header if it is the first."""
        sink = io.StringIO()
        writer = CsvWriter(sink)
        if not self._columns:
            self._columns = list(row)
            writer.writerow(self._columns)
        cells = (row.get(name) for name in self._columns)
        writer.writerow(cell if isinstance(cell, int | float | str) or cell is None else json.dumps(cell, ensure_ascii=False) for cell in cells)  # fmt: skip
        return sink.getvalue()
