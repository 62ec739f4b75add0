"""The tensors of base + adapter, computed by PEFT one at a time.

PEFT loads the adapter into a model whose base weights take no memory. Each of its layers then gets the
base's real weight, merges it, and gives it back. Which tensors of the files those weights are, transformers
says: it renames and joins them when it loads a model.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from lora_studio.core.lora.adapters import CLASSIFIES, WeightedAdapter
from lora_studio.core.messages import Text, text
from lora_studio.core.model.spec import ModelSpec
from lora_studio.core.system.foreign_files import read_json
from lora_studio.engine.lora import adapter_files
from lora_studio.engine.lora.adapter_weights import (
    AdapterMismatchError,
    grow_for_adapter,
    load_adapter_weights,
)
from lora_studio.engine.model import loading, safetensors_files
from lora_studio.engine.model.safetensors_files import StoredTensor
from lora_studio.engine.runtime import model_code
from lora_studio.engine.runtime.failures import is_caused_by_system

#: Name of the adapter in PEFT's model.
_ADAPTER = "default"

#: What precedes the names of the base model's modules in PEFT's model and files.
_PREFIX = "base_model.model."

#: Parts of the names in PEFT's model that the base model's lack.
_WRAPPERS = (".base_layer", ".original_module", f".modules_to_save.{_ADAPTER}", ".token_adapter")

#: The value and memory of all weights of a base model that only its adapter's are read into.
_ZERO = torch.zeros(())

#: Tensors of heads that predict tokens, which a classifier lacks.
_TOKEN_HEADS = ("lm_head.weight", "lm_head.bias", "embed_out.weight")

#: Initial values that take something out of the base weights, which PEFT repeats from these alone.
_TAKES_FROM_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")

#: Task of an adapter for the transformer without its head.
_FEATURES = "FEATURE_EXTRACTION"

#: Changes a weight in place of the layers that train it: gets it whole, returns it in its data type.
Change = Callable[[torch.Tensor], torch.Tensor]


class UnjudgeableError(Exception):
    """PEFT can't compute the updates of an adapter without its whole model; `reason` says why."""

    def __init__(self, reason: Text) -> None:
        """Use the reason as the message."""
        super().__init__(str(reason))
        self.reason = reason


@dataclass(frozen=True)
class TrainedTensor:
    """A tensor of the trained model; its name and data type as in the files.

    `changes` are applied in their order to the base's values, which have more rows where the vocabulary grew.
    """

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]
    read_base: Callable[[], torch.Tensor]
    changes: tuple[Change, ...] = ()

    @property
    def changed(self) -> bool:
        """Return whether an adapter trains it."""
        return bool(self.changes)

    def read(self, dtype: torch.dtype | None = None) -> torch.Tensor:
        """Return the trained values as PEFT merges them into a base of `dtype`, by default the stored one."""
        value = self.read_base()
        value = value.to(dtype or self.dtype) if value.is_floating_point() else value
        for change in self.changes:
            value = change(value)
        return value


@dataclass(frozen=True)
class TrainedModel:
    """Every tensor of base + adapters; `is_untied`: it has a head of its own, unlike the base.

    `vocabulary`: the rows of its embedding.
    """

    tensors: Mapping[str, TrainedTensor]
    is_untied: bool
    vocabulary: int


@dataclass
class _Adapted:
    """A base model without weights, and what one adapter changes in it, by the model's own names.

    `names` are the model's names of the tensors in the base's files, `shapes` those of its parameters;
    `shared` has the names of the parameters that are one, by each of them. `heads`: tensors of the files
    that aren't part of the trained model.
    """

    model: Any
    names: dict[str, str]
    shapes: dict[str, tuple[int, ...]]
    shared: dict[str, tuple[str, ...]]
    heads: frozenset[str] = frozenset()
    changes: dict[str, list[Change]] = field(default_factory=dict)

    def add(self, name: str, change: Change) -> None:
        """Add a change of a parameter."""
        self.changes.setdefault(name, []).append(change)


