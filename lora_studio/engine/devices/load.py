"""Utilization and temperature of a device, measured in the background without slowing down the work."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    import torch
from collections import Counter
from contextlib import suppress
from functools import cache
from typing import Any

from lora_studio.core.protocol.model import DeviceProgram
from lora_studio.core.system.nvml import Nvml

#: Shortest time between two measurements, in seconds.
INTERVAL = 1.0

#: A measurement, by the names of the fields of `events.StepDone`.
Load = dict[str, float]


class DeviceLoad:
    """Measure a device in the background and hold its last measurement.

    Reading the last measurement starts the next one when it is due. It runs in a short-lived
    thread, because querying a driver can take longer than a step. What can't be measured is left
    out.
    """

    def __init__(self, device: torch.device, read: Callable[[], Load] | None = None) -> None:
        """Take `read`, which measures once; the default depends on the device."""
        self._read = read or _create_reader(device)
        self._last: Load = {}
        self._begun = float("-inf")
        self._thread: threading.Thread | None = None

    def get_latest(self) -> Load:
        """Return the last measurement without waiting; {} before the first one."""
        now = time.monotonic()
        if now - self._begun >= INTERVAL and (self._thread is None or not self._thread.is_alive()):
            self._begun = now
            self._thread = threading.Thread(target=self._measure, name="device load", daemon=True)
            self._thread.start()
        return self._last

    def _measure(self) -> None:
        self._last = self._read()


def _create_reader(device: torch.device) -> Callable[[], Load]:
    if device.type == "cuda":
        return lambda: read_gpu_load(device)
    if device.type == "cpu":
        return _create_process_reader()
    return dict  # only administrators can read the load of an Apple GPU


def read_gpu_load(device: torch.device) -> Load:
    """Return the load of a GPU from NVML, or from AMD SMI through torch.

    Torch assumes that NVIDIA's cards have the same order as in CUDA.
    """
    import torch

    if load := read_load(device.index or 0):
        return load
    for name, ask in (
        ("gpu_percent", torch.cuda.utilization),
        ("gpu_celsius", torch.cuda.temperature),
    ):
        try:
            load[name] = float(ask(device))
        except Exception:
            # Libraries of two vendors with errors of their own: not installed, no such sensor, a
            # slice of a card. None of these may disturb a training.
            continue
    return load


def _create_process_reader() -> Callable[[], Load]:
    process, cores = psutil.Process(), psutil.cpu_count() or 1
    process.cpu_percent()  # the first answer is 0: it is counted from here

    def read() -> Load:
        return {"cpu_percent": min(100.0, process.cpu_percent() / cores)}

    return read


# NVML's values of the card with a given PyTorch index.
#
# NVML numbers cards by slot and CUDA the fastest first, so cards are matched by UUID.


def get_uuid(index: int) -> str:
    """Return the UUID of the card with a PyTorch index; "" if it has none."""
    import torch

    return str(getattr(torch.cuda.get_device_properties(index), "uuid", ""))


@cache
def get_card(index: int) -> tuple[Nvml, Any]:
    """Return NVML and its handle of a card or a MIG slice; the handle is None if it is unknown."""
    nvml = Nvml()
    return nvml, nvml.find_card(get_uuid(index)) if nvml.library is not None else None


def get_free_bytes(index: int) -> int | None:
    """Return the free memory of a card in bytes; None if NVML can't tell."""
    nvml, card = get_card(index)
    memory = None if card is None else nvml.read_memory(card)
    return None if memory is None else int(memory.free)


def list_programs(index: int) -> tuple[DeviceProgram, ...]:
    """Return the programs that have memory of a card, the largest first.

    Processes of one program count together.
    """
    nvml, card = get_card(index)
    sizes: Counter[str] = Counter()
    for pid, size in (nvml.list_processes(card) if card is not None else {}).items():
        with suppress(psutil.Error):
            sizes[_get_program_name(pid)] += size
    return tuple(DeviceProgram(name=name, bytes=size) for name, size in sizes.most_common())


def _get_program_name(pid: int) -> str:
    """Return the name of a process's program; workers of this app are called like it, not Python."""
    process = psutil.Process(pid)
    with suppress(psutil.Error):  # another user's
        if any(part.startswith("lora_studio") for part in process.cmdline()):
            return "LoRA Studio"
    return process.name()


def read_load(index: int) -> dict[str, float]:
    """Return utilization in percent and temperature in °C, without what NVML can't tell."""
    nvml, card = get_card(index)
    if card is None:
        return {}
    load = {"gpu_percent": nvml.read_utilization(card), "gpu_celsius": nvml.read_celsius(card)}
    return {name: float(value) for name, value in load.items() if value is not None}
