"""Looking at a dataset: what it holds, at once and then in full, and its rows by pages."""

from __future__ import annotations

import json
import re
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lora_studio.core.dataset.formats.detection import detect
from lora_studio.core.dataset.samples import UnusableRow
from lora_studio.core.dataset.spec import FORMAT_TITLES, DatasetSpec, DataSource, Message
from lora_studio.core.formatting import number, plural
from lora_studio.core.messages import Text
from lora_studio.core.problems import Problem, ProblemError, Where
from lora_studio.core.protocol import commands
from lora_studio.core.protocol.events import (
    DatasetInspected,
    RowPreview,
    RowsRead,
    Skipped,
    SourceFound,
)
from lora_studio.engine.dataset.files.blocks import values_of
from lora_studio.engine.dataset.rows import mixture, scan, verdicts
from lora_studio.engine.dataset.rows.chains import MEANT
from lora_studio.engine.dataset.rows.scan import FirstRows
from lora_studio.engine.dataset.rows.store import RawRow, RowStore
from lora_studio.engine.dataset.rows.verdicts import Verdicts
from lora_studio.engine.runtime.channel import JobContext

#: Rows that the first answer rests on.
_FIRST_ROWS = 200
#: Characters of one text in a preview; the whole row is a question of its own.
_LONGEST = 4000
#: Answers to searches kept for the next page.
_KEPT_SEARCHES = 16
_NAMED_ROWS = 10

Positions = NDArray[np.int64] | range

_searches: OrderedDict[tuple[str, str], NDArray[np.int64]] = OrderedDict()


# --- what a dataset holds -------------------------------------------------------------------------


def inspect(command: commands.InspectDataset, job: JobContext) -> None:
    """Emits what the first rows say at once, then what all rows say; raises ProblemError.

    Sources that are small or known from before need no first answer. One that cannot be read is
    told of with its problem; only where there is no other, that is the end.
    """
    spec = command.dataset
    if not spec.sources:
        mixture.open(spec, job)
    first = [_first(source, job) for source in spec.sources]
    if all(isinstance(found, ProblemError) for found in first):
        raise next(found for found in first if isinstance(found, ProblemError))
    if any(isinstance(found, FirstRows) and not found.is_all for found in first):
        job.emit(_early(spec, first, command.preview))
    found: list[SourceFound] = []
    preview: list[RowPreview] = []
    for index, source in enumerate(spec.sources):
        try:
            store, about = _opened(source, job)
        except ProblemError as error:
            found.append(_unreadable(source, error.problems))
            continue
        judged = verdicts.of_source(store, about, spec, job)
        counts = {"rows": len(store), "used": judged.used, "skipped": judged.skipped()}
        problems = (*_mostly_left_out(store, about, judged), *about.problems)
        found.append(about.model_copy(update=counts | {"problems": problems}))
        positions = range(min(len(store), command.preview - len(preview)))
        preview += [previewed(store, about, index, place, spec) for place in positions]
    job.emit(_inspected(found, preview, is_complete=True))


def _first(source: DataSource, job: JobContext) -> FirstRows | ProblemError:
    try:
        return scan.first_rows(source, _FIRST_ROWS, job)
    except ProblemError as error:
        return error


def _opened(source: DataSource, job: JobContext) -> tuple[RowStore, SourceFound]:
    store = scan.open_store(source, job)
    return store, mixture.described(source, store, mixture.recognised(store, source))


def _early(
    spec: DatasetSpec, first: Sequence[FirstRows | ProblemError], most: int
) -> DatasetInspected:
    """What the first rows alone say."""
    found: list[SourceFound] = []
    preview: list[RowPreview] = []
    for index, (source, start) in enumerate(zip(spec.sources, first, strict=True)):
        if isinstance(start, ProblemError):
            found.append(_unreadable(source, start.problems))
            continue
        verdict = detect(
            [row.values for row in start.rows if row.values is not None],
            start.columns,
            source.format,
            source.mapping,
        )
        about = mixture.outlined(source, verdict, start.rows, start.title, start.columns)
        shown = [_shown(row, about, index, spec) for row in start.rows]
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
        found.append(about.model_copy(update={"used": used, "skipped": tuple(skipped)}))
        preview += shown[: most - len(preview)]
    return _inspected(found, preview, is_complete=False)


