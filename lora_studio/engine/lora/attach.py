"""The adapter: which layers of the actual architecture get one, and wrapping the model with it."""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import peft
import torch
from peft.utils import ModulesToSaveWrapper
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from lora_studio.core.lora.spec import LoraSpec
from lora_studio.core.model.spec import ModelSpec
from lora_studio.core.problems import Problem, Where, fail
from lora_studio.core.protocol import events
from lora_studio.engine.devices import devices
from lora_studio.engine.lora import continue_from_adapter
from lora_studio.engine.model import folder as model_folder
from lora_studio.engine.model import loading, sources
from lora_studio.engine.model import shape as model_shape
from lora_studio.engine.runtime.channel import JobContext

_ATTENTION = re.compile(r"attn|attention|mixer", re.IGNORECASE)
_FUSED = re.compile(r"qkv|query_key_value|c_attn", re.IGNORECASE)
_QUERY_VALUE = re.compile(r"(q|v|query|value|wq|wv|q_b)(_proj|_lin)?\Z", re.IGNORECASE)
_ROUTER = re.compile(r"(gate|router|shared_expert_gate)\Z")


@dataclass
class Targets:
    """What an adapter is put on: layers by full name, and stacked expert weights by name.

    `left_out` are expert weights that the chosen preset would mean but does not adapt.
    """

    layers: dict[str, torch.nn.Module] = field(default_factory=dict)
    experts: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    @property
    def names(self) -> tuple[str, ...]:
        """Last parts of the layers' names, and the experts' names."""
        return (*_last_parts(self.layers), *_last_parts(dict.fromkeys(self.experts)))


def attach(
    model: PreTrainedModel, spec: LoraSpec, job: JobContext, *, gradient_checkpointing: bool = False
) -> peft.PeftModel:
    """Wraps a model with an adapter in 32-bit: a fresh one, whose initial values come from torch's
    seed, or the one that `spec` starts from.

    Raises ProblemError when nothing would train, or the adapter does not fit the model.
    """
    config = shape(model, spec, job)
    _keep_unpacked(model)
    if is_prepared(model):
        model = peft.prepare_model_for_kbit_training(
            model,
            use_gradient_checkpointing=gradient_checkpointing,
            gradient_checkpointing_kwargs={"use_reentrant": False},
        )
    elif gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    wrapped = (
        continue_from_adapter.attach(model, config, Path(spec.start_from))
        if spec.start_from
        else peft.get_peft_model(model, config, autocast_adapter_dtype=True)
    )
    train_in_32_bit(wrapped)
    return wrapped


def train_in_32_bit(model: peft.PeftModel) -> None:
    """Puts all that trains into 32-bit, modules that train whole and biases as well: in 16 bits most steps
    of an optimizer are lost in rounding, and float16's scaler refuses such gradients. What these modules
    give stays in the format of the base, and so does what goes from block to block."""
    for module in model.modules():
        if isinstance(module, ModulesToSaveWrapper):
            formats = {value.dtype for value in module.original_module.parameters()}
            if len(formats) == 1:
                module.register_forward_hook(partial(_in_format, formats.pop()))
    for value in model.parameters():
        if value.requires_grad:
            value.data = value.data.float()


def _in_format(dtype: torch.dtype, _: torch.nn.Module, __: Any, output: Any) -> Any:
    return output.to(dtype) if isinstance(output, torch.Tensor) else output


def shape(model: PreTrainedModel, spec: LoraSpec, job: JobContext) -> peft.LoraConfig:
    """PEFT's settings of the adapter on this model; emits Warned where a layer is left out.

    Raises ProblemError when nothing would train.
    """
    config, targets = _shape(model, spec)
    if targets.left_out:
        job.emit(events.Warned(problem=_experts_left_out(targets)))
    return config


def _keep_unpacked(model: PreTrainedModel) -> None:
    """Leaves 4-bit weights in the form that gradients can go through.

    WORKAROUND: bitsandbytes 0.50 repacks them for good on the first pass without gradients in evaluation
    mode on a processor with AVX512-BF16, and no gradient comes through the packed ones: what lies
    below each layer silently stops learning after the first evaluation.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


def _shape(model: PreTrainedModel, spec: LoraSpec) -> tuple[peft.LoraConfig, Targets]:
    """PEFT's settings, and what they were found to mean on this model."""
    if spec.start_from:
        return continue_from_adapter.config(Path(spec.start_from), spec.dropout), Targets()
    targets = find_targets(model, spec)
    return _config(model, spec, targets), targets


