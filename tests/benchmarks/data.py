"""Measure how fast data is read, checked, and tokenized, compared with plain scripts that use `datasets`.

    python -m tests.benchmarks.data scan [--gb 2]
    python -m tests.benchmarks.data lint [--rows 2000000]
    python -m tests.benchmarks.data tokenize [--rows 40000] [--turns 2] [--rounds 2]

`scan` lets a real worker inspect a file twice and page through it; `lint` lets it check rows with planted
faults (`tests/benchmarks/near_duplicates.py`). Memory is the peak of the process tree above idle, without memory
that is shared with other processes (USS). Then checks are canceled in each stage. `tokenize` compares with `map`
and `apply_chat_template(tokenize=True)`, one call per row, without a mask, in as many processes; both start with
an empty cache.

On two cores shared with some 20 other programs, 2 GB (2,554,000 rows) took 155 s of the processor and 215 MB
over idle to scan, the first rows 12 s of the clock, and a page from the middle 0.1 s (`load_dataset`, which checks
no rows: 12 s of the processor and 368 MB); the check of 200,000 rows (135 MB) took 68 s of the processor, 8 min of
the clock, and 253 MB over idle.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import accumulate
from pathlib import Path
from typing import Any

import datasets
import psutil

from lora_studio.client.worker import Worker
from lora_studio.core.dataset.spec import DatasetSpec, DataSource
from lora_studio.core.model.spec import ModelSpec
from lora_studio.core.protocol import commands, events
from lora_studio.engine.dataset import prepare
from lora_studio.engine.dataset.rows import mixture, token_cache
from lora_studio.engine.model import sources
from lora_studio.engine.model.tokenizer import load_tokenizer
from tests.benchmarks.near_duplicates import write_rows
from tests.helpers.runs.jobs import make_job

_MODEL = "builtin:SmolLM2-135M-Instruct"

#: Plain scripts; they get the file and a cache folder, and print a number of rows.
_LOAD = """
import sys, datasets
datasets.disable_progress_bars()
rows = datasets.load_dataset("json", data_files=sys.argv[1], split="train", cache_dir=sys.argv[2])
"""
_COUNT = "print(len(rows))"
_FILTER = """
seen = set()
def is_new(row):
    question, answer = (turn["content"] for turn in row["messages"][:2])
    key = hash((question, answer))
    return bool(answer) and not (key in seen or seen.add(key))
print(len(rows.filter(is_new, load_from_cache_file=False)))
"""
_WORDS = ["the", "of", "and", "to", "in", "is", "that", "it", "was", "for", "on", "are", "with"]


class Usage:
    """Peak memory, and processor time, of a process and its children."""

    def __init__(self, pid: int) -> None:
        """Start without a measurement."""
        self._process = psutil.Process(pid)
        self.peak = 0
        self._processor: dict[int, float] = {}

    @property
    def processor(self) -> float:
        """Seconds of the processor that all processes have used, also those that have ended."""
        return sum(self._processor.values())

    def look(self) -> int:
        """Return the bytes of the whole process tree now."""
        size = 0
        for process in (self._process, *self._process.children(recursive=True)):
            with suppress(psutil.Error):  # the process has just ended
                size += process.memory_full_info().uss
                times = process.cpu_times()
                self._processor[process.pid] = times.user + times.system
        self.peak = max(self.peak, size)
        return size

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Measure every 50 ms until the block ends."""
        ended = threading.Event()

        def watch() -> None:
            with suppress(psutil.Error):
                while not ended.wait(0.05) and self._process.is_running():
                    self.look()

        thread = threading.Thread(target=watch)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
            with suppress(psutil.Error):
                self.look()


class ReadingWorker:
    """A worker for one question after the other; close it when done."""

    def __init__(self) -> None:
        """Start the worker and wait until it is ready."""
        self._worker = Worker.start()
        self._events = self._worker.iter_events()
        next(event for event in self._events if isinstance(event, events.Hello))
        self.usage = Usage(self._worker.pid)
        self.idle = self.usage.look()

    def iter_answer(self, question: commands.Question) -> Iterator[events.Event]:
        """Yield the events of one question up to its ending."""
        self._worker.send(question)
        for event in self._events:
            yield event
            if isinstance(event, events.Ending) and event.id == question.id:
                return

    def cancel_at(self, question: commands.Question, stage: str, share: float) -> str:
        """Cancel a question once `share` of a stage is done; describe how soon that was heeded."""
        sent = 0.0
        for event in self.iter_answer(question):
            if isinstance(event, events.Progress) and str(event.stage) == stage and not sent:
                if event.done >= share * (event.total or 0):
                    sent = time.perf_counter()
                    self._worker.cancel(question.id)
            elif isinstance(event, events.Cancelled):
                seconds = time.perf_counter() - sent
                time.sleep(0.1)  # a killed worker ends within that time
                killed = "" if psutil.pid_exists(self._worker.pid) else ", the worker was killed"
                return f"{seconds:.2f} s{killed}"
        return "it ended before"

    def close(self) -> None:
        """Let the worker end."""
        self._worker.close()
        for _ in self._events:
            continue


