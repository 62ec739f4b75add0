"""Models of an evaluation share the GPU with other jobs: what is held, and what is freed when."""

from __future__ import annotations

from pathlib import Path

import pytest

from lora_studio.core.chat import AdapterSpeaker, ModelSpeaker
from lora_studio.core.evaluation.columns import ServerModel
from lora_studio.core.project.project import Project
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.system import device_locks
from lora_studio.core.system.device_locks import DeviceIdentity
from lora_studio.engine.devices import lock as device_lock
from lora_studio.engine.evaluation import column_runners
from lora_studio.engine.evaluation.column_runners import RunnerFactory
from lora_studio.engine.evaluation.torch_runner import TorchModels
from tests.helpers.runs.jobs import make_job

GPU = DeviceIdentity("cuda-GPU-1", "RTX 4090")


class WatchedModels(TorchModels):
    """Records whether the GPU was still held when a model was freed."""

    def __init__(self) -> None:
        super().__init__(make_job())
        self.held_at_release: list[bool] = []

    def release(self) -> None:
        self.held_at_release.append(device_locks.find_holder(GPU) is not None)
        super().release()


def test_gpu_is_held_until_its_model_is_freed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LORA_STUDIO_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(device_lock, "get_lockable_devices", lambda model: [GPU])
    for name in ("create_adapter_runner", "create_model_runner"):  # they read real models
        monkeypatch.setattr(column_runners, name, lambda *_: None)
    models = WatchedModels()
    factory = RunnerFactory(RunFolder(tmp_path), Project(name="bot"), models, models.job)
    for model in (AdapterSpeaker(), ModelSpeaker(folder="/models/merged")):
        with factory.open(model):
            pass
        assert device_locks.find_holder(GPU) is not None, "the next column may use the model"
    assert models.held_at_release == []
    with factory.open(ServerModel(address="http://127.0.0.1:1/v1", name="m")):
        assert device_locks.find_holder(GPU) is None
    assert models.held_at_release == [True]
    with factory.open(AdapterSpeaker()):
        pass
    factory.release()
    assert models.held_at_release == [True, True]
    assert device_locks.find_holder(GPU) is None


def test_gpu_that_is_lost_is_given_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LORA_STUDIO_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(device_lock, "get_lockable_devices", lambda model: [GPU])
    monkeypatch.setattr(column_runners, "create_adapter_runner", lambda *_: None)
    models = TorchModels(make_job())

    def fail() -> None:
        raise RuntimeError("CUDA error: device-side assert triggered")

    monkeypatch.setattr(models, "release", fail)
    factory = RunnerFactory(RunFolder(tmp_path), Project(name="bot"), models, models.job)
    with factory.open(AdapterSpeaker()):
        assert device_locks.find_holder(GPU) is not None
    with pytest.raises(RuntimeError, match="device-side"):
        factory.release()
    assert device_locks.find_holder(GPU) is None
