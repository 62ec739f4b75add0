"""What there is to talk to: the models and adapters of runs, folders and servers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from lora_studio.core.chat import (
    AdapterSpeaker,
    AnySpeaker,
    GgufSpeaker,
    ModelSpeaker,
    OllamaSpeaker,
)
from lora_studio.core.lora.adapters import WeightedAdapter
from lora_studio.core.runs import names as run_names
from lora_studio.core.runs.folder import RunFolder

_CONFIG = "adapter_config.json"


@dataclass(frozen=True)
class SpeakerOption:
    """One that can be chosen: what it is within its group, such as a run."""

    group: str
    title: str
    speaker: AnySpeaker


def adapter(folder: Path | str, weight: float = 1.0) -> AdapterSpeaker:
    """One adapter on the base."""
    return AdapterSpeaker(adapters=(WeightedAdapter(folder=str(folder), weight=weight),))


def of_run(run: RunFolder) -> list[SpeakerOption]:
    """What a run has made so far: adapter, checkpoints from the latest on, merged model, GGUF files."""
    name = run_names.of_folder(run)
    found = []
    if (run.adapter / _CONFIG).is_file():
        found.append(SpeakerOption(name, "Adapter", adapter(run.adapter)))
    for step in reversed(run.checkpoint_steps()):
        if (run.checkpoint(step) / _CONFIG).is_file():
            found.append(
                SpeakerOption(name, f"Checkpoint, step {step:,}", adapter(run.checkpoint(step)))
            )
    if (run.merged / "config.json").is_file():
        found.append(SpeakerOption(name, "Merged model", ModelSpeaker(folder=str(run.merged))))
    return [*found, *(SpeakerOption(name, file.name, gguf(run, file)) for file in gguf_files(run))]


def gguf_files(run: RunFolder) -> list[Path]:
    """The GGUF files of a run that hold a whole model."""
    if not run.gguf.is_dir():
        return []
    return sorted(file for file in run.gguf.glob("*.gguf") if not file.stem.endswith("-adapter"))


def gguf(run: RunFolder, file: Path) -> GgufSpeaker:
    """A run's GGUF file, rendered with the chat template that was trained with."""
    folders = (run.merged, run.adapter)
    named = next((each for each in folders if (each / "tokenizer_config.json").is_file()), "")
    return GgufSpeaker(file=str(file), tokenizer=str(named))


def of_adapters(folders: Iterable[str]) -> Iterator[SpeakerOption]:
    """Adapters from anywhere."""
    for folder in folders:
        path = Path(folder)
        if (path / _CONFIG).is_file():
            yield SpeakerOption("Adapter library", path.name, adapter(path))


def in_ollama(names: Iterable[str], host: str) -> list[SpeakerOption]:
    """The models of a server."""
    return [SpeakerOption("Ollama", name, OllamaSpeaker(name=name, host=host)) for name in names]
