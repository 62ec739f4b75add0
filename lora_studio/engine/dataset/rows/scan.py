"""Scan a source: one pass that writes its rows to an Arrow file, which everything else reads.

A scan is cached under the hash of the files' content, and looked up by their paths, sizes and times.
Memory use is a few blocks of rows, whatever the size of the files.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

from pydantic import ValidationError

from lora_studio.core import limits
from lora_studio.core.dataset.spec import DataSource, detect_split
from lora_studio.core.messages import Template, Text, counted, listed, text
from lora_studio.core.problems import Problem, ProblemError, Where, warning
from lora_studio.core.protocol import events
from lora_studio.core.system.foreign_files import is_unicode, leads_outside, make_unicode
from lora_studio.engine.dataset.files import byte_streams
from lora_studio.engine.dataset.files.blocks import ReadNotes, RowBlock, parse_values
from lora_studio.engine.dataset.files.byte_streams import FAULTS, Allowance, Check
from lora_studio.engine.dataset.files.columnar import read_columnar_blocks
from lora_studio.engine.dataset.files.exports.catalog import EXPORTS
from lora_studio.engine.dataset.files.json_kinds import JsonShape
from lora_studio.engine.dataset.files.readers import read_blocks, read_parts
from lora_studio.engine.dataset.files.sniffing import (
    Container,
    file_error,
    open_stream,
    recognize_file,
    refuse_documents,
    require_columns,
    unreadable_error,
)
from lora_studio.engine.dataset.rows import store as row_store
from lora_studio.engine.dataset.rows.chains import join_conversations
from lora_studio.engine.dataset.rows.store import (
    RawRow,
    RowStore,
    RowWriter,
    ScanFacts,
    ScannedFile,
    join_titles,
)
from lora_studio.engine.hub import datasets
from lora_studio.engine.runtime.channel import JobContext
from lora_studio.engine.runtime.memory_guard import ScanMemoryLimit, limit_reading

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
        files = find_files(source, job)
        key = _get_key(files)
        if (cached := _open_cached(key)) is not None:
            return cached
        row_store.delete_unused()
        with row_store.create_scan_folder() as folder:
            facts = join_conversations(RowStore(folder, _scan(files, folder, job)), job)
            scan = row_store.keep_scan(folder, facts.fingerprint)
        row_store.store_facts(key, facts.model_dump_json())
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
    blocks, limit = _iter_rows(source, job), ScanMemoryLimit(source, job)
    while True:
        with limit.enter():  # not while a model works on the rows
            block = next(blocks, None)
        if block is None:
            return
        yield block


def _iter_rows(source: DataSource, job: JobContext) -> Iterator[tuple[Container, list[RawRow]]]:
    files = find_files(source, job)
    reading = _Reading(files, job)

    def emit_problems() -> None:
        for problem in reading.problems:
            job.emit(events.Warned(problem=problem))
        reading.problems.clear()

    for container in files.iter_containers(job):
        if container.kind == "text":  # each line is a text, also in a chat or a page
            container = replace(container, export="")
        for block in reading.iter_blocks(container, _End()):
            emit_problems()
            yield container, _to_raw_rows(block, reading.notes.rows + 1, len(block))
    reading.finish()
    emit_problems()


def _open_cached(key: str) -> RowStore | None:
    """Return the scan that is cached under a key, if it is complete and of this version."""
    text = row_store.read_facts(key)
    if text is None:
        return None
    try:
        facts = ScanFacts.model_validate_json(text)
    except ValidationError:
        return None
    folder = row_store.find_scan(facts.fingerprint, facts.bytes)
    return RowStore(folder, facts) if folder else None


def _get_key(files: SourceFiles) -> str:
    """Return a key of the files' paths, sizes and times, which shows that one was changed."""
    facts: list[Any] = [VERSION, files.source.split]
    for candidate in files.candidates:
        state = candidate.file.stat()
        facts.append((str(candidate.file), candidate.member, state.st_size, state.st_mtime_ns))
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]


