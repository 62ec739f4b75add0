"""The cache of tokenized rows: written once with all cores, then read by index.

The key of the cache covers the rows, how they become samples, the tokenizer with its chat template,
and this program. It does not include the maximum sequence length: rows are truncated as they are
read, so changing the limit costs nothing. Nor does it include the date that some templates write: a
run that is resumed tomorrow reads the tokens that it started with.

Work is divided into chunks of rows, each of which becomes an Arrow file. Few rows are tokenized in
this process, many by several. Each of those needs two to three seconds to start (measured: imports
and a vocabulary of 150,000); until then this process works.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import itertools
import json
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from transformers import PreTrainedTokenizerBase

from lora_studio.core.dataset.spec import DatasetSpec, RowFormat
from lora_studio.core.system import paths
from lora_studio.core.system.files import create_folder_atomic, write_atomic
from lora_studio.core.tasks.samples import Sample, TaskName, UnusableRow
from lora_studio.engine.dataset.files.blocks import (
    SkipReason,
    dump_reason,
    load_reason,
    parse_values,
)
from lora_studio.engine.dataset.rows import mixture
from lora_studio.engine.dataset.rows.sequences import SkippedRow, TokenTable
from lora_studio.engine.dataset.rows.store import ArrowWriter, RowStore
from lora_studio.engine.runtime import process_pool, torch_settings
from lora_studio.engine.runtime.channel import JobContext
from lora_studio.engine.runtime.disk import get_source_digest
from lora_studio.engine.runtime.failures import CancelledError
from lora_studio.engine.tokens.encoder import ROW_ENCODINGS, Encoder, TokenizedText

#: Rows of a chunk and of a batch within it, and tokens in memory before they are written.
#: Chunks are small enough for all processes to end at about the same time.
CHUNK = 2048
BATCH = 256
_HELD_TOKENS = 4_000_000
#: Bytes of rows that are tokenized before it responds to a cancel.
_PART_BYTES = 1_000_000

#: Rows from which several processes are worth their start.
MANY = 20_000

#: Days after which unused tokens are deleted.
_MOST_DAYS = 30

_STAGE = "tokenizing rows"


@dataclass(frozen=True)
class TokenPart:
    """The rows of one source and how they become samples."""

    store: RowStore
    format: RowFormat
    mapping: dict[str, str]

    def __len__(self) -> int:
        """Return the number of rows, usable or not."""
        return len(self.store)


def tokenize(
    parts: Sequence[TokenPart],
    tokenizer: PreTrainedTokenizerBase,
    spec: DatasetSpec,
    task: TaskName,
    job: JobContext,
) -> list[TokenTable]:
    """Return every part tokenized, cached if possible; raises ProblemError."""
    key = hash_tokenizer(tokenizer)
    folders = [_get_folder(part, key, spec, task) for part in parts]
    missing = [
        (part, folder)
        for part, folder in dict(
            zip(folders, zip(parts, folders, strict=True), strict=True)
        ).values()
        if not _is_done(folder)
    ]
    total = sum(len(part) for part, _ in missing)
    done = 0
    for part, folder in missing:
        _sweep(folders)
        with create_folder_atomic(folder, stays=_is_done) as fresh:
            _run(_Work(part, tokenizer, spec, task, fresh, CHUNK), done, total, job)
        done += len(part)
    if missing:
        job.report_progress(_STAGE, total, total, "rows")
    for folder in folders:
        os.utime(folder)
    return [TokenTable(folder) for folder in folders]


def is_cached(
    parts: Sequence[TokenPart],
    tokenizer: PreTrainedTokenizerBase,
    spec: DatasetSpec,
    task: TaskName,
) -> bool:
    """Return whether all parts are in the cache."""
    key = hash_tokenizer(tokenizer)
    return all(_is_done(_get_folder(part, key, spec, task)) for part in parts)


# --- the key ----------------------------------------------------------------------------------


def hash_tokenizer(tokenizer: PreTrainedTokenizerBase) -> str:
    """Return a hash of everything about a tokenizer that decides on the tokens of a conversation."""
    digest = hashlib.sha256(tokenizer.backend_tokenizer.to_str().encode())
    special = {name: str(text) for name, text in tokenizer.special_tokens_map.items()}
    digest.update(json.dumps([special, tokenizer.get_chat_template()], sort_keys=True).encode())
    return digest.hexdigest()


def _get_folder(part: TokenPart, tokenizer: str, spec: DatasetSpec, task: TaskName) -> Path:
    facts = [
        get_source_digest(), part.store.key, part.format, part.mapping, task, tokenizer, spec.system_prompt,
        spec.train_on, spec.thinking, sorted(spec.fixes),
    ]  # fmt: skip
    key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    return paths.get_cache_folder() / "tokens" / key[:32]


def _is_done(folder: Path) -> bool:
    return (folder / "about.json").is_file()


def _sweep(used: Sequence[Path]) -> None:
    """Delete tokens that were not used for a month."""
    oldest = time.time() - _MOST_DAYS * 86_400
    for folder in (paths.get_cache_folder() / "tokens").glob("*"):
        # Another process may have renamed or deleted it since it was listed.
        with contextlib.suppress(FileNotFoundError):
            if folder not in used and folder.stat().st_mtime < oldest:
                shutil.rmtree(folder, ignore_errors=True)


# --- the work ---------------------------------------------------------------------------------


@dataclass
class _Work:
    """One part to tokenize into a folder; sent to every worker once."""

    part: TokenPart
    tokenizer: PreTrainedTokenizerBase
    spec: DatasetSpec
    task: TaskName
    folder: Path
    rows: int  # of a chunk

    @functools.cached_property
    def encoder(self) -> Encoder:
        """Return the encoder, created in each process: a compiled chat template can't be pickled."""
        return Encoder(self.tokenizer, self.spec)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "encoder"}

    def chunk(
        self, begin: int, job: JobContext | None = None, done: int = 0, total: int = 0
    ) -> _Result:
        """Tokenize the rows of one chunk into a file of its own; raises CancelledError.

        `done` of `total` rows is the progress of `job` at the start.
        """
        end = min(begin + self.rows, len(self.part))
        file = self.folder / f"{begin // self.rows:06d}.arrow"
        result = _Result(file.name, "", {})
        digest = hashlib.sha256()
        with _Writer(file, self.task) as writer:
            for at in range(begin, end, BATCH):
                if job is not None:
                    job.report_progress(_STAGE, done + at - begin, total, "rows")
                rows = list(range(at, min(at + BATCH, end)))
                for part in self._iter_small_parts(rows):
                    self._check(job)
                    self._tokenize_batch(part, writer, result, digest)
        result.digest = digest.hexdigest()
        return result

    @staticmethod
    def _check(job: JobContext | None) -> None:
        if job is not None:
            job.check()
        elif process_pool.is_cancelled():
            raise CancelledError

    def _iter_small_parts(self, rows: list[int]) -> Iterator[list[int]]:
        """Yield consecutive rows in parts of about `_PART_BYTES`: long rows take seconds each."""
        raws = self.part.store.data.data.slice(rows[0], len(rows)).column("raw")
        sizes = pc.fill_null(pc.binary_length(raws), 0).to_numpy()
        ends = np.cumsum(sizes) // _PART_BYTES
        for start, end in itertools.pairwise([0, *(np.flatnonzero(np.diff(ends)) + 1), len(rows)]):
            yield rows[start:end]

    def _tokenize_batch(
        self, rows: list[int], writer: _Writer, result: _Result, digest: hashlib._Hash
    ) -> None:
        table = self.part.store.data.data.slice(rows[0], len(rows))
        raws, faults = (table.column(name).to_pylist() for name in ("raw", "fault"))
        samples: list[tuple[int, Sample]] = []
        for row, raw, fault in zip(rows, raws, faults, strict=True):
            try:
                if fault:
                    raise load_reason(fault).to_error()
                samples.append((row, self._sample(raw)))
            except UnusableRow as error:
                result.skip(error, row)
        encoded = self.encoder.tokenize([sample for _, sample in samples])
        for (row, sample), sides in zip(samples, encoded, strict=True):
            if isinstance(sides, UnusableRow):
                result.skip(sides, row)
                continue
            writer.add(row, sides, sample)
            for side in sides:
                digest.update(np.insert(side.ids.astype(np.int64), 0, row).tobytes())
                digest.update(np.asarray(side.spans, np.int64).tobytes())

    def _sample(self, raw: str) -> Sample:
        part = self.part
        return mixture.make_sample(parse_values(raw), part.format, part.mapping, self.spec)


