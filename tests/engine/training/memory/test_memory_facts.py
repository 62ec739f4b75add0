"""The inputs of memory estimates: shapes of real layers, and the heaviest step of real plans."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import torch
from peft.helpers import disable_input_dtype_casting
from transformers import AutoConfig, AutoModelForCausalLM

from lora_studio.core.lora.spec import LoraSpec
from lora_studio.core.memory import estimate
from lora_studio.core.memory.plan import MemoryPlan
from lora_studio.core.memory.rows import RowStatistics
from lora_studio.core.model.catalog import ModelShape
from lora_studio.core.model.spec import ModelSpec
from lora_studio.core.training.spec import TrainingSpec
from lora_studio.engine.dataset import lengths
from lora_studio.engine.devices.devices import has_bfloat16_instructions
from lora_studio.engine.kernels.logprobs import LogprobModel
from lora_studio.engine.lora import attach
from lora_studio.engine.model import loading
from lora_studio.engine.model import shape as model_shape
from lora_studio.engine.runtime.channel import Flags, JobContext
from lora_studio.engine.tokens.batches import Batch, BatchPlan
from tests.engine.conftest import TinyModel
from tests.helpers.models import plans
from tests.helpers.models.tiny_models import tiny_model
from tests.helpers.runs.jobs import RecordingChannel


def shape_of(family: str, folder: Path) -> ModelShape:
    config = AutoConfig.from_pretrained(tiny_model(family, folder))
    return model_shape.get_model_shape(AutoModelForCausalLM.from_config(config))


@pytest.mark.parametrize("family", ["llama3", "phi3", "gemma3", "granite"])
def test_model_shape_has_the_widths_of_its_family(family: str, tmp_path: Path) -> None:
    actual = shape_of(family, tmp_path)
    assert (actual.intermediate_size, actual.heads, actual.kv_heads) == (128, 4, 2)
    assert (actual.query_width, actual.key_width) == (64, 32)
    assert actual.gated


def test_layers_that_share_an_input_are_grouped(tmp_path: Path) -> None:
    reads = {layer.name: layer.reads for layer in shape_of("llama3", tmp_path).linear}
    assert reads["q_proj"] == reads["k_proj"] == reads["v_proj"]
    assert reads["gate_proj"] == reads["up_proj"]
    assert len({reads[name] for name in ("q_proj", "o_proj", "gate_proj", "down_proj")}) == 4


def test_query_and_key_norms_count_all_heads(tmp_path: Path) -> None:
    assert shape_of("llama3", tmp_path / "llama3").norm_width == 2 * 64
    assert shape_of("qwen3", tmp_path / "qwen3").norm_width == 2 * 64 + 64 + 32


def test_stacked_experts_are_counted_separately(tmp_path: Path) -> None:
    actual = shape_of("qwen3_moe", tmp_path)
    config = AutoConfig.from_pretrained(tmp_path)
    assert actual.experts_per_token == config.num_experts_per_tok
    assert actual.expert_size == config.moe_intermediate_size
    each = 3 * 64 * config.moe_intermediate_size
    assert actual.expert_parameters == config.num_hidden_layers * config.num_experts * each


def test_heaviest_step_matches_real_batch_plans() -> None:
    rows = np.random.default_rng(3).geometric(0.01, 640)
    actual = lengths.find_heaviest_steps(rows)
    assert sorted(actual) == [1 << n for n in range(10)] + [1024]
    for micro_batch, accumulation in ((1, 8), (4, 4), (16, 1)):
        plan = BatchPlan(rows, micro_batch, accumulation, seed=0)
        orders = 3 * plan.steps_per_epoch
        worst = max(int(rows[plan.get_step(step)[0]].sum()) for step in range(orders))
        estimated = sum(actual[micro_batch * accumulation][:micro_batch])
        assert estimated == worst


def test_heaviest_step_of_few_rows_is_all_rows() -> None:
    actual = lengths.find_heaviest_steps(np.array([5, 9, 7]))
    assert actual == {1: (9,), 2: (9, 7), 4: (9, 7, 5, 0)}


# --- activations, compared with autograd --------------------------------------------------------

TOKENS = 400


def job() -> JobContext:
    return JobContext("facts", RecordingChannel(), Flags())


def auto_precision() -> str:
    """Return the precision that "auto" means on this CPU."""
    return "bf16" if has_bfloat16_instructions() else "fp32"


def measure_saved_bytes(model: peft.PeftModel, narrow: bool) -> int:
    """Return the bytes of distinct tensors that a forward pass saves for the backward pass."""
    model.train()
    logprob_model = LogprobModel.create(model)
    own = {value.untyped_storage().data_ptr() for value in (*model.parameters(), *model.buffers())}
    held: dict[int, torch.UntypedStorage] = {}

    def keep(value: torch.Tensor) -> torch.Tensor:
        storage = value.untyped_storage()
        if storage.data_ptr() not in own:
            held[storage.data_ptr()] = storage  # keep it alive, so that no address repeats
        return value

    ids = torch.arange(TOKENS) % 300 + 20
    positions = torch.arange(TOKENS - 1)
    batch = Batch(
        ids, (TOKENS // 4, TOKENS * 3 // 4), positions, ids[1:], torch.zeros_like(positions)
    )
    with (
        disable_input_dtype_casting(model, active=narrow),
        torch.autocast("cpu", torch.bfloat16, enabled=narrow),
        torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value),
    ):
        logprob_model.compute_hidden_states(batch)
    return sum(storage.nbytes() for storage in held.values())


@pytest.mark.parametrize(
    ("family", "precision", "shape"),
    [
        ("llama3", "bf16", {}),
        ("llama3", "fp32", {}),
        ("llama3", "bf16", {"dropout": 0.1}),
        ("llama3", "bf16", {"targets": "attention_qv"}),
        ("llama3", "bf16", {"blocks": "1"}),
        ("llama3", "4bit", {}),
        ("llama3", "8bit", {}),
        ("qwen3", "bf16", {}),
        ("gemma3", "bf16", {}),
        ("phi3", "bf16", {}),
        ("granite", "fp32", {}),
        ("qwen3_moe", "bf16", {}),
    ],
    ids=[
        "llama3",
        "llama3 fp32",
        "dropout",
        "q and v",
        "one block",
        "4-bit",
        "8-bit",
        "qwen3",
        "gemma3",
        "phi3",
        "granite",
        "qwen3_moe",
    ],
)
def test_estimated_activations_match_autograd(
    tiny: TinyModel, family: str, precision: Any, shape: dict[str, Any]
) -> None:
    compare_activations(tiny, family, precision, shape)


@pytest.mark.parametrize("precision", ["4bit", "8bit"])
def test_estimated_activations_match_without_bfloat16(
    tiny: TinyModel, precision: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda: False)
    compare_activations(tiny, "llama3", precision, {})


def compare_activations(
    tiny: TinyModel, family: str, precision: Any, shape: dict[str, Any]
) -> None:
    """Fail if the estimate differs from what a pass over a tiny model keeps."""
    if precision in ("4bit", "8bit"):
        pytest.importorskip("bitsandbytes", reason="quantized weights need bitsandbytes")
    spec = ModelSpec(source=str(tiny(family)), precision=precision, device="cpu")
    lora = LoraSpec(rank=4, **shape)
    inspected = attach.inspect_model(spec, lora, job())
    plan = MemoryPlan(
        inspected=inspected,
        model=spec,
        lora=lora,
        training=TrainingSpec(),
        rows=RowStatistics(heaviest={1: (TOKENS,)}, longest=TOKENS),
        limit=TOKENS,
        device=plans.device(name="cpu").model_copy(update={"precision": auto_precision()}),
    )
    loaded = loading.load(spec, job(), training=True)
    model = attach.attach_adapter(loaded.model, lora, job())
    narrow = loaded.dtype != torch.float32
    assert inspected.adapter is not None
    casts = 2 * inspected.adapter.trainable if narrow else 0
    layers, _ = estimate.estimate_activations(plan, TOKENS)
    positions = TOKENS * 2 * 4 * plan.shape.head_size  # sines and cosines
    # The dropout mask of the first input isn't kept, because no gradient flows there.
    tolerance = 0.08 if lora.dropout else 0.06
    assert layers + casts + positions == pytest.approx(
        measure_saved_bytes(model, narrow), rel=tolerance
    )
