"""GPU queries and the choice among several GPUs, with a fake driver and fake cards."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import torch
from accelerate import Accelerator

from lora_studio.core.memory.weights import spread_over_gpus
from lora_studio.core.model.spec import ModelSpec
from lora_studio.core.protocol import commands, events
from lora_studio.core.system import locks as locks_module
from lora_studio.core.system.locks import DeviceIdentity, LockHolder
from lora_studio.engine.devices import (
    devices as device,
)
from lora_studio.engine.devices import (
    load as device_load,
)
from lora_studio.engine.devices import lock as device_lock
from lora_studio.engine.devices import ranks
from lora_studio.engine.devices.load import DeviceLoad, Load
from lora_studio.engine.devices.oom_capture import capture_oom
from lora_studio.engine.model import loading
from lora_studio.engine.runtime.channel import Flags
from lora_studio.engine.runtime.failures import is_out_of_memory
from tests.engine.conftest import TinyModel
from tests.helpers.models import plans
from tests.helpers.runs.jobs import handle, new_run, write_rows

GIB = 1 << 30


class Driver:
    """NVIDIA's management library, which orders cards by PCI slot: the old one first."""

    NVML_TEMPERATURE_GPU = 0

    class NVMLError(Exception):
        """The library's exception."""

    def __init__(self, *identifiers: str) -> None:
        self.identifiers = identifiers

    def nvmlInit(self) -> None:
        """Do nothing."""

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
def two_cards(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Two fake GPUs. CUDA orders the fast one first; asking CUDA for memory would create a context."""
    cards = [
        SimpleNamespace(name="Fast", uuid="ff", major=9, total_memory=24 * GIB),
        SimpleNamespace(name="Old", uuid="00", major=7, total_memory=8 * GIB),
    ]

    def about(card: Any) -> Any:
        return cards[torch.device(card).index if isinstance(card, torch.device) else card]

    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(cards))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_properties", about)
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: ["sm_70", "sm_80", "sm_90"])
    monkeypatch.setattr(
        torch.cuda, "mem_get_info", lambda card: pytest.fail("creates a CUDA context")
    )
    monkeypatch.setitem(sys.modules, "pynvml", Driver("GPU-00", "GPU-ff"))
    device_load.get_card.cache_clear()
    device.choose_gpu.cache_clear()
    yield cards
    device_load.get_card.cache_clear()
    device.choose_gpu.cache_clear()


@pytest.mark.usefixtures("two_cards")
def test_gpu_details_come_from_nvml_without_using_the_gpu() -> None:
    fast, old, _ = device.list_devices().devices
    assert (fast.name, fast.title, fast.free_bytes, fast.precision) == ("cuda:0", "Fast", 2 * GIB, "bf16")  # fmt: skip
    assert (old.name, old.title, old.free_bytes, old.precision) == ("cuda:1", "Old", GIB, "fp16")
    assert (fast.identifier, old.identifier) == ("ff", "00")
    assert device_load.read_gpu_load(torch.device("cuda", 0)) == {"gpu_percent": 20.0, "gpu_celsius": 41.0}  # fmt: skip
    assert device_load.read_gpu_load(torch.device("cuda", 1)) == {"gpu_percent": 10.0, "gpu_celsius": 40.0}  # fmt: skip


@pytest.mark.usefixtures("two_cards")
def test_programs_with_gpu_memory_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    worker = subprocess.Popen(
        [sys.executable, "-c", "print(flush=True); input()", "lora_studio.engine"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert worker.stdout
    worker.stdout.readline()  # until it runs, it has no command line
    own, gone = os.getpid(), 2**22 + 1
    processes = {
        "nvmlDeviceGetComputeRunningProcesses": [
            (own, 5 * GIB),
            (gone, GIB),
            (worker.pid, 2 * GIB),
        ],
        "nvmlDeviceGetGraphicsRunningProcesses": [(os.getppid(), None)],  # as on Windows
    }
    driver = Driver("GPU-00", "GPU-ff")
    for name, found in processes.items():
        answer = [SimpleNamespace(pid=pid, usedGpuMemory=size) for pid, size in found]
        monkeypatch.setattr(driver, name, lambda _, answer=answer: answer, raising=False)
    monkeypatch.setitem(sys.modules, "pynvml", driver)
    programs = device.list_devices().devices[0].programs
    worker.communicate(b"\n")
    own_name = psutil.Process(own).name()
    assert [(each.name, each.bytes) for each in programs] == [
        (own_name, 5 * GIB),
        ("LoRA Studio", 2 * GIB),
    ]


@pytest.mark.usefixtures("two_cards")
def test_mig_slice_reports_memory_but_no_utilization(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", Driver("GPU-00", "MIG-ff"))
    assert device_load.get_free_bytes(0) == 2 * GIB
    assert device_load.read_load(0) == {"gpu_celsius": 41.0}


@pytest.mark.usefixtures("two_cards")
def test_gpu_unknown_to_nvml_reports_memory_through_cuda(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", Driver())
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda card: (3 * GIB, 9 * GIB))
    assert device.list_devices().devices[1].free_bytes == 3 * GIB
    assert device_load.read_load(0) == {}


@pytest.mark.parametrize(
    ("free", "majors", "chosen"),
    [
        pytest.param((2, 20), (9, 9), "cuda:1", id="the first is in use by other programs"),
        pytest.param((20, 20), (9, 9), "cuda:0", id="equal cards"),
        pytest.param((20, 8), (7, 8), "cuda:1", id="the larger one lacks bfloat16"),
    ],
)
def test_auto_means_the_gpu_with_most_free_memory(
    two_cards: Any,
    monkeypatch: pytest.MonkeyPatch,
    free: tuple[int, int],
    majors: tuple[int, int],
    chosen: str,
) -> None:
    for card, major in zip(two_cards, majors, strict=True):
        card.major = major
    monkeypatch.setattr(device_load, "get_free_bytes", lambda index: free[index] * GIB)
    assert str(device.choose_device("auto")) == chosen
    assert device.list_devices().devices[0].name == chosen
    monkeypatch.setattr(
        device_load, "get_free_bytes", lambda index: 0
    )  # this process has filled it
    assert str(device.choose_device("auto")) == chosen


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        pytest.param(["sm_75", "sm_90", "compute_90"], "cuda:0", id="both"),
        pytest.param(["sm_50", "sm_70"], "cuda:1", id="only the older card"),
        pytest.param([], "cuda:0", id="unknown"),
    ],
)
@pytest.mark.usefixtures("two_cards")
def test_auto_avoids_gpus_that_the_build_has_no_code_for(
    monkeypatch: pytest.MonkeyPatch, names: list[str], chosen: str
) -> None:
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: names)
    assert str(device.choose_device("auto")) == chosen


@pytest.mark.parametrize(
    ("setting", "weights", "spread"),
    [
        pytest.param("auto", 1, False, id="fits one"),
        pytest.param("auto", 2, True, id="larger than 70 % of the free memory"),
        pytest.param("cuda:0", 100, False, id="one GPU by name"),
        pytest.param("cuda:0,cuda:1", 1, False, id="fits the first of several by name"),
        pytest.param("cuda:0,cuda:1", 2, True, id="several by name"),
    ],
)
@pytest.mark.usefixtures("two_cards")
def test_layers_are_spread_only_where_no_gpu_has_room(
    setting: str, weights: int, spread: bool
) -> None:
    chosen = device.choose_device(setting)
    spec = ModelSpec(device=setting)
    assert loading.should_spread(spec, chosen, lambda: weights * GIB) == spread


@pytest.mark.usefixtures("two_cards")
def test_estimate_counts_all_gpus_only_where_layers_are_spread() -> None:
    found = device.list_devices()
    large = spread_over_gpus(replace(plans.plan(), device=found.devices[0]), found)
    few = large.inspected.model_copy(update={"parameters": GIB // 2})
    small = replace(large, device=found.devices[0], inspected=few)
    assert spread_over_gpus(small, found).device == found.devices[0]
    assert large.device.free_bytes == 3 * GIB
    named = replace(large, device=found.devices[0], model=ModelSpec(device="cuda:0"))
    assert spread_over_gpus(named, found).device == found.devices[0]


def test_training_does_not_ask_accelerate_about_gpus(
    tiny: TinyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Accelerate refuses several RTX 40 cards with an older driver, even to train on one of them."""

    def refuse(*_: Any, **__: Any) -> None:
        raise NotImplementedError("Using RTX 4000 series doesn't support faster communication")

    monkeypatch.setattr(Accelerator, "__init__", refuse)
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
    """Fake GPUs whose random state is one number each."""

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
        (0, (0, 0), [7, 7]),  # its other GPU
        (0, (0,), [7]),  # another machine
        (2, (0, 0, 0), [0, 0, 7]),
    ],
)
def test_random_state_is_restored_for_the_gpu_in_use(
    monkeypatch: pytest.MonkeyPatch, current: int, here: tuple[int, ...], after: list[int]
) -> None:
    Cuda(monkeypatch, 1, 5, 7)
    saved = ranks.get_random_state()
    now = Cuda(monkeypatch, current, *here)
    ranks.set_random_state(saved)
    assert [int(state) for state in now.states] == after


