"""Inspect a dataset: describe its sources, and show its rows page by page."""

from __future__ import annotations

import hashlib
import json
import re
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lora_studio.core.dataset.formats.detection import detect
from lora_studio.core.dataset.spec import FORMATS, DatasetSpec, DataSource, RowFormat
from lora_studio.core.messages import Text, counted
from lora_studio.core.problems import Problem, ProblemError, Where, warning
from lora_studio.core.protocol import commands
from lora_studio.core.protocol.events import (
    DatasetInspected,
    RowPreview,
    RowsRead,
    Skipped,
    SourceFound,
)
from lora_studio.core.system.files import write_atomic
from lora_studio.core.tasks.samples import Message, UnusableRow
from lora_studio.engine.dataset.files.blocks import (
    NO_FORMAT,
    SkipReason,
    dump_reason,
    load_reason,
    parse_values,
)
from lora_studio.engine.dataset.rows import mixture, scan
from lora_studio.engine.dataset.rows.chains import EXPECTED
from lora_studio.engine.dataset.rows.scan import FirstRows
from lora_studio.engine.dataset.rows.store import RawRow, RowStore
from lora_studio.engine.runtime import process_pool, torch_settings
from lora_studio.engine.runtime.channel import JobContext
from lora_studio.engine.runtime.disk import get_source_digest
from lora_studio.engine.runtime.failures import CancelledError

if TYPE_CHECKING:
    from lora_studio.engine.dataset.rows.sequences import TokenTable

#: Rows from which several processes are used; each needs half a second and 60 MB to start.
_MANY = 20_000
_MOST_PROCESSES = 8


@dataclass(frozen=True)
class Verdicts:
    """One code per row, int32 [rows]: 0 for usable, else the number of its reason, from 1."""

    codes: NDArray[np.int32]
    reasons: tuple[SkipReason, ...]

    @property
    def used(self) -> int:
        """Return the number of usable rows."""
        return int(np.count_nonzero(self.codes == 0))

    def get_skipped(self) -> tuple[Skipped, ...]:
        """Return the reasons with counts and the first row numbers, the most frequent first."""
        counts = np.bincount(self.codes, minlength=len(self.reasons) + 1)
        entries = [
            Skipped(
                reason=reason.text,
                count=int(counts[code]),
                rows=tuple(
                    int(row) + 1 for row in np.flatnonzero(self.codes == code)[:_NAMED_ROWS]
                ),
            )
            for code, reason in enumerate(self.reasons, start=1)
            if counts[code]
        ]
        return tuple(sorted(entries, key=lambda entry: (-entry.count, entry.rows)))

    def find_positions(self, which: str, reason: Text | None = None) -> NDArray[np.int64]:
        """Return positions (from 0) of the `used` or `skipped` rows, or of those with one reason."""
        if reason:
            codes = [code for code, one in enumerate(self.reasons, start=1) if one.text == reason]
            return np.flatnonzero(np.isin(self.codes, codes))
        return np.flatnonzero((self.codes == 0) == (which == "used"))


def judge_source(
    store: RowStore, source: SourceFound, spec: DatasetSpec, job: JobContext
) -> Verdicts:
    """Return the verdict on every row of a source, cached if possible; raises CancelledError."""
    spec = spec.model_copy(update={"system_prompt": ""})
    work = _Work(store, source.format, source.mapping, spec)
    file = store.folder / f"verdicts-{work.get_key()}"
    if (cached := _read(file, len(store))) is not None:
        return cached
    codes = np.zeros(len(store), dtype=np.int32)
    reasons: dict[SkipReason, int] = {}
    done = 0
    job.report_progress("checking rows", 0, len(store), "rows")
    for part, named in _iter_results(work, job):
        renumbered = [0, *(reasons.setdefault(reason, len(reasons) + 1) for reason in named)]
        codes[done : done + len(part)] = np.array(renumbered, np.int32)[part]
        done += len(part)
        job.report_progress("checking rows", done, len(store), "rows")
    head = json.dumps([dump_reason(reason) for reason in reasons]).encode()
    write_atomic(file, head + b"\n" + codes.tobytes())
    return Verdicts(codes, tuple(reasons))


