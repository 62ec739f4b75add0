"""Attention over packed rows: one kernel for all rows gives the same result as each row alone."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional as F  # noqa: N812 - its usual name
from transformers import DeepseekV3Config, LlamaConfig, LlamaForCausalLM
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from lora_studio.engine.devices import grouped_attention
from lora_studio.engine.kernels import sequence_packing
from lora_studio.engine.kernels.sequence_packing import find_blocks

LENGTHS = (7, 1, 12)


def varlen(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    begin: torch.Tensor,
    begin_keys: torch.Tensor,
    longest: int,
    longest_key: int,
    *,
    scale: float | None,
    window_size: tuple[int, int],
    enable_gqa: bool,
) -> torch.Tensor:
    """Compute what PyTorch documents for `varlen_attn`, which CPUs lack: [tokens, heads, size]."""
    assert begin.dtype == begin_keys.dtype == torch.int32
    assert begin.tolist() == begin_keys.tolist() == [0, 7, 8, 20]
    assert longest == longest_key == 12
    parts = []
    for start, end in zip(begin[:-1].tolist(), begin[1:].tolist(), strict=True):
        position = torch.arange(end - start)
        distance = position[:, None] - position[None, :]
        left, right = window_size
        mask = (distance >= -right) & ((distance <= left) if left >= 0 else True)
        q, k, v = (t[start:end].transpose(0, 1)[None] for t in (query, key, value))
        actual = F.scaled_dot_product_attention(
            q, k, v, attn_mask=mask, scale=scale, enable_gqa=enable_gqa
        )
        parts.append(actual[0].transpose(0, 1))
    return torch.cat(parts)


@pytest.mark.parametrize("heads", [2, 4])
@pytest.mark.parametrize("window", [None, 5])
def test_packed_rows_match_rows_computed_alone(heads: int, window: int | None) -> None:
    torch.manual_seed(0)
    shapes: tuple[Any, ...] = (heads, 2, 2)
    query, key, value = (torch.randn(1, number, sum(LENGTHS), 8) for number in shapes)
    actual = sequence_packing.varlen_attention(query, key, value, LENGTHS, 0.3, window, varlen)
    expected = sequence_packing.rowwise_attention(query, key, value, LENGTHS, 0.3, window)
    torch.testing.assert_close(actual, expected)


def varlen_2_11(
    query: torch.Tensor, key: torch.Tensor, *others: Any, scale: float, window_size: tuple[int, int]
) -> torch.Tensor:
    """Have the signature of PyTorch 2.11, which drivers for CUDA 12.8 stay on: no `enable_gqa`."""
    is_grouped = query.shape[1] != key.shape[1]
    return varlen(query, key, *others, scale=scale, window_size=window_size, enable_gqa=is_grouped)


@pytest.mark.parametrize("heads", [2, 4])
@pytest.mark.parametrize("window", [None, 5])
def test_varlen_kernel_of_older_pytorch_gets_known_arguments(
    heads: int, window: int | None
) -> None:
    query, key, value = (torch.randn(1, number, sum(LENGTHS), 8) for number in (heads, 2, 2))
    actual = sequence_packing.varlen_attention(query, key, value, LENGTHS, 0.3, window, varlen_2_11)
    expected = sequence_packing.rowwise_attention(query, key, value, LENGTHS, 0.3, window)
    torch.testing.assert_close(actual, expected)


@torch.no_grad()
def test_grouped_attention_under_a_mask_equals_transformers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    query, key, value = (
        torch.randn(3, heads, count, 8) for heads, count in ((4, 1), (2, 6), (2, 6))
    )
    mask = torch.ones(3, 1, 1, 6, dtype=torch.bool)
    mask[0, ..., :2] = False
    module = torch.nn.Module()
    module.num_key_value_groups = 2  # type: ignore[assignment]  # a module's attributes are its parts
    expected, _ = sdpa_attention_forward(module, query, key, value, mask, scaling=0.3)
    monkeypatch.setattr(grouped_attention, "sdpa_attention_forward", None)  # copies keys
    actual, _ = sequence_packing.packed_attention(module, query, key, value, mask, scaling=0.3)
    torch.testing.assert_close(actual, expected)


def test_cpu_does_not_use_the_varlen_kernel() -> None:
    query = torch.randn(1, 2, 5, 8, dtype=torch.bfloat16)
    assert not sequence_packing.can_use_varlen_kernel(query, query, query)


def test_varlen_kernel_gets_queries_in_autocast_dtype(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dtypes: list[torch.dtype] = []

    def varlen_attention(query: torch.Tensor, *others: Any) -> torch.Tensor:
        dtypes.extend(tensor.dtype for tensor in (query, *others[:2]))
        return query

    monkeypatch.setattr(sequence_packing, "can_use_varlen_kernel", lambda *_: True)
    monkeypatch.setattr(sequence_packing, "varlen_attention", varlen_attention)
    module = torch.nn.Module()
    with FakeTensorMode():
        # Fake tensors show the dtype without a GPU.
        query, key = (torch.empty(1, heads, 12, 16, device="cuda:0") for heads in (4, 2))
        for is_casting in (False, True):
            monkeypatch.setattr(torch, "is_autocast_enabled", lambda kind, on=is_casting: on)
            monkeypatch.setattr(torch, "get_autocast_dtype", lambda kind: torch.bfloat16)
            sequence_packing.packed_attention(module, query, key, key, None, documents=(5, 7))
    assert dtypes == [torch.float32] * 3 + [torch.bfloat16] * 3


def test_varlen_kernel_is_tried_with_the_sizes_of_deepseek(monkeypatch: pytest.MonkeyPatch) -> None:
    config = DeepseekV3Config(
        num_attention_heads=4, num_key_value_heads=4, qk_nope_head_dim=128, qk_rope_head_dim=64,
        v_head_dim=128,
    )  # fmt: skip
    seen: list[Any] = []
    monkeypatch.setattr(sequence_packing, "is_varlen_equal", lambda *about: seen.append(about[2:]))
    weight = SimpleNamespace(device=torch.device("cuda:0"))
    model: Any = SimpleNamespace(config=config, parameters=lambda: iter([weight]))
    sequence_packing.should_use_varlen_kernel(model, torch.bfloat16)
    assert seen == [(4, 4, 192, 128)]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_gpu_with_flash_attention_uses_the_varlen_kernel() -> None:
    query = torch.randn(1, 4, 5, 64, dtype=torch.bfloat16, device="cuda")
    major, _ = torch.cuda.get_device_capability()
    assert sequence_packing.can_use_varlen_kernel(query, query[:, :2], query[:, :2]) == (major >= 8)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_keys_are_repeated_where_no_flash_kernel_supports_gqa(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype
) -> None:
    def has_kernel(about: Any) -> bool:
        is_square = about.query.shape[2] == about.key.shape[2]
        return (
            about.query.element_size() == 2
            and about.attn_mask is None
            and about.enable_gqa
            and (is_square or not about.is_causal)
        )

    monkeypatch.setattr(grouped_attention, "can_use_flash_attention", has_kernel)
    with FakeTensorMode():
        query, key, last = (
            torch.empty(1, *shape, 16, dtype=dtype, device="cuda")
            for shape in ((4, 8), (2, 8), (4, 1))
        )
        mask = torch.empty(8, 8, dtype=torch.bool, device="cuda")
        for queries in (query, last):
            assert grouped_attention.should_repeat_keys(queries, key, key, None) == (
                dtype == torch.float32
            )
        assert grouped_attention.should_repeat_keys(query, key, key, mask)
    assert not grouped_attention.should_repeat_keys(
        *(torch.empty(1, n, 8, 16) for n in (4, 2, 2)), None
    )


def test_repeated_keys_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    query, key, value = (torch.randn(1, n, sum(LENGTHS), 8) for n in (4, 2, 2))
    expected = sequence_packing.rowwise_attention(query, key, value, LENGTHS, None, 4)
    monkeypatch.setattr(sequence_packing, "should_repeat_keys", lambda *_: True)
    actual = sequence_packing.rowwise_attention(query, key, value, LENGTHS, None, 4)
    torch.testing.assert_close(actual, expected)


@pytest.fixture
def head_counts(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Return a list of how many query and key heads PyTorch's attention is called with."""
    counts: list[tuple[int, int]] = []
    compute = F.scaled_dot_product_attention

    def record(query: torch.Tensor, key: torch.Tensor, *others: Any, **named: Any) -> torch.Tensor:
        counts.append((query.shape[1], key.shape[1]))
        return compute(query, key, *others, **named)

    monkeypatch.setattr(F, "scaled_dot_product_attention", record)
    return counts


