"""Scan a source: one pass that writes its rows to an Arrow file, which everything else reads.

A scan is cached under the hash of the files' content, and looked up by their paths, sizes and times.
Memory use is a few blocks of rows, whatever the size of the files.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from lora_studio.core import limits
from lora_studio.core.dataset.spec import DataSource
from lora_studio.core.messages import Template, Text, counted, listed, text
from lora_studio.core.problems import Problem, ProblemError, Where, warning
from lora_studio.core.protocol import events
from lora_studio.engine.dataset.files.archives import Allowance, Check
from lora_studio.engine.dataset.files.blocks import ReadNotes, RowBlock, parse_values
from lora_studio.engine.dataset.files.columnar import read_columnar_blocks
from lora_studio.engine.dataset.files.exports.catalog import EXPORTS
from lora_studio.engine.dataset.files.readers import read_blocks, read_parts
from lora_studio.engine.dataset.files.sniffing import (
    Container,
    file_error,
    open_stream,
    require_columns,
)
from lora_studio.engine.dataset.rows import scan_cache
from lora_studio.engine.dataset.rows.chains import join_conversations
from lora_studio.engine.dataset.rows.sources import SourceFiles, find_files
from lora_studio.engine.dataset.rows.store import (
    RawRow,
    RowStore,
    RowWriter,
    ScanFacts,
    ScannedFile,
    join_titles,
)
from lora_studio.engine.runtime.channel import JobContext
from lora_studio.engine.runtime.memory_guard import ReadingLimit, limit_reading

#: Increase this whenever a scan of the same file would give a different result.
VERSION = 20

#: Problems of a file as a whole, for which even its first rows aren't used.
_REFUSED = ("dataset.expands", "dataset.too_many_columns", "dataset.too_much_memory")


@dataclass(frozen=True)
class FirstRows:
    """The beginning of a source; `is_all` if these are all of its rows, or it was scanned before."""

    rows: tuple[RawRow, ...]
    columns: tuple[str, ...]
    title: Text
    is_all: bool


def open_store(source: DataSource, job: JobContext) -> RowStore:
    """Return the scanned rows of a source, cached if possible; raises ProblemError."""
    with limit_reading(source, job):
        return _open_store(source, job)


def _open_store(source: DataSource, job: JobContext) -> RowStore:
    files = find_files(source, job)
    key = _get_key(files)
    if (store := _open_cached(key)) is not None:
        return store
    scan_cache.delete_unused()
    with scan_cache.create_scan_folder() as folder:
        facts = _Scan(files, folder, job).run()
        facts = join_conversations(RowStore(folder, facts), job)
        scan = scan_cache.keep_scan(folder, facts.fingerprint)
    scan_cache.store_facts(key, facts.model_dump_json())
    return RowStore(scan, facts)


def read_first_rows(source: DataSource, count: int, job: JobContext) -> FirstRows:
    """Return the beginning of a source, read without a scan; raises ProblemError."""
    with limit_reading(source, job):
        return _read_first_rows(source, count, job)


def _read_first_rows(source: DataSource, count: int, job: JobContext) -> FirstRows:
    files = find_files(source, job)
    if (store := _open_cached(_get_key(files))) is not None:
        first = tuple(store.read_raw(position) for position in range(min(count, len(store))))
        return FirstRows(first, store.facts.columns, store.title, is_all=True)
    notes = ReadNotes()
    rows: list[RawRow] = []
    size = 0
    titles: list[Text] = []
    damage: ProblemError | None = None
    for container in files.iter_containers(job):
        titles.append(container.title)
        try:
            for block, _ in _iter_blocks(container, notes, job.check):
                rows += _to_raw_rows(block, len(rows) + 1, count - len(rows))
                notes.rows += len(block)
                size += sum(map(len, block.raws))
                if len(rows) == count or size > limits.SAMPLE_BYTES:
                    return FirstRows(tuple(rows), tuple(notes.columns), join_titles(titles), False)
        except ProblemError as error:  # the scan reports it, and reads the other files too
            if _is_refused(error):
                raise
            damage = damage or error
    if not rows:
        raise damage or _empty_source_error(source)
    return FirstRows(tuple(rows), tuple(notes.columns), join_titles(titles), True)


def iter_rows(source: DataSource, job: JobContext) -> Iterator[tuple[Container, list[RawRow]]]:
    """Yield the rows of a source in blocks, each with its file, without storing them; raises ProblemError.

    Rows stay as their file has them: messages aren't joined to conversations. What is unusual about a
    file, and that its end is missing, is emitted as a warning.
    """
    blocks, limit = _iter_rows(source, job), ReadingLimit(source, job)
    while True:
        with limit.enter():  # not while a model works on the rows
            block = next(blocks, None)
        if block is None:
            return
        yield block


def _iter_rows(source: DataSource, job: JobContext) -> Iterator[tuple[Container, list[RawRow]]]:
    files, notes = find_files(source, job), ReadNotes()
    sizes = {candidate.file: candidate.file.stat().st_size for candidate in files.candidates}
    total, done = sum(sizes.values()), 0.0
    allowances = {file: Allowance(file) for file in sizes}
    members = Counter(candidate.file for candidate in files.candidates)  # share an archive's size
    for container in files.iter_containers(job):
        if container.kind == "text":  # each line is a text, also in a chat or a page
            container = replace(container, export="")
        end = _End()
        _emit_warnings(_iter_known_problems(container), job)
        for block, position in _iter_blocks(container, notes, job.check, end):
            allowances[container.path].add(_compute_content(block))
            rows = _to_raw_rows(block, notes.rows + 1, len(block))
            notes.rows += len(block)
            yield container, rows
            job.report_progress("reading rows", int(done + position), total, "bytes")
        if end.broken:
            _emit_warnings([_truncated_file_problem(container, end.broken)], job)
        done += sizes[container.path] / members[container.path]
    if not notes.rows:
        raise _empty_source_error(source)
    _emit_warnings([*_iter_oddities(notes, source), *files.get_problems()], job)


def _emit_warnings(problems: Iterable[Problem], job: JobContext) -> None:
    for problem in problems:
        job.emit(events.Warned(problem=problem))


def _open_cached(key: str) -> RowStore | None:
    """Return the scan that is cached under a key, if it is complete and of this version."""
    text = scan_cache.read_facts(key)
    if text is None:
        return None
    try:
        facts = ScanFacts.model_validate_json(text)
    except ValidationError:
        return None
    folder = scan_cache.find_scan(facts.fingerprint, facts.bytes)
    return RowStore(folder, facts) if folder else None


def _get_key(files: SourceFiles) -> str:
    """Return a key of the files' paths, sizes and times, which shows that one was changed."""
    facts: list[Any] = [VERSION, files.source.split]
    for candidate in files.candidates:
        state = candidate.file.stat()
        facts.append((str(candidate.file), candidate.member, state.st_size, state.st_mtime_ns))
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]


