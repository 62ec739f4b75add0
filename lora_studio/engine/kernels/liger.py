"""Liger's Triton kernels (Hsu et al. 2024): on a GPU one launch where PyTorch needs five to ten.

Kernels are imported and compiled on their first call, so that is where a missing compiler or header shows.
Callers compare a kernel with the layer that it replaces before they use it.

This module uses the kernels for norms, gated activations, rotary embeddings and cross-entropy. The fused
kernel for output layer and loss isn't used: it needs a plain matrix and returns the mean of a batch, or runs
twice, while the objectives here need the loss of each token, from any output layer, in one pass. Its
inner kernel is used instead, with results in 32-bit (`cross_entropy`).
"""

from __future__ import annotations

import importlib
import importlib.util
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any

import torch

from lora_studio.core.messages import text
from lora_studio.engine.devices import devices
from lora_studio.engine.kernels.elementwise import Gate
from lora_studio.engine.kernels.numerical_equivalence import UnavailableKernelError

#: Types of devices that the kernels are used on.
_DEVICES = ("cuda",)

#: Largest block of logits that the cross-entropy kernel reads at once, as in Liger.
_MAX_BLOCK = 1 << 15

#: The name in manifests.
NAME = "liger"

_GATES: dict[Gate, tuple[str, str]] = {
    "silu": ("swiglu", "LigerSiLUMulFunction"),
    "gelu": ("geglu", "LigerGELUMulFunction"),
}


def is_installed(device: torch.device) -> bool:
    """Return whether the kernels are installed and `device` can run them."""
    return (
        device.type in _DEVICES
        and all(importlib.util.find_spec(name) is not None for name in ("triton", "liger_kernel"))
        and devices.can_run_triton(device)
    )


def rms_norm(x: torch.Tensor, weight: torch.Tensor, epsilon: float, kind: str) -> torch.Tensor:
    """Return an RMS norm as in Llama (`kind` "llama") or Gemma ("gemma", with weights relative to 1).

    The incoming gradient isn't overwritten: it may be needed elsewhere.
    """
    with _set_device(x.device):
        offset = 1.0 if kind == "gemma" else 0.0
        normed: torch.Tensor = _import("rms_norm", "LigerRMSNormFunction").apply(
            x, weight, epsilon, offset, kind, False
        )
    return normed


def gated_activation(gate: torch.Tensor, up: torch.Tensor, kind: Gate) -> torch.Tensor:
    """Return silu(u) ∘ v or gelu(u) ∘ v.

    Gradients overwrite u and v, which nothing else reads: a projection keeps its input for the backward
    pass, not its output.
    """
    with _set_device(gate.device):
        activated: torch.Tensor = _import(*_GATES[kind]).apply(gate, up)
    return activated


def rotary_embedding(
    query: torch.Tensor, key: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Rotate queries and keys [rows, heads, tokens, size] by their positions, in place."""
    with _set_device(query.device):
        rotated: tuple[torch.Tensor, torch.Tensor] = _import("rope", "LigerRopeFunction").apply(
            query, key, cosine, sine
        )
    return rotated


def cross_entropy(
    logits: torch.Tensor, targets: torch.Tensor, wants_gradient: bool
) -> torch.Tensor:
    """Return −log softmax(z)[x] of each row z of `logits` [positions, ids], [positions] float32.

    With `wants_gradient`, its gradient with respect to z overwrites `logits`. Liger's own function around
    this kernel rounds the loss to the dtype of the logits, and waits for the device three times.
    """
    losses = torch.empty(len(logits), dtype=torch.float32, device=logits.device)
    unused: dict[str, Any] = {
        "weight_ptr": None, "z_loss_ptr": None, "token_accuracy_ptr": None, "token_accuracy_stride": 0,
        "predicted_tokens_ptr": None, "predicted_tokens_stride": 0, "sum_non_ignore_weight": 0.0,
        "weight_sum": 0.0, "lse_square_scale": 0.0, "label_smoothing": 0.0, "softcap": None,
        "RETURN_Z_LOSS": False, "RETURN_TOKEN_ACCURACY": False, "RETURN_PREDICTED_TOKENS": False,
        "HAS_WEIGHT": False, "HAS_SOFTCAPPING": False,
    }  # fmt: skip
    with _set_device(logits.device):
        _import("cross_entropy", "liger_cross_entropy_kernel")[(len(logits),)](
            X_ptr=logits,
            X_stride=logits.stride(0),
            Y_ptr=targets,
            Y_stride=targets.stride(0),
            loss_ptr=losses,
            loss_stride=1,
            n_cols=logits.shape[1],
            n_non_ignore=len(logits),
            ignore_index=-100,
            reduction="none",
            HAS_GRADIENTS=wants_gradient,
            BLOCK_SIZE=min(_MAX_BLOCK, 1 << (logits.shape[1] - 1).bit_length()),
            num_warps=_count_warps(logits),
            **unused,
        )
    return losses


def _count_warps(logits: torch.Tensor) -> int:
    """Return the number of warps that Liger's own function uses."""
    if torch.version.hip is not None:
        return 16
    is_blackwell = logits.is_cuda and torch.cuda.get_device_capability(logits.device)[0] >= 10
    return 8 if is_blackwell and logits.element_size() == 2 else 32


def _set_device(device: torch.device) -> AbstractContextManager[Any]:
    """Make `device` current: Triton launches there, wherever the tensors are."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


@cache
def _import(module: str, name: str) -> Any:
    """Import a function of Liger on its first use; raises UnavailableKernelError without it."""
    imported = importlib.import_module(f"liger_kernel.ops.{module}")
    if not hasattr(imported, name):
        raise UnavailableKernelError(
            text("this version of Liger doesn't have {function}", function=name)
        )
    return getattr(imported, name)
