"""The objective of a classifier."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name

from lora_studio.core.training.classification import ACCURACY
from lora_studio.engine.dataset.batches import collate
from lora_studio.engine.devices.devices import copy_to_device
from lora_studio.engine.tokens.encoder import EncodedClassified
from lora_studio.engine.training.kernels.logprobs import Scorer
from lora_studio.engine.training.recipe import score_head
from lora_studio.engine.training.recipe.loss import Loss


class Classification:
    """Sequence classification: w_c · (−log softmax(z)_c), z the scores of all labels and c the row's.

    The scores are a linear layer over the hidden state of the last token (`score_head.py`), in 32-bit, as
    transformers' models for sequence classification read them. With weights w, the loss is divided by the
    number of rows, not by the sum of their weights, which is the same over an epoch of balanced weights.
    """

    def __init__(self, scorer: Scorer, weights: Sequence[float]) -> None:
        self.scorer = scorer
        self._weights = torch.tensor(weights)

    def count_items(self, rows: Sequence[EncodedClassified]) -> int:
        """Return the number of rows."""
        return len(rows)

    def prepare_step(self, micro_batches: Sequence[Sequence[EncodedClassified]]) -> None:
        """Do nothing: each micro-batch stands alone."""

    def compute_loss(self, rows: Sequence[EncodedClassified]) -> Loss:
        """Return the loss in nats, summed over rows, and which labels are predicted."""
        scores = self.score(rows)
        labels = copy_to_device(torch.tensor([row.label for row in rows]), scores.device)
        weights = copy_to_device(self._weights, scores.device)
        loss = F.cross_entropy(scores, labels, weights, reduction="sum")
        predicted = scores.detach().argmax(1)
        measured = Loss(loss, {ACCURACY: (predicted == labels).sum()})
        if not torch.is_grad_enabled():  # an evaluation
            size = scores.shape[1]
            # Not bincount, which waits for a GPU to know the largest value.
            counts = labels.new_zeros(size * size)
            counts.index_add_(0, labels * size + predicted, torch.ones_like(labels))
            measured.confusion = counts.view(size, size)
        return measured

    def score(self, rows: Sequence[EncodedClassified]) -> torch.Tensor:
        """Return the scores of all labels, [rows, labels] float32."""
        hidden = self.scorer.compute_last_states(collate([row.text for row in rows]))
        head: Any = self.scorer.base.get_submodule(score_head.NAME)
        with torch.autocast(hidden.device.type, enabled=False):
            scores: torch.Tensor = head(hidden.to(head.weight.device).float())
        return scores