def is_prepared(model: torch.nn.Module) -> bool:
    """Whether PEFT puts all that is not quantised of a base into 32-bit before it gets an adapter.

    float16 needs that. In bfloat16 norms compute in 32-bit anyway, and what goes from block to block
    would take twice the memory, and be rounded again for each product. Nor where experts are stacked:
    these are not quantised and would double.
    """
    is_quantised = bool(getattr(model, "is_quantized", False))
    is_narrow = next(model.parameters()).dtype == torch.bfloat16
    return is_quantised and not is_narrow and not _experts(model)


def count(model: peft.PeftModel, targets: tuple[str, ...] = ()) -> events.ParametersCounted:
    """Exact counts of a wrapped model."""
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    names = targets or tuple(
        dict.fromkeys(name.rpartition(".")[2] for name in model.targeted_module_names)
    )
    return events.ParametersCounted(
        trainable=trainable,
        total=loading.count_parameters(model),
        targets=names,
        adapter_bytes=4 * trainable,
    )


def inspect(spec: ModelSpec, lora: LoraSpec, job: JobContext) -> events.ModelInspected:
    """Facts of a model and of the adapter it would get; from headers, no weights are read."""
    located = sources.locate(spec, job)
    folder = located.folder
    config = loading.read_config(folder, spec)
    model = loading.on_meta(folder, spec, config)
    text = config.get_text_config()
    return events.ModelInspected(
        source=spec.source,
        folder=str(folder),
        architecture=type(model).__name__,
        parameters=loading.count_parameters(model),
        layers=text.num_hidden_layers,
        hidden_size=text.hidden_size,
        vocabulary=text.vocab_size,
        context=getattr(text, "max_position_embeddings", None),
        stored_dtype=model_folder.stored_dtype(located.headers),
        disk_bytes=located.bytes,
        missing_bytes=located.missing_bytes,
        gated=located.gated,
        licence=model_folder.read_license(folder),
        has_chat_template=loading.has_chat_template(folder),
        prequantized=loading.prequantized(config),
        weight_bytes=loading.weight_bytes(model, devices.dtype_for("auto", devices.choose("auto"))),
        linear_names=tuple(linear_names(model)),
        shape=model_shape.shape(model),
        adapter=count_on_meta(model, lora),  # wraps the layers: last
    )


def count_on_meta(model: PreTrainedModel, spec: LoraSpec) -> events.ParametersCounted | None:
    """What an adapter of this shape would count on a model without weights; None if nothing."""
    try:
        config, targets = _shape(model, spec)
        wrapped = peft.get_peft_model(model, config)
    except Exception:
        return None
    return count(wrapped, targets.names)


def linear_names(model: PreTrainedModel) -> list[str]:
    """Names of the layers that can be adapted, as `LoraSpec.target_names` takes them."""
    return [*_last_parts(_linear_layers(model)), *_last_parts(dict.fromkeys(_experts(model)))]


def find_targets(model: PreTrainedModel, spec: LoraSpec) -> Targets:
    """The layers that a spec means on this model; raises ProblemError when there are none."""
    layers = _linear_layers(model)
    experts = _experts(model)
    if spec.targets == "names":
        return _by_name(model, spec.target_names, layers, experts)
    chosen = {name: layer for name, layer in layers.items() if _is_meant(name, spec.targets)}
    if not chosen:
        raise _nothing(model, f"It has no layer that the preset {spec.targets} means.")
    covers_mlp = spec.targets in ("attention_mlp", "all_linear")
    return Targets(layers=chosen, left_out=experts if covers_mlp else [])


def _is_meant(name: str, preset: str) -> bool:
    in_attention = bool(_ATTENTION.search(name.rpartition(".")[0]))
    last = name.rpartition(".")[2]
    match preset:
        case "attention_qv":
            return in_attention and bool(_QUERY_VALUE.match(last) or _FUSED.search(last))
        case "attention":
            return in_attention
        case _:
            return True


def _by_name(
    model: PreTrainedModel,
    names: tuple[str, ...],
    layers: dict[str, torch.nn.Module],
    experts: list[str],
) -> Targets:
    targets = Targets()
    for wanted in names:
        found = {
            name: layer
            for name, layer in layers.items()
            if name == wanted or name.endswith(f".{wanted}")
        }
        stacked = [name for name in experts if name == wanted or name.endswith(f".{wanted}")]
        if not found and not stacked:
            raise _nothing(model, f"It has no linear layer called {wanted}.")
        targets.layers |= found
        targets.experts += stacked
    if not targets.layers and not targets.experts:
        raise _nothing(model, "No target module is named.")
    return targets