class _Scan:
    """Reads every row of a source into an Arrow file."""

    def __init__(self, files: SourceFiles, folder: Path, job: JobContext) -> None:
        self._files, self._folder, self._job = files, folder, job
        self._notes = ReadNotes()
        self._problems: list[Problem] = []
        self._scanned: list[ScannedFile] = []
        sizes = {one.file: one.file.stat().st_size for one in files.candidates}
        self._total, self._done = sum(sizes.values()), 0.0
        self._allowances = {file: Allowance(file) for file in sizes}

    def run(self) -> ScanFacts:
        """Write the rows; raises ProblemError when there are none, or no disk space for them."""
        scan_cache.require_space(self._folder, self._total)
        containers = list(self._files.iter_containers(self._job))
        file = self._folder / scan_cache.ROWS
        with RowWriter(file) as writer:
            for container in containers:
                self._read(container, writer, is_only=len(containers) == 1)
        if not self._notes.rows:
            raise _empty_source_error(self._files.source)
        self._problems += _iter_chat_warnings(containers, self._files.source)
        self._problems += _iter_oddities(self._notes, self._files.source)
        return ScanFacts(
            fingerprint=self._compute_fingerprint(containers),
            rows=self._notes.rows,
            columns=tuple(self._notes.columns),
            files=tuple(self._scanned),
            faults=writer.faults,
            problems=tuple(self._problems + self._files.get_problems()),
            batches=tuple(writer.batches),
            bytes=file.stat().st_size,
        )

    def _read(self, container: Container, writer: RowWriter, *, is_only: bool) -> None:
        self._job.open_file(container.path)
        first, size = self._notes.rows, container.path.stat().st_size
        end = _End()
        self._problems += _iter_known_problems(container)
        try:
            for block, position in _iter_blocks(container, self._notes, self._job.check, end):
                self._job.report_progress(
                    "reading rows", self._done + position, self._total, "bytes"
                )
                self._allowances[container.path].add(_compute_content(block))
                if len(block):
                    writer.write(block)
                    self._notes.rows += len(block)
        except ProblemError as error:
            if (is_only and self._notes.rows == first) or _is_refused(error):
                raise
            self._problems += [
                problem.model_copy(update={"severity": "warning"}) for problem in error.problems
            ]
        if not end.sha256:  # the reader gave up before the end
            with open_stream(container.path, container.member, check=self._job.check) as stream:
                end.sha256 = stream.compute_sha256()
        if end.broken:
            self._problems.append(_truncated_file_problem(container, end.broken))
        # The members of an archive share its size.
        members = sum(one.file == container.path for one in self._files.candidates)
        self._done += size / max(1, members)
        self._scanned.append(
            ScannedFile(
                path=str(container.path),
                member=container.member,
                title=container.title,
                sha256=end.sha256,
                first=first,
            )
        )

    def _compute_fingerprint(self, containers: list[Container]) -> str:
        facts: list[Any] = [VERSION]
        for container, scanned in zip(containers, self._scanned, strict=True):
            facts.append((scanned.sha256, repr((container.kind, container.encoding.codec, container.dialect, container.shape, container.export))))  # fmt: skip
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]


