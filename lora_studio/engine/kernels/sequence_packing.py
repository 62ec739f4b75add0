"""Rows packed end to end into one sequence, with attention inside each row only.

Nothing is padded, so nothing is computed for padding, and each row's attention costs the square of
its own length rather than of the whole sequence. The result equals that of each row alone;
`enable_packing` verifies this for every model. Models whose layers carry a state along the sequence, or
that don't use position ids, train on padded rows.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from functools import lru_cache
from itertools import accumulate
from typing import Any, cast

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from transformers import AttentionInterface, PreTrainedModel
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from lora_studio.engine.devices.devices import copy_to_device
from lora_studio.engine.devices.grouped_attention import grouped_attention, should_repeat_keys
from lora_studio.engine.generation.batched import skip_mask_checks
from lora_studio.engine.kernels import numerical_equivalence
from lora_studio.engine.model import capped_attention
from lora_studio.engine.model.capped_attention import attend
from lora_studio.engine.runtime.failures import is_out_of_memory

# Check that a model computes packed rows as it computes each row alone, block by block.
#
# The output of a whole model can't tell: rounding moves the last hidden state of 80 blocks in 16-bit by 2 to
# 3 %, as much as a fault in a single block. So each row alone gets the inputs that the blocks had in the
# packed pass, and what every block and its attention make of them is compared.

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


#: Name of this attention in transformers' registry.
_NAME = "per_document"

#: Largest relative difference that counts as rounding, by bytes of the dtype.
_TOLERANCE = {2: 2e-2, 4: 1e-4}

#: Lengths of the rows that a model is tested with.
_TEST_LENGTHS = (9, 15)


def packed_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    documents: Sequence[int] | None = None,
    parents: Sequence[int] = (),
    allows_flash: bool = True,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: torch.Tensor | None = None,
    **others: Any,
) -> tuple[torch.Tensor, None]:
    """Return causal attention within each packed row, [1, tokens, heads, size].

    `query` is [1, heads, tokens, size]; `documents` are the lengths of the rows in tokens; without
    them, attention is that of rows that aren't packed. A row with one of `parents`, which isn't -1, continues that row.
    `allows_flash` allows one kernel for all rows. Raises NotImplementedError for attention sinks, which
    PyTorch's fused kernels don't support.
    """
    if documents is None and softcap is not None:
        return capped_attention.capped_attention(
            module, query, key, value, attention_mask, scaling=scaling, dropout=dropout,
            sliding_window=sliding_window, softcap=softcap,
        )  # fmt: skip
    if documents is None:
        return grouped_attention(
            module, query, key, value, attention_mask, dropout, scaling, **others
        )
    if s_aux is not None:
        raise NotImplementedError("attention with sinks")
    query, key, value = capped_attention.cast_as_autocast(query, key, value)
    is_plain = not parents and softcap is None and dropout == 0.0
    if is_plain and allows_flash and can_use_varlen_kernel(query, key, value):
        return varlen_attention(query, key, value, tuple(documents), scaling, sliding_window), None
    return rowwise_attention(
        query, key, value, documents, scaling, sliding_window, dropout, parents, softcap
    ), None


def rowwise_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    documents: Sequence[int],
    scaling: float | None,
    sliding_window: int | None,
    dropout: float = 0.0,
    parents: Sequence[int] = (),
    softcap: float | None = None,
) -> torch.Tensor:
    """Compute each row by PyTorch's own attention, which every device has; `softcap` caps the scores.

    A row with a parent also attends to all of its parent, which has none itself. No `parents` at all means that
    no row has one.
    """
    parents = parents or [-1] * len(documents)
    masks = [
        _get_mask(documents[parent] if parent >= 0 else 0, length, sliding_window, query.device)
        for length, parent in zip(documents, parents, strict=True)
        if softcap is None
    ]
    if any(should_repeat_keys(query, key, value, mask) for mask in masks):
        groups = query.shape[1] // key.shape[1]
        key, value = (tensor.repeat_interleave(groups, 1) for tensor in (key, value))
    keys, values = key.split(documents, 2), value.split(documents, 2)
    parts = []
    for number, (q, parent) in enumerate(zip(query.split(documents, 2), parents, strict=True)):
        k, v = keys[number], values[number]
        if parent >= 0:
            k, v = torch.cat([keys[parent], k], 2), torch.cat([values[parent], v], 2)
        if softcap is not None:
            parts.append(
                attend(q, k, v, softcap, scale=scaling, window=sliding_window, dropout=dropout)
            )
            continue
        mask, is_grouped = masks[number], q.shape[1] != k.shape[1]
        parts.append(
            F.scaled_dot_product_attention(
                q, k, v, mask, dropout, mask is None, scale=scaling, enable_gqa=is_grouped
            )
        )
    return torch.cat(parts, 2).transpose(1, 2).contiguous()


def varlen_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    documents: tuple[int, ...],
    scaling: float | None,
    sliding_window: int | None,
    kernel: Callable[..., Any] | None = None,
) -> torch.Tensor:
    """Compute all rows in one launch of FlashAttention's variable-length kernel (Dao 2023).

    With a launch for each short row, a GPU would wait for the next launch most of the time.
    """
    bounds = _get_bounds(documents, query.device)
    longest = max(documents)
    compute = kernel or load_varlen_kernel()
    # PyTorch 2.11 computes grouped queries without this argument, which 2.12 requires.
    is_named = "enable_gqa" in inspect.signature(compute).parameters
    grouping = {"enable_gqa": query.shape[1] != key.shape[1]} if is_named else {}
    attended = compute(
        *(tensor[0].transpose(0, 1) for tensor in (query, key, value)),
        bounds,
        bounds,
        longest,
        longest,
        scale=scaling,
        window_size=(-1 if sliding_window is None else sliding_window - 1, 0),
        **grouping,
    )
    return cast(torch.Tensor, attended)[None]


def load_varlen_kernel() -> Callable[..., Any]:
    """Return PyTorch's variable-length attention; raises ImportError before PyTorch 2.10.

    `varlen_attention` needs the scale and the window, which 2.11 added.
    """
    from torch.nn.attention.varlen import varlen_attn

    return cast(Callable[..., Any], varlen_attn)


@lru_cache(maxsize=8)
def _get_bounds(documents: tuple[int, ...], device: torch.device) -> torch.Tensor:
    """Return where rows begin and end, [rows + 1] int32; cached, since every layer needs the same."""
    ends = torch.tensor([0, *accumulate(documents)], dtype=torch.int32)
    return copy_to_device(ends, device)


def can_use_varlen_kernel(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> bool:
    """Return whether `varlen_attention` works for such heads: on a CUDA GPU in 16 bits, and tested."""
    if (
        not query.is_cuda
        or query.element_size() != 2
        or not query.dtype == key.dtype == value.dtype
    ):
        return False
    heads = (
        query.dtype,
        query.device,
        query.shape[1],
        key.shape[1],
        query.shape[-1],
        value.shape[-1],
    )
    return is_varlen_equal(*heads)


def should_use_varlen_kernel(model: PreTrainedModel, dtype: torch.dtype) -> bool:
    """Return whether a model that computes in `dtype` uses `varlen_attention`."""
    config, device = model.config.get_text_config(), next(model.parameters()).device
    if capped_attention.has_capped_scores(config):
        return False
    heads = config.num_attention_heads
    try:
        keys = getattr(config, "num_key_value_heads", None) or heads
        size = getattr(config, "head_dim", None) or config.hidden_size // heads
    except RuntimeError:  # its layers have different ones
        return False
    size = getattr(config, "qk_head_dim", None) or size  # DeepSeek's differs from that of values
    values = getattr(config, "v_head_dim", None) or size
    half = dtype in (torch.bfloat16, torch.float16)
    return (
        device.type == "cuda" and half and is_varlen_equal(dtype, device, heads, keys, size, values)
    )


@lru_cache(maxsize=32)
def is_varlen_equal(
    dtype: torch.dtype, device: torch.device, heads: int, keys: int, size: int, values: int
) -> bool:
    """Return whether both kernels agree on two short rows, gradients included."""
    lengths = 5, 9

    def create(heads: int, size: int) -> torch.Tensor:
        numbers = torch.arange(heads * sum(lengths) * size, device=device)
        return (numbers * 0.7).sin().view(1, heads, sum(lengths), size).to(dtype).requires_grad_()

    inputs = create(heads, size), create(keys, size), create(keys, values)
    try:
        with torch.enable_grad():
            both = [
                [result.detach(), *torch.autograd.grad(result.float().square().sum(), inputs)]
                for result in (
                    varlen_attention(*inputs, lengths, None, None),
                    rowwise_attention(*inputs, lengths, None, None),
                )
            ]
    except (ImportError, NotImplementedError, RuntimeError, ValueError, TypeError, AttributeError):
        return False
    return all(
        numerical_equivalence.is_close(one, other, _TOLERANCE[2])
        for one, other in zip(*both, strict=True)
    )


_is_packing: ContextVar[bool] = ContextVar("packing", default=False)


def _create_mask(*args: Any, **kwargs: Any) -> torch.Tensor | None:
    """Return no mask while rows are packed: `packed_attention` keeps them apart."""
    return None if _is_packing.get() else sdpa_mask(*args, **kwargs)


AttentionInterface.register(_NAME, packed_attention)
AttentionMaskInterface.register(_NAME, _create_mask)


@contextmanager
def use_packed_rows() -> Iterator[None]:
    """Wrap the forward pass of packed rows.

    Recomputation in the backward pass doesn't need it: the mask and the lengths of the rows are among
    the arguments that are stored.
    """
    token = _is_packing.set(True)
    try:
        with skip_mask_checks(is_padded=False):
            yield
    finally:
        _is_packing.reset(token)


def build_position_ids(
    documents: Sequence[int], device: torch.device, parents: Sequence[int] = ()
) -> torch.Tensor:
    """Return the position of each token in its own row, after that of its parent, [1, tokens] int64."""
    begins = [
        documents[parent] if parent >= 0 else 0 for parent in parents or [-1] * len(documents)
    ]
    positions = [
        torch.arange(begin, begin + length) for begin, length in zip(begins, documents, strict=True)
    ]
    return copy_to_device(torch.cat(positions)[None], device)


def _make_test_ids(model: PreTrainedModel) -> torch.Tensor:
    """Return token IDs for two short rows, [1, tokens]."""
    device = next(model.parameters()).device
    vocabulary = model.config.get_text_config().vocab_size
    return (torch.arange(sum(_TEST_LENGTHS), device=device)[None] * 7 + 11) % vocabulary


@torch.no_grad()
def enable_packing(model: PreTrainedModel, decoder: torch.nn.Module) -> bool:
    """Make `packed_attention` the model's attention, unless that changes what any block computes.

    Returns whether it did, after comparing two short rows, packed and alone: three passes over 24
    tokens. `decoder` is the part of the model below its output layer.
    """
    implementation = model.config._attn_implementation
    if implementation not in ("sdpa", capped_attention.NAME):
        return False
    ids = _make_test_ids(model)

    def run_packed() -> torch.Tensor:
        model.config._attn_implementation = _NAME
        with use_packed_rows():
            hidden: torch.Tensor = decoder(
                input_ids=ids,
                position_ids=build_position_ids(_TEST_LENGTHS, ids.device),
                documents=_TEST_LENGTHS,
                use_cache=False,
            ).last_hidden_state
        return hidden

    def run_row(index: int) -> torch.Tensor:
        model.config._attn_implementation = implementation
        row = ids.split(_TEST_LENGTHS, 1)[index]
        hidden: torch.Tensor = decoder(input_ids=row, use_cache=False).last_hidden_state
        return hidden

    was_training = model.training
    model.eval()
    fits = False
    try:
        rows = torch.arange(sum(_TEST_LENGTHS), device=ids.device).split(_TEST_LENGTHS)
        uses_int8 = getattr(model, "is_loaded_in_8bit", False)
        fits = is_independent_of_packing(decoder, rows, run_packed, run_row, uses_int8=uses_int8)
    except (TypeError, NotImplementedError, RuntimeError, ValueError, AttributeError) as error:
        if is_out_of_memory(error):
            raise  # says nothing about the model; other ranks may have had enough memory
    finally:
        model.train(was_training)
        model.config._attn_implementation = _NAME if fits else implementation
    return fits


@torch.no_grad()
def can_share_prompts(model: PreTrainedModel, decoder: torch.nn.Module) -> bool:
    """Return whether a model with packed rows computes rows after a shared prompt as it computes each alone.

    Compares two short rows: three passes over at most 24 tokens.
    """
    ids, (prompt, *_) = _make_test_ids(model), _TEST_LENGTHS
    lengths, parents = (prompt, 9, 6), (-1, 0, 0)
    parts = torch.arange(sum(lengths), device=ids.device).split(lengths)
    rows = [torch.cat([parts[0], part]) for part in parts[1:]]

    def run(tokens: torch.Tensor, lengths: Sequence[int], parents: Sequence[int]) -> torch.Tensor:
        with use_packed_rows():
            hidden: torch.Tensor = decoder(
                input_ids=ids[:, tokens],
                position_ids=build_position_ids(lengths, ids.device, parents),
                documents=lengths,
                **({"parents": parents} if parents else {}),
                use_cache=False,
            ).last_hidden_state
        return hidden

    was_training = model.training
    model.eval()
    try:
        return is_independent_of_packing(
            decoder,
            rows,
            lambda: run(torch.cat(parts), lengths, parents),
            lambda index: run(rows[index], (len(rows[index]),), ()),
        )
    except (TypeError, NotImplementedError, RuntimeError, ValueError, AttributeError):
        return False
    finally:
        model.train(was_training)


def _get_mask(
    before: int, length: int, window: int | None, device: torch.device
) -> torch.Tensor | None:
    """Return what `length` tokens after `before` others see, [length, before + length] bool; None: as usual."""
    if not before:
        is_whole = window is None or length <= window
        return None if is_whole else _compute_mask(0, length, window, device)
    # Rows after the same prompt have similar lengths, and all layers need the same.
    mask = _compute_rounded_mask(before, -(-length // 64) * 64, window, device)
    return mask[:length, : before + length]


def _compute_mask(
    before: int, length: int, window: int | None, device: torch.device
) -> torch.Tensor:
    distance = (
        torch.arange(before, before + length, device=device)[:, None]
        - torch.arange(before + length, device=device)[None, :]
    )
    return (distance >= 0) & (distance < (window or before + length))


_compute_rounded_mask = lru_cache(maxsize=4)(_compute_mask)