class _Reading:
    """Reads the files of a source one by one: counts their rows, and collects what is unusual about them."""

    def __init__(self, files: SourceFiles, job: JobContext) -> None:
        self._files, self._job = files, job
        self.notes = ReadNotes()
        self.problems: list[Problem] = []
        sizes = {candidate.file: candidate.file.stat().st_size for candidate in files.candidates}
        members = Counter(candidate.file for candidate in files.candidates)
        self._shares = {file: size / members[file] for file, size in sizes.items()}
        self.total, self._done = sum(sizes.values()), 0.0
        self._allowances = {file: Allowance(file) for file in sizes}

    def iter_blocks(self, container: Container, end: _End) -> Iterator[RowBlock]:
        """Yield the rows of a file; raises ProblemError."""
        self._job.open_file(container.path)
        self.problems += _iter_known_problems(container)
        try:
            for block, position in _iter_blocks(container, self.notes, self._job.check, end):
                self._job.report_progress(
                    "reading rows", int(self._done + position), self.total, "bytes"
                )
                content = sum(map(len, block.raws)) + limits.ROW_COST * len(block)
                self._allowances[container.path].add(content)
                yield block
                self.notes.rows += len(block)
            if end.broken:
                self.problems.append(_truncated_file_problem(container, end.broken))
        finally:
            self._done += self._shares[container.path]

    def finish(self) -> None:
        """Add the problems of the source as a whole; raises ProblemError if it has no rows."""
        if not self.notes.rows:
            raise _empty_source_error(self._files.source)
        self.problems += _iter_oddities(self.notes, self._files.source)
        self.problems += self._files.get_problems()


def _scan(files: SourceFiles, folder: Path, job: JobContext) -> ScanFacts:
    """Write every row of a source to an Arrow file; raises ProblemError if it has none."""
    reading = _Reading(files, job)
    row_store.require_space(folder, reading.total)
    containers = list(files.iter_containers(job))
    scanned: list[ScannedFile] = []
    file = folder / row_store.ROWS
    with RowWriter(file) as writer:
        for container in containers:
            first, end = reading.notes.rows, _End()
            try:
                for block in reading.iter_blocks(container, end):
                    if len(block):
                        writer.write(block)
            except ProblemError as error:
                is_empty = len(containers) == 1 and reading.notes.rows == first
                if is_empty or _is_refused(error):
                    raise
                reading.problems += [
                    problem.model_copy(update={"severity": "warning"}) for problem in error.problems
                ]
            if not end.sha256:  # the reader gave up before the end
                with open_stream(container.path, container.member, check=job.check) as stream:
                    end.sha256 = stream.compute_sha256()
            scanned.append(
                ScannedFile(
                    path=str(container.path),
                    member=container.member,
                    title=container.title,
                    sha256=end.sha256,
                    first=first,
                )
            )
    reading.problems += _iter_chat_warnings(containers, files.source)
    reading.finish()
    return ScanFacts(
        fingerprint=_compute_fingerprint(containers, scanned),
        rows=reading.notes.rows,
        columns=tuple(reading.notes.columns),
        files=tuple(scanned),
        faults=writer.faults,
        problems=tuple(reading.problems),
        batches=tuple(writer.batches),
        bytes=file.stat().st_size,
    )


