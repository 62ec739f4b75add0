"""CPU attention in bfloat16: the same gradients as PyTorch's attention, up to rounding."""

from __future__ import annotations

import pytest
import torch
from torch.utils.checkpoint import checkpoint

from lora_studio.engine.devices import devices
from lora_studio.engine.kernels import cpu_attention, sequence_packing

SIZE = 16

needs_products = pytest.mark.skipif(
    not devices.has_bfloat16_instructions(),
    reason="this CPU has no bfloat16 instructions, so PyTorch's attention is used",
)


def heads_of(number: int, tokens: int, spread: float = 1.0) -> torch.Tensor:
    """Return [1, heads, tokens, size] in the memory layout of layers: tokens outside, heads inside."""
    values = torch.randn(1, tokens, number, SIZE) * spread
    return values.bfloat16().transpose(1, 2).requires_grad_()


def both(
    inputs: tuple[torch.Tensor, ...], lengths: tuple[int, ...], scaling: float | None = None
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Return result and gradients of `causal_attention` in 16 bits, each with PyTorch's in 32 bits."""
    exact = tuple(each.detach().float().requires_grad_() for each in inputs)
    actual = cpu_attention.causal_attention(inputs[0], inputs[1], inputs[2], lengths, scaling)
    expected = sequence_packing.rowwise_attention(
        exact[0], exact[1], exact[2], lengths, scaling, None
    )
    assert actual.shape == expected.shape
    g = torch.randn_like(actual)
    gradients = torch.autograd.grad(actual, inputs, g)
    expected_gradients = torch.autograd.grad(expected, exact, g.float())
    return [(actual.detach(), expected.detach()), *zip(gradients, expected_gradients, strict=True)]


def difference(actual: torch.Tensor, expected: torch.Tensor) -> float:
    return float((actual.float() - expected).norm() / expected.norm())


@needs_products
@pytest.mark.parametrize(("heads", "keys"), [(4, 4), (6, 2), (5, 1)])
@pytest.mark.parametrize("lengths", [(1,), (32,), (40, 7, 33, 64), (70, 129)], ids=str)
def test_gradients_match_32_bit_up_to_rounding(
    heads: int, keys: int, lengths: tuple[int, ...]
) -> None:
    torch.manual_seed(0)
    tokens = sum(lengths)
    inputs = heads_of(heads, tokens), heads_of(keys, tokens), heads_of(keys, tokens)
    for actual, expected in both(inputs, lengths):
        # A single token always attends to itself, so the gradients of its score are noise.
        if expected.norm() > 1e-3:
            assert difference(actual, expected) < 1.2e-2


@needs_products
def test_gradients_are_summed_over_the_blocks_of_a_row() -> None:
    torch.manual_seed(0)
    lengths = (3 * cpu_attention.QUERIES_PER_BLOCK + 5, 20)  # four blocks, and one
    tokens = sum(lengths)
    inputs = heads_of(2, tokens), heads_of(1, tokens), heads_of(1, tokens)
    for actual, expected in both(inputs, lengths):
        assert difference(actual, expected) < 1.2e-2


@needs_products
@pytest.mark.parametrize("scaling", [0.25, 0.3])
def test_widely_spread_scores_keep_their_precision(scaling: float) -> None:
    torch.manual_seed(0)
    inputs = heads_of(2, 90, 6.0), heads_of(2, 90, 6.0), heads_of(2, 90)
    scores = inputs[0][0].detach().float() @ inputs[1][0].detach().float().mT * scaling
    assert float(scores.max()) > 100.0
    for actual, expected in both(inputs, (90,), scaling):
        assert torch.isfinite(actual).all()
        assert difference(actual, expected) < 2e-2


@needs_products
@pytest.mark.parametrize("bias", [20.0, 60.0])
def test_large_query_and_key_biases_change_nothing(bias: float) -> None:
    # Like Qwen2: one column adds hundreds to the scores of all keys.
    torch.manual_seed(0)
    inputs = heads_of(4, 90), heads_of(2, 90), heads_of(2, 90)
    with torch.no_grad():
        for each in inputs[:2]:
            each[..., 3] += bias
    own = [each.detach().requires_grad_() for each in inputs]
    exact = [each.detach().float().requires_grad_() for each in inputs]
    g = torch.randn(1, 90, 4, SIZE).bfloat16()
    actual, usual, expected = (
        torch.autograd.grad(y, x, g.to(y.dtype))
        for y, x in (
            (cpu_attention.causal_attention(inputs[0], inputs[1], inputs[2], (90,), 0.3), inputs),
            (sequence_packing.rowwise_attention(own[0], own[1], own[2], (90,), 0.3, None), own),
            (
                sequence_packing.rowwise_attention(exact[0], exact[1], exact[2], (90,), 0.3, None),
                exact,
            ),
        )
    )
    for ours, pytorchs, reference in zip(actual, usual, expected, strict=True):
        assert difference(ours, reference) < 2.0 * difference(pytorchs, reference) + 5e-3


@needs_products
def test_equality_check_within_checkpointing_has_no_effect() -> None:
    torch.manual_seed(0)
    inputs = heads_of(4, 40), heads_of(2, 40), heads_of(2, 40)

    def layer(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        return sequence_packing.packed_attention(
            torch.nn.Identity(), q, k, v, None, documents=(25, 15)
        )[0]

    expected = torch.autograd.grad(layer(*inputs).float().square().sum(), inputs)
    cpu_attention.is_equal_to_pytorch.cache_clear()
    actual = checkpoint(layer, *inputs, use_reentrant=False)
    gradients = torch.autograd.grad(actual.float().square().sum(), inputs)
    assert all(torch.equal(one, other) for one, other in zip(gradients, expected, strict=True))


@needs_products
def test_equality_check_passes_under_autocast() -> None:
    cpu_attention.is_equal_to_pytorch.cache_clear()
    query, key = (torch.zeros(1, heads, 40, 64, dtype=torch.bfloat16) for heads in (9, 3))
    with torch.autocast("cpu", torch.bfloat16):
        assert cpu_attention.is_faster(query, key, key, (40,))


@needs_products
def test_float32_queries_use_bfloat16_under_autocast() -> None:
    torch.manual_seed(0)
    inputs = [heads_of(4, 40).detach().float().requires_grad_() for _ in "qkv"]
    layer = torch.nn.Identity()
    with torch.autocast("cpu", torch.bfloat16):
        actual, _ = sequence_packing.packed_attention(
            layer, inputs[0], inputs[1], inputs[2], None, documents=(40,)
        )
        usual = sequence_packing.rowwise_attention(
            inputs[0], inputs[1], inputs[2], (40,), None, None
        )
    assert type(actual.grad_fn).__name__ == "_CausalAttentionBackward"
    assert torch.equal(actual, usual)
    gradients = torch.autograd.grad(actual.float().square().sum(), inputs)
    assert all(gradient.dtype == torch.float32 for gradient in gradients)


@needs_products
def test_rows_do_not_affect_gradients_of_other_rows() -> None:
    torch.manual_seed(0)
    inputs = heads_of(3, 60), heads_of(3, 60), heads_of(3, 60)
    actual = cpu_attention.causal_attention(inputs[0], inputs[1], inputs[2], (25, 35), None)
    for gradient in torch.autograd.grad(actual[:, :25].float().square().sum(), inputs):
        assert gradient[:, :, :25].abs().sum() > 0
        assert gradient[:, :, 25:].abs().sum() == 0


@needs_products
@pytest.mark.parametrize(("name", "value"), [("_GROUP_SCORES", 1), ("_KERNEL_GROUPS_HEADS", False)])
def test_grouped_rows_and_heads_have_the_same_result(
    monkeypatch: pytest.MonkeyPatch, name: str, value: int
) -> None:
    torch.manual_seed(0)
    lengths, inputs = (40, 9, 37), (heads_of(4, 86), heads_of(2, 86), heads_of(2, 86))

    def compute() -> list[torch.Tensor]:
        cpu_attention.compute_layout.cache_clear()
        y = cpu_attention.causal_attention(inputs[0], inputs[1], inputs[2], lengths, None)
        return [y.detach(), *torch.autograd.grad(y.float().square().sum(), inputs)]

    grouped = compute()
    monkeypatch.setattr(cpu_attention, name, value)
    for alone, together in zip(compute(), grouped, strict=True):
        assert difference(together, alone.float()) < 4e-3
    cpu_attention.compute_layout.cache_clear()


def test_rows_of_one_padded_length_are_computed_at_once() -> None:
    layout = cpu_attention.compute_layout((40, 9, 37, 600), 4, 2)
    assert [tuple(group.tokens.shape) for group in layout.groups] == [(2, 64), (1, 32), (1, 640)]
    assert [len(group.blocks) for group in layout.groups] == [1, 1, 3]
    assert layout.groups[0].tokens[1, 36:].eq(85).all()  # padding repeats the last token


@needs_products
def test_kernel_is_used_for_long_rows_within_the_window() -> None:
    def backward_name(lengths: tuple[int, ...], window: int | None = None) -> str:
        inputs = [heads_of(number, sum(lengths)) for number in (4, 2, 2)]
        actual, _ = sequence_packing.packed_attention(
            torch.nn.Identity(), inputs[0], inputs[1], inputs[2], None,
            documents=lengths, sliding_window=window,
        )  # fmt: skip
        return type(actual.grad_fn).__name__

    assert backward_name((5, 17)) == "_CausalAttentionBackward"
    assert backward_name((5, 17), 17) == "_CausalAttentionBackward"
    assert backward_name((5, 17), 16) != "_CausalAttentionBackward"
    assert backward_name((5, 7)) != "_CausalAttentionBackward"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_other_dtypes_use_pytorch_attention(dtype: torch.dtype) -> None:
    inputs = [torch.zeros(1, 2, 40, SIZE, dtype=dtype) for _ in "qkv"]
    assert not cpu_attention.is_faster(inputs[0], inputs[1], inputs[2], (40,))


@needs_products
def test_unequal_head_sizes_and_groups_use_pytorch_attention() -> None:
    query, key, value = heads_of(4, 40), heads_of(2, 40), heads_of(2, 40)
    assert cpu_attention.is_faster(query, key, value, (40,))
    assert not cpu_attention.is_faster(query, key, value[..., :8], (40,))
    assert not cpu_attention.is_faster(heads_of(5, 40), key, value, (40,))


def test_split_in_three_parts_sums_to_the_numbers() -> None:
    numbers = torch.tensor([0.0, 1.0, -123.456, 1e-3, 98765.4321])
    parts = cpu_attention.split_in_three(numbers)
    assert parts.dtype == torch.bfloat16
    torch.testing.assert_close(parts.float().sum(-1), numbers, rtol=2e-7, atol=0.0)
