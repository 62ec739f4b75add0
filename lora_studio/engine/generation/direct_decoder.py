"""Write answers on a CPU with models like Llama in few operations; a prompt's keys and values stay in memory once.

A decoding step multiplies every weight by a handful of rows, so what transformers and PEFT do around the
products counts. Here the layers are computed without their modules; the first products of adapters that
have the same input are one; and attention covers a prompt for all its answers at once instead of a copy
for each (Juravsky et al. 2024, arXiv 2402.05099, section 3).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from peft.tuners.lora import Linear as LoraLinear
from torch import nn
from transformers.cache_utils import Cache

from lora_studio.engine.generation import prefix_cache
from lora_studio.engine.generation.batched import compute_logits, pad_left
from lora_studio.engine.generation.prefix_cache import GrowingLayer

#: Decoders that compute as Llama's does, some of them with biases or with norms of queries and keys.
_DECODERS = {"LlamaModel", "MistralModel", "Qwen2Model", "Qwen3Model"}

#: Largest relative difference that counts as rounding, by bytes of the dtype.
_TOLERANCE = {2: 3e-2, 4: 1e-4}

#: Test prompts, of different lengths, and what is written after each.
_TEST_PROMPTS = ([3, 4, 5, 6, 7], [8, 9, 10])
_TEST_ANSWERS = ([11, 12, 13], [14, 15, 16])


class NoDirectDecodingError(Exception):
    """A model has a part that `DirectDecoder` can't compute."""


