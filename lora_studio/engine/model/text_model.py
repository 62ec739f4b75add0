"""The class of transformers that loads a model for text: that of the checkpoint, without vision and audio towers.

Many checkpoints are multimodal: they hold a text decoder, and towers for images and audio. A class of the decoder
alone would give the weights other names than the checkpoint, so other programs couldn't load the adapters.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import WeightConverter, WeightRenaming, rename_source_key
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_MULTIMODAL_LM_MAPPING,
)

_MODALITIES = ("image", "video", "audio")


def choose_class(config: PreTrainedConfig, *, text_only: bool = True) -> Any:
    """Return the class to load a model with: that of its checkpoint, or else AutoModelForCausalLM.

    With `text_only`, the class leaves out the towers: their weights take no memory, and aren't read.
    """
    written = set(config.architectures or ())
    unified = _get_class(MODEL_FOR_MULTIMODAL_LM_MAPPING, config)
    causal = _get_class(MODEL_FOR_CAUSAL_LM_MAPPING, config)
    if unified is None or config.is_encoder_decoder:
        return AutoModelForCausalLM
    if causal is not None and unified.__name__ not in written and causal is not unified:
        return AutoModelForCausalLM
    return _without_towers(unified) if text_only else unified


def name_auto_class(config: PreTrainedConfig) -> str:
    """Return the name of the automatic class of transformers that loads what `choose_class` chooses."""
    is_causal = choose_class(config) is AutoModelForCausalLM
    return "AutoModelForCausalLM" if is_causal else "AutoModelForMultimodalLM"


def create(config: PreTrainedConfig, *, is_allowed: bool, dtype: torch.dtype) -> PreTrainedModel:
    """Return the model of a configuration with weights that aren't set, on the current device."""
    chosen = choose_class(config)
    if chosen is AutoModelForCausalLM:
        return chosen.from_config(config, trust_remote_code=is_allowed, dtype=dtype)
    return chosen._from_config(config, dtype=dtype)


def _get_class(mapping: Any, config: PreTrainedConfig) -> type[PreTrainedModel] | None:
    found = mapping.get(type(config), None)
    return found[0] if isinstance(found, tuple) else found


def _without_towers(unified: type[PreTrainedModel]) -> type[PreTrainedModel]:
    """Return a class like a multimodal one, whose models have no towers."""

    class TextModel(unified):  # type: ignore[misc,valid-type]
        def __init__(self, config: PreTrainedConfig, *arguments: Any, **named: Any) -> None:
            super().__init__(config, *arguments, **named)
            self.removed_towers = list_towers(self)
            for name in self.removed_towers:
                parent, _, child = name.rpartition(".")
                setattr(self.get_submodule(parent), child, torch.nn.Identity())

    # transformers looks up classes by name.
    TextModel.__name__, TextModel.__qualname__ = unified.__name__, unified.__qualname__
    TextModel.__module__ = unified.__module__
    return TextModel


def get_decoder_prefix(model: PreTrainedModel) -> str:
    """Return what the names of the text decoder's modules begin with, "" for a model that is only a decoder."""
    if not getattr(model, "removed_towers", ()):
        return ""
    decoder = model.get_decoder()
    return next(f"{name}." for name, module in model.named_modules() if module is decoder)


def exclude_towers(model: PreTrainedModel) -> str | None:
    """Return PEFT's pattern of all modules outside of the text decoder.

    Training has no towers, but other programs load the adapter into the whole model, where modules of the towers
    may have the names of the decoder's.
    """
    prefix = get_decoder_prefix(model)
    return rf"(?!{re.escape(prefix)}).*" if prefix else None


def list_towers(model: PreTrainedModel) -> list[str]:
    """Return the names of the modules that encode images and audio."""
    if not hasattr(model, "get_encoder"):
        return []
    towers = {model.get_encoder(modality=modality) for modality in _MODALITIES}
    decoder = model.get_decoder()
    return [
        name
        for name, module in model.named_modules()
        if module in towers and module is not model and name and not _contains(module, decoder)
    ]


def _contains(module: torch.nn.Module, part: torch.nn.Module) -> bool:
    return any(each is part for each in module.modules())


def map_stored_names(folder: Path, stored: Iterable[str]) -> dict[str, str]:
    """Return the names of a model's tensors in its files, by their names in memory.

    transformers renames tensors when it loads a model. Those that it joins or changes meanwhile have no entry.
    Empty for a model that it doesn't know. The self-test has its own, to find mistakes of this one.
    """
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
        with torch.device("meta"):
            model = create(config, is_allowed=False, dtype=torch.bfloat16)
    except (OSError, ValueError):
        return {}
    conversions = get_model_conversion_mapping(model)
    renamings = [each for each in conversions if isinstance(each, WeightRenaming)]
    converters = [each for each in conversions if isinstance(each, WeightConverter)]
    state = model.state_dict()
    names = {}
    for name in stored:
        renamed, converter = rename_source_key(
            name, renamings, converters, model.base_model_prefix, state
        )
        if converter is None and renamed in state:
            names[renamed] = name
    return names
