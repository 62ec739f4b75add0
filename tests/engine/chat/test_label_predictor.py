"""Which device a classifier holds while it predicts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from lora_studio.core.system import locks
from lora_studio.core.system.locks import DeviceIdentity
from lora_studio.engine.chat import label_predictor
from lora_studio.engine.chat.label_predictor import LabelPredictor
from lora_studio.engine.devices import lock
from tests.helpers.runs.jobs import make_job, new_run

GPU = DeviceIdentity("cuda-GPU-1", "RTX 4090")


@pytest.mark.parametrize(("device", "is_held"), [("cpu", False), ("cuda:0", True)])
def test_classifier_on_the_cpu_holds_no_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: str, is_held: bool
) -> None:
    monkeypatch.setenv("LORA_STUDIO_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(lock, "get_lockable_devices", lambda model: [GPU])
    monkeypatch.setattr(LabelPredictor, "_held", None)
    monkeypatch.setattr(label_predictor, "require_classifier", lambda run: None)
    while_loading: list[bool] = []

    def load(*_: object) -> LabelPredictor:
        while_loading.append(locks.find_holder(GPU) is not None)
        part: Any = None
        return LabelPredictor(part, part, ("a",), part, torch.device(device), 8)

    monkeypatch.setattr(label_predictor, "_load", load)
    run = new_run(tmp_path)
    for _ in range(2):
        with label_predictor.open_predictor(run, make_job()):
            assert (locks.find_holder(GPU) is not None) == is_held
        assert locks.find_holder(GPU) is None
    assert while_loading == [True]
    if not is_held:  # a classifier in memory doesn't wait for a GPU either
        monkeypatch.setattr(lock, "hold_devices", lambda *_: pytest.fail("waits for a GPU"))
        with label_predictor.open_predictor(run, make_job()):
            pass
