"""Read Parquet and Arrow files as rows, with nested values, without index and binary columns."""

from __future__ import annotations

import contextlib
import io
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from lora_studio.core import limits
from lora_studio.core.messages import text
from lora_studio.core.system.foreign_files import name_file, open_regular
from lora_studio.engine.dataset.files import blocks as blocks_module
from lora_studio.engine.dataset.files import byte_streams
from lora_studio.engine.dataset.files.blocks import (
    BLOCK_BYTES,
    ReadNotes,
    RowBlock,
    number_repeated_names,
    write_row,
)
from lora_studio.engine.dataset.files.byte_streams import Check
from lora_studio.engine.dataset.files.sniffing import (
    Container,
    file_error,
    require_columns,
)

#: Makes an empty folder that is deleted at the end of the block.
Scratch = Callable[[], contextlib.AbstractContextManager[Path]]

#: Maximum number of rows converted to Python values at a time; and of rows that are unpacked at a time
#: where each may refer to the same large text.
_ROWS, _ROWS_OF_REPEATS = 2048, 64
#: Encodings of Parquet that store a text, or its beginning, once for many rows.
_REPEATING = {"PLAIN_DICTIONARY", "RLE_DICTIONARY", "DELTA_BYTE_ARRAY"}
#: Maximum number of rows to count in a damaged part.
_MOST_LOST = 10_000_000
#: Types whose arrays contain each value as often as it occurs.
_STORED_ONCE = (
    pa.types.is_primitive, pa.types.is_decimal, pa.types.is_null, pa.types.is_string,
    pa.types.is_large_string, pa.types.is_binary, pa.types.is_large_binary,
    pa.types.is_fixed_size_binary,
)  # fmt: skip
_INDEX = re.compile(r"__index_level_\d+__|Unnamed: 0")


def read_columnar_blocks(
    container: Container, notes: ReadNotes, scratch: Scratch, check: Check = byte_streams.never
) -> Iterator[tuple[RowBlock, float]]:
    """Yield blocks of rows, each with the share of the file read so far; raises ProblemError.

    `scratch` creates the folder that a packed file is unpacked into. `check` may raise an exception.
    Raises MemoryError for a part of the file that doesn't fit into memory.
    """
    with _unpack_to_file(container, scratch, check) as path:
        try:
            blocks = (
                _read_parquet(path, container, notes, check)
                if container.kind == "parquet"
                else _read_arrow(path, container, notes, check)
            )
            for block in blocks:
                check()
                yield block
        except MemoryError:  # also one of Arrow's exceptions
            raise
        except (pa.ArrowException, OSError, ValueError) as error:
            if "bad_alloc" in str(error):  # while Arrow parses a footer
                raise MemoryError from error
            reason = str(error).splitlines()[0].rstrip(".") if str(error) else ""
            raise file_error(
                container.path,
                "dataset.unreadable",
                "{name} is a damaged {format} file: {reason}.",
                "Download or create the file again.",
                name=container.name,
                format=str(container.kind),
                reason=reason or text("its end is missing"),
            ) from error


@contextlib.contextmanager
def _unpack_to_file(container: Container, scratch: Scratch, check: Check) -> Iterator[Path]:
    """Yield the file itself, or an unpacked copy that is deleted afterwards: readers have to seek."""
    if not (container.member or container.compression):
        yield container.path
        return
    with scratch() as folder:
        copy = folder / "rows"
        with container.open(check) as stream, copy.open("wb") as file:
            for chunk in stream.iter_chunks():
                with name_file(copy):
                    file.write(chunk)
        yield copy


def _read_parquet(
    path: Path, container: Container, notes: ReadNotes, check: Check
) -> Iterator[tuple[RowBlock, float]]:
    import pyarrow.parquet as pq  # a tenth of a second

    _require_bounded_footer(container, path, b"PAR1")
    most = limits.TABLE_PARTS
    with pq.ParquetFile(path, pre_buffer=False, thrift_container_size_limit=most) as file:
        schema, total = file.schema_arrow, max(1, file.metadata.num_rows)
        columns = _get_columns(schema)
        require_columns(container, len(columns))
        done = 0
        for group in range(file.num_row_groups):
            check()  # a group without rows yields no block
            facts = file.metadata.row_group(group)
            size, before = facts.num_rows, done
            try:
                rows = _count_rows_at_once(facts.total_byte_size, size)
                if _has_repeats(facts):
                    rows = min(rows, _ROWS_OF_REPEATS)
                for batch in file.iter_batches(rows, [group], columns, use_threads=False):
                    batch.validate(full=True)
                    for block in _slice_batch(batch, notes):
                        done += len(block)
                        yield block, min(1.0, done / total)
            except MemoryError:
                raise
            except (pa.ArrowException, OSError):
                if done == 0 and file.num_row_groups == 1:
                    raise
                # The number may be damaged as well.
                lost = min(max(0, size - (done - before)), _MOST_LOST)
                done += lost
                yield _build_unreadable_block(lost), min(1.0, done / total)