def _compute_fingerprint(containers: list[Container], scanned: list[ScannedFile]) -> str:
    facts: list[Any] = [VERSION]
    for container, file in zip(containers, scanned, strict=True):
        facts.append((file.sha256, repr((container.kind, container.encoding.codec, container.dialect, container.shape, container.export))))  # fmt: skip
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
        scratch = row_store.create_scan_folder
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
    about: Container | DataSource,
    code: str,
    what: Template | Text,
    remedy: Template,
    row: int | None = None,
    **values: Any,
) -> Problem:
    """Return a warning about a file or a whole source."""
    path, name = about.path, about.name if isinstance(about, Container) else Path(about.path).name
    where = Where(step="dataset", field="sources", file=str(path), row=row)
    return warning(code, what, remedy, where=where, name=name, **values)


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
            yield _warning(
                source,
                "dataset.chat_log",
                "{name} is an exported chat ({export}). Its messages are grouped into conversations by thread, "
                "by reply, and by pauses of hours.",
                "Check some rows, and whose messages are the answers.",
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
        yield _warning(
            source,
            "dataset.parts_left_out",
            "No row contains these parts of {name}: {parts}.",
            "LoRA Studio trains on what people have written. You don't have to do anything.",
            parts=listed(left_out),
        )
    for oddity, (count, row) in notes.oddities.items():
        yield _warning(
            source,
            "dataset.odd_spelling",
            counted(
                count,
                "In {n} row, row {row:d}: {oddity}.",
                "In {n} rows, starting with row {row:d}: {oddity}.",
                row=row,
                oddity=oddity,
            ),
            "If this isn't what you want, correct these rows.",
            row=row,
        )


_NAMED = 5

_DESCRIPTION = re.compile(
    r"(readme|licen[cs]e|licensing|copying|notice|authors|contributors|contributing|changelog|citation|"
    r"code_of_conduct|security)([._-].*)?",
    re.IGNORECASE,
)
_ABOUT_DATA = re.compile(
    r"(dataset_infos?|state|dataset_dict|metadata|config|croissant|_?schema|package|tokenizer.*)"
    r"\.(json|ya?ml)",
    re.IGNORECASE,
)
_OTHER = re.compile(
    r"\.(py|ipynb|sh|bat|ya?ml|toml|cfg|ini|html?|css|js|ts|lock|log|pdf|docx?|xlsx?|pptx?|png|jpe?g|"
    r"gif|webp|svg|mp[34]|wav|flac|avi|mov|safetensors|gguf|bin|pt|pth|ckpt|pkl|pickle|npy|npz|h5|so|"
    r"dll|exe|pyc|idx|md5|sha256|crc)\Z",
    re.IGNORECASE,
)


#: Files of Slack's export beside that of the people, and those of a day.
_SLACK_LISTS = ("channels.json", "groups.json", "dms.json", "mpims.json")
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}\.json")
#: The notes in a package of Anki, the newest layout last.
_COLLECTIONS = ("collection.anki2", "collection.anki21", "collection.anki21b")


@dataclass(frozen=True)
class FileCandidate:
    """A file that may have rows; `member` is its name in an archive, `name` is for messages."""

    file: Path
    name: str
    member: str = ""


@dataclass
class SourceFiles:
    """The files that a source consists of, in order, and those left out with the reason.

    `channels` are the files that Slack has exported, by channel, each after the one that names the people.
    """

    source: DataSource
    candidates: list[FileCandidate] = field(default_factory=list)
    channels: dict[str, list[FileCandidate]] = field(default_factory=dict)
    left_out: list[tuple[str, Text]] = field(default_factory=list)

    def iter_containers(self, job: JobContext) -> Iterator[Container]:
        """Yield the files that have rows, recognized one by one; the others go to `left_out`.

        Raises ProblemError when there is none.
        """
        has_rows = bool(self.channels)
        for channel, (people, *days) in self.channels.items():
            parts = tuple((one.file, one.member) for one in (people, *days))
            first = days[0]
            shape = JsonShape("json list")
            yield Container(
                first.file,
                shape.kind,
                member=first.member,
                shape=shape,
                export="slack",
                parts=parts,
                chat=channel,
            )
        grouped = {one for files in self.channels.values() for one in files}
        for number, candidate in enumerate(self.candidates):
            if candidate in grouped:
                continue
            job.report_progress("looking at files", number, len(self.candidates), "files")
            job.open_file(candidate.file)
            try:
                container = recognize_file(
                    candidate.file, candidate.member, self.source.split, job.check
                )
            except ProblemError as error:
                if len(self.candidates) == 1:
                    raise
                self.left_out.append((candidate.name, error.problems[0].what))
                continue
            has_rows = True
            yield container
        if not has_rows:
            raise self._no_rows_error()

    def get_problems(self) -> list[Problem]:
        """Return warnings that name the files left out, one for each reason."""
        reasons = dict.fromkeys(reason for _, reason in self.left_out)
        return [
            _excluded_files_problem(
                [name for name, why in self.left_out if why == reason], reason, self.source
            )
            for reason in reasons
        ]

    def _no_rows_error(self) -> ProblemError:
        path = Path(self.source.path)
        what = "{folder} contains no data files."
        if self.left_out:
            what = "{folder} contains no data files. Skipped: {files}"
        return file_error(
            path,
            "dataset.no_rows",
            what,
            "Choose a folder with JSON, CSV, Parquet, Arrow, or text files.",
            folder=path.name,
            files=tuple(
                text("{file} ({reason})", file=name, reason=reason)
                for name, reason in self.left_out[:_NAMED]
            ),
        )