def _mostly_left_out(store: RowStore, found: SourceFound, judged: Verdicts) -> list[Problem]:
    """A warning where more than half of the rows are of no use in the format that was recognised."""
    skipped = [entry for entry in judged.skipped() if str(entry.reason) not in MEANT]
    lost = sum(entry.count for entry in skipped)
    if found.format is None or judged.used >= lost:
        return []
    remedy = "Look at the rows left out, and choose another format or other columns if it is wrong."
    if len(store.facts.files) > 1:
        remedy = "Files of another format are used when they are chosen as sources of their own."
    return [
        Problem(
            code="dataset.mostly_left_out",
            what=f"{number(lost)} of {plural(len(store), 'row')} cannot be read "
            f"as “{FORMAT_TITLES[found.format]}”, most because {skipped[0].reason}.",
            remedy=remedy,
            where=Where(step="dataset", field="sources", file=found.path),
            severity="warning",
        )
    ]


def _unreadable(source: DataSource, problems: Sequence[Problem]) -> SourceFound:
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


def _inspected(
    found: Sequence[SourceFound], preview: Sequence[RowPreview], *, is_complete: bool
) -> DatasetInspected:
    task, problems = mixture.common_task(found)
    used = sum(source.used for source in found)
    left_out = sum(entry.count for source in found for entry in source.skipped)
    return DatasetInspected(
        sources=tuple(found),
        task=task,
        complete=is_complete,
        rows_read=used + left_out,
        rows_used=used,
        skipped=merged(found),
        problems=(*(problem for source in found for problem in source.problems), *problems),
        preview=tuple(preview),
    )


def merged(found: Sequence[SourceFound]) -> tuple[Skipped, ...]:
    """Reasons over all sources; the rows named are those of the first source that has some."""
    total: dict[Text, Skipped] = {}
    for entry in (entry for source in found for entry in source.skipped):
        before = total.get(entry.reason)
        total[entry.reason] = (
            before.model_copy(update={"count": before.count + entry.count}) if before else entry
        )
    return tuple(sorted(total.values(), key=lambda entry: -entry.count))


# --- rows by pages --------------------------------------------------------------------------------


def read(command: commands.ReadRows, job: JobContext) -> None:
    """Emits one page of the rows that are asked for; raises ProblemError.

    A source that cannot be read has no rows, unless there is no other.
    """
    spec = command.dataset
    opened: dict[int, tuple[RowStore, SourceFound]] = {}
    errors: list[ProblemError] = []
    for index, source in enumerate(spec.sources):
        try:
            opened[index] = _opened(source, job)
        except ProblemError as error:
            errors.append(error)
    if errors and not opened:
        raise errors[0]
    matching = [
        _matching(command, *opened[place], job) if place in opened else range(0)
        for place in range(len(spec.sources))
    ]
    if command.only:
        wanted = [(source, row - 1) for source, row in command.only if 0 <= source < len(matching)]
        places = [place for place in wanted if _has(matching[place[0]], place[1])]
        total, page = len(places), places[command.first : command.first + command.count]
    else:
        total, page = sum(map(len, matching)), _page(matching, command.first, command.count)
    rows = tuple(previewed(*opened[source], source, position, spec) for source, position in page)
    job.emit(RowsRead(first=command.first, matching=total, rows=rows))


def _page(matching: Sequence[Positions], first: int, count: int) -> list[tuple[int, int]]:
    page: list[tuple[int, int]] = []
    for source, positions in enumerate(matching):
        here = positions[first : first + count - len(page)]
        page += [(source, int(position)) for position in here]
        first = max(0, first - len(positions))
    return page


def _has(positions: Positions, position: int) -> bool:
    if isinstance(positions, range):
        return position in positions
    place = int(np.searchsorted(positions, position))
    return place < len(positions) and int(positions[place]) == position


def _matching(
    command: commands.ReadRows, store: RowStore, found: SourceFound, job: JobContext
) -> Positions:
    """Positions (from 0) of the rows of a source that are asked for, in order."""
    chosen: Positions = range(len(store))
    if command.which != "all" or command.reason:
        judged = verdicts.of_source(store, found, command.dataset, job)
        chosen = judged.positions(command.which, str(command.reason))
    if not command.search:
        return chosen
    key = (store.key, command.search)
    hits = _searches.get(key)
    if hits is None:
        hits = _searches[key] = search(store, command.search, job)
        if len(_searches) > _KEPT_SEARCHES:
            _searches.popitem(last=False)
    return hits if isinstance(chosen, range) else np.intersect1d(hits, chosen, assume_unique=True)