def _require_bounded_footer(container: Container, path: Path, magic: bytes) -> None:
    """Raise ProblemError if a footer, whose length is before the last bytes, is too long to parse."""
    with open_regular(path) as file:
        size = file.seek(0, io.SEEK_END)
        file.seek(-min(len(magic) + 4, size), io.SEEK_END)
        length = int.from_bytes(file.read(4), "little")
        if file.read() == magic and limits.TABLE_FOOTER < length <= size:
            raise file_error(
                container.path,
                "dataset.long_footer",
                "The list of parts at the end of {name} is longer than {most:size}.",
                "Write the file again with larger row groups.",
                name=container.name,
                most=limits.TABLE_FOOTER,
            )


def _has_repeats(group: Any) -> bool:
    """Return whether columns of a row group may refer to a text many times."""
    return any(
        column.physical_type in ("BYTE_ARRAY", "FIXED_LEN_BYTE_ARRAY")
        and not _REPEATING.isdisjoint(column.encodings)
        for column in map(group.column, range(group.num_columns))
    )


def _read_arrow(
    path: Path, container: Container, notes: ReadNotes, check: Check
) -> Iterator[tuple[RowBlock, float]]:
    with pa.OSFile(str(path)) as file:
        size = max(1, file.size())
        if file.read(6) == b"ARROW1":
            _require_bounded_footer(container, path, b"ARROW1")
            reader = pa.ipc.open_file(file)
            require_columns(container, len(reader.schema))
            for index in range(reader.num_record_batches):
                check()
                share = (index + 1) / reader.num_record_batches
                try:
                    batch = reader.get_batch(index)
                    # Arrow follows offsets unchecked: a wrong one would crash the process.
                    batch.validate(full=True)
                except MemoryError:
                    raise
                except (pa.ArrowException, OSError):
                    yield _build_unreadable_block(1), share
                    continue
                yield from ((block, share) for block in _slice_batch(batch, notes))
            return
        file.seek(0)
        with pa.ipc.open_stream(file) as reader:
            require_columns(container, len(reader.schema))
            for batch in reader:
                check()
                batch.validate(full=True)
                share = min(1.0, file.tell() / size)
                yield from ((block, share) for block in _slice_batch(batch, notes))


def _slice_batch(batch: pa.RecordBatch, notes: ReadNotes) -> Iterator[RowBlock]:
    columns = set(_get_columns(batch.schema))
    batch = batch.select(
        [index for index, name in enumerate(batch.schema.names) if name in columns]
    )
    yield from _iter_small_blocks(batch, notes)


def _iter_small_blocks(batch: pa.RecordBatch, notes: ReadNotes) -> Iterator[RowBlock]:
    """Yield the rows of a batch in blocks whose values need little memory."""
    size = sum(_measure_values(column) for column in batch.columns)
    if batch.num_rows == 1 and size > limits.ROW_BYTES:
        block = RowBlock()
        block.add(b"", 0, -1, blocks_module.TOO_LARGE)
        yield block
    elif batch.num_rows <= 1 or (size <= BLOCK_BYTES and batch.num_rows <= _ROWS):
        yield _block(batch, notes)
    else:
        half = batch.num_rows // 2
        yield from _iter_small_blocks(batch.slice(0, half), notes)
        yield from _iter_small_blocks(batch.slice(half), notes)


def _measure_values(array: pa.Array) -> int:
    """Return the bytes of an array's values, each as often as it occurs, at least one for each."""
    return max(len(array), _measure_content(array)) if len(array) else 0


def _measure_content(array: pa.Array) -> int:
    import pyarrow.compute as pc

    kind = array.type
    if isinstance(array, pa.ExtensionArray):
        return _measure_values(array.storage)
    if pa.types.is_dictionary(kind):
        dictionary = array.dictionary
        if not (pa.types.is_string(dictionary.type) or pa.types.is_large_string(dictionary.type)):
            return len(array) * int(dictionary.nbytes)
        return int(pc.sum(pc.binary_length(dictionary).take(array.indices)).as_py() or 0)
    if pa.types.is_struct(kind):
        return sum(map(_measure_values, array.flatten()))
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return _measure_values(array.flatten())
    if pa.types.is_map(kind):
        start, end = array.offsets[0].as_py(), array.offsets[-1].as_py()
        items = (array.keys.slice(start, end - start), array.items.slice(start, end - start))
        return sum(map(_measure_values, items))
    if pa.types.is_string_view(kind) or pa.types.is_binary_view(kind):
        lengths = np.frombuffer(array.buffers()[1], np.int32)[::4]  # the first of four numbers
        return int(lengths[array.offset :][: len(array)].sum(dtype=np.int64))
    if any(is_plain(kind) for is_plain in _STORED_ONCE):
        return int(array.nbytes)
    # Views of lists and runs may refer to the same value many times.
    return len(array) * int(array.get_total_buffer_size())


