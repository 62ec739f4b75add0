"""Write a merged model shard by shard, block by block from disk to disk; resumes after a kill."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy
import torch

from lora_studio.core.messages import text
from lora_studio.core.model import folders
from lora_studio.core.protocol import events
from lora_studio.core.system.files import create_folder, write_atomic
from lora_studio.core.system.foreign_files import NamingFile, open_regular, read_json
from lora_studio.engine.lora import adapter_files
from lora_studio.engine.merging import plan
from lora_studio.engine.merging.plan import Apply, GrownTensor, MergedTensor
from lora_studio.engine.model import safetensors_files
from lora_studio.engine.model.safetensors_files import PlannedFile, StoredTensor
from lora_studio.engine.runtime.channel import JobContext

_STAGE = text("merging the weights")

#: Name of the record of an unfinished merge.
RECORD = "unfinished.json"

#: Blocks that a thread computes before it gets the next ones.
_BLOCKS_AT_ONCE = 4


@dataclass(frozen=True)
class Shard:
    """One file of the merged model."""

    file: str
    outputs: tuple[MergedTensor, ...]

    @property
    def planned(self) -> list[PlannedFile]:
        """Return its tensors as they will be in the file."""
        return [output.planned for output in self.outputs]

    @property
    def bytes(self) -> int:
        """Return the size of its data."""
        return sum(planned.bytes for planned in self.planned)


def cut(outputs: Sequence[MergedTensor], limit: int) -> list[Shard]:
    """Return tensors by file: as many in each as fit into `limit` bytes, but at least one."""
    groups: list[list[MergedTensor]] = [[]]
    size = 0
    for output in outputs:
        if groups[-1] and size + output.planned.bytes > limit:
            groups.append([])
            size = 0
        groups[-1].append(output)
        size += output.planned.bytes
    names = safetensors_files.make_shard_names(len(groups))
    return [Shard(name, tuple(group)) for name, group in zip(names, groups, strict=True)]


class ShardRecord:
    """A record of the finished shards of one merge, with a checksum of each one's computed values.

    `key` identifies everything that determines the result. A folder of another key is emptied.
    """

    def __init__(self, folder: Path, key: str, *, only_look: bool = False) -> None:
        """Read what an earlier attempt has left; with `only_look` nothing is changed."""
        self._file, self._folder, self._key = folder / RECORD, folder, key
        self._sums: dict[str, str] = {}
        try:
            record = read_json(self._file)
            if record["key"] == key:
                self._sums = dict(record["shards"])
        except (OSError, ValueError, KeyError, TypeError):
            pass  # no usable record: write every shard again
        if not self._sums and not only_look:
            shutil.rmtree(folder, ignore_errors=True)
            create_folder(folder, exist_ok=False)

    def add(self, shard: Shard, total: str) -> None:
        """Record a finished shard."""
        self._sums[shard.file] = total
        write_atomic(self._file, json.dumps({"key": self._key, "shards": self._sums}))

    def is_recorded(self, shard: Shard) -> bool:
        """Return whether an earlier attempt finished the shard."""
        return shard.file in self._sums

    def count_finished_bytes(self, shards: Sequence[Shard]) -> int:
        """Return the size of the shards that needn't be written again."""
        return sum(shard.bytes for shard in shards if self.is_recorded(shard))

    def is_intact(self, shard: Shard, job: JobContext) -> bool:
        """Return whether the shard is complete and unchanged since it was written.

        Copied tensors are compared with their source, computed ones by their checksum.
        """
        file = self._folder / shard.file
        header, positions = safetensors_files.build_header(shard.planned)
        if not self.is_recorded(shard) or not file.is_file():
            return False
        if file.stat().st_size != positions[-1]:
            return False
        with open_regular(file) as opened:
            if opened.read(len(header)) != header:
                return False
        sums = []
        for output, position in zip(shard.outputs, positions, strict=False):
            planned = output.planned
            written = StoredTensor(planned.name, file, planned.dtype, planned.shape, position, position + planned.bytes)  # fmt: skip
            for first, last in _get_blocks(output):
                job.check()
                block = safetensors_files.view_bytes(written.read_rows(first, last))
                if not output.copied:
                    sums.append(_compute_checksum(block))
                elif not numpy.array_equal(block, safetensors_files.view_bytes(output.source.read_rows(first, last))):  # fmt: skip
                    return False
        return _combine_checksums(sums) == self._sums[shard.file]

    def end(self) -> None:
        """Remove the record of a complete merge."""
        self._file.unlink(missing_ok=True)


