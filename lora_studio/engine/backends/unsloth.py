"""The backend with its own kernels: Unsloth loads the model and attaches the adapter.

It only works in a process that imports `unsloth` before transformers, which it patches.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import peft
import torch

from lora_studio.core.messages import Text, text
from lora_studio.core.problems import ProblemError, Where, fail
from lora_studio.core.project.project import Project
from lora_studio.engine.backends.backend import AdaptedModel
from lora_studio.engine.devices import devices
from lora_studio.engine.lora import attach
from lora_studio.engine.model import loading, sources
from lora_studio.engine.runtime.channel import JobContext
from lora_studio.engine.runtime.failures import translate_library_errors

#: Entries of PEFT's LoraConfig that are arguments of Unsloth's `get_peft_model`.
_LORA_ARGUMENTS = (
    "r", "lora_alpha", "lora_dropout", "bias", "layers_to_transform", "use_rslora", "use_dora",
    "rank_pattern", "alpha_pattern", "init_lora_weights",
)  # fmt: skip

_PRECISIONS = {torch.bfloat16: "bf16", torch.float16: "fp16", torch.float32: "fp32"}
_CHECKPOINTING: dict[str, bool | str] = {"off": False, "on": True, "unsloth": "unsloth"}


def prepare_with_unsloth(
    project: Project, job: JobContext, scratch: Path, initial_adapter: Path | None = None
) -> AdaptedModel:
    """Load the base model of a project and attach an adapter, on one GPU, or a CPU; see `prepare_with_peft`."""
    from unsloth import FastLanguageModel

    loaded = _load(FastLanguageModel, project, job)
    config = attach.create_adapter_config(loaded.model, project.lora, job)
    if config.target_parameters:
        raise fail(
            "training.unsloth_experts",
            "Unsloth can't adapt the experts of this model.",
            "Remove the experts from the target modules, or set the backend to Automatic.",
            where=Where(step="lora", field="target_names"),
        )
    settings: dict[str, Any] = {name: getattr(config, name) for name in _LORA_ARGUMENTS}
    targets = sorted(config.target_modules)
    wrapped = FastLanguageModel.get_peft_model(
        loaded.model,
        target_modules=targets,
        modules_to_save=list(config.modules_to_save or ()) or None,
        use_gradient_checkpointing=_CHECKPOINTING[project.training.gradient_checkpointing],
        random_state=project.training.seed,
        **settings,
    )
    _check_targets(wrapped, targets)
    attach.train_in_32_bit(wrapped)
    return AdaptedModel(loaded, wrapped)


def _load(fast: Any, project: Project, job: JobContext) -> loading.LoadedModel:
    """Load the base model with Unsloth; raises ProblemError."""
    spec = project.model
    folder = sources.resolve_intact(spec, job)
    device = devices.choose_device(spec.device)
    devices.set_current_device(device)
    devices.limit_device_memory(device)
    config = loading.read_config(folder, spec)
    stored = loading.get_quantization_method(config)
    if stored is not None:
        loading.check_prequantized(stored)
    is_4bit = spec.precision == "4bit" or stored == "4bit"
    context = getattr(config.get_text_config(), "max_position_embeddings", None)
    job.report_progress(text("loading model with Unsloth"), 0, None)
    started = time.monotonic()
    model = _load_pretrained(
        fast,
        folder,
        # Beyond the model's context Unsloth would scale its positions; no row exceeds this limit.
        max_seq_length=min(project.dataset.max_length, context or project.dataset.max_length),
        dtype=devices.get_dtype(spec.precision, device),
        load_in_4bit=is_4bit,
        device_map={"": device},
        use_gradient_checkpointing=_CHECKPOINTING[project.training.gradient_checkpointing],
    )
    if is_4bit and not getattr(model, "is_quantized", False):
        raise _not_loaded_error(text("4-bit weights aren't supported on this device"))
    job.check()
    loading.keep_special_tokens_only(model)
    model.config.use_cache = False
    dtype = model.get_input_embeddings().weight.dtype
    loaded = loading.LoadedModel(
        model=model,
        tokenizer=loading.load_tokenizer(folder, project.dataset),
        folder=folder,
        device=device,
        precision=stored or ("4bit" if is_4bit else _PRECISIONS[dtype]),
        dtype=dtype,
    )
    loading.emit_model_loaded(loaded, spec, time.monotonic() - started, job)
    return loaded


def _load_pretrained(fast: Any, folder: Path, **settings: Any) -> Any:
    """Return Unsloth's model of a folder; raises ProblemError where Unsloth can't load it."""
    with translate_library_errors(_not_loaded_error):
        model, _ = fast.from_pretrained(str(folder), local_files_only=True, **settings)
    return model


def _check_targets(wrapped: peft.PeftModel, targets: list[str]) -> None:
    """Raise ProblemError where Unsloth adapts more layers than the recipe selects."""
    config = wrapped.peft_config["default"]
    added = sorted({*config.target_modules} - {*targets}) + list(config.target_parameters or ())
    if added:
        raise fail(
            "training.unsloth_shape",
            "Unsloth would also adapt {names}.",
            "Add them to the target modules, or set the backend to Automatic.",
            where=Where(step="training", field="backend"),
            names=", ".join(added),
        )


def _not_loaded_error(reason: Text | str) -> ProblemError:
    return fail(
        "training.unsloth_model",
        "Unsloth can't load this model: {reason}.",
        "Set the backend to Automatic.",
        where=Where(step="training", field="backend"),
        reason=reason,
    )
