"""Attach an adapter to a model: which layers of its architecture get one."""

from __future__ import annotations

import inspect
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import peft
import torch
from peft.utils import ModulesToSaveWrapper
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from lora_studio.core.lora.spec import LoraSpec
from lora_studio.core.messages import Text, text
from lora_studio.core.model.spec import ModelSpec
from lora_studio.core.problems import Fix, Problem, ProblemError, Where, fail, warning
from lora_studio.core.protocol import events
from lora_studio.core.spec import get_facts
from lora_studio.engine.devices import devices
from lora_studio.engine.lora import adapter_weights, initialization
from lora_studio.engine.lora.initialization import ITERATIVE_PISSA
from lora_studio.engine.model import folder as model_folder
from lora_studio.engine.model import loading, sources, text_model
from lora_studio.engine.model import shape as model_shape
from lora_studio.engine.model import tokenizer as tokenizer_module
from lora_studio.engine.runtime.channel import JobContext

_ATTENTION = re.compile(r"attn|attention|mixer", re.IGNORECASE)
_FUSED = re.compile(r"qkv|query_key_value|c_attn", re.IGNORECASE)
_QUERY_VALUE = re.compile(r"(q|v|query|value|wq|wv|q_b)(_proj|_lin)?\Z", re.IGNORECASE)
#: Routers of experts, or the layer inside of one.
_ROUTER = re.compile(r"(^|\.)(gate|router|shared_expert_gate)(\.\w+)?\Z")


@dataclass
class Targets:
    """What gets an adapter: layers by full name, and stacked expert weights by name.

    `left_out` are expert weights, and `bypassed` layers, that the choice includes but that get no adapter.
    """

    layers: dict[str, torch.nn.Module] = field(default_factory=dict)
    experts: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    bypassed: list[str] = field(default_factory=list)

    @property
    def names(self) -> tuple[str, ...]:
        """Return the short names of layers and experts."""
        short = *_get_last_parts(self.layers), *_shorten_expert_names(self.experts)
        return tuple(dict.fromkeys(short))

    @property
    def notes(self) -> tuple[Problem, ...]:
        """Return warnings about what gets no adapter, and what an adapter of experts can't do."""
        notes = []
        if self.bypassed:
            notes.append(_bypassed_layers_problem(self.bypassed))
        if self.left_out:
            notes.append(_skipped_experts_problem(self.left_out))
        if self.experts:
            notes.append(_experts_warning(_shorten_expert_names(self.experts)))
        return tuple(notes)


def attach_adapter(
    model: PreTrainedModel,
    spec: LoraSpec,
    job: JobContext,
    *,
    gradient_checkpointing: bool = False,
    iterative: bool = False,
    token_ids: Sequence[int] = (),
) -> peft.PeftModel:
    """Wrap a model with an adapter in 32-bit: a new one, seeded by torch, or the one to start from.

    `iterative` computes PiSSA by a randomized decomposition, which depends on the seed. The rows of
    `token_ids` are trained too. Raises ProblemError when nothing would train, or when the adapter doesn't fit
    the model.
    """
    config = create_adapter_config(model, spec, job, token_ids)
    if spec.init == "pissa" and iterative and not spec.start_from:
        config.init_lora_weights = ITERATIVE_PISSA
    prevent_repacking(model)
    if is_prepared(model):
        model = peft.prepare_model_for_kbit_training(
            model,
            use_gradient_checkpointing=gradient_checkpointing,
            gradient_checkpointing_kwargs={"use_reentrant": False},
        )
    elif gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    with adapter_weights.ignore_unused_patterns():
        wrapped = (
            adapter_weights.attach_existing(model, config, Path(spec.start_from))
            if spec.start_from
            else peft.get_peft_model(model, config, autocast_adapter_dtype=True)
        )
    train_in_32_bit(wrapped)
    return wrapped


