"""Read PEFT's adapter files without PEFT: which layers an adapter changes, and how strongly."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from lora_studio.core import limits
from lora_studio.core.lora.adapters import ModuleFilter, check_settings, require_mergeable
from lora_studio.core.messages import Template, Text, listed, text
from lora_studio.core.problems import InvalidContentError, ProblemError, Where, fail
from lora_studio.core.runs import checksums
from lora_studio.core.system.foreign_files import read_json
from lora_studio.engine.model import safetensors_files
from lora_studio.engine.model.safetensors_files import StoredTensor

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
_PICKLE = "adapter_model.bin"

#: What precedes the names of the base model's modules.
PREFIX = "base_model.model."
_LORA = re.compile(
    r"(?P<module>.+?)\.lora_(?:(?P<half>[AB])\.(?P<part>weight|bias)|embedding_(?P<table>[AB])"
    r"|(?P<magnitude>magnitude_vector)(?:\.weight)?)\Z"
)
_ROWS = re.compile(r"(?P<module>.+?)(\.token_adapter)?\.trainable_tokens_delta\Z")
_WHOLE = re.compile(r"(?P<module>.+?)(?P<frozen>\.base_layer)?\.(?P<part>weight|bias)\Z")

#: Settings of PEFT that change how an update is computed; none is written by this program.
_OTHER_KINDS = (
    "alora_invocation_tokens", "use_bdlora", "use_qalora", "arrow_config", "velora_config",
    "monteclora_config", "kasa_config", "mica", "ensure_weight_tying", "layer_replication",
)  # fmt: skip

#: Initial values that take something out of the base weights. PEFT can repeat the first two.
_REPEATABLE = ("pissa", "olora")
_UNREPEATABLE = ("pissa_niter", "corda", "loftq", "lora_ga")


@dataclass(frozen=True)
class Layer:
    """The update of one module: A, B and, for DoRA, its magnitudes.

    `of` is what is adapted: a linear layer, an embedding, or a bare parameter such as the weights
    of all experts of a layer; `depth` orders the parameters of one module, the first innermost.
    """

    module: str
    a: StoredTensor
    b: StoredTensor
    rank: int
    scale: float
    of: Literal["linear", "embedding", "parameter"] = "linear"
    depth: int = 0
    magnitude: StoredTensor | None = None
    bias: StoredTensor | None = None

    @property
    def experts(self) -> int:
        """Return how many experts share A and B; 0 when the rank does not divide them."""
        return 0 if self.a.shape[0] % self.rank else self.a.shape[0] // self.rank


@dataclass(frozen=True)
class TrainedRows:
    """Rows of an embedding or an output layer that replace the model's own: `stored` [indices, width]."""

    indices: tuple[int, ...]
    stored: StoredTensor


@dataclass
class Adapter:
    """All of an adapter: layers with an update, and tensors that replace the model's own.

    `weight` scales every update. Of the `replacements`, those in `trained_whole` were trained in
    full, the others were only saved. `rows` are those of its new tokens, by module. `complication` is
    why merging needs PEFT and a model in memory.
    """

    folder: Path
    config: dict[str, Any]
    weight: float = 1.0
    layers: list[Layer] = field(default_factory=list)
    replacements: dict[str, StoredTensor] = field(default_factory=dict)
    trained_whole: set[str] = field(default_factory=set)
    rows: dict[str, TrainedRows] = field(default_factory=dict)
    complication: Text | None = None

    @cached_property
    def module_filter(self) -> ModuleFilter:
        """Return what tells which modules the settings select."""
        return ModuleFilter(self.config)

    @property
    def transposed(self) -> bool:
        """Return whether linear weights are stored [in, out], as GPT-2's are."""
        return bool(self.config.get("fan_in_fan_out"))


