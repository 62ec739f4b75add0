"""Adapters are read into main memory, not onto a GPU that the model may not be on."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import peft.peft_model
import pytest
import torch
from transformers import AutoModelForCausalLM

import lora_studio.engine
from lora_studio.core.lora.adapters import AdapterMix, WeightedAdapter
from lora_studio.engine.chat.adapters import AdapterSwitch
from tests.engine.conftest import TinyModel
from tests.helpers.models.tiny_models import random_adapter

_ENGINE = Path(lora_studio.engine.__file__).parent

#: PEFT's functions that read an adapter, by default onto the first GPU.
_LOADERS = ("PeftModel.from_pretrained", "load_adapter", "load_peft_weights")


@pytest.mark.filterwarnings("ignore:Already found a `peft_config` attribute:UserWarning")
def test_chat_on_the_cpu_leaves_a_gpu_alone(
    tiny: TinyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = tiny("llama3")
    folders = [random_adapter(base, tmp_path / name, seed=seed) for seed, name in enumerate("ab")]
    monkeypatch.setattr(peft.peft_model, "infer_device", lambda: "cuda")
    switch = AdapterSwitch(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32))
    for folder in folders:
        switch.to(AdapterMix(name="", adapters=(WeightedAdapter(folder=str(folder)),)))
    assert {value.device.type for value in switch.network.parameters()} == {"cpu"}


def test_every_adapter_is_read_into_main_memory() -> None:
    loading = [
        f"{file.relative_to(_ENGINE)}:{call.lineno}"
        for file in _ENGINE.rglob("*.py")
        for call in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(call, ast.Call) and _may_use_gpu(call)
    ]
    assert not loading


def _may_use_gpu(call: ast.Call) -> bool:
    name = ast.unparse(call.func)
    if not any(name == loader or name.endswith(f".{loader}") for loader in _LOADERS):
        return False
    named: dict[str | None, Any] = {each.arg: each.value for each in call.keywords}
    device = named.get("torch_device", named.get("device"))
    return not (isinstance(device, ast.Constant) and device.value == "cpu")