def train_in_32_bit(model: peft.PeftModel) -> None:
    """Convert all trainable parameters to 32-bit, fully trained modules and biases included.

    In 16 bits most optimizer updates are lost in rounding, and float16's scaler refuses such gradients.
    The outputs of these modules, and with them the activations between blocks, keep the base's dtype.
    """
    for module in model.modules():
        if isinstance(module, ModulesToSaveWrapper):
            dtypes = {value.dtype for value in module.original_module.parameters()}
            if len(dtypes) == 1:
                module.register_forward_hook(partial(_cast_output, dtypes.pop()))
    for value in model.parameters():
        if value.requires_grad:
            value.data = value.data.float()


def _cast_output(dtype: torch.dtype, _: torch.nn.Module, __: Any, output: Any) -> Any:
    return output.to(dtype) if isinstance(output, torch.Tensor) else output


def create_adapter_config(
    model: PreTrainedModel, spec: LoraSpec, job: JobContext, token_ids: Sequence[int] = ()
) -> peft.LoraConfig | peft.MissConfig:
    """Return PEFT's settings of the adapter on this model; emits Warned where something gets no adapter.

    Raises ProblemError when nothing would train.
    """
    config, targets = _create_config_and_targets(model, spec, token_ids)
    for note in targets.notes:
        job.emit(events.Warned(problem=note))
    return config


def prevent_repacking(model: PreTrainedModel) -> None:
    """Keep 4-bit weights in the layout that gradients can pass through.

    WORKAROUND: bitsandbytes 0.50 repacks them permanently in the first pass without gradients in
    evaluation mode, on a CPU with AVX512-BF16, and repacked weights pass no gradients: the layers below
    silently stop learning after the first evaluation.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


def _create_config_and_targets(
    model: PreTrainedModel, spec: LoraSpec, token_ids: Sequence[int] = ()
) -> tuple[peft.LoraConfig | peft.MissConfig, Targets]:
    """Return PEFT's settings, and the layers that they select in this model."""
    if spec.start_from:
        return adapter_weights.read_lora_config(Path(spec.start_from), spec.dropout), Targets()
    targets = find_targets(model, spec)
    if spec.adapter_type == "lora":
        _require_supported_experts(spec, _shorten_expert_names(targets.experts))
    config = _create_config(model, spec, targets)
    if token_ids:
        config.trainable_token_indices = tokenizer_module.list_trained_rows(model, token_ids)
    return config, targets


def is_prepared(model: torch.nn.Module) -> bool:
    """Return whether PEFT converts a base's unquantized parameters to 32-bit before it is adapted.

    float16 needs that. In bfloat16, norms compute in 32-bit anyway, and activations between blocks would
    take twice the memory and be rounded again for each product. Stacked experts aren't quantized, and
    would double.
    """
    is_quantized = bool(getattr(model, "is_quantized", False))
    is_narrow = next(model.parameters()).dtype == torch.bfloat16
    return is_quantized and not is_narrow and not model_shape.get_expert_names(model)


def count_parameters(
    model: peft.PeftModel, targets: tuple[str, ...] = ()
) -> events.ParametersCounted:
    """Return the exact parameter counts of a wrapped model."""
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    names = targets or tuple(
        dict.fromkeys(name.rpartition(".")[2] for name in model.targeted_module_names)
    )
    return events.ParametersCounted(
        trainable=trainable,
        total=loading.count_parameters(model),
        targets=names,
        adapter_bytes=4 * (trainable + initialization.count_saved_values(model)),
    )