def open_trained(
    base: Path,
    adapters: Sequence[WeightedAdapter],
    dtype: torch.dtype | None,
    *,
    trust: bool,
    check: Callable[[], None],
) -> TrainedModel:
    """Return the model that a base and its adapters give, floating-point tensors in `dtype` or as stored.

    Raises ProblemError for unreadable files, and UnjudgeableError.
    """
    stored = read_base_tensors(base, check)
    adapted = [_load_adapter(base, stored, adapter, trust=trust) for adapter in adapters]
    try:
        return _assemble(stored, adapted, dtype)
    except (KeyError, ValueError, RuntimeError) as error:
        raise UnjudgeableError(text("{error}", error=str(error))) from error


def merge_rounded(tuned: Any, dtype: torch.dtype) -> None:
    """Merge the active adapters of a PEFT model in place, with the weights they train rounded to `dtype`."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    tuned.merge_adapter()
    layers = [each for each in tuned.modules() if isinstance(each, BaseTunerLayer)]
    trained = {
        id(value): value for layer in layers for value in layer.get_base_layer().parameters()
    }
    trained |= {id(v): v for n, v in tuned.named_parameters() if ".modules_to_save." in n}
    with torch.no_grad():
        for value in trained.values():
            if value.is_floating_point():
                value.copy_(value.to(dtype))


# --- the base ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class BaseTensor:
    """A tensor of the base model; what is packed in 4 or 8 bits is read as 16."""

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]
    read: Callable[[], torch.Tensor]


def read_base_tensors(base: Path, check: Callable[[], None]) -> dict[str, BaseTensor]:
    """Return the tensors of a model by name; raises ProblemError."""
    stored = safetensors_files.read_index(base, check)
    tensors: dict[str, BaseTensor] = {}
    for name, tensor in stored.items():
        if name.endswith((".SCB", ".weight_format")) or ".weight." in name:
            continue  # a part of a packed weight
        parts = {
            key.removeprefix(f"{name}."): part
            for key, part in stored.items()
            if key.startswith(f"{name}.")
        }
        if name.endswith(".weight") and (scale := stored.get(name.removesuffix("weight") + "SCB")):
            parts["SCB"] = scale
        tensors[name] = _open_packed(base, tensor, parts) if parts else BaseTensor(
            name, safetensors_files.DTYPES[tensor.dtype], tensor.shape, tensor.read
        )  # fmt: skip
    return tensors


def _open_packed(base: Path, tensor: StoredTensor, parts: dict[str, StoredTensor]) -> BaseTensor:
    from bitsandbytes import functional

    if "SCB" in parts:
        config = read_json(base / "config.json")
        dtype = getattr(torch, str(config.get("dtype") or config.get("torch_dtype") or "float16"))

        def read_8_bits() -> torch.Tensor:
            return functional.int8_vectorwise_dequant(tensor.read(), parts["SCB"].read().float())

        return BaseTensor(tensor.name, dtype, tensor.shape, read_8_bits)
    state = next(part for key, part in parts.items() if key.startswith("quant_state."))
    about = json.loads(bytes(state.read().tolist()))

    def read_4_bits() -> torch.Tensor:
        values = {key: part.read() for key, part in parts.items()}
        quantized = functional.QuantState.from_dict(values, device=torch.device("cpu"))
        return functional.dequantize_4bit(tensor.read(), quantized)

    dtype = getattr(torch, about["dtype"])
    return BaseTensor(tensor.name, dtype, tuple(about["shape"]), read_4_bits)


# --- the adapter ------------------------------------------------------------------------------


def _load_adapter(
    base: Path, stored: Mapping[str, BaseTensor], adapter: WeightedAdapter, *, trust: bool
) -> _Adapted:
    """Return what PEFT makes of an adapter; raises ProblemError and UnjudgeableError."""
    from peft import PeftConfig, get_peft_model, load_peft_weights
    from peft.tuners.lora import LoraLayer

    folder = Path(adapter.folder)
    config: Any = PeftConfig.from_pretrained(str(folder))
    initial = str(config.init_lora_weights)
    if initial.lower().startswith(_TAKES_FROM_BASE):
        raise UnjudgeableError(
            text(
                "it was initialized with {method}, which removed a part of the base model",
                method=initial,
            )
        )
    config.init_lora_weights = True
    config.inference_mode = True
    config.base_model_name_or_path = None
    with _ignore_warnings():
        state = load_peft_weights(str(folder), device="cpu")
    model = _create_model(base, folder, config, state, trust=trust)
    adapted = _name_parameters(model, stored)
    if config.task_type == CLASSIFIES:
        adapted.heads = frozenset(_TOKEN_HEADS)
    try:
        with _ignore_warnings():
            wrapped = get_peft_model(model, config)
            _make_writable(wrapped, state)
            load_adapter_weights(wrapped, state)
    except AdapterMismatchError as error:
        raise adapter_files.foreign_adapter_error(folder, error.reason) from error
    except (ValueError, TypeError, RuntimeError, NotImplementedError) as error:
        if is_caused_by_system(error):
            raise
        raise UnjudgeableError(text("{error}", error=str(error).split("\n")[0])) from error
    for module in wrapped.modules():
        if isinstance(module, LoraLayer) and adapter.weight != 1.0:
            module.set_scale(_ADAPTER, adapter.weight)
    _collect_changes(wrapped, adapted)
    return adapted


def _name_parameters(model: Any, stored: Mapping[str, BaseTensor]) -> _Adapted:
    """Return a model with the names that transformers gives the tensors of its files."""
    from transformers.conversion_mapping import get_model_conversion_mapping
    from transformers.core_model_loading import WeightConverter, WeightRenaming, rename_source_key

    conversions = get_model_conversion_mapping(model)
    model._weight_conversions = conversions
    renamings = [each for each in conversions if isinstance(each, WeightRenaming)]
    converters = [each for each in conversions if isinstance(each, WeightConverter)]
    state, prefix = model.state_dict(), model.base_model_prefix
    names = {
        name: rename_source_key(name, renamings, converters, prefix, state)[0] for name in stored
    }
    shapes: dict[str, tuple[int, ...]] = {}
    groups: dict[int, list[str]] = {}
    for name, value in model.named_parameters(remove_duplicate=False):
        shapes[name] = tuple(value.shape)
        groups.setdefault(id(value), []).append(name)
    shared = {name: tuple(group) for group in groups.values() for name in group}
    return _Adapted(model, names, shapes, shared)


def _create_model(
    base: Path, folder: Path, config: Any, state: Mapping[str, torch.Tensor], *, trust: bool
) -> Any:
    """Return the base model whose weights are zeros that take no memory."""
    from transformers import AutoModel, AutoModelForSequenceClassification

    spec = ModelSpec(source=str(base), trust_remote_code=trust)
    settings = loading.read_config(base, spec)
    if config.task_type == CLASSIFIES:
        kind: Any = AutoModelForSequenceClassification
        heads = [tensor for name, tensor in state.items() if name.endswith("score.weight")]
        settings.num_labels = len(heads[0]) if heads else 2
    elif config.task_type == _FEATURES:
        kind = AutoModel
    else:
        kind = None
    if kind is None:
        model: Any = loading.load_on_meta(base, spec, settings)
    else:
        if hasattr(settings, "quantization_config"):
            del settings.quantization_config
        is_allowed = model_code.is_allowed(base, requested=trust)
        with torch.device("meta"):
            model = kind.from_config(settings, trust_remote_code=is_allowed, dtype=torch.bfloat16)
    grow_for_adapter(model, folder)
    embedding = model.get_input_embeddings()
    rows = [len(tensor) for name, tensor in state.items() if name.endswith(("embed_tokens.weight", "embed_tokens.base_layer.weight", "lm_head.weight"))]  # fmt: skip
    if rows and len(embedding.weight) < max(rows):
        model.resize_token_embeddings(max(rows), mean_resizing=False)
    _replace_parameters(model, lambda value: _ZERO.expand(value.shape))
    return model


def _replace_parameters(model: torch.nn.Module, create: Callable[[torch.Tensor], torch.Tensor]) -> None:  # fmt: skip
    """Replace every parameter; shared ones stay shared."""
    replaced: dict[int, torch.nn.Parameter] = {}
    for module in model.modules():
        for name, value in module._parameters.items():
            if value is not None:
                if id(value) not in replaced:
                    replaced[id(value)] = torch.nn.Parameter(create(value), requires_grad=False)
                module._parameters[name] = replaced[id(value)]


def _make_writable(wrapped: torch.nn.Module, state: Mapping[str, torch.Tensor]) -> None:
    """Give memory to the base's own weights that the adapter's file has: biases and saved embeddings."""
    for module_name, module in wrapped.named_modules():
        for name, value in list(module._parameters.items()):
            if value is not None and f"{module_name}.{name}" in state and _is_empty(value):
                module._parameters[name] = torch.nn.Parameter(
                    torch.empty(value.shape), requires_grad=False
                )


def _is_empty(value: torch.Tensor) -> bool:
    """Return whether a base weight has no memory of its own."""
    return value.data_ptr() == _ZERO.data_ptr()


@contextmanager
def _ignore_warnings() -> Iterator[None]:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _collect_changes(wrapped: Any, adapted: _Adapted) -> None:
    """Add the change of every parameter that the adapter trains or brings.

    Raises UnjudgeableError unless each of the adapter's tensors is part of one.
    """
    from peft.tuners.lora import LoraLayer
    from peft.tuners.lora.layer import ParamWrapper
    from peft.utils.other import TrainableTokensWrapper

    for name, value in wrapped.named_parameters(remove_duplicate=False):
        own = _strip(name)
        if f".modules_to_save.{_ADAPTER}." in name:
            adapted.add(own, _Replacement(value.detach()))
        elif own in adapted.shapes and ".original_module." not in name and not _is_empty(value):
            for shared in adapted.shared[own]:  # the base's own weight, saved with the adapter
                adapted.add(shared, _Replacement(value.detach()))
    collected: list[str] = []
    for name, module in wrapped.named_modules():
        own = _strip(name)
        if isinstance(module, ParamWrapper):
            parameter = f"{own}.{module.parameter_name}"
            adapted.add(parameter, _StackedMerge(module))
        elif isinstance(module, LoraLayer) and _ADAPTER in {*module.lora_A, *module.lora_embedding_A}:  # fmt: skip
            adapted.add(f"{own}.weight", _create_merge(module, "weight"))
            if module.lora_bias.get(_ADAPTER):
                adapted.add(f"{own}.bias", _create_merge(module, "bias"))
        elif isinstance(module, TrainableTokensWrapper):
            adapted.add(f"{own}.weight", _create_row_merge(module.token_adapter))
        else:
            continue
        collected.append(f"{name}.")
    trained = (name for name, _ in wrapped.named_parameters() if f".{_ADAPTER}" in name)
    for name in trained:
        if ".modules_to_save." not in name and not name.startswith(tuple(collected)):
            raise UnjudgeableError(text("it contains {tensor}", tensor=name))


def _strip(name: str) -> str:
    """Return the name that a module or parameter of PEFT's model has in the base model."""
    name = name.removeprefix(_PREFIX)
    for part in _WRAPPERS:
        name = name.replace(part, "")
    return name