def read(folder: Path, weight: float = 1.0, *, needs_labels: bool = True) -> Adapter:
    """Return the adapter in a folder.

    Raises ProblemError when there is none or its weights don't fit its settings; with `needs_labels`, also
    for a classifier whose folder has no settings with its labels.
    """
    config = read_config(folder, needs_labels=needs_labels)
    adapter = Adapter(folder, config, weight, complication=_get_complication(folder, config))
    modules: dict[str, dict[str, StoredTensor]] = {}
    for tensor in safetensors_files.read_header(_find_weights_file(folder)):
        name = tensor.name.removeprefix(PREFIX)
        if match := _ROWS.match(name):
            adapter.rows[match["module"]] = _read_rows(adapter, match["module"], tensor)
        elif match := _LORA.match(name):
            role = match["half"] or match["table"] or "magnitude"
            role += "-bias" if match["part"] == "bias" else "-table" if match["table"] else ""
            held = modules.setdefault(match["module"], {})
            if role in held:  # with the prefix and without it
                raise foreign_adapter_error(folder, text("it contains {tensor} twice", tensor=name))
            held[role] = tensor
        elif "lora_" not in name and name != tensor.name and (match := _WHOLE.match(name)):
            parameter = f"{match['module']}.{match['part']}"
            adapter.replacements[parameter] = tensor
            bias = match["part"] == "bias" and config.get("bias", "none") != "none"
            if bias or (not match["frozen"] and _is_saved_whole(match["module"], config)):
                adapter.trained_whole.add(parameter)
        else:
            adapter.complication = adapter.complication or text(
                "it contains {tensor}", tensor=tensor.name
            )
    for module, tensors in modules.items():
        try:
            adapter.layers.append(_read_layer(adapter, module, tensors))
        except ProblemError:
            if adapter.complication is None:
                raise
            # PEFT will merge it; the layers that can be read are still worth showing.
    _require_weights(adapter)
    return adapter


def _require_weights(adapter: Adapter) -> None:
    has_weights = adapter.layers or adapter.replacements or adapter.rows
    if not has_weights and adapter.complication is None:
        raise foreign_adapter_error(adapter.folder, text("it contains no weights"))


def read_intact(folder: Path, weight: float = 1.0, *, needs_labels: bool = True) -> Adapter:
    """Return the adapter in a folder, as `read`, after comparing the files of a run with its checksums."""
    checksums.require_intact_source(folder)
    return read(folder, weight, needs_labels=needs_labels)


def read_config(folder: Path, *, needs_labels: bool = True) -> dict[str, Any]:
    """Return the settings of an adapter; raises ProblemError unless the folder holds a LoRA adapter.

    With `needs_labels`, also raises it for a classifier whose folder has no settings with its labels.
    """
    try:
        config: dict[str, Any] = read_json(folder / CONFIG)
    except (OSError, ValueError):
        raise fail(
            "merging.no_adapter",
            "There is no trained adapter in {folder}.",
            "Train first, or choose a folder with an adapter_config.json.",
            where=Where(step="merging", file=str(folder)),
            folder=str(folder),
        ) from None
    kind = config.get("peft_type") if isinstance(config, dict) else None
    if kind != "LORA":
        raise fail(
            "merging.not_lora",
            "The adapter's type is {type}. Only LORA adapters can be merged.",
            "Choose a LoRA adapter.",
            where=Where(step="merging", file=str(folder)),
            type=str(kind),
        )
    require_mergeable(config, has_labels=not needs_labels or (folder / "config.json").is_file())
    try:
        check_settings(config)
        _check_numbers(config)
    except InvalidContentError as error:
        raise _broken_settings_error(folder, error.reason) from error
    return config


def _broken_settings_error(folder: Path, reason: Text) -> ProblemError:
    return fail(
        "merging.broken_settings",
        "The adapter's {file} can't be used: {reason}.",
        "Copy or download the adapter again, or ask its author for the file that PEFT wrote.",
        where=Where(step="merging", file=str(folder / CONFIG)),
        file=CONFIG,
        reason=reason,
    )


def _check_numbers(config: dict[str, Any]) -> None:
    """Raise InvalidContentError unless every rank and alpha, of all modules or of some, is a number."""
    ranks = [config.get("r"), *(config.get("rank_pattern") or {}).values()]
    alphas = [config.get("lora_alpha"), *(config.get("alpha_pattern") or {}).values()]
    if not (
        all(type(rank) is int and 0 < rank <= limits.ADAPTER_RANK for rank in ranks)
        and all(
            type(alpha) in (int, float) and abs(alpha) <= limits.ADAPTER_ALPHA for alpha in alphas
        )
    ):
        raise InvalidContentError("it has no valid rank (r) and alpha (lora_alpha)")


def foreign_adapter_error(folder: Path, reason: Template | Text) -> ProblemError:
    """Return the error for an adapter that was not trained on this base model."""
    return fail(
        "merging.foreign_adapter",
        "The adapter doesn't belong to this base model: {reason}.",
        "Choose the base model that the adapter was trained on, in the same version.",
        where=Where(step="merging", file=str(folder)),
        reason=reason,
    )


