"""Passes without transformers' search for padding: the same states, and no value is read from the device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import AutoModelForCausalLM, PreTrainedModel

from lora_studio.engine.generation.batched import use_mask
from lora_studio.engine.kernels import sequence_packing
from tests.engine.conftest import TinyModel

CPU = torch.device("cpu")


class ReadValues(TorchDispatchMode):
    """Counts the values that Python reads from tensors: on a GPU, it would wait for each."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        self.count += function is torch.ops.aten._local_scalar_dense.default
        return function(*args, **(kwargs or {}))


@pytest.fixture(scope="module", params=["llama3", "gemma3"])
def model(request: pytest.FixtureRequest, tiny: TinyModel) -> PreTrainedModel:
    """Return a model without a sliding window, and one whose rows are longer than it."""
    settings = {"sliding_window": 8} if request.param == "gemma3" else {}
    network = AutoModelForCausalLM.from_pretrained(
        tiny(request.param), dtype=torch.float32, **settings
    )
    assert isinstance(network, PreTrainedModel)
    return network.eval()


@torch.no_grad()
@pytest.mark.parametrize("lengths", [(12, 9), (12, 12)], ids=["padded", "unpadded"])
def test_known_mask_gives_the_same_states_unread(
    model: PreTrainedModel, lengths: Sequence[int]
) -> None:
    decoder: Any = model.get_decoder()
    ids = torch.arange(24).view(2, 12) + 5
    mask = (torch.arange(12) < torch.tensor(lengths)[:, None]).long()
    with ReadValues() as read:
        expected = decoder(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
    assert read.count > 0
    with use_mask(mask, CPU) as known, ReadValues() as read:
        states = decoder(input_ids=ids, attention_mask=known, use_cache=False).last_hidden_state
    assert read.count == 0
    torch.testing.assert_close(states[mask == 1], expected[mask == 1])


@torch.no_grad()
def test_packed_rows_are_not_searched_for(model: PreTrainedModel) -> None:
    decoder: Any = model.get_decoder()
    assert sequence_packing.enable_packing(model, decoder)
    with sequence_packing.use_packed_rows(), ReadValues() as read:
        decoder(
            input_ids=torch.arange(12)[None] + 5,
            position_ids=sequence_packing.build_position_ids((7, 5), CPU),
            documents=(7, 5),
            use_cache=False,
        )
    assert read.count == 0