@dataclass
class _Result:
    """The result of a chunk: its file, a digest of its tokens, and skipped rows by reason."""

    file: str
    digest: str
    skipped: dict[SkipReason, SkippedRow]

    def skip(self, error: UnusableRow, row: int) -> None:
        self.skipped.setdefault(SkipReason.from_error(error), SkippedRow()).add([row + 1])


class _Writer(ArrowWriter):
    """Writes tokenized rows to an Arrow stream, which `datasets` maps into memory."""

    _SIDE = (
        ("ids", pa.list_(pa.int32())), ("spans", pa.list_(pa.int32())),
        ("length", pa.int32()), ("first", pa.int32()), ("targets", pa.int32()),
    )  # fmt: skip

    def __init__(self, file: Path, task: TaskName) -> None:
        self._encoding = ROW_ENCODINGS[task]
        fields = [("row", pa.int64()), ("left_out", pa.int32()), ("unshown", pa.int32())]
        fields += [
            (side + name, kind) for side in self._encoding.sides for name, kind in self._SIDE
        ]
        if kind := self._encoding.extra:
            fields.append(("extra", pa.type_for_alias(kind)))
        super().__init__(file, pa.schema(fields))
        self._columns: dict[str, list[Any]] = {name: [] for name in self.schema.names}
        self._held = 0

    def __exit__(self, *_: object) -> None:
        self._flush()
        super().__exit__()

    def add(self, row: int, sides: Sequence[TokenizedText], sample: Sample) -> None:
        columns = self._columns
        columns["row"].append(row)
        columns["left_out"].append(sum(side.left_out for side in sides))
        columns["unshown"].append(sum(side.unshown for side in sides))
        for prefix, side in zip(self._encoding.sides, sides, strict=True):
            columns[f"{prefix}ids"].append(side.ids)
            columns[f"{prefix}spans"].append(np.asarray(side.spans, np.int32).reshape(-1))
            columns[f"{prefix}length"].append(len(side.ids))
            columns[f"{prefix}first"].append(side.first)
            columns[f"{prefix}targets"].append(side.targets)
            self._held += len(side.ids)
        if "extra" in columns:
            columns["extra"].append(self._encoding.get_extra(sample))
        if self._held >= _HELD_TOKENS:
            self._flush()

    def _flush(self) -> None:
        arrays = [
            _build_lists(self._columns[field.name])
            if pa.types.is_list(field.type)
            else pa.array(self._columns[field.name], field.type)
            for field in self.schema
        ]
        self.write_batch(pa.record_batch(arrays, schema=self.schema))
        self._columns = {name: [] for name in self.schema.names}
        self._held = 0


