"""Measure how fast rows become tokens with a loss mask, compared with a plain `datasets.map`.

    python -m tests.benchmarks.data scan [--gb 2]          (tests/benchmarks/data_scan.py)
    python -m tests.benchmarks.data lint [--rows 2000000]  (tests/benchmarks/data_lint.py)
    python -m tests.benchmarks.data tokenize [--rows 40000] [--turns 2] [--rounds 2]

The plain way is what a script does: `map` with `apply_chat_template(tokenize=True)`, one call per row,
without a mask, in as many processes. Both take turns in one run, start with an empty cache, and
include the start of their processes; ours also parses, converts and checks the rows.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from itertools import accumulate
from pathlib import Path
from typing import Any

import datasets

from lora_studio.core.dataset.spec import DatasetSpec, DataSource
from lora_studio.core.model.spec import ModelSpec
from lora_studio.engine.dataset import prepare
from lora_studio.engine.dataset.rows import mixture, token_cache
from lora_studio.engine.model import sources
from lora_studio.engine.model.tokenizer import load_tokenizer
from tests.benchmarks import data_lint, data_scan
from tests.helpers.runs.jobs import make_job

_MODEL = "builtin:SmolLM2-135M-Instruct"


def write_talks(file: Path, rows: int, turns: int, seed: int = 1) -> Path:
    """Write JSON lines of conversations whose words follow Zipf's law, with `turns` messages each."""
    rng = random.Random(seed)
    vocabulary = [
        "".join(rng.choices("etaoinshrdlcumwfgypbvk", k=rng.randint(2, 9))) for _ in range(5000)
    ]
    weights = list(accumulate(1 / (rank + 1) for rank in range(len(vocabulary))))
    with file.open("w", encoding="utf-8") as stream:
        for _ in range(rows):
            messages = [
                {
                    "role": "assistant" if turn % 2 else "user",
                    "content": " ".join(
                        rng.choices(vocabulary, cum_weights=weights, k=rng.randint(5, 120))
                    ),
                }
                for turn in range(turns)
            ]
            stream.write(json.dumps({"messages": messages}) + "\n")
    return file


def tokenize(rows: int, turns: int, rounds: int) -> None:
    """Run both ways in turn and print tokens per second."""
    cores = len(os.sched_getaffinity(0))
    previous_cache = os.environ.get("LORA_STUDIO_CACHE")
    job = make_job()
    folder = sources.resolve(ModelSpec(source=_MODEL), job)
    with tempfile.TemporaryDirectory() as scratch:
        file = write_talks(Path(scratch) / "talks.jsonl", rows, turns)
        spec = DatasetSpec(sources=(DataSource(path=str(file)),))
        tokenizer = load_tokenizer(folder, spec)
        os.environ["LORA_STUDIO_CACHE"] = scratch
        dataset = mixture.open_dataset(spec, job)
        plain_rows = datasets.Dataset.from_list([json.loads(line) for line in file.open()])
        plain_rows.save_to_disk(f"{scratch}/plain")

        def ours(turn: int) -> int:
            os.environ["LORA_STUDIO_CACHE"] = f"{scratch}/ours{turn}"
            tables = token_cache.tokenize(
                prepare.list_token_parts(dataset), tokenizer, spec, "sft", job
            )
            return int(tables[0].length.sum())

        def plain(turn: int) -> int:
            def encode(row: dict[str, Any]) -> dict[str, Any]:
                ids = tokenizer.apply_chat_template(
                    row["messages"], tokenize=True, return_dict=False
                )
                return {"input_ids": ids, "length": len(ids)}

            mapped = datasets.load_from_disk(f"{scratch}/plain").map(
                encode, num_proc=cores, load_from_cache_file=False, new_fingerprint=f"plain{turn}"
            )
            return sum(mapped["length"])

        rates: dict[str, list[float]] = {"ours": [], "plain": []}
        ways: list[tuple[str, Callable[[int], int]]] = [("ours", ours), ("plain", plain)]
        for turn in range(rounds):
            for name, way in ways:
                began = time.perf_counter()
                tokens = way(turn)
                seconds = time.perf_counter() - began
                rates[name].append(tokens / seconds)
                print(f"{name:6} {rows:,} rows {tokens:,} tokens {seconds:6.1f} s {tokens / seconds:12,.0f} tokens/s")  # fmt: skip
    if previous_cache is not None:
        os.environ["LORA_STUDIO_CACHE"] = previous_cache
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
    if arguments.part == "scan":
        data_scan.scan(arguments.gb)
        return
    if arguments.part == "lint":
        data_lint.lint(arguments.rows or 2_000_000)
        return
    datasets.disable_progress_bars()
    tokenize(arguments.rows or 40_000, arguments.turns, arguments.rounds)


if __name__ == "__main__":
    main()