@dataclass
class _End:
    """The result of reading a file: the hash of its bytes, and why its end is missing, if it is."""

    sha256: str = ""
    broken: str = ""


def _iter_blocks(
    container: Container, notes: ReadNotes, check: Check, end: _End | None = None
) -> Iterator[tuple[RowBlock, float]]:
    """Yield blocks of rows with the bytes of the file read so far; the rest goes to `end`."""
    for block, position in _iter_all_blocks(container, notes, check, end):
        require_columns(container, len(notes.columns))
        yield block, position


def _iter_all_blocks(
    container: Container, notes: ReadNotes, check: Check, end: _End | None
) -> Iterator[tuple[RowBlock, float]]:
    if container.kind in ("parquet", "arrow"):
        size = container.path.stat().st_size
        scratch = scan_cache.create_scan_folder
        for block, share in read_columnar_blocks(container, notes, scratch, check):
            yield block, share * size
        if end is not None:
            with container.open(check) as stream:
                end.sha256 = stream.compute_sha256()
        return
    if container.parts:
        digest = hashlib.sha256()
        for block in read_parts(container, notes, check, digest):
            yield block, float(container.path.stat().st_size)
        if end is not None:
            end.sha256 = digest.hexdigest()
        return
    with container.open(check) as stream:
        for block in read_blocks(container, stream, notes):
            yield block, stream.position
        if end is not None:
            end.sha256, end.broken = stream.compute_sha256(), stream.broken


def _compute_content(block: RowBlock) -> int:
    """Return what a block counts toward the content of its file, in bytes."""
    return sum(map(len, block.raws)) + limits.ROW_COST * len(block)


