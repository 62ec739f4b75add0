"""Answers with any adapters on one base model: loaded once, switched between answers."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from lora_studio.core.lora.adapters import AdapterMix, WeightedAdapter, require_generative
from lora_studio.core.messages import text
from lora_studio.core.model.spec import ModelSpec
from lora_studio.core.problems import Where, fail
from lora_studio.core.project.project import Project
from lora_studio.core.protocol import commands, events
from lora_studio.core.runs import checksums
from lora_studio.core.system.files import FolderState, get_folder_state
from lora_studio.engine.generation import answering
from lora_studio.engine.lora import adapter_files
from lora_studio.engine.lora.adapter_weights import (
    add_adapter_tokens,
    attach_trained,
    read_new_tokens,
)
from lora_studio.engine.merging import library
from lora_studio.engine.merging.plan import new_tokens_error
from lora_studio.engine.model.loading import load_for_inference
from lora_studio.engine.runtime.channel import JobContext


def answer(project: Project, command: commands.Generate, job: JobContext) -> None:
    """Answer every conversation with each mix; raises ProblemError.

    Each adapter is in memory once, however many mixes use it; a switch only sets scales.
    """
    for folder in dict.fromkeys(
        adapter.folder for mix in command.mixes for adapter in mix.adapters
    ):
        require_fit(Path(folder), project.model, job)
    loaded = load_for_inference(project.model, job, project.dataset)
    switch = AdapterSwitch(loaded.model)
    for mix in command.mixes:
        named = _Named(job.id, job.channel, job.flags, mix=mix.name)
        source: commands.TextSource = "tuned" if mix.adapters else "base"
        tokenizer = switch.get_tokenizer(loaded.tokenizer, mix)
        answering.answer(switch.to(mix), tokenizer, source, command, named)


def require_fit(folder: Path, spec: ModelSpec, job: JobContext) -> None:
    """Raise ProblemError unless an adapter fits a model.

    PEFT itself would use what fits of an adapter and only warn about the rest.
    """
    fit = library.fit(folder, spec, job)
    if not fit.fits:
        raise fail(
            "merging.foreign_adapter",
            fit.reason,
            "Choose the base model that the adapter was trained on, in the same version.",
            where=Where(step="merging", file=str(folder)),
        )


@dataclass
class _Named(JobContext):
    """A job whose answers carry the name of the adapter mix that wrote them."""

    mix: str = ""

    def emit(self, event: events.Event) -> None:
        """Emit an event; answers carry the name of their mix."""
        if isinstance(event, events.Generated):
            event = event.model_copy(update={"mix": self.mix})
        super().emit(event)


class AdapterSwitch:
    """A base model and the adapters loaded into it so far."""

    def __init__(self, base: Any) -> None:
        """Start with the bare base model."""
        self._base = base
        self._tuned: Any = None
        self._names: dict[tuple[str, FolderState], str] = {}
        self._at_work: tuple[WeightedAdapter, ...] | None = None
        self._tokenizers: dict[tuple[str, FolderState], PreTrainedTokenizerBase] = {}

    @property
    def network(self) -> Any:
        """Return the base model with the loaded adapters attached."""
        return self._tuned if self._tuned is not None else self._base

    def has(self, folder: Path) -> bool:
        """Return whether an adapter is loaded in the version on disk."""
        return _get_key(folder) in self._names

    def to(self, mix: AdapterMix) -> Any:
        """Return the model with exactly these adapters active until the next switch.

        Raises ProblemError when one of them can't be loaded.
        """
        names = [self._load(Path(adapter.folder)) for adapter in mix.adapters]
        if self._tuned is None or self._at_work == mix.adapters:
            return self.network
        self._require_one_vocabulary(mix)
        self._at_work = None
        if not names:
            self._tuned.base_model.disable_adapter_layers()
        else:
            self._enable(names, mix)
        self._at_work = mix.adapters
        return self.network

    def get_tokenizer(
        self, tokenizer: PreTrainedTokenizerBase, mix: AdapterMix
    ) -> PreTrainedTokenizerBase:
        """Return the tokenizer of a mix: the base's own, with the new tokens of its adapters."""
        folders = [Path(each.folder) for each in mix.adapters]
        folder = next((each for each in folders if read_new_tokens(each)), None)
        if folder is None:
            return tokenizer
        key = _get_key(folder)
        if key not in self._tokenizers:
            extended = copy.deepcopy(tokenizer)
            add_adapter_tokens(extended, folder)
            self._tokenizers[key] = extended
        return self._tokenizers[key]

    def _require_one_vocabulary(self, mix: AdapterMix) -> None:
        """Raise ProblemError for a mix whose rows of new tokens PEFT can't add up or weight."""
        for number, adapter in enumerate(mix.adapters):
            if read_new_tokens(Path(adapter.folder)) and (number or adapter.weight != 1.0):
                reason = text("the rows of new tokens can't be weighted or added up")
                raise new_tokens_error(Path(adapter.folder), reason)

    def _enable(self, names: Sequence[str], mix: AdapterMix) -> None:
        weights: dict[str, float] = {}
        for name, adapter in zip(names, mix.adapters, strict=True):
            weights[name] = weights.get(name, 0.0) + adapter.weight
        for module in self._tuned.modules():
            if hasattr(module, "set_scale"):
                for name, weight in weights.items():
                    module.set_scale(name, weight)
        self._tuned.base_model.enable_adapter_layers()
        try:
            self._tuned.base_model.set_adapter(list(weights), inference_mode=True)
        except ValueError as error:  # two adapters that both trained a layer in full
            raise adapter_files.foreign_adapter_error(
                Path(mix.adapters[-1].folder), str(error).split("\n")[0].rstrip(".")
            ) from error

    def _load(self, folder: Path) -> str:
        """Return the name of an adapter in the model; load the adapter if necessary."""
        key = _get_key(folder)
        if key in self._names:
            return self._names[key]
        checksums.require_intact_source(folder)
        require_generative(adapter_files.read_config(folder))
        self._at_work = None  # loading makes the new adapter the only active one
        name = f"adapter{len(self._names)}"
        self._tuned = attach_trained(self._tuned or self._base, folder, name)
        self._names[key] = name
        return name


def _get_key(folder: Path) -> tuple[str, FolderState]:
    """Return a key for the adapter in a folder; any change to its files changes it."""
    return str(folder.resolve()), get_folder_state(folder)
