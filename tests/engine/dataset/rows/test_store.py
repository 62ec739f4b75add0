"""The scan of a source: cached by content, bounded in memory, always consistent with the file."""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import random
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from lora_studio.core.dataset.spec import DatasetSpec, DataSource
from lora_studio.core.problems import ProblemError
from lora_studio.core.protocol import commands, events
from lora_studio.engine.dataset import inspection
from lora_studio.engine.dataset.files.blocks import ReadNotes
from lora_studio.engine.dataset.files.columnar import read_columnar_blocks
from lora_studio.engine.dataset.files.sniffing import recognize_file
from lora_studio.engine.dataset.quality import row_facts
from lora_studio.engine.dataset.rows import mixture
from lora_studio.engine.dataset.rows import store as store_module
from lora_studio.engine.dataset.rows.mixture import describe_source, recognize_format
from lora_studio.engine.dataset.rows.scan import open_store, read_first_rows
from lora_studio.engine.dataset.rows.store import RowStore
from lora_studio.engine.runtime.failures import CancelledError
from tests.helpers.runs.jobs import RecordingChannel, handle, make_job, write_rows

pytestmark = pytest.mark.usefixtures("cache")


def qa(number: int) -> dict[str, Any]:
    return {"question": f"What is {number} + 1?", "answer": f"It is {number + 1}. 🙂"}


def scan(path: Path, channel: RecordingChannel | None = None) -> RowStore:
    return open_store(DataSource(path=str(path)), make_job(channel))


def test_every_row_has_its_number_line_and_offset(tmp_path: Path) -> None:
    file = write_rows(tmp_path / "rows.jsonl", [qa(number) for number in range(20_000)])
    store = scan(file)
    lines = file.read_bytes().split(b"\n")
    assert len(store) == 20_000
    for position in (0, 1, 777, 12_345, 19_999):
        row = store.read_raw(position)
        assert row.values == qa(position)
        assert (row.number, row.line) == (position + 1, position + 1)
        assert row.raw.encode() == lines[position]
        assert file.read_bytes()[row.offset :].startswith(lines[position])
    with pytest.raises(IndexError):
        store.read_raw(20_000)


def test_store_can_be_pickled_for_other_processes(tmp_path: Path) -> None:
    store = scan(write_rows(tmp_path / "rows.jsonl", [qa(number) for number in range(5000)]))
    reopened = pickle.loads(pickle.dumps(store))
    assert reopened.data.column_names == ["number", "line", "offset", "raw", "fault"]
    assert len(reopened.data) == 5000
    assert json.loads(reopened.data[4321]["raw"]) == qa(4321)
    assert [batch.num_rows for _, batch in store.iter_batches()] == [
        store.read_batch(index).num_rows for index in range(len(store.facts.batches))
    ]


def test_scan_is_reused_after_a_move_and_redone_after_a_change(
    tmp_path: Path,
) -> None:
    file = write_rows(tmp_path / "rows.jsonl", [qa(1), qa(2)])
    first, channel = scan(file), RecordingChannel()
    reopened = scan(file, channel)
    assert reopened.folder == first.folder
    assert not channel.of(events.Progress)
    moved = tmp_path / "moved.jsonl"
    shutil.copy(file, moved)
    assert scan(moved).key == first.key
    assert scan(moved).folder == first.folder
    assert [Path(scan(path).facts.files[0].path) for path in (file, moved)] == [file, moved]
    write_rows(file, [qa(1), qa(3)])
    assert scan(file).read_raw(1).values == qa(3)
    assert scan(file).key != first.key


def test_damaged_scan_is_redone(tmp_path: Path, cache: Path) -> None:
    file = write_rows(tmp_path / "rows.jsonl", [qa(1), qa(2)])
    rows = scan(file).file
    rows.write_bytes(rows.read_bytes()[:-20])
    assert scan(file).read_raw(1).values == qa(2)
    rows.unlink()
    assert scan(file).read_raw(1).values == qa(2)
    for facts in (cache / "rows" / "keys").iterdir():
        facts.write_text('{"of": "another version"}', "utf-8")
    assert scan(file).read_raw(1).values == qa(2)


def test_canceled_scan_leaves_no_files(tmp_path: Path, cache: Path) -> None:
    file = write_rows(tmp_path / "rows.jsonl", [qa(number) for number in range(50_000)])
    channel = RecordingChannel(lambda _: job.flags.cancel.set())
    job = make_job(channel)
    with pytest.raises(CancelledError):
        open_store(DataSource(path=str(file)), job)
    assert not [path for path in (cache / "rows").iterdir() if path.name != "keys"]