# --- search ---------------------------------------------------------------------------------------


def search(store: RowStore, words: str, job: JobContext) -> NDArray[np.int64]:
    """Positions of the rows with a text in any of their values, whatever its case.

    Rows are compared as JSON first, which goes at the speed of the disk. Where the words stand in
    the names of columns too, the rows that are left are parsed to see whether it is more than that.
    """
    import pyarrow.compute as pc  # a fifth of a second, which the first rows need not wait for

    pattern = "|".join(re.escape(spelling) for spelling in _spellings(words))
    is_name = words.casefold() in " ".join(_names(store)).casefold()
    found = [np.empty(0, dtype=np.int64)]
    for first, batch in store.batches():
        job.progress("searching rows", first, len(store), "rows")
        hits = pc.match_substring_regex(batch.column("raw"), pattern, ignore_case=True)
        places = np.flatnonzero(hits.to_numpy(zero_copy_only=False))
        if is_name and places.size:
            raws = batch.column("raw").filter(hits).to_pylist()
            folded = words.casefold()
            holds = [_holds(values_of(raw), folded) for raw in raws]
            places = places[np.array(holds, dtype=bool)]
        found.append(places + first)
    return np.concatenate(found)


def _spellings(words: str) -> list[str]:
    """How JSON may spell a text: other letters as they are, or as escapes (of either case)."""
    forms = (words, words.lower(), words.upper())
    spelt = [
        json.dumps(form, ensure_ascii=escaped)[1:-1] for form in forms for escaped in (False, True)
    ]
    return list(dict.fromkeys(spelt))


def _names(store: RowStore) -> set[str]:
    """Names of columns and of the fields within, by the first rows."""
    names = set(store.facts.columns)
    for position in range(min(50, len(store))):
        names |= _fields(store.raw(position).values)
    return names


def _fields(value: Any) -> set[str]:
    if isinstance(value, dict):
        return set(value).union(*(_fields(item) for item in value.values()))
    return set().union(*(_fields(item) for item in value)) if isinstance(value, list) else set()


def _holds(value: Any, words: str) -> bool:
    """Whether a value has a text with the (case-folded) words in it."""
    if isinstance(value, dict):
        return any(_holds(item, words) for item in value.values())
    if isinstance(value, list):
        return any(_holds(item, words) for item in value)
    return words in str(value).casefold()


# --- one row --------------------------------------------------------------------------------------


def previewed(
    store: RowStore, found: SourceFound, source: int, position: int, spec: DatasetSpec
) -> RowPreview:
    """A row by its position (from 0) as the table shows it, long texts cut short."""
    shown = _shown(store.raw(position), found, source, spec)
    if shown.fault and not shown.text:
        return shown.model_copy(update={"text": _cut(store.text(position))})
    return shown


def _shown(row: RawRow, found: SourceFound, source: int, spec: DatasetSpec) -> RowPreview:
    """The row's sample; of an unusable one the reason, and the row as it stands in the file."""
    if row.values is None:
        return RowPreview(row=row.number, source=source, fault=row.fault)
    try:
        if found.format is None:
            raise UnusableRow("its source has no known format")
        sample = mixture.sample_of(row.values, found.format, found.mapping, spec)
    except UnusableRow as verdict:
        return RowPreview(
            row=row.number, source=source, text=_cut(_printable(row.raw)), fault=str(verdict)
        )
    return RowPreview(
        row=row.number,
        source=source,
        messages=_short(sample.messages),
        chosen=_short(sample.chosen),
        rejected=_short(sample.rejected),
        label=sample.label,
        text=_cut(sample.text),
    )


def _short(turns: Sequence[Message]) -> tuple[Message, ...]:
    return tuple(
        turn.model_copy(update={"content": _cut(turn.content), "thinking": _cut(turn.thinking)})
        if len(turn.content) > _LONGEST or len(turn.thinking) > _LONGEST
        else turn
        for turn in turns
    )


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _printable(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8")
