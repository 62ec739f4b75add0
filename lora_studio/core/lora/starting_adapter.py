"""An adapter that training continues from: its shape, and the settings that it overrides."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from lora_studio.core.lora.adapters import CLASSIFIES, EMBEDS, require_generative
from lora_studio.core.lora.patterns import check_settings
from lora_studio.core.lora.spec import LoraSpec
from lora_studio.core.messages import Template, Text, listed, text
from lora_studio.core.problems import (
    InvalidContentError,
    Problem,
    ProblemError,
    Where,
    fail,
    warning,
)
from lora_studio.core.spec import get_facts
from lora_studio.core.system.foreign_files import read_json

CONFIG = "adapter_config.json"
_WEIGHTS = "adapter_model.safetensors"
_WHERE = Where(step="lora", field="start_from")

#: Fields that the adapter overrides, and the matching key of PEFT's settings, if any.
TAKEN: dict[str, str | None] = {
    "adapter_type": None,
    "rank": "r",
    "alpha": "lora_alpha",
    "use_rslora": "use_rslora",
    "use_dora": "use_dora",
    "bias": "bias",
    "targets": None,
    "target_names": None,
    "init": None,
    "blocks": None,
    "own_ranks": None,
    "modules_to_save": "modules_to_save",
}

#: Initializations that change the base weights, including those that only PEFT supports.
_CHANGING = ("pissa", "olora", "corda", "loftq", "lora_ga")


def writes_text(folder: Path) -> bool:
    """Return whether a folder has an adapter that writes text, unlike those that score it or turn it into vectors."""
    try:
        config = read_json(folder / CONFIG)
    except (OSError, ValueError):
        return False
    return isinstance(config, dict) and config.get("task_type") not in (CLASSIFIES, EMBEDS)


def read_config(folder: Path) -> dict[str, Any]:
    """Return PEFT's settings of the adapter in a folder; raises ProblemError if it can't be
    continued from."""
    if not folder.is_dir():
        raise _adapter_error(
            "The folder {path} doesn't exist.", "Choose it again if it was moved.", path=str(folder)
        )
    try:
        config = read_json(folder / CONFIG)
    except (OSError, ValueError):
        config = None
    if not isinstance(config, dict) or not (folder / _WEIGHTS).is_file():
        raise _adapter_error(
            "{folder} doesn't contain a LoRA adapter.",
            "Choose a folder with {config} and {weights}.",
            folder=folder.name,
            config=CONFIG,
            weights=_WEIGHTS,
        )
    if config.get("peft_type") != "LORA" or not isinstance(config.get("r"), int):
        raise _adapter_error(
            "Training can't start from an adapter of type {kind}.",
            "Choose a LoRA adapter.",
            kind=str(config.get("peft_type")),
        )
    require_generative(config)
    try:
        check_settings(config)
    except InvalidContentError as error:
        raise _adapter_error(
            "The adapter's {file} can't be used: {reason}.",
            "Ask its author for an adapter whose settings list the module names.",
            file=CONFIG,
            reason=error.reason,
        ) from error
    _require_plain(config)
    return config


def _require_plain(config: dict[str, Any]) -> None:
    """Raise ProblemError for an adapter that fits only a changed base model."""
    if config.get("trainable_token_indices"):
        raise _adapter_error(
            "Training can't start from an adapter with new tokens.",
            "Merge it, and train on the merged model.",
        )
    initial = str(config.get("init_lora_weights")).lower()
    if initial.startswith(_CHANGING):
        raise _adapter_error(
            "The adapter was initialized with {initial}, which changes the base model, and wasn't converted "
            "to a plain LoRA adapter.",
            "Save it again in PEFT with save_pretrained(…, "
            "path_initial_model_for_weight_conversion=…).",
            initial=initial,
        )


def resolve_lora(spec: LoraSpec) -> LoraSpec:
    """Return the LoRA shape that training will use: that of the starting adapter if there is one.

    Returns the spec itself if that adapter can't be read, or has a shape that the settings can't
    express.
    """
    if not spec.start_from:
        return spec
    try:
        config = read_config(Path(spec.start_from))
    except ProblemError:
        return spec
    modules = config.get("target_modules")
    names = [str(name).rpartition(".")[2] for name in modules] if isinstance(modules, list) else []
    changes: dict[str, Any] = {
        field: config[key] for field, key in TAKEN.items() if key and config.get(key) is not None
    }
    changes |= {
        "adapter_type": "lora",
        "targets": "names" if names else "all_linear",
        "target_names": tuple(dict.fromkeys(sorted(names))),
        "init": "default",
        "blocks": _format_blocks(config.get("layers_to_transform")),
        "own_ranks": _read_own_ranks(config),
        "modules_to_save": tuple(config.get("modules_to_save") or ()),
    }
    try:
        return LoraSpec.model_validate(spec.model_dump() | changes)
    except ValidationError:
        return spec


def _format_blocks(layers: Any) -> str:
    numbers = [layers] if isinstance(layers, int) else layers
    return ", ".join(str(number) for number in numbers) if isinstance(numbers, list) else ""


def _read_own_ranks(config: dict[str, Any]) -> tuple[str, ...]:
    """Return ranks by plain module names; PEFT's regex patterns have no equivalent setting here."""
    ranks, alphas = config.get("rank_pattern") or {}, config.get("alpha_pattern") or {}
    return tuple(
        f"{name.rpartition('.')[2]}={rank}" + (f":{alphas[name]}" if name in alphas else "")
        for name, rank in ranks.items()
        if re.fullmatch(r"[\w.]+", name)
    )