def find_files(source: DataSource, job: JobContext) -> SourceFiles:
    """Return every file that may have rows; raises ProblemError when the source can't be found."""
    result = SourceFiles(source)
    files = _get_local_files(source, result, job)
    members: list[FileCandidate] = []
    for file, name in files:
        job.open_file(file)
        try:
            members += _iter_members(file, name, job)
        except ProblemError as error:
            if len(files) == 1:
                raise
            result.left_out.append((name, error.problems[0].what))
    if len(members) == 1 and not result.left_out and is_unicode(Path(members[0].name)):
        result.candidates = members
        return result
    members = _choose_collections(members, result)
    result.channels = _find_channels(members)
    if result.channels:
        result.candidates = [one for files in result.channels.values() for one in files]
        result.candidates = list(dict.fromkeys(result.candidates))
        rest = [one for one in members if one not in set(result.candidates)]
        result.left_out += [(one.name, text("no messages of a channel")) for one in rest]
        return result
    for candidate in _iter_split(members, source.split, result):
        if reason := get_exclusion_reason(candidate.name):
            result.left_out.append((make_unicode(Path(candidate.name)), reason))
        else:
            result.candidates.append(candidate)
    return result


def _get_local_files(
    source: DataSource, result: SourceFiles, job: JobContext
) -> list[tuple[Path, str]]:
    """Return the files on disk and their names in the source, downloaded from the Hub if needed."""
    path = Path(source.path)
    if source.is_hub and not path.exists():
        return datasets.download_dataset(source, job)
    if path.is_dir():
        return _walk_folder(path, result, job)
    if path.is_file():
        return [(path, path.name)]
    if path.exists():
        raise file_error(
            path,
            "dataset.not_text",
            "{name} is a pipe or a device, which can't be read twice.",
            "Write the rows to a file and choose that file.",
            name=path.name,
        )
    raise file_error(
        path,
        "dataset.unreadable",
        "{name} can't be read: the file or folder doesn't exist.",
        "Choose the file again.",
        name=path.name,
    )


def _walk_folder(folder: Path, result: SourceFiles, job: JobContext) -> list[tuple[Path, str]]:
    """Return the files of a folder and its subfolders, except those that can't be opened."""
    if error := _get_access_error(folder):
        raise unreadable_error(folder, error)
    files: list[tuple[Path, str]] = []
    for path in _list_folder(folder, job):
        if leads_outside(path, folder):
            name = make_unicode(path.relative_to(folder))
            result.left_out.append((name, text("a link that leads out of the folder")))
        elif path.is_file():
            files.append((path, path.relative_to(folder).as_posix()))
            if len(files) > limits.FOLDER_FILES:
                raise file_error(
                    folder,
                    "dataset.too_many_files",
                    "{folder} has more than {most} files.",
                    "Choose the folder that contains only the data.",
                    folder=folder.name,
                    most=limits.FOLDER_FILES,
                )
        elif path.is_dir() and _get_access_error(path):
            name = path.relative_to(folder).as_posix()
            result.left_out.append((name, text("no permission to open the folder")))
    return files


def _list_folder(folder: Path, job: JobContext) -> list[Path]:
    """Return all that is in a folder and its subfolders, in order; no more than is refused anyway."""
    paths: list[Path] = []
    for path in folder.rglob("*"):
        if len(paths) % 256 == 0:
            job.check()
        paths.append(path)
        if len(paths) > 2 * limits.FOLDER_FILES:
            break
    return sorted(paths)