def inspect_model(spec: ModelSpec, lora: LoraSpec, job: JobContext) -> events.ModelInspected:
    """Return facts of a model and of its adapter, from file headers; raises ProblemError if it can't be trained."""
    located = sources.locate(spec, job)
    folder = located.folder
    config, stored = loading.read_trainable_config(folder, spec, has_weights=False)
    model = loading.load_on_meta(folder, spec, config)
    text_config = config.get_text_config()
    parameters, vocabulary_size = loading.count_parameters(model), text_config.vocab_size
    token_ids, tokens_problem = _extend_vocabulary(model, spec, lora, job)
    adapter_problem, notes = _check_adapter(model, lora)
    return events.ModelInspected(
        source=spec.source,
        folder=str(folder),
        architecture=type(model).__name__,
        parameters=parameters,
        layers=text_config.num_hidden_layers,
        hidden_size=text_config.hidden_size,
        vocabulary=vocabulary_size,
        context=getattr(text_config, "max_position_embeddings", None),
        stored_dtype=model_folder.get_stored_dtype(located.headers),
        disk_bytes=located.bytes,
        missing_bytes=located.missing_bytes,
        gguf_type=located.gguf_type,
        gguf_bytes=located.gguf_bytes,
        gated=located.gated,
        license=model_folder.read_license(folder),
        has_chat_template=loading.has_chat_template(folder),
        prequantized=stored,
        weight_bytes=loading.count_weight_bytes(
            model, devices.get_dtype("auto", devices.choose_device("auto"))
        ),
        linear_names=tuple(get_linear_names(model)),
        shape=model_shape.get_model_shape(model, _get_linear_layers(model)),
        adapter_problem=tokens_problem or adapter_problem,
        adapter_notes=notes,
        adapter=None
        if tokens_problem
        else count_on_meta(model, lora, token_ids),  # wraps the layers: last
    )


def _extend_vocabulary(
    model: PreTrainedModel, spec: ModelSpec, lora: LoraSpec, job: JobContext
) -> tuple[tuple[int, ...], Problem | None]:
    """Add new tokens to a model without weights; return their IDs, or why they can't be added."""
    if not lora.new_tokens:
        return (), None
    try:
        folder = sources.resolve_tokenizer(spec, job)
        tokenizer = loading.load_tokenizer(folder, trust=spec.trust_remote_code)
        return tuple(tokenizer_module.extend(model, tokenizer, lora.new_tokens)), None
    except ProblemError as error:
        return (), error.problems[0]


def _check_adapter(
    model: PreTrainedModel, spec: LoraSpec
) -> tuple[Problem | None, tuple[Problem, ...]]:
    """Return why the adapter can't be attached to the model, None if it can, and what gets no adapter."""
    try:
        _, targets = _create_config_and_targets(model, spec)
    except ProblemError as error:
        return error.problems[0], ()
    except Exception:  # an unusual model: training reports what goes wrong with it
        return None, ()
    return None, targets.notes


def count_on_meta(
    model: PreTrainedModel, spec: LoraSpec, token_ids: Sequence[int] = ()
) -> events.ParametersCounted | None:
    """Return the parameter counts of an adapter on a model without weights; None if nothing trains."""
    try:
        config, targets = _create_config_and_targets(model, spec, token_ids)
        wrapped = peft.get_peft_model(model, config)
    except Exception:
        return None
    return count_parameters(wrapped, targets.names)


def get_linear_names(model: PreTrainedModel) -> list[str]:
    """Return the names of the layers that can be adapted, as in `LoraSpec.target_names`."""
    names = (
        *_get_last_parts(_get_linear_layers(model)),
        *_shorten_expert_names(model_shape.get_expert_names(model)),
    )
    return list(dict.fromkeys(names))


def find_targets(model: PreTrainedModel, spec: LoraSpec) -> Targets:
    """Return the layers that a spec selects in this model; raises ProblemError when there are none."""
    layers = _get_linear_layers(model)
    experts = model_shape.get_expert_names(model)
    if spec.targets == "names":
        targets = _find_by_name(model, spec, layers, experts)
    else:
        chosen = {name: layer for name, layer in layers.items() if _is_selected(name, spec.targets)}
        if not chosen:
            why = text("It has no layer that the preset {preset} selects.", preset=spec.targets)
            raise _nothing_trains_error(model, why)
        covers_mlp = spec.targets in ("mlp", "attention_mlp", "all_linear")
        is_left_out = covers_mlp and not spec.adapt_experts
        targets = Targets(layers=chosen, left_out=experts if is_left_out else [])
        targets.bypassed = [
            name for name in _find_bypassed(model) if _is_selected(name, spec.targets)
        ]
    if spec.adapt_experts:
        targets.experts = experts
    return targets


