"""Forward passes without transformers' own search for padding and packed rows, for which a GPU has to wait."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from transformers import masking_utils

from lora_studio.engine.devices.devices import copy_to_device


def _find_no_packed_rows(_: torch.Tensor) -> None:
    return None


def _read_no_values(_: object = None) -> bool:
    return True


@contextmanager
def use_mask(mask: torch.Tensor, device: torch.device) -> Iterator[torch.Tensor | None]:
    """Yield an attention mask on a device for a forward pass, None where nothing is padded.

    `mask` [rows, tokens] is in main memory, 1 where there is a token.
    """
    is_padded = not bool(mask.all())
    with skip_mask_checks(is_padded=is_padded):
        yield copy_to_device(mask, device) if is_padded else None


@contextmanager
def skip_mask_checks(*, is_padded: bool) -> Iterator[None]:
    """Wrap a forward pass of rows that aren't packed, or whose attention keeps them apart itself.

    WORKAROUND: transformers leaves out a mask that hides nothing, and finds packed rows by their positions. Both
    read values from the device, which has to finish all its work first, in every pass. The answers given here
    are those for rows that aren't packed, and, with padding, those that it gives while it traces a model.
    """
    answers: dict[str, Callable[..., object]] = {
        "find_packed_sequence_indices": _find_no_packed_rows
    }
    if is_padded:
        answers["is_tracing"] = _read_no_values
    originals = {name: getattr(masking_utils, name, None) for name in answers}
    for name, answer in answers.items():
        setattr(masking_utils, name, answer)
    try:
        yield
    finally:
        for name, original in originals.items():
            setattr(masking_utils, name, original)
