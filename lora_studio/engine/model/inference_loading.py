"""Load a model to read or answer with: on the CPU where a GPU has no room for it.

A 4-bit training needs a quarter of the memory of the 16-bit model that it was made for, so the GPU that
trained a model may be too small for the model itself.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TypeVar

import psutil
import torch

from lora_studio.core.dataset.spec import DatasetSpec
from lora_studio.core.messages import Text, text
from lora_studio.core.model.spec import ModelSpec
from lora_studio.core.protocol import events
from lora_studio.engine.devices import devices
from lora_studio.engine.model import loading, safetensors_files
from lora_studio.engine.model.loading import LoadedModel
from lora_studio.engine.runtime.channel import JobContext
from lora_studio.engine.runtime.failures import is_out_of_memory

T = TypeVar("T")

#: Share of a GPU's free memory that weights may use; activations and answers need the rest.
_MAX_SHARE = 0.9


def load_for_inference(
    spec: ModelSpec, job: JobContext, chat_template: DatasetSpec | None = None
) -> LoadedModel:
    """Load model and tokenizer, on the CPU if the GPU is too small; raises ProblemError."""
    return run_where_it_fits(spec, job, lambda placed: loading.load(placed, job, chat_template))


def run_where_it_fits(
    spec: ModelSpec,
    job: JobContext,
    action: Callable[[ModelSpec], T],
    *,
    on_gpu: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> T:
    """Return the result of `action`, which loads and uses the model of a spec.

    It gets the spec with the CPU as device if the weights don't fit on the GPU, or once its memory has
    run out. What this process doesn't need anymore is freed first. `on_gpu` returns a context manager
    that is active while the GPU's free memory is read and `action` uses the GPU, but not on the CPU.
    """
    release_gpu()
    if devices.choose_device(spec.device).type == "cpu":
        return action(widen_on_cpu(spec, job))
    with on_gpu():
        shortage = _describe_memory_shortage(spec, job)
        if shortage is None:
            try:
                return action(spec)
            except Exception as error:  # its traceback keeps tensors until the block ends
                if not is_out_of_memory(error):
                    raise
            release_gpu()
            shortage = text("The GPU ran out of memory. The CPU is used, which takes longer.")
    job.emit(events.LogLine(text=shortage))
    on_cpu = widen_on_cpu(spec.model_copy(update={"device": "cpu"}), job)
    if on_cpu.precision == "auto":  # 32 bits may need more memory than there is
        on_cpu = on_cpu.model_copy(update={"precision": "bf16"})
    return action(on_cpu)


def release_gpu() -> None:
    """Free memory before the next model is loaded."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _describe_memory_shortage(spec: ModelSpec, job: JobContext) -> Text | None:
    """Return why 16-bit weights don't fit on the GPUs that may hold them, None if they fit."""
    if devices.choose_device(spec.device).type != "cuda" or "bit" in spec.precision:
        return None
    gpus = loading.list_gpus(spec)
    known = [each for each in map(devices.read_free_bytes, gpus) if each is not None]
    if len(known) < len(gpus):
        return None
    size = 4 if spec.precision == "fp32" else 2
    weights = size * safetensors_files.count_parameters(loading.resolve(spec, job), job.check)
    if weights <= _MAX_SHARE * sum(known):
        return None
    return text(
        "The model needs {needed:memory} of GPU memory, but only {free:memory} of {total:memory} is free. The "
        "CPU is used, which takes longer.",
        needed=int(weights / _MAX_SHARE),
        free=sum(known),
        total=sum(torch.cuda.get_device_properties(index).total_memory for index in gpus),
    )


def widen_on_cpu(spec: ModelSpec, job: JobContext) -> ModelSpec:
    """Return the model spec in 32 bits for a CPU with enough memory, where 16 bits aren't faster.

    Every 16-bit weight has its exact value in 32 bits.
    """
    if (
        spec.precision not in ("auto", "bf16", "fp16")
        or devices.choose_device(spec.device).type != "cpu"
    ):
        return spec
    needed = 4 * safetensors_files.count_parameters(loading.resolve(spec, job), job.check)
    if needed > psutil.virtual_memory().available // 2:
        return spec
    return spec.model_copy(update={"precision": "fp32"})
