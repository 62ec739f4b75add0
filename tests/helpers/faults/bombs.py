"""Small files that would take gigabytes, minutes or a stack overflow to read without limits.

`python -m tests.helpers.faults.bombs FILE --write` writes the file that BOMBS has under this name.
`python -m tests.helpers.faults.bombs FILE [--cancel-after SECONDS] [--lint]` reads it in this process as a
worker does, and prints what came out, the peak of its memory and its seconds of CPU time as JSON.
"""

from __future__ import annotations

import argparse
import bz2
import gzip
import io
import json
import lzma
import os
import resource
import sys
import tarfile
import threading
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

_MEGABYTE = 1_000_000
_ROW = b'{"messages": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]}\n'


def _chat(*contents: str) -> dict[str, Any]:
    roles = ("user", "assistant")
    return {
        "messages": [
            {"role": roles[number % 2], "content": content}
            for number, content in enumerate(contents)
        ]
    }


def _write_long_rows(file: Path, megabytes: int, count: int) -> None:
    text = "The quick brown fox jumps over the lazy dog. " * (megabytes * _MEGABYTE // 45)
    with file.open("w") as stream:
        for number in range(count):
            stream.write(json.dumps(_chat("Question", f"{number} {text}")) + "\n")


def _write_many_turns(file: Path) -> None:
    turn = b'{"role":"user","content":"a"},{"role":"assistant","content":"b"}'
    file.write_bytes(b'{"messages":[' + b",".join([turn] * 900_000) + b"]}\n" + _ROW * 20)


def _write_csv_columns(file: Path) -> None:
    names = ",".join(f"c{number}" for number in range(2_000_000))
    file.write_text(f"{names}\n{',' * 1_999_999}\n")


def _write_equal_columns(file: Path) -> None:
    file.write_text(f"{','.join(['a'] * 200_000)}\n{',' * 199_999}\n")


def _write_json_columns(file: Path) -> None:
    file.write_text(json.dumps({f"c{number}": ["a", "b"] for number in range(500_000)}))


def _write_changing_keys(file: Path) -> None:
    with file.open("w") as stream:
        for number in range(500_000):
            stream.write(f'{{"k{number}": "text {number}"}}\n')


def _write_open_quote(file: Path) -> None:
    file.write_bytes(b'question,answer\na,"' + b"x, y\n" * 4_000_000)


def _write_parquet(file: Path, value: str, rows: int, **options: Any) -> None:
    indices = pa.array([0] * rows, pa.int32())
    column = pa.DictionaryArray.from_arrays(indices, pa.array([value]))
    table = pa.table({"question": column, "answer": column})
    pq.write_table(table, file, compression="zstd", **options)


def _write_parquet_nested(file: Path, rows: int) -> None:
    turns = [{"role": "user", "content": "x" * 400_000}, {"role": "assistant", "content": "a"}]
    kind = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
    one = pa.array([turns], kind)
    with pq.ParquetWriter(file, pa.schema([("messages", kind)]), compression="zstd") as writer:
        table = pa.table({"messages": pa.chunked_array([one] * rows)})
        writer.write_table(table, row_group_size=rows)


def _write_parquet_page(file: Path, megabytes: int) -> None:
    text = pa.array(["x" * (megabytes * _MEGABYTE)])
    table = pa.table({"question": ["q"], "answer": text})
    pq.write_table(table, file, compression="zstd", use_dictionary=False)


def _write_parquet_nulls(file: Path) -> None:
    pq.write_table(pa.table({"text": pa.nulls(100_000_000, pa.string())}), file)


def _write_parquet_columns(file: Path) -> None:
    pq.write_table(pa.table({f"c{number}": ["a"] for number in range(30_000)}), file)


def _write_arrow(file: Path, megabytes: int) -> None:
    table = pa.table({"question": ["q"], "answer": ["x" * (megabytes * _MEGABYTE)]})
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.ipc.new_file(str(file), table.schema, options=options) as writer:
        writer.write_table(table)


def _write_arrow_dictionary(file: Path) -> None:
    column = pa.DictionaryArray.from_arrays(
        pa.array([0] * 50_000, pa.int8()), pa.array(["x" * _MEGABYTE])
    )
    table = pa.table({"question": column, "answer": column})
    with pa.ipc.new_file(
        str(file), table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")
    ) as writer:
        writer.write_table(table)


def _write_packed(pack: Callable[[bytes], bytes], pieces: int = 8) -> Callable[[Path], None]:
    """Return a function that writes rows, packed in equal pieces of 32 MB."""

    def write(file: Path) -> None:
        file.write_bytes(pack(_ROW * (32 * _MEGABYTE // len(_ROW))) * pieces)

    return write


def _pack_zstd(data: bytes) -> bytes:
    return bytes(pa.Codec("zstd").compress(data, asbytes=True))


def _write_zip(file: Path) -> None:
    with (
        zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("a.jsonl", "w", force_zip64=True) as entry,
    ):
        piece = _ROW * (8 * _MEGABYTE // len(_ROW))
        for _ in range(40):
            entry.write(piece)


def _write_zip_entries(file: Path) -> None:
    with zipfile.ZipFile(file, "w") as archive:
        for number in range(60_000):
            archive.writestr(f"{number}.jsonl", _ROW)


def _write_tar_zeros(file: Path) -> None:
    """Write a packed tar with an entry of 4 GB before the rows."""
    header = tarfile.TarInfo("zeros.bin")
    header.size = 4_000_000_000
    zeros = gzip.compress(bytes(40_000_000))
    rows = tarfile.TarInfo("rows.jsonl")
    rows.size = len(_ROW)
    end = rows.tobuf() + _ROW.ljust(512, b"\0") + bytes(1024)
    file.write_bytes(gzip.compress(header.tobuf()) + zeros * 100 + gzip.compress(end))


def _write_tar_header(file: Path) -> None:
    """Write a packed tar whose extended header has 1 GB."""
    header = tarfile.TarInfo("x")
    header.type, header.size = tarfile.XHDTYPE, 1_000_000_000
    file.write_bytes(gzip.compress(header.tobuf()) + gzip.compress(bytes(40_000_000)) * 25)


def _write_tar_folder_twice(file: Path) -> None:
    """Write a tar whose second entry of a name is a folder."""
    with tarfile.open(file, "w") as archive:
        for kind, content in ((tarfile.REGTYPE, _ROW), (tarfile.DIRTYPE, b"")):
            entry = tarfile.TarInfo("rows.jsonl")
            entry.type, entry.size = kind, len(content)
            archive.addfile(entry, io.BytesIO(content))


def _write_deep(file: Path, depth: int) -> None:
    value = '{"messages":' + "[" * depth + '"x"' + "]" * depth + "}\n"
    file.write_bytes(value.encode() + _ROW * 20)


def _write_deep_text(file: Path) -> None:
    """Write rows whose text looks like a deeply nested Python literal."""
    rows = [
        {"messages": "[" * 50_000 + "]" * 50_000},
        {"messages": "[" + "{'role':'user','content':'a'}," * 60_000 + "]"},
        {"messages": "[" + "-" * 90_000 + "1]"},
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows) + _ROW.decode() * 20)


def _write_digits(file: Path) -> None:
    rows = [f'{{"n": {"9" * 6_000_000}}}', f'{{"n": 1e{"9" * 100_000}}}', f'{{"n": {"9" * 4000}}}']
    file.write_bytes("".join(row + "\n" for row in rows).encode() + _ROW * 20)


#: Name of the file -> writes it.
BOMBS: dict[str, Callable[[Path], None]] = {
    "row_50_mb.jsonl": lambda file: _write_long_rows(file, 50, 1),
    "rows_7_mb.jsonl": lambda file: _write_long_rows(file, 7, 20),
    "turns.jsonl": _write_many_turns,
    "columns.csv": _write_csv_columns,
    "equal_columns.csv": _write_equal_columns,
    "columns.json": _write_json_columns,
    "changing_keys.jsonl": _write_changing_keys,
    "open_quote.csv": _write_open_quote,
    "dictionary_1_kb.parquet": lambda file: _write_parquet(file, "x" * 1000, 200_000),
    "dictionary_1_mb.parquet": lambda file: _write_parquet(file, "x" * _MEGABYTE, 200_000),
    "nested.parquet": lambda file: _write_parquet_nested(file, 2000),
    "page.parquet": lambda file: _write_parquet_page(file, 600),
    "nulls.parquet": _write_parquet_nulls,
    "columns.parquet": _write_parquet_columns,
    "buffer.arrow": lambda file: _write_arrow(file, 600),
    "dictionary.arrow": _write_arrow_dictionary,
    "rows.jsonl.gz": _write_packed(lambda data: gzip.compress(data, 1), 40),
    "rows.jsonl.bz2": _write_packed(lambda data: bz2.compress(data, 1)),
    "rows.jsonl.xz": _write_packed(lambda data: lzma.compress(data, preset=0)),
    "rows.jsonl.zst": _write_packed(_pack_zstd),
    "rows.zip": _write_zip,
    "entries.zip": _write_zip_entries,
    "zeros.tar.gz": _write_tar_zeros,
    "header.tar.gz": _write_tar_header,
    "folder_twice.tar": _write_tar_folder_twice,
    "deep_900.jsonl": lambda file: _write_deep(file, 900),
    "deep_100000.jsonl": lambda file: _write_deep(file, 100_000),
    "deep_text.jsonl": _write_deep_text,
    "digits.jsonl": _write_digits,
}


def main() -> None:
    """Read one file and print what happened."""
    parser = argparse.ArgumentParser()
    parser.add_argument("file", type=Path)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--cancel-after", type=float)
    parser.add_argument("--lint", action="store_true")
    options = parser.parse_args()
    if options.write:
        BOMBS[options.file.name](options.file)
        return

    from lora_studio.core.dataset.spec import DatasetSpec, DataSource
    from lora_studio.core.protocol import commands, events
    from tests.helpers.runs.jobs import handle

    spec = DatasetSpec(sources=(DataSource(path=str(options.file)),))
    asked: list[commands.Question] = [commands.InspectDataset(dataset=spec)]
    if options.lint:
        asked.append(commands.LintDataset(dataset=spec))
    cancelled_at = [0.0]

    def on_event(event: Any, flags: Any) -> None:
        if options.cancel_after is not None and isinstance(event, events.Started):

            def cancel() -> None:
                cancelled_at[0] = time.process_time()
                flags.cancel.set()

            timer = threading.Timer(options.cancel_after, cancel)
            timer.daemon = True
            timer.start()

    began = time.process_time()
    outcomes, codes = [], []
    for command in asked:
        channel = handle(command, on_event)
        ending = channel.events[-1]
        outcomes.append(ending.kind)
        if isinstance(ending, events.Failed):
            codes.append(ending.problem.code)
        for event in channel.of(events.DatasetInspected)[-1:]:
            codes += [problem.code for problem in event.problems]
            codes += [f"{entry.count} × {entry.reason}" for entry in event.skipped]
        if isinstance(ending, events.Cancelled):
            break
    ended = time.process_time()
    result = {
        "endings": outcomes,
        "codes": codes,
        "seconds": round(ended - began, 2),
        "peak_mb": round(_read_peak() / 1e6),
    }
    if cancelled_at[0]:
        result["latency"] = round(ended - cancelled_at[0], 2)
    sys.stdout.write(json.dumps(result) + "\n")


def _read_peak() -> int:
    """Return the peak memory of this process, plus that of its largest child, in bytes."""
    status = Path("/proc/self/status").read_text("ascii")
    own = int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))
    return 1024 * (own + resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")  # as in a worker
    main()