def not_finite_error(name: str, dtype: str) -> ProblemError:
    """Return the error for a merged tensor with infinite or NaN values."""
    remedy = "The adapter is damaged, or training diverged. Train again with a lower learning rate."
    if dtype in ("F16", "float16"):
        remedy = "The range of float16 may be too small for this model. Choose bfloat16 for the merged model."
    return fail(
        "merging.not_finite",
        "The merged {tensor} contains infinite or NaN values.",
        remedy,
        where=Where(step="merging", field="dtype"),
        tensor=name,
    )


def get_module_setting(pattern: dict[str, Any] | None, module: str, default: Any) -> Any:
    """Return a setting that may differ by module; the first matching key counts, as in PEFT."""
    for key, value in (pattern or {}).items():
        if re.match(rf"(.*\.)?({key})$", module):
            return value
    return default


def _find_weights_file(folder: Path) -> Path:
    file = folder / WEIGHTS
    if not file.is_file() and (folder / _PICKLE).is_file():
        raise fail(
            "merging.pickle",
            "{file} is a pickle file, which can run code when it is opened.",
            "Ask its author for adapter_model.safetensors, or convert the file if you trust it.",
            where=Where(step="merging", file=str(folder / _PICKLE)),
            file=_PICKLE,
        )
    return file


def _get_complication(folder: Path, config: dict[str, Any]) -> Text | None:
    used = [name for name in _OTHER_KINDS if config.get(name)]
    if used:
        return text("it uses {options}", options=listed(used))
    initial = config.get("init_lora_weights")
    if not isinstance(initial, str):
        return None
    if initial.lower().startswith(_UNREPEATABLE):
        raise fail(
            "merging.changed_base",
            "The adapter was initialized with {method}, which removed a part of the base model that "
            "can't be reconstructed from the adapter alone.",
            "Save it again as a plain LoRA adapter. In PEFT, use save_pretrained(…, "
            "path_initial_model_for_weight_conversion=…).",
            where=Where(step="merging", file=str(folder)),
            method=initial,
        )
    if initial.lower() in _REPEATABLE:
        return text(
            "it was initialized with {method}, which removed a part of the base model",
            method=initial,
        )
    return None


def _read_rows(adapter: Adapter, module: str, stored: StoredTensor) -> TrainedRows:
    """Return the trained rows of a module; raises ProblemError unless there is one row per index."""
    trained = adapter.config.get("trainable_token_indices")
    if isinstance(trained, dict):
        trained = next((ids for name, ids in trained.items() if _has_suffix(module, [name])), None)
    indices = tuple(trained) if isinstance(trained, list) else ()
    are_indices = all(type(index) is int and index >= 0 for index in indices)
    is_valid = are_indices and 0 < len(indices) == len(set(indices))
    if not is_valid or stored.shape[:1] != (len(indices),) or len(stored.shape) != 2:
        reason = text("the rows of its new tokens don't match its settings")
        raise foreign_adapter_error(adapter.folder, reason)
    return TrainedRows(indices, stored)


def _read_layer(adapter: Adapter, module: str, held: dict[str, StoredTensor]) -> Layer:
    folder, config = adapter.folder, adapter.config
    table = "A-table" in held or "B-table" in held
    a, b = (held.get("A-table"), held.get("B-table")) if table else (held.get("A"), held.get("B"))
    if a is None or b is None:
        raise foreign_adapter_error(
            folder,
            text("it contains only one of the two matrices (A and B) for {module}", module=module),
        )
    if len(a.shape) < 2 or len(b.shape) < 2:
        reason = text("A and B of {module} aren't matrices", module=module)
        raise foreign_adapter_error(folder, reason)
    depth = 0
    while module.endswith(".base_layer"):
        module, depth = module.removesuffix(".base_layer"), depth + 1
    is_selected = adapter.module_filter.selects(module)
    # of a bare parameter, such as all experts of a layer
    bare = not table and not is_selected and bool(config.get("target_parameters"))
    if not bare and not is_selected:
        reason = text(
            "its weights include {module}, which its settings don't select", module=module
        )
        raise _broken_settings_error(folder, reason)
    rank, scale = _get_rank_and_scale(adapter, module)
    if not bare and (a.shape[0] != rank or b.shape[1] != rank):
        raise foreign_adapter_error(
            folder,
            text(
                "the update of {module} has rank {rank:d}, but its settings say {expected:d}",
                module=module,
                rank=a.shape[0],
                expected=rank,
            ),
        )
    _check_settings_fit(adapter, module, held, bare=bare)
    return Layer(
        module,
        a,
        b,
        rank,
        scale,
        "embedding" if table else "parameter" if bare else "linear",
        depth,
        held.get("magnitude"),
        held.get("B-bias"),
    )


