"""Measure how long the data check takes, its memory above idle, and how soon it heeds a cancel.

`python -m tests.benchmarks.data lint [--rows 2000000]` writes conversations with words that follow
Zipf's law and log-normal lengths, with planted faults and duplicates. A real worker checks them, and
what it reports is printed next to what was planted. A plain script then reads the same file with
`datasets` and drops empty answers and exact duplicates, a small part of that work. Finally, checks are
canceled in each stage.

On two cores shared with some 20 other programs, 200,000 rows (135 MB) took 68 s of the processor, 8 min
of the clock, and 253 MB over idle; the plain script took 4.3 s of the processor and 300 MB.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lora_studio.core.dataset.spec import DatasetSpec, DataSource
from lora_studio.core.protocol import commands, events
from tests.benchmarks.near_duplicates import Writer, vocabulary
from tests.benchmarks.reading_worker import ReadingWorker, Usage

_PLAIN = """
import sys, datasets
datasets.disable_progress_bars()
seen = set()
def is_new(row):
    question, answer = (turn["content"] for turn in row["messages"][:2])
    key = hash((question, answer))
    return bool(answer) and not (key in seen or seen.add(key))
rows = datasets.load_dataset("json", data_files=sys.argv[1], split="train", cache_dir=sys.argv[2])
print(len(rows.filter(is_new, load_from_cache_file=False)))
"""

#: Rows written at a time; duplicates copy a row of the same block.
_BLOCK = 1000
#: Share of the rows with each planted fault.
_SHARES = {
    "lint.duplicates": 0.02,
    "lint.near_duplicates": 0.01,
    "lint.left_out": 0.005,
    "lint.encoding": 0.002,
    "lint.control_characters": 0.002,
    "lint.personal_data": 0.002,
    "lint.repeated_roles": 0.001,
}


def write_rows(file: Path, rows: int, seed: int = 1) -> Counter[str]:
    """Write JSON lines and return the number of rows with each planted fault.

    A question has 20 words, an answer 60 (medians).
    """
    writer, rng = Writer(seed), np.random.default_rng(seed)
    words = np.array(vocabulary(5000, writer.rng), dtype=object)
    planted: Counter[str] = Counter()
    with file.open("w", encoding="utf-8") as stream:
        for start in range(0, rows, _BLOCK):
            block = list(_iter_texts(words, rng, min(_BLOCK, rows - start)))
            faults = rng.choice(
                [*_SHARES, ""], len(block) // 2, p=[*_SHARES.values(), 1 - sum(_SHARES.values())]
            ).tolist()
            planted.update(code for code in faults if code)
            # Faults are planted in the second half, so that originals and copies have no others.
            for row, code in enumerate(faults, len(block) - len(faults)):
                if code:
                    block[row] = _plant(writer, code, block[row], block[row - len(faults)])
            stream.writelines(json.dumps({"messages": _list_turns(*row)}) + "\n" for row in block)
    return planted


def _iter_texts(
    words: NDArray[np.object_], rng: np.random.Generator, rows: int
) -> Iterator[tuple[str, ...]]:
    """Yield questions and answers whose words follow Zipf's law: the n-th is 1 / n as frequent."""
    lengths = np.exp(rng.normal(np.log([20, 60]), [0.5, 0.7], (rows, 2))).astype(int).clip(12, 1000)
    weights = np.cumsum(1 / np.arange(1, len(words) + 1))
    chosen = np.searchsorted(weights, rng.random(lengths.sum()) * weights[-1])
    text = words[chosen].tolist()
    ends = np.cumsum(lengths).tolist()
    sides = [" ".join(text[start:end]) for start, end in pairwise([0, *ends])]
    yield from zip(sides[::2], sides[1::2], strict=True)


