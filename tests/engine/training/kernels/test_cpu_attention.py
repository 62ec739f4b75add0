"""Gradients of attention by products of whole matrices: those of PyTorch's, in 16 bits."""

from __future__ import annotations

import pytest
import torch
from torch.utils.checkpoint import checkpoint

from lora_studio.engine.devices import devices
from lora_studio.engine.training.kernels import cpu_attention, sequence_packing

SIZE = 16

needs_products = pytest.mark.skipif(
    not devices.has_bfloat16_instructions(),
    reason="this processor does not multiply in 16 bits, so PyTorch's own attention is used",
)


def heads_of(number: int, tokens: int, spread: float = 1.0) -> torch.Tensor:
    """[1, heads, tokens, size] as layers make it: tokens outside, heads inside."""
    made = torch.randn(1, tokens, number, SIZE) * spread
    return made.bfloat16().transpose(1, 2).requires_grad_()


def both(
    given: tuple[torch.Tensor, ...], lengths: tuple[int, ...], scaling: float | None = None
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Result and gradients by `attend` in 16 bits, and by PyTorch in 32."""
    exact = tuple(each.detach().float().requires_grad_() for each in given)
    found = cpu_attention.causal_attention(given[0], given[1], given[2], lengths, scaling)
    expected = sequence_packing.attention_row_by_row(
        exact[0], exact[1], exact[2], lengths, scaling, None
    )
    assert found.shape == expected.shape
    g = torch.randn_like(found)
    gradients = torch.autograd.grad(found, given, g)
    wanted = torch.autograd.grad(expected, exact, g.float())
    return [(found.detach(), expected.detach()), *zip(gradients, wanted, strict=True)]


def difference(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found.float() - expected).norm() / expected.norm())


@needs_products
@pytest.mark.parametrize(("heads", "keys"), [(4, 4), (6, 2), (5, 1)])
@pytest.mark.parametrize("lengths", [(1,), (32,), (7, 1, 40), (70, 129)], ids=str)
def test_gradients_are_those_of_32_bits_up_to_rounding(
    heads: int, keys: int, lengths: tuple[int, ...]
) -> None:
    torch.manual_seed(0)
    tokens = sum(lengths)
    given = heads_of(heads, tokens), heads_of(keys, tokens), heads_of(keys, tokens)
    for found, expected in both(given, lengths):
        # A token alone looks at itself whatever it says: the gradients of its score are noise.
        if expected.norm() > 1e-3:
            assert difference(found, expected) < 1.2e-2


@needs_products
def test_gradients_of_a_row_are_summed_over_its_blocks() -> None:
    torch.manual_seed(0)
    lengths = (3 * cpu_attention.QUERIES_PER_BLOCK + 5, 20)  # four blocks, and one
    tokens = sum(lengths)
    given = heads_of(2, tokens), heads_of(1, tokens), heads_of(1, tokens)
    for found, expected in both(given, lengths):
        assert difference(found, expected) < 1.2e-2


@needs_products
@pytest.mark.parametrize("scaling", [0.25, 0.3])
def test_scores_far_apart_lose_nothing_where_they_count(scaling: float) -> None:
    torch.manual_seed(0)
    given = heads_of(2, 90, 6.0), heads_of(2, 90, 6.0), heads_of(2, 90)
    scores = given[0][0].detach().float() @ given[1][0].detach().float().mT * scaling
    assert float(scores.max()) > 100.0
    for found, expected in both(given, (90,), scaling):
        assert torch.isfinite(found).all()
        assert difference(found, expected) < 2e-2


@needs_products
@pytest.mark.parametrize("bias", [20.0, 60.0])
def test_large_biases_of_queries_and_keys_change_nothing(bias: float) -> None:
    # As in Qwen2: one column makes scores of hundreds, which all keys share.
    torch.manual_seed(0)
    given = heads_of(4, 90), heads_of(2, 90), heads_of(2, 90)
    with torch.no_grad():
        for each in given[:2]:
            each[..., 3] += bias
    own = [each.detach().requires_grad_() for each in given]
    exact = [each.detach().float().requires_grad_() for each in given]
    g = torch.randn(1, 90, 4, SIZE).bfloat16()
    found, usual, expected = (
        torch.autograd.grad(y, x, g.to(y.dtype))
        for y, x in (
            (cpu_attention.causal_attention(given[0], given[1], given[2], (90,), 0.3), given),
            (sequence_packing.attention_row_by_row(own[0], own[1], own[2], (90,), 0.3, None), own),
            (
                sequence_packing.attention_row_by_row(
                    exact[0], exact[1], exact[2], (90,), 0.3, None
                ),
                exact,
            ),
        )
    )
    for ours, pytorchs, wanted in zip(found, usual, expected, strict=True):
        assert difference(ours, wanted) < 2.0 * difference(pytorchs, wanted) + 5e-3


@needs_products
def test_the_first_use_within_a_layer_that_is_computed_twice_counts_nothing_of_its_trial() -> None:
    torch.manual_seed(0)
    given = heads_of(4, 40), heads_of(2, 40), heads_of(2, 40)

    def layer(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        return sequence_packing.attention_in_rows(
            torch.nn.Identity(), q, k, v, None, documents=(25, 15)
        )[0]

    expected = torch.autograd.grad(layer(*given).float().square().sum(), given)
    cpu_attention._is_equal.cache_clear()
    found = checkpoint(layer, *given, use_reentrant=False)
    gradients = torch.autograd.grad(found.float().square().sum(), given)
    assert all(torch.equal(one, other) for one, other in zip(gradients, expected, strict=True))


@needs_products
def test_the_first_use_under_autocast_tries_what_training_computes() -> None:
    cpu_attention._is_equal.cache_clear()
    query, key = (torch.zeros(1, heads, 40, 64, dtype=torch.bfloat16) for heads in (9, 3))
    with torch.autocast("cpu", torch.bfloat16):
        assert cpu_attention.is_faster(query, key, key, (40,))


@needs_products
def test_beside_quantised_weights_32_bit_queries_are_taken_in_16_bits_too() -> None:
    torch.manual_seed(0)
    given = [heads_of(4, 40).detach().float().requires_grad_() for _ in "qkv"]
    layer = torch.nn.Identity()
    with torch.autocast("cpu", torch.bfloat16):
        found, _ = sequence_packing.attention_in_rows(
            layer, given[0], given[1], given[2], None, documents=(40,)
        )
        usual = sequence_packing.attention_row_by_row(
            given[0], given[1], given[2], (40,), None, None
        )
    assert type(found.grad_fn).__name__ == "_CausalAttentionBackward"
    assert torch.equal(found, usual)
    gradients = torch.autograd.grad(found.float().square().sum(), given)
    assert all(gradient.dtype == torch.float32 for gradient in gradients)


@needs_products
def test_no_row_has_a_part_in_the_gradients_of_another() -> None:
    torch.manual_seed(0)
    given = heads_of(3, 60), heads_of(3, 60), heads_of(3, 60)
    found = cpu_attention.causal_attention(given[0], given[1], given[2], (25, 35), None)
    for gradient in torch.autograd.grad(found[:, :25].float().square().sum(), given):
        assert gradient[:, :, :25].abs().sum() > 0
        assert gradient[:, :, 25:].abs().sum() == 0


@needs_products
def test_training_in_16_bits_takes_it_and_rows_beyond_a_window_or_short_ones_do_not() -> None:
    def made(lengths: tuple[int, ...], window: int | None = None) -> str:
        given = [heads_of(number, sum(lengths)) for number in (4, 2, 2)]
        found, _ = sequence_packing.attention_in_rows(
            torch.nn.Identity(), given[0], given[1], given[2], None,
            documents=lengths, sliding_window=window,
        )  # fmt: skip
        return type(found.grad_fn).__name__

    assert made((5, 17)) == "_CausalAttentionBackward"
    assert made((5, 17), 17) == "_CausalAttentionBackward"
    assert made((5, 17), 16) != "_CausalAttentionBackward"
    assert made((5, 7)) != "_CausalAttentionBackward"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_other_number_formats_take_pytorchs_own(dtype: torch.dtype) -> None:
    given = [torch.zeros(1, 2, 40, SIZE, dtype=dtype) for _ in "qkv"]
    assert not cpu_attention.is_faster(given[0], given[1], given[2], (40,))


@needs_products
def test_values_of_another_size_and_heads_that_share_unevenly_take_pytorchs_own() -> None:
    query, key, value = heads_of(4, 40), heads_of(2, 40), heads_of(2, 40)
    assert cpu_attention.is_faster(query, key, value, (40,))
    assert not cpu_attention.is_faster(query, key, value[..., :8], (40,))
    assert not cpu_attention.is_faster(heads_of(5, 40), key, value, (40,))


def test_numbers_split_in_three_parts_add_up_to_themselves() -> None:
    numbers = torch.tensor([0.0, 1.0, -123.456, 1e-3, 98765.4321])
    parts = cpu_attention._split_in_three(numbers)
    assert parts.dtype == torch.bfloat16
    torch.testing.assert_close(parts.float().sum(-1), numbers, rtol=2e-7, atol=0.0)