@dataclass(frozen=True)
class _Replacement:
    """Values that take the place of the base's."""

    value: torch.Tensor

    def __call__(self, weight: torch.Tensor) -> torch.Tensor:
        """Return the values in the weight's data type."""
        return self.value.to(weight.dtype)


def _create_row_merge(layer: Any) -> Change:
    """Return PEFT's merge of the rows of new tokens."""

    def change(weight: torch.Tensor) -> torch.Tensor:
        base = torch.nn.Module()
        base.weight = torch.nn.Parameter(weight, requires_grad=False)
        held, layer.base_layer = layer.base_layer, base
        try:
            merged: torch.Tensor = layer.get_merged_weights([_ADAPTER])
            return merged.detach()
        finally:
            layer.base_layer = held

    return change


def _create_merge(layer: Any, of: str) -> Change:
    """Return PEFT's merge of one layer; `of` is the weight that is given and returned."""

    def change(weight: torch.Tensor) -> torch.Tensor:
        base = layer.get_base_layer()
        held = dict(base._parameters)
        try:
            base._parameters[of] = torch.nn.Parameter(weight.clone(), requires_grad=False)
            if held.get("bias") is not None and of != "bias":
                empty = torch.zeros(held["bias"].shape, dtype=weight.dtype)
                base._parameters["bias"] = torch.nn.Parameter(empty, requires_grad=False)
            if of == "bias":  # the weight is computed along with it
                values = torch.zeros(held["weight"].shape)
                base._parameters["weight"] = torch.nn.Parameter(values, requires_grad=False)
            layer.merge(adapter_names=[_ADAPTER])
            merged: torch.Tensor = base._parameters[of].detach()
            return merged
        finally:
            layer.merged_adapters.clear()
            layer._caches.clear()
            base._parameters.update(held)

    return change


