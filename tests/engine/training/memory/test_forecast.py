"""The memory estimate before the first step, and the calibration after the last one."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from lora_studio.core.memory import calibration
from lora_studio.core.memory.plan import CONSTANTS
from lora_studio.core.project.project import Project
from lora_studio.core.protocol import commands, events
from lora_studio.core.tasks.samples import TaskName
from lora_studio.engine.dataset import lengths
from lora_studio.engine.training.memory import forecast
from tests.engine.conftest import TinyModel
from tests.helpers.models.plans import GIB, device, plan
from tests.helpers.runs.jobs import RecordingChannel, handle, make_job, new_run, write_rows

SFT = [
    {"instruction": f"What is {n} and {n}?", "output": "It is all of it. " * (n % 5 + 1)}
    for n in range(12)
]
PAIRS = [
    {
        "prompt": f"Say {n}.",
        "chosen": "Yes. " * (n % 4 + 1),
        "rejected": "No, never. " * (n % 3 + 1),
    }
    for n in range(12)
]
TEXT = [{"text": "The tide turns and the lamp burns. " * 12}] * 4


@pytest.fixture
def data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LORA_STUDIO_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


def trained(tiny: TinyModel, folder: Path, rows: list[dict[str, str]], limit: int = 128) -> RecordingChannel:  # fmt: skip
    run = new_run(
        folder,
        model={"source": str(tiny("llama3")), "precision": "fp32", "device": "cpu"},
        dataset={
            "sources": [str(write_rows(folder / "rows.jsonl", rows))],
            "validation_share": 0.0,
            "max_length": limit,
        },
        training={"epochs": 1, "micro_batch": 2, "gradient_accumulation": 2},
        lora={"rank": 4},
    )
    return handle(commands.Train(run=str(run.path)))


@pytest.mark.slow
@pytest.mark.parametrize(("task", "rows"), [("sft", SFT), ("preference", PAIRS), ("text", TEXT)])
def test_memory_estimate_is_sent_before_the_first_step(
    tiny: TinyModel, tmp_path: Path, data_folder: Path, task: TaskName, rows: list[dict[str, str]]
) -> None:
    channel = trained(tiny, tmp_path, rows)
    assert channel.last(events.DatasetReady).task == task
    kinds = [event.kind for event in channel.events]
    assert kinds.index("memory_estimated") < kinds.index("step_done")
    estimate = channel.last(events.MemoryEstimated).estimate
    heaviest_step = max(step.tokens for step in channel.of(events.StepDone))
    # A step has two micro-batches, the longer one first.
    assert heaviest_step / 2 <= estimate.tokens <= heaviest_step
    assert estimate.total > estimate.weights > 0


@pytest.mark.slow
def test_training_calibrates_the_speed_of_this_machine(
    tiny: TinyModel, tmp_path: Path, data_folder: Path
) -> None:
    channel = trained(tiny, tmp_path, SFT)
    assert channel.last(events.MemoryEstimated).estimate.seconds is None
    learned = calibration.load().get("cpu", "fp32")
    assert learned.runs == 1
    assert learned.tokens_per_s[str(tiny("llama3"))] > 0
    assert calibration.LOWEST <= learned.factor <= calibration.HIGHEST
    second = trained(tiny, tmp_path / "again", SFT)
    seconds = second.last(events.MemoryEstimated).estimate.seconds
    assert seconds is not None
    assert seconds > 0


def test_estimate_counts_padding_of_rows_that_are_not_packed(
    data_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted, channel = plan(micro_batch=4), RecordingChannel()
    monkeypatch.setattr(forecast, "_plan_memory", lambda *_: wanted)
    tuned: Any = SimpleNamespace(base=SimpleNamespace(device=torch.device("cpu")))
    for is_packed in (True, False):
        forecast.estimate_training(
            Project(name="test"), tuned, None, make_job(channel), step=0, world_size=1, is_packed=is_packed,  # type: ignore[arg-type]  # no rows are read
            fill=lambda tokens: tokens,
        )  # fmt: skip
    packed, padded = (event.estimate.tokens for event in channel.of(events.MemoryEstimated))
    assert padded == wanted.rows.count_padded_tokens(4, wanted.limit) == 4 * 1000
    assert packed > wanted.tokens  # filled


@pytest.mark.parametrize(
    ("name", "own"), [("cuda:0", 6 * GIB + CONSTANTS.context), ("mps", 4 * GIB)]
)
def test_memory_of_this_process_counts_as_free(
    monkeypatch: pytest.MonkeyPatch, name: str, own: int
) -> None:
    """The estimate counts the context, so what the driver calls free isn't all that there is for it."""
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: 6 * GIB)
    monkeypatch.setattr(torch.mps, "driver_allocated_memory", lambda: 4 * GIB)
    assert forecast._with_own_memory(device(10, name)).free_bytes == 10 * GIB + own
    assert forecast._with_own_memory(device(23, name)).free_bytes == 24 * GIB


@pytest.mark.parametrize(
    ("places", "names"),
    [
        (["cuda:0", "cuda:1"], ["cuda:0", "cuda:1"]),
        (["cuda:1"], ["cuda:1"]),
        (["cpu"], ["cuda:1"]),  # sharded weights are loaded in main memory
    ],
)
def test_estimate_is_about_the_gpus_that_hold_layers(
    monkeypatch: pytest.MonkeyPatch, places: list[str], names: list[str]
) -> None:
    every = tuple(device(name=name) for name in ("cuda:0", "cuda:1", "cpu"))
    monkeypatch.setattr(
        forecast.devices, "list_devices", lambda: events.DevicesFound(devices=every)
    )
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: 0)
    parameters = [SimpleNamespace(device=place) for place in places]
    tuned: Any = SimpleNamespace(
        model=SimpleNamespace(parameters=lambda: parameters),
        base=SimpleNamespace(device=torch.device("cuda:1")),
    )
    assert [used.name for used in forecast._describe_devices(tuned)] == names


def test_failed_training_does_not_calibrate(
    tiny: TinyModel, tmp_path: Path, data_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lora_studio.engine.training import problems, trainer

    def diverge(loop: trainer.Trainer, **_: Any) -> bool:
        raise problems.divergence_error(float("nan"), loop.step)

    monkeypatch.setattr(trainer.Trainer, "fit", diverge)
    channel = trained(tiny, tmp_path, SFT)
    assert channel.of(events.Failed)
    assert not calibration.get_path().exists()


def test_sampled_lengths_represent_a_large_dataset() -> None:
    import numpy as np

    rows = np.sort(np.random.default_rng(0).geometric(0.005, 3_000))
    columns = lengths.LengthTable(rows, rows, np.zeros((0, 2), np.int64), int(rows.sum()), 100.0)
    epoch = lengths.sample_epoch([columns])
    assert len(epoch) == lengths.SAMPLED_ROWS
    assert epoch.max() == rows.max()
    assert epoch.mean() == pytest.approx(rows.mean(), rel=0.02)
