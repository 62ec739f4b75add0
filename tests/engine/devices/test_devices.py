"""What is asked of GPUs and which of several is meant, with a driver and cards that are made up."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from accelerate import Accelerator

from lora_studio.core.model.spec import ModelSpec
from lora_studio.core.protocol import commands, events
from lora_studio.engine.devices import (
    devices as device,
)
from lora_studio.engine.devices import (
    load as device_load,
)
from lora_studio.engine.devices import (
    lock,
    nvml,
)
from lora_studio.engine.model import loading
from lora_studio.engine.runtime.failures import is_out_of_memory
from lora_studio.engine.training import random_state, training_setup
from lora_studio.engine.training.distributed import sharding
from lora_studio.engine.training.memory.capture import capture_oom
from tests.engine.conftest import TinyModel
from tests.helpers.jobs import handle, make_job, new_run, write_rows

GIB = 1 << 30


class Driver:
    """NVIDIA's library, which knows cards by their slot: the old one first."""

    NVML_TEMPERATURE_GPU = 0

    class NVMLError(Exception):
        """What it raises."""

    def __init__(self, *identifiers: str) -> None:
        self.identifiers = identifiers

    def nvmlInit(self) -> None:
        """Works."""

    def nvmlDeviceGetHandleByUUID(self, identifier: str) -> int:
        if identifier not in self.identifiers:
            raise self.NVMLError("Not Found")
        return self.identifiers.index(identifier)

    def nvmlDeviceGetMemoryInfo(self, card: int) -> SimpleNamespace:
        return SimpleNamespace(free=(card + 1) * GIB)

    def nvmlDeviceGetUtilizationRates(self, card: int) -> SimpleNamespace:
        if self.identifiers[card].startswith("MIG"):
            raise self.NVMLError("Not Supported")
        return SimpleNamespace(gpu=10 * (card + 1))

    def nvmlDeviceGetTemperature(self, card: int, kind: int) -> int:
        return 40 + card


@pytest.fixture
def _two_cards(monkeypatch: pytest.MonkeyPatch) -> Any:
    """CUDA numbers the fast one first, and whoever asks it about memory begins to use the card."""
    cards = [
        SimpleNamespace(name="Fast", uuid="ff", major=9, total_memory=24 * GIB),
        SimpleNamespace(name="Old", uuid="00", major=7, total_memory=8 * GIB),
    ]

    def about(card: Any) -> Any:
        return cards[torch.device(card).index if isinstance(card, torch.device) else card]

    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(cards))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_properties", about)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda card: pytest.fail("begins to use it"))
    monkeypatch.setitem(sys.modules, "pynvml", Driver("GPU-00", "GPU-ff"))
    nvml.card.cache_clear()
    yield
    nvml.card.cache_clear()


@pytest.mark.usefixtures("_two_cards")
def test_cards_are_known_by_their_identifiers_and_looked_at_without_using_them() -> None:
    fast, old, _ = device.list_devices().devices
    assert (fast.name, fast.title, fast.free_bytes, fast.precision) == ("cuda:0", "Fast", 2 * GIB, "bf16")  # fmt: skip
    assert (old.name, old.title, old.free_bytes, old.precision) == ("cuda:1", "Old", GIB, "fp16")
    assert (fast.identifier, old.identifier) == ("ff", "00")
    assert device_load._of_gpu(torch.device("cuda", 0)) == {"gpu_percent": 20.0, "gpu_celsius": 41.0}  # fmt: skip
    assert device_load._of_gpu(torch.device("cuda", 1)) == {"gpu_percent": 10.0, "gpu_celsius": 40.0}  # fmt: skip


@pytest.mark.usefixtures("_two_cards")
def test_a_slice_of_a_card_tells_its_memory_and_no_load(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", Driver("GPU-00", "MIG-ff"))
    assert nvml.free_bytes(0) == 2 * GIB
    assert nvml.read_load(0) == {"gpu_celsius": 41.0}


@pytest.mark.usefixtures("_two_cards")
def test_a_card_that_the_driver_does_not_know_is_asked_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", Driver())
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda card: (3 * GIB, 9 * GIB))
    assert device.list_devices().devices[1].free_bytes == 3 * GIB
    assert nvml.read_load(0) == {}


@pytest.mark.usefixtures("_two_cards")
def test_a_device_that_is_left_open_takes_every_gpu_since_layers_go_to_all() -> None:
    assert [each.title for each in lock.lockable_devices(ModelSpec(device="auto"))] == [
        "Fast",
        "Old",
    ]
    assert [each.title for each in lock.lockable_devices(ModelSpec(device="cuda:1"))] == ["Old"]
    assert [each.title for each in lock.lockable_devices(ModelSpec(device="cuda"))] == ["Fast"]


