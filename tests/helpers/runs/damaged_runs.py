"""Runs with one damaged file: every file of a run folder, every kind of damage.

The fault campaign and the tests build a finished and an interrupted run once, copy one for each case,
damage it with `apply`, and carry out verbs on it (`tests.helpers.runs.run_verbs`).
"""

from __future__ import annotations

import contextlib
import io
import random
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lora_studio.core.dataset.spec import DatasetSpec, DataSource
from lora_studio.core.export import ExportSpec
from lora_studio.core.lora.spec import LoraSpec
from lora_studio.core.model.spec import ModelSpec
from lora_studio.core.project.project import Project
from lora_studio.core.protocol import commands, events
from lora_studio.core.runs import folder as run_folder
from lora_studio.core.runs.annotations import RunAnnotations
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.training.spec import TrainingSpec
from tests.helpers.models.llama_cpp_folder import llama_cpp_folder
from tests.helpers.models.tiny_models import random_adapter, tiny_model
from tests.helpers.runs import jobs
from tests.helpers.runs.jobs import write_rows

_ROWS = [
    {"instruction": f"What is {n} and {n}?", "output": f"It is {n + n}, said Pim." + " Yes." * (n % 5)}
    for n in range(20)
]  # fmt: skip

#: Files that other programs own, or whose damage is that of a lock: never read as content.
_NOT_DAMAGED = ("run.lock", "guard.lock")


@dataclass(frozen=True)
class Damage:
    """One fault: a file or folder of a run, by its path in the run folder, and what happens to it."""

    file: str
    kind: str

    def __str__(self) -> str:
        """Return the name of the case."""
        return f"{self.kind} {self.file}"


@dataclass(frozen=True)
class RunPair:
    """A run, and another one of the same kind whose files are swapped in; both in one project."""

    run: RunFolder
    other: RunFolder

    def copy(self, folder: Path) -> RunPair:
        """Return a copy of the whole project in a new folder."""
        project = self.run.path.parent.parent
        shutil.copytree(project, folder, symlinks=True)
        copied = [
            RunFolder(folder / run.path.relative_to(project)) for run in (self.run, self.other)
        ]
        return RunPair(*copied)

    def delete(self) -> None:
        """Delete a copy."""
        shutil.rmtree(self.run.path.parent.parent)


# --- damage ---------------------------------------------------------------------------------------


def _halve(file: Path, _pair: RunPair, _chance: random.Random) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])


def _empty(file: Path, _pair: RunPair, _chance: random.Random) -> None:
    file.write_bytes(b"")


def _fill_with_noise(file: Path, _pair: RunPair, chance: random.Random) -> None:
    file.write_bytes(chance.randbytes(max(file.stat().st_size, 16)))


def _swap(file: Path, pair: RunPair, _chance: random.Random) -> None:
    other = pair.other.path / file.relative_to(pair.run.path)
    if other.is_file():
        shutil.copyfile(other, file)


def _delete(file: Path, _pair: RunPair, _chance: random.Random) -> None:
    shutil.rmtree(file) if file.is_dir() else file.unlink()


def _replace_by_folder(file: Path, _pair: RunPair, _chance: random.Random) -> None:
    file.unlink()
    file.mkdir()
    (file / "inside.txt").write_text("inside")


def _link_outside(file: Path, pair: RunPair, _chance: random.Random) -> None:
    outside = pair.run.path.parent.parent / "outside"
    outside.mkdir(exist_ok=True)
    target = outside / file.name
    shutil.move(file, target)
    file.symlink_to(target)


def _flip_bit(file: Path, _pair: RunPair, chance: random.Random) -> None:
    content = bytearray(file.read_bytes())
    if content:
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    file.write_bytes(content)


DAMAGES: dict[str, Callable[[Path, RunPair, random.Random], None]] = {
    "halve": _halve,
    "empty": _empty,
    "noise": _fill_with_noise,
    "flip": _flip_bit,
    "swap": _swap,
    "delete": _delete,
    "folder": _replace_by_folder,
    "link": _link_outside,
}


def list_damages(run: RunFolder) -> list[Damage]:
    """Return every damage to every file of a run, and the loss of every folder in it."""
    damages = []
    for path in sorted(run.path.rglob("*")):
        name = path.relative_to(run.path).as_posix()
        if path.is_dir():
            damages += [Damage(name, kind) for kind in ("delete", "link")]
        elif path.name not in _NOT_DAMAGED:
            damages += [Damage(name, kind) for kind in DAMAGES]
    return damages


