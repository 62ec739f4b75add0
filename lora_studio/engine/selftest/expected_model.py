"""The model that a run must have given: base + adapter, computed tensor by tensor."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from lora_studio.core.messages import Text, text
from lora_studio.core.system.mounts import create_folder
from lora_studio.engine.export.gguf import direct_gguf
from lora_studio.engine.export.gguf.direct_gguf import DirectMerge
from lora_studio.engine.merging import merge as merging
from lora_studio.engine.merging import shards
from lora_studio.engine.merging.plan import MergedTensor, NeedsPeftError
from lora_studio.engine.model import safetensors_files
from lora_studio.engine.runtime.channel import JobContext


@dataclass(frozen=True)
class ExpectedTensor:
    """A tensor of the expected model; `output` is its plan, None where PEFT merges in memory."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    read: Callable[[], torch.Tensor]
    output: MergedTensor | None = None

    @property
    def changed(self) -> bool:
        """Return whether the adapter changes it, as far as that is known."""
        return self.output is not None and self.output.changed


@dataclass(frozen=True)
class ExpectedModel:
    """A folder with the expected settings and tokenizer, and the expected tensors.

    With a `recipe` the folder has headers only, and the weights are computed when they are read.
    """

    merge: DirectMerge
    folder: Path
    recipe: Path | None
    tensors: tuple[ExpectedTensor, ...]

    @property
    def changed(self) -> int:
        """Return how many tensors the adapter changes, as far as that is known."""
        return sum(tensor.changed for tensor in self.tensors)


def open_expected(
    merge: DirectMerge, scratch: Path, job: JobContext, *, trust: bool, whole: bool = False
) -> ExpectedModel:
    """Return the model that base and adapter give; raises ProblemError.

    Its weights are written to `scratch` only where they can't be merged tensor by tensor, or if
    `whole`.
    """
    create_folder(scratch)
    reason = text("this version of llama.cpp can't merge weights while reading them")
    if not whole:
        try:
            return _open_planned(merge, scratch, trust=trust)
        except NeedsPeftError as error:
            reason = error.reason
    return _open_written(merge, scratch, reason, job, trust=trust)


def _open_planned(merge: DirectMerge, scratch: Path, *, trust: bool) -> ExpectedModel:
    source = direct_gguf.write_headers(merge, scratch, trust=trust)
    plan = merging.make_plan(merge.base, merge.read(), merge.merging)
    tensors = tuple(_plan_tensor(output) for output in plan.outputs)
    return ExpectedModel(merge, source.folder, source.recipe, tensors)


def _plan_tensor(output: MergedTensor) -> ExpectedTensor:
    planned = output.planned
    return ExpectedTensor(
        planned.name, planned.dtype, planned.shape, lambda: shards.compute_values(output), output
    )


def _open_written(
    merge: DirectMerge, scratch: Path, reason: Text, job: JobContext, *, trust: bool
) -> ExpectedModel:
    source = direct_gguf.write_temporary_merge(merge, scratch, reason, job, trust=trust)
    stored = safetensors_files.read_index(source.folder, job.check).values()
    tensors = tuple(ExpectedTensor(t.name, t.dtype, t.shape, t.read) for t in stored)
    return ExpectedModel(merge, source.folder, None, tensors)


def measure_rounding(expected: ExpectedModel, job: JobContext) -> tuple[float, str]:
    """Return how much rounding to the stored dtype changes the adapter's updates, and that dtype.

    ‖round(W + ΔW) − (W + ΔW)‖ / ‖ΔW‖ over all changed tensors, with W + ΔW in 32 bits; 0 where
    nothing is known about the updates.
    """
    errors, sizes, dtype = 0.0, 0.0, ""
    for tensor in expected.tensors:
        job.check()
        output = tensor.output
        if output is None or not output.updates or output.dtype == torch.float32:
            continue
        exact = shards.compute_values(replace(output, dtype=torch.float32))
        before = output.source.read_rows(0, output.source.length).float()
        errors += float(((tensor.read().float() - exact) ** 2).sum(dtype=torch.float64))
        sizes += float(((exact - before) ** 2).sum(dtype=torch.float64))
        dtype = safetensors_files.get_dtype_name(output.dtype)
    return (math.sqrt(errors / sizes) if sizes else 0.0), dtype