def test_cpu_training_does_not_touch_gpu_random_state(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(
        torch.cuda, "get_rng_state_all", lambda: pytest.fail("creates a CUDA context")
    )
    saved = ranks.get_random_state()
    drawn = torch.rand(3)
    ranks.set_random_state(saved | {"cuda": [torch.tensor(1)]})  # saved on a GPU
    assert torch.equal(torch.rand(3), drawn)


def test_sums_are_64_bit_where_the_device_has_it() -> None:
    dtypes = [device.get_widest_float(torch.device(name)) for name in ("cpu", "cuda:1", "mps")]
    assert dtypes == [torch.float64, torch.float64, torch.float32]


def test_mps_random_state_is_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    held = {"state": torch.tensor([3])}
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.mps, "get_rng_state", lambda: held["state"])
    monkeypatch.setattr(torch.mps, "set_rng_state", lambda state: held.update(state=state))
    saved = ranks.get_random_state()
    held["state"] = torch.tensor([9])
    ranks.set_random_state(saved)
    assert held["state"] == torch.tensor([3])


@pytest.mark.parametrize(
    "message",
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
    ids=[
        "CUDA allocator",
        "CUDA error",
        "cuBLAS allocation",
        "cuBLAS handle",
        "cuDNN",
        "HIP",
        "MPS",
        "MPS buffer",
        "Triton",
        "CPU allocator",
    ],
)
def test_out_of_memory_message_is_recognized(message: str) -> None:
    assert is_out_of_memory(RuntimeError(message))


