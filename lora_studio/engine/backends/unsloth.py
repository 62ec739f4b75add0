"""The backend with kernels of its own: Unsloth loads and wraps.

Only for a process whose first import of the heavy ones was `unsloth`: it patches transformers.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import peft
import torch

from lora_studio.core.problems import Where, fail
from lora_studio.core.project.project import Project
from lora_studio.engine.backends.backend import AdaptedModel
from lora_studio.engine.devices import devices
from lora_studio.engine.lora import attach
from lora_studio.engine.model import loading
from lora_studio.engine.runtime.channel import JobContext
from lora_studio.engine.runtime.failures import is_out_of_memory

#: Of PEFT's settings, what `get_peft_model` of Unsloth takes by these names.
_SHAPE = (
    "r", "lora_alpha", "lora_dropout", "bias", "layers_to_transform", "use_rslora", "use_dora",
    "rank_pattern", "alpha_pattern", "init_lora_weights",
)  # fmt: skip

_CHECKPOINTING: dict[str, bool | str] = {"off": False, "on": True, "unsloth": "unsloth"}


class UnslothBackend:
    """One GPU, or a processor; the adapter's initial values follow from the project's seed."""

    def prepare(self, project: Project, job: JobContext, scratch: Path) -> AdaptedModel:
        """Emits ModelLoaded, Warned where a layer is left out, and ParametersCounted."""
        from unsloth import FastLanguageModel

        loaded = _load(FastLanguageModel, project, job)
        shape = attach.shape(loaded.model, project.lora, job)
        if shape.target_parameters:
            raise fail(
                "training.unsloth_experts",
                "Unsloth adapts experts in a way of its own.",
                "Name no experts, or leave the choice of the backend open.",
                where=Where(step="lora", field="target_names"),
            )
        settings: dict[str, Any] = {name: getattr(shape, name) for name in _SHAPE}
        targets = sorted(shape.target_modules)
        wrapped = FastLanguageModel.get_peft_model(
            loaded.model,
            target_modules=targets,
            modules_to_save=list(shape.modules_to_save or ()) or None,
            use_gradient_checkpointing=_CHECKPOINTING[project.training.gradient_checkpointing],
            random_state=project.training.seed,
            **settings,
        )
        _check_shape(wrapped, targets)
        attach.train_in_32_bit(wrapped)
        job.emit(attach.count(wrapped))
        return AdaptedModel(loaded, wrapped)


def _load(fast: Any, project: Project, job: JobContext) -> loading.LoadedModel:
    """The base as Unsloth loads it; raises ProblemError."""
    spec = project.model
    folder = loading.resolve(spec, job)
    device = devices.choose(spec.device)
    devices.use(device)
    config = loading.read_config(folder, spec)
    stored = loading.prequantized(config)
    if stored is not None:
        loading.check_prequantized(stored)
    is_4bit = spec.precision == "4bit" or stored == "4bit"
    context = getattr(config.get_text_config(), "max_position_embeddings", None)
    job.progress("loading model with Unsloth", 0, None)
    began = time.monotonic()
    try:
        model, _ = fast.from_pretrained(
            str(folder),
            # Beyond its own context a model would be stretched; no row is longer than the limit.
            max_seq_length=min(project.dataset.max_length, context or project.dataset.max_length),
            dtype=devices.dtype_for(spec.precision, device),
            load_in_4bit=is_4bit,
            device_map={"": device},
            use_gradient_checkpointing=_CHECKPOINTING[project.training.gradient_checkpointing],
            local_files_only=True,
        )
    except (ValueError, KeyError, RuntimeError, OSError, ImportError, NotImplementedError) as error:
        if is_out_of_memory(error):
            raise
        reason = (str(error).strip().split("\n")[0] or type(error).__name__)[:300]
        raise _not_loaded(reason) from error
    if is_4bit and not getattr(model, "is_quantized", False):
        raise _not_loaded("it holds no 4-bit weights on this device")
    job.check()
    model.config.use_cache = False
    dtype = model.get_input_embeddings().weight.dtype
    words = {torch.bfloat16: "bf16", torch.float16: "fp16", torch.float32: "fp32"}
    loaded = loading.LoadedModel(
        model=model,
        tokenizer=loading.load_tokenizer(folder, project.dataset),
        folder=folder,
        device=device,
        precision=stored or ("4bit" if is_4bit else words[dtype]),
        dtype=dtype,
    )
    loading.announce(loaded, spec, time.monotonic() - began, job)
    return loaded


def _check_shape(wrapped: peft.PeftModel, targets: list[str]) -> None:
    """Unsloth adds layers that it thinks are meant; an adapter that was not asked for is refused."""
    config = wrapped.peft_config["default"]
    added = sorted({*config.target_modules} - {*targets}) + list(config.target_parameters or ())
    if added:
        raise fail(
            "training.unsloth_shape",
            f"Unsloth would also adapt {', '.join(added)}.",
            "Add them to the target modules, or leave the choice of the backend open.",
            where=Where(step="training", field="backend"),
        )


def _not_loaded(reason: str) -> Exception:
    return fail(
        "training.unsloth_model",
        f"Unsloth cannot load this model: {reason.rstrip('.')}.",
        "Leave the choice of the backend open, or choose PEFT.",
        where=Where(step="training", field="backend"),
    )
