"""Export directly from base model and adapter, without ever writing the merged weights to disk.

On disk is a model folder as a merge would write it, with complete settings, tokenizer and chat
template, but only the headers of the weights: names, dtypes, shapes, offsets. llama.cpp's converter
reads those, and where it would read a tensor's bytes, the child that runs it
(`converter_program.py`) supplies the merged tensor. Any other reader finds a truncated file and
fails; it can't mistake anything else for the weights.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict

from lora_studio.core.lora.adapters import WeightedAdapter
from lora_studio.core.merging import MergingSpec
from lora_studio.core.messages import Text, text
from lora_studio.core.project.project import Project
from lora_studio.core.runs import checksums
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.system.files import create_folder, write_atomic, write_file
from lora_studio.engine.lora import adapter_files as adapters
from lora_studio.engine.lora.adapter_files import Adapter
from lora_studio.engine.merging import merge as merging
from lora_studio.engine.merging import model_files, shards
from lora_studio.engine.merging.plan import MergedTensor, NeedsPeftError
from lora_studio.engine.model import safetensors_files
from lora_studio.engine.model.safetensors_files import PlannedFile, StoredTensor
from lora_studio.engine.runtime.channel import JobContext

#: File next to the folder of headers that says how to compute the weights.
RECIPE = "recipe.json"

#: The folder is named like a run's merged model, because the converter guesses names in the file from
#: the folder's name.
_FOLDER = "merged"


class DirectMerge(BaseModel):
    """The base, the adapters and the settings of a merge, as the child process reads them."""

    model_config = ConfigDict(defer_build=True, frozen=True, extra="forbid")

    base: Path
    adapters: tuple[WeightedAdapter, ...]
    merging: MergingSpec

    def read(self) -> list[Adapter]:
        """Return the adapters; raises ProblemError."""
        return [adapters.read(Path(adapter.folder), adapter.weight) for adapter in self.adapters]


@dataclass(frozen=True)
class TensorSource:
    """A model folder for the converter, and its tensors; with a `recipe` it has headers only.

    `passing`: it is deleted after the export. `dtype`: the precision setting of a direct merge.
    """

    folder: Path
    tensors: tuple[PlannedFile, ...]
    recipe: Path | None = None
    passing: bool = False
    dtype: str = ""


def open_source(folder: Path, *, passing: bool = False, dtype: str = "") -> TensorSource:
    """Return a model whose weights are in a folder; raises ProblemError."""
    stored = safetensors_files.read_index(folder).values()
    tensors = tuple(PlannedFile(tensor.name, tensor.dtype, tensor.shape) for tensor in stored)
    return TensorSource(folder, tensors, passing=passing, dtype=dtype)


def plan_direct_merge(run: RunFolder, project: Project, job: JobContext) -> DirectMerge:
    """Return what the merged model of a run is made from; raises ProblemError.

    bfloat16 has 8 significant bits: rounding to it changes the small updates of a short training by
    half of their size. Unless bfloat16 was requested, an export without a merged model uses
    float16, which has 11 significant bits, the same size, and holds every weight of that magnitude
    exactly.
    """
    base = merging.resolve_intact_base(project.model, project.merging, job, run)
    chosen = tuple(merging.get_chosen_adapters(run, project.merging))
    for adapter in chosen:
        checksums.require_intact_source(Path(adapter.folder), job.check)
    spec = project.merging
    is_requested = spec.dtype != "auto" or "BF16" in project.export.quantizations
    if not is_requested and merging.get_stored_dtype(base) == torch.bfloat16:
        spec = spec.model_copy(update={"dtype": "fp16"})
    return DirectMerge(base=base, adapters=chosen, merging=spec)


def write_headers(
    recipe: DirectMerge, scratch: Path, *, trust: bool, tokenizer: Sequence[Adapter] = ()
) -> TensorSource:
    """Write the folder of headers within `scratch`.

    Without adapters in the recipe, it has the weights of the base, and the tokenizer and chat template of
    the first adapter in `tokenizer`. Raises NeedsPeftError where the merge can't be done tensor by
    tensor, and ProblemError.
    """
    merged = recipe.read()
    plan = merging.make_plan(recipe.base, merged, recipe.merging)
    if plan.by_peft is not None:
        raise NeedsPeftError(plan.by_peft)
    folder = scratch / _FOLDER
    create_folder(folder, exist_ok=False)
    merging.write_settings(recipe.base, merged or tokenizer, folder, recipe.merging, plan)
    model_files.stop_at_turn_end(folder, trust=trust)
    for shard in plan.shards:
        header, _ = safetensors_files.build_header(shard.planned)
        write_file(folder / shard.file, header)
    if len(plan.shards) > 1:
        shards.write_index(plan.shards, folder)
    write_atomic(scratch / RECIPE, recipe.model_dump_json())
    planned = tuple(output.planned for output in plan.outputs)
    return TensorSource(folder, planned, scratch / RECIPE, True, recipe.merging.dtype)


def write_temporary_merge(
    recipe: DirectMerge, scratch: Path, reason: Text, job: JobContext, *, trust: bool
) -> TensorSource:
    """Write a merged model within `scratch`, for the reason given; raises ProblemError."""
    message = text("A temporary merged copy is written for the export: {reason}.", reason=reason)
    job.log(message)
    folder = scratch / _FOLDER
    shutil.rmtree(folder, ignore_errors=True)
    create_folder(folder, exist_ok=False)
    merging.merge_folders(recipe.base, recipe.read(), folder, recipe.merging, job)
    model_files.stop_at_turn_end(folder, trust=trust)
    return open_source(folder, passing=True, dtype=recipe.merging.dtype)


class MergedTensorReader:
    """Read merged tensors in the child, by file, offset and size."""

    def __init__(self, recipe: Path) -> None:
        """Plan the merge again, from the headers that the parent used."""
        merge = DirectMerge.model_validate(json.loads(recipe.read_text("utf-8")))
        plan = merging.make_plan(merge.base, merge.read(), merge.merging)
        self._folder = (recipe.parent / _FOLDER).resolve()
        self._outputs: dict[tuple[str, int, int], MergedTensor] = {}
        for shard in plan.shards:
            _, positions = safetensors_files.build_header(shard.planned)
            for output, position in zip(shard.outputs, positions, strict=False):
                self._outputs[shard.file, position, output.planned.bytes] = output

    def read_bytes(self, file: Path, offset: int, size: int) -> np.ndarray | None:
        """Return uint8 [size], writable; None for a file in another folder.

        Raises ProblemError when a value isn't finite, KeyError when no tensor starts at that
        offset.
        """
        if Path(file).resolve().parent != self._folder:
            return None
        if not size:
            return np.empty(0, np.uint8)
        output = self._outputs[Path(file).name, offset, size]
        source = output.source
        if output.copied and isinstance(source, StoredTensor):
            return np.memmap(source.file, np.uint8, mode="c", offset=source.start, shape=size)
        return safetensors_files.view_bytes(shards.compute_values(output))
