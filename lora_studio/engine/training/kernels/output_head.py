"""The output layer of a model with the postprocessing of its logits, and the loss of its tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from transformers import PreTrainedModel

from lora_studio.engine.training.kernels import numerical_equivalence
from lora_studio.engine.training.kernels.cross_entropy import compute_cross_entropy

#: Logits, targets and whether to compute the gradient -> −log p of each target.
TokenLoss = Callable[[torch.Tensor, torch.Tensor, bool], torch.Tensor]

#: The postprocessing of logits.
Head = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class OutputHead:
    """An output layer, the model's postprocessing of its logits, and the loss function."""

    layer: torch.nn.Module
    finish: Head
    loss: TokenLoss = compute_cross_entropy

    def __call__(self, hidden: torch.Tensor) -> torch.Tensor:
        return self.finish(self.layer(hidden))

    def with_temperature(self, temperature: float) -> OutputHead:
        """Return the same output layer with its logits divided by a temperature."""
        if temperature == 1:
            return self
        return replace(self, finish=lambda logits: self.finish(logits) / temperature)

    @property
    def weight(self) -> torch.Tensor:
        """The layer's weights, [ids, size]."""
        return cast(torch.Tensor, self.layer.weight)


def find_decoder(base: PreTrainedModel) -> torch.nn.Module | None:
    """Return the model below its output layer, None where that can't be determined."""
    decoder = base.get_decoder() if hasattr(base, "get_decoder") else None
    return decoder if isinstance(decoder, torch.nn.Module) and decoder is not base else None


def find_frozen_head(base: PreTrainedModel, decoder: torch.nn.Module) -> OutputHead | None:
    """Return the map from hidden states to logits as in the model itself, None if any of it trains.

    Some models scale or cap their logits after the output layer; a comparison shows which.
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
            tolerance = numerical_equivalence.TOLERANCE[
                numerical_equivalence.compute_itemsize(hidden)
            ]
            finishes = list(_iter_finishes(base.config.get_text_config()))
            # Not for equality: kernels that add in any order round differently in each of two passes.
            differences = [
                numerical_equivalence.compute_difference(
                    finish(head(hidden)).float().to(expected.device), expected
                )
                for finish in finishes
            ]
            closest = min(range(len(finishes)), key=differences.__getitem__)
            if differences[closest] <= tolerance:
                return OutputHead(head, finishes[closest])
    except (TypeError, RuntimeError, AttributeError):
        pass
    finally:
        base.train(was_training)
    return None


def _iter_finishes(config: Any) -> Iterator[Head]:
    """Yield the functions that transformers models apply to the logits of their output layer."""
    yield lambda logits: logits
    if divisor := getattr(config, "logits_scaling", None):  # Granite
        yield lambda logits: logits / divisor
    if factor := getattr(config, "logit_scale", None):  # Cohere
        yield lambda logits: logits * factor
    if cap := getattr(config, "final_logit_softcapping", None):  # Gemma
        yield lambda logits: torch.tanh(logits / cap) * cap