def write(shards: Sequence[Shard], folder: Path, record: ShardRecord, job: JobContext) -> None:
    """Write all shards that aren't finished yet, and the index if there are several.

    Raises ProblemError when a value isn't finite. Memory: a few blocks for each thread and the two
    factors of one update, whatever the size of the model.
    """
    total = sum(shard.bytes for shard in shards)
    done = 0
    with _create_thread_pool() as pool:
        for number, shard in enumerate(shards, 1):
            job.report_progress(_STAGE, done, total, "bytes")
            is_finished = record.is_intact(shard, job)
            if not is_finished:
                part = folder / f"{shard.file}.part"
                sums = _write_shard(shard, part, pool, job, (done, total))
                part.replace(folder / shard.file)
                record.add(shard, sums)
            done += shard.bytes
            job.emit(
                events.ShardWritten(
                    file=shard.file,
                    number=number,
                    of=len(shards),
                    bytes=shard.bytes,
                    reused=is_finished,
                )
            )
    job.report_progress(_STAGE, done, total, "bytes")
    if len(shards) > 1:
        write_index(shards, folder)


def write_index(shards: Sequence[Shard], folder: Path) -> None:
    """Write which tensor is in which file."""
    file_by_tensor = {output.name: shard.file for shard in shards for output in shard.outputs}
    total = sum(shard.bytes for shard in shards)
    index = {"metadata": {"total_size": total}, "weight_map": file_by_tensor}
    write_atomic(folder / folders.INDEX, json.dumps(index, indent=2) + "\n")


def compute_values(output: MergedTensor) -> torch.Tensor:
    """Return one tensor of the merged model, bit for bit as `write` stores it.

    Raises ProblemError when a value isn't finite.
    """
    # Inference mode is set per thread, and no thread outside it can write to a tensor created in it.
    with torch.inference_mode(False), _create_thread_pool() as pool:
        changes = [update.load() for update in output.updates]
        result = torch.empty(output.source.shape, dtype=output.dtype)

        def work(block: tuple[int, int]) -> None:
            value = _compute_rows(output, changes, block)
            (result[block[0] : block[1]] if result.shape else result).copy_(value)

        for _ in pool.map(work, _get_blocks(output)):
            pass
    return result


def compute_rows(output: MergedTensor, count: int) -> torch.Tensor:
    """Return the first rows of one tensor of the merged model; raises ProblemError when a value isn't finite."""
    changes = [update.load() for update in output.updates]
    return _compute_rows(output, changes, (0, count))


def estimate_memory(output: MergedTensor, threads: int) -> int:
    """Return the bytes used while a tensor is computed.

    That is its factors, and for each thread a block as read, as summed and as written, with two
    more in 32 bits.
    """
    if output.copied:
        return 0
    values = max((last - first for first, last in _get_blocks(output)), default=0)
    values *= math.prod(output.source.shape[1:])
    factors = sum(4 * sum(update.shape[-2:]) * update.rank for update in output.updates)
    is_plain = isinstance(output.source, StoredTensor | GrownTensor)
    packed = 0 if is_plain else 3 * output.planned.bytes
    return factors + packed + threads * values * (2 * output.dtype.itemsize + 8)