def _count_rows_at_once(size: int, rows: int) -> int:
    """Return how many of `rows` rows, `size` bytes in all, are turned into Python values at a time."""
    return max(1, min(_ROWS, BLOCK_BYTES * rows // max(1, size)))


def _get_columns(schema: pa.Schema) -> list[str]:
    """Return all columns except a table's index, which pandas writes next to the data."""
    index: list[Any] = []
    with contextlib.suppress(ValueError, AttributeError, TypeError):
        index = json.loads((schema.metadata or {}).get(b"pandas", b"{}")).get("index_columns", [])
    named = {name for name in index if isinstance(name, str)}
    return [name for name in schema.names if not _INDEX.fullmatch(name) and name not in named]


def _block(batch: pa.RecordBatch, notes: ReadNotes) -> RowBlock:
    block = RowBlock()
    if len(set(batch.schema.names)) < batch.num_columns:
        batch = batch.rename_columns(number_repeated_names(batch.schema.names))
    notes.columns |= dict.fromkeys(batch.schema.names)
    class_names = _read_class_names(batch.schema)
    struct_lists = [name for name in batch.schema.names if _is_turns(batch.schema.field(name).type)]
    try:
        rows: list[dict[str, Any] | None] = batch.to_pylist(maps_as_pydicts="lossy")
    except (UnicodeDecodeError, ValueError, OverflowError, RecursionError):
        rows = [_read_row(batch, index) for index in range(batch.num_rows)]
    for values in rows:
        if values is None:
            block.add(b"", 0, -1, blocks_module.UNREADABLE)
            continue
        for name in struct_lists:
            values[name] = _join_turns(values[name])
        for name, names in class_names.items():
            values[name] = _name_class(values.get(name), names)
        raw, fault = write_row(values)
        block.add(raw, 0, -1, fault)
    return block


def _read_class_names(schema: pa.Schema) -> dict[str, list[str]]:
    """Return the names of classes that columns store as numbers, as `datasets` records them (ClassLabel)."""
    try:
        facts = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        features = facts["info"]["features"]
        named = {
            name: feature["names"]
            for name, feature in features.items()
            if isinstance(feature, dict) and feature.get("_type") == "ClassLabel"
        }
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}
    return {
        name: names
        for name, names in named.items()
        if isinstance(names, list) and all(isinstance(each, str) for each in names)
    }


def _name_class(value: Any, names: list[str]) -> Any:
    """Return the name of a class; -1 marks rows whose class isn't known."""
    if not isinstance(value, int) or isinstance(value, bool):
        return value
    return names[value] if 0 <= value < len(names) else None if value == -1 else value


def _read_row(batch: pa.RecordBatch, index: int) -> dict[str, Any] | None:
    try:
        return batch.slice(index, 1).to_pylist(maps_as_pydicts="lossy")[0]
    except (UnicodeDecodeError, ValueError, OverflowError, RecursionError):
        return None


def _build_unreadable_block(rows: int) -> RowBlock:
    block = RowBlock()
    for _ in range(rows):
        block.add(b"", 0, -1, blocks_module.DAMAGED)
    return block


def _is_turns(kind: pa.DataType) -> bool:
    """Return whether turns are stored as columns: one list of roles and one of contents."""
    if not pa.types.is_struct(kind):
        return False
    names = {kind.field(index).name for index in range(kind.num_fields)}
    is_lists = all(_is_list(kind.field(index).type) for index in range(kind.num_fields))
    return is_lists and ({"role", "content"} <= names or {"from", "value"} <= names)


def _is_list(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind)


def _join_turns(value: dict[str, list[Any] | None] | None) -> Any:
    """Return columns of turns as a list of turns; unchanged if the columns differ in length."""
    if value is None or len({len(items or []) for items in value.values()}) > 1:
        return value
    return [
        dict(zip(value, turn, strict=True))
        for turn in zip(*(items or [] for items in value.values()), strict=True)
    ]