def _plant(
    writer: Writer, code: str, row: tuple[str, ...], other: tuple[str, ...]
) -> tuple[str, ...]:
    """Return a row with a fault; a duplicate is a copy of `other`."""
    question, answer = row
    match code:
        case "lint.duplicates":
            return other
        case "lint.near_duplicates":
            return writer.edited(other[0], 0.02), writer.edited(other[1], 0.02)
        case "lint.left_out":
            return question, ""
        case "lint.encoding":
            return question, f"{answer} café à la crème".encode().decode("latin-1")
        case "lint.control_characters":
            return question, f"{answer}\x00"
        case "lint.personal_data":
            return f"{question} ada@example.org", answer
        case "lint.repeated_roles":
            return question, answer, "and that is all there is to say"
    return row


def _list_turns(*texts: str) -> list[dict[str, str]]:
    roles = ("user", "assistant", "assistant")
    return [{"role": role, "content": text} for role, text in zip(roles, texts, strict=False)]


def lint(rows: int) -> None:
    """Print times, memory, findings, and the reaction to a cancel in each stage."""
    with tempfile.TemporaryDirectory(prefix="lora-studio-data-") as scratch:
        folder = Path(scratch)
        os.environ["LORA_STUDIO_CACHE"] = str(folder / "cache")
        file = folder / "rows.jsonl"
        planted = write_rows(file, rows)
        print(f"file: {file.stat().st_size / 1e6:,.0f} MB, {rows:,} rows; {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}", flush=True)  # fmt: skip
        ours = check(file, rows, planted)
        plain = _read_plainly(file, folder)
        print(f"ours / plain: {ours[0] / plain[0]:.2f} of the clock, {ours[1] / plain[1]:.2f} of the processor", flush=True)  # fmt: skip
        cancel(file)


def check(file: Path, rows: int, planted: Counter[str]) -> tuple[float, float]:
    """Check the file and compare the findings with what was planted; return (seconds, CPU seconds)."""
    worker = ReadingWorker()
    used = worker.usage.processor
    began, starts = time.perf_counter(), {}
    findings: Counter[str] = Counter()
    with worker.usage.watched():
        for event in worker.iter_answer(_ask(file)):
            if isinstance(event, events.Progress):
                starts.setdefault(str(event.stage), time.perf_counter() - began)
            elif isinstance(event, events.DatasetLinted):
                assert event.rows == rows
                findings.update({finding.code: finding.count for finding in event.findings})
            elif isinstance(event, events.Failed):
                raise SystemExit(str(event.problem))
    seconds, processor = time.perf_counter() - began, worker.usage.processor - used
    worker.close()
    stages = ", ".join(f"{stage} from {start:.1f} s" for stage, start in starts.items())
    print(f"check: {seconds:.1f} s, {processor:.1f} s of the processor; {stages}")
    print(f"memory: {worker.describe_memory()}")
    for code in sorted(planted.keys() | findings.keys()):
        print(f"  {code}: {findings[code]:,} reported, {planted[code]:,} planted", flush=True)
    return seconds, processor


def cancel(file: Path) -> None:
    """Print how soon a cancel is heeded in each stage; a scan that has ended is in the cache."""
    for stage, share in (("reading rows", 0.3), ("comparing rows", 0.0), ("comparing rows", 0.5)):
        worker = ReadingWorker()
        took = worker.cancel_at(_ask(file), stage, share)
        print(f"cancel after {share:.0%} of {stage}: {took}", flush=True)
        worker.close()


def _ask(file: Path) -> commands.LintDataset:
    return commands.LintDataset(dataset=DatasetSpec(sources=(DataSource(path=str(file)),)))


def _read_plainly(file: Path, folder: Path) -> tuple[float, float]:
    """Return the (seconds, CPU seconds) of the plain script."""
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-c", _PLAIN, str(file), str(folder / "plain")], stdout=subprocess.PIPE
    )
    usage = Usage(process.pid)
    with usage.watched():
        output, _ = process.communicate()
    assert process.returncode == 0
    seconds = time.perf_counter() - began
    print(f"plain datasets filter: {seconds:.1f} s, {usage.processor:.1f} s of the processor, {int(output):,} rows left, peak {usage.tree / 1e6:,.0f} MB", flush=True)  # fmt: skip
    return seconds, usage.processor
