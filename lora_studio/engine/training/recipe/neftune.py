"""NEFTune: noise on the embeddings while training (Jain et al. 2023)."""

from __future__ import annotations

import math
from typing import Any

import torch

from lora_studio.engine.devices.devices import copy_to_device
from lora_studio.engine.kernels.logprobs import LogprobModel


def add_embedding_noise(logprob_model: LogprobModel, alpha: float) -> None:
    """Add noise drawn uniformly from ±alpha / √(L · d) in every pass with gradients from now on, and in every
    pass that one with gradients repeats.

    L is the length of the row that a token belongs to, d the size of an embedding.
    """

    def add_noise(layer: torch.nn.Module, _: Any, output: torch.Tensor) -> torch.Tensor:
        if not layer.training or not (torch.is_grad_enabled() or logprob_model.will_repeat):
            return output
        # Computed in main memory: a GPU would have to report how many tokens there are.
        lengths = torch.tensor(logprob_model.lengths)
        if output.shape[0] == 1:  # packed rows
            lengths = lengths.repeat_interleave(lengths)[None, :, None]
        else:
            lengths = lengths[:, None, None]
        lengths = copy_to_device(lengths.to(output.dtype), output.device)
        size = alpha / (lengths.sqrt() * math.sqrt(output.shape[-1]))
        return output + torch.empty_like(output).uniform_(-1, 1) * size

    logprob_model.base.get_input_embeddings().register_forward_hook(add_noise)
