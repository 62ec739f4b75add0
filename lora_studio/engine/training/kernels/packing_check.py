"""Check that a model computes packed rows as it computes each row alone, block by block.

The output of a whole model can't tell: rounding moves the last hidden state of 80 blocks in 16-bit by 2 to
3 %, as much as a fault in a single block. So each row alone gets the inputs that the blocks had in the
packed pass, and what every block and its attention make of them is compared.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

from lora_studio.engine.training.kernels import numerical_equivalence

#: Largest relative difference that counts as rounding, by bytes of the dtype.
_TOLERANCE = {2: 2e-2, 4: 1e-4}

#: The same for LLM.int8: it computes columns with outliers in 16 bits, and looks for them in all rows of a product.
_INT8_TOLERANCE = 5e-2

#: Parts of a block that combine tokens. Their results are also compared without the residual stream, in
#: which a wrong one may disappear.
_MIXERS = re.compile(r"attn|attention|mixer|mamba|conv|ssm", re.IGNORECASE)


def is_independent_of_packing(
    decoder: torch.nn.Module,
    rows: Sequence[torch.Tensor],
    run_packed: Callable[[], torch.Tensor],
    run_row: Callable[[int], torch.Tensor],
    *,
    uses_int8: bool = False,
) -> bool:
    """Return whether each block of `decoder` computes packed rows as it computes each row alone.

    `run_packed` returns the hidden states of all rows packed, `run_row` those of one row, both
    [1, tokens, size]; `rows` are the positions of each row's tokens among the packed ones. `uses_int8`: the
    weights are those of LLM.int8.
    """
    blocks = find_blocks(decoder)
    parts = [*blocks, *(mixer for block in blocks for mixer in _find_mixers(block))]
    inputs: dict[torch.nn.Module, torch.Tensor] = {}
    packed: dict[torch.nn.Module, torch.Tensor] = {}
    with _record_outputs(parts, packed), _record_inputs(blocks, inputs):
        last = run_packed()
    for index, tokens in enumerate(rows):
        alone: dict[torch.nn.Module, torch.Tensor] = {}
        with _record_outputs(parts, alone), _replace_inputs(blocks, inputs, tokens):
            pairs = [(last, run_row(index))]
        pairs += [(packed[part], alone[part]) for part in packed]
        if not all(_is_close(of_all[:, tokens], of_row, uses_int8) for of_all, of_row in pairs):
            return False
    return True


def find_blocks(model: torch.nn.Module) -> list[torch.nn.Module]:
    """Return the blocks of a transformer: the members of its longest list of layers."""
    lists = [list(item) for item in model.modules() if isinstance(item, torch.nn.ModuleList)]
    return max(lists, key=len, default=[])


def _find_mixers(block: torch.nn.Module) -> list[torch.nn.Module]:
    named = block.named_children()
    return [part for name, part in named if _MIXERS.search(name) and "norm" not in name]


def _is_close(actual: torch.Tensor, expected: torch.Tensor, uses_int8: bool) -> bool:
    tolerance = _TOLERANCE[numerical_equivalence.compute_itemsize(actual)]
    return numerical_equivalence.is_close(
        actual, expected, _INT8_TOLERANCE if uses_int8 else tolerance
    )


@contextmanager
def _record_outputs(
    parts: Sequence[torch.nn.Module], outputs: dict[torch.nn.Module, torch.Tensor]
) -> Iterator[None]:
    """Store what each part returns, [1, tokens, size]."""

    def record(part: torch.nn.Module, _: Any, output: Any) -> None:
        first = output[0] if isinstance(output, tuple) else output
        if isinstance(first, torch.Tensor) and first.dim() == 3:
            outputs[part] = first

    with ExitStack() as hooks:
        for part in parts:
            hooks.callback(part.register_forward_hook(record).remove)
        yield


@contextmanager
def _record_inputs(
    blocks: Sequence[torch.nn.Module], inputs: dict[torch.nn.Module, torch.Tensor]
) -> Iterator[None]:
    def record(block: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        inputs[block] = args[0] if args else kwargs["hidden_states"]

    with ExitStack() as hooks:
        for block in blocks:
            hooks.callback(block.register_forward_pre_hook(record, with_kwargs=True).remove)
        yield


@contextmanager
def _replace_inputs(
    blocks: Sequence[torch.nn.Module],
    inputs: dict[torch.nn.Module, torch.Tensor],
    tokens: torch.Tensor,
) -> Iterator[None]:
    """Give each block the recorded hidden states of some tokens, instead of those before it."""

    def replace(
        block: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        hidden = inputs[block][:, tokens]
        if args:
            return (hidden, *args[1:]), kwargs
        return args, kwargs | {"hidden_states": hidden}

    with ExitStack() as hooks:
        for block in blocks:
            hooks.callback(block.register_forward_pre_hook(replace, with_kwargs=True).remove)
        yield
