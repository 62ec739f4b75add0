"""Device load: measured in the background, at most once a second, left out where unknown."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace

import pytest
import torch

from lora_studio.engine.devices import load as device_load
from lora_studio.engine.devices.load import DeviceLoad, Load

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
