"""Weights of an adapter put into a model that PEFT has wrapped, every one of them."""

from __future__ import annotations

from typing import Any

import peft
import torch


class AdapterMismatchError(Exception):
    """What of an adapter's weights has no place in a model, or the other way round, in a few words."""


def put(model: peft.PeftModel, state: dict[str, torch.Tensor]) -> None:
    """Sets the adapter's weights by the names of PEFT's files; raises MisfitError unless all fit.

    PEFT itself says nothing of one that is missing: it would stay as it was made, at random or zero.
    """
    try:
        result: Any = peft.set_peft_model_state_dict(model, state)
    except (ValueError, KeyError, RuntimeError) as error:
        raise AdapterMismatchError(
            str(error).strip().split("\n")[-1].strip().rstrip(".")
        ) from error
    # Of the adapter itself: a reference of preference training may lie beside it.
    empty = [name for name in result.missing_keys if "default" in name.split(".")]
    if result.unexpected_keys:
        raise AdapterMismatchError(f"the model has no {result.unexpected_keys[0]}")
    if empty:
        raise AdapterMismatchError(f"it lacks {empty[0]}")
