"""The gradients of what a training computes against those of transformers and PEFT in 32-bit."""

from __future__ import annotations

from typing import Any

from tests.gpu.registry import CheckContext, check
from tests.gpu.trainings import create_run, find_model, get_half_precision

#: Least cosine between the gradients of a matrix and those in 32-bit.
_LEAST_COSINE = 0.999

#: Name -> family, precision ("" is the GPU's 16-bit format), and further settings of the training.
_CASES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "packed": ("llama3", "", {}),
    "packed, recomputed": ("llama3", "", {"gradient_checkpointing": "on"}),
    "sliding window": ("mistral", "", {}),
    "4-bit": ("llama3", "4bit", {}),
}


def load_logprob_model(
    context: CheckContext, precision: str, *, family: str = "llama3", **training: Any
) -> Any:
    """Return the logprob_model of a training whose adapter isn't zero, and the same in every precision."""
    from lora_studio.engine.backends.backend import prepare_with_peft
    from lora_studio.engine.kernels.logprobs import LogprobModel
    from tests.helpers.runs.jobs import make_job

    run = create_run(context, family=family, model={"precision": precision}, **training)
    tuned = prepare_with_peft(run.load_project(), make_job(), context.folder)
    randomize_adapter(tuned.model)
    packing = training.get("packing", True)
    return LogprobModel.create(tuned.model.train(), packing=packing, dtype=tuned.base.dtype)


def randomize_adapter(model: Any) -> None:
    """Draw all trained weights on the CPU, so that they are the same on every device."""
    import torch

    generator = torch.Generator().manual_seed(3)
    for _, value in sorted(model.named_parameters()):
        if value.requires_grad:
            drawn = torch.randn(value.shape, generator=generator) * 0.05
            value.data.copy_(drawn)


def make_batch() -> Any:
    """Return rows of different lengths, of which the second half trains."""
    import numpy as np

    from lora_studio.engine.tokens.batches import collate
    from lora_studio.engine.tokens.encoder import Encoded

    generator = np.random.default_rng(0)
    rows = [
        Encoded(
            generator.integers(5, 300, length).astype(np.int32),
            np.arange(length) >= length // 2,
        )
        for length in (150, 120, 90, 70, 45, 40, 12, 7)
    ]
    return collate(rows)


def compute_gradients(logprob_model: Any) -> dict[str, Any]:
    """Return the gradient of each adapter matrix, as a training computes it."""
    import torch
    from peft.helpers import disable_input_dtype_casting

    is_narrow = logprob_model.dtype != torch.float32
    with disable_input_dtype_casting(logprob_model.model, active=is_narrow):
        with torch.autocast(logprob_model.device.type, logprob_model.dtype, enabled=is_narrow):
            loss = -logprob_model(make_batch()).sum()
        torch.autograd.backward(loss)
    return _collect(logprob_model.model)


def compute_plain_gradients(model: Any) -> dict[str, Any]:
    """Return the same from padded rows, eager attention, and all logits in 32-bit."""
    import torch

    model.get_base_model().set_attn_implementation("eager")
    batch = make_batch()
    ids, mask = (value.to(model.device) for value in batch.to_padded())
    logits = model(input_ids=ids, attention_mask=mask).logits.flatten(0, 1)
    chosen = logits[batch.get_padded_sources().to(model.device)].float()
    targets = batch.targets.to(model.device)
    torch.nn.functional.cross_entropy(chosen, targets, reduction="sum").backward()
    return _collect(model)


def _collect(model: Any) -> dict[str, Any]:
    parameters = model.named_parameters()
    return {name: value.grad.cpu().double() for name, value in parameters if value.requires_grad}


def load_exact_model(context: CheckContext, family: str, quantized: Any = None) -> Any:
    """Return the model in 32-bit on the CPU; `quantized` is the one whose 4-bit weights it takes."""
    import torch

    from lora_studio.engine.backends.backend import prepare_with_peft
    from tests.helpers.runs.jobs import make_job

    plain = CheckContext("cpu", context.folder)
    run = create_run(plain, family=family, model={"precision": "fp32"})
    model = prepare_with_peft(run.load_project(), make_job(), context.folder).model
    randomize_adapter(model)
    if quantized is not None:
        from bitsandbytes.functional import dequantize_4bit
        from bitsandbytes.nn import Linear4bit

        exact = dict(model.named_modules())
        for name, layer in quantized.named_modules():
            if isinstance(layer, Linear4bit):
                weight = dequantize_4bit(layer.weight.data, layer.weight.quant_state)
                with torch.no_grad():
                    exact[name].weight.copy_(weight.float().cpu())
    return model.train()


@check("T4", "gradients are those of padded rows in 32-bit on the CPU", seconds=9)
def compare_gradients(context: CheckContext) -> None:
    """Compare the gradient of each matrix: packed, recomputed, with a sliding window, and in 4 bits."""
    import torch

    from tests.helpers.models.tiny_models import write_config

    write_config(find_model(context, "mistral"), sliding_window=16)
    for name, (family, precision, training) in _CASES.items():
        half = get_half_precision(context)
        logprob_model = load_logprob_model(context, precision or half, family=family, **training)
        actual = compute_gradients(logprob_model)
        quantized = logprob_model.model if precision == "4bit" else None
        expected = compute_plain_gradients(load_exact_model(context, family, quantized))
        cosines = {
            matrix: float(
                torch.nn.functional.cosine_similarity(
                    value.flatten(), expected[matrix].flatten(), dim=0
                )
            )
            for matrix, value in actual.items()
        }
        worst = min(cosines, key=lambda matrix: cosines[matrix])
        context.figures[name] = f"least cosine {cosines[worst]:.6f}"
        context.expect(cosines[worst] >= _LEAST_COSINE, f"{name}: {cosines[worst]:.4f} at {worst}")
