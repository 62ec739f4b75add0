"""Random adapters for tiny models, saved by PEFT, with a noticeable update."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"]


def random_adapter(base: Path, folder: Path, *, seed: int = 3, **settings: Any) -> Path:
    """Save an adapter with the tokenizer of its base model; `settings` are those of LoraConfig."""
    chosen: dict[str, Any] = {"r": 4, "lora_alpha": 8, "target_modules": "all-linear"} | settings
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        wrapped = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **chosen))
        for name, value in wrapped.named_parameters():
            if value.requires_grad:
                scale = 0.1 if "lora_" in name else 0.3
                value.data.copy_(torch.randn_like(value) * scale)
    wrapped.save_pretrained(folder)
    AutoTokenizer.from_pretrained(base).save_pretrained(folder)
    return folder
