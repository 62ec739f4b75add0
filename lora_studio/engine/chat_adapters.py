"""Answers with adapters from anywhere on one base model: loaded once, switched between answers."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lora_studio.core import commands, events
from lora_studio.core.adapters import AdapterMix
from lora_studio.core.project import Project
from lora_studio.engine import adapter_library, adapters, chat, model
from lora_studio.engine.channel import Job


def answer(project: Project, command: commands.Generate, job: Job) -> None:
    """Answers every conversation with each mix; raises ProblemError.

    Each adapter is in memory once, however many mixes it takes part in; a switch sets scales and
    takes no time.
    """
    for folder in dict.fromkeys(each.folder for mix in command.mixes for each in mix.adapters):
        # PEFT itself would use what fits of an adapter and only warn about the rest.
        fit = adapter_library.fit(Path(folder), project.model, job)
        if not fit.fits:
            raise adapters.foreign(Path(folder), fit.reason.rstrip("."))
    loaded = model.load(chat.widened(project.model, job), job, project.dataset)
    switch = Switch(loaded.model)
    for mix in command.mixes:
        with switch.to(mix) as network:
            named = _Named(job.id, job.channel, job.flags, mix=mix.name)
            source: commands.TextSource = "tuned" if mix.adapters else "base"
            chat.answer(network, loaded.tokenizer, source, command, named)


@dataclass
class _Named(Job):
    """A job whose answers carry the name of the mix that gave them."""

    mix: str = ""

    def emit(self, event: events.Event) -> None:
        """Sends an event; answers by their mix."""
        if isinstance(event, events.Generated):
            event = event.model_copy(update={"mix": self.mix})
        super().emit(event)


class Switch:
    """A base model and the adapters that were loaded onto it so far."""

    def __init__(self, base: Any) -> None:
        """No adapter yet."""
        self._base = base
        self._tuned: Any = None
        self._names: dict[str, str] = {}

    def to(self, mix: AdapterMix) -> Any:
        """A context with the model in which exactly these adapters are at work."""
        names = [self._load(Path(each.folder)) for each in mix.adapters]
        if self._tuned is None:
            return contextlib.nullcontext(self._base)
        if not names:
            return self._without_adapters()
        weights: dict[str, float] = {}
        for name, each in zip(names, mix.adapters, strict=True):
            weights[name] = weights.get(name, 0.0) + each.weight
        for module in self._tuned.modules():
            if hasattr(module, "set_scale"):
                for name, weight in weights.items():
                    module.set_scale(name, weight)
        try:
            self._tuned.base_model.set_adapter(list(weights), inference_mode=True)
        except ValueError as error:  # two adapters that both trained one layer whole
            raise adapters.foreign(
                Path(mix.adapters[-1].folder), str(error).split("\n")[0].rstrip(".")
            ) from error
        return contextlib.nullcontext(self._tuned)

    @contextlib.contextmanager
    def _without_adapters(self) -> Iterator[Any]:
        with self._tuned.disable_adapter():
            yield self._tuned

    def _load(self, folder: Path) -> str:
        """The name of an adapter in the model; loads it when it is not there yet."""
        from peft import PeftModel

        key = str(folder.resolve())
        if key in self._names:
            return self._names[key]
        name = f"adapter{len(self._names)}"
        try:
            if self._tuned is None:
                self._tuned = PeftModel.from_pretrained(self._base, key, adapter_name=name).eval()
            else:
                self._tuned.load_adapter(key, adapter_name=name)
        except (ValueError, KeyError, RuntimeError) as error:
            raise adapters.foreign(folder, str(error).split("\n")[0].rstrip(".")) from error
        self._names[key] = name
        return name
