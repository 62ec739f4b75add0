"""Multimodal models: the text decoder is loaded by the checkpoint's class, and the merge keeps all else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForImageTextToText

from lora_studio.core.lora.spec import LoraSpec
from lora_studio.core.merging import MergingSpec
from lora_studio.core.model.spec import ModelSpec
from lora_studio.engine.lora import adapter_files
from lora_studio.engine.lora.attach import find_targets
from lora_studio.engine.merging import merge
from lora_studio.engine.model import loading, text_model
from lora_studio.engine.model.safetensors_files import SINGLE
from lora_studio.engine.model.shape import get_model_shape
from tests.helpers.models.tiny_models import tiny_model
from tests.helpers.runs.jobs import recorded_job

TEXT = {"vocab_size": 512, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16}  # fmt: skip
VISION = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 28, "patch_size": 14}  # fmt: skip
QWEN_VISION = {"depth": 1, "hidden_size": 32, "intermediate_size": 48, "num_heads": 2, "out_hidden_size": 64}  # fmt: skip
LINEAR = {"linear_num_value_heads": 4, "linear_num_key_heads": 2, "linear_key_head_dim": 16, "linear_value_head_dim": 16}  # fmt: skip
MODELS: dict[str, dict[str, Any]] = {
    "qwen3_5": {"text_config": TEXT | LINEAR | {"layer_types": ["linear_attention", "full_attention"]}, "vision_config": QWEN_VISION},
    "qwen3_vl": {"text_config": TEXT | {"rope_scaling": {"rope_type": "default", "mrope_section": [2, 3, 3]}}, "vision_config": QWEN_VISION | {"deepstack_visual_indexes": [0]}},
    "gemma3": {"text_config": TEXT, "vision_config": VISION, "mm_tokens_per_image": 1},
    "gemma4": {"text_config": TEXT | {"hidden_size_per_layer_input": 8, "vocab_size_per_layer_input": 512}, "vision_config": VISION},
    "mistral3": {"text_config": TEXT | {"model_type": "ministral3"}, "vision_config": VISION | {"model_type": "pixtral", "head_dim": 16}},
    "smolvlm": {"text_config": TEXT | {"model_type": "llama"}, "vision_config": VISION, "scale_factor": 2},
}  # fmt: skip


def make(kind: str, folder: Path) -> Path:
    """Write a tiny random multimodal model, with a tensor that transformers doesn't know."""
    tiny_model("llama3", folder)
    config = AutoConfig.for_model(kind, **MODELS[kind])
    torch.manual_seed(1)
    model = AutoModelForImageTextToText.from_config(config).to(torch.bfloat16)
    (folder / SINGLE).unlink()
    model.save_pretrained(folder)
    save_file(load_file(folder / SINGLE) | {"mtp.fc.weight": torch.ones(3, 2)}, folder / SINGLE)
    (folder / "preprocessor_config.json").write_text("{}")
    return folder


@pytest.mark.parametrize(
    "kind", [pytest.param(k, marks=pytest.mark.slow if k != "gemma3" else ()) for k in MODELS]
)
def test_text_is_trained_and_all_else_is_kept(kind: str, tmp_path: Path) -> None:
    base = make(kind, tmp_path / "base")
    spec, ids = ModelSpec(source=str(base), precision="fp32"), torch.arange(3, 40)[None]
    job, _ = recorded_job()
    model = loading.load(spec, job).model
    towers = text_model.list_towers(loading.load_on_meta(base, spec))
    assert towers
    assert not [name for name, _ in model.named_parameters() if name.startswith(tuple(towers))]
    assert get_model_shape(model).heads == 4
    decoder = text_model.get_decoder_prefix(model)
    assert all(name.startswith(decoder) for name in find_targets(model, LoraSpec()).layers)
    adapter = tmp_path / "adapter"
    settings = LoraConfig(
        r=4,
        target_modules=["q_proj", "o_proj", "up_proj", "out_proj"],
        exclude_modules=text_model.exclude_towers(model),
        task_type="CAUSAL_LM",
    )
    tuned = get_peft_model(model, settings)
    for name, value in tuned.named_parameters():
        if "lora_" in name:
            value.data.normal_(std=0.1)
    tuned.save_pretrained(adapter)
    with torch.no_grad():
        trained = tuned(input_ids=ids).logits
        whole = AutoModelForImageTextToText.from_pretrained(base, dtype=torch.float32)
        loaded = PeftModel.from_pretrained(whole, adapter)
        assert torch.allclose(loaded(input_ids=ids).logits, trained, atol=1e-4)

    target = tmp_path / "merged"
    target.mkdir()
    merging = MergingSpec(dtype="fp32")
    event = merge.merge_folders(base, [adapter_files.read(adapter)], target, merging, job)
    assert event.by_peft is None
    before, after = load_file(base / SINGLE), load_file(target / SINGLE)
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name].float(), after[name])}
    assert len(changed) == event.tensors_changed > 0
    assert not {name for name in changed if "vision" in name or "visual" in name or "mtp" in name}
    assert (target / "preprocessor_config.json").is_file()
    written = getattr(transformers, AutoConfig.from_pretrained(target).architectures[0])
    with torch.no_grad():
        merged = written.from_pretrained(target, dtype=torch.float32)
        assert torch.allclose(merged(input_ids=ids).logits, trained, atol=1e-3)