def _check_settings_fit(
    adapter: Adapter, module: str, held: dict[str, StoredTensor], *, bare: bool
) -> None:
    """Raise ProblemError if a module has weights that PEFT, by the settings, would leave out or miss.

    A bias that is missing is zero; bare parameters have no magnitudes.
    """
    uses_dora, has_magnitude = bool(adapter.config.get("use_dora")), "magnitude" in held
    has_extra_bias = "B-bias" in held and not adapter.config.get("lora_bias")
    if has_extra_bias or (uses_dora != has_magnitude and not (uses_dora and bare)):
        reason = text(
            "its settings and the weights of {module} disagree about {setting}",
            module=module,
            setting="lora_bias" if has_extra_bias else "use_dora",
        )
        raise foreign_adapter_error(adapter.folder, reason)


def get_parameter_layer(adapter: Adapter, layer: Layer, parameter: str) -> Layer:
    """Return the layer with the rank and scale of one parameter of its module."""
    rank, scale = _get_rank_and_scale(adapter, f"{layer.module}.{parameter}")
    return replace(layer, rank=rank, scale=scale)


def _get_rank_and_scale(adapter: Adapter, module: str) -> tuple[int, float]:
    """Return the rank and the scale of a module.

    The scale is weight · alpha / rank, or weight · alpha / √rank for rsLoRA (Kalajdzievski 2023).
    """
    config = adapter.config
    rank = get_module_setting(config.get("rank_pattern"), module, config["r"])
    alpha = get_module_setting(config.get("alpha_pattern"), module, config["lora_alpha"])
    scale = adapter.weight * alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)
    return rank, scale


def rename(adapter: Adapter, names: Mapping[str, str]) -> Adapter:
    """Return the adapter with the names that its modules have in files.

    `names` has the tensors' names in files by those in memory. A module without a tensor of its own is named after
    the nearest one around it.
    """
    modules: dict[str, str] = {}
    for name, stored in names.items():
        one, other = name.split("."), stored.split(".")
        while one and other and one.pop() == other.pop():
            modules.setdefault(".".join(one), ".".join(other))

    def to_stored(module: str) -> str:
        parts = module.split(".")
        for count in range(len(parts), 0, -1):
            if (known := modules.get(".".join(parts[:count]))) is not None:
                return ".".join([known, *parts[count:]])
        return module

    return replace(
        adapter,
        layers=[replace(layer, module=to_stored(layer.module)) for layer in adapter.layers],
        replacements={
            names.get(name, name): tensor for name, tensor in adapter.replacements.items()
        },
        trained_whole={names.get(name, name) for name in adapter.trained_whole},
        rows={to_stored(module): rows for module, rows in adapter.rows.items()},
    )


def find_missing_weights(adapter: Adapter, stored: Iterable[str]) -> list[str]:
    """Return the tensors that an adapter's settings say were trained in full, but its file lacks.

    `stored` are the names in the base model's files, where a head that is also the embedding has none.
    """
    config = adapter.config
    names = {*stored, "lm_head.weight"} if not config.get("ensure_weight_tying") else {*stored}
    have = adapter.replacements.keys()
    return sorted(
        name
        for name in names
        if name.endswith(".weight")
        and _is_saved_whole(name.removesuffix(".weight"), config)
        and not any(one == name or one.endswith(f".{name}") for one in have)
    )


def _is_saved_whole(module: str, config: dict[str, Any]) -> bool:
    """Return whether a module, or one that contains it, was trained in full."""
    saved = config.get("modules_to_save") or ()
    parts = module.split(".")
    return any(_has_suffix(".".join(parts[:count]), saved) for count in range(1, len(parts) + 1))


def _has_suffix(module: str, names: Any) -> bool:
    return any(module == name or module.endswith(f".{name}") for name in names)
