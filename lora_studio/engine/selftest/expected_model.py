"""The model that a run must have given: base + adapter, tensor by tensor.

The values are PEFT's (`oracle/trained_tensors.py`); the program's own merge gives only a folder that the
converter reads, and its values where PEFT can't compute them without the whole model.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from lora_studio.core.messages import NO_TEXT, Text, text
from lora_studio.core.system.files import create_folder
from lora_studio.engine.export.gguf import direct_gguf
from lora_studio.engine.export.gguf.direct_gguf import DirectMerge, TensorSource
from lora_studio.engine.merging.plan import NeedsPeftError
from lora_studio.engine.model import safetensors_files
from lora_studio.engine.runtime.channel import JobContext
from lora_studio.engine.selftest.oracle import trained_tensors
from lora_studio.engine.selftest.oracle.trained_tensors import (
    TrainedModel,
    TrainedTensor,
    UnjudgeableError,
)

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


@dataclass(frozen=True)
class ExpectedTensor:
    """A tensor of the expected model; `trained` says what it is made from, None if that isn't known."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    read: Callable[[], torch.Tensor]
    trained: TrainedTensor | None = None

    @property
    def changed(self) -> bool:
        """Return whether the adapter changes it, as far as that is known."""
        return self.trained is not None and self.trained.changed


@dataclass(frozen=True)
class ExpectedModel:
    """A folder with the settings and tokenizer of the program's own merge, and the expected tensors.

    With a `recipe` the folder has headers only, and the weights are computed when they are read. Without
    `trained`, the values are those of the program's own merge, for the reason `unproven`.
    """

    merge: DirectMerge
    folder: Path
    recipe: Path | None
    tensors: tuple[ExpectedTensor, ...]
    trained: TrainedModel | None = None
    unproven: Text = NO_TEXT

    @property
    def changed(self) -> int:
        """Return how many tensors the adapter changes, as far as that is known."""
        return sum(tensor.changed for tensor in self.tensors)

    @property
    def dtype(self) -> torch.dtype | None:
        """Return the data type that was requested for the weights, None for that of the base."""
        return _DTYPES.get(self.merge.merging.dtype)


def open_expected(
    merge: DirectMerge, scratch: Path, job: JobContext, *, trust: bool, whole: bool = False
) -> ExpectedModel:
    """Return the model that base and adapter give; raises ProblemError.

    Its weights are written to `scratch` only where they can't be merged tensor by tensor, or if
    `whole`.
    """
    create_folder(scratch)
    reason = text("this version of llama.cpp can't merge weights while reading them")
    source: TensorSource | None = None
    if not whole:
        try:
            source = direct_gguf.write_headers(merge, scratch, trust=trust)
        except NeedsPeftError as error:
            reason = error.reason
    if source is None:
        source = direct_gguf.write_temporary_merge(merge, scratch, reason, job, trust=trust)
    unproven = NO_TEXT
    try:
        trained = trained_tensors.open_trained(
            merge.base,
            merge.adapters,
            _DTYPES.get(merge.merging.dtype),
            trust=trust,
            check=job.check,
        )
        written = {tensor.name for tensor in source.tensors}
        if source.recipe is not None or written == trained.tensors.keys():
            tensors = tuple(map(_expect, trained.tensors.values()))
            return ExpectedModel(merge, source.folder, source.recipe, tensors, trained)
        unproven = text("transformers saves its weights under other names")
    except UnjudgeableError as error:
        unproven = error.reason
    tensors = _read_own_merge(merge, scratch, source, job, trust=trust)
    return ExpectedModel(merge, source.folder, source.recipe, tensors, None, unproven)


def _expect(trained: TrainedTensor) -> ExpectedTensor:
    dtype = safetensors_files.get_format_name(trained.dtype)
    return ExpectedTensor(trained.name, dtype, trained.shape, trained.read, trained)


def _read_own_merge(
    merge: DirectMerge, scratch: Path, source: TensorSource, job: JobContext, *, trust: bool
) -> tuple[ExpectedTensor, ...]:
    """Return the tensors of a second merge by the program itself."""
    if source.recipe is not None:
        second = scratch / "second"
        create_folder(second)
        reason = text("PEFT can't compute its updates alone")
        source = direct_gguf.write_temporary_merge(merge, second, reason, job, trust=trust)
    stored = safetensors_files.read_index(source.folder, job.check).values()
    return tuple(ExpectedTensor(t.name, t.dtype, t.shape, t.read) for t in stored)


def measure_rounding(expected: ExpectedModel, job: JobContext) -> tuple[float, str]:
    """Return how much rounding to the stored dtype changes the adapter's updates, and that dtype.

    ‖round(W + ΔW) − (W + ΔW)‖ / ‖ΔW‖ over all changed tensors, with W + ΔW in 32 bits; 0 where
    nothing is known about the updates.
    """
    errors, sizes, dtype = 0.0, 0.0, ""
    for tensor in expected.tensors:
        job.check()
        trained = tensor.trained
        if trained is None or not trained.changed or trained.dtype == torch.float32:
            continue
        exact = trained.read(torch.float32)
        errors += float(((tensor.read().float() - exact) ** 2).sum(dtype=torch.float64))
        sizes += float(((exact - trained.read_base().float()) ** 2).sum(dtype=torch.float64))
        dtype = safetensors_files.get_dtype_name(trained.dtype)
    return (math.sqrt(errors / sizes) if sizes else 0.0), dtype