def _linear_layers(model: PreTrainedModel) -> dict[str, torch.nn.Module]:
    """Linear layers of the blocks by full name; without the output layer and experts' routers."""
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear | Conv1D)
        and not loading.is_head(model, name, module)
        and not _ROUTER.search(name)
    }


def _experts(model: torch.nn.Module) -> list[str]:
    """Weights of all experts stacked into one 3-dimensional parameter, by full name."""
    return [
        name
        for name, parameter in model.named_parameters()
        if parameter.dim() == 3 and "expert" in name
    ]


def _config(model: PreTrainedModel, spec: LoraSpec, targets: Targets) -> peft.LoraConfig:
    return _quietly(
        r=spec.rank,
        lora_alpha=spec.alpha,
        use_rslora=spec.use_rslora,
        use_dora=spec.use_dora,
        # LoftQ and EVA are not PEFT's here: engine/lora/initialization.py replaces what an adapter begins as.
        init_lora_weights=True if spec.init in ("default", "loftq", "eva") else spec.init,
        layers_to_transform=_blocks(model, spec),
        rank_pattern=spec.rank_pattern(),
        alpha_pattern=spec.alpha_pattern(),
        modules_to_save=_whole(model, spec),
        lora_dropout=spec.dropout,
        bias=spec.bias,
        target_modules=_shortest(model, targets.layers),
        target_parameters=targets.experts or None,
        task_type="CAUSAL_LM",
        fan_in_fan_out=any(isinstance(layer, Conv1D) for layer in targets.layers.values()),
    )


def _quietly(**settings: Any) -> peft.LoraConfig:
    with warnings.catch_warnings():
        # It speaks of PEFT's own conversion; engine/lora/initialization.py keeps the scale of each layer.
        warnings.filterwarnings("ignore", message="Using Rank-Stabilized LoRA with rank_pattern")
        return peft.LoraConfig(**settings)


def _blocks(model: PreTrainedModel, spec: LoraSpec) -> list[int] | None:
    """The blocks to adapt; raises ProblemError for one that the model does not have."""
    wanted, there = spec.block_numbers(), model.config.get_text_config().num_hidden_layers
    if wanted and wanted[-1] >= there:
        raise fail(
            "lora.no_such_block",
            f"There is no block {wanted[-1]}: the model has {there}, numbered from 0.",
            f"Name blocks from 0 to {there - 1}.",
            where=Where(step="lora", field="blocks"),
        )
    return wanted


def _whole(model: PreTrainedModel, spec: LoraSpec) -> list[str] | None:
    """Modules that train whole; raises ProblemError for a name that no module has."""
    names = {name.rpartition(".")[2] for name, _ in model.named_modules()}
    for wanted in spec.modules_to_save:
        if wanted.rpartition(".")[2] not in names:
            raise fail(
                "lora.no_such_module",
                f"The model has no module called {wanted} to train whole.",
                "Usual ones are lm_head and embed_tokens.",
                where=Where(step="lora", field="modules_to_save"),
            )
    return list(spec.modules_to_save) or None


def _shortest(model: PreTrainedModel, layers: dict[str, torch.nn.Module]) -> list[str]:
    """Last parts of names where these mean the same layers, else the full names."""
    last = _last_parts(layers)
    meant = {
        name
        for name, module in model.named_modules()
        if any(name == part or name.endswith(f".{part}") for part in last)
    }
    return last if meant == set(layers) else list(layers)


def _last_parts(names: dict[str, torch.nn.Module] | dict[str, None]) -> list[str]:
    return list(dict.fromkeys(name.rpartition(".")[2] for name in names))


def _nothing(model: PreTrainedModel, why: str) -> Exception:
    return fail(
        "lora.nothing_trainable",
        f"Nothing would train on {type(model).__name__}. {why}",
        f"Its linear layers are: {', '.join(linear_names(model)) or 'none'}.",
        where=Where(step="lora", field="targets"),
    )


def _experts_left_out(targets: Targets) -> Problem:
    names = ", ".join(_last_parts(dict.fromkeys(targets.left_out)))
    return Problem(
        code="lora.experts_left_out",
        what=f"The experts' weights ({names}) get no adapter: they are stacked into one tensor per "
        "layer, and adapting it needs as much memory again as the experts themselves.",
        remedy="The other linear layers are adapted. To adapt the experts too, choose By name and "
        f"name them: {names}.",
        where=Where(step="lora", field="targets"),
        severity="warning",
    )