def _is_selected(name: str, preset: str) -> bool:
    is_in_attention = bool(_ATTENTION.search(name.rpartition(".")[0]))
    last = name.rpartition(".")[2]
    match preset:
        case "attention_qv":
            return is_in_attention and bool(_QUERY_VALUE.match(last) or _FUSED.search(last))
        case "attention":
            return is_in_attention
        case "mlp":
            return not is_in_attention
        case _:
            return True


def _find_by_name(
    model: PreTrainedModel,
    spec: LoraSpec,
    layers: dict[str, torch.nn.Module],
    experts: list[str],
) -> Targets:
    targets = Targets()
    for target in spec.target_names:
        matching = {
            name: layer
            for name, layer in layers.items()
            if name == target or name.endswith(f".{target}")
        }
        matching_experts = [
            name for name in experts if name == target or name.endswith(f".{target}")
        ]
        bypassed = [
            name for name in _find_bypassed(model) if name == target or name.endswith(f".{target}")
        ]
        targets.bypassed += bypassed
        if not matching and not matching_experts and not bypassed:
            _require_no_whole_module(model, target)
            why = text("It has no linear layer named {name}.", name=target)
            raise _nothing_trains_error(model, why)
        targets.layers |= matching
        targets.experts += matching_experts
    if not targets.layers and not targets.experts and not spec.adapt_experts:
        why = text("No target module is specified.")
        if targets.bypassed:
            names = ", ".join(_get_last_parts(dict.fromkeys(targets.bypassed)))
            why = text("Adapters of these layers would have no effect: {names}.", names=names)
        raise _nothing_trains_error(model, why)
    return targets


def _require_no_whole_module(model: PreTrainedModel, target: str) -> None:
    """Raise ProblemError for the name of an embedding, the output layer, or a router of experts.

    Such a module is trained in full, and merged and exported like that, also where the model ties its output
    layer to the embedding.
    """
    for name, module in model.named_modules():
        if (name == target or name.endswith(f".{target}")) and (
            isinstance(module, torch.nn.Embedding)
            or _ROUTER.search(name)
            or loading.is_head(model, name, module)
        ):
            raise fail(
                "lora.no_adapter_possible",
                "{name} can't have an adapter: embeddings, the output layer, and routers of experts can only be "
                "trained in full.",
                "Remove it from the target modules, and add it to “Modules trained in full”.",
                where=Where(step="lora", field="target_names"),
                name=target,
            )


def _get_linear_layers(model: PreTrainedModel) -> dict[str, torch.nn.Module]:
    """Return the linear layers by full name that can have an adapter.

    The output layer and routers of experts can't, and layers can't that the model computes by their weights alone.
    """
    bypassed = set(_find_bypassed(model))
    return {name: layer for name, layer in _iter_linear_layers(model) if name not in bypassed}


def _iter_linear_layers(model: PreTrainedModel) -> Iterator[tuple[str, torch.nn.Module]]:
    decoder = text_model.get_decoder_prefix(model)
    for name, module in model.named_modules():
        if (
            isinstance(module, torch.nn.Linear | Conv1D)
            and name.startswith(decoder)
            and not loading.is_head(model, name, module)
            and not _ROUTER.search(name)
        ):
            yield name, module


def _find_bypassed(model: PreTrainedModel) -> list[str]:
    """Return the names of linear layers whose adapter would be without effect, at least on a GPU.

    Layers with a state, such as Mamba's, hand the weights of some of their linear layers to a fused kernel, which
    doesn't see adapters. PEFT refuses some of them, by the model's type; all of them are in the layers' source.
    """
    bypassed = []
    for name, _ in _iter_linear_layers(model):
        parent, _, last = name.rpartition(".")
        owner = model.get_submodule(parent)
        has_convolution = any(isinstance(part, torch.nn.Conv1d) for part in owner.children())
        is_read = has_convolution and last in _find_weights_read(owner.__class__)
        if is_read or _is_refused_by_peft(model, last):
            bypassed.append(name)
    return bypassed


