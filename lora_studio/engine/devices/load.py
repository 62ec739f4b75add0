"""Utilization and temperature of a device, measured in the background without slowing down the work."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import psutil

from lora_studio.engine.devices import nvml

if TYPE_CHECKING:
    import torch

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

    if load := nvml.read_load(device.index or 0):
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
