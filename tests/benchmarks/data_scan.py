"""Measure how soon and how fast a worker reads a large file, and its memory above idle.

`python -m tests.benchmarks.data scan [--gb 2]` writes JSON lines of that size, each row different,
lets a real worker inspect them twice and page through them, then lets a plain
`datasets.load_dataset("json")` read the same file. Then another worker is canceled in each stage.

On two cores shared with some 20 other programs, 2 GB (2,554,000 rows) took 155 s of the processor and 215 MB
over idle, the first rows 12 s of the clock, and a page from the middle 0.1 s. `load_dataset`, which checks no
rows, took 12 s of the processor and 368 MB.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from lora_studio.core.dataset.spec import DatasetSpec, DataSource
from lora_studio.core.protocol import commands, events
from tests.benchmarks.reading_worker import ReadingWorker, Usage

_PLAIN = """
import sys, datasets
datasets.disable_progress_bars()
print(len(datasets.load_dataset("json", data_files=sys.argv[1], split="train", cache_dir=sys.argv[2])))
"""
_WORDS = ["the", "of", "and", "to", "in", "is", "that", "it", "was", "for", "on", "are", "with"]


def write_file(file: Path, size: float) -> int:
    """Write rows of two turns, about 1 kB each, until the file has `size` bytes; return their number."""
    rng = random.Random(1)
    texts = [" ".join(rng.choices(_WORDS, k=90)) + ' "é"\n' for _ in range(1000)]
    spelt = [json.dumps(text)[1:-1] for text in texts]
    rows = written = 0
    with file.open("w", encoding="utf-8") as stream:
        while written < size:
            block = "".join(
                f'{{"messages": [{{"role": "user", "content": "{rows + i}: {rng.choice(spelt)}"}}, '
                f'{{"role": "assistant", "content": "{rng.choice(spelt)}"}}]}}\n'
                for i in range(1000)
            )
            written += stream.write(block)
            rows += 1000
    return rows


def scan(gigabytes: float) -> None:
    """Print times, rates and memory."""
    with tempfile.TemporaryDirectory(prefix="lora-studio-data-") as scratch:
        folder = Path(scratch)
        os.environ["LORA_STUDIO_CACHE"] = str(folder / "cache")
        file = folder / "rows.jsonl"
        rows = write_file(file, gigabytes * 1e9)
        size = file.stat().st_size
        print(f"file: {size / 1e6:,.0f} MB, {rows:,} rows; {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")  # fmt: skip
        ours = _ours(file, size, rows)
        plain = _plain(file, size, rows, folder)
        print(f"ours / plain: {ours[0] / plain[0]:.2f} of the clock, {ours[1] / plain[1]:.2f} of the processor", flush=True)  # fmt: skip
        os.environ["LORA_STUDIO_CACHE"] = str(folder / "empty cache")
        _cancel(file)


def _ours(file: Path, size: int, rows: int) -> tuple[float, float]:
    """Inspect the file twice and read pages; return (seconds, CPU seconds) of the first inspection."""
    spec = DatasetSpec(sources=(DataSource(path=str(file)),))
    worker = ReadingWorker()
    used, began = worker.usage.processor, time.perf_counter()
    with worker.usage.watched():
        _inspect(worker, spec, size, rows)
    seconds, processor = time.perf_counter() - began, worker.usage.processor - used
    print(f"inspection: {seconds:.1f} s, {processor:.1f} s of the processor", flush=True)
    print(f"memory: {worker.describe_memory()} (idle {worker.idle / 1e6:,.0f} MB)", flush=True)
    _inspect(worker, spec, size, rows)
    for name, question in {
        "a page from the middle": commands.ReadRows(dataset=spec, first=rows // 2),
        "a page of a search": commands.ReadRows(dataset=spec, search="123: "),
        "its next page": commands.ReadRows(dataset=spec, search="123: ", first=100),
        "the rows left out": commands.ReadRows(dataset=spec, which="skipped"),
    }.items():
        began = time.perf_counter()
        pages = [e for e in worker.iter_answer(question) if isinstance(e, events.RowsRead)]
        print(f"{name}: {time.perf_counter() - began:.2f} s, {pages[0].matching:,} rows match")
    worker.close()
    return seconds, processor


def _cancel(file: Path) -> None:
    """Print how soon a cancel is heeded in each stage."""
    spec = DatasetSpec(sources=(DataSource(path=str(file)),))
    for stage in ("reading rows", "checking rows"):
        worker = ReadingWorker()
        took = worker.cancel_at(commands.InspectDataset(dataset=spec), stage, 0.5)
        print(f"cancel halfway through {stage}: {took}", flush=True)
        worker.close()


def _inspect(worker: ReadingWorker, spec: DatasetSpec, size: int, rows: int) -> None:
    began, stages = time.perf_counter(), {}
    for event in worker.iter_answer(commands.InspectDataset(dataset=spec)):
        now = time.perf_counter() - began
        if isinstance(event, events.Progress):
            stage = str(event.stage)
            first, _ = stages.get(stage, (now, now))
            stages[stage] = (first, now)
        elif isinstance(event, events.DatasetInspected):
            what = "everything" if event.complete else "first rows"
            print(f"{what}: {now:.2f} s, {event.rows_used:,} of {event.rows_read:,} rows used")
        elif isinstance(event, events.Failed | events.Warned):
            print(event.problem)
    for stage, (first, last) in stages.items():
        if stage == "reading rows":
            print(f"scan: {last - first:.1f} s, {size / 1e6 / (last - first):,.0f} MB/s")
        elif stage == "checking rows":
            print(f"verdicts: {last - first:.1f} s, {rows / (last - first):,.0f} rows/s")


def _plain(file: Path, size: int, rows: int, folder: Path) -> tuple[float, float]:
    """Return the (seconds, CPU seconds) of a plain `load_dataset`."""
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-c", _PLAIN, str(file), str(folder / "plain")], stdout=subprocess.PIPE
    )
    usage = Usage(process.pid)
    with usage.watched():
        output, _ = process.communicate()
    seconds = time.perf_counter() - began
    assert int(output) == rows
    print(f"plain load_dataset: {seconds:.1f} s, {usage.processor:.1f} s of the processor, {size / 1e6 / seconds:,.0f} MB/s, peak {usage.tree / 1e6:,.0f} MB", flush=True)  # fmt: skip
    return seconds, usage.processor
