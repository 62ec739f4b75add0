"""Liger's kernels for Triton (Hsu et al. 2024): on a GPU one launch where PyTorch takes five to ten.

Nothing is imported before the first call, which compiles: what is missing for that (a compiler, headers)
shows there and then. Whether a kernel gives what a layer gives is tried by who uses it.

Taken are those that compute what the program computes: norms, gates, rotations and scores. Not taken is
the joint kernel for the output layer and its loss: it takes a plain matrix and gives one number for the
mean of a batch or runs twice, where every objective here needs each token's own score, from any output
layer, and from one pass. Its inner kernel serves instead, with scores in 32-bit (`scored`).
"""

from __future__ import annotations

import importlib
import importlib.util
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any, Literal

import torch

#: Kinds of devices that it is used on.
_DEVICES = ("cuda",)

#: Widest piece of a row that one turn of the kernel for scores takes, as Liger has it.
_WIDEST = 1 << 15

Gate = Literal["silu", "gelu"]

_GATES: dict[Gate, tuple[str, str]] = {
    "silu": ("swiglu", "LigerSiLUMulFunction"),
    "gelu": ("geglu", "LigerGELUMulFunction"),
}


def is_there(device: torch.device) -> bool:
    """Whether it is installed, for a device that it is used on."""
    return device.type in _DEVICES and all(
        importlib.util.find_spec(name) is not None for name in ("triton", "liger_kernel")
    )


def norm(x: torch.Tensor, weight: torch.Tensor, epsilon: float, kind: str) -> torch.Tensor:
    """A root-mean-square norm as Llama (`kind` "llama") or Gemma ("gemma") has it, whose weights are
    counted from 1. The gradient that comes in is left alone: it may be needed elsewhere."""
    with _on(x.device):
        offset = 1.0 if kind == "gemma" else 0.0
        found: torch.Tensor = _of("rms_norm", "LigerRMSNormFunction").apply(
            x, weight, epsilon, offset, kind, False
        )
    return found


def gated(gate: torch.Tensor, up: torch.Tensor, kind: Gate) -> torch.Tensor:
    """silu(u) ∘ v or gelu(u) ∘ v. Its gradients take the place of u and v, which nothing else reads:
    a projection keeps its input for the backward pass, not its output."""
    with _on(gate.device):
        found: torch.Tensor = _of(*_GATES[kind]).apply(gate, up)
    return found


def rotated(
    query: torch.Tensor, key: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Queries and keys [rows, heads, tokens, size] turned by their positions, in their own place."""
    with _on(query.device):
        found: tuple[torch.Tensor, torch.Tensor] = _of("rope", "LigerRopeFunction").apply(
            query, key, cosine, sine
        )
    return found


def scored(logits: torch.Tensor, targets: torch.Tensor, wants_gradient: bool) -> torch.Tensor:
    """−log softmax(z)[x] of each row z of [positions, ids], float32, from one reading of the logits.

    With `wants_gradient`, d/dz of it takes the place of `logits`. Liger's own function around this
    kernel rounds what it returns to the format of the logits, and waits for the device three times.
    """
    found = torch.empty(len(logits), dtype=torch.float32, device=logits.device)
    nothing: dict[str, Any] = {
        "weight_ptr": None, "z_loss_ptr": None, "token_accuracy_ptr": None, "token_accuracy_stride": 0,
        "predicted_tokens_ptr": None, "predicted_tokens_stride": 0, "sum_non_ignore_weight": 0.0,
        "weight_sum": 0.0, "lse_square_scale": 0.0, "label_smoothing": 0.0, "softcap": None,
        "RETURN_Z_LOSS": False, "RETURN_TOKEN_ACCURACY": False, "RETURN_PREDICTED_TOKENS": False,
        "HAS_WEIGHT": False, "HAS_SOFTCAPPING": False,
    }  # fmt: skip
    with _on(logits.device):
        _of("cross_entropy", "liger_cross_entropy_kernel")[(len(logits),)](
            X_ptr=logits,
            X_stride=logits.stride(0),
            Y_ptr=targets,
            Y_stride=targets.stride(0),
            loss_ptr=found,
            loss_stride=1,
            n_cols=logits.shape[1],
            n_non_ignore=len(logits),
            ignore_index=-100,
            reduction="none",
            HAS_GRADIENTS=wants_gradient,
            BLOCK_SIZE=min(_WIDEST, 1 << (logits.shape[1] - 1).bit_length()),
            num_warps=16 if torch.version.hip else 32,
            **nothing,
        )
    return found


def _on(device: torch.device) -> AbstractContextManager[Any]:
    """Triton launches on the current device, whatever device the tensors are on."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


@cache
def _of(module: str, name: str) -> Any:
    """Something of Liger's, imported with the first use; raises ImportError where it has moved."""
    found = importlib.import_module(f"liger_kernel.ops.{module}")
    if not hasattr(found, name):
        raise ImportError(f"this version of Liger has no {name}")
    return getattr(found, name)
