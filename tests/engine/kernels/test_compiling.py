"""torch.compile: used where it's faster, with a warning where it isn't possible."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from lora_studio.core.protocol import commands, events
from lora_studio.core.protocol.events import Event
from lora_studio.core.runs.folder import RunFolder
from lora_studio.engine.runtime.channel import Flags
from lora_studio.engine.training import kernel_choice
from tests.engine.conftest import TinyModel
from tests.helpers.runs.jobs import RecordingChannel, handle, make_job, new_run, write_rows


class Block(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mlp = torch.nn.Linear(4, 4)


def is_compiled(model: torch.nn.Module) -> bool:
    """Return whether any part is compiled; PyTorch has no public flag for it."""
    return any(part._compiled_call_impl is not None for part in model.modules())


def choose(monkeypatch: pytest.MonkeyPatch, model: torch.nn.Module, compiled_takes: float) -> tuple[bool, str]:  # fmt: skip
    """Return the choice and its message when a plain pass takes 10 ms and a compiled one this long."""
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self, **_: setattr(self, "_compiled_call_impl", self._call_impl))  # fmt: skip
    channel, now = RecordingChannel(), [0.0]
    monkeypatch.setattr(kernel_choice, "time", SimpleNamespace(monotonic=lambda: now[0]))

    def attempt() -> None:
        now[0] += compiled_takes if is_compiled(model) else 0.01

    return kernel_choice.compile_if_faster(model, attempt, make_job(channel)), str(
        channel.last(events.LogLine).text
    )


def test_faster_compiled_pass_is_used_and_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Block()
    result, message = choose(monkeypatch, model, 0.004)
    assert result
    assert is_compiled(model)
    assert "torch.compile is used: the longest micro-batch takes 0.00" in message


def test_slower_compiled_pass_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Block()
    result, message = choose(monkeypatch, model, 0.02)
    assert not result
    assert not is_compiled(model)
    assert "isn't faster" in message


def test_model_without_feed_forward_parts_gives_a_warning() -> None:
    channel = RecordingChannel()
    assert not kernel_choice.compile_if_faster(
        torch.nn.Linear(2, 2), lambda: None, make_job(channel)
    )
    assert channel.last(events.Warned).problem.code == "training.not_compiled"


def test_error_outside_the_compiler_is_raised() -> None:
    def attempt() -> None:
        raise ValueError("a fault of its own")

    with pytest.raises(ValueError, match="of its own"):
        kernel_choice.compile_if_faster(Block(), attempt, make_job())


@pytest.fixture
def start(tiny: TinyModel, tmp_path: Path) -> Callable[..., RunFolder]:
    rows = [{"instruction": f"What is {n}?", "output": f"It is {n}, said Pim."} for n in range(12)]
    file = write_rows(tmp_path / "rows.jsonl", rows)

    def make(**training: Any) -> RunFolder:
        recipe = {"epochs": 2, "micro_batch": 2, "gradient_accumulation": 2, "save_every": 2}
        return new_run(
            tmp_path,
            model={"source": str(tiny("llama3")), "precision": "fp32", "device": "cpu"},
            dataset={"sources": [str(file)], "validation_share": 0.0},
            training=recipe | {"learning_rate": 5e-3} | training,
            lora={"rank": 4, "alpha": 8},
        )

    return make


def losses(channel: RecordingChannel) -> dict[int, float]:
    return {event.step: event.loss for event in channel.of(events.StepDone)}


@pytest.mark.slow
@pytest.mark.thorough
@pytest.mark.filterwarnings("default")  # PyTorch emits warnings about itself while it compiles
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_compiled_training_has_the_same_curve_and_resumes(
    start: Callable[..., RunFolder], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel_choice, "_MIN_SPEEDUP", 0.0)  # however slow
    plain, unbroken, broken = start(), start(torch_compile="auto"), start(torch_compile="auto")
    train = lambda run, on=None, resume=False: handle(commands.Train(run=str(run.path), resume=resume), on)  # fmt: skip # noqa: E731
    expected = losses(train(plain))
    compiled = train(unbroken)
    assert [str(item.problem.what) for item in compiled.of(events.Warned)] == []
    result = losses(compiled)
    assert result == pytest.approx(expected, rel=1e-4)
    assert unbroken.read_manifest()["results"]["compiled"]

    def cancel(event: Event, flags: Flags) -> None:
        if isinstance(event, events.CheckpointSaved) and event.step == 2:
            flags.cancel.set()

    train(broken, cancel)
    resumed = train(broken, resume=True)
    assert not [event for event in resumed.of(events.LogLine) if "torch.compile" in str(event.text)]
    whole = load_file(unbroken.adapter / "adapter_model.safetensors")
    resumed_weights = load_file(broken.adapter / "adapter_model.safetensors")
    assert all(torch.equal(value, whole[name]) for name, value in resumed_weights.items())


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_training_without_a_compiler_continues_with_a_warning(
    start: Callable[..., RunFolder],
) -> None:
    import torch._inductor.config as settings

    torch.compiler.reset()
    with settings.patch({"cpp.cxx": ("/nowhere/g++",), "force_disable_caches": True}):
        channel = handle(commands.Train(run=str(start(torch_compile="auto").path)))
    assert channel.of(events.Done)
    result = [item.problem for item in channel.of(events.Warned)]
    assert [item.code for item in result] == ["training.not_compiled"]
    assert result[0].where.field == "torch_compile"


def test_passes_on_an_apple_gpu_are_timed_to_their_end(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[int] = []
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.mps, "synchronize", lambda: waits.append(1))
    kernel_choice._measure_fastest_seconds(lambda: None)
    assert len(waits) == kernel_choice._TIMED_PASSES