def _build_lists(rows: list[np.ndarray]) -> pa.ListArray:
    """Return arrays of int32 as one column."""
    edges = np.zeros(len(rows) + 1, np.int32)
    np.cumsum([len(row) for row in rows], out=edges[1:])
    values = np.concatenate(rows) if rows else np.zeros(0, np.int32)
    return pa.ListArray.from_arrays(pa.array(edges), pa.array(values, pa.int32()))


def _run(work: _Work, done: int, total: int, job: JobContext) -> None:
    """Write all chunks of a part, then `about.json`."""
    begins = range(0, max(len(work.part), 1), work.rows)
    results: list[_Result] = []
    if len(work.part) < MANY or torch_settings.count_cores() == 1:
        results += (work.chunk(begin, job, done + begin, total) for begin in begins)
    else:
        job.report_progress(_STAGE, done, total, "rows")
        count = min(torch_settings.count_cores(), len(begins))
        modules = (__name__, type(work.tokenizer).__module__)
        for result in process_pool.map_in_processes(
            work.chunk, begins, count, job, preload=modules, helping=True
        ):
            results.append(result)
            job.report_progress(_STAGE, done + min(len(results) * work.rows, total), total, "rows")
    skipped: dict[SkipReason, SkippedRow] = {}
    for result in results:
        for reason, left in result.skipped.items():
            skipped.setdefault(reason, SkippedRow()).add(left.rows, left.count)
    about = {
        "task": work.task,
        "rows": len(work.part),
        "files": [result.file for result in results],
        "digest": hashlib.sha256("".join(r.digest for r in results).encode()).hexdigest(),
        "skipped": {
            dump_reason(reason): [left.count, left.rows] for reason, left in skipped.items()
        },
    }
    write_atomic(work.folder / "about.json", json.dumps(about))
