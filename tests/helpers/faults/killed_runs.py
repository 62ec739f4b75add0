"""Trainings whose workers are killed: quick workers, and the comparison with an unbroken run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path

import torch
from pydantic import ValidationError
from safetensors.torch import load_file

from lora_studio.core.curves import metrics
from lora_studio.core.protocol import commands, events
from lora_studio.core.runs.folder import RunFolder
from tests.helpers.faults.forking_engine import ENDED, KILL_POINT
from tests.helpers.faults.kill_points import KillPoint
from tests.helpers.runs.jobs import new_run, write_rows

_ROWS = [
    {"instruction": f"What is {n} and {n}?", "output": f"It is {n + n}" + ", said Pim" * (n % 5)}
    for n in range(40)
]


class ForkingEngine:
    """Start workers, one at a time, and yield their events."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        """Start the process whose forks are the workers, with more variables in its environment."""
        self._folder = tempfile.TemporaryDirectory()
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "tests.helpers.faults.forking_engine", self._folder.name],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            env=os.environ
            | {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
            | dict(environment or {}),
        )  # fmt: skip
        #: Workers whose line of their end hasn't been read.
        self._unended = 0

    def begin(self, command: commands.Job, kill: KillPoint | None = None) -> Iterator[events.Event]:
        """Yield the events of the next worker, up to the final event of its command or its death.

        Remaining output of previous workers comes first and is skipped. The worker kills itself at `kill`. One that
        ends before its first event yields none.
        """
        if kill is not None:
            Path(self._folder.name, KILL_POINT).write_text(json.dumps(asdict(kill)))
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(command.model_dump_json().encode() + b"\n")
        self._process.stdin.flush()
        self._unended += 1
        for line in self._process.stdout:
            if line == ENDED:
                self._unended -= 1
                if self._unended == 0:
                    return
            if self._unended > 1:
                continue
            try:
                event = events.parse(line)
            except ValidationError:
                continue  # cut by a kill
            yield event
            if isinstance(event, events.Ending):
                return

    def close(self) -> None:
        """Kill the process."""
        self._process.kill()
        self._process.communicate()
        self._folder.cleanup()


def new_small_run(folder: Path, model: Path, steps: int) -> RunFolder:
    """Return a new run on a tiny model, with checkpoints and evaluations."""
    folder.mkdir(exist_ok=True)
    return new_run(
        folder,
        model={"source": str(model), "precision": "fp32", "device": "cpu"},
        dataset={
            "sources": [str(write_rows(folder / "rows.jsonl", _ROWS))],
            "validation_share": 0.2,
            "max_length": 256,
        },
        training={
            "max_steps": steps,
            "epochs": 1000,
            "micro_batch": 2,
            "gradient_accumulation": 2,
            "learning_rate": 2e-3,
            "save_every": 3,
            "eval_every": 7,
        },
        lora={"rank": 4, "alpha": 8, "dropout": 0.1},
    )


#: Columns that measure the machine.
_UNEQUAL = ("tokens_per_s", "memory_bytes", *metrics.LOAD_VALUES)


def find_differences(run: RunFolder, whole: RunFolder) -> list[str]:
    """Return what of a resumed run differs from an unbroken one: metrics, results, and weights."""
    actual, expected = metrics.read_metrics(run), metrics.read_metrics(whole)
    differences = [
        name
        for name in {*actual.steps.columns, *expected.steps.columns}.difference(_UNEQUAL)
        if actual.steps.get(name) != expected.steps.get(name)
    ]
    names = {*actual.evaluations.columns, *expected.evaluations.columns}
    differences += [
        f"evaluations: {name}"
        for name in names
        if actual.evaluations.get(name) != expected.evaluations.get(name)
    ]
    results = [each.read_manifest()["results"]["evaluations"] for each in (run, whole)]
    if results[0] != results[1]:
        differences.append("results")
    weights = [load_file(each.adapter / "adapter_model.safetensors") for each in (run, whole)]
    if not all(torch.equal(value, weights[1][name]) for name, value in weights[0].items()):
        differences.append("weights")
    return differences
