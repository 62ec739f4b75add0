"""Measure how soon and how fast a worker reads a large file, and its memory above idle.

`python -m tests.benchmarks.data scan [--gb 2]` writes JSON lines of that size, each row different,
lets a real worker inspect them twice and page through them, then lets a plain
`datasets.load_dataset("json")` read the same file. Memory is the peak of the process tree, sampled
every 20 ms, without memory shared with other processes (USS), so that the page cache doesn't count.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from lora_studio.client.worker import Worker
from lora_studio.core.dataset.spec import DatasetSpec, DataSource
from lora_studio.core.protocol import commands, events

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


class Peak:
    """The peak memory of a process and its children; `alone` is that of the process."""

    def __init__(self, pid: int) -> None:
        """Start without a measurement."""
        self._process = psutil.Process(pid)
        self.tree = self.alone = 0

    def look(self) -> int:
        """Return the bytes of the whole process tree now."""
        sizes = []
        for process in (self._process, *self._process.children(recursive=True)):
            try:
                sizes.append(process.memory_full_info().uss)
            except psutil.Error:
                sizes.append(0)  # the process has just ended
        self.alone, self.tree = max(self.alone, sizes[0]), max(self.tree, sum(sizes))
        return sum(sizes)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Measure every 20 ms until the block ends."""
        ended = threading.Event()

        def watch() -> None:
            while not ended.wait(0.02) and self._process.is_running():
                try:
                    self.look()
                except psutil.Error:
                    return

        thread = threading.Thread(target=watch)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()


def scan(gigabytes: float) -> None:
    """Print times, rates and memory."""
    with tempfile.TemporaryDirectory(prefix="lora-studio-data-") as scratch:
        folder = Path(scratch)
        os.environ["LORA_STUDIO_CACHE"] = str(folder / "cache")
        file = folder / "rows.jsonl"
        rows = write_file(file, gigabytes * 1e9)
        size = file.stat().st_size
        print(f"file: {size / 1e6:,.0f} MB, {rows:,} rows; {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")  # fmt: skip
        _ours(file, size, rows)
        _plain(file, size, rows, folder)


def _ours(file: Path, size: int, rows: int) -> None:
    worker = Worker.start()
    happening = worker.iter_events()
    next(event for event in happening if isinstance(event, events.Hello))
    peak = Peak(worker.pid)
    idle = peak.look()
    spec = DatasetSpec(sources=(DataSource(path=str(file)),))
    with peak.watched():
        _inspect(worker, happening, spec, size, rows)
    print(f"memory over idle: {(peak.alone - idle) / 1e6:,.0f} MB, {(peak.tree - idle) / 1e6:,.0f} MB with processes that help (idle {idle / 1e6:,.0f} MB)")  # fmt: skip
    _inspect(worker, happening, spec, size, rows)
    for name, question in {
        "a page from the middle": commands.ReadRows(dataset=spec, first=rows // 2),
        "a page of a search": commands.ReadRows(dataset=spec, search="123: "),
        "its next page": commands.ReadRows(dataset=spec, search="123: ", first=100),
        "the rows left out": commands.ReadRows(dataset=spec, which="skipped"),
    }.items():
        began = time.perf_counter()
        pages = [
            e for e in _iter_answer(worker, happening, question) if isinstance(e, events.RowsRead)
        ]
        print(f"{name}: {time.perf_counter() - began:.2f} s, {pages[0].matching:,} rows match")
    worker.close()
    for _ in happening:
        continue


def _iter_answer(
    worker: Worker, happening: Iterator[events.Event], question: commands.Question
) -> Iterator[events.Event]:
    """Yield the events of one question up to its ending."""
    worker.send(question)
    for event in happening:
        yield event
        if isinstance(event, events.Ending) and event.id == question.id:
            return


def _inspect(
    worker: Worker, happening: Iterator[events.Event], spec: DatasetSpec, size: int, rows: int
) -> None:
    began, stages = time.perf_counter(), {}
    for event in _iter_answer(worker, happening, commands.InspectDataset(dataset=spec)):
        now = time.perf_counter() - began
        if isinstance(event, events.Progress):
            first, _ = stages.get(event.stage, (now, now))
            stages[event.stage] = (first, now)
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


def _plain(file: Path, size: int, rows: int, folder: Path) -> None:
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-c", _PLAIN, str(file), str(folder / "plain")], stdout=subprocess.PIPE
    )
    peak = Peak(process.pid)
    with peak.watched():
        output, _ = process.communicate()
    seconds = time.perf_counter() - began
    assert int(output) == rows
    print(f"plain load_dataset: {seconds:.1f} s, {size / 1e6 / seconds:,.0f} MB/s, peak {peak.tree / 1e6:,.0f} MB")  # fmt: skip