def describe(config: dict[str, Any]) -> Text:
    """Return the shape in words: rank 8, alpha 16, q_proj, v_proj."""
    parts = [
        text("rank {rank}", rank=config["r"]),
        text("alpha {alpha}", alpha=str(config.get("lora_alpha"))),
    ]
    parts += [text(name) for key, name in (("use_rslora", "rsLoRA"), ("use_dora", "DoRA")) if config.get(key)]  # fmt: skip
    modules = config.get("target_modules")
    if isinstance(modules, list) and modules:
        names = dict.fromkeys(sorted(name.rpartition(".")[2] for name in modules))
        parts.append(text("{names}", names=" ".join(names)))
    if whole := config.get("modules_to_save"):
        parts.append(text("{names} trained in full", names=" ".join(whole)))
    return listed(parts)


def list_unused_settings(config: dict[str, Any], spec: LoraSpec) -> list[Text]:
    """Return titles and values of the settings that differ from the starting adapter and are
    ignored."""
    differing = []
    for field, key in TAKEN.items():
        about, value = get_facts(LoraSpec, field), getattr(spec, field)
        same = key is not None and _to_plain(config.get(key)) == _to_plain(value)
        if value == about.default or same:
            continue
        label = about.choices.get(str(value), value)
        differing.append(
            text(
                "{title} {value}",
                title=text(about.title),
                value=" ".join(value) if isinstance(value, tuple) else text(str(label)),
            )
        )
    return differing


def check(spec: LoraSpec) -> list[Problem]:
    """Return why training can't continue from the adapter, or a warning about ignored settings."""
    if not spec.start_from:
        return []
    try:
        config = read_config(Path(spec.start_from))
    except ProblemError as error:
        return error.problems
    ignored = list_unused_settings(config, spec)
    if not ignored:
        return []
    return [
        warning(
            "lora.taken_from_start",
            "The adapter determines these settings: {settings}.",
            "Ignored: {ignored}. To use them, clear “Start from adapter”.",
            where=_WHERE,
            settings=describe(config),
            ignored=listed(ignored),
        )
    ]


def _to_plain(value: Any) -> Any:
    return list(value or ()) if isinstance(value, list | tuple) or value is None else value


def _adapter_error(what: Template, remedy: Template, **values: Any) -> ProblemError:
    return fail("lora.start_not_usable", what, remedy, where=_WHERE, **values)
