"""Models to read or answer with: on the CPU where a GPU is too small for them."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from lora_studio.core.model.spec import ModelSpec
from lora_studio.core.protocol import events
from lora_studio.engine.devices import devices, load
from lora_studio.engine.model import loading, safetensors_files
from lora_studio.engine.model.loading import run_where_it_fits
from tests.engine.conftest import TinyModel
from tests.helpers.runs.jobs import RecordingChannel, make_job


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """A made-up GPU with room for any model."""
    memory = {"free": 1 << 40}

    def choose(wanted: str) -> torch.device:
        return torch.device(wanted.replace("auto", "cuda:0").partition(",")[0])

    monkeypatch.setattr(devices, "choose_device", choose)
    monkeypatch.setattr(load, "get_free_bytes", lambda _: memory["free"])
    monkeypatch.setattr(devices, "list_supported_gpus", lambda: [0])
    facts = SimpleNamespace(total_memory=24 << 30)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: facts)
    return memory


@pytest.mark.usefixtures("gpu")
def test_model_that_fits_is_used_on_the_gpu(tiny: TinyModel) -> None:
    spec = ModelSpec(source=str(tiny("llama3")), device="cuda:0")
    assert run_where_it_fits(spec, make_job(), lambda placed: placed) == spec


def test_model_larger_than_the_free_memory_is_not_loaded_there(
    tiny: TinyModel, gpu: dict[str, int]
) -> None:
    gpu["free"] = 1 << 10
    channel = RecordingChannel()
    tried: list[str] = []
    spec = ModelSpec(source=str(tiny("llama3")))
    run_where_it_fits(spec, make_job(channel), lambda placed: tried.append(placed.device))
    assert tried == ["cpu"]
    message = str(channel.last(events.LogLine).text)
    assert "only 1 KiB of 24 GiB is free. The CPU is used" in message


def test_model_that_fits_on_the_named_gpus_together_uses_them(
    tiny: TinyModel, gpu: dict[str, int]
) -> None:
    source = str(tiny("llama3"))
    bytes_in_16_bits = 2 * safetensors_files.count_parameters(tiny("llama3"))
    gpu["free"] = int(0.7 * bytes_in_16_bits)
    for device, used in (("cuda:0", "cpu"), ("cuda:0,cuda:1", "cuda:0,cuda:1")):
        spec = ModelSpec(source=source, device=device)
        assert run_where_it_fits(spec, make_job(), lambda placed: placed.device) == used


class _Model:
    """A model that refers to itself, as models with hooks do."""

    def __init__(self) -> None:
        self.itself = self


@pytest.mark.usefixtures("gpu")
def test_dropped_model_leaves_its_memory_to_the_next(
    tiny: TinyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def count_free(_: int) -> int:
        return 1 << 10 if dropped() is not None else 1 << 40

    monkeypatch.setattr(load, "get_free_bytes", count_free)
    spec = ModelSpec(source=str(tiny("llama3")), device="cuda:0")
    gc.disable()
    try:
        dropped = weakref.ref(_Model())
        assert run_where_it_fits(spec, make_job(), lambda placed: placed.device) == "cuda:0"
    finally:
        gc.enable()


@pytest.mark.usefixtures("gpu")
def test_gpu_out_of_memory_repeats_the_work_on_the_cpu(tiny: TinyModel) -> None:
    tried: list[ModelSpec] = []

    def use(placed: ModelSpec) -> str:
        tried.append(placed)
        if placed.device != "cpu":
            raise torch.OutOfMemoryError("CUDA out of memory")
        return "answer"

    spec = ModelSpec(source=str(tiny("llama3")), device="cuda:0")
    assert run_where_it_fits(spec, make_job(), use) == "answer"
    assert [placed.device for placed in tried] == ["cuda:0", "cpu"]
    assert tried[1].precision == "fp32"


@pytest.mark.usefixtures("gpu")
def test_model_for_the_cpu_waits_for_no_gpu(tiny: TinyModel) -> None:
    def wait() -> AbstractContextManager[None]:
        pytest.fail("waited for a GPU")

    spec = ModelSpec(source=str(tiny("llama3")), device="cpu")
    used = run_where_it_fits(spec, make_job(), lambda placed: placed.device, on_gpu=wait)
    assert used == "cpu"


def test_gpu_is_waited_for_before_its_memory_is_read(tiny: TinyModel, gpu: dict[str, int]) -> None:
    @contextmanager
    def wait() -> Iterator[None]:
        gpu["free"] = 1 << 40  # another job has ended
        yield

    gpu["free"] = 0
    spec = ModelSpec(source=str(tiny("llama3")), device="cuda:0")
    used = run_where_it_fits(spec, make_job(), lambda placed: placed.device, on_gpu=wait)
    assert used == "cuda:0"


@pytest.mark.usefixtures("gpu")
def test_cpu_with_little_memory_gets_16_bit_weights(
    tiny: TinyModel, gpu: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu["free"] = 0
    monkeypatch.setattr(loading, "widen_on_cpu", lambda spec, _: spec)
    spec = ModelSpec(source=str(tiny("llama3")))
    assert run_where_it_fits(spec, make_job(), lambda placed: placed).precision == "bf16"


@pytest.mark.usefixtures("gpu")
def test_other_errors_on_the_gpu_are_not_hidden(tiny: TinyModel) -> None:
    def use(_: Any) -> None:
        raise ValueError("damaged")

    with pytest.raises(ValueError, match="damaged"):
        run_where_it_fits(ModelSpec(source=str(tiny("llama3"))), make_job(), use)
