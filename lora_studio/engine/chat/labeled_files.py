"""Predict the labels of the rows of a file, which is read like the data of a training."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from lora_studio.core import limits
from lora_studio.core.dataset.formats.columns import (
    TEXTS,
    fill_slots,
    find_column,
    find_column_names,
    has_column,
    profile_columns,
)
from lora_studio.core.dataset.formats.values import to_text
from lora_studio.core.messages import Text, counted
from lora_studio.core.problems import Problem, ProblemError, Where, fail, warning
from lora_studio.core.protocol import commands, events
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.tasks.samples import UnusableRow
from lora_studio.engine.chat import label_predictor
from lora_studio.engine.dataset.files import blocks as blocks_module
from lora_studio.engine.dataset.files.blocks import NO_FORMAT
from lora_studio.engine.dataset.rows import scan
from lora_studio.engine.runtime.channel import JobContext

#: The most rows that are classified at once, and the bytes after which no other one is added.
_CHUNK, _CHUNK_BYTES = 512, 4 * 1024 * 1024
#: Reasons for skipped rows that are named.
_NAMED = 3
_LINE_END = re.compile(r"\r\n|\r|\n")

#: A row as JSON and as values.
Row = tuple[str, dict[str, Any]]


def classify_file(run: RunFolder, command: commands.ClassifyFile, job: JobContext) -> None:
    """Emit the label probabilities of the rows of a file, some hundred at a time; raises ProblemError.

    Rows that can't be read are left out, with a warning.
    """
    label_predictor.require_classifier(run)
    reader = _RowReader(command, job)
    chunks = reader.iter_chunks()
    # The first rows show whether the file can be used, before the model is loaded.
    first, column = _choose_column(run, command, chunks)
    if first:
        with label_predictor.open_predictor(run, job) as predictor:
            for rows in itertools.chain(first, chunks):
                texts = [_get_text(values, column) for _, values in rows]
                predicted = predictor.predict(texts, lambda _: job.check())
                job.emit(predicted.model_copy(update={"rows": tuple(line for line, _ in rows)}))
    if reader.skipped:
        problem = reader.describe_skipped()
        if not column:
            raise ProblemError(problem)
        job.emit(events.Warned(problem=problem))


@dataclass
class _LineJoiner:
    """Splits a text, read in parts, into lines; a line may extend over several parts."""

    pieces: list[str] = field(default_factory=list)
    size: int = 0
    held: str = ""

    def add(self, part: str) -> Iterator[str | None]:
        """Yield the lines that end in a part, None for one that is too long for a row."""
        part = self.held + part
        self.held = "\r" if part.endswith("\r") else ""  # "\n" may follow in the next part
        first, *others = _LINE_END.split(part.removesuffix("\r"))
        self._add_piece(first)
        for other in others:
            yield self._end_line()
            self._add_piece(other)

    def finish(self) -> Iterator[str | None]:
        """Yield the last line, unless the text ends with a line break."""
        if self.size or self.held:
            self.held = ""
            yield self._end_line()

    def _add_piece(self, piece: str) -> None:
        self.size += len(piece)
        if self.size <= limits.ROW_BYTES:
            self.pieces.append(piece)

    def _end_line(self) -> str | None:
        line = "".join(self.pieces) if self.size <= limits.ROW_BYTES else None
        self.pieces, self.size = [], 0
        return line


@dataclass
class _RowReader:
    """Reads rows, and counts those that can't be read by the reason."""

    command: commands.ClassifyFile
    job: JobContext
    skipped: Counter[Text] = field(default_factory=Counter)

    def iter_chunks(self) -> Iterator[list[Row]]:
        """Yield the rows, some hundred or a few megabytes at a time; raises ProblemError."""
        rows: list[Row] = []
        size = 0
        for row in self._iter_rows():
            rows.append(row)
            size += len(row[0])
            if len(rows) >= _CHUNK or size >= _CHUNK_BYTES:
                yield rows
                rows, size = [], 0
        if rows:
            yield rows

    def _iter_rows(self) -> Iterator[Row]:
        """Yield the rows; each line of a text file is one."""
        files = scan.iter_rows(self.command.source, self.job)
        for container, blocks in itertools.groupby(files, lambda file: file[0]):
            lines = _LineJoiner()
            for raw in itertools.chain.from_iterable(block for _, block in blocks):
                if raw.values is None:
                    self.skipped[(raw.fault or NO_FORMAT).text] += 1
                elif container.kind == "text":
                    yield from self._to_rows(lines.add(raw.values["text"]))
                else:
                    yield raw.raw, raw.values
            yield from self._to_rows(lines.finish())

    def _to_rows(self, lines: Iterable[str | None]) -> Iterator[Row]:
        for line in lines:
            if line is None:
                self.skipped[blocks_module.TOO_LARGE.text] += 1
            else:
                values = {"text": line}
                yield orjson.dumps(values).decode(), values

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
    run: RunFolder, command: commands.ClassifyFile, chunks: Iterator[list[Row]]
) -> tuple[list[list[Row]], str]:
    """Return the first chunks, and the column with the texts or a template of several.

    A column that is named by the command or the training may be missing in many rows: as many are read
    as are held in memory for a sample. Without a row, there is no column. Raises ProblemError if no
    column is certain.
    """
    usual = [source.mapping.get("text", "") for source in run.load_project().dataset.sources]
    named = [name for name in ([command.column] if command.column else usual) if name]
    first: list[list[Row]] = []
    columns: dict[str, None] = {}
    size = 0
    for rows in chunks:
        first.append(rows)
        columns |= dict.fromkeys(name for _, values in rows for name in values)
        for name in named:
            if _has_columns(name, columns):
                return first, name
        size += sum(len(line) + limits.ROW_COST for line, _ in rows)
        if not named or size > limits.SAMPLE_BYTES:
            break
    if not first:
        return first, ""
    names = tuple(columns)
    if command.column:
        raise _no_column_error(command, names)
    profiles = profile_columns([values for _, values in first[0]], names)
    if (column := find_column(profiles, TEXTS, "text")) is not None:
        return first, column.name
    if len(names) == 1:
        return first, names[0]
    raise _no_column_error(command, names)


def _has_columns(source: str, columns: Collection[str]) -> bool:
    """Return whether there are all columns of a mapping's value."""
    return all(has_column(name, columns) for name in find_column_names(source, columns))


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