def _read(file: Path, rows: int) -> Verdicts | None:
    try:
        head, _, data = file.read_bytes().partition(b"\n")
        codes = np.frombuffer(data, dtype=np.int32)
        reasons = tuple(map(load_reason, json.loads(head)))
    except (OSError, ValueError):
        return None
    return Verdicts(codes, reasons) if len(codes) == rows else None


@dataclass(frozen=True)
class _Work:
    """Everything that a process needs to judge some rows."""

    store: RowStore
    format: RowFormat | None
    mapping: dict[str, str]
    spec: DatasetSpec

    def get_key(self) -> str:
        """Return a hash of all that a verdict depends on, including this program's code."""
        facts: list[Any] = [
            get_source_digest(),
            self.format,
            sorted(self.mapping.items()),
            sorted(self.spec.fixes),
        ]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]

    def judge(self, index: int) -> tuple[NDArray[np.int32], list[SkipReason]]:
        """Return codes of the rows of one batch, and the reasons that they number.

        Raises CancelledError.
        """
        batch = self.store.read_batch(index)
        reasons: dict[SkipReason, int] = {}
        codes = np.zeros(batch.num_rows, dtype=np.int32)
        raws, faults = batch.column("raw"), batch.column("fault")
        for row, (raw, fault) in enumerate(zip(raws, faults.to_pylist(), strict=True)):
            if process_pool.is_cancelled():
                raise CancelledError
            if reason := load_reason(fault) if fault else self._reason(raw.as_buffer()):
                codes[row] = reasons.setdefault(reason, len(reasons) + 1)
        return codes, list(reasons)

    def _reason(self, raw: Any) -> SkipReason | None:
        if self.format is None:
            return NO_FORMAT
        try:
            mixture.make_sample(parse_values(bytes(raw)), self.format, self.mapping, self.spec)
        except UnusableRow as error:
            return SkipReason.from_error(error)
        return None


def _iter_results(
    work: _Work, job: JobContext
) -> Iterator[tuple[NDArray[np.int32], list[SkipReason]]]:
    """Yield codes and reasons of every batch in order, from several processes for many rows."""
    batches = range(len(work.store.facts.batches))
    cores = min(torch_settings.count_cores(), _MOST_PROCESSES)
    if len(work.store) < _MANY or cores < 2 or work.format is None:
        return map(work.judge, batches)
    return process_pool.map_in_processes(work.judge, batches, cores, job)


#: Rows that the first answer is based on.
_FIRST_ROWS = 200
#: Characters of one text in a preview; the whole row is another command.
_LONGEST = 4000
#: Searches whose results are cached for the next page.
_MOST_SEARCHES = 16
_NAMED_ROWS = 10

Positions = NDArray[np.int64] | range

_searches: OrderedDict[tuple[str, str], NDArray[np.int64]] = OrderedDict()


# --- what a dataset contains -------------------------------------------------------------------------


def inspect(command: commands.InspectDataset, job: JobContext) -> None:
    """Emit a report on the first rows at once, then one on all rows; raises ProblemError.

    Sources that are small or cached need no first answer. A source that can't be read is reported
    with its problem; it is an error only if it is the only source.
    """
    spec = command.dataset
    if not spec.sources:
        mixture.open_dataset(spec, job)
    first = [_read_first(source, job) for source in spec.sources]
    errors = [start for start in first if isinstance(start, ProblemError)]
    if len(errors) == len(first):
        raise errors[0]
    if any(isinstance(start, FirstRows) and not start.is_all for start in first):
        job.emit(_answer_from_first_rows(spec, first, command.preview))
    sources: list[SourceFound] = []
    preview: list[RowPreview] = []
    for index, source in enumerate(spec.sources):
        try:
            store, about = _open(source, spec, job)
        except ProblemError as error:
            sources.append(_describe_unreadable(source, error.problems))
            continue
        judged = judge_source(store, about, spec, job)
        counts = {"rows": len(store), "used": judged.used, "skipped": judged.get_skipped()}
        problems = (*_get_skipped_warnings(store, about, judged), *about.problems)
        sources.append(about.model_copy(update=counts | {"problems": problems}))
        positions = range(min(len(store), command.preview - len(preview)))
        preview += [preview_row(store, about, index, position, spec) for position in positions]
    job.emit(_build_answer(sources, preview, is_complete=True))


