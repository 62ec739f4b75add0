"""Models of an evaluation share the GPU with other jobs: what is held, and what is freed when."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from lora_studio.core.chat import AdapterChatModel, FolderChatModel
from lora_studio.core.evaluation.columns import ServerModel
from lora_studio.core.model.spec import ModelSpec
from lora_studio.core.project.project import Project
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.system import locks
from lora_studio.core.system.locks import DeviceIdentity
from lora_studio.engine.devices import devices
from lora_studio.engine.devices import load as load_module
from lora_studio.engine.devices import lock as device_lock
from lora_studio.engine.evaluation import evaluation
from lora_studio.engine.evaluation.evaluation import RunnerFactory
from lora_studio.engine.evaluation.torch_runner import TorchModels, TorchRunner
from lora_studio.engine.model import loading
from tests.engine.conftest import TinyModel
from tests.helpers.runs.jobs import make_job

GPU = DeviceIdentity("cuda-GPU-1", "RTX 4090")


class WatchedModels(TorchModels):
    """Records whether the GPU was still held when a model was freed."""

    def __init__(self) -> None:
        super().__init__(make_job())
        self.held_at_release: list[bool] = []

    def release(self) -> None:
        self.held_at_release.append(locks.find_holder(GPU) is not None)
        super().release()


def make_runner(models: TorchModels, spec: ModelSpec) -> TorchRunner:
    tokenizer: Any = None
    return TorchRunner(models, spec, None, tokenizer, "hash")


def test_gpu_is_held_until_its_model_is_freed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LORA_STUDIO_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(device_lock, "get_lockable_devices", lambda model: [GPU])
    models = WatchedModels()
    for name in ("create_adapter_runner", "create_model_runner"):  # they read real models
        monkeypatch.setattr(evaluation, name, lambda *_: make_runner(models, ModelSpec()))
    factory = RunnerFactory(RunFolder(tmp_path), Project(name="bot"), models, models.job)
    for model in (AdapterChatModel(), FolderChatModel(folder="/models/merged")):
        with factory.open(model):
            pass
        assert locks.find_holder(GPU) is not None, "the next column may use the model"
    assert models.held_at_release == []
    with factory.open(ServerModel(address="http://127.0.0.1:1/v1", name="m")):
        assert locks.find_holder(GPU) is None
    assert models.held_at_release == [True]
    with factory.open(AdapterChatModel()):
        pass
    factory.release()
    assert models.held_at_release == [True, True]
    assert locks.find_holder(GPU) is None


@pytest.mark.parametrize("free", [0, 1 << 40], ids=["too small a GPU", "GPU"])
def test_gpu_is_given_back_by_a_model_on_the_cpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny: TinyModel, free: int
) -> None:
    monkeypatch.setenv("LORA_STUDIO_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(device_lock, "get_lockable_devices", lambda model: [GPU])
    chosen = {"auto": torch.device("cuda", 0), "cpu": torch.device("cpu")}
    monkeypatch.setattr(devices, "choose_device", chosen.__getitem__)
    monkeypatch.setattr(devices, "list_supported_gpus", lambda: [0])
    facts = SimpleNamespace(total_memory=24 << 30)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: facts)
    monkeypatch.setattr(load_module, "get_free_bytes", lambda _: free)
    load = loading.load

    def load_on_cpu(spec: ModelSpec, *arguments: Any) -> loading.LoadedModel:
        """Load on the CPU, and name the device of the spec."""
        loaded = load(spec.model_copy(update={"device": "cpu"}), *arguments)
        return replace(loaded, device=chosen[spec.device])

    monkeypatch.setattr(loading, "load", load_on_cpu)
    models = TorchModels(make_job())
    spec = ModelSpec(source=str(tiny("llama3")))
    monkeypatch.setattr(evaluation, "create_adapter_runner", lambda *_: make_runner(models, spec))
    factory = RunnerFactory(RunFolder(tmp_path), Project(name="bot"), models, models.job)
    keeps = bool(free)
    for held_before in (True, keeps):
        with factory.open(AdapterChatModel()) as runner:
            held = [locks.find_holder(GPU) is not None]
            assert list(runner.score([])) == []
            held.append(locks.find_holder(GPU) is not None)
        assert held == [held_before, keeps]
    factory.release()
    assert locks.find_holder(GPU) is None


def test_gpu_that_is_lost_is_given_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LORA_STUDIO_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(device_lock, "get_lockable_devices", lambda model: [GPU])
    models = TorchModels(make_job())
    runner = make_runner(models, ModelSpec())
    monkeypatch.setattr(evaluation, "create_adapter_runner", lambda *_: runner)

    def fail() -> None:
        raise RuntimeError("CUDA error: device-side assert triggered")

    monkeypatch.setattr(models, "release", fail)
    factory = RunnerFactory(RunFolder(tmp_path), Project(name="bot"), models, models.job)
    with factory.open(AdapterChatModel()):
        assert locks.find_holder(GPU) is not None
    with pytest.raises(RuntimeError, match="device-side"):
        factory.release()
    assert locks.find_holder(GPU) is None
