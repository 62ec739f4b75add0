"""Load the weights of an adapter into a PEFT model, and make sure that all of them fit."""

from __future__ import annotations

from typing import Any

import peft
import torch

from lora_studio.core.messages import Text, text
from lora_studio.engine.runtime.failures import translate_library_errors


class AdapterMismatchError(Exception):
    """An adapter has weights that the model lacks, or the other way round; `reason` names one."""

    def __init__(self, reason: Text | str) -> None:
        """Use the reason as the message."""
        super().__init__(str(reason))
        self.reason = Text.model_validate(reason)


def load_adapter_weights(model: peft.PeftModel, state: dict[str, torch.Tensor]) -> None:
    """Set the adapter's weights by the names in PEFT's files.

    Raises AdapterMismatchError unless all fit. PEFT itself ignores a missing one, which would keep its
    random or zero initial value.
    """
    with translate_library_errors(AdapterMismatchError):
        result: Any = peft.set_peft_model_state_dict(model, state)
    # Of this adapter only: preference training may also have loaded a reference.
    missing = {name for name in result.missing_keys if "default" in name.split(".")}
    # Tied layers share the rows of new tokens, and the file has them once.
    names = dict(model.named_parameters(remove_duplicate=False)) if missing else {}
    loaded = {id(value) for name, value in names.items() if name not in missing}
    empty = sorted(name for name in missing if id(names.get(name)) not in loaded)
    if result.unexpected_keys:
        raise AdapterMismatchError(
            text("the model doesn't have {tensor}", tensor=result.unexpected_keys[0])
        )
    if empty:
        raise AdapterMismatchError(text("{tensor} is missing", tensor=empty[0]))