def apply(damage: Damage, pair: RunPair, seed: int = 0) -> None:
    """Damage a file of `pair.run`."""
    chance = random.Random(f"{seed} {damage}")
    DAMAGES[damage.kind](pair.run.path / damage.file, pair, chance)


# --- runs -----------------------------------------------------------------------------------------


class _KilledError(BaseException):
    """Ends a training like a kill: nothing is recorded after it."""


class _MortalChannel(jobs.RecordingChannel):
    """A channel that records nothing after the step at which its worker is killed."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self._step, self._is_dead = step, False

    def emit(self, event: Any) -> None:
        if self._is_dead:
            return
        super().emit(event)
        if isinstance(event, events.StepDone) and event.step == self._step:
            self._is_dead = True
            raise _KilledError


#: Learning rates of a run and of the second one that is built with it.
_RATES = (5e-3, 1e-3)


def build_finished(folder: Path, rates: Sequence[float] = _RATES) -> RunPair:
    """Build a run that was trained, merged, exported and tested, and a second one if there are two rates."""
    return _build(folder, _finish, rates)


def build_interrupted(folder: Path, rates: Sequence[float] = _RATES) -> RunPair:
    """Build a run whose training was killed between two checkpoints, and a second one if there are two rates."""
    return _build(folder, _interrupt, rates)


def build_interrupted_and_merged(folder: Path) -> RunPair:
    """Build a run whose training was killed, and another one that was trained and merged."""
    kinds = iter((_interrupt, _merge))
    return _build(folder, lambda run: next(kinds)(run), _RATES)


def _build(folder: Path, train: Callable[[RunFolder], None], rates: Sequence[float]) -> RunPair:
    base = tiny_model("llama3", folder / "models" / "base")
    start = random_adapter(base, folder / "adapters" / "start", r=4, lora_alpha=8)
    rows = write_rows(folder / "data" / "rows.jsonl", _ROWS)
    llama_cpp = llama_cpp_folder(folder.parent / "llama.cpp")
    (folder / "pim.lorastudio").write_text('schema_version = 3\nname = "Pim"\n')
    runs = []
    for rate in rates:
        run = run_folder.create_run(
            folder / "runs",
            Project(
                name="Pim",
                model=ModelSpec(source=str(base), precision="fp32", device="cpu"),
                lora=LoraSpec(rank=4, alpha=8, start_from=str(start)),
                dataset=DatasetSpec(
                    sources=(DataSource(path=str(rows)),), validation_count=4, max_length=256
                ),
                training=TrainingSpec(
                    epochs=2, micro_batch=2, gradient_accumulation=2, learning_rate=rate,
                    save_every=2, eval_every=2, keep_checkpoints=3, sample_rows=0,
                    sample_prompts=("Hi",), sample_tokens=2,
                ),
                export=ExportSpec(
                    llama_cpp=str(llama_cpp), quantizations=("Q8_0",), ollama_create=False
                ),
            ),
            folder,
        )  # fmt: skip
        train(run)
        run.write_about(RunAnnotations(title=f"At {rate}", tags=("pim",), notes="@4 fine"))
        run.mailbox_file.write_text("")
        runs.append(run)
    return RunPair(runs[0], runs[-1])


def _merge(run: RunFolder) -> None:
    for command in (commands.Train(run=str(run.path)), commands.Merge(run=str(run.path))):
        channel = jobs.handle(command)
        assert channel.of(events.Done), channel.of(events.Failed)


def _finish(run: RunFolder) -> None:
    _merge(run)
    channel = jobs.handle(commands.Export(run=str(run.path)))
    assert channel.of(events.Done), channel.of(events.Failed)


def _interrupt(run: RunFolder) -> None:
    channel = _MortalChannel(step=5)
    command = commands.Train(run=str(run.path))
    with contextlib.redirect_stderr(io.StringIO()):  # the traceback of the kill
        jobs.handle_on(command, channel)
    assert channel.of(events.StepDone)[-1].step == 5
    leftover = run.path / ".manifest.json.abcdefgh.tmp"
    leftover.write_bytes(run.manifest_file.read_bytes()[:100])
    (run.path / ".adapter.abcdefgh.tmp").mkdir()
