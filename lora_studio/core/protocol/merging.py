"""Commands and events that merge an adapter into its base model."""

from __future__ import annotations

from typing import Literal

from pydantic import AliasChoices, Field

from lora_studio.core.lora.adapters import (
    AdapterFacts,
    AdapterFit,
    Method,
    WeightedAdapter,
)
from lora_studio.core.merging import MergingSpec
from lora_studio.core.messages import Text, text
from lora_studio.core.model.spec import ModelSpec
from lora_studio.core.problems import Problem
from lora_studio.core.protocol.base import BaseCommand, BaseEvent


class Merge(BaseCommand):
    """Merge the adapter of a run into its base model."""

    title = text("Merging")
    step = "merging"
    changes_run = True
    state_after = "merged"
    kind: Literal["merge"] = "merge"
    run: str


class PlanMerge(BaseCommand):
    """Preview merging a run, from the headers of its files."""

    title = text("Planning the merge")
    step = "merging"
    reads_foreign_files = True
    kind: Literal["plan_merge"] = "plan_merge"
    run: str
    merging: MergingSpec = MergingSpec()


class MergeAdapters(BaseCommand):
    """Merge adapters into a base model, outside any run."""

    title = text("Merging adapters")
    kind: Literal["merge_adapters"] = "merge_adapters"
    base: ModelSpec
    adapters: tuple[WeightedAdapter, ...] = Field(min_length=1)
    out: str
    merging: MergingSpec = MergingSpec()


class ImportModel(BaseCommand):
    """Import the model of a new run as its merged model, so that it can be exported."""

    title = text("Importing the model")
    step = "export"
    changes_run = True
    state_after = "merged"
    kind: Literal["import_model"] = "import_model"
    run: str


class MergePlanned(BaseEvent):
    """The preview of a merge.

    Sizes in bytes: `bytes` of the model, `missing` still to download, `free` on the disk, `memory`
    at its peak above an idle worker. `by_peft` says why PEFT has to merge.
    """

    kind: Literal["merge_planned"] = "merge_planned"
    bytes: int
    missing: int
    free: int
    memory: int
    dtype: str
    shards: int
    tensors: int
    tensors_changed: int
    finished_shards: int = 0
    by_peft: Text | None = None
    problems: tuple[Problem, ...] = ()


class ShardWritten(BaseEvent):
    """One file of the merged model is complete; `reused` if an earlier attempt had written it."""

    kind: Literal["shard_written"] = "shard_written"
    file: str
    number: int
    of: int
    bytes: int
    reused: bool = Field(False, validation_alias=AliasChoices("reused", "kept"))


class Merged(BaseEvent):
    """The merged model as a Hugging Face folder; `by_peft` says why PEFT had to merge in memory."""

    kind: Literal["merged"] = "merged"
    folder: str
    bytes: int
    dtype: str
    tensors_changed: int
    by_peft: Text | None = None


class ListAdapters(BaseCommand):
    """List the adapters in folders and, with a model, which of them fit it."""

    title = text("Looking for adapters")
    reads_foreign_files = True
    kind: Literal["list_adapters"] = "list_adapters"
    folders: tuple[str, ...]
    model: ModelSpec | None = None


class ShowAdapter(BaseCommand):
    """Show an adapter layer by layer and, with a model, whether it fits."""

    title = text("Reading the adapter")
    reads_foreign_files = True
    kind: Literal["show_adapter"] = "show_adapter"
    folder: str
    model: ModelSpec | None = None


class CombineAdapters(BaseCommand):
    """Combine several adapters into one; `rank` is for svd, `density` for ties, dare and pruning."""

    title = text("Combining adapters")
    kind: Literal["combine_adapters"] = "combine_adapters"
    adapters: tuple[WeightedAdapter, ...] = Field(min_length=1)
    method: Method = "cat"
    out: str
    rank: int | None = Field(None, ge=1, le=4096)
    density: float = Field(0.5, gt=0.0, le=1.0)
    seed: int = 0


class ImportAdapter(BaseCommand):
    """Import an adapter into a new run, as if it had been trained there."""

    title = text("Importing the adapter")
    step = "merging"
    changes_run = True
    state_after = "trained"
    kind: Literal["import_adapter"] = "import_adapter"
    run: str
    adapter: str


class AdaptersFound(BaseEvent):
    """The adapters in the requested folders, the newest first; `fits` is by folder."""

    kind: Literal["adapters_found"] = "adapters_found"
    adapters: tuple[AdapterFacts, ...]
    fits: dict[str, AdapterFit] = Field(default_factory=dict)


class AdapterShown(BaseEvent):
    """An adapter with its layers, and whether it fits the model that was named."""

    kind: Literal["adapter_shown"] = "adapter_shown"
    adapter: AdapterFacts
    fit: AdapterFit | None = None


class AdapterCombined(BaseEvent):
    """A combined adapter in PEFT's layout; `rank` is the highest of its layers."""

    kind: Literal["adapter_combined"] = "adapter_combined"
    folder: str
    method: Method
    rank: int
    layers: int
    bytes: int
