"""Files that would take gigabytes or minutes to read are refused by name, with little memory and time."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import re
import struct
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lora_studio.core import limits
from lora_studio.core.dataset.spec import DatasetSpec, DataSource
from lora_studio.core.protocol import commands, events
from lora_studio.engine.dataset.files import byte_streams, columnar, sniffing
from lora_studio.engine.dataset.files.blocks import ReadNotes
from lora_studio.engine.dataset.files.byte_streams import ByteStream, detect_compression
from tests.helpers.faults.bombs import BOMBS
from tests.helpers.runs.jobs import RecordingChannel, handle

pytestmark = pytest.mark.usefixtures("cache")

ROW = b'{"messages": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]}\n'
CHAT = json.loads(ROW)


def inspect(file: Path) -> RecordingChannel:
    return handle(
        commands.InspectDataset(dataset=DatasetSpec(sources=(DataSource(path=str(file)),)))
    )


def list_outcomes(channel: RecordingChannel) -> list[str]:
    """Return codes of problems, and reasons of skipped rows with their numbers."""
    found = [f"{event.problem.code}" for event in channel.of(events.Failed)]
    for event in channel.of(events.DatasetInspected)[-1:]:
        found += [problem.code for problem in event.problems]
        found += [f"{entry.reason} {list(entry.rows)}" for entry in event.skipped]
    return found


def write_rows(*rows: Any) -> Callable[[Path], None]:
    return lambda file: file.write_text("".join(json.dumps(row) + "\n" for row in rows)) and None


def write_table(table: pa.Table) -> Callable[[Path], None]:
    return lambda file: pq.write_table(table, file)


def write_arrow_with_long_footer(file: Path) -> None:
    table = pa.table({"text": ["a"]}).replace_schema_metadata({"about": "x" * 70_000})
    with pa.ipc.new_file(str(file), table.schema) as writer:
        writer.write_table(table)


def write_groups(file: Path) -> None:
    pq.write_table(pa.table({"text": ["a"] * 320}), file, row_group_size=1, write_statistics=False)


def write_tar_with_folder(file: Path) -> None:
    with tarfile.open(file, "w") as archive:
        for kind, content in ((tarfile.REGTYPE, ROW * 2), (tarfile.DIRTYPE, b"")):
            entry = tarfile.TarInfo("rows.jsonl")
            entry.type, entry.size = kind, len(content)
            archive.addfile(entry, io.BytesIO(content))


def write_tar_with_long_header(file: Path) -> None:
    header = tarfile.TarInfo("x")
    header.type, header.size = tarfile.XHDTYPE, 90_000
    file.write_bytes(gzip.compress(header.tobuf() + bytes(90_112)))


def write_zip(file: Path) -> None:
    with zipfile.ZipFile(file, "w") as archive:
        for number in range(60):
            archive.writestr(f"{number}.jsonl", ROW)


def write_long_zip_list(file: Path) -> None:
    entry = b"PK\1\2" + bytes(24) + (1).to_bytes(2, "little") + bytes(16) + b"a"
    end = b"PK\5\6" + bytes(4) + (2000).to_bytes(2, "little") * 2
    size = len(entry) * 2000
    file.write_bytes(b"PK\3\4" + bytes(26) + entry * 2000 + end + struct.pack("<LLH", size, 30, 0))


def write_deep(depth: int) -> Callable[[Path], None]:
    value = b'{"messages":' + b"[" * depth + b"1" + b"]" * depth + b"}\n"
    return lambda file: file.write_bytes(ROW + value + ROW) and None


REPEATED = pa.DictionaryArray.from_arrays(pa.array([0] * 3000, pa.int32()), pa.array(["x" * 2000]))

#: With limits of `small_limits`: name, content, and what the user is told.
SMALL = [
    pytest.param("a.jsonl", write_rows(CHAT, {"text": "x" * 30_000}, CHAT), r"larger than .* \[2\]", id="long row"),
    pytest.param("a.json", lambda file: file.write_text(json.dumps([CHAT, {"text": "x" * 30_000}, CHAT])),
                 r"larger than .* \[2\]", id="long item"),
    pytest.param("a.jsonl", write_rows(CHAT, {"n": [0] * 2000}, CHAT), r"more than .* values \[2\]", id="many values"),
    pytest.param("a.jsonl", write_rows(CHAT, {"messages": CHAT["messages"] * 60}, CHAT),
                 r"more than 100 turns \[2\]", id="many turns"),
    pytest.param("a.jsonl", write_deep(150), r"nested too deeply \[2\]", id="deep"),
    pytest.param("a.jsonl", write_deep(900), r"nested too deeply \[2\]", id="deeper"),
    pytest.param("a.jsonl", write_deep(9000), r"nested too deeply \[2\]", id="deepest"),
    pytest.param("a.csv", lambda file: file.write_text(",".join(["a"] * 300) + "\n"), "dataset.too_many_columns",
                 id="wide table"),
    pytest.param("a.json", lambda file: file.write_text(json.dumps({f"c{n}": ["a", "b"] for n in range(300)})),
                 "dataset.too_many_columns", id="wide JSON"),
    pytest.param("a.jsonl", write_rows(*({f"k{n}": "text"} for n in range(300))), "dataset.too_many_columns",
                 id="changing columns"),
    pytest.param("a.parquet", write_table(pa.table({f"c{n}": ["a"] for n in range(300)})),
                 "dataset.too_many_columns", id="wide Parquet"),
    pytest.param("a.parquet", write_table(pa.table({"question": REPEATED, "answer": REPEATED})), "dataset.expands",
                 id="Parquet dictionary"),
    pytest.param("a.parquet", write_table(pa.table({"text": pa.nulls(200_000, pa.string())})), "dataset.expands",
                 id="Parquet of nothing"),
    pytest.param("a.parquet", write_table(pa.table({"text": ["a"]}).replace_schema_metadata({"about": "x" * 70_000})),
                 "dataset.long_footer", id="footer of Parquet"),
    pytest.param("a.arrow", write_arrow_with_long_footer, "dataset.long_footer", id="footer of Arrow"),
    pytest.param("a.parquet", write_groups, "dataset.unreadable", id="groups of Parquet"),
    pytest.param("a.jsonl.gz", lambda file: file.write_bytes(gzip.compress(ROW * 20_000)), "dataset.expands", id="gzip"),
    pytest.param("a.tar", write_tar_with_folder, "", id="folder with the name of a file"),
    pytest.param("a.tar.gz", write_tar_with_long_header, "dataset.unreadable", id="header of a tar"),
    pytest.param("a.zip", write_zip, "dataset.too_many_files", id="many files"),
    pytest.param("a.zip", write_long_zip_list, "dataset.unreadable", id="list of a zip"),
]  # fmt: skip


@pytest.fixture
def small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "ROW_BYTES": 20_000, "ROW_VALUES": 1000, "ROW_TURNS": 100, "COLUMNS": 200, "ARCHIVE_FILES": 50,
        "EXPANSION_FREE": 100_000, "ARCHIVE_HEADER": 70_000, "ZIP_LIST": 70_000, "TABLE_FOOTER": 60_000, "TABLE_PARTS": 310,
    }.items():  # fmt: skip
        monkeypatch.setattr(limits, name, value)


@pytest.mark.usefixtures("small_limits")
@pytest.mark.parametrize(("name", "write", "outcome"), SMALL)
def test_excess_is_named_and_other_rows_are_used(
    name: str, write: Callable[[Path], Any], outcome: str, tmp_path: Path
) -> None:
    write(tmp_path / name)
    outcomes = list_outcomes(inspect(tmp_path / name))
    assert any(re.search(outcome, each) for each in outcomes) if outcome else outcomes == [], (
        outcomes
    )
    assert "engine.unexpected" not in outcomes


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
@pytest.mark.slow
@pytest.mark.thorough
@pytest.mark.parametrize("name", BOMBS)
def test_bomb_takes_under_1_gb_and_heeds_cancel(name: str, tmp_path: Path) -> None:
    run_child(tmp_path / name, "--write")
    result = json.loads(run_child(tmp_path / name, "--lint"))
    assert result["peak_mb"] < 1000, result
    assert result["seconds"] < 20, result
    assert "engine.unexpected" not in result["codes"], result
    assert result["codes"] or name in ("folder_twice.tar", "rows_7_mb.jsonl"), result
    canceled = json.loads(run_child(tmp_path / name, "--lint", "--cancel-after", "0.3"))
    assert canceled.get("latency", 0) < 2, canceled


PACKED = {"gz": gzip.compress(b""), "bz2": bz2.compress(b""), "xz": lzma.compress(b"")}


@pytest.mark.parametrize("suffix", PACKED)
def test_parts_that_unpack_to_nothing_are_refused(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "PACKED_SILENCE", 100_000)
    file = tmp_path / f"rows.jsonl.{suffix}"
    file.write_bytes(PACKED[suffix] * (200_000 // len(PACKED[suffix])))
    ending = inspect(file).of(events.Failed)[0]
    assert ending.problem.code == "dataset.unreadable"
    assert "unpack to nothing" in str(ending.problem.what)


@pytest.mark.parametrize("suffix", PACKED)
def test_cancel_is_heeded_between_empty_parts(suffix: str, tmp_path: Path) -> None:
    file = tmp_path / f"rows.jsonl.{suffix}"
    file.write_bytes(PACKED[suffix] * (200_000 // len(PACKED[suffix])))
    checks: list[int] = []
    assert byte_streams.list_entries(file, lambda: checks.append(1)) is None
    assert len(checks) > 200_000 // byte_streams.PIECE
    with ByteStream(
        file, compression=detect_compression(file.read_bytes()[:8]), check=lambda: checks.append(2)
    ) as stream:
        assert not list(stream.iter_chunks())
    assert checks.count(2) > 200_000 // byte_streams.PIECE


NOTHING = pa.table({"prompt": pa.array([], pa.string())})


def write_empty_groups(file: Path) -> None:
    with pq.ParquetWriter(file, NOTHING.schema) as writer:
        for _ in range(200):
            writer.write_table(NOTHING)


def write_empty_batches(file: Path) -> None:
    with pa.ipc.new_file(file, NOTHING.schema) as writer:
        for _ in range(200):
            writer.write_batch(pa.RecordBatch.from_pylist([], NOTHING.schema))


def write_empty_stream(file: Path) -> None:
    with pa.ipc.new_stream(file, NOTHING.schema) as writer:
        for _ in range(200):
            writer.write_batch(pa.RecordBatch.from_pylist([], NOTHING.schema))


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("a.parquet", write_empty_groups),
        ("a.arrow", write_empty_batches),
        ("stream.arrow", write_empty_stream),
    ],
)
def test_cancel_is_heeded_between_parts_without_rows(
    name: str, write: Callable[[Path], None], tmp_path: Path
) -> None:
    write(tmp_path / name)
    container = sniffing.recognize_file(tmp_path / name)
    checks: list[int] = []
    blocks = columnar.read_columnar_blocks(
        container, ReadNotes(), lambda: pytest.fail("unpacked"), lambda: checks.append(1)
    )
    assert sum(len(block) for block, _ in blocks) == 0
    assert len(checks) >= 200


def run_child(file: Path, *arguments: str) -> str:
    """Return the output of `tests.helpers.faults.bombs`, whose memory is its own."""
    cache = file.parent / f"cache{len(arguments)}"
    done = subprocess.run(
        [sys.executable, "-m", "tests.helpers.faults.bombs", str(file), *arguments],
        env=os.environ | {"LORA_STUDIO_CACHE": str(cache)},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def test_list_of_an_archive_is_parsed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, parsed = tmp_path / "rows.zip", []
    parse = zipfile.ZipFile._RealGetContents  # type: ignore[attr-defined]  # not in the stubs
    monkeypatch.setattr(
        zipfile.ZipFile, "_RealGetContents", lambda self: (parsed.append(1), parse(self))
    )

    def write(content: str) -> None:
        with zipfile.ZipFile(file, "w") as archive:
            for name in ("a", "b", "c"):
                archive.writestr(name, content)

    def read() -> list[bytes]:
        contents = []
        for name in byte_streams.list_entries(file) or ():
            with byte_streams.open_entry(file, name) as entry:
                contents.append(entry.read())
        return contents

    write("1")
    assert (read(), len(parsed)) == ([b"1"] * 3, 1)
    write("22")
    assert (read(), len(parsed)) == ([b"22"] * 3, 2)
