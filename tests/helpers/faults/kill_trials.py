"""Kill workers at random moments of every job, and compare the results with those of an unbroken run.

`KillTrials(engine, model, folder).run(kills=15, seed=1)` trains, pauses, resumes, merges, exports and
tests one run while it kills the worker again and again, then checks every file of it.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from lora_studio.client.watched_run import WatchedRun
from lora_studio.core.curves import metrics
from lora_studio.core.protocol import commands, events
from lora_studio.core.runs.annotations import RunAnnotations
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.system.files import list_temporaries
from tests.helpers.faults.killed_runs import ForkingEngine
from tests.helpers.models.llama_cpp_folder import llama_cpp_folder
from tests.helpers.runs.jobs import new_run, wait_until_free, write_rows
from tests.helpers.runs.run_verbs import take_snapshot

_ROWS = [
    {"instruction": f"What is {n} and {n}?", "output": f"It is {n + n}" + ", said Pim" * (n % 5)}
    for n in range(24)
]

#: Shares of the kills that hit each job; an export takes longest.
_SHARES = {"train": 0.6, "merge": 0.16, "export": 0.12, "selftest": 0.12}

_ABOUT = RunAnnotations(title="Survivor", tags=("kept",), notes="@3 do not lose me")

#: Files that must be equal bit for bit in the end; the rest contains times, paths, and sets.
_EQUAL = (
    "adapter/adapter_model.safetensors", "merged/model.safetensors", "gguf/", "heldout.jsonl", "data/",
)  # fmt: skip


@dataclass
class KillReport:
    """The result of one trial: how many kills hit which job, and what was lost."""

    seed: int
    kills: int = 0
    hits: dict[str, int] = field(default_factory=dict)
    losses: list[str] = field(default_factory=list)


class KillTrials:
    """Unbroken results to compare with, and trials with kills; the model must not change."""

    def __init__(self, engine: ForkingEngine, model: Path, folder: Path, steps: int = 24) -> None:
        """Train, merge, export and test a run without interruption."""
        self._engine, self._model, self._folder, self._steps = engine, model, folder, steps
        self._llama_cpp = llama_cpp_folder(folder / "llama.cpp")
        self.whole = self.create_run(folder / "whole")
        self._seconds: dict[str, float] = {}
        for kind in _SHARES:
            began = time.monotonic()
            for event in engine.begin(self.create_command(self.whole, kind)):
                if isinstance(event, events.Hello):
                    began = time.monotonic()  # the first worker waits for its process's imports
            assert isinstance(event, events.Done), event
            self._seconds[kind] = time.monotonic() - began
        self.expected = take_snapshot(self.whole)

    def run(self, kills: int, seed: int, until: float = float("inf")) -> KillReport:
        """Run one trial with about this many kills; none after `until` in monotonic seconds."""
        chance, report = random.Random(seed), KillReport(seed)
        folder = self._folder / f"killed-{seed}"
        run = self.create_run(folder)
        for kind, share in _SHARES.items():
            for _ in range(max(1, round(kills * share))):
                if time.monotonic() < until and not report.losses:
                    self._kill_once(run, kind, chance, report)
            if not report.losses:
                self._finish(run, kind, report)
        if not report.losses:
            report.losses += self.find_losses(run)
        if not report.losses:
            shutil.rmtree(folder)
        return report

    def _kill_once(
        self, run: RunFolder, kind: str, chance: random.Random, report: KillReport
    ) -> None:
        """Start a job and kill it; it may have ended before."""
        delay = chance.random() * self._seconds[kind]
        pause_after = chance.randrange(1, 9) if kind == "train" and chance.random() < 0.3 else 0
        steps, timer = 0, None
        for event in self._engine.begin(self.create_command(run, kind)):
            if isinstance(event, events.Hello):
                timer = threading.Timer(delay, _kill, (event.pid, report, kind))
                timer.start()
            if isinstance(event, events.Failed):
                report.losses.append(f"{kind}: {event.problem}")
            steps += isinstance(event, events.StepDone)
            if isinstance(event, events.StepDone) and steps == pause_after:
                WatchedRun(run).send(commands.Pause(target=event.id))
        if timer is not None:
            timer.cancel()
            timer.join()
        wait_until_free(run)

    def _finish(self, run: RunFolder, kind: str, report: KillReport) -> None:
        for _ in range(3):  # a pause that was sent before a kill may still end the first attempt
            *_, ending = self._engine.begin(self.create_command(run, kind))
            if not (isinstance(ending, events.Done) and ending.paused):
                break
        if not isinstance(ending, events.Done):
            report.losses.append(f"{kind} after kills: {ending}")

    def find_changes(self, run: RunFolder, *parts: str) -> list[str]:
        """Return which results of the unbroken run are missing or different in another one.

        `parts` are the beginnings of their paths; by default, all that are equal bit for bit.
        """
        actual = take_snapshot(run)
        return [
            f"{name} differs"
            for name, digest in self.expected.items()
            if name.startswith(_EQUAL)
            and name.startswith(parts or _EQUAL)
            and actual.get(name) != digest
        ]

    def find_lost_metrics(self, run: RunFolder) -> list[str]:
        """Return what differs in the curves of a trained run."""
        losses = []
        series, whole = metrics.read_metrics(run), metrics.read_metrics(self.whole)
        if series.steps.steps != whole.steps.steps:
            losses.append("steps are missing from the curves")
        for name in ("loss", "learning_rate", "grad_norm", "tokens"):
            if series.steps.get(name) != whole.steps.get(name):
                losses.append(f"{name} differs in the curves")
        if series.evaluations.get("loss") != whole.evaluations.get("loss"):
            losses.append("evaluations differ")
        return losses

    def find_losses(self, run: RunFolder) -> list[str]:
        """Return what of a completed run was lost: results, metrics, notes, and space on the disk."""
        losses = [*self.find_changes(run), *self.find_lost_metrics(run)]
        if run.read_about() != _ABOUT:
            losses.append("the notes are lost")
        left = [*list_temporaries(run.path), *list_temporaries(run.checkpoints)]
        losses += [f"{file.name} was left behind" for file in left]
        if run.temporary.is_dir() and any(run.temporary.iterdir()):
            losses.append("scratch files were left behind")
        return losses

    def create_command(self, run: RunFolder, kind: str) -> commands.Job:
        """Return the command of a job; training resumes if the run has started."""
        name = str(run.path)
        match kind:
            case "train":
                return commands.Train(run=name, resume=run.events_file.exists())
            case "merge":
                return commands.Merge(run=name)
            case "export":
                return commands.Export(run=name)
        return commands.SelfTest(run=name)

    def create_run(self, folder: Path) -> RunFolder:
        """Return a new run in a new folder, with rows, notes, and settings of every job."""
        folder.mkdir(parents=True)
        run = new_run(
            folder,
            model={"source": str(self._model), "precision": "fp32", "device": "cpu"},
            dataset={
                "sources": [str(write_rows(folder / "rows.jsonl", _ROWS))],
                "validation_share": 0.2,
                "max_length": 256,
            },
            training={
                "max_steps": self._steps,
                "epochs": 100,
                "micro_batch": 2,
                "gradient_accumulation": 2,
                "learning_rate": 2e-3,
                "save_every": 3,
                "eval_every": 7,
            },
            lora={"rank": 4, "alpha": 8, "dropout": 0.1},
            export={
                "llama_cpp": str(self._llama_cpp),
                "quantizations": ["Q8_0"],
                "ollama_create": False,
            },
        )
        run.write_about(_ABOUT)
        return run


def _kill(pid: int, report: KillReport, kind: str) -> None:
    with suppress(ProcessLookupError):  # it may have finished
        os.killpg(pid, signal.SIGKILL)
        report.kills += 1
        report.hits[kind] = report.hits.get(kind, 0) + 1
