"""Log-probabilities of tokens: the values and gradients of PyTorch's cross-entropy, in less memory."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from lora_studio.engine.kernels import chunked_logprobs
from lora_studio.engine.kernels.chunked_logprobs import TokenLogprobs

POSITIONS, VOCABULARY = 13, 50_000  # several blocks of 5 positions


def make_logits(dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.manual_seed(0)
    logits = torch.randn(POSITIONS, VOCABULARY, generator=generator) * 4
    targets = torch.randint(VOCABULARY, (POSITIONS,), generator=generator)
    logits[0, targets[0]] = 30.0  # a certain token: its gradient is tiny
    return logits.to(dtype), targets


def exact(logits: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return −log p and its gradient in 64-bit."""
    leaf = logits.double().requires_grad_()
    value = F.cross_entropy(leaf, targets, reduction="none")
    (gradient,) = torch.autograd.grad(value.sum(), leaf)
    return value.detach(), gradient


@pytest.mark.parametrize(
    "compute",
    [
        chunked_logprobs.compute_cross_entropy,
        lambda logits, targets, wants: chunked_logprobs.compute_by_log_softmax(
            logits, targets[:, None], wants
        ),
    ],
    ids=["on CPUs", "on GPUs"],
)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 4e-3)])
def test_loss_and_gradient_equal_the_exact_ones(
    compute: Any, dtype: torch.dtype, tolerance: float
) -> None:
    logits, targets = make_logits(dtype)
    value, gradient = exact(logits, targets)
    actual = compute(logits, targets, True)
    torch.testing.assert_close(actual.double(), value, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(logits.double(), gradient, rtol=tolerance, atol=1e-6)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 4e-3)])
def test_trained_output_layers_get_the_exact_gradient(dtype: torch.dtype, tolerance: float) -> None:
    logits, targets = make_logits(dtype)
    value, gradient = exact(logits, targets)
    weights = torch.linspace(-1, 1, POSITIONS)
    leaf = logits.requires_grad_()
    actual = TokenLogprobs.apply(leaf, targets)
    (actual * weights).sum().backward()
    torch.testing.assert_close(-actual.double(), value, rtol=1e-5, atol=1e-5)
    expected = -gradient * weights[:, None]
    torch.testing.assert_close(leaf.grad.double(), expected, rtol=tolerance, atol=1e-6)


class _Operations(TorchDispatchMode):
    """Lists the names of operations."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        self.names.append(function.overloadpacket.__name__)
        return function(*args, **(kwargs or {}))


def test_softmax_is_one_operation_on_a_gpu() -> None:
    """Each one reads and writes all logits, and a CPU's cache isn't there to help."""
    logits = torch.empty(POSITIONS, VOCABULARY, dtype=torch.bfloat16, device="meta")
    targets = torch.empty(POSITIONS, dtype=torch.int64, device="meta")
    with _Operations() as listed:
        chunked_logprobs.compute_cross_entropy(logits, targets, True)
    assert [listed.names.count(name) for name in ("_log_softmax", "exp", "sub", "sub_")] == [
        1,
        1,
        0,
        0,
    ]


class _LargestResult(TorchDispatchMode):
    """Notes the most elements of any 32-bit tensor that an operation returns."""

    elements = 0

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        for value in tree_leaves(result):
            if isinstance(value, torch.Tensor) and value.dtype == torch.float32:
                self.elements = max(self.elements, value.numel())
        return result


def test_no_copy_of_all_logits_is_made_in_32_bit() -> None:
    logits, targets = make_logits(torch.bfloat16)
    with _LargestResult() as largest:
        TokenLogprobs.apply(logits.requires_grad_(), targets).sum().backward()
    assert 0 < largest.elements < logits.numel() / 2