def _read_first(source: DataSource, job: JobContext) -> FirstRows | ProblemError:
    try:
        return scan.read_first_rows(source, _FIRST_ROWS, job)
    except ProblemError as error:
        return error


def _open(source: DataSource, spec: DatasetSpec, job: JobContext) -> tuple[RowStore, SourceFound]:
    store = scan.open_store(source, job)
    verdict = mixture.recognize_format(store, source, spec.fixes)
    return store, mixture.describe_source(source, store, verdict)


def _answer_from_first_rows(
    spec: DatasetSpec, first: Sequence[FirstRows | ProblemError], most: int
) -> DatasetInspected:
    """Return what the first rows alone show."""
    sources: list[SourceFound] = []
    preview: list[RowPreview] = []
    for index, (source, start) in enumerate(zip(spec.sources, first, strict=True)):
        if isinstance(start, ProblemError):
            sources.append(_describe_unreadable(source, start.problems))
            continue
        verdict = detect(
            [row.values for row in start.rows if row.values is not None],
            start.columns,
            source.format,
            source.mapping,
            spec.fixes,
        )
        about = mixture.describe_rows(source, verdict, start.rows, start.title, start.columns)
        shown = [_show_row(row, about, index, spec) for row in start.rows]
        reasons = {row.fault for row in shown if row.fault}
        skipped = [
            Skipped(
                reason=reason,
                count=sum(row.fault == reason for row in shown),
                rows=tuple(row.row for row in shown if row.fault == reason)[:_NAMED_ROWS],
            )
            for reason in sorted(reasons, key=str)
        ]
        used = sum(not row.fault for row in shown)
        sources.append(about.model_copy(update={"used": used, "skipped": tuple(skipped)}))
        preview += shown[: most - len(preview)]
    return _build_answer(sources, preview, is_complete=False)


def _get_skipped_warnings(store: RowStore, source: SourceFound, judged: Verdicts) -> list[Problem]:
    """Return a warning where more than half of the rows don't fit the recognized format."""
    skipped = [entry for entry in judged.get_skipped() if entry.reason not in EXPECTED]
    lost = sum(entry.count for entry in skipped)
    if source.format is None or judged.used >= lost:
        return []
    remedy = (
        "Check the skipped rows. If they should be used, choose another format or other columns."
    )
    if len(store.facts.files) > 1:
        remedy = "Add files of another format as sources of their own."
    return [
        warning(
            "dataset.mostly_left_out",
            counted(
                len(store),
                "The only row can't be read as “{format}”: {reason}.",
                "{lost} of {n} rows can't be read as “{format}”. The most frequent reason: {reason}.",
                lost=lost,
                format=Text(template=FORMATS[source.format].title),
                reason=skipped[0].reason,
            ),
            remedy,
            where=Where(step="dataset", field="sources", file=source.path),
        )
    ]


def _describe_unreadable(source: DataSource, problems: Sequence[Problem]) -> SourceFound:
    return SourceFound(
        path=source.path,
        container="",
        format=None,
        task=None,
        confidence=0.0,
        evidence=problems[0].what,
        columns=(),
        mapping={},
        rows=0,
        problems=tuple(problems),
    )


def _build_answer(
    sources: Sequence[SourceFound], preview: Sequence[RowPreview], *, is_complete: bool
) -> DatasetInspected:
    task, problems = mixture.find_common_task(sources)
    used = sum(source.used for source in sources)
    skipped = sum(entry.count for source in sources for entry in source.skipped)
    return DatasetInspected(
        sources=tuple(sources),
        task=task,
        complete=is_complete,
        rows_read=used + skipped,
        rows_used=used,
        skipped=merge_skipped(sources),
        problems=(*(problem for source in sources for problem in source.problems), *problems),
        preview=tuple(preview),
    )


