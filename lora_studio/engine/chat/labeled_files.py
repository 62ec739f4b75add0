"""Predict the labels of the rows of a file, which is read like the data of a training."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from lora_studio.core.dataset.formats.column_names import TEXTS
from lora_studio.core.dataset.formats.columns import find_column, profile_columns
from lora_studio.core.dataset.formats.mapping import fill_slots, find_column_names
from lora_studio.core.dataset.formats.values import to_text
from lora_studio.core.dataset.samples import UnusableRow
from lora_studio.core.messages import Text, counted
from lora_studio.core.problems import Problem, ProblemError, Where, fail, warning
from lora_studio.core.protocol import commands, events
from lora_studio.core.runs.folder import RunFolder
from lora_studio.engine.chat import label_predictor
from lora_studio.engine.chat.label_predictor import LabelPredictor
from lora_studio.engine.dataset.reasons import NO_FORMAT
from lora_studio.engine.dataset.rows import scan
from lora_studio.engine.runtime.channel import JobContext

#: Rows that are classified at once, and reasons for skipped ones that are named.
_CHUNK, _NAMED = 512, 3

#: A row as JSON and as values.
Row = tuple[str, dict[str, Any]]


def classify_file(run: RunFolder, command: commands.ClassifyFile, job: JobContext) -> None:
    """Emit the label probabilities of the rows of a file, some hundred at a time; raises ProblemError.

    Rows that can't be read are left out, with a warning.
    """
    label_predictor.require_classifier(run)
    reader = _RowReader(command, job)
    column = ""
    for rows in reader.iter_chunks():
        # The first rows show whether the file can be used, before the model is loaded.
        column = column or _choose_column(run, command, [values for _, values in rows])
        predictor = LabelPredictor.open(run, job)
        texts = [_get_text(values, column) for _, values in rows]
        predicted = predictor.predict(texts, lambda _: job.check())
        job.emit(predicted.model_copy(update={"rows": tuple(line for line, _ in rows)}))
    if reader.skipped:
        problem = reader.describe_skipped()
        if not column:
            raise ProblemError(problem)
        job.emit(events.Warned(problem=problem))


@dataclass
class _RowReader:
    """Reads rows, and counts those that can't be read by the reason."""

    command: commands.ClassifyFile
    job: JobContext
    skipped: Counter[Text] = field(default_factory=Counter)

    def iter_chunks(self) -> Iterator[list[Row]]:
        """Yield the rows; each line of a text file is one. Raises ProblemError."""
        rows: list[Row] = []
        for container, block in scan.iter_rows(self.command.source, self.job):
            for raw in block:
                if raw.values is None:
                    self.skipped[(raw.fault or NO_FORMAT).text] += 1
                elif container.kind == "text":
                    lines = [{"text": line} for line in raw.values["text"].splitlines()]
                    rows += ((orjson.dumps(line).decode(), line) for line in lines)
                else:
                    rows.append((raw.raw, raw.values))
            while len(rows) >= _CHUNK:
                yield rows[:_CHUNK]
                del rows[:_CHUNK]
        if rows:
            yield rows

    def describe_skipped(self) -> Problem:
        """Return the warning about the rows that are left out."""
        file = self.command.source.path
        return warning(
            "classify.skipped_rows",
            counted(
                self.skipped.total(),
                "{n} row of {file} can't be read and isn't classified: {reasons}.",
                "{n} rows of {file} can't be read and aren't classified: {reasons}.",
                file=Path(file).name,
                reasons=tuple(reason for reason, _ in self.skipped.most_common(_NAMED)),
            ),
            "Correct these rows, and classify the file again.",
            where=Where(file=file),
        )


def _choose_column(
    run: RunFolder, command: commands.ClassifyFile, rows: Sequence[dict[str, Any]]
) -> str:
    """Return the column with the texts, or a template of several; raises ProblemError if none is certain."""
    columns = tuple(dict.fromkeys(name for row in rows for name in row))
    usual = [source.mapping.get("text", "") for source in run.load_project().dataset.sources]
    named_text = find_column(profile_columns(rows, columns), TEXTS, "text")
    candidates = [
        *usual,
        named_text.name if named_text else "",
        columns[0] if len(columns) == 1 else "",
    ]
    for candidate in [command.column] if command.column else candidates:
        if candidate and set(find_column_names(candidate, columns)) <= set(columns):
            return candidate
    raise _no_column_error(command, columns)


def _get_text(row: dict[str, Any], column: str) -> str:
    """Return the text of a row, "" if it has none."""
    try:
        return to_text(fill_slots(row, {"text": column}).get("text", ""))
    except UnusableRow:
        return ""


def _no_column_error(command: commands.ClassifyFile, columns: tuple[str, ...]) -> ProblemError:
    """Return the error for a file whose texts aren't found."""
    path = Path(command.source.path)
    where = Where(file=str(path))
    if command.column:
        return fail(
            "classify.no_column",
            "{file} has no column {name}.",
            "Name one of its columns with --column: {columns}.",
            where=where,
            file=path.name,
            name=command.column,
            columns=columns,
        )
    return fail(
        "classify.which_column",
        "We couldn't tell which column of {file} has the texts.",
        "Name one of its columns with --column: {columns}.",
        where=where,
        file=path.name,
        columns=columns,
    )