@lru_cache(maxsize=64)
def _find_weights_read(owner: type[torch.nn.Module]) -> frozenset[str]:
    """Return the parts of a module whose weights its own code computes with."""
    try:
        source = inspect.getsource(owner)
    except (OSError, TypeError):  # no source files
        return frozenset()
    return frozenset(
        re.findall(r"\bself\.(\w+)\.weight\b(?!\.(?:dtype|device|shape|size)\b)", source)
    )


def _is_refused_by_peft(model: PreTrainedModel, last: str) -> bool:
    check: Any = getattr(peft.LoraModel, "_check_target_module_compatiblity", None)
    if check is None:  # another version, which raises for nothing or for other reasons
        return False
    try:
        check(None, peft.LoraConfig(), model, last)
    except ValueError:
        return True
    return False


def _create_config(
    model: PreTrainedModel, spec: LoraSpec, targets: Targets
) -> peft.LoraConfig | peft.MissConfig:
    if spec.adapter_type == "miss":
        return initialization.create_config(
            spec,
            targets.layers | {name: model.get_parameter(name) for name in targets.experts},
            layers_to_transform=_get_blocks(model, spec),
            modules_to_save=_get_modules_to_save(model, spec),
            target_modules=_shorten_names(model, targets.layers),
            task_type="CAUSAL_LM",
        )
    return _build_lora_config(
        r=spec.rank,
        lora_alpha=spec.alpha,
        use_rslora=spec.use_rslora,
        use_dora=spec.use_dora,
        # PEFT's own LoftQ and EVA aren't used: `initialization.py` and `training/train_run.py` set initial values.
        init_lora_weights=True if spec.init in ("default", "loftq", "eva") else spec.init,
        layers_to_transform=_get_blocks(model, spec),
        rank_pattern=spec.rank_pattern,
        alpha_pattern=spec.alpha_pattern,
        modules_to_save=_get_modules_to_save(model, spec),
        lora_dropout=spec.dropout,
        bias=spec.bias,
        target_modules=_shorten_names(model, targets.layers),
        exclude_modules=text_model.exclude_towers(model),
        target_parameters=targets.experts or None,
        task_type="CAUSAL_LM",
        fan_in_fan_out=any(isinstance(layer, Conv1D) for layer in targets.layers.values()),
    )


def _build_lora_config(**settings: Any) -> peft.LoraConfig:
    with warnings.catch_warnings():
        # The warning is about PEFT's own conversion; `initialization.py` preserves each layer's scale.
        warnings.filterwarnings("ignore", message="Using Rank-Stabilized LoRA with rank_pattern")
        return peft.LoraConfig(**settings)


def _get_blocks(model: PreTrainedModel, spec: LoraSpec) -> list[int] | None:
    """Return the blocks to adapt; raises ProblemError for one that the model doesn't have."""
    blocks, count = spec.block_numbers, model.config.get_text_config().num_hidden_layers
    if blocks and blocks[-1] >= count:
        raise fail(
            "lora.no_such_block",
            "Block {block:d} doesn't exist: the model has {count:d} blocks, numbered from 0.",
            "Choose blocks from 0 to {last:d}.",
            where=Where(step="lora", field="blocks"),
            block=blocks[-1],
            count=count,
            last=count - 1,
        )
    return blocks


def _get_modules_to_save(model: PreTrainedModel, spec: LoraSpec) -> list[str] | None:
    """Return the modules to train in full; raises ProblemError for a name that no module has."""
    names = {name.rpartition(".")[2] for name, _ in model.named_modules()}
    for module_name in spec.modules_to_save:
        if module_name.rpartition(".")[2] not in names:
            raise fail(
                "lora.no_such_module",
                "The model has no module named {name} to train in full.",
                "Common ones are lm_head and embed_tokens.",
                where=Where(step="lora", field="modules_to_save"),
                name=module_name,
            )
    return list(spec.modules_to_save) or None


