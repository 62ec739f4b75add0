"""MiSS adapters: PEFT trains them, and what is saved is the same update as a LoRA adapter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from lora_studio.core.lora.adapters import WeightedAdapter
from lora_studio.core.lora.spec import LoraSpec
from lora_studio.core.memory import adapter_size
from lora_studio.core.model.spec import ModelSpec
from lora_studio.core.problems import ProblemError
from lora_studio.core.protocol import commands
from lora_studio.core.training import combinations
from lora_studio.core.training.spec import TrainingSpec
from lora_studio.engine.export.gguf import adapter_gguf
from lora_studio.engine.lora import adapter_files, attach, initialization
from lora_studio.engine.merging import combining, library, merge
from lora_studio.engine.training import checkpoint_files
from tests.engine.conftest import TinyModel
from tests.helpers.runs.jobs import make_job

#: 24 doesn't divide the 64 and 128 inputs of the layers: the last shard is shorter.
SPEC = LoraSpec(adapter_type="miss", rank=24)


class NoTokenizer:
    """A tokenizer without files."""

    def save_pretrained(self, folder: Path) -> None:
        """Write nothing."""


def make_adapter(base: Path, spec: LoraSpec, folder: Path, seed: int = 0) -> peft.PeftModel:
    """Save a MiSS adapter with random weights as a run saves it; return the model with it."""
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    wrapped = attach.attach_adapter(model, spec, make_job()).eval()
    torch.manual_seed(seed)
    for value in wrapped.parameters():
        if value.requires_grad:
            torch.nn.init.normal_(value, std=0.05)
    folder.mkdir(parents=True)
    tokenizer: Any = NoTokenizer()
    checkpoint_files.write_adapter(wrapped, folder, tokenizer)
    return wrapped


@pytest.fixture
def base(tiny: TinyModel) -> Path:
    return tiny("llama3")


IDS = torch.arange(40)[None] % 300


@torch.no_grad()
def test_saved_lora_adapter_computes_what_miss_computes(base: Path, tmp_path: Path) -> None:
    spec = SPEC.model_copy(update={"blocks": "1", "modules_to_save": ("norm",)})
    trained = make_adapter(base, spec, tmp_path / "adapter")
    config = adapter_files.read_config(tmp_path / "adapter")
    assert (config["peft_type"], config["r"], config["lora_alpha"]) == ("LORA", 24, 24)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    loaded = peft.PeftModel.from_pretrained(model, str(tmp_path / "adapter")).eval()
    assert torch.allclose(loaded(IDS).logits, trained(IDS).logits, atol=1e-5)
    with trained.disable_adapter():
        assert not torch.allclose(loaded(IDS).logits, trained(IDS).logits, atol=1e-2)


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_merge_gives_the_weights_of_pefts_own_merge(base: Path, tmp_path: Path, dtype: Any) -> None:
    trained = make_adapter(base, SPEC, tmp_path / "adapter")
    adapter = adapter_files.read(tmp_path / "adapter")
    spec = merge.MergingSpec(dtype=dtype)
    merge.merge_folders(base, [adapter], tmp_path / "merged", spec, make_job())
    merged = load_file(tmp_path / "merged" / "model.safetensors")
    expected = trained.merge_and_unload().state_dict()
    changed = [name for name in merged if "_proj" in name]
    assert len(changed) == 14
    for name in changed:
        assert torch.equal(merged[name], expected[name].to(merged[name].dtype)), name


@pytest.mark.slow
def test_counts_match_the_trained_and_the_saved_values(base: Path, tmp_path: Path) -> None:
    trained = make_adapter(base, SPEC, tmp_path / "adapter")
    counted = attach.count_parameters(trained)
    # 2 blocks of q 64->64, k and v 64->32, o 64->64, gate and up 64->128, down 128->64.
    assert counted.trainable == 2 * 24 * (64 + 32 + 32 + 64 + 128 + 128 + 64)
    stored = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    assert counted.adapter_bytes == 4 * sum(value.numel() for value in stored.values())
    inspected = attach.inspect_model(ModelSpec(source=str(base)), SPEC, make_job())
    by_widths = adapter_size.count_parameters(inspected, SPEC)
    assert by_widths
    assert inspected.adapter
    sizes = (counted.trainable, counted.adapter_bytes)
    assert (by_widths.trainable, by_widths.adapter_bytes) == sizes
    assert (inspected.adapter.trainable, inspected.adapter.adapter_bytes) == sizes


@pytest.mark.slow
def test_miss_adapters_combine_exactly_with_lora(base: Path, tmp_path: Path) -> None:
    make_adapter(base, SPEC, tmp_path / "one")
    make_adapter(base, LoraSpec(rank=4), tmp_path / "two", seed=1)
    folders = [str(tmp_path / "one"), str(tmp_path / "two")]
    command = commands.CombineAdapters(
        adapters=(
            WeightedAdapter(folder=folders[0], weight=0.5),
            WeightedAdapter(folder=folders[1]),
        ),
        out=str(tmp_path / "both"),
        method="cat",
    )
    assert combining.combine(command, make_job()).rank == 28
    both, *parts = (adapter_files.read(Path(f)) for f in (command.out, *folders))
    for sums, half, other in zip(both.layers, *(part.layers for part in parts), strict=True):
        update = [layer.scale * layer.b.read() @ layer.a.read() for layer in (sums, half, other)]
        assert torch.allclose(update[0], 0.5 * update[1] + update[2], atol=1e-6)


def test_llama_cpp_can_apply_a_miss_adapter_without_a_merge(base: Path, tmp_path: Path) -> None:
    make_adapter(base, SPEC, tmp_path / "adapter")
    assert adapter_gguf.explain_unsupported(adapter_files.read(tmp_path / "adapter")) is None
    fit = library.fit(tmp_path / "adapter", ModelSpec(source=str(base)), make_job())
    assert fit.fits


def test_rank_above_a_layers_inputs_is_refused(base: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    spec = LoraSpec(adapter_type="miss", rank=65)
    with pytest.raises(ProblemError, match=r"The rank 65 is too high for MiSS: .* 64 inputs"):
        attach.attach_adapter(model, spec, make_job())
    inspected = attach.inspect_model(ModelSpec(source=str(base)), spec, make_job())
    assert inspected.adapter is None
    assert inspected.adapter_problem is not None
    assert inspected.adapter_problem.code == "lora.miss_rank_too_high"
    assert adapter_size.count_parameters(inspected, spec) is None


def test_stacked_experts_are_refused(tiny: TinyModel) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny("qwen3_moe"), dtype=torch.float32)
    names = ("q_proj", "gate_up_proj")
    spec = LoraSpec(adapter_type="miss", targets="names", target_names=names, rank=2)
    with pytest.raises(ProblemError, match="isn't a plain linear layer"):
        attach.attach_adapter(model, spec, make_job())


def test_shards_are_summed_as_in_miss() -> None:
    x = torch.arange(10.0)
    shards = torch.nn.functional.pad(x, (0, 2)).reshape(3, 4).sum(0)
    assert torch.equal(initialization.build_shard_sum(4, 10) @ x, shards)


def test_settings_of_lora_are_refused_with_a_reset() -> None:
    lora = SPEC.model_copy(update={"use_dora": True, "own_ranks": ("q_proj=2",)})
    training = TrainingSpec(lora_plus_ratio=4.0)
    problems = combinations.check(ModelSpec(), lora, training)
    assert [problem.code for problem in problems] == [
        "lora.miss_use_dora", "lora.miss_own_ranks", "lora.miss_lora_plus_ratio",
    ]  # fmt: skip
    assert str(problems[0].what) == "MiSS doesn't support this setting: DoRA."
    for problem in problems:
        assert problem.fix is not None
        assert problem.fix.value in (False, (), 1.0)
    assert not combinations.check(ModelSpec(), SPEC, TrainingSpec())
    by_unsloth = combinations.check(ModelSpec(), SPEC, TrainingSpec(backend="unsloth"))
    assert [problem.code for problem in by_unsloth] == ["training.unsloth_miss"]
