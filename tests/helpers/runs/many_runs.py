"""Thousands of run folders in seconds: settings, curves, tags, every state, and damage."""

from __future__ import annotations

import functools
import json
import math
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from lora_studio.core.dataset.spec import DatasetSpec, DataSource
from lora_studio.core.lora.spec import LoraSpec
from lora_studio.core.model.spec import ModelSpec
from lora_studio.core.problems import Problem
from lora_studio.core.project.project import Project
from lora_studio.core.protocol import events
from lora_studio.core.runs.annotations import GridSettings, RunAnnotations
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.training.spec import TrainingSpec

_MODELS = ("Qwen/Qwen3-0.6B", "Qwen/Qwen3-4B", "google/gemma-3-1b-it")
_FILES = ("tickets.jsonl", "letters.csv", "poems.parquet")
_TAGS: tuple[tuple[str, ...], ...] = ((), ("baseline",), ("rank",), ("rate", "night"))
_BEGIN = datetime(2026, 3, 1, 8, 0, 0)


def make_runs(folder: Path, count: int, *, steps: int = 20) -> list[RunFolder]:
    """Create `count` trained runs in the folder `runs` of the project `folder`, oldest first.

    Each has `steps` steps; a run's content depends only on its number. Every 50th was interrupted.
    """
    (folder / "runs").mkdir(parents=True, exist_ok=True)
    return [_make(folder, number, steps) for number in range(count)]


def _make(folder: Path, number: int, steps: int) -> RunFolder:
    begun = _BEGIN + timedelta(minutes=17 * number)
    run = RunFolder(folder / "runs" / f"{begun:%Y%m%d-%H%M%S}-support-bot")
    rank, rate = (8, 16, 32, 64)[number % 4], (5e-5, 1e-4, 2e-4)[number % 3]
    project = Project(
        name="support-bot",
        model=ModelSpec(source=_MODELS[number % len(_MODELS)]),
        lora=LoraSpec(rank=rank, alpha=2 * rank),
        dataset=DatasetSpec(sources=(DataSource(path=f"{_FOLDER}/{_FILES[number % 2]}"),)),
        training=TrainingSpec(learning_rate=rate, epochs=1 + number % 3, seed=number),
    )
    interrupted = number % 50 == 49
    (run.path / "adapter").mkdir(parents=True, exist_ok=True)
    run.project_file.write_text(_toml(project, folder), "utf-8")
    run.manifest_file.write_text(json.dumps({"name": project.name, "created": begun.isoformat()}))
    run.events_file.write_bytes(_events(number, steps, begun.timestamp(), interrupted))
    if interrupted:
        run.checkpoint(steps // 2).mkdir(parents=True, exist_ok=True)
        (run.checkpoint(steps // 2) / "state.bin").write_bytes(bytes(4000))
    else:
        (run.adapter / "adapter_config.json").write_text("{}")
        (run.adapter / "adapter_model.safetensors").write_bytes(bytes(1000 + rank))
    if tags := _TAGS[number % len(_TAGS)]:
        run.about_file.write_text(RunAnnotations(tags=tags).model_dump_json())
    return run


def as_search(runs: list[RunFolder], name: str = "grid 1 Mar 08:00:00") -> None:
    """Make the first twelve runs one grid search: four ranks by three learning rates."""
    for run in runs[:12]:
        grid = GridSettings(name=name, fields=("lora.rank", "training.learning_rate"))
        run.write_about(RunAnnotations(tags=(name,), grid=grid))


def damage(folder: Path) -> dict[str, str]:
    """Add damaged run folders; return a word of the expected reason by name."""
    runs = folder / "runs"
    broken: dict[str, tuple[str, str]] = {
        "20260101-000001-torn": ('name = "torn"\n[model\n', "damaged"),
        "20260101-000002-newer": ("schema_version = 99\n", "newer"),
        "20260101-000003-empty": ("", "no project.toml"),
    }
    for name, (text, _) in broken.items():
        (runs / name).mkdir(parents=True)
        if text:
            (runs / name / "project.toml").write_text(text)
    odd = runs / "20260101-000004-binary"
    odd.mkdir()
    (odd / "project.toml").write_bytes(b"\xff\xfe\x00name")
    (odd / "events.jsonl").write_bytes(b"\x00" * 100 + b"\n{}\n")
    (odd / "about.json").write_text("[1, 2")
    return {name: word for name, (_, word) in broken.items()} | {odd.name: "Couldn't read"}


#: Seed and folder of the data in a project whose TOML is cached.
_SEED, _FOLDER = 424242, "/folder-of-the-project"


@functools.cache
def _cached_toml(project_json: str) -> str:
    return Project.model_validate_json(project_json).to_toml()


def _toml(project: Project, folder: Path) -> str:
    """Return the output of `Project.to_toml` with data in a folder; cached, because it takes milliseconds."""
    training = project.training.model_copy(update={"seed": _SEED})
    plain = project.model_copy(update={"training": training})
    toml = _cached_toml(plain.model_dump_json())
    return toml.replace(str(_SEED), str(project.training.seed)).replace(_FOLDER, folder.as_posix())


def _events(number: int, steps: int, begun: float, interrupted: bool) -> bytes:
    end = 1.0 + 0.4 * math.sin(number)
    lines: list[Any] = [
        events.Started(id="t", time=begun, command="train"),
        events.TrainingStarted(
            id="t", time=begun + 5, steps=steps, steps_per_epoch=steps / 2, effective_batch=16
        ),
    ]
    for step in range(1, steps + 1):
        loss = end + 1.5 * math.exp(-4 * step / steps)
        lines.append(
            events.StepDone(
                id="t", time=begun + 5 + 3 * step, step=step, steps=steps, epoch=2 * step / steps,
                loss=loss, learning_rate=1e-4, grad_norm=1.0, tokens=4096 * step,
                tokens_per_s=1365.0, memory_bytes=8 << 30,
            )
        )  # fmt: skip
        if step % max(1, steps // 4) == 0:
            lines.append(
                events.Evaluated(id="t", time=begun + 6 + 3 * step, step=step, loss=loss + 0.1)
            )
    if not interrupted and number % 40 == 7:
        problem = Problem(code="disk.full", what="The disk is full.", remedy="Make room.")
        lines.append(events.Failed(id="t", time=begun + 10 + 3 * steps, problem=problem))
    elif not interrupted:
        lines.append(events.Done(id="t", time=begun + 10 + 3 * steps))
    return "".join(events.to_line(event) + "\n" for event in lines).encode()
