"""Compare the setup of the CPU engine with plain `uv pip install` of the same packages.

    python -m tests.benchmarks.setup [--rounds 1] [--line MBIT] [--folder FOLDER]

Both start with an empty cache and take turns. Printed are the stages of the setup and, for both, the
time of a training's first and second imports: modules without bytecode are compiled by the first.
Wall time depends on other programs, CPU time less, so both are printed. Indexes and find-links are
those of this machine; with `--line`, the network is limited to that many megabits a second.

Two random influences are excluded. The 4 GB of a round stay until its end, because after a deletion
ext4 skips the freed inodes one by one for minutes; if other programs delete files, a `--folder` on a
tmpfs helps. And a lost DNS answer is requested again after one second rather than five.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import lora_studio
from lora_studio.setup import engines, folders, plan
from lora_studio.setup.events import Failed, Progress
from lora_studio.setup.operations import EngineSetup, SetupRequest
from lora_studio.setup.tools import ALLOCATOR, SetupLog, StopFlag, build_uv_environment, find_uv
from tests.helpers.servers import ports


def processor() -> float:
    """Return the CPU seconds of this program and its finished children."""
    return sum(os.times()[:4])


def starts(python: Path) -> tuple[float, float, float]:
    """Return seconds of a training's first imports, then CPU seconds of the first and second time."""
    clock, taken = [], []
    environment = {name: value for name, value in os.environ.items() if name[:6] != "PYTHON"}
    for _ in range(2):
        began, computed = time.monotonic(), processor()
        code = "import gc; gc.disable(); import lora_studio.engine.training.train_run"
        subprocess.run(
            [python, "-P", "-c", code], check=True, env=environment, stderr=subprocess.DEVNULL
        )
        clock.append(time.monotonic() - began)
        taken.append(processor() - computed)
    return clock[0], taken[0], taken[1]


def plain(folder: Path, wheel: Path, *, compiled: bool) -> tuple[float, float]:
    """Return seconds and CPU seconds of `uv venv` and `uv pip install` with an empty cache."""
    text = plan.format_project(wheel, ("engine",), plan.STANDARD)
    folder.mkdir()
    (folder / "pyproject.toml").write_text(text)
    environment = build_uv_environment({"UV_CACHE_DIR": str(folder / "cache")})
    environment.pop(ALLOCATOR[0])
    python = folder / "venv" / "bin" / "python"
    began, computed = time.monotonic(), processor()
    run = [find_uv(), "venv", "--quiet", "--no-project", folder / "venv"]
    subprocess.run(run, check=True, env=environment, cwd=folder)
    run = [find_uv(), "pip", "install", "--quiet", "--python", python, "-r", "pyproject.toml"]
    run += ["--compile-bytecode"] if compiled else []
    subprocess.run(run, check=True, env=environment, cwd=folder)
    return time.monotonic() - began, processor() - computed


@contextlib.contextmanager
def line(folder: Path, megabits: float | None) -> Iterator[None]:
    """Route all network traffic through a proxy of that speed."""
    if megabits is None:
        yield
        return
    folder.mkdir()
    (folder / "speed").write_text(str(megabits * 1e6 / 8))
    port = ports.free_port()
    program = Path(lora_studio.__file__).parents[1] / "packaging" / "cutting_proxy.py"
    proxy = subprocess.Popen([sys.executable, program, str(port), folder])
    for name in ("HTTPS_PROXY", "https_proxy"):
        os.environ[name] = f"http://127.0.0.1:{port}"
    try:
        while not (folder / "bytes").exists() and proxy.poll() is None:
            time.sleep(0.05)
        yield
    finally:
        for name in ("HTTPS_PROXY", "https_proxy"):
            del os.environ[name]
        proxy.kill()
        proxy.wait()


def set_up(folder: Path) -> dict[str, float]:
    """Return the seconds of each stage of our setup."""
    os.environ[folders.VARIABLE] = str(folder)
    stages: dict[str, float] = {}
    stage, began = "Planning", time.monotonic()
    for event in EngineSetup(SetupRequest(variant="cpu"), StopFlag()).carry_out():
        if isinstance(event, Failed):
            raise SystemExit(str(event.problem))
        if isinstance(event, Progress) and event.stage != stage:
            now = time.monotonic()
            stages[stage], stage, began = stages.get(stage, 0.0) + now - began, event.stage, now
    stages[stage] = stages.get(stage, 0.0) + time.monotonic() - began
    return stages


def measure(
    folder: Path, megabits: float | None
) -> tuple[dict[str, tuple[float, ...]], dict[str, float]]:
    """Run one round; return the figures of `plain` and `starts`, and the stages of the setup."""
    os.environ[folders.VARIABLE] = str(folder / "engines")
    os.environ.pop(plan.WHEEL_VARIABLE, None)
    wheel = plan.provide_wheel(folder, StopFlag(), SetupLog(folder / "log")).path
    os.environ[plan.WHEEL_VARIABLE] = str(wheel)  # an installed program includes it
    taken: dict[str, tuple[float, ...]] = {}
    with line(folder / "line", megabits):
        for title, compiled in (("uv pip install", False), ("uv, all compiled", True)):
            figures = plain(folder / title, wheel, compiled=compiled)
            taken[title] = figures + starts(folder / title / "venv" / "bin" / "python")
        computed = processor()
        stages = set_up(folder / "engines")
        whole = sum(stages.values()), processor() - computed
    engine = engines.get_current()
    assert engine is not None
    return taken | {"set-up": whole + starts(engine.python)}, stages


def main() -> None:
    """Measure in turns and print medians."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--line", type=float, metavar="MBIT")
    parser.add_argument("--folder", type=Path, default=Path.home())
    arguments = parser.parse_args()
    os.environ["RES_OPTIONS"] = "timeout:1 attempts:5"
    rounds, parts = [], []
    for _ in range(arguments.rounds):
        with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
            taken, stages = measure(Path(name), arguments.line)
            rounds.append(taken)
            parts.append(stages)
    medians = {
        title: [
            statistics.median(column)
            for column in zip(*(one[title] for one in rounds), strict=True)
        ]
        for title in rounds[0]
    }
    ours = medians["set-up"]
    for title, (clock, computed, began, cold, warm) in medians.items():
        print(f"{title:17} {clock:6.1f} s of the clock, {computed:5.1f} s of the processor; "
              f"set-up {ours[0] / clock:.2f} and {ours[1] / computed:.2f} times")  # fmt: skip
        print(f"{'':17} {clock + began:6.1f} s until a training has imported what it needs; "
              f"set-up {(ours[0] + ours[2]) / (clock + began):.2f} times; its imports: {cold:.1f} s of the "
              f"processor, then {warm:.1f}")  # fmt: skip
    medians_of = {name: statistics.median(one.get(name, 0) for one in parts) for name in parts[0]}
    print("set-up: " + ", ".join(f"{name} {seconds:.1f} s" for name, seconds in medians_of.items()))


if __name__ == "__main__":
    main()
