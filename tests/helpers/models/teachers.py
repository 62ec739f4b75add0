"""A teacher for a tiny model: the same tokenizer, other weights."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM


def make_teacher(student: Path, folder: Path) -> Path:
    """Write a copy of a model with other random weights, and return its folder."""
    shutil.copytree(student, folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    torch.manual_seed(5)
    with torch.no_grad():
        for value in model.parameters():
            value.add_(torch.randn_like(value), alpha=0.1)
    model.save_pretrained(folder)
    return folder
