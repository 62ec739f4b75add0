"""Randomly damaged files of every container give rows and reasons that add up, or one clear problem."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lora_studio.core.dataset.spec import DatasetSpec, DataSource
from lora_studio.core.protocol import commands, events
from lora_studio.engine.dataset.rows.scan import open_store
from tests.helpers.runs.jobs import handle, make_job

pytestmark = pytest.mark.usefixtures("cache")

ROWS: list[dict[str, Any]] = [
    {"question": f"Q{number}?\n“{number}”", "answer": f"A {number}, é 🙂", "n": number}
    for number in range(40)
]
ARTICLES = [
    {"title": "T", "paragraphs": [{"context": "C", "qas": [{"question": "Q", "answers": [{"text": "A"}]}]}]}
] * 5  # fmt: skip


def _csv() -> bytes:
    cells = [[json.dumps(value, ensure_ascii=False) for value in row.values()] for row in ROWS]
    quoted = [[cell.replace('\\"', '""') for cell in row] for row in cells]
    return "\n".join(["question,answer,n", *map(",".join, quoted)]).encode()


def _columnar(write: Callable[[pa.Table, io.BytesIO], None]) -> bytes:
    buffer = io.BytesIO()
    write(pa.Table.from_pylist(ROWS), buffer)
    return buffer.getvalue()


def _arrow(table: pa.Table, buffer: io.BytesIO) -> None:
    with pa.ipc.new_stream(buffer, table.schema) as writer:
        writer.write_table(table, max_chunksize=7)


def _zip(data: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.jsonl", data)
        archive.writestr("b/c.csv", _csv())
    return buffer.getvalue()


LINES = "\n".join(map(json.dumps, ROWS)).encode()
FILES: dict[str, bytes] = {
    "rows.jsonl": LINES,
    "rows.json": json.dumps(ROWS, indent=1, ensure_ascii=False).encode(),
    "nested.json": json.dumps({"version": "1", "data": ARTICLES}).encode(),
    "lists.jsonl": "\n".join(json.dumps(list(row.values())) for row in ROWS).encode(),
    "pairs.jsonl": b'["Q", "A"]\n' * 20,
    "columns.json": json.dumps({key: [row[key] for row in ROWS] for key in ROWS[0]}).encode(),
    "rows.csv": _csv(),
    "rows.tsv": _csv().replace(b",", b"\t"),
    "rows.txt": b"\n\n".join([b"A paragraph of text."] * 50),
    "rows.parquet": _columnar(lambda table, buffer: pq.write_table(table, buffer, row_group_size=7)),
    "rows.arrow": _columnar(_arrow),
    "rows.jsonl.gz": gzip.compress(LINES[:900]) + gzip.compress(LINES[900:]),
    "rows.jsonl.bz2": bz2.compress(LINES),
    "rows.jsonl.xz": lzma.compress(LINES),
    "rows.zip": _zip(LINES),
}  # fmt: skip

PIECES = (
    b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b'"', b"{", b"}", b"[", b"]", b",", b"\r", b"\n", b"\\", b"//",
    b"/*", b"NaN", b"1e999", b"9" * 5000, b"\\ud800", b"'", b"\x1a", b"\xc3\x28", b"[" * 2000,
    b'{"a":' * 2000, b'"question":', b'"qas":[', b'"context":', b"sep=;\n", b"null", b"-", b"<html>",
)  # fmt: skip
CODECS = ("utf-16", "utf-16-le", "utf-32", "cp1252", "utf-8-sig", "shift_jis")

positions = st.floats(0, 1)
damages = st.one_of(
    st.tuples(st.just("cut"), positions, positions),
    st.tuples(st.just("end"), positions, positions),
    st.tuples(st.just("repeat"), positions, positions),
    st.tuples(st.just("zero"), positions, positions),
    st.tuples(st.just("insert"), positions, st.sampled_from(PIECES)),
    st.tuples(st.just("lines"), positions, st.sampled_from([b"\r", b"\r\n", b"\n\n"])),
    st.tuples(st.just("encode"), positions, st.sampled_from(CODECS)),
)


def damaged(data: bytes, how: tuple[str, float, Any]) -> bytes:
    kind, where, what = how
    begin = int(where * len(data))
    end = min(len(data), begin + int(what * 400)) if isinstance(what, float) else begin
    match kind:
        case "cut":
            return data[:begin] + data[end:]
        case "end":
            return data[:begin]
        case "repeat":
            return data[:end] + data[begin:]
        case "zero":
            return data[:begin] + bytes(end - begin) + data[end:]
        case "insert":
            return data[:begin] + what + data[begin:]
        case "lines":
            return data.replace(b"\n", what)
        case _:
            return data.decode("utf-8", "replace").encode(what, "replace")


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(damage=st.lists(damages, min_size=1, max_size=4))
@pytest.mark.parametrize("name", FILES)
def test_damaged_file_gives_rows_and_reasons_or_one_problem(
    name: str, damage: list[tuple[str, float, Any]], tmp_path: Path
) -> None:
    data = FILES[name]
    for one in damage:
        data = damaged(data, one)
    file = tmp_path / name
    file.write_bytes(data)
    channel = handle(
        commands.InspectDataset(dataset=DatasetSpec(sources=(DataSource(path=str(file)),)))
    )
    if failures := channel.of(events.Failed):
        assert failures[0].problem.code.startswith("dataset.")
        assert str(failures[0].problem.remedy)
        return
    answer = channel.last(events.DatasetInspected)
    (source,) = answer.sources
    assert source.rows == source.used + sum(entry.count for entry in source.skipped)
    assert (answer.rows_read, answer.rows_used) == (source.rows, source.used)
    assert source.format is not None or any(p.severity == "error" for p in source.problems)
    assert all(str(entry.reason) for entry in source.skipped)
    store = open_store(DataSource(path=str(file)), make_job())
    for position in range(len(store)):
        row = store.read_raw(position)
        assert (row.number, row.values is None) == (position + 1, bool(row.fault))
        assert isinstance(row.values, dict | None)
        store.read_text(position)