def scan(gigabytes: float) -> None:
    """Print times, rates and memory of a scan."""
    with _scratch() as folder:
        file = folder / "rows.jsonl"
        rows = write_file(file, gigabytes * 1e9)
        dataset = _dataset(file)
        worker = ReadingWorker()
        ours = _measure(worker, lambda: _inspect(worker, dataset, rows))
        _inspect(worker, dataset, rows)
        for name, question in {
            "a page from the middle": commands.ReadRows(dataset=dataset, first=rows // 2),
            "a page of a search": commands.ReadRows(dataset=dataset, search="123: "),
            "its next page": commands.ReadRows(dataset=dataset, search="123: ", first=100),
            "the rows left out": commands.ReadRows(dataset=dataset, which="skipped"),
        }.items():
            began = time.perf_counter()
            pages = [e for e in worker.iter_answer(question) if isinstance(e, events.RowsRead)]
            print(f"{name}: {time.perf_counter() - began:.2f} s, {pages[0].matching:,} rows match")
        worker.close()
        _compare(ours, _LOAD + _COUNT, file, folder)
        os.environ["LORA_STUDIO_CACHE"] = str(folder / "empty cache")
        inspect = commands.InspectDataset(dataset=dataset)
        _cancel(inspect, ("reading rows", 0.5), ("checking rows", 0.5))


def lint(rows: int) -> None:
    """Print times, memory, findings, and the reaction to a cancel in each stage."""
    with _scratch() as folder:
        file = folder / "rows.jsonl"
        planted = write_rows(file, rows)
        check = commands.LintDataset(dataset=_dataset(file))
        worker = ReadingWorker()
        findings: Counter[str] = Counter()

        def answer() -> None:
            for event in worker.iter_answer(check):
                if isinstance(event, events.DatasetLinted):
                    assert event.rows == rows
                    findings.update({finding.code: finding.count for finding in event.findings})
                elif isinstance(event, events.Failed):
                    raise SystemExit(str(event.problem))

        ours = _measure(worker, answer)
        worker.close()
        for code in sorted(planted.keys() | findings.keys()):
            print(f"  {code}: {findings[code]:,} reported, {planted[code]:,} planted", flush=True)
        _compare(ours, _LOAD + _FILTER, file, folder)
        # A scan that has ended is in the cache.
        _cancel(check, ("reading rows", 0.3), ("comparing rows", 0.0), ("comparing rows", 0.5))


@contextmanager
def _scratch() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="lora-studio-data-") as scratch:
        os.environ["LORA_STUDIO_CACHE"] = str(Path(scratch) / "cache")
        yield Path(scratch)


def _dataset(file: Path) -> DatasetSpec:
    return DatasetSpec(sources=(DataSource(path=str(file)),))


def _measure(worker: ReadingWorker, work: Callable[[], None]) -> tuple[float, float]:
    """Print and return seconds and CPU seconds of a worker's answer."""
    used, began = worker.usage.processor, time.perf_counter()
    with worker.usage.watched():
        work()
    seconds, processor = time.perf_counter() - began, worker.usage.processor - used
    above = (worker.usage.peak - worker.idle) / 1e6
    print(f"ours: {seconds:.1f} s, {processor:.1f} s of the processor, {above:,.0f} MB over idle", flush=True)  # fmt: skip
    return seconds, processor