def test_progress_counts_bytes_of_the_compressed_file(tmp_path: Path) -> None:
    text = "".join(json.dumps(qa(random.getrandbits(60))) + "\n" for _ in range(100_000))
    file = tmp_path / "rows.jsonl.gz"
    file.write_bytes(gzip.compress(text.encode(), 1))
    channel = RecordingChannel()
    scan(file, channel)
    sent = [event for event in channel.of(events.Progress) if str(event.stage) == "reading rows"]
    assert {(event.unit, event.total) for event in sent} == {("bytes", file.stat().st_size)}
    done = [event.done for event in sent]
    assert done == sorted(done)
    assert done[-1] <= file.stat().st_size


def test_scan_finished_by_another_process_meanwhile_is_kept(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = scan(write_rows(tmp_path / "rows.jsonl", [qa(1)])).folder
    number = theirs.stat().st_ino
    looks: list[Path | None] = []
    whole = store_module.find_scan

    def look(name: str, size: int) -> Path | None:
        looks.append(whole(name, size) if looks else None)  # missing on the first look
        return looks[-1]

    with store_module.create_scan_folder() as folder:
        shutil.copytree(theirs, folder, dirs_exist_ok=True)
        monkeypatch.setattr(store_module, "find_scan", look)
        assert store_module.keep_scan(folder, theirs.name) == theirs
    assert theirs.stat().st_ino == number


def test_scans_unused_for_a_month_and_partial_scans_are_deleted(
    tmp_path: Path, cache: Path
) -> None:
    old = scan(write_rows(tmp_path / "old.jsonl", [qa(1)])).folder
    fresh = scan(write_rows(tmp_path / "fresh.jsonl", [qa(2)])).folder
    half = cache / "rows" / ".half.tmp"
    half.mkdir()
    month = time.time() - 40 * 86400
    for folder in (old, half):
        os.utime(folder, (month, month))
    store_module.delete_unused()
    assert not old.exists()
    assert not half.exists()
    assert fresh.exists()


def test_unpacked_and_temporary_files_are_deleted_after_use(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "rows.parquet.gz"
    pq.write_table(pa.Table.from_pylist([qa(1), qa(2)]), packed := io.BytesIO())
    file.write_bytes(gzip.compress(packed.getvalue()))

    def left() -> list[str]:
        return [str(path.name) for path in (cache / "rows").glob(".*/*")]

    reading = read_columnar_blocks(
        recognize_file(file), ReadNotes(), store_module.create_scan_folder
    )
    assert len(next(reading)[0]) == 2
    assert left() == ["rows"]
    assert not list(reading)
    assert not left()
    rows = mixture.open_dataset(DatasetSpec(sources=(DataSource(path=str(file)),)), make_job())
    monkeypatch.setattr(row_facts, "_IN_FILES", 1)
    facts = row_facts.measure(rows, (), make_job())
    assert set(left()) == set(facts.columns)
    del facts
    assert not left()


def test_full_disk_is_reported_before_scanning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_rows(tmp_path / "rows.jsonl", [qa(1)])
    monkeypatch.setattr(
        shutil, "disk_usage", lambda _: SimpleNamespace(total=10**9, used=10**9, free=1000)
    )
    with pytest.raises(ProblemError) as caught:
        scan(file)
    assert caught.value.problems[0].code == "disk.full"


def test_wrong_type_late_in_a_large_file_costs_one_row(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    lines = [json.dumps(qa(number)) for number in range(60_000)]
    lines[50_000] = json.dumps({"question": {"nested": 5}, "answer": ["wrong"], "extra": None})
    lines[50_001] = "{"
    file.write_text("\n".join(lines), "utf-8")
    store = scan(file)
    assert len(store) == 60_000
    assert [(str(one.reason), one.rows) for one in store.facts.faults] == [
        ("the row is not valid JSON", (50_002,))
    ]
    assert store.facts.columns == ("question", "answer", "extra")
    assert store.read_raw(59_999).values == qa(59_999)


# --- verdicts -------------------------------------------------------------------------------------


@pytest.mark.slow
def test_verdicts_of_several_processes_match_and_are_cached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [qa(number) for number in range(3000)]
    for number in range(0, 3000, 100):
        rows[number] = {"question": "?", "answer": ""}
    store = scan(write_rows(tmp_path / "rows.jsonl", rows))
    source = DataSource(path=str(tmp_path / "rows.jsonl"))
    spec = DatasetSpec(sources=(source,))
    source_found = describe_source(source, store, recognize_format(store, source))
    alone = inspection.judge_source(store, source_found, spec, make_job())
    for file in store.folder.glob("verdicts-*"):
        file.unlink()
    monkeypatch.setattr(inspection, "_MANY", 100)
    together = inspection.judge_source(store, source_found, spec, make_job())
    cached = inspection.judge_source(
        store, source_found, spec, make_job(channel := RecordingChannel())
    )
    assert not channel.events
    for other in (together, cached):
        assert np.array_equal(alone.codes, other.codes)
        assert alone.reasons == other.reasons
    assert alone.used == 2970
    (skipped,) = alone.get_skipped()
    assert (skipped.count, skipped.rows[:3]) == (30, (1, 101, 201))


# --- memory and time ------------------------------------------------------------------------------

_MEASURE = """
import resource, sys
from lora_studio.engine.runtime import memory_guard
memory_guard.make_memory_countable()
from lora_studio.core.dataset.spec import DataSource
from lora_studio.engine.dataset import inspection
from lora_studio.engine import worker
from lora_studio.engine.dataset.files.blocks import ReadNotes
from lora_studio.engine.dataset.rows.scan import read_first_rows, open_store
from tests.helpers.runs.jobs import make_job
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
idle = peak()
source = DataSource(path=sys.argv[1])
read_first_rows(source, 200, make_job())
store = open_store(source, make_job())
inspection.search(store, "zebra", make_job())
print(len(store), (peak() - idle) // 1024)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not tell a process's peak so")
@pytest.mark.parametrize("kind", ["jsonl", "json", "csv", "parquet"])
def test_memory_of_a_scan_does_not_grow_with_the_file(tmp_path: Path, kind: str) -> None:
    file, count = tmp_path / f"rows.{kind}", 300_000
    row = {"question": "What? " * 40, "answer": "That. " * 60}
    if kind == "parquet":
        table = pa.table({name: [text] * 10_000 for name, text in row.items()})
        with pq.ParquetWriter(file, table.schema, use_dictionary=False) as writer:
            for _ in range(count // 10_000):
                writer.write_table(table)
    else:
        line = f"{row['question']},{row['answer']}" if kind == "csv" else json.dumps(row)
        before, between, after = {"jsonl": ("", "\n", "\n"), "json": ("[", ",", "]")}.get(
            kind, ("question,answer\n", "\n", "\n")
        )
        with file.open("w") as stream:
            stream.write(before + between.join([line] * count) + after)
    done = subprocess.run(
        [sys.executable, "-c", _MEASURE, str(file)], capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stderr
    rows, megabytes = map(int, done.stdout.split())
    assert rows == count
    assert megabytes < 200


def test_first_rows_do_not_wait_for_the_whole_file(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    line = (json.dumps(qa(1)) + "\n").encode()
    with file.open("wb") as stream:
        stream.write(line * 1000)
        stream.truncate(20_000_000_000)  # a sparse file: reading all of it would take minutes
    began = time.monotonic()
    source_found = read_first_rows(DataSource(path=str(file)), 200, make_job())
    assert time.monotonic() - began < 30
    assert len(source_found.rows) == 200
    assert not source_found.is_all


# --- damaged files --------------------------------------------------------------------------------


def scan_or_refuse(file: Path) -> RowStore | None:
    """Return the store, or None if the file is refused with a clear problem."""
    try:
        return scan(file)
    except ProblemError as error:
        refusals = error.problems
    assert all(str(problem.what) and str(problem.remedy) for problem in refusals)
    return None


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])  # fmt: skip
@given(
    st.binary(max_size=300), st.sampled_from(["json", "jsonl", "csv", "txt", "parquet", "gz", ""])
)
def test_arbitrary_bytes_give_rows_or_one_problem(tmp_path: Path, data: bytes, suffix: str) -> None:
    file = tmp_path / f"rows.{suffix}"
    file.write_bytes(data)
    store = scan_or_refuse(file)
    assert store is None or len(store) == sum(
        bool(row["fault"]) or bool(row["raw"]) for row in store.data
    )


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have names in Unicode only")
@pytest.mark.parametrize("is_packed", [False, True], ids=["folder", "tar"])
def test_file_whose_name_is_not_unicode_is_left_out(is_packed: bool, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    for name in ("good.jsonl", os.fsdecode(b"bad\xff.jsonl")):
        (folder / name).write_text('{"prompt": "Hi", "completion": "Yo"}\n' * 3)
    path = folder
    if is_packed:
        path = tmp_path / "data.tar"
        with tarfile.open(path, "w") as packed:
            packed.add(folder, ".")
    dataset = DatasetSpec(sources=(DataSource(path=str(path)),))
    inspected = handle(commands.InspectDataset(dataset=dataset)).last(events.DatasetInspected)
    assert inspected.rows_read == 3
    assert "isn't valid UTF-8" in str([str(problem.what) for problem in inspected.problems])


#: Names that datasets use, so that most rows get far.
NAMES = (
    "messages", "conversations", "role", "from", "content", "value", "text", "instruction", "input", "output",
    "question", "answer", "answers", "context", "choices", "prompt", "completion", "chosen", "rejected", "label",
    "tools", "tool_calls", "function", "name", "arguments", "id", "parent", "parent_id", "children", "message",
    "author", "replies", "rank", "weight", "train", "type", "system", "history", "thinking", "mapping", "parts",
    "metadata", "title", "segments", "better", "function_call", "tool_call_id",
)  # fmt: skip
TEXTS = (
    "user", "assistant", "system", "tool", "human", "gpt", "function_call", "Hi", "", " ", "0", "true", "A", "\ud800",
    "[1]", "{'role': 'user'}", '[{"role": "user", "content": "a"}]', "Human: a\n\nAssistant: b", "<think>a</think>b",
)  # fmt: skip
SCALARS = st.one_of(
    st.sampled_from(TEXTS), st.none(), st.booleans(), st.integers(-2, 2), st.floats(), st.just(10**400), st.text(max_size=4),
)  # fmt: skip
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip
TURNS = st.dictionaries(
    st.sampled_from(("role", "from", "content", "value", "type", "tool_calls", "weight", "parent")), VALUES, max_size=4
)  # fmt: skip
ROWS = st.dictionaries(
    st.sampled_from(NAMES), VALUES | st.lists(TURNS, max_size=4), min_size=1, max_size=5
)
GOOD = {"messages": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]}


def read(rows: list[dict[str, Any]], row_format: str = "auto") -> list[RecordingChannel]:
    """Return the events of inspecting, checking, and showing a usual row and these rows."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "rows.jsonl")
        # With a usual row, the file is JSON lines, not one document.
        file.write_text("".join(json.dumps(row) + "\n" for row in [GOOD, *rows]), "utf-8")
        spec = DatasetSpec(sources=(DataSource(path=str(file), format=row_format),))
        return [
            handle(commands.InspectDataset(dataset=spec)),
            handle(commands.LintDataset(dataset=spec)),
            handle(commands.ReadRows(dataset=spec)),
            handle(commands.ShowRow(dataset=spec, row=2)),
        ]


def check(rows: list[dict[str, Any]], row_format: str = "auto") -> None:
    channels = read(rows, row_format)
    for channel in channels:
        failures = [event.problem for event in channel.of(events.Failed)]
        assert all(problem.code.startswith("dataset.") for problem in failures), failures
    for event in channels[0].of(events.DatasetInspected)[-1:]:
        assert event.rows_read == len(rows) + 1


@pytest.mark.slow
@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.lists(ROWS, min_size=1, max_size=3))
@example(
    [{"messages": [{"role": ["user"], "content": "a"}, {"role": "assistant", "content": "b"}]}]
)
@example([{"conversations": [{"from": {"a": 1}, "value": "a"}, {"from": "gpt", "value": "b"}]}])
@example([{"mapping": {"a": {"message": None, "children": [], "parent": ["a"]}}}])
@example([{"messages": {"a": {"message": None, "children": [[]], "parent": {}}}}])
def test_any_rows_end_in_verdicts_or_problems(rows: list[dict[str, Any]]) -> None:
    check(rows)


@pytest.mark.parametrize(
    "turn",
    [
        {"role": ["user"], "content": "a"},
        {"role": {"name": "user"}, "content": "a"},
        {"role": 7, "content": "a"},
        {"role": None, "content": "a"},
        {"from": ["human"], "value": "a"},
        {"role": "user", "content": {"a": [1]}},
        {"role": "user", "content": 7},
        {"role": "assistant", "content": "a", "tool_calls": 3},
        {"role": "assistant", "content": "a", "tool_calls": [[["x"]]]},
        {"role": "tool", "content": "a", "tool_call_id": ["x"]},
        ["user", ["a"]],
        [["user"], "a"],
        7,
        None,
    ],
    ids=str,
)
def test_turn_of_a_wrong_type_costs_its_row_only(turn: Any) -> None:
    odd = {"messages": [turn, *GOOD["messages"]]}
    (inspected, *others) = read([odd, GOOD])
    (event,) = inspected.of(events.DatasetInspected)[-1:]
    assert event.rows_read == 3
    assert event.rows_used >= 2
    assert all(row == 2 for entry in event.skipped for row in entry.rows)
    assert not any(channel.of(events.Failed) for channel in [inspected, *others])