@pytest.mark.parametrize(
    "message",
    [
        "CUDA error: an illegal memory access was encountered",
        "CUDA error: device-side assert triggered",
        "CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasSgemm( handle )`",
        "out of resource: shared memory, Required: 180224, Hardware limit: 101376",
    ],
    ids=["illegal access", "device-side assert", "cuBLAS call", "shared memory"],
)
def test_other_gpu_error_is_not_out_of_memory(message: str) -> None:
    assert not is_out_of_memory(RuntimeError(message))


def test_nccl_out_of_memory_is_not_captured() -> None:
    def sends() -> None:
        raise torch.distributed.DistBackendError("NCCL error: Cuda failure 'out of memory'")

    with pytest.raises(torch.distributed.DistBackendError):
        capture_oom(sends)


GPU = DeviceIdentity("cuda-GPU-1", "RTX 4090")


def test_cpu_is_never_locked() -> None:
    assert device_lock.get_lockable_devices(ModelSpec(device="cpu:2")) == []


@pytest.fixture
def _gpu_in_use(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A machine with one GPU that a job of another project uses."""
    monkeypatch.setenv("LORA_STUDIO_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(device_lock, "get_lockable_devices", lambda model: [GPU])
    locks = locks_module.lock_devices([GPU], LockHolder("/p/bot/runs/r1", "training"), pytest.fail)
    yield
    for lock in locks:
        lock.release()


@pytest.mark.usefixtures("_gpu_in_use")
@pytest.mark.parametrize("wish", ["cancel", "pause"])
def test_training_waits_for_busy_gpu_until_canceled_or_paused(tmp_path: Path, wish: str) -> None:
    run = new_run(tmp_path, model={"source": "builtin:harbor-tiny"})

    def on_event(event: events.Event, flags: Flags) -> None:
        if isinstance(event, events.Progress) and "waiting" in str(event.stage):
            getattr(flags, wish).set()

    channel = handle(commands.Train(run=str(run.path)), on_event)
    problem = channel.last(events.Warned).problem
    assert str(problem.what) == "RTX 4090 is in use by r1 in /p/bot."
    assert str(channel.last(events.Progress).stage) == "waiting for RTX 4090"
    if wish == "cancel":
        assert isinstance(channel.events[-1], events.Cancelled)
    else:
        assert channel.last(events.Done).paused
    assert run.read_state() == ("stopped" if wish == "cancel" else "paused")


CPU = torch.device("cpu")


def measured(load: DeviceLoad) -> Load:
    until = time.monotonic() + 120
    while not (reading := load.get_latest()) and time.monotonic() < until:
        time.sleep(0.01)
    return reading


def wait_for_measurement() -> None:
    """Wait until no measurement is running."""
    for thread in threading.enumerate():
        if thread.name == "device load":
            thread.join()


def test_cpu_load_of_busy_process_is_at_most_100_percent() -> None:
    load = DeviceLoad(CPU)
    until = time.process_time() + 0.2
    while time.process_time() < until:
        sum(range(1000))
    reading = measured(load)
    assert set(reading) == {"cpu_percent"}
    assert 0 < reading["cpu_percent"] <= 100


def test_slow_driver_does_not_block_and_is_queried_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(device_load, "INTERVAL", 0.0)
    answered, queries = threading.Event(), []

    def read() -> Load:
        queries.append(time.monotonic())
        assert answered.wait(120)
        return {"gpu_percent": 97.0}

    load = DeviceLoad(CPU, read)
    begun = time.monotonic()
    for _ in range(200):
        assert load.get_latest() == {}
    assert time.monotonic() - begun < 100.0  # the driver answers after two minutes
    assert len(queries) == 1
    answered.set()
    assert measured(load) == {"gpu_percent": 97.0}


def test_measurements_are_at_least_a_second_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    queries, now = [], [100.0]
    monkeypatch.setattr(device_load, "time", SimpleNamespace(monotonic=lambda: now[0]))

    def read() -> Load:
        queries.append(1)
        return {"gpu_percent": 1.0}

    load = DeviceLoad(CPU, read)
    measured(load)
    wait_for_measurement()
    now[0] += 0.9
    load.get_latest()
    wait_for_measurement()
    assert len(queries) == 1
    now[0] += 0.2
    load.get_latest()
    wait_for_measurement()
    assert len(queries) == 2


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_gpu_without_driver_reports_no_load() -> None:
    assert device_load.read_gpu_load(torch.device("cuda", 0)) == {}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_gpu_reports_utilization_and_temperature() -> None:
    reading = device_load.read_gpu_load(torch.device("cuda", 0))
    assert 0 <= reading["gpu_percent"] <= 100
    assert 0 < reading["gpu_celsius"] < 120
