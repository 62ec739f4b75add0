"""Count what a decoder block and the loss do on a GPU, without one: operations, and bytes that they move.

    python -m tests.benchmarks.kernels [--tokens 4096]

A block of Llama 3 8B with rank 16 on all linear layers, forward and backward, on fake CUDA tensors: every
operation that would launch a kernel counts once, and with the bytes of the tensors that it reads and writes.
Attention itself isn't counted, since it is the same in both. That says how many launches and passes over
memory are saved, not how long anything takes. The micro-batch isn't the first of its step: it adds to gradients,
and fused layers have cast their adapters before. An operation of bitsandbytes that dequantizes and multiplies
counts once as well.

Counted with PyTorch 2.13, PEFT 0.21 and bitsandbytes 0.50, for micro-batches of 4,096 tokens without Liger:

    block, bf16    PEFT 215 operations, 4.19 MB per token    fused 158 and 2.82 (178 without kept casts)
    block, nf4     PEFT 243 operations, 4.43 MB per token    fused 192 and 3.03 (234 without kept casts)
    loss           frozen output layer 20 bytes per logit (46 in the order of operations that suits CPUs),
                   trained output layer 34 (40 by autograd, which also keeps two copies in 32-bit)
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import peft
import torch
from peft.helpers import disable_input_dtype_casting
from torch.nn import functional as F  # noqa: N812 - its usual name
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import AttentionInterface, LlamaConfig, LlamaForCausalLM

from lora_studio.core.lora.spec import LoraSpec
from lora_studio.engine.kernels import adapted_linear, chunked_logprobs, fused
from lora_studio.engine.lora import attach
from tests.helpers.models import fake_cuda
from tests.helpers.runs.jobs import make_job

#: Operations that only reserve memory or describe it in another way.
_WITHOUT_KERNEL = (
    "empty", "new_empty", "empty_like", "empty_strided", "new_empty_strided", "detach", "_unsafe_view",
    "lift_fresh",
)  # fmt: skip


class OperationCounter(TorchDispatchMode):
    """Counts operations that launch kernels, and the bytes that they read and write."""

    def __init__(self) -> None:
        """Start at zero."""
        super().__init__()
        self.operations = self.bytes = 0

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        namespace, _, name = function._schema.name.partition("::")
        aliases = [value.alias_info for value in function._schema.returns]
        is_view = any(alias is not None and not alias.is_write for alias in aliases)
        if is_view or namespace == "prim" or name in _WITHOUT_KERNEL:
            return result
        values = {"gather": [result, result], "nll_loss_forward": [result, result]}.get(
            name, [*args[3:], *args[3:]] if name.startswith("scatter") else [*args, result]
        )
        tensors = [
            leaf
            for leaf in tree_leaves(values)
            if isinstance(leaf, torch.Tensor) and leaf.device.type == "cuda"
        ]
        if tensors:
            self.operations += 1
            self.bytes += sum(tensor.numel() * tensor.element_size() for tensor in tensors)
        return result


class _UncountedAttention(torch.autograd.Function):
    """Attention of the right shapes, without any operation."""

    @staticmethod
    def forward(ctx: Any, *inputs: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(*inputs)
        return torch.empty_like(inputs[0]).transpose(1, 2)

    @staticmethod
    def backward(ctx: Any, *_: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(torch.empty_like(value) for value in ctx.saved_tensors)


def _attend(
    module: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *_: Any, **__: Any
) -> tuple[torch.Tensor, None]:
    return _UncountedAttention.apply(query, key, value), None


AttentionInterface.register("uncounted", _attend)


def make_model(precision: str) -> peft.PeftModel:
    """Return a block of Llama 3 8B with an adapter, without memory."""
    config = LlamaConfig(
        hidden_size=4096, intermediate_size=14336, num_attention_heads=32, num_key_value_heads=8,
        num_hidden_layers=1, vocab_size=1024, attn_implementation="uncounted", use_cache=False,
    )  # fmt: skip
    with torch.device("meta"):
        model: Any = LlamaForCausalLM._from_config(config, dtype=torch.bfloat16)
    if precision == "nf4":
        _quantize(model)
    with torch.device("meta"):
        return attach.attach_adapter(model, LoraSpec(rank=16, alpha=32), make_job()).train()


def _quantize(model: Any) -> None:
    """Replace the linear layers of the block by 4-bit ones with doubly quantized scales."""
    from bitsandbytes.functional import QuantState
    from bitsandbytes.nn import Linear4bit

    def empty(size: int, dtype: torch.dtype) -> torch.Tensor:
        return torch.empty(size, dtype=dtype, device="meta")

    for parent in list(model.model.layers.modules()):
        for name, linear in list(parent.named_children()):
            if type(linear) is not torch.nn.Linear:
                continue
            shape, count = linear.weight.shape, linear.weight.numel()
            layer = Linear4bit(
                linear.in_features, linear.out_features, False, torch.bfloat16, quant_type="nf4",
                device="meta",
            )  # fmt: skip
            scales = QuantState(
                empty(count // 64 // 256, torch.float32), blocksize=256,
                code=empty(256, torch.float32), dtype=torch.float32,
            )  # fmt: skip
            weight: Any = torch.nn.Parameter(
                torch.empty(count // 2, 1, dtype=torch.uint8, device="meta"), requires_grad=False
            )
            weight.quant_state = QuantState(
                empty(count // 64, torch.uint8), shape=shape, code=empty(16, torch.float32),
                blocksize=64, quant_type="nf4", dtype=torch.bfloat16,
                offset=torch.empty((), device="meta"), state2=scales,
            )  # fmt: skip
            weight.quant_type, weight.compress_statistics, weight.bnb_quantized = "nf4", True, True
            layer.weight, layer.compute_type_is_set = weight, True
            setattr(parent, name, layer)
    model.is_loaded_in_4bit = model.is_quantized = True


def count_block(precision: str, *, is_fused: bool, tokens: int) -> dict[str, float]:
    """Return operations, and MB per token, of a block in a forward and a backward pass."""
    model = make_model(precision)
    with fake_cuda.use_fake_cuda(), disable_input_dtype_casting(model):
        fake_cuda.move_to_fake_cuda(model)
        decoder = model.get_base_model().model
        hidden = torch.empty(1, tokens, 4096, dtype=torch.bfloat16, device="cuda")
        positions = torch.arange(tokens, device="cuda")[None]
        rotary = decoder.rotary_emb(hidden, positions)

        def run() -> torch.Tensor:
            with torch.autocast("cuda", torch.bfloat16):
                result = decoder.layers[0](
                    hidden.requires_grad_(), position_embeddings=rotary, position_ids=positions
                )
            return result[0] if isinstance(result, tuple) else result

        if is_fused:
            fused.fuse_layers(model, run)
        with adapted_linear.keep_casts():
            run().backward(torch.empty_like(hidden))
            with OperationCounter() as counter:
                run().backward(torch.empty_like(hidden))
    return {
        "operations": counter.operations,
        "MB_per_token": round(counter.bytes / tokens / 1e6, 3),
    }


def count_loss(compute: Callable[[torch.Tensor, torch.Tensor], object]) -> dict[str, float]:
    """Return operations, and bytes per logit, of log-probabilities and their gradient."""
    with fake_cuda.use_fake_cuda():
        logits = torch.empty(128, 131_072, dtype=torch.bfloat16, device="cuda")
        targets = torch.empty(128, dtype=torch.int64, device="cuda")
        with OperationCounter() as counter:
            compute(logits, targets)
    return {
        "operations": counter.operations,
        "bytes_per_logit": round(counter.bytes / logits.numel(), 1),
    }


def _by_autograd(logits: torch.Tensor, targets: torch.Tensor) -> None:
    F.cross_entropy(logits.requires_grad_().float(), targets, reduction="none").sum().backward()


def _by_chunks(logits: torch.Tensor, targets: torch.Tensor) -> None:
    chunked_logprobs.compute_cross_entropy(logits, targets, True)


def _with_trained_head(logits: torch.Tensor, targets: torch.Tensor) -> None:
    chunked_logprobs.TokenLogprobs.apply(logits.requires_grad_(), targets).sum().backward()


def measure(tokens: int = 4096) -> dict[str, dict[str, float]]:
    """Return all figures by name; call `fake_cuda.install` before."""
    figures = {
        f"block, {precision}, {'fused' if is_fused else 'PEFT'}": count_block(
            precision, is_fused=is_fused, tokens=tokens
        )
        for precision in ("bf16", "nf4")
        for is_fused in (False, True)
    }
    losses = {
        "loss, autograd": _by_autograd,
        "loss, frozen output layer": _by_chunks,
        "loss, trained output layer": _with_trained_head,
    }
    return figures | {name: count_loss(compute) for name, compute in losses.items()}


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=4096)
    options = parser.parse_args()
    if reason := fake_cuda.explain_unsupported():
        raise SystemExit(f"Not counted: {reason}.")
    fake_cuda.install()
    figures = measure(options.tokens)
    for name, values in figures.items():
        print(f"{name:28}", *(f"{value:>9g} {unit}" for unit, value in values.items()))


if __name__ == "__main__":
    main()