@dataclass(frozen=True)
class _StackedMerge:
    """PEFT's update of a bare parameter, such as all experts of a layer."""

    layer: Any

    def compute_delta(self, dtype: torch.dtype) -> torch.Tensor:
        """Return the update for a parameter of this data type."""
        base, name = self.layer.get_base_layer(), self.layer.parameter_name
        held = base._parameters[name]
        stub = torch.zeros((), dtype=dtype).expand(held.shape)
        try:
            base._parameters[name] = torch.nn.Parameter(stub, requires_grad=False)
            delta: torch.Tensor = self.layer.get_delta_weight(_ADAPTER).detach()
            return delta
        finally:
            base._parameters[name] = held

    def __call__(self, weight: torch.Tensor) -> torch.Tensor:
        """Return the merged parameter."""
        return weight + self.compute_delta(weight.dtype)


class _SplitMerge:
    """The parts of a parameter's update that belong to the tensors that transformers joins to it.

    The parts of one parameter are computed together and kept until those of another are needed.
    """

    def __init__(self, model: Any) -> None:
        """Split as the inverse of loading this model does."""
        self._model = model
        self._key: tuple[str, torch.dtype] | None = None
        self._parts: dict[str, torch.Tensor] = {}

    def create(self, name: str, parameter: str, merge: _StackedMerge) -> Change:
        """Return the change of one tensor of the files."""

        def change(weight: torch.Tensor) -> torch.Tensor:
            from transformers.core_model_loading import revert_weight_conversion

            if self._key != (parameter, weight.dtype):
                self._parts = {}
                delta = {parameter: merge.compute_delta(weight.dtype)}
                self._parts = revert_weight_conversion(self._model, delta)
                self._key = (parameter, weight.dtype)
            return weight + self._parts[name]

        return change


