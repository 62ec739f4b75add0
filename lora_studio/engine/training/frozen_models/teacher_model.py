"""A teacher in memory, and its most likely tokens at each trained position."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from lora_studio.engine.dataset.batches import Batch, collate
from lora_studio.engine.devices.devices import copy_to_device
from lora_studio.engine.generation.mask_checks import use_mask
from lora_studio.engine.model.loading import LoadedModel
from lora_studio.engine.runtime.channel import JobContext
from lora_studio.engine.tokens.encoder import Encoded
from lora_studio.engine.training.kernels.chunked_logprobs import get_chunk_size
from lora_studio.engine.training.kernels.distillation import LOWEST
from lora_studio.engine.training.kernels.output_head import find_decoder, find_frozen_head
from lora_studio.engine.training.training_data import TrainingRow


class TeacherModel:
    """Computes the records of a `TeacherStore`."""

    def __init__(
        self, loaded: LoadedModel, limit: int, temperature: float, dtype: np.dtype[np.void]
    ) -> None:
        """Take the model, the number of ids that the student's tokenizer has, and the type of a record."""
        self._model = loaded.model.requires_grad_(False).eval()
        self._device = loaded.device
        self._limit, self._temperature, self._dtype = limit, temperature, dtype
        decoder = find_decoder(self._model)
        self._head = find_frozen_head(self._model, decoder) if decoder is not None else None
        self._decoder = decoder

    @torch.no_grad()
    def compute(self, rows: Sequence[TrainingRow], job: JobContext) -> np.ndarray:
        """Return the records of all trained tokens of some rows, end to end; raises CancelledError."""
        job.check()
        batch = collate([row for row in rows if isinstance(row, Encoded)])
        records = np.zeros(len(batch.targets), self._dtype)
        begin = 0
        for logits in self._iter_logits(batch):
            part = records[begin : begin + len(logits)]
            values, ids, rest = self._find_most_likely(logits)
            part["logprobs"], part["ids"] = values.cpu().numpy(), ids.cpu().numpy()
            part["rest"] = rest.cpu().numpy()
            begin += len(logits)
        return records

    def _find_most_likely(
        self, logits: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return log-probabilities and ids of the most likely tokens, and the log-probability of the rest."""
        scaled = logits[:, : self._limit].float() / self._temperature
        total = scaled.logsumexp(1, keepdim=True)
        values, ids = scaled.topk(min(self._dtype["ids"].shape[0], scaled.shape[1]), 1)
        rest = scaled.scatter_(1, ids, float("-inf")).logsumexp(1) - total[:, 0]
        return (values - total).clamp_(min=LOWEST), ids, rest.clamp_(min=LOWEST)

    def _iter_logits(self, batch: Batch) -> Iterator[torch.Tensor]:
        """Yield the logits of some trained positions after another, [positions, ids]."""
        padded, known_mask = batch.to_padded()
        ids, sources = copy_to_device(padded, self._device), batch.get_padded_sources()
        network = self._model if self._head is None else self._decoder
        assert network is not None
        with use_mask(known_mask, self._device) as mask:
            output = network(input_ids=ids, attention_mask=mask, use_cache=False)
        if self._head is None:
            yield output.logits.flatten(0, 1)[copy_to_device(sources, output.logits.device)]
            return
        hidden = output.last_hidden_state
        hidden = hidden.flatten(0, 1)[copy_to_device(sources, hidden.device)]
        for part in hidden.split(get_chunk_size(self._head)):
            yield self._head(part)