def _is_refused(error: ProblemError) -> bool:
    return error.problems[0].code in _REFUSED


def _to_raw_rows(block: RowBlock, number: int, most: int) -> list[RawRow]:
    zipped = zip(block.raws, block.lines, block.offsets, block.faults, strict=True)
    return [
        RawRow(
            number + index,
            line,
            offset,
            raw.decode("utf-8"),
            fault,
            None if fault else parse_values(raw),
        )
        for index, (raw, line, offset, fault) in enumerate(zipped)
        if index < most
    ]


# --- problems -------------------------------------------------------------------------------------


def _empty_source_error(source: DataSource) -> ProblemError:
    path = Path(source.path)
    return file_error(
        path, "dataset.empty", "{name} has no rows.", "Choose a file with rows.", name=path.name
    )


def _warning(
    container: Container, code: str, what: Template, remedy: Template, **values: Any
) -> Problem:
    where = Where(step="dataset", field="sources", file=str(container.path))
    return warning(code, what, remedy, where=where, name=container.name, **values)


def _iter_known_problems(container: Container) -> Iterator[Problem]:
    """Yield what is unusual about a file as a whole."""
    if container.encoding.is_guessed:
        yield _warning(
            container,
            "dataset.encoding_guessed",
            "{name} is not UTF-8. It was read as {encoding}, which fits its letters best.",
            "Check the accented letters in the rows. If they are wrong, save the file as UTF-8.",
            encoding=container.encoding.title,
        )
    if container.dialect is not None and not container.dialect.has_header:
        yield _warning(
            container,
            "dataset.no_header",
            "The first line of {name} doesn't look like column names, so it is read as a row.",
            "Add a first line with the names of the columns, or map the columns by number.",
        )
    if container.kind == "json list" and container.shape and container.shape.lists:
        yield _warning(
            container,
            "dataset.other_lists",
            "{name} contains other lists of rows, which aren't used: {lists}.",
            "To read one of them instead, choose it as the split.",
            lists=", ".join(container.shape.lists[:8]),
        )


def _iter_chat_warnings(containers: list[Container], source: DataSource) -> Iterator[Problem]:
    """Yield a warning for each kind of exported chats in a source."""
    for export in dict.fromkeys(container.export for container in containers):
        if export and EXPORTS[export].is_chat:
            yield warning(
                "dataset.chat_log",
                "{name} is an exported chat ({export}). Its messages are grouped into conversations by thread, "
                "by reply, and by pauses of hours.",
                "Check some rows, and whose messages are the answers.",
                where=Where(step="dataset", field="sources", file=source.path),
                name=Path(source.path).name,
                export=EXPORTS[export].title,
            )


def _truncated_file_problem(container: Container, reason: str) -> Problem:
    return _warning(
        container,
        "dataset.broken_off",
        "{name} can't be read to the end: {reason}. The rows before that point are used.",
        "Download or create the file again.",
        reason=reason,
    )


def _iter_oddities(notes: ReadNotes, source: DataSource) -> Iterator[Problem]:
    if left_out := [text(what, count=count) for what, count in notes.left_out.items() if count]:
        yield warning(
            "dataset.parts_left_out",
            "No row contains these parts of {name}: {parts}.",
            "LoRA Studio trains on what people have written. You don't have to do anything.",
            where=Where(step="dataset", field="sources", file=source.path),
            name=Path(source.path).name,
            parts=listed(left_out),
        )
    for oddity, (count, row) in notes.oddities.items():
        yield warning(
            "dataset.odd_spelling",
            counted(
                count,
                "In {n} row, row {row:d}: {oddity}.",
                "In {n} rows, starting with row {row:d}: {oddity}.",
                row=row,
                oddity=oddity,
            ),
            "If this isn't what you want, correct these rows.",
            where=Where(step="dataset", field="sources", file=source.path, row=row),
        )