def merge_skipped(sources: Sequence[SourceFound]) -> tuple[Skipped, ...]:
    """Return the reasons of all sources; row numbers are those of the first source that has some."""
    total: dict[Text, Skipped] = {}
    for entry in (entry for source in sources for entry in source.skipped):
        existing = total.get(entry.reason)
        total[entry.reason] = (
            existing.model_copy(update={"count": existing.count + entry.count})
            if existing
            else entry
        )
    return tuple(sorted(total.values(), key=lambda entry: -entry.count))


# --- rows by pages --------------------------------------------------------------------------------


def read_page(command: commands.ReadRows, job: JobContext) -> None:
    """Emit one page of the matching rows; raises ProblemError.

    A source that can't be read has no rows; it is an error only if no other source can be read.
    """
    spec = command.dataset
    opened: dict[int, tuple[RowStore, SourceFound]] = {}
    errors: list[ProblemError] = []
    for index, source in enumerate(spec.sources):
        try:
            opened[index] = _open(source, spec, job)
        except ProblemError as error:
            errors.append(error)
    if errors and not opened:
        raise errors[0]
    matching = [
        _find_matching(command, *opened[index], job) if index in opened else range(0)
        for index in range(len(spec.sources))
    ]
    if command.only:
        requested = [
            (source, row - 1) for source, row in command.only if 0 <= source < len(matching)
        ]
        rows = [(source, row) for source, row in requested if _has_position(matching[source], row)]
        total, page = len(rows), rows[command.first : command.first + command.count]
    else:
        total, page = sum(map(len, matching)), _get_page(matching, command.first, command.count)
    shown = tuple(preview_row(*opened[source], source, row, spec) for source, row in page)
    job.emit(RowsRead(first=command.first, matching=total, rows=shown))


def _get_page(matching: Sequence[Positions], first: int, count: int) -> list[tuple[int, int]]:
    page: list[tuple[int, int]] = []
    for source, positions in enumerate(matching):
        selected = positions[first : first + count - len(page)]
        page += [(source, int(position)) for position in selected]
        first = max(0, first - len(positions))
    return page


def _has_position(positions: Positions, position: int) -> bool:
    if isinstance(positions, range):
        return position in positions
    index = int(np.searchsorted(positions, position))
    return index < len(positions) and int(positions[index]) == position


def _find_matching(
    command: commands.ReadRows, store: RowStore, source: SourceFound, job: JobContext
) -> Positions:
    """Return positions (from 0) of the matching rows of a source, in order."""
    chosen: Positions = range(len(store))
    if command.which != "all" or command.reason:
        judged = judge_source(store, source, command.dataset, job)
        chosen = judged.find_positions(command.which, command.reason)
    if not command.search:
        return chosen
    key = (store.key, command.search)
    hits = _searches.get(key)
    if hits is None:
        hits = _searches[key] = search(store, command.search, job)
        if len(_searches) > _MOST_SEARCHES:
            _searches.popitem(last=False)
    return hits if isinstance(chosen, range) else np.intersect1d(hits, chosen, assume_unique=True)


# --- search ---------------------------------------------------------------------------------------


def search(store: RowStore, words: str, job: JobContext) -> NDArray[np.int64]:
    """Return positions of the rows with `words` in any of their values, ignoring case.

    Rows are searched as JSON first, at the speed of the disk. Where the words also occur in column
    names, the matches are parsed to see whether a value has them.
    """
    import pyarrow.compute as pc  # a fifth of a second

    pattern = "|".join(re.escape(spelling) for spelling in _get_spellings(words))
    is_name = words.casefold() in " ".join(_get_names(store)).casefold()
    positions = [np.empty(0, dtype=np.int64)]
    for first, batch in store.iter_batches():
        job.report_progress("searching rows", first, len(store), "rows")
        hits = pc.match_substring_regex(batch.column("raw"), pattern, ignore_case=True)
        rows = np.flatnonzero(hits.to_numpy(zero_copy_only=False))
        if is_name and rows.size:
            raws = batch.column("raw").filter(hits).to_pylist()
            folded = words.casefold()
            holds = [_has_words(parse_values(raw), folded) for raw in raws]
            rows = rows[np.array(holds, dtype=bool)]
        positions.append(rows + first)
    return np.concatenate(positions)


