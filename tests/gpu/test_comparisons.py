"""The comparisons of the GPU tier, with trainings and GPUs that are made up."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from lora_studio.client import worker
from lora_studio.core.protocol import commands, events
from lora_studio.engine.devices import devices
from tests.benchmarks import training
from tests.gpu import distributed, peers, speed
from tests.gpu.registry import CheckContext, UnavailableCheckError
from tests.gpu.trainings import get_half_precision


@pytest.mark.parametrize(
    ("device", "major", "precision"),
    [("cuda:0", 7, "fp16"), ("cuda:0", 8, "bf16"), ("cpu", 7, "bf16")],
)
def test_gpus_are_measured_in_their_16_bit_format(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: str, major: int, precision: str
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(major=major))
    context = CheckContext(device, tmp_path)
    assert get_half_precision(context) == precision
    half = torch.float16 if precision == "fp16" else torch.bfloat16
    assert peers.get_half_dtype(context) == half
    assert device == "cpu" or devices.get_dtype("auto", torch.device(device)) == half


def test_ways_that_are_not_measured_are_named_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = peers.TrainedRows([[{"input_ids": [1], "labels": [1]}] * 2])

    def measure(installed: tuple[str, ...]) -> object:
        find = {name: object() for name in installed}.get
        monkeypatch.setattr(peers.importlib.util, "find_spec", find)
        return peers.measure_way("Unsloth", tmp_path, rows, 1, tmp_path / "work")

    def fail(*_: Any) -> None:
        raise SystemExit("Unsloth failed:\nTraceback\nValueError: no GPU")

    monkeypatch.setattr(training, "measure", fail)
    assert measure(("trl",)) == "unsloth isn't installed"
    assert measure(("unsloth",)) == "trl isn't installed"
    assert measure(("unsloth", "trl")) == "failed: ValueError: no GPU"


def test_unsloth_is_compared_in_processes_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[str] = []
    ways: list[tuple[str, bool]] = []

    def measure(way: str, *_: Any, is_4bit: bool) -> str | dict[str, float]:
        ways.append((way, is_4bit))
        speed = {"tokens/s": 100.0 if is_4bit else 50.0, "peak": 2e9}
        return "trl isn't installed" if way == "TRL" else speed

    def perform(command: commands.Train) -> list[events.Event]:
        trained.append(command.run)
        steps = [
            events.StepDone(
                step=step, steps=6, epoch=1.0, loss=2.0, learning_rate=1e-4, grad_norm=1.0, tokens=80,
                tokens_per_s=80.0 if trained[-1] == "peft" else 90.0, memory_bytes=1 << 30,
            )
            for step in range(1, 7)
        ]  # fmt: skip
        return [*steps, events.Done()]

    monkeypatch.setattr(worker, "perform", perform)
    monkeypatch.setattr(peers, "write_model", lambda *_: tmp_path)
    monkeypatch.setattr(peers.TrainedRows, "read", lambda _: None)
    monkeypatch.setattr(peers, "measure_way", measure)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: object())
    monkeypatch.setattr(
        speed, "create_run", lambda *_, backend, **__: SimpleNamespace(path=backend)
    )
    monkeypatch.setattr(peers, "release_gpu", lambda: None)
    context = CheckContext("cpu", tmp_path)
    speed.compare_unsloth(context)
    assert trained == ["peft", "unsloth"] * 2
    assert ways == [("Unsloth", False), ("TRL", False), ("Unsloth", True), ("TRL", True)]
    assert context.figures["1B bf16: TRL's recipe"] == "trl isn't installed"
    assert context.figures["8B 4bit: Unsloth backend"] == "90 tokens/s, peak 1.07 GB"
    assert context.failures == ["8B 4bit: Unsloth's recipe is faster"]


@pytest.mark.parametrize(
    ("norm", "failures"), [(1.0, []), (0.6, ["two ranks: gradient norms differ by 40.0%"])]
)
def test_ranks_that_train_alone_have_other_gradients(
    tmp_path: Path, norm: float, failures: list[str]
) -> None:
    def train(norm: float) -> Any:
        steps = [SimpleNamespace(step=step, loss=2.0, grad_norm=norm) for step in (1, 2)]
        return SimpleNamespace(of=lambda _: steps)

    context = CheckContext("cuda:0", tmp_path)
    distributed.compare_with_one_process(context, "two ranks", train(norm), train(1.0))
    assert context.failures == failures


@pytest.mark.parametrize(
    ("names", "ratio", "failures"),
    [
        (["H100", "H100"], 1.9, 0),
        (["H100", "T4", "H100"], 1.7, 1),
        (["H100", "T4"], None, 0),
        (["H100"], None, 0),
    ],
)
def test_two_gpus_of_a_kind_are_compared_with_one(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    names: list[str],
    ratio: float | None,
    failures: int,
) -> None:
    used: list[str] = []

    def train(context: CheckContext, *_: Any, **__: Any) -> tuple[None, float]:
        used.append(context.device)
        return None, 100.0 * (ratio or 1) if "," in context.device else 100.0

    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(names))
    monkeypatch.setattr(torch.cuda, "get_device_name", names.__getitem__)
    monkeypatch.setattr(speed, "train_shape", train)
    monkeypatch.setattr(speed, "get_tokens_per_s", lambda channel: channel)
    context = CheckContext("cuda:0", tmp_path)
    if ratio is None:
        with pytest.raises(UnavailableCheckError, match="two GPUs of the same model"):
            speed.compare_two_gpus(context)
        return
    speed.compare_two_gpus(context)
    assert used == ["cuda:0", f"cuda:0,cuda:{len(names) - 1}"]
    assert len(context.failures) == failures