def _compare(ours: tuple[float, float], script: str, file: Path, folder: Path) -> None:
    """Run a plain script on the file and print its figures."""
    began = time.perf_counter()
    command = [sys.executable, "-c", script, str(file), str(folder / "plain")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    usage = Usage(process.pid)
    with usage.watched():
        output, _ = process.communicate()
    seconds = time.perf_counter() - began
    print(f"plain: {seconds:.1f} s, {usage.processor:.1f} s of the processor, {int(output):,} rows, peak {usage.peak / 1e6:,.0f} MB")  # fmt: skip
    print(f"ours / plain: {ours[0] / seconds:.2f} of the clock, {ours[1] / usage.processor:.2f} of the processor", flush=True)  # fmt: skip


def _cancel(question: commands.Question, *moments: tuple[str, float]) -> None:
    """Print how soon a cancel is heeded at each share of a stage."""
    for stage, share in moments:
        worker = ReadingWorker()
        print(f"cancel after {share:.0%} of {stage}: {worker.cancel_at(question, stage, share)}")
        worker.close()


def _inspect(worker: ReadingWorker, dataset: DatasetSpec, rows: int) -> None:
    began, stages = time.perf_counter(), {}
    for event in worker.iter_answer(commands.InspectDataset(dataset=dataset)):
        now = time.perf_counter() - began
        if isinstance(event, events.Progress):
            first, _ = stages.get(str(event.stage), (now, now))
            stages[str(event.stage)] = (first, now)
        elif isinstance(event, events.DatasetInspected):
            what = "everything" if event.complete else "first rows"
            print(f"{what}: {now:.2f} s, {event.rows_used:,} of {event.rows_read:,} rows used")
        elif isinstance(event, events.Failed | events.Warned):
            print(event.problem)
    for stage, (first, last) in stages.items():
        print(f"{stage}: {last - first:.1f} s, {rows / max(last - first, 1e-9):,.0f} rows/s")


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


def write_talks(file: Path, rows: int, turns: int) -> Path:
    """Write JSON lines of conversations whose words follow Zipf's law, with `turns` messages each."""
    rng = random.Random(1)
    vocabulary = ["".join(rng.choices("etaoinshrdlcumwfgypbvk", k=rng.randint(2, 9))) for _ in range(5000)]  # fmt: skip
    weights = list(accumulate(1 / (rank + 1) for rank in range(len(vocabulary))))

    def say() -> str:
        return " ".join(rng.choices(vocabulary, cum_weights=weights, k=rng.randint(5, 120)))

    with file.open("w", encoding="utf-8") as stream:
        for _ in range(rows):
            roles = ("assistant" if turn % 2 else "user" for turn in range(turns))
            messages = [{"role": role, "content": say()} for role in roles]
            stream.write(json.dumps({"messages": messages}) + "\n")
    return file


def tokenize(rows: int, turns: int, rounds: int) -> None:
    """Run both ways in turn and print tokens per second."""
    cores = len(os.sched_getaffinity(0))
    job = make_job()
    folder = sources.resolve(ModelSpec(source=_MODEL), job)
    rates: dict[str, list[float]] = {"ours": [], "plain": []}
    with _scratch() as scratch:
        file = write_talks(scratch / "talks.jsonl", rows, turns)
        spec = _dataset(file)
        tokenizer = load_tokenizer(folder, spec)
        dataset = mixture.open_dataset(spec, job)
        plain_rows = datasets.Dataset.from_list([json.loads(line) for line in file.open()])
        plain_rows.save_to_disk(scratch / "plain")

        def ours(turn: int) -> int:
            os.environ["LORA_STUDIO_CACHE"] = str(scratch / f"ours{turn}")
            parts = prepare.list_token_parts(dataset)
            return int(token_cache.tokenize(parts, tokenizer, spec, "sft", job)[0].length.sum())

        def plain(turn: int) -> int:
            def encode(row: dict[str, Any]) -> dict[str, Any]:
                ids = tokenizer.apply_chat_template(row["messages"], tokenize=True, return_dict=False)  # fmt: skip
                return {"input_ids": ids, "length": len(ids)}

            mapped = datasets.load_from_disk(scratch / "plain").map(
                encode, num_proc=cores, load_from_cache_file=False, new_fingerprint=f"plain{turn}"
            )
            return sum(mapped["length"])

        for turn in range(rounds):
            for name, way in (("ours", ours), ("plain", plain)):
                began = time.perf_counter()
                tokens = way(turn)
                seconds = time.perf_counter() - began
                rates[name].append(tokens / seconds)
                print(f"{name:6} {rows:,} rows {tokens:,} tokens {seconds:6.1f} s {tokens / seconds:12,.0f} tokens/s")  # fmt: skip
    ratio = statistics.median(rates["ours"]) / statistics.median(rates["plain"])
    print(f"ours / plain: {ratio:.2f} ({cores} processes, load {os.getloadavg()[0]:.1f})")


def main() -> None:
    """Run the benchmark named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=["scan", "lint", "tokenize"])
    parser.add_argument("--gb", type=float, default=2.0, help="size of the scanned file")
    parser.add_argument("--rows", type=int, help="rows of the file that is checked or tokenized")
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=2)
    arguments = parser.parse_args()
    datasets.disable_progress_bars()
    if arguments.part == "scan":
        scan(arguments.gb)
    elif arguments.part == "lint":
        lint(arguments.rows or 2_000_000)
    else:
        tokenize(arguments.rows or 40_000, arguments.turns, arguments.rounds)


if __name__ == "__main__":
    main()
