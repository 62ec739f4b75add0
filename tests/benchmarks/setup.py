"""How long a set-up of the CPU engine takes beside plain `uv pip install` of the same packages.

    python -m tests.benchmarks.setup [--rounds 1]

Both begin with an empty cache and take turns. Of the set-up each stage is told, and of both what a training
imports takes when it does so first, and the second time: what was not byte-compiled is then. Seconds of the
clock depend on what else the machine does, those of the processor less: both are told. Indexes and
find-links are those of this machine. All that a round makes, 4 GB, stays until its end: for minutes after
files were deleted, ext4 passes their inodes over one by one for each new file, and who comes next pays.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from lora_studio.setup import engines, folders, own
from lora_studio.setup.environment import ALLOCATOR, uv_environment
from lora_studio.setup.events import Failed, Progress
from lora_studio.setup.operations import Request, SetUp
from lora_studio.setup.tools import Log, Stop, find_uv


def processor() -> float:
    """Seconds that this program and all that it started and waited for have computed."""
    return sum(os.times()[:4])


def starts(python: Path) -> tuple[float, float]:
    """Seconds of the processor that a training's imports take, the first time and the second."""
    taken = []
    environment = {name: value for name, value in os.environ.items() if name[:6] != "PYTHON"}
    for _ in range(2):
        began = processor()
        code = "from lora_studio.engine import backends, taking_part"
        subprocess.run(
            [python, "-P", "-c", code], check=True, env=environment, stderr=subprocess.DEVNULL
        )
        taken.append(processor() - began)
    return taken[0], taken[1]


def plain(folder: Path, wheel: Path, *, compiled: bool) -> tuple[float, float]:
    """Seconds, and those of the processor, of `uv venv` and `uv pip install` with an empty cache."""
    text = own.project_text(wheel, ("engine",), own.STANDARD)
    folder.mkdir()
    (folder / "pyproject.toml").write_text(text)
    environment = uv_environment({"UV_CACHE_DIR": str(folder / "cache")})
    environment.pop(ALLOCATOR[0])
    python = folder / "venv" / "bin" / "python"
    began, computed = time.monotonic(), processor()
    run = [find_uv(), "venv", "--quiet", "--no-project", folder / "venv"]
    subprocess.run(run, check=True, env=environment, cwd=folder)
    run = [find_uv(), "pip", "install", "--quiet", "--python", python, "-r", "pyproject.toml"]
    run += ["--compile-bytecode"] if compiled else []
    subprocess.run(run, check=True, env=environment, cwd=folder)
    return time.monotonic() - began, processor() - computed


def set_up(folder: Path) -> dict[str, float]:
    """Seconds of each stage of our own set-up."""
    os.environ[folders.VARIABLE] = str(folder)
    stages: dict[str, float] = {}
    stage, began = "Planning", time.monotonic()
    for event in SetUp(Request(variant="cpu"), Stop()).carry_out():
        if isinstance(event, Failed):
            raise SystemExit(str(event.problem))
        if isinstance(event, Progress) and event.stage != stage:
            now = time.monotonic()
            stages[stage], stage, began = stages.get(stage, 0.0) + now - began, event.stage, now
    stages[stage] = stages.get(stage, 0.0) + time.monotonic() - began
    return stages


def main() -> None:
    """Measures in turns and prints medians."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=1)
    rounds = parser.parse_args().rounds
    taken: dict[str, list[tuple[float, float]]] = {}
    first: dict[str, list[tuple[float, float]]] = {}
    parts: list[dict[str, float]] = []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory(dir=Path.home()) as name:
            folder = Path(name)
            os.environ[folders.VARIABLE] = str(folder / "engines")
            os.environ.pop(own.VARIABLE, None)
            wheel = own.own_wheel(folder, Stop(), Log(folder / "log")).path
            os.environ[own.VARIABLE] = str(wheel)  # an installed program brings it
            for title, compiled in (("uv pip install", False), ("uv, all compiled", True)):
                taken.setdefault(title, []).append(plain(folder / title, wheel, compiled=compiled))
                python = folder / title / "venv" / "bin" / "python"
                first.setdefault(title, []).append(starts(python))
            computed = processor()
            parts.append(set_up(folder / "engines"))
            whole = sum(parts[-1].values())
            taken.setdefault("set-up", []).append((whole, processor() - computed))
            made = engines.current()
            assert made is not None
            first.setdefault("set-up", []).append(starts(made.python))
    medians = _medians(taken)
    for title, (clock, computed) in medians.items():
        ratios = [
            ours / other for ours, other in zip(medians["set-up"], (clock, computed), strict=True)
        ]
        print(f"{title:17} {clock:6.1f} s of the clock, {computed:6.1f} s of the processor; "
              f"set-up {ratios[0]:.2f} and {ratios[1]:.2f} times")  # fmt: skip
    for title, (cold, warm) in _medians(first).items():
        print(
            f"{title:17} a training's imports: {cold:.1f} s of the processor first, then {warm:.1f}"
        )
    stages = {name: statistics.median(one.get(name, 0) for one in parts) for name in parts[0]}
    print("set-up: " + ", ".join(f"{name} {seconds:.1f} s" for name, seconds in stages.items()))


def _medians(rounds: dict[str, list[tuple[float, float]]]) -> dict[str, list[float]]:
    """Of each column the median over the rounds."""
    return {
        title: [statistics.median(column) for column in zip(*times, strict=True)]
        for title, times in rounds.items()
    }


if __name__ == "__main__":
    main()