# --- the trained model ------------------------------------------------------------------------


def _assemble(
    stored: Mapping[str, BaseTensor], adapted: Sequence[_Adapted], dtype: torch.dtype | None
) -> TrainedModel:
    """Return the tensors of the files with the changes of all adapters; raises UnjudgeableError."""
    changes = [_map_changes(each, stored) for each in adapted]
    tensors: dict[str, TrainedTensor] = {}
    for name, base in stored.items():
        if any(name in each.heads for each in adapted):
            continue
        shape = _get_trained_shape(name, base.shape, adapted)
        kept = base.dtype if dtype is None or not base.dtype.is_floating_point else dtype
        all_changes = tuple(change for each in changes for change in each.pop(name, ()))
        tensors[name] = TrainedTensor(name, kept, shape, _read_padded(base, shape), all_changes)
    is_untied = _add_head(tensors, adapted, changes)
    embedding = next((tensors[n] for n in tensors if _names_embedding(n, adapted)), None)
    for each in changes:
        for name, added in each.items():
            first, is_score = added[0], name.startswith("score.")
            if not is_score or embedding is None or not isinstance(first, _Replacement):
                raise UnjudgeableError(text("the base model's files don't contain {tensor}", tensor=name))  # fmt: skip
            value = first.value.to(embedding.dtype)
            tensors[name] = TrainedTensor(name, value.dtype, tuple(value.shape), lambda v=value: v, (first,))  # type: ignore[misc]  # fmt: skip
    return TrainedModel(tensors, is_untied, embedding.shape[0] if embedding else 0)


