"""Adapters for embeddings, as PEFT saves and loads them: they fit the transformer without its output layer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import peft
from safetensors.torch import load_file, save_file

from lora_studio.core.system.files import write_file
from lora_studio.core.system.foreign_files import name_file, read_json
from lora_studio.engine.lora.adapter_files import CONFIG, PREFIX, WEIGHTS


def is_feature_extraction(model: peft.PeftModel) -> bool:
    """Return whether an adapter is saved for a model without its output layer."""
    return bool(model.peft_config["default"].task_type == peft.TaskType.FEATURE_EXTRACTION)


def remove_output_layer(folder: Path, model: peft.PeftModel) -> None:
    """Rename the weights of a saved adapter, so that PEFT loads them into transformers' `AutoModel`.

    In a model with an output layer, the transformer is a part of it, such as `model`; `AutoModel` is that
    part alone.
    """
    part = _get_part(model)
    state = {
        PREFIX + name.removeprefix(PREFIX).removeprefix(part): value
        for name, value in load_file(folder / WEIGHTS).items()
    }
    with name_file(folder / WEIGHTS):
        save_file(state, folder / WEIGHTS, metadata={"format": "pt"})
    config = read_json(folder / CONFIG)
    write_file(folder / CONFIG, json.dumps(config | shorten_names(config, model), indent=2))


def shorten_names(config: dict[str, Any], model: peft.PeftModel) -> dict[str, Any]:
    """Return the entries of PEFT's settings that name modules, as they are named in `AutoModel`.

    If only some blocks have the adapter, its modules are listed one by one: PEFT finds the number of a block
    only behind the name of a part such as `model`.
    """
    part, changed = _get_part(model), dict[str, Any]()
    for name in ("rank_pattern", "alpha_pattern"):
        changed[name] = {
            _shorten(key, part): value for key, value in (config.get(name) or {}).items()
        }
    for name in ("target_modules", "exclude_modules", "modules_to_save", "target_parameters"):
        changed[name] = _shorten_all(config.get(name), part)
    if config.get("layers_to_transform") is not None:
        names = sorted(_shorten(name, part) for name in model.base_model.targeted_module_names)
        changed |= {"target_modules": names, "layers_to_transform": None, "layers_pattern": None}
    return changed


def _get_part(model: peft.PeftModel) -> str:
    """Return the beginning of the names of the transformer's modules in a model with an output layer."""
    return f"{model.get_base_model().base_model_prefix}."


def _shorten_all(names: Any, part: str) -> Any:
    if isinstance(names, str):
        return _shorten(names, part)
    return [_shorten(name, part) for name in names] if isinstance(names, list) else names


def _shorten(name: str, part: str) -> str:
    """Return a module's name or a pattern of names without the part at its beginning."""
    for beginning in (part, part.replace(".", r"\.")):
        name = name.removeprefix(beginning)
    return name
