"""Merge with PEFT and the model in memory, for adapters that can't be merged tensor by tensor."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from lora_studio.core.messages import Text, text
from lora_studio.core.problems import ProblemError, Where, fail
from lora_studio.core.system.files import name_newest_file
from lora_studio.engine.lora import adapter_files
from lora_studio.engine.lora.adapter_files import Adapter
from lora_studio.engine.lora.adapter_weights import grow_for_adapter
from lora_studio.engine.model import safetensors_files
from lora_studio.engine.model.folder import unreadable_model_error
from lora_studio.engine.runtime.channel import JobContext
from lora_studio.engine.runtime.failures import translate_library_errors


def merge(
    base: Path,
    adapters_merged: Sequence[Adapter],
    target: Path,
    dtype: torch.dtype,
    shard_limit: str,
    job: JobContext,
) -> int:
    """Write the merged model to `target`; return how many layers changed.

    Raises ProblemError when the adapter doesn't fit the model or the result isn't finite.
    """
    from transformers import AutoModelForCausalLM

    job.report_progress(text("loading the base model"), 0, None)
    with translate_library_errors(lambda reason: unreadable_model_error(base, reason)):
        model = AutoModelForCausalLM.from_pretrained(
            base, dtype=dtype, device_map="cpu", use_safetensors=True, trust_remote_code=False
        )
    if getattr(model, "is_quantized", False):
        model = model.dequantize().to(dtype)
        _forget_quantization(model)
    job.report_progress(text("merging with PEFT"), 0, None)
    changed = 0
    merged = model
    for adapter in adapters_merged:
        wrapped = _with_adapter(merged, adapter)
        changed += sum(hasattr(module, "get_delta_weight") for module in wrapped.modules())
        merged = _merge_adapter(wrapped, adapter)
    named = list(merged.named_parameters())
    for done, (name, value) in enumerate(named):
        job.report_progress(text("checking the merged model"), done, len(named), "tensors")
        if not bool(torch.isfinite(value).all()):
            raise adapter_files.not_finite_error(
                name, safetensors_files.get_dtype_name(value.dtype)
            )
    job.report_progress(text("saving the merged model"), 0, None)
    with name_newest_file(target):
        merged.save_pretrained(target, max_shard_size=shard_limit)
    return changed


def _merge_adapter(wrapped: Any, adapter: Adapter) -> Any:
    """Return the model with the adapter in its weights; raises ProblemError if PEFT can't merge this kind."""

    def to_error(reason: Text | str) -> ProblemError:
        return fail(
            "merging.not_mergeable",
            "The adapter in {folder} can't be merged: {reason}.",
            "Use it as an adapter on its base model, or choose another one.",
            where=Where(step="merging", file=str(adapter.folder)),
            folder=str(adapter.folder),
            reason=reason,
        )

    with translate_library_errors(to_error):
        return wrapped.merge_and_unload()


def _forget_quantization(model: Any) -> None:
    """Remove the record of how a model was dequantized.

    WORKAROUND: transformers 5.17 saves a dequantized model by reversing how it was loaded, and
    reading packed weights can't be reversed (NotImplementedError in save_pretrained).
    """

    def is_reversible(conversion: Any) -> bool:
        try:
            conversion.reverse_transform()
        except NotImplementedError:
            return False
        return True

    steps = getattr(model, "_weight_conversions", None) or ()
    model._weight_conversions = [step for step in steps if is_reversible(step)]


def _with_adapter(model: Any, adapter: Adapter) -> Any:
    """Return the model with the adapter's weights, after checking that all of them fit."""
    from peft import PeftConfig, get_peft_model, load_peft_weights
    from peft.tuners.lora import LoraLayer

    from lora_studio.engine.lora import adapter_weights

    def to_error(reason: Text | str) -> ProblemError:
        return adapter_files.foreign_adapter_error(adapter.folder, reason)

    try:
        with translate_library_errors(to_error, adapter_weights.AdapterMismatchError):
            config = PeftConfig.from_pretrained(str(adapter.folder))
            config.inference_mode = True
            config.base_model_name_or_path = None  # where the base was when it was trained on
            grow_for_adapter(model, adapter.folder)
            wrapped = get_peft_model(model, config)
            adapter_weights.load_adapter_weights(
                wrapped, load_peft_weights(str(adapter.folder), device="cpu")
            )
    except adapter_weights.AdapterMismatchError as error:
        raise to_error(error.reason) from error
    for module in wrapped.modules():
        if isinstance(module, LoraLayer) and adapter.weight != 1.0:
            module.set_scale("default", adapter.weight)
    return wrapped