def _get_access_error(folder: Path) -> OSError | None:
    """Return why a folder can't be listed: a walk through folders skips those silently."""
    try:
        with os.scandir(folder):
            return None
    except OSError as error:
        return error


def _iter_members(file: Path, name: str, job: JobContext) -> Iterator[FileCandidate]:
    """Yield the file itself, or the members of a ZIP or tar archive."""
    try:
        entries = byte_streams.list_entries(file, job.check)
    except FAULTS as error:
        raise unreadable_error(file, error) from error
    if entries is None:
        yield FileCandidate(file, name)
        return
    refuse_documents(file, entries)
    if not entries:
        raise file_error(
            file, "dataset.empty", "{name} is empty.", "Choose a file with rows.", name=file.name
        )
    yield from (FileCandidate(file, f"{name}/{entry}", entry) for entry in sorted(entries))


def get_exclusion_reason(name: str) -> Text | None:
    """Return why a file of a folder is not data, None where it may be."""
    parts = PurePosixPath(name).parts
    last = parts[-1]
    if not is_unicode(Path(name)):
        return text("its path isn't valid UTF-8; rename it")
    if any(part.startswith((".", "__MACOSX")) for part in parts):
        return text("hidden file")
    if _DESCRIPTION.fullmatch(last):
        return text("describes the data")
    if _ABOUT_DATA.fullmatch(last):
        return text("settings, not rows")
    return text("not a data file") if _OTHER.search(last) else None


def _iter_split(
    candidates: list[FileCandidate], split: str, result: SourceFiles
) -> Iterator[FileCandidate]:
    """Yield the files of a split if their names distinguish it from others, else all files."""
    meant = detect_split(split) or split
    splits = {
        one.name: detect_split(one.name) for one in candidates if not get_exclusion_reason(one.name)
    }
    is_divided = meant in splits.values() and len({*splits.values()} - {""}) > 1
    for candidate in candidates:
        other = splits.get(candidate.name, "")
        if is_divided and other not in ("", meant):
            reason = text("belongs to the split “{split}”", split=other)
            result.left_out.append((candidate.name, reason))
        else:
            yield candidate


def _find_channels(members: list[FileCandidate]) -> dict[str, list[FileCandidate]]:
    """Return the files of an export of Slack by channel: a folder for each, with a file for each day."""
    by_name = {one.name: one for one in members}
    people = next((one for one in members if PurePosixPath(one.name).name == "users.json"), None)
    if people is None:
        return {}
    folder = PurePosixPath(people.name).parent
    if not any(str(folder / name) in by_name for name in _SLACK_LISTS):
        return {}
    channels: dict[str, list[FileCandidate]] = {}
    for one in members:
        path = PurePosixPath(one.name)
        if path.parent.parent == folder and _DAY.fullmatch(path.name):
            channels.setdefault(path.parent.name, [people]).append(one)
    return channels


def _choose_collections(members: list[FileCandidate], result: SourceFiles) -> list[FileCandidate]:
    """Return the files without what belongs to a package of Anki, except its newest collection."""
    packages: dict[Path, str] = {}
    for name in _COLLECTIONS:
        packages |= {one.file: name for one in members if one.member == name}
    kept = []
    for one in members:
        if one.file in packages and one.member != packages[one.file]:
            is_copy = one.member in _COLLECTIONS
            reason = (
                text("older copy of the notes")
                if is_copy
                else text("media and settings of the cards")
            )
            result.left_out.append((one.name, reason))
        else:
            kept.append(one)
    return kept


def _excluded_files_problem(names: list[str], reason: Text, source: DataSource) -> Problem:
    what = "Files left out ({reason}): {names}."
    if len(names) > _NAMED:
        what = "Files left out ({reason}): {names} and {more} more."
    return _warning(
        source,
        "dataset.files_left_out",
        what,
        "If they contain data, add them as sources of their own.",
        reason=reason,
        names=", ".join(names[:_NAMED]),
        more=len(names) - _NAMED,
    )