@pytest.mark.usefixtures("_two_cards")
def test_weights_are_divided_where_they_do_not_fit_the_gpus_that_take_part(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(loading, "resolve", lambda *_: None)
    monkeypatch.setattr(loading, "read_config", lambda *_: None)
    monkeypatch.setattr(loading, "prequantized", lambda *_: None)
    monkeypatch.setattr(loading, "on_meta", lambda *_: None)
    monkeypatch.setattr(loading, "weight_bytes", lambda *_: {"bf16": 10 * GIB, "fp16": 10 * GIB})

    def settled(own: str, *names: str) -> str:
        return sharding.decide_sharding(ModelSpec(device=own), names, 2, make_job()).sharding

    assert settled("cuda:0,cuda:0", "cuda:0", "cuda:0") == "replicate"
    assert settled("cuda:0", "cuda:0", "cuda:1") == "shard"
    assert settled("cuda:1", "cuda:0", "cuda:1") == "shard"  # the same on every rank
    assert settled("cuda:0") == "shard"  # of a cluster: all that the node has


def test_quantised_weights_train_on_any_gpu(
    tiny: TinyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """accelerate, which takes the first GPU for its own, refuses to prepare them on another one."""

    class OnTheFirst(Accelerator):
        device = torch.device("cuda")

    own = loading.load

    def load(*about: Any, **how: Any) -> loading.LoadedModel:
        loaded = own(*about, **how)
        loaded.model.is_loaded_in_4bit, loaded.model.hf_device_map = True, {"": 1}
        with pytest.raises(ValueError, match="different device"):
            OnTheFirst(cpu=True).prepare_model(loaded.model, device_placement=False)
        return loaded

    monkeypatch.setattr(loading, "load", load)
    monkeypatch.setattr(training_setup, "Accelerator", OnTheFirst)
    rows = [{"instruction": f"What is {n}?", "output": f"It is {n}."} for n in range(6)]
    run = new_run(
        tmp_path,
        model={"source": str(tiny("llama3")), "precision": "fp32", "device": "cpu"},
        dataset={
            "sources": [str(write_rows(tmp_path / "rows.jsonl", rows))],
            "validation_share": 0.0,
        },
        training={"max_steps": 1},
    )
    channel = handle(commands.Train(run=str(run.path)))
    assert channel.of(events.Done), channel.events[-1]


class Cuda:
    """GPUs whose random numbers are a number each."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, current: int, *states: int) -> None:
        self.states = [torch.tensor(state) for state in states]
        monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: len(self.states))
        monkeypatch.setattr(torch.cuda, "current_device", lambda: current)
        monkeypatch.setattr(torch.cuda, "get_rng_state_all", lambda: list(self.states))
        monkeypatch.setattr(torch.cuda, "set_rng_state_all", self._set_all)
        monkeypatch.setattr(torch.cuda, "set_rng_state", self._set)

    def _set_all(self, states: list[torch.Tensor]) -> None:
        self.states = list(states)

    def _set(self, state: torch.Tensor, index: int) -> None:
        self.states[index] = state


@pytest.mark.parametrize(
    ("current", "here", "after"),
    [
        (1, (0, 0), [5, 7]),  # the same machine
        (0, (0, 0), [7, 7]),  # the other card of it
        (0, (0,), [7]),  # another machine
        (2, (0, 0, 0), [0, 0, 7]),
    ],
)
def test_dropout_goes_on_with_its_numbers_whichever_gpu_it_goes_on_with(
    monkeypatch: pytest.MonkeyPatch, current: int, here: tuple[int, ...], after: list[int]
) -> None:
    Cuda(monkeypatch, 1, 5, 7)
    saved = random_state.get_random_state()
    now = Cuda(monkeypatch, current, *here)
    random_state.set_random_state(saved)
    assert [int(state) for state in now.states] == after


def test_a_training_on_the_processor_asks_no_gpu_for_its_numbers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_rng_state_all", lambda: pytest.fail("begins to use it"))
    saved = random_state.get_random_state()
    drawn = torch.rand(3)
    random_state.set_random_state(saved | {"cuda": [torch.tensor(1)]})  # begun on a GPU
    assert torch.equal(torch.rand(3), drawn)


def test_dropout_on_an_apple_gpu_goes_on_with_its_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    held = {"state": torch.tensor([3])}
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.mps, "get_rng_state", lambda: held["state"])
    monkeypatch.setattr(torch.mps, "set_rng_state", lambda state: held.update(state=state))
    saved = random_state.get_random_state()
    held["state"] = torch.tensor([9])
    random_state.set_random_state(saved)
    assert held["state"] == torch.tensor([3])


@pytest.mark.parametrize(
    "said",
    [
        "CUDA out of memory. Tried to allocate 20.00 MiB.",
        "CUDA error: out of memory",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`",
        "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
        "HIP out of memory. Tried to allocate 1.00 GiB",
        "MPS backend out of memory (MPS allocated: 8.00 GB)",
        "Invalid buffer size: 20.00 GiB",
        "Triton Error [CUDA]: out of memory",
        "[enforce fail at alloc_cpu.cpp:115] DefaultCPUAllocator: can't allocate memory",
    ],
)
def test_memory_that_ran_out_is_known_whoever_says_so(said: str) -> None:
    assert is_out_of_memory(RuntimeError(said))


@pytest.mark.parametrize(
    "said",
    [
        "CUDA error: an illegal memory access was encountered",
        "CUDA error: device-side assert triggered",
        "CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasSgemm( handle )`",
        "out of resource: shared memory, Required: 180224, Hardware limit: 101376",
    ],
)
def test_other_faults_of_a_gpu_are_not_taken_for_it(said: str) -> None:
    assert not is_out_of_memory(RuntimeError(said))


def test_memory_that_ran_out_between_ranks_is_no_reason_to_go_on_alone() -> None:
    def sends() -> None:
        raise torch.distributed.DistBackendError("NCCL error: Cuda failure 'out of memory'")

    with pytest.raises(torch.distributed.DistBackendError):
        capture_oom(sends)
