"""EVA (Paischer et al. 2024): initialize an adapter with the directions of largest variance in the data."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import numpy as np
import torch
from peft.tuners.lora import LoraLayer
from peft.utils.incremental_pca import IncrementalPCA

from lora_studio.core.messages import text
from lora_studio.core.problems import Where, fail
from lora_studio.engine.backends.backend import AdaptedModel
from lora_studio.engine.dataset.batches import Batch, collate
from lora_studio.engine.lora.initialization import iter_lora_layers
from lora_studio.engine.runtime.channel import JobContext
from lora_studio.engine.tokens.encoder import (
    Encoded,
    EncodedClassified,
    EncodedLabeled,
    EncodedPair,
    EncodedPrompt,
)
from lora_studio.engine.tokens.search_texts import EncodedSearchPair
from lora_studio.engine.training.training_data import TrainingRow, TrainingRows

#: Maximum number of trained tokens to read, from rows spread over the whole dataset.
_MAX_TOKENS = 1 << 15


@torch.no_grad()
def initialize_from_data(
    tuned: AdaptedModel, rows: TrainingRows, micro_batch: int, job: JobContext
) -> None:
    """Set A to the leading principal directions of each layer's inputs; B stays zero.

    Only inputs at positions that predict trained tokens count. Ranks aren't redistributed (ρ = 1).
    Raises ProblemError where the rows have fewer such positions than the rank.
    """
    layers = dict(iter_lora_layers(tuned.model))
    rank = max(layer.r["default"] for layer in layers.values())
    batches = list(_iter_batches(rows, micro_batch, rank))
    if not batches:
        raise fail(
            "lora.eva_needs_more_data",
            "EVA needs at least {rank} trained tokens, as many as the rank; the rows have fewer.",
            "Add rows, lower the rank, or choose the default initialization.",
            where=Where(step="lora", field="init"),
            rank=rank,
        )
    inputs = _InputDirections(layers)
    was_training = tuned.model.training
    tuned.model.eval()
    base = tuned.model.get_base_model()
    decoder = base.get_decoder() if hasattr(base, "get_decoder") else base
    # Weights that will be sharded are still in main memory.
    device, dtype = base.get_input_embeddings().weight.device, tuned.base.dtype
    with inputs, torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
        for done, batch in enumerate(batches):
            job.report_progress(text("reading the data for EVA"), done, len(batches), "batches")
            inputs.positions = batch.get_padded_sources()
            ids, mask = batch.to_padded()
            decoder(input_ids=ids.to(device), attention_mask=mask.to(device), use_cache=False)
    tuned.model.train(was_training)
    for name, layer in layers.items():
        a = layer.lora_A["default"].weight
        a.copy_(inputs.compute_directions(name)[: a.shape[0]])


class _InputDirections:
    """Principal directions of the inputs of layers; consecutive layers with the same input share them."""

    def __init__(self, layers: dict[str, LoraLayer]) -> None:
        self._layers = layers
        self._leader: dict[str, str] = {}
        self._components: dict[str, IncrementalPCA] = {}
        self._last: tuple[str, torch.Tensor | None] = ("", None)
        self._hooks = ExitStack()
        self.positions = torch.zeros(0, dtype=torch.int64)

    def __enter__(self) -> None:
        for name, layer in self._layers.items():
            handle = layer.register_forward_pre_hook(
                lambda _, inputs, name=name: self._update(name, inputs[0])
            )
            self._hooks.callback(handle.remove)

    def __exit__(self, *_: object) -> None:
        self._hooks.close()
        self._last = ("", None)

    def compute_directions(self, name: str) -> torch.Tensor:
        """Return orthonormal directions, the leading one first, [rank or more, in]."""
        return self._components[self._leader[name]].components_

    def _update(self, name: str, inputs: torch.Tensor) -> None:
        if self._last[1] is not inputs:
            self._last = (name, inputs)
        leader = self._leader.setdefault(name, self._last[0])
        if leader != name:
            return
        if name not in self._components:
            rank = max(layer.r["default"] for layer in self._layers.values())
            self._components[name] = IncrementalPCA(
                n_components=min(rank, inputs.shape[-1]), lowrank=True, lowrank_seed=0,
                lowrank_q=min(2 * rank, inputs.shape[-1]),
            )  # fmt: skip
        # Autocast would give its decomposition 16-bit matrices, for which CUDA has none.
        with torch.autocast(inputs.device.type, enabled=False):
            self._components[name].partial_fit(inputs.flatten(0, -2)[self.positions].float())


def _iter_batches(rows: TrainingRows, micro_batch: int, directions: int) -> Iterator[Batch]:
    """Yield rows spread over the dataset, in batches with twice as many trained tokens as `directions`."""
    chosen: list[Encoded] = []
    tokens = tokens_read = 0
    for index in _iter_evenly(len(rows)):
        row = _to_encoded(rows[index])
        chosen.append(row)
        tokens += int(row.trained[1:].sum())
        if len(chosen) >= micro_batch and tokens >= 2 * directions:
            yield collate(chosen)
            tokens_read += tokens
            chosen, tokens = [], 0
        if tokens_read >= _MAX_TOKENS:
            return
    if tokens_read == 0 and tokens >= directions:
        yield collate(chosen)


def _iter_evenly(count: int) -> Iterator[int]:
    """Yield every number below `count` once, in an order that spreads any prefix over the whole range."""
    step = next((s for s in (7919, 104729, 1) if count % s or s == 1), 1)
    return (index * step % count for index in range(count))


def _to_encoded(row: TrainingRow) -> Encoded:
    match row:
        case EncodedPrompt():  # its answers don't exist yet
            return Encoded(row.ids, np.ones(len(row.ids), bool), len(row.ids))
        case EncodedSearchPair():
            return Encoded(row.positive, np.ones(len(row.positive), bool), len(row.positive))
        case EncodedPair():
            return row.chosen
        case EncodedLabeled():
            return row.answer
        case EncodedClassified():  # every token counts: none trains
            ids = row.text.ids
            return Encoded(ids, np.ones(len(ids), bool), len(ids))
    return row
