"""Training speed on a shared and on a quiet machine: the chosen threads against PyTorch's default.

    python -m tests.benchmarks.threads [--seconds 6] [--hogs 2]

Prints micro-batches per second of each, and their ratio. A hog is a process that uses one core.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_HOG = "while True: pass"

#: Trains layers of the size of SmolLM2-135M's, and prints micro-batches per second.
_WORK = """
import os, sys, time
seconds, chosen = float(sys.argv[1]), sys.argv[2] == "chosen"
if chosen:
    from lora_studio.engine.runtime import cpu_threads
    cores, allowed = cpu_threads.count_cores(), len(os.sched_getaffinity(0))
    busy = cpu_threads.measure_busy_cores()
    choice = cpu_threads.choose_threads(cores, allowed, busy, cpu_threads.read_load(busy))
    if choice.threads: os.environ["OMP_NUM_THREADS"] = str(choice.threads)
    if choice.is_passive: os.environ["OMP_WAIT_POLICY"] = "passive"
import torch
layers = torch.nn.Sequential(*(
    torch.nn.Sequential(torch.nn.LayerNorm(576), torch.nn.Linear(576, 1536), torch.nn.SiLU(), torch.nn.Linear(1536, 576))
    for _ in range(6)
))
rows = torch.randn(128, 576)
def step():
    layers(rows).square().mean().backward()
step()
began, done = time.monotonic(), 0
while time.monotonic() - began < seconds:
    step()
    done += 1
print(f'{{"speed": {done / (time.monotonic() - began):.2f}, "threads": {torch.get_num_threads()}}}')
"""


@contextmanager
def hog_cores(count: int) -> Iterator[None]:
    """Keep `count` cores busy."""
    hogs = [subprocess.Popen([sys.executable, "-c", _HOG]) for _ in range(count)]
    try:
        yield
    finally:
        for hog in hogs:
            hog.kill()
            hog.wait()


def measure(kind: str, seconds: float) -> tuple[float, int]:
    """Return micro-batches per second and threads of a fresh process."""
    names = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "MKL_NUM_THREADS")
    environment = {name: value for name, value in os.environ.items() if name not in names}
    output = subprocess.check_output(
        [sys.executable, "-c", _WORK, str(seconds), kind], text=True, env=environment
    )
    result = json.loads(output.strip().splitlines()[-1])
    return float(result["speed"]), int(result["threads"])


def main() -> None:
    """Measure both machines."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--hogs", type=int, default=2)
    options = parser.parse_args()
    for hogs in (0, options.hogs):
        with hog_cores(hogs):
            before, default_threads = measure("default", options.seconds)
            after, threads = measure("chosen", options.seconds)
        print(
            f"{hogs} hogs, load {os.getloadavg()[0]:.1f}: {before:.2f}/s with {default_threads} threads, "
            f"{after:.2f}/s with {threads}: {after / before:.2f} ×"
        )


if __name__ == "__main__":
    main()
