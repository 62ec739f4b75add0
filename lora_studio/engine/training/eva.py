"""EVA (Paischer et al. 2024): an adapter begins with the directions that vary most in the data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from peft.tuners.lora import LoraLayer
from peft.utils.incremental_pca import IncrementalPCA

from lora_studio.core.problems import Where, fail
from lora_studio.engine.backends.backend import AdaptedModel
from lora_studio.engine.dataset.batches import Batch, collate
from lora_studio.engine.lora.initialization import lora_layers
from lora_studio.engine.runtime.channel import JobContext
from lora_studio.engine.tokens.encoder import Encoded, EncodedLabelled, EncodedPair

#: Trained tokens that are looked at, at most, of rows from all over the dataset.
_TOKENS_SEEN = 1 << 15


@torch.no_grad()
def look_at_data(
    tuned: AdaptedModel, rows: Sequence[Any], micro_batch: int, job: JobContext
) -> None:
    """A becomes the leading principal directions of what each layer is given at the places that
    predict trained tokens; B stays zero. The ranks stay as they are (ρ = 1).

    Raises ProblemError where the rows have fewer such places than the rank.
    """
    layers = dict(lora_layers(tuned.model))
    most = max(layer.r["default"] for layer in layers.values())
    batches = list(_batches(rows, micro_batch, most))
    if not batches:
        raise fail(
            "lora.eva_needs_more_data",
            f"EVA finds {most} directions in the data, and the rows have fewer trained tokens.",
            "Add rows, lower the rank, or begin as usual.",
            where=Where(step="lora", field="init"),
        )
    seen = _Inputs(layers)
    was_training = tuned.model.training
    tuned.model.eval()
    base = tuned.model.get_base_model()
    decoder = base.get_decoder() if hasattr(base, "get_decoder") else base
    # Weights that are to be divided among devices are in main memory yet.
    device, dtype = base.get_input_embeddings().weight.device, tuned.base.dtype
    with seen, torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
        for done, batch in enumerate(batches):
            job.progress("looking at the data", done, len(batches), "batches")
            seen.places = batch.padded_sources()
            ids, mask = batch.padded()
            decoder(input_ids=ids.to(device), attention_mask=mask.to(device), use_cache=False)
    tuned.model.train(was_training)
    for name, layer in layers.items():
        a = layer.lora_A["default"].weight
        a.copy_(seen.directions(name)[: a.shape[0]])


class _Inputs:
    """Principal directions of the inputs of layers; those in a row with the same input share them."""

    def __init__(self, layers: dict[str, LoraLayer]) -> None:
        self._layers = layers
        self._leader: dict[str, str] = {}
        self._found: dict[str, IncrementalPCA] = {}
        self._last: tuple[str, torch.Tensor | None] = ("", None)
        self._hooks = ExitStack()
        self.places = torch.zeros(0, dtype=torch.int64)

    def __enter__(self) -> None:
        for name, layer in self._layers.items():
            handle = layer.register_forward_pre_hook(
                lambda _, given, name=name: self._see(name, given[0])
            )
            self._hooks.callback(handle.remove)

    def __exit__(self, *_: object) -> None:
        self._hooks.close()
        self._last = ("", None)

    def directions(self, name: str) -> torch.Tensor:
        """Orthonormal, the leading one first, [rank or more, in]."""
        return self._found[self._leader[name]].components_

    def _see(self, name: str, given: torch.Tensor) -> None:
        if self._last[1] is not given:
            self._last = (name, given)
        leader = self._leader.setdefault(name, self._last[0])
        if leader != name:
            return
        if name not in self._found:
            most = max(layer.r["default"] for layer in self._layers.values())
            self._found[name] = IncrementalPCA(
                n_components=min(most, given.shape[-1]), lowrank=True, lowrank_seed=0,
                lowrank_q=min(2 * most, given.shape[-1]),
            )  # fmt: skip
        self._found[name].partial_fit(given.flatten(0, -2)[self.places].float())


def _batches(rows: Sequence[Any], micro_batch: int, most: int) -> Iterator[Batch]:
    """Rows from all over the dataset, in batches with twice as many trained tokens as directions."""
    chosen: list[Encoded] = []
    tokens = seen = 0
    for place in _spread(len(rows)):
        row = _encoded(rows[place])
        chosen.append(row)
        tokens += int(row.trained[1:].sum())
        if len(chosen) >= micro_batch and tokens >= 2 * most:
            yield collate(chosen)
            seen += tokens
            chosen, tokens = [], 0
        if seen >= _TOKENS_SEEN:
            return
    if seen == 0 and tokens >= most:
        yield collate(chosen)


def _spread(count: int) -> Iterator[int]:
    """Every number below `count` once, so that any beginning of them is spread over all."""
    step = next((s for s in (7919, 104729, 1) if count % s or s == 1), 1)
    return (index * step % count for index in range(count))


def _encoded(row: Any) -> Encoded:
    match row:
        case EncodedPair():
            return row.chosen
        case EncodedLabelled():
            return row.answer
    assert isinstance(row, Encoded)
    return row