def _map_changes(adapted: _Adapted, stored: Mapping[str, BaseTensor]) -> dict[str, list[Change]]:
    """Return the changes by the names in the files, those of other parameters by the model's."""
    files: dict[str, list[str]] = {}
    for name, own in adapted.names.items():
        files.setdefault(own, []).append(name)
    split = _SplitMerge(adapted.model)
    changes: dict[str, list[Change]] = {}
    for parameter, added in adapted.changes.items():
        names = files.get(parameter, [])
        if len(names) == 1 and math.prod(stored[names[0]].shape[1:]) == math.prod(adapted.shapes[parameter][1:]):  # fmt: skip
            changes[names[0]] = added
        elif not names:
            changes[parameter] = added
        else:
            for name in names:
                if len(added) != 1 or not isinstance(added[0], _StackedMerge):
                    raise UnjudgeableError(text("{tensor} is a part of {parameter}", tensor=name, parameter=parameter))  # fmt: skip
                changes[name] = [split.create(name, parameter, added[0])]
    return changes


def _get_trained_shape(
    name: str, shape: tuple[int, ...], adapted: Sequence[_Adapted]
) -> tuple[int, ...]:
    """Return the shape of a tensor with the rows of new tokens."""
    grown = (each.shapes.get(each.names[name], ()) for each in adapted)
    lengths = [each[0] for each in grown if len(each) == 2 == len(shape) and each[1] == shape[1]]
    return (max([shape[0], *lengths]), *shape[1:]) if lengths else shape


def _read_padded(base: BaseTensor, shape: tuple[int, ...]) -> Callable[[], torch.Tensor]:
    if shape == base.shape:
        return base.read

    def read() -> torch.Tensor:
        value = base.read()
        return torch.cat([value, value.new_zeros(shape[0] - len(value), *shape[1:])])

    return read


def _names_embedding(name: str, adapted: Sequence[_Adapted]) -> bool:
    """Return whether a tensor of the files is the embedding of the tokens."""
    for each in adapted:
        embedding = each.model.get_input_embeddings()
        prefixes = [_strip(n) for n, module in each.model.named_modules() if module is embedding]
        if each.names[name] in (f"{prefix}.weight" for prefix in prefixes):
            return True
    return False


def _add_head(
    tensors: dict[str, TrainedTensor],
    adapted: Sequence[_Adapted],
    changes: Sequence[dict[str, list[Change]]],
) -> bool:
    """Add the head that training separated from the embedding; return whether there is one.

    A head that is one tensor with the embedding in the base was trained apart if it got other values.
    """
    first = adapted[0]
    for name in list(tensors):
        for partner in first.shared.get(first.names[name], ()):
            if partner == first.names[name] or partner in first.names.values():
                continue
            embedding = tensors[name]
            own = tuple(change for each in changes for change in each.pop(partner, ()))
            if not own and not embedding.changes:
                continue
            head = TrainedTensor(
                partner, embedding.dtype, embedding.shape, embedding.read_base, own
            )
            if not torch.equal(head.read(), embedding.read()):
                tensors[partner] = head
                return True
    return False
