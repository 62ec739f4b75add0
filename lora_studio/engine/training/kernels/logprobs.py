"""Log-probabilities of the trained tokens of a batch: the one pass all objectives stand on.

Logits are the largest tensor by far: a vocabulary of 150,000 at 8,000 positions takes 5 GB in
32-bit, and the softmax and its gradient as much again. So they are computed only at positions that
train, and piece by piece: the gradient of each piece is taken at once and its logits are dropped,
which costs no second pass (as the output layer does not train, the gradient at a position needs
nothing but its own logits). The softmax is computed in 32-bit, a few rows at a time that the
processor's cache holds, and its gradient takes the place of the logits: a fifth of the time of a
softmax over the whole piece, and a sixth of its memory.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import peft
import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from transformers import PreTrainedModel

from lora_studio.core.memory.estimate import LOGITS_AT_ONCE
from lora_studio.core.problems import Where, fail
from lora_studio.engine.dataset.batches import Batch
from lora_studio.engine.training.kernels import (
    fused,
    liger,
    numerical_equivalence,
    sequence_packing,
)

_LOGITS_AT_ONCE = LOGITS_AT_ONCE

#: Logits that a processor's cache holds in 32-bit: 1 MB.
_LOGITS_IN_CACHE = 1 << 18

Head = Callable[[torch.Tensor], torch.Tensor]

#: Logits, targets and whether the gradient is wanted -> −log p of each target.
_Score = Callable[[torch.Tensor, torch.Tensor, bool], torch.Tensor]


class Scorer:
    """Scores the trained tokens of batches with one model.

    `packed` says whether rows are packed end to end, `chunked` whether logits are computed in pieces;
    both follow from trying what the model does. Where it does neither, rows are padded and the
    model's own output layer is asked for the trained positions.
    """

    def __init__(
        self,
        model: peft.PeftModel,
        start: Path | None = None,
        *,
        packing: bool = True,
        dtype: torch.dtype | None = None,
        with_liger: bool = True,
        compiled: bool = False,
    ) -> None:
        """Tries the model out: a few passes over a handful of tokens.

        `start` is the folder of the adapter as it began, where it began as more than no change. Without
        `packing` rows are padded even where they could be packed; without `with_liger` its kernels are
        left alone even where they are installed. `compiled`: gates may be compiled later. `dtype` is what
        is computed in, where that is not the format of the base: beside quantised weights all is in 32-bit.
        """
        self.model, self._start = model, start
        self._dropping: list[torch.nn.Module] = []
        self.base: PreTrainedModel = model.get_base_model()
        self.dtype = dtype or self.base.dtype
        self.device = next(model.parameters()).device
        self._decoder = _decoder(self.base)
        self.packed, self._head = False, None
        if self._decoder is not None:
            with self._computing():
                self.packed = packing and sequence_packing.enable(self.base, self._decoder)
                self._head = _frozen_head(self.base, self._decoder)
        self.chunked = self._head is not None
        #: Whether Liger's kernels were tried at all.
        self.tries_liger = with_liger and self._decoder is not None and liger.is_there(self.device)
        #: Layers that are computed in fewer passes over memory than PEFT and transformers take. Of those
        #: that may be compiled the compiler joins the same as Liger.
        self.fused = fused.Fused()
        if self._decoder is not None:
            self.fused = fused.enable(
                model, self._few, with_liger=self.tries_liger, gates_by_liger=not compiled
            )
        if self.tries_liger and self._head is not None:
            self._head = self._scored_by_liger(self._head)
        #: Lengths of the rows that are being computed, in tokens.
        self.lengths: tuple[int, ...] = (1,)

    def keep_reference(self) -> None:
        """Has to be called before `reference`; raises ProblemError where there can be none."""
        if self.model.peft_config["default"].bias != "none":
            raise fail(
                "training.reference_has_biases",
                "The rows are compared with the model as it began, and biases that train change it.",
                "Train no biases, or choose ORPO, which compares with nothing.",
                where=Where(step="lora", field="bias"),
            )
        if self._start is not None:
            with warnings.catch_warnings():
                # Beside PiSSA and OLoRA another adapter changes nothing: its base is changed already.
                warnings.filterwarnings("ignore", message=".*changes the base weights")
                self.model.load_adapter(str(self._start), "reference")
            self.model.base_model.set_adapter("default")
        self._dropping = [layer for layer in self.model.modules() if drops(layer)]

    @contextmanager
    def reference(self) -> Iterator[None]:
        """Within it the scores are those of the model as training began: without the adapter, or with
        the one that it went on from. Nothing is dropped: what is compared with is one model, not another
        one each time."""
        # These alone: going through all layers takes longer than a pass over a short row on a GPU.
        for layer in self._dropping:
            layer.training = False
        try:
            if self._start is None:
                with self.model.disable_adapter():
                    yield
            else:
                self.model.base_model.set_adapter("reference", inference_mode=True)
                yield
        finally:
            if self._start is not None:
                self.model.base_model.set_adapter("default")
            for layer in self._dropping:
                layer.training = self.model.training

    @property
    def described(self) -> str:
        """How it goes about it, in words."""
        rows = "Rows of a micro-batch are padded"
        if self.packed:
            rows = f"Rows are packed end to end and {sequence_packing.described(self.base, self.dtype)}"
        logits = "in pieces" if self.chunked else "at once"
        said = f"{rows}; logits are computed for trained tokens alone, {logits}."
        if not self.fused.layers:
            return said
        return (
            f"{said} {self.fused.layers} adapted layers, norms, gates and rotations are computed in "
            "few passes."
        )

    @property
    def fills(self) -> bool:
        """Whether packed rows get one of no meaning behind them, up to a round number of tokens."""
        return self.packed and _is_made_to_measure(self.device, self.base.dtype)

    @property
    def uses_liger(self) -> bool:
        """Whether Liger's kernels compute any of it."""
        return self.scored_by_liger or self.fused.by_liger > 0

    @property
    def scored_by_liger(self) -> bool:
        """Whether its kernel makes scores of logits."""
        return self._head is not None and self._head.score is liger.scored

    def _scored_by_liger(self, head: _Head) -> _Head:
        """The same output layer with Liger's kernel behind it, if scores and gradients agree."""

        def computed(score: _Score) -> list[torch.Tensor]:
            with torch.no_grad():
                logits = head(self._few()[0])
            targets = torch.arange(len(logits), device=logits.device) * 7 % logits.shape[1]
            return [score(logits, targets, True), logits]

        agrees, error = numerical_equivalence.tried(
            lambda: (computed(liger.scored), computed(_scored))
        )
        if agrees:
            return replace(head, score=liger.scored)
        self.fused.reasons["scores"] = error or "their values or gradients differ here"
        return head

    def __call__(self, batch: Batch) -> torch.Tensor:
        """log p(x_t | x_<t) of each trained token of the batch, [targets] float32, differentiable."""
        if self.fills:
            batch = batch.filled(_rounded(batch.tokens))
        self.lengths = batch.lengths
        targets = batch.targets.to(self.device)
        if self.chunked and self._head is not None:
            return _chunked(self._hidden(batch), targets, self._head)
        return _logprobs(self._own_logits(batch), targets)

    def _few(self) -> torch.Tensor:
        """Hidden states of a few tokens, computed as training does."""
        assert self._decoder is not None
        ids = torch.arange(3, 17, device=self.device)[None]
        with self._computing():
            found: torch.Tensor = self._decoder(input_ids=ids, use_cache=False).last_hidden_state
        return found

    def _computing(self) -> torch.autocast:
        """What training computes in: part of a base in 16 bits may train in 32."""
        half = self.dtype in (torch.bfloat16, torch.float16)
        return torch.autocast(self.device.type, self.dtype if half else None, enabled=half)

    def _hidden(self, batch: Batch) -> torch.Tensor:
        """Hidden states that predict the trained tokens, [targets, size]."""
        assert self._decoder is not None
        if not self.packed:
            ids, mask = batch.padded()
            found = self._decoder(
                input_ids=ids.to(self.device), attention_mask=mask.to(self.device), use_cache=False
            ).last_hidden_state
            return found.flatten(0, 1)[batch.padded_sources().to(found.device)]
        with sequence_packing.packing():
            found = self._decoder(
                input_ids=batch.ids[None].to(self.device),
                position_ids=sequence_packing.positions(batch.lengths, self.device),
                documents=batch.lengths,
                use_cache=False,
            ).last_hidden_state
        return found[0][batch.sources.to(found.device)]

    def _own_logits(self, batch: Batch) -> torch.Tensor:
        """Logits that predict the trained tokens by the model's own output layer, [targets, ids]."""
        if self.packed:
            with sequence_packing.packing():
                return self.model(
                    input_ids=batch.ids[None].to(self.device),
                    position_ids=sequence_packing.positions(batch.lengths, self.device),
                    documents=batch.lengths,
                    use_cache=False,
                    **self._keep(batch.sources),
                ).logits[0][slice(None) if self._keeps() else batch.sources]
        ids, mask = batch.padded()
        sources = batch.padded_sources()
        columns = (sources % ids.shape[1]).unique()
        logits = self.model(
            input_ids=ids.to(self.device),
            attention_mask=mask.to(self.device),
            use_cache=False,
            **self._keep(columns),
        ).logits
        if self._keeps():
            place = torch.searchsorted(columns, sources % ids.shape[1])
            return logits[sources // ids.shape[1], place]
        return logits.flatten(0, 1)[sources]

    def _keep(self, columns: torch.Tensor) -> dict[str, Any]:
        return {"logits_to_keep": columns.to(self.device)} if self._keeps() else {}

    def _keeps(self) -> bool:
        """Whether the model can give logits at chosen positions only."""
        return "logits_to_keep" in inspect.signature(self.base.forward).parameters


def drops(layer: torch.nn.Module) -> bool:
    """Whether a layer drops anything while it trains: it is a dropout, has one, whose rate its attention
    takes, or has a rate by such a name."""
    parts = (layer, *layer.children())
    rates = [part.p for part in parts if isinstance(part, torch.nn.Dropout)]
    rates += [value for name, value in vars(layer).items() if "drop" in name]
    return any(isinstance(rate, float) and rate > 0 for rate in rates)


def _logprobs(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return -F.cross_entropy(logits.float(), targets.to(logits.device), reduction="none")


def _chunked(hidden: torch.Tensor, targets: torch.Tensor, head: _Head) -> torch.Tensor:
    """The same from hidden states, in pieces whose logits are dropped at once."""
    count, targets = len(hidden), targets.to(hidden.device)
    if _is_made_to_measure(hidden.device, hidden.dtype):
        more = _rounded(count) - count
        hidden, targets = F.pad(hidden, (0, 0, 0, more)), F.pad(targets, (0, more))
    found: torch.Tensor = _Chunked.apply(hidden, targets, head)
    return found[:count]


def _is_made_to_measure(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether a product costs a preparation for every new number of tokens.

    On a processor oneDNN makes code for each shape of a product in 16 bits: about 40 pieces for a
    number of tokens, which take a tenth of the time of their first use and 20 to 40 MB for good. With
    micro-batches of ever new lengths there would be no end of it before 1024 pieces. Keeping fewer
    (ONEDNN_PRIMITIVE_CACHE_CAPACITY, LRU_CACHE_CAPACITY) saves that memory, but making them again costs
    27 ms a length: a tenth of a training with one row at a time.
    """
    return device.type == "cpu" and dtype != torch.float32


def _rounded(tokens: int) -> int:
    """So many or a few more: multiples of 32 at first, and from 1024 on 16 sizes an octave."""
    step = max(32, (1 << max(0, tokens.bit_length() - 1)) // 16)
    return -(-tokens // step) * step


class _Chunked(torch.autograd.Function):
    """log softmax(head(h_i))[x_i] for each position i.

    Its gradient at h_i depends on position i alone, so it is taken in the forward pass, piece by
    piece, and scaled in the backward one.
    """

    @staticmethod
    def forward(ctx: Any, hidden: torch.Tensor, targets: torch.Tensor, head: _Head) -> torch.Tensor:
        """`hidden` [positions, size], `targets` [positions] -> [positions] float32."""
        wants_gradient = hidden.requires_grad
        values: list[torch.Tensor] = []
        gradients: list[torch.Tensor] = []
        for part, wanted in zip(*_pieces(hidden, targets, head), strict=True):
            with torch.set_grad_enabled(wants_gradient):
                leaf = part.detach().requires_grad_(wants_gradient)
                logits = head(leaf)
            # Of a model on several GPUs an output layer tied to the embeddings is on the first of them.
            value = head.score(logits.detach(), wanted.to(logits.device), wants_gradient)
            values.append(value.to(hidden.device))
            if wants_gradient:
                gradients += torch.autograd.grad(logits, leaf, grad_outputs=logits.detach())
        if wants_gradient:
            ctx.save_for_backward(torch.cat(gradients).neg_())
        return torch.cat(values).neg_()

    @staticmethod
    def backward(ctx: Any, *outer: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        """Scales the gradient of each position."""
        (gradient,) = ctx.saved_tensors
        return gradient * outer[0][:, None].to(gradient.dtype), None, None


def _scored(logits: torch.Tensor, targets: torch.Tensor, wants_gradient: bool) -> torch.Tensor:
    """−log softmax(z)[x] of each row z of [positions, ids], float32.

    With `wants_gradient`, d/dz of it, which is softmax(z) less 1 at x, takes the place of `logits`.
    """
    rows = len(logits)
    if logits.device.type == "cpu":
        rows = max(1, _LOGITS_IN_CACHE // logits.shape[1])
    values = []
    for part, wanted in zip(logits.split(rows), targets[:, None].split(rows), strict=True):
        exact = part.to(torch.float32, copy=True)
        value = exact.gather(1, wanted)
        highest = exact.amax(1, keepdim=True)
        total = exact.sub_(highest).exp_().sum(1, keepdim=True)
        values.append((total.log() - (value - highest))[:, 0])
        if wants_gradient:
            exact.mul_(1 / total)
            part.copy_(exact.scatter_add_(1, wanted, -torch.ones_like(value)))
    return torch.cat(values)


def _pieces(
    hidden: torch.Tensor, targets: torch.Tensor, head: _Head
) -> tuple[tuple[torch.Tensor, ...], tuple[torch.Tensor, ...]]:
    size = max(1, _LOGITS_AT_ONCE // head.out_features)
    size = size - size % 32 or size
    return hidden.split(size), targets.split(size)


def _decoder(base: PreTrainedModel) -> torch.nn.Module | None:
    """The model below its output layer, None where there is no telling."""
    found = base.get_decoder() if hasattr(base, "get_decoder") else None
    return found if isinstance(found, torch.nn.Module) and found is not base else None


def _frozen_head(base: PreTrainedModel, decoder: torch.nn.Module) -> _Head | None:
    """Hidden states -> logits as the model itself computes them, if nothing of it trains.

    Some models scale or cap their logits behind the output layer; which is told by trying.
    """
    head = base.get_output_embeddings()
    if head is None or any(value.requires_grad for value in head.parameters()):
        return None
    device = next(base.parameters()).device
    ids = torch.arange(3, 9, device=device)[None]
    was_training = base.training
    base.eval()
    try:
        with torch.no_grad():
            expected = base(input_ids=ids, use_cache=False).logits.float()
            hidden = decoder(input_ids=ids, use_cache=False).last_hidden_state
            for finish in _finishes(base.config.get_text_config()):
                found = finish(head(hidden)).float().to(expected.device)
                if found.shape == expected.shape and torch.allclose(found, expected, 1e-3, 1e-4):
                    return _Head(head, finish)
    except (TypeError, RuntimeError, AttributeError):
        pass
    finally:
        base.train(was_training)
    return None


@dataclass(frozen=True)
class _Head:
    """An output layer, what the model does to its logits, and what makes scores of those."""

    layer: torch.nn.Module
    finish: Head
    score: _Score = _scored

    def __call__(self, hidden: torch.Tensor) -> torch.Tensor:
        return self.finish(self.layer(hidden))

    @property
    def out_features(self) -> int:
        return len(cast(torch.Tensor, self.layer.weight))


def _finishes(config: Any) -> Iterator[Head]:
    """What models of transformers do to the logits of their output layer."""
    yield lambda logits: logits
    if divisor := getattr(config, "logits_scaling", None):  # Granite
        yield lambda logits: logits / divisor
    if factor := getattr(config, "logit_scale", None):  # Cohere
        yield lambda logits: logits * factor
    if cap := getattr(config, "final_logit_softcapping", None):  # Gemma
        yield lambda logits: torch.tanh(logits / cap) * cap
