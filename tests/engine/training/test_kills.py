"""A training run that is killed repeatedly ends like one that wasn't."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from lora_studio.core.curves import metrics
from lora_studio.core.protocol import commands, events
from lora_studio.core.runs.folder import RunFolder
from tests.engine.conftest import TinyModel
from tests.helpers.jobs import new_run, write_rows

KILLS, STEPS = 20, 140

#: The maximum number of events of a kind before a kill; "start" counts events of any kind.
_MOST = {"start": 14, "step_done": 9, "checkpoint_saved": 3, "evaluated": 1}
ROWS = [
    {"instruction": f"What is {n} and {n}?", "output": f"It is {n + n}" + ", said Pim" * (n % 5)}
    for n in range(40)
]


class Engine:
    """Start workers, one at a time, and yield their events."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "tests.helpers.forking_engine"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            env=os.environ | {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"},
        )  # fmt: skip

    def begin(self, command: commands.Train) -> Iterator[events.Event]:
        """Yield the events of the next worker, up to the final event of its command.

        Remaining output of the previous, killed worker comes first and is skipped.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(command.model_dump_json().encode() + b"\n")
        self._process.stdin.flush()
        is_new = False
        for line in self._process.stdout:
            event = events.parse(line)
            is_new = is_new or isinstance(event, events.Hello)
            if not is_new:
                continue
            yield event
            if isinstance(event, events.Ending):
                return

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


@pytest.fixture
def engine() -> Iterator[Engine]:
    new_engine = Engine()
    yield new_engine
    new_engine.close()


def _new_run(folder: Path, model: Path) -> RunFolder:
    folder.mkdir(exist_ok=True)
    return new_run(
        folder,
        model={"source": str(model), "precision": "fp32", "device": "cpu"},
        dataset={
            "sources": [str(write_rows(folder / "rows.jsonl", ROWS))],
            "validation_share": 0.2,
            "max_length": 256,
        },
        training={
            "max_steps": STEPS,
            "epochs": 1000,
            "micro_batch": 2,
            "gradient_accumulation": 2,
            "learning_rate": 2e-3,
            "save_every": 3,
            "eval_every": 7,
        },
        lora={"rank": 4, "alpha": 8, "dropout": 0.1},
    )


def _kill_in_the_middle(
    engine: Engine, run: RunFolder, chance: random.Random, *, resume: bool
) -> int:
    """Kill a worker shortly after one of its events; return the number of steps it had done.

    It may have finished: the worker doesn't wait for this process.
    """
    command = commands.Train(run=str(run.path), resume=resume)
    at = chance.choice(("start", "step_done", "checkpoint_saved", "evaluated"))
    last, pid, steps = chance.randrange(_MOST[at]), 0, 0
    for event in engine.begin(command):
        if isinstance(event, events.Failed):
            pytest.fail(str(event.problem))
        if isinstance(event, events.Hello):
            pid = event.pid
        steps += isinstance(event, events.StepDone)
        last -= at in ("start", event.kind)
        if last < 0:
            time.sleep(chance.random() * 0.02)
            with suppress(ProcessLookupError):  # it may have finished
                os.kill(pid, signal.SIGKILL)
            break
    while run.is_running():
        time.sleep(0.005)
    return steps


@pytest.mark.slow
def test_run_killed_repeatedly_matches_an_unbroken_run(
    engine: Engine, tiny: TinyModel, tmp_path: Path
) -> None:
    began = time.monotonic()
    seed = random.randrange(1 << 32)
    print(f"seed of the moments: {seed}")
    chance = random.Random(seed)
    whole = _new_run(tmp_path / "whole", tiny("llama3"))
    assert isinstance(list(engine.begin(commands.Train(run=str(whole.path))))[-1], events.Done)
    killed = _new_run(tmp_path / "killed", tiny("llama3"))
    repeated: list[int] = []
    while len(repeated) < KILLS and killed.read_state() != "trained":
        repeated.append(_kill_in_the_middle(engine, killed, chance, resume=bool(repeated)))
    assert len(repeated) > 1
    if killed.read_state() != "trained":
        assert killed.read_state() == "interrupted"
        rest = list(engine.begin(commands.Train(run=str(killed.path), resume=True)))
        assert isinstance(rest[-1], events.Done)
    print(f"{len(repeated)} kills after {repeated} steps, {time.monotonic() - began:.0f} s")

    actual, expected = metrics.read_metrics(killed), metrics.read_metrics(whole)
    assert list(actual.loss.steps) == list(range(1, STEPS + 1))
    for name in ("epoch", "loss", "learning_rate", "grad_norm", "tokens"):
        assert actual.steps[name].values == expected.steps[name].values, name
    assert actual.evaluations.steps == expected.evaluations.steps
    assert actual.evaluations.values == expected.evaluations.values
    results = [run.read_manifest()["results"]["evaluations"] for run in (killed, whole)]
    assert results[0] == results[1]
    weights = [load_file(run.adapter / "adapter_model.safetensors") for run in (killed, whole)]
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())
