"""`lora-studio classify`: predict the labels of texts with a trained classifier."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from lora_studio.cli import access, headless
from lora_studio.cli.classification.label_table import print_report
from lora_studio.cli.classification.text_files import PredictionWriter, Row, TextFile, get_kind
from lora_studio.cli.common import exit_on_problem
from lora_studio.cli.console import Display, write_out
from lora_studio.client import worker as client_worker
from lora_studio.core import formatting
from lora_studio.core.problems import fail
from lora_studio.core.project.project import Project
from lora_studio.core.protocol import commands, events
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.runs.manifest import get_label_report
from lora_studio.core.system.files import open_atomic
from lora_studio.core.system.paths import expand_home

#: Texts that are sent to the worker at once.
_CHUNK = 512
#: Labels that are shown for each text, the most probable first.
_SHOWN = 5

TextsArgument = Annotated[list[str] | None, typer.Argument(metavar="[TEXT]...", help="Texts to classify.")]  # fmt: skip
FileOption = Annotated[
    Path | None, typer.Option("--file", help="Classify the texts of this CSV, JSON lines, or text file.")
]  # fmt: skip
ColumnOption = Annotated[str, typer.Option("--column", help="Column of the file that has the texts.")]  # fmt: skip
OutOption = Annotated[
    Path | None, typer.Option("--out", help="Write the rows with their labels to this CSV or JSON lines file.")
]  # fmt: skip
JsonTextsOption = Annotated[
    bool, typer.Option("--json", help="Print JSON lines with the probabilities of all labels.")
]


def classify(
    path: Annotated[Path, typer.Argument(help="Run folder, inside a project's runs folder.")],
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
            access.ask_for_run(run, frozen, display)
        if file is not None:
            _classify_file(run, _open_file(file, column, frozen), out, display)
        elif texts:
            _classify_texts(run, texts, out, display)
        else:
            _show_report(run, display)


def _open_file(file: Path, column: str, frozen: Project) -> TextFile:
    """Return a file with the column of texts: the named one, or one like in training; raises ProblemError."""
    usual = [source.mapping.get("text", "") for source in frozen.dataset.sources]
    return TextFile.find_column(expand_home(file), column, [*usual, "text"])


def _classify_file(run: RunFolder, source: TextFile, out: Path | None, display: Display) -> None:
    """Classify the texts of a file, and write its rows with their labels."""
    chunks: list[Sequence[Row]] = []

    def iter_texts() -> Iterator[list[str]]:
        remaining = source.iter_rows()
        while rows := list(islice(remaining, _CHUNK)):
            chunks.append(rows)
            yield [source.get_text(row) for row in rows]

    with _open_output(out, source.kind, display) as writer:
        for predicted in _predict(run, iter_texts(), display):
            writer.add(chunks.pop(), predicted)


def _classify_texts(run: RunFolder, texts: list[str], out: Path | None, display: Display) -> None:
    """Classify texts, and print a table of them, or write them to a file."""
    (predicted,) = _predict(run, [texts], display)
    if out is None and not display.as_json:
        display.console.print(_make_table(texts, predicted))
        return
    with _open_output(out, "txt", display) as writer:
        writer.add([{"text": each} for each in texts], predicted)


@contextmanager
def _open_output(out: Path | None, kind: str, display: Display) -> Iterator[PredictionWriter]:
    """Yield what writes rows to a file or to stdout, in the format of the output or else of the input."""
    if out is None:
        yield PredictionWriter("jsonl" if display.as_json or kind == "jsonl" else "csv", write_out)
        return
    with open_atomic(out) as sink:
        yield PredictionWriter(get_kind(out), lambda line: sink.write(line.encode()))
    display.console.print(f"Written: {out}", soft_wrap=True, markup=False)


def _predict(
    run: RunFolder, chunks: Iterable[Sequence[str]], display: Display
) -> Iterator[events.TextsClassified]:
    """Yield the predictions for each group of texts; exits if they fail. Notes go to stderr, rows may go to stdout."""
    notes = Display(as_json=True)
    worker = client_worker.Worker.start()
    try:
        stream = worker.iter_events()
        cut = 0
        for texts in chunks:
            command = commands.Classify(run=str(run.path), texts=tuple(texts))
            worker.send(command)
            for event in display.show_progress(_until_ended(stream, command)):
                match event:
                    case events.Warned():
                        notes.print_problem(event.problem)
                    case events.TextsClassified():
                        cut += event.cut
                        yield event
                    case events.Failed():
                        display.print_problems([event.problem])
                        raise typer.Exit(headless.FAILED)
        if cut:
            line = f"Longer than the max. sequence length, and classified by their beginning: {formatting.format_plural(cut, 'text')}"
            notes.console.print(line, soft_wrap=True, style="dim", markup=False)
    except KeyboardInterrupt:
        raise typer.Exit(headless.INTERRUPTED) from None
    finally:
        worker.kill()
        worker.close()


def _until_ended(
    stream: Iterator[events.Event], command: commands.Classify
) -> Iterator[events.Event]:
    """Yield events up to the ending of a command, and leave the stream open for further ones."""
    for event in stream:
        yield event
        if isinstance(event, events.Ending) and event.id == command.id:
            return


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