def _write_shard(
    shard: Shard, file: Path, pool: ThreadPoolExecutor, job: JobContext, progress: tuple[int, int]
) -> str:
    """Write one file; return the checksum of its computed tensors."""
    header, positions = safetensors_files.build_header(shard.planned)
    done, total = progress
    sums: list[int] = []
    with NamingFile(file, "wb") as opened:
        opened.write(header)
        opened.truncate(positions[-1])
        for output, position in zip(shard.outputs, positions, strict=False):
            if isinstance(output.source, StoredTensor) and output.copied:
                output.source.copy_to(opened, position, job.check)
            else:
                sums += _compute(output, file, position, pool, job)
            done += output.planned.bytes
            job.report_progress(_STAGE, done, total, "bytes")
    # Not flushed to the disk, which would double the time (2 s and more for each GB). A kill loses
    # no data; after a power cut, a resumed merge detects torn files.
    return _combine_checksums(sums)


def _compute(
    output: MergedTensor, file: Path, position: int, pool: ThreadPoolExecutor, job: JobContext
) -> list[int]:
    """Write one tensor with its blocks divided among the threads; return the sum of each block."""
    changes = [update.load() for update in output.updates]
    blocks = _get_blocks(output)
    width = output.planned.bytes // max(output.source.length, 1)

    def work(some: list[tuple[int, int]]) -> list[int]:
        with NamingFile(file, "r+b") as opened:
            return [_block(output, changes, b, opened, position + b[0] * width, job) for b in some]

    pieces = [blocks[i : i + _BLOCKS_AT_ONCE] for i in range(0, len(blocks), _BLOCKS_AT_ONCE)]
    if len(pieces) == 1:
        return work(pieces[0])
    return [total for totals in pool.map(work, pieces) for total in totals]


def _block(
    output: MergedTensor,
    changes: list[Apply],
    block: tuple[int, int],
    file: BinaryIO,
    position: int,
    job: JobContext,
) -> int:
    """Read, change, check and write some rows; return the sum of their words."""
    job.check()
    value = _compute_rows(output, changes, block)
    file.seek(position)
    safetensors_files.write(file, value)
    return _compute_checksum(safetensors_files.view_bytes(value))


def _compute_rows(
    output: MergedTensor, changes: list[Apply], block: tuple[int, int]
) -> torch.Tensor:
    """Return some rows after the merge; raises ProblemError when a value isn't finite."""
    # Convert to the final data type first, like a model that is loaded in it and then merged.
    value = output.source.read_rows(*block).to(output.dtype)
    for change in changes:
        value = change(value, *block)
    if value.is_floating_point() and value.dtype.itemsize > 1 and value.numel():
        low, high = torch.aminmax(value)  # either is NaN if any value is
        if not (bool(torch.isfinite(low)) and bool(torch.isfinite(high))):
            raise adapter_files.not_finite_error(output.name, output.planned.dtype)
    return value


def _get_blocks(output: MergedTensor) -> list[tuple[int, int]]:
    """Return the ranges of rows that are computed at once."""
    source = output.source
    if any(update.whole for update in output.updates):
        return [(0, source.length)]
    columns = math.prod(source.shape[1:])
    if len(source.shape) > 2:  # experts
        return plan.split_range(source.length, max(plan.BLOCK // max(columns, 1), 1))
    return plan.split_range(source.length, plan.count_block_rows(source.length, columns))


def _compute_checksum(block: numpy.ndarray) -> int:
    """Return the sum of the 64-bit words of a block, modulo 2⁶⁴.

    It detects what a crash or a bad disk did to a file, for a twentieth of a cryptographic hash's
    time.
    """
    words = len(block) // 8 * 8
    total = int(block[:words].view(numpy.uint64).sum(dtype=numpy.uint64))
    return (total + int(block[words:].sum(dtype=numpy.uint64))) % (1 << 64)


def _combine_checksums(sums: Sequence[int]) -> str:
    return hashlib.sha256(repr(list(sums)).encode()).hexdigest()


@contextmanager
def _create_thread_pool() -> Iterator[ThreadPoolExecutor]:
    """Return as many threads as torch would use, each with torch to itself: a block is too small to
    share.
    """
    count = torch.get_num_threads()
    torch.set_num_threads(1)
    pool = ThreadPoolExecutor(count, "merge", initializer=lambda: torch.set_num_threads(1))
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(count)
