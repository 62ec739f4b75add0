"""A file that needs more memory than reading may use ends its worker only, and is named."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lora_studio.client.worker import Worker
from lora_studio.core import limits
from lora_studio.core.dataset.spec import DatasetSpec, DataSource
from lora_studio.core.problems import ProblemError
from lora_studio.core.protocol import commands, events
from lora_studio.engine.dataset.rows import scan
from lora_studio.engine.runtime import child_process, memory_guard
from lora_studio.engine.runtime.channel import JobContext
from tests.helpers.runs.jobs import make_job, recorded_job
from tests.helpers.window import fake_engine

MEGABYTE = 1_000_000


@pytest.fixture(scope="module")
def bomb(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a Parquet file of a few kilobytes with one page of 200 MB."""
    file = tmp_path_factory.mktemp("bomb") / "bomb.parquet"
    table = pa.table({"question": ["q"], "answer": ["x" * (200 * MEGABYTE)]})
    pq.write_table(table, file, compression="zstd", use_dictionary=False)
    return file


@pytest.fixture
def system_allocator() -> Iterator[None]:
    """Let Arrow allocate as it does in workers: its own allocator reserves a gigabyte."""
    usual = pa.default_memory_pool()
    pa.set_memory_pool(pa.system_memory_pool())
    yield
    pa.set_memory_pool(usual)


def inspect(file: Path) -> commands.InspectDataset:
    return commands.InspectDataset(dataset=DatasetSpec(sources=(DataSource(path=str(file)),)))


def run(command: commands.Question, environment: dict[str, str] | None = None) -> events.Event:
    """Return how a question to a new worker ended; the worker has ended, too."""
    worker = Worker.start(environment=environment)
    worker.send(command)
    ending: events.Event | None = None
    for event in worker.iter_events():
        if isinstance(event, events.Ending):
            ending = event
            worker.close()
    assert ending is not None
    worker.wait(10)
    return ending


@pytest.mark.slow
@pytest.mark.usefixtures("own_cache")
def test_bomb_ends_its_worker_and_next_worker_answers(bomb: Path, tmp_path: Path) -> None:
    ended = run(inspect(bomb), {memory_guard.VARIABLE: "100e6"})
    assert isinstance(ended, events.Failed)
    assert ended.problem.code in ("worker.memory_limit", "worker.reader_died")
    assert "bomb.parquet" in str(ended.problem.what)
    assert ended.problem.where.file == str(bomb)
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps({"instruction": "Q", "output": "A"}) + "\n", "utf-8")
    assert isinstance(run(inspect(rows), {memory_guard.VARIABLE: "100e6"}), events.Done)


@pytest.mark.slow
@pytest.mark.usefixtures("own_cache", "system_allocator")
@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such limit")
@pytest.mark.parametrize(
    "read",
    [
        lambda source: scan.open_store(source, make_job()),
        lambda source: scan.read_first_rows(source, 1, make_job()),
        lambda source: list(scan.iter_rows(source, make_job())),
    ],
    ids=["all rows", "first rows", "rows one by one"],
)
def test_data_of_any_job_is_read_under_a_limit(
    read: Callable[[DataSource], object],
    bomb: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(memory_guard.VARIABLE, "100e6")
    with pytest.raises(ProblemError) as refused:
        read(DataSource(path=str(bomb)))
    [problem] = refused.value.problems
    assert (problem.code, problem.where.file) == ("worker.memory_limit", str(bomb))
    small = tmp_path / "small.jsonl"
    small.write_text(json.dumps({"text": "A"}) + "\n", "utf-8")
    assert read(DataSource(path=str(small)))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such limit")
@pytest.mark.parametrize("grows", ["the reader", "the model"])
def test_blocks_of_rows_share_one_limit(grows: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the code that uses the rows needs between two blocks doesn't count.

    The blocks are large, because what earlier tests left may be freed meanwhile; their pages are never touched.
    """
    held: list[bytearray] = []

    def read(_source: DataSource, _job: JobContext) -> Iterator[int]:
        for block in range(8):
            if grows == "the reader":
                held.append(bytearray(400 * MEGABYTE))
            yield block

    monkeypatch.setenv(memory_guard.VARIABLE, "1000e6")
    monkeypatch.setattr(scan, "_iter_rows", read)
    blocks: list[object] = []
    refusal = pytest.raises(ProblemError, match="more than 954 MiB")
    with refusal if grows == "the reader" else contextlib.nullcontext():
        for block in scan.iter_rows(DataSource(path="rows.jsonl"), make_job()):
            blocks.append(block)
            if grows == "the model":
                held.append(bytearray(1100 * MEGABYTE))
    assert len(blocks) == (2 if grows == "the reader" else 8)


def test_worker_that_dies_while_reading_names_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenario = tmp_path / "scenario.json"
    opened = {"kind": "file_opened", "file": str(tmp_path / "odd.arrow")}
    scenario.write_text(
        json.dumps({"inspect_dataset": [{"emit": opened}, {"kill": True}]}), "utf-8"
    )
    monkeypatch.setenv("LORA_STUDIO_ENGINE", fake_engine.command_line(scenario))
    ended = run(inspect(tmp_path / "odd.arrow"))
    assert isinstance(ended, events.Failed)
    assert ended.problem.code == "worker.reader_died"
    assert "odd.arrow" in str(ended.problem.what)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such limit")
def test_allocation_beyond_the_limit_raises_memory_error() -> None:
    with memory_guard.limit_memory(50 * MEGABYTE, lambda: None), pytest.raises(MemoryError):
        bytearray(500 * MEGABYTE)
    assert len(bytearray(500 * MEGABYTE)) == 500 * MEGABYTE


def test_watched_memory_beyond_the_limit_is_reported() -> None:
    calls: list[int] = []
    with memory_guard.watch_memory(20 * MEGABYTE, lambda: calls.append(1)):
        used = bytearray(b"x" * (80 * MEGABYTE))
        for _ in range(100):
            if calls:
                break
            time.sleep(0.02)
    assert calls == [1]
    del used


def test_small_files_get_less_memory_than_large_ones(tmp_path: Path) -> None:
    small, large = tmp_path / "small.jsonl", tmp_path / "large.jsonl"
    small.write_bytes(b"{}\n")
    with large.open("wb") as file:
        file.truncate(100 * MEGABYTE)
    allowances = [memory_guard.get_allowance(inspect(file)) for file in (small, large)]
    assert allowances == [limits.SCAN_MEMORY + 3, limits.SCAN_MEMORY + 100 * MEGABYTE]
    assert memory_guard.get_allowance(commands.InspectDevices()) is None


def test_previews_of_foreign_files_have_a_limit(tmp_path: Path) -> None:
    path = str(tmp_path)
    for command in (
        commands.PlanMerge(run=path),
        commands.PreviewCard(run=path, repository="me/model"),
        commands.ProveTemplate(path=path),
        commands.DeriveTemplate(path=path),
    ):
        assert memory_guard.get_allowance(command), command.kind


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such limit")
def test_program_of_a_limited_worker_has_no_limit() -> None:
    import resource

    script = "import resource; print(resource.getrlimit(resource.RLIMIT_DATA)[0])"
    lines: list[str] = []
    with memory_guard.limit_memory(500 * MEGABYTE, lambda: None):
        command = child_process.get_watched_command(sys.executable, "-c", script)
        child_process.run(command, recorded_job()[0], lines.append)
    assert lines == [str(resource.getrlimit(resource.RLIMIT_DATA)[0])]