def test_keys_of_continued_rows_are_repeated_for_kernels(
    monkeypatch: pytest.MonkeyPatch, head_counts: list[tuple[int, int]]
) -> None:
    torch.manual_seed(0)
    query, key, value = (torch.randn(1, n, sum(LENGTHS), 8) for n in (4, 2, 2))
    parents = [-1, *[0] * (len(LENGTHS) - 1)]
    rows = query, key, value, LENGTHS, None, None, 0.0, parents
    expected = sequence_packing.rowwise_attention(*rows)
    monkeypatch.setattr(sequence_packing, "should_repeat_keys", lambda *_: True)
    actual = sequence_packing.rowwise_attention(*rows)
    torch.testing.assert_close(actual, expected)
    assert head_counts == [(4, 2)] * len(LENGTHS) + [(4, 4)] * len(LENGTHS)


@pytest.mark.parametrize("queries", [5, 1], ids=["prompt", "next token"])
def test_keys_of_unpacked_rows_are_repeated_for_kernels(
    monkeypatch: pytest.MonkeyPatch, head_counts: list[tuple[int, int]], queries: int
) -> None:
    torch.manual_seed(0)
    module: Any = SimpleNamespace(num_key_value_groups=2, is_causal=True)
    query, key, value = (torch.randn(2, n, 5, 8) for n in (4, 2, 2))
    rows = module, query[:, :, -queries:], key, value, None
    expected, _ = sequence_packing.packed_attention(*rows)
    monkeypatch.setattr(grouped_attention, "should_repeat_keys", lambda *_: True)
    actual, _ = sequence_packing.packed_attention(*rows)
    torch.testing.assert_close(actual, expected)
    assert head_counts == [(4, 2), (4, 4)]