def _get_spellings(words: str) -> list[str]:
    """Return how JSON may spell a text: letters beyond ASCII directly, or as escapes."""
    forms = (words, words.lower(), words.upper())
    escaped_forms = [
        json.dumps(form, ensure_ascii=escaped)[1:-1] for form in forms for escaped in (False, True)
    ]
    return list(dict.fromkeys(escaped_forms))


def _get_names(store: RowStore) -> set[str]:
    """Return the names of columns and of nested fields, by the first rows."""
    names = set(store.facts.columns)
    for position in range(min(50, len(store))):
        names |= _get_fields(store.read_raw(position).values)
    return names


def _get_fields(value: Any) -> set[str]:
    if isinstance(value, dict):
        return set(value).union(*(_get_fields(item) for item in value.values()))
    return set().union(*(_get_fields(item) for item in value)) if isinstance(value, list) else set()


def _has_words(value: Any, words: str) -> bool:
    """Return whether a value contains the (case-folded) words."""
    if isinstance(value, dict):
        return any(_has_words(item, words) for item in value.values())
    if isinstance(value, list):
        return any(_has_words(item, words) for item in value)
    return words in str(value).casefold()


# --- one row --------------------------------------------------------------------------------------


def preview_row(
    store: RowStore, about: SourceFound, source: int, position: int, spec: DatasetSpec
) -> RowPreview:
    """Return a row by its position (from 0) as the table shows it, with long texts truncated."""
    shown = _show_row(store.read_raw(position), about, source, spec)
    if shown.fault and not shown.text:
        return shown.model_copy(update={"text": _cut(store.read_text(position))})
    return shown


def _show_row(row: RawRow, about: SourceFound, source: int, spec: DatasetSpec) -> RowPreview:
    """Return the row's sample; for a skipped row the reason, and the row as in the file."""
    if row.values is None:
        fault = row.fault or NO_FORMAT
        return RowPreview(row=row.number, source=source, fault=fault.text)
    try:
        if about.format is None:
            raise NO_FORMAT.to_error()
        sample = mixture.make_sample(row.values, about.format, about.mapping, spec)
    except UnusableRow as error:
        return RowPreview(
            row=row.number, source=source, text=_cut(_to_printable(row.raw)), fault=error.reason
        )
    return RowPreview(
        row=row.number,
        source=source,
        messages=_shorten(sample.messages),
        chosen=_shorten(sample.chosen),
        rejected=_shorten(sample.rejected),
        label=sample.label,
        text=_cut(sample.text),
    )


def _shorten(turns: Sequence[Message]) -> tuple[Message, ...]:
    return tuple(
        turn.model_copy(update={"content": _cut(turn.content), "thinking": _cut(turn.thinking)})
        if len(turn.content) > _LONGEST or len(turn.thinking) > _LONGEST
        else turn
        for turn in turns
    )


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _to_printable(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8")


# --- findings -------------------------------------------------------------------------------------


def check(command: commands.LintDataset, job: JobContext) -> None:
    """Emit all findings, also those that only tokens or the split show; raises ProblemError."""
    from lora_studio.engine.dataset import splitting  # seconds, which the first rows don't wait for
    from lora_studio.engine.dataset.quality import lint

    tables: Sequence[TokenTable] = ()
    if command.model is not None:
        from lora_studio.engine.dataset import lengths

        tables = lengths.tokenize_dataset(command.dataset, command.model, job, command.new_tokens)

    def split_rows(rows: mixture.MixedRows) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return rows for training and for validation, [rows, 2]; not those that the length limit skips."""
        usable = None
        if tables:
            from lora_studio.engine.dataset import prepare
            from lora_studio.engine.dataset.rows.sequences import fit_to_limit

            usable = prepare.list_tokenized_rows(tables, fit_to_limit(tables, rows.spec))
        divided = splitting.split(rows, command.seed, job, usable)
        return divided.training, divided.validation

    job.emit(lint.lint(command.dataset, job, tables, split_rows))
