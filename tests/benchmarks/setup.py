"""How long a set-up of the CPU engine takes beside plain `uv pip install` of the same packages.

    python -m tests.benchmarks.setup [--rounds 1]

Both begin with an empty cache, take turns, and end with every package byte-compiled; what the set-up
does besides (the plan, the trial) is told apart. Indexes and find-links are those of this machine.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from lora_studio.setup import folders, own
from lora_studio.setup.environment import uv_environment
from lora_studio.setup.events import Failed, Progress
from lora_studio.setup.operations import Request, SetUp
from lora_studio.setup.tools import Log, Stop, find_uv


def plain(folder: Path, wheel: Path, *, compiled: bool) -> float:
    """Seconds of `uv venv` and `uv pip install` with an empty cache."""
    text = own.project_text(wheel, ("engine",), own.STANDARD)
    folder.mkdir()
    (folder / "pyproject.toml").write_text(text)
    environment = uv_environment({"UV_CACHE_DIR": str(folder / "cache")})
    python = folder / "venv" / "bin" / "python"
    began = time.monotonic()
    run = [find_uv(), "venv", "--quiet", "--no-project", folder / "venv"]
    subprocess.run(run, check=True, env=environment, cwd=folder)
    run = [find_uv(), "pip", "install", "--quiet", "--python", python, "-r", "pyproject.toml"]
    run += ["--compile-bytecode"] if compiled else []
    subprocess.run(run, check=True, env=environment, cwd=folder)
    return time.monotonic() - began


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
    bare: list[float] = []
    compiled: list[float] = []
    ours: list[float] = []
    parts: list[dict[str, float]] = []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory(dir=Path.home()) as name:
            folder = Path(name)
            os.environ[folders.VARIABLE] = str(folder / "engines")
            os.environ.pop(own.VARIABLE, None)
            wheel = own.own_wheel(folder, Stop(), Log(folder / "log")).path
            os.environ[own.VARIABLE] = str(wheel)  # an installed program brings it
            bare.append(plain(folder / "bare", wheel, compiled=False))
            shutil.rmtree(folder / "bare")
            compiled.append(plain(folder / "compiled", wheel, compiled=True))
            shutil.rmtree(folder / "compiled")
            parts.append(set_up(folder / "engines"))
            ours.append(sum(parts[-1].values()))
    stages = {name: statistics.median(one[name] for one in parts) for name in parts[0]}
    trial = stages["Checking"]
    print(f"uv pip install                     {statistics.median(bare):6.1f} s")
    print(f"uv pip install --compile-bytecode  {statistics.median(compiled):6.1f} s")
    print(f"set-up                             {statistics.median(ours):6.1f} s")
    print("  " + ", ".join(f"{name} {seconds:.1f} s" for name, seconds in stages.items()))
    whole, part = statistics.median(ours), statistics.median(ours) - trial
    for name, times in (("uv pip install", bare), ("uv, compiled", compiled)):
        uv = statistics.median(times)
        print(f"beside {name}: {whole / uv:.2f} times, {part / uv:.2f} without the trial")


if __name__ == "__main__":
    main()
