"""Commands and events about existing adapters."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from lora_studio.core.lora.adapters import (
    AdapterFacts,
    AdapterFit,
    Method,
    WeightedAdapter,
)
from lora_studio.core.messages import text
from lora_studio.core.model.spec import ModelSpec
from lora_studio.core.protocol.base import BaseCommand, BaseEvent


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