def test_varlen_kernel_is_unused_where_missing_or_different(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    about = torch.float32, torch.device("cpu"), 4, 2, 8, 8
    sequence_packing.is_varlen_equal.cache_clear()
    assert not sequence_packing.is_varlen_equal(*about)  # PyTorch has it only for GPUs

    def other(*tensors: Any, **named: Any) -> torch.Tensor:
        return torch.zeros_like(tensors[0]) * tensors[0]

    monkeypatch.setattr(sequence_packing, "load_varlen_kernel", lambda: other)
    sequence_packing.is_varlen_equal.cache_clear()
    assert not sequence_packing.is_varlen_equal(*about)
    sequence_packing.is_varlen_equal.cache_clear()


def make_llama(layers: int, dtype: torch.dtype = torch.bfloat16) -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=64, hidden_size=64, intermediate_size=128, num_hidden_layers=layers,
        num_attention_heads=4, num_key_value_heads=2,
    )  # fmt: skip
    return LlamaForCausalLM._from_config(config, dtype=dtype)


def round_differently(model: LlamaForCausalLM) -> None:
    """Change results of attention over packed rows by one unit in the last place, as other kernels do."""
    for layer in model.model.layers:
        attention: Any = layer.self_attn

        def compute(*args: Any, forward: Any = attention.forward, **kwargs: Any) -> Any:
            attended, *others = forward(*args, **kwargs)
            if kwargs.get("documents"):
                signs = torch.randint(0, 2, attended.shape) * 2 - 1
                attended = (attended.float() * (1 + signs * 2.0**-8)).to(attended.dtype)
            return attended, *others

        attention.forward = compute