class _Projections:
    """Linear layers with the same input; the first products of their adapters are one."""

    def __init__(self, *layers: nn.Module) -> None:
        """Read the weights as they are now; raises NoDirectDecodingError."""
        parts = [_read_linear(layer) for layer in layers]
        downs = [down for _, _, down, _ in parts if down is not None]
        self._down = torch.cat(downs).t() if downs else None
        self._parts: list[tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None, slice]] = []
        begin = 0
        for weight, bias, down, up in parts:
            end = begin + (0 if down is None else len(down))
            self._parts.append((weight, bias, up, slice(begin, end)))
            begin = end

    def __call__(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Return y = x·Wᵀ + s (x·Aᵀ)·Bᵀ of each layer, for `x` [rows, inputs]."""
        small = None if self._down is None else x @ self._down
        results = []
        for weight, bias, up, part in self._parts:
            y = F.linear(x, weight, bias)
            if up is not None and small is not None:
                y.addmm_(small[:, part], up)
            results.append(y)
        return results


def _read_linear(
    layer: Any,
) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None, torch.Tensor | None]:
    """Return W, its bias, A, and s Bᵀ of a layer, the latter two None without an adapter in effect."""
    base = layer.base_layer if type(layer) is LoraLinear else layer
    is_plain = type(base) is nn.Linear and not (base._forward_hooks or base._forward_pre_hooks)
    if not is_plain or base.weight.dtype not in (torch.float32, torch.bfloat16):
        raise NoDirectDecodingError(type(layer).__name__)
    weight, bias = base.weight, base.bias
    if base is layer or layer.disable_adapters:
        return weight, bias, None, None
    name = layer.active_adapters[0] if len(layer.active_adapters) == 1 else ""
    is_plain = name in layer.lora_A and name not in layer.lora_variant and not layer.fan_in_fan_out
    if not is_plain or layer.merged or any(layer.lora_bias.values()):
        raise NoDirectDecodingError("adapter")
    up = (layer.lora_B[name].weight * layer.scaling[name]).to(weight.dtype)
    return weight, bias, layer.lora_A[name].weight.to(weight.dtype), up.t()


def _read_norm(layer: Any) -> Callable[[torch.Tensor], torch.Tensor]:
    weight, epsilon = layer.weight, float(layer.variance_epsilon)
    return lambda x: F.rms_norm(x, (x.shape[-1],), weight, epsilon)


class _Layer:
    """One block of the model."""

    def __init__(self, block: Any) -> None:
        attention, mlp = block.self_attn, block.mlp
        if getattr(attention, "sliding_window", None) or not _is_silu(mlp.act_fn):
            raise NoDirectDecodingError(type(block).__name__)
        self._block = block
        self.size, self.scale = int(attention.head_dim), float(attention.scaling)
        self.groups = int(attention.num_key_value_groups)
        self.norms = _read_norm(block.input_layernorm), _read_norm(block.post_attention_layernorm)
        self.head_norms = [
            _read_norm(norm) if norm is not None else None
            for norm in (getattr(attention, "q_norm", None), getattr(attention, "k_norm", None))
        ]
        self.inputs = _Projections(attention.q_proj, attention.k_proj, attention.v_proj)
        self.output = _Projections(attention.o_proj)
        self.gates = _Projections(mlp.gate_proj, mlp.up_proj)
        self.down = _Projections(mlp.down_proj)

    def run_checks(self) -> None:
        """Run what runs before the block in the model, such as a check of the memory, which may raise."""
        for hook in self._block._forward_pre_hooks.values():
            hook(self._block, ())

    def project(
        self, x: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return queries, keys and values [rows, heads, size] of x [rows, inputs], rotated."""
        query, key, value = (
            part.unflatten(1, (-1, self.size)) for part in self.inputs(self.norms[0](x))
        )
        query, key = (
            part if norm is None else norm(part)
            for part, norm in zip((query, key), self.head_norms, strict=True)
        )
        both = torch.cat([query, key], 1)
        rotated = (both * cosine).addcmul_(both.roll(self.size // 2, -1), sine)
        return *rotated.split([query.shape[1], key.shape[1]], 1), value

    def finish(self, x: torch.Tensor, attended: torch.Tensor) -> torch.Tensor:
        """Return the block's result from its input and the attention's [rows, heads · size]."""
        x = x + self.output(attended)[0]
        gate, up = self.gates(self.norms[1](x))
        return x + self.down(F.silu(gate).mul_(up))[0]


def _is_silu(activation: Any) -> bool:
    return type(activation).__name__ in ("SiLU", "SiLUActivation")


class DirectDecoder:
    """Continues answers to prompts, all of which begin at the same time, with the weights as they are now."""

    def __init__(
        self, network: Any, prompts: Cache, mask: torch.Tensor, rows: Sequence[int]
    ) -> None:
        """Take the prompts' cache and `mask` [prompts, tokens], and the index of the prompt of each row.

        Rows of the same prompt are adjacent. Raises NoDirectDecodingError.
        """
        inner = prefix_cache.get_inner(network)
        decoder, head = _get_decoder(inner)
        self._embeddings, self._rotary = decoder.embed_tokens.weight, decoder.rotary_emb
        self._layers = [_Layer(block) for block in decoder.layers]
        self._norm, self._head = _read_norm(decoder.norm), _Projections(head)
        self._prompts, self._mask = prompts, mask
        self._answers = [GrowingLayer() for _ in self._layers]
        self._rows = list(rows)
        self._arrange()

    def keep(self, positions: Sequence[int]) -> None:
        """Continue these rows only."""
        self._rows = [self._rows[position] for position in positions]
        for layer in self._answers:
            layer.batch_select_indices(torch.tensor(positions))
        used = list(dict.fromkeys(self._rows))
        if len(used) < len(self._mask):
            chosen = torch.tensor(used)
            self._prompts, self._mask = (
                prefix_cache.select(self._prompts, chosen),
                self._mask[chosen],
            )
            self._rows = [used.index(row) for row in self._rows]
        self._arrange()

    def _arrange(self) -> None:
        """Give each prompt as many slots as the most rows of one, so that one product covers all prompts."""
        counts = torch.bincount(torch.tensor(self._rows), minlength=len(self._mask))
        self._slots = int(counts.max())
        is_even = bool((counts == self._slots).all())
        begins = counts.cumsum(0) - counts
        taken = torch.arange(self._slots)
        # An empty slot computes any row.
        slots = (begins[:, None] + taken).clamp(max=len(self._rows) - 1).flatten()
        self._slot_rows = None if is_even else slots
        prompts = torch.tensor(self._rows)
        numbers = torch.arange(len(self._rows)) - begins[prompts]
        self._row_slots = prompts * self._slots + numbers
        self._lengths = self._mask.sum(1)[prompts]
        hidden = torch.zeros(self._mask.shape, dtype=self._embeddings.dtype)
        self._hidden = hidden.masked_fill_(self._mask == 0, -torch.inf)[:, None, None]

    @torch.no_grad()
    def compute_logits(self, tokens: Sequence[int]) -> torch.Tensor:
        """Add a token to each row; return the logits after it [rows, vocabulary]."""
        with torch.autocast("cpu", enabled=False):
            x, rotation = self.embed(tokens)
            for number in range(len(self._layers)):
                x = self.compute_block(number, x, rotation)
            return self.compute_output(x)

    def embed(self, tokens: Sequence[int]) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        """Return embeddings [rows, size], and the cosines and sines of their positions [rows, 1, head size]."""
        x = F.embedding(torch.tensor(tokens), self._embeddings)
        positions = self._lengths[:, None] + self._answers[0].get_seq_length()
        cosine, sine = self._rotary(x[:, None], positions)
        first, second = sine.chunk(2, -1)
        return x, (cosine, torch.cat([-first, second], -1))

    def compute_block(
        self, number: int, x: torch.Tensor, rotation: tuple[torch.Tensor, ...]
    ) -> torch.Tensor:
        """Return what a block makes of x [rows, size], whose keys and values it keeps."""
        layer = self._layers[number]
        layer.run_checks()
        query, key, value = layer.project(x, *rotation)
        keys, values = self._answers[number].update(key[:, :, None], value[:, :, None])
        attended = self._attend(number, query.unflatten(1, (-1, layer.groups)), keys, values)
        return layer.finish(x, attended.flatten(1))

    def compute_output(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logits of what the last block returned."""
        return self._head(self._norm(x))[0]

    def _attend(
        self, number: int, query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor
    ) -> torch.Tensor:
        """Return attention to the prompt and to the answer, [rows, key heads, groups, size].

        Both are softmaxes of their own, weighted by their sums: with logarithms of sums l and m, the first has
        the weight exp(l) / (exp(l) + exp(m)).
        """
        scale, prompt = self._layers[number].scale, self._prompts.layers[number]
        attend = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
        after, after_sums = attend(query, keys, values, scale=scale)
        slots = query if self._slot_rows is None else query[self._slot_rows]
        slots = slots.unflatten(0, (-1, self._slots)).transpose(1, 2).flatten(2, 3)
        before, before_sums = attend(
            slots, prompt.keys, prompt.values, attn_mask=self._hidden, scale=scale
        )
        before, sums = (
            self._leave_slots(part, query.shape[2]) for part in (before, before_sums[..., None])
        )
        weights = (sums - after_sums[..., None]).sigmoid_().to(after.dtype)
        return torch.lerp(after, before, weights)

    def _leave_slots(self, part: torch.Tensor, groups: int) -> torch.Tensor:
        """Return [prompts, key heads, slots · groups, size] as [rows, key heads, groups, size]."""
        rows = part.unflatten(2, (-1, groups)).transpose(1, 2).flatten(0, 1)
        return rows if self._slot_rows is None else rows[self._row_slots]


def _get_decoder(inner: Any) -> tuple[Any, Any]:
    """Return the decoder and the output layer of a model on a CPU; raises NoDirectDecodingError."""
    decoder, head = inner.get_decoder(), inner.get_output_embeddings()
    is_known = type(decoder).__name__ in _DECODERS and type(decoder.embed_tokens) is nn.Embedding
    if not is_known or head is None or inner.device.type != "cpu":
        raise NoDirectDecodingError(type(decoder).__name__)
    return decoder, head


@torch.no_grad()
def can_decode_directly(network: Any) -> bool:
    """Return whether each block of a model computes as `DirectDecoder` does, after a few tokens by both."""
    if prefix_cache.find_window(network) != float("inf"):
        return False
    was_training = network.training
    network.eval()
    try:
        return _compare_steps(network)
    except (NoDirectDecodingError, AttributeError, RuntimeError, TypeError, KeyError):
        return False
    finally:
        network.train(was_training)


def _compare_steps(network: Any) -> bool:
    """Return whether both agree, each block on the input that it has in the model.

    The logits can't tell: rounding in 16 bits moves them as much as a fault, for some tokens.
    """
    ids, mask = pad_left(_TEST_PROMPTS, 0)
    cache, rows = prefix_cache.create_cache(network), [0, 0, 1]
    compute_logits(network, ids, cache, mask=mask, keep=1)
    copies = prefix_cache.select(cache, torch.tensor(rows))
    decoder, mask = DirectDecoder(network, cache, mask, rows), mask[rows]
    blocks = prefix_cache.get_inner(network).get_decoder().layers
    for tokens in zip(*_TEST_ANSWERS, _TEST_ANSWERS[0], strict=True):
        mask = torch.cat([mask, mask.new_ones(len(rows), 1)], 1)
        with _record_passes(blocks) as passes:
            ids = torch.tensor(tokens)[:, None]
            logits = compute_logits(network, ids, copies, mask=mask, keep=1)[:, -1]
        with torch.autocast("cpu", enabled=False):
            x, rotation = decoder.embed(tokens)
            pairs = [(x, passes[0][0]), (decoder.compute_output(passes[-1][1]), logits)]
            for number, (given, result) in enumerate(passes):
                pairs.append((decoder.compute_block(number, given, rotation), result))
        if not all(_is_close(actual, expected) for actual, expected in pairs):
            return False
    return True


@contextmanager
def _record_passes(blocks: Sequence[Any]) -> Iterator[list[tuple[torch.Tensor, torch.Tensor]]]:
    """Yield a list that gets the input and the result of each block, both [rows, size]."""
    passes: list[tuple[torch.Tensor, torch.Tensor]] = []

    def record(_: Any, args: tuple[Any, ...], result: Any) -> None:
        passes.append((args[0][:, -1], result[:, -1]))

    with ExitStack() as hooks:
        for block in blocks:
            hooks.callback(block.register_forward_hook(record).remove)
        yield passes


def _is_close(actual: torch.Tensor, expected: torch.Tensor) -> bool:
    difference = (actual.float() - expected.float()).norm(dim=-1)
    limits = _TOLERANCE[expected.dtype.itemsize] * expected.float().norm(dim=-1)
    return bool((difference <= limits).all())
