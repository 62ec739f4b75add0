"""Gradients of attention by products of whole matrices: those of PyTorch's, in 16 bits."""

from __future__ import annotations

import pytest
import torch

from lora_studio.engine import attention, device, documents

SIZE = 16

needs_products = pytest.mark.skipif(
    not device.multiplies_bfloat16(),
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
    found = attention.attend(given[0], given[1], given[2], lengths, scaling)
    expected = documents.one_by_one(exact[0], exact[1], exact[2], lengths, scaling, None)
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
def test_rows_longer_than_the_queries_of_a_part_add_up() -> None:
    torch.manual_seed(0)
    lengths = (3 * attention._QUERIES + 5, 20)
    tokens = sum(lengths)
    given = heads_of(2, tokens), heads_of(1, tokens), heads_of(1, tokens)
    assert len(attention._plan(lengths, 2, 1).parts) == 5
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
def test_no_row_has_a_part_in_the_gradients_of_another() -> None:
    torch.manual_seed(0)
    given = heads_of(3, 60), heads_of(3, 60), heads_of(3, 60)
    found = attention.attend(given[0], given[1], given[2], (25, 35), None)
    for gradient in torch.autograd.grad(found[:, :25].float().square().sum(), given):
        assert gradient[:, :, :25].abs().sum() > 0
        assert gradient[:, :, 25:].abs().sum() == 0


@needs_products
def test_training_in_16_bits_takes_it_and_rows_beyond_a_window_do_not() -> None:
    given = heads_of(4, 12), heads_of(2, 12), heads_of(2, 12)
    assert attention.serves(given[0], given[1], given[2])
    layer = torch.nn.Identity()
    found, _ = documents.attend(layer, given[0], given[1], given[2], None, documents=(5, 7))
    assert type(found.grad_fn).__name__ == "_AttendedBackward"
    found, _ = documents.attend(
        layer, given[0], given[1], given[2], None, documents=(5, 7), sliding_window=6
    )
    assert type(found.grad_fn).__name__ != "_AttendedBackward"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_other_number_formats_take_pytorchs_own(dtype: torch.dtype) -> None:
    given = [torch.zeros(1, 2, 4, SIZE, dtype=dtype) for _ in "qkv"]
    assert not attention.serves(given[0], given[1], given[2])


def test_numbers_in_three_parts_add_up_to_themselves() -> None:
    numbers = torch.tensor([0.0, 1.0, -123.456, 1e-3, 98765.4321])
    parts = attention._in_three(numbers)
    assert parts.dtype == torch.bfloat16
    torch.testing.assert_close(parts.float().sum(-1), numbers, rtol=2e-7, atol=0.0)