def _shorten_names(model: PreTrainedModel, layers: dict[str, torch.nn.Module]) -> list[str]:
    """Return the last parts of names where they select the same layers, else the full names."""
    last = _get_last_parts(layers)
    meant = {
        name
        for name, module in model.named_modules()
        if any(name == part or name.endswith(f".{part}") for part in last)
    }
    return last if meant == set(layers) else list(layers)


def _get_last_parts(names: dict[str, torch.nn.Module] | dict[str, None]) -> list[str]:
    return list(dict.fromkeys(name.rpartition(".")[2] for name in names))


def _shorten_expert_names(names: Sequence[str]) -> list[str]:
    """Return the last parts of names, with the module's where the parameter is called `weight`."""
    parts = (name.rsplit(".", 2)[-2:] for name in names)
    short = (".".join(part) if part[-1] == "weight" else part[-1] for part in parts)
    return list(dict.fromkeys(short))


def _nothing_trains_error(model: PreTrainedModel, why: Text) -> ProblemError:
    names = ", ".join(get_linear_names(model))
    return fail(
        "lora.nothing_trainable",
        "No parameters of {architecture} would be trained. {reason}",
        "Its linear layers are: {names}." if names else "It has no linear layers.",
        where=Where(step="lora", field="targets"),
        architecture=type(model).__name__,
        reason=why,
        names=names,
    )


def _skipped_experts_problem(experts: Sequence[str]) -> Problem:
    return warning(
        "lora.experts_left_out",
        "The experts ({names}) get no adapter: they are stacked into one tensor per layer, and adapting "
        "it takes as much additional memory as the experts themselves.",
        "The other linear layers are adapted. To adapt the experts too, turn on “{setting}”.",
        where=Where(step="lora", field="adapt_experts"),
        names=", ".join(_shorten_expert_names(experts)),
        setting=text(get_facts(LoraSpec, "adapt_experts").title),
    )


def _bypassed_layers_problem(layers: Sequence[str]) -> Problem:
    return warning(
        "lora.layers_left_out",
        "These layers get no adapter: {names}. The model hands their weights to a fused kernel, which would "
        "ignore an adapter.",
        "The other layers are adapted. You don't need to change anything.",
        where=Where(step="lora", field="targets"),
        names=", ".join(_get_last_parts(dict.fromkeys(layers))),
    )


# What PEFT can't do with adapters of stacked experts, said before training.

#: Initial values that don't depend on the weights or the inputs of a layer.
_PLAIN_INITS = ("default", "gaussian")


def _require_supported_experts(spec: LoraSpec, names: Sequence[str]) -> None:
    """Raise ProblemError for a setting that can't be used with the stacked experts in `names`.

    PEFT's ParamWrapper (peft/tuners/lora/layer.py) adds the update to the weights of a bare parameter, and
    supports neither dropout, DoRA, nor initialization from a layer's weights.
    """
    used: list[tuple[str, bool, Any]] = [
        ("dropout", spec.dropout > 0, 0.0),
        ("use_dora", spec.use_dora, False),
        ("init", spec.init not in _PLAIN_INITS, "default"),
    ]
    for name, is_used, plain in used:
        if names and is_used:
            title = text(get_facts(LoraSpec, name).title)
            raise fail(
                "lora.experts_not_supported",
                "This setting can't be used with stacked experts ({names}): {setting}.",
                "Reset it, or remove the experts from the target modules.",
                where=Where(step="lora", field=name),
                fix=Fix(
                    label=text("Reset {setting}", setting=title),
                    step="lora",
                    field=name,
                    value=plain,
                ),
                names=", ".join(names),
                setting=title,
            )


def _experts_warning(names: Sequence[str]) -> Problem:
    """Return the warning that an adapter of experts is only complete after merging."""
    return warning(
        "lora.experts_need_merging",
        "The adapter of the experts ({names}) can't be combined with others into one adapter or "
        "exported as a GGUF adapter: it changes parameters directly.",
        "Merge it into the base model. The merged model can be exported and used anywhere.",
        where=Where(step="lora", field="target_names"),
        names=", ".join(names),
    )