def compute_last_difference(model: LlamaForCausalLM) -> float:
    """Return how far packing moves the last hidden state, relative to its norm."""
    ids = (torch.arange(24)[None] * 7 + 11) % 64
    with torch.no_grad():
        rows = [model.model(input_ids=row).last_hidden_state for row in ids.split((9, 15), 1)]
        with sequence_packing.use_packed_rows():
            packed = model.model(
                input_ids=ids,
                position_ids=sequence_packing.build_position_ids((9, 15), ids.device),
                documents=(9, 15),
                use_cache=False,
            ).last_hidden_state
    alone = torch.cat(rows, 1).float()
    return float((packed.float() - alone).norm() / alone.norm())


def test_deep_model_is_packed_despite_rounding() -> None:
    model = make_llama(80)
    round_differently(model)
    assert sequence_packing.enable_packing(model, model.model)
    assert model.config._attn_implementation == "per_document"
    assert not any(block._forward_hooks or block._forward_pre_hooks for block in find_blocks(model))
    # More than the difference that is allowed in a single block: the last state alone can't tell.
    assert compute_last_difference(model) > 0.02


def forget_rows(attention: Any) -> None:
    """Let all packed rows count as one."""
    forward = attention.forward

    def compute(*args: Any, documents: Any = None, **kwargs: Any) -> Any:
        return forward(*args, documents=documents and (sum(documents),), **kwargs)

    attention.forward = compute


def test_wrong_attention_is_noticed_beside_larger_states() -> None:
    model = make_llama(4)
    attention = model.model.layers[1].self_attn
    with torch.no_grad():
        attention.o_proj.weight.mul_(1e-3)
    forget_rows(attention)
    assert not sequence_packing.enable_packing(model, model.model)


@pytest.mark.parametrize("layer", [0, 79])
def test_one_block_that_sees_another_row_is_noticed(layer: int) -> None:
    model = make_llama(80)
    forget_rows(model.model.layers[layer].self_attn)
    assert not sequence_packing.enable_packing(model, model.model)
    assert model.config._attn_implementation == "sdpa"


def test_block_with_a_state_along_the_sequence_is_noticed() -> None:
    model = make_llama(4)
    mlp: Any = model.model.layers[2].mlp
    forward = mlp.forward
    mlp.forward = lambda hidden: forward(hidden + 0.5 * hidden.cumsum(1))
    assert not sequence_packing.enable_packing(model, model.model)


def test_packing_is_tried_without_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    model, seen = make_llama(2), []
    monkeypatch.setattr(
        sequence_packing, "is_independent_of_packing", lambda *_, **__: seen.append(torch.is_grad_enabled())
    )  # fmt: skip
    sequence_packing.enable_packing(model, model.model)
    assert seen == [False]


def test_lack_of_memory_says_nothing_about_packing(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> bool:
        raise torch.OutOfMemoryError

    model = make_llama(2)
    monkeypatch.setattr(sequence_packing, "is_independent_of_packing", fail)
    with pytest.raises(torch.OutOfMemoryError):
        sequence_packing.enable_packing(model, model.model)
    assert model.config._attn_implementation == "sdpa"


@pytest.mark.parametrize("uses_int8", [False, True])
def test_int8_weights_may_round_more(uses_int8: bool) -> None:
    model = make_llama(2)
    model.is_loaded_in_8bit = uses_int8
    attention: Any = model.model.layers[0].self_attn
    forward = attention.forward

    def compute(*args: Any, **kwargs: Any) -> Any:
        attended, *others = forward(*args, **kwargs)
        return attended * (1.04 if kwargs.get("documents") else 1.0), *others

    attention.forward = compute
    assert sequence_packing.enable_packing(model, model.model) == uses_int8
