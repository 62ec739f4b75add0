"""Model lists that query workers find: a folder, the Hub cache, Ollama's models and the Hub."""

from __future__ import annotations

from typing import Any

from lora_studio.core.model.catalog import ModelEntry, ModelLocation
from lora_studio.core.protocol import events


def entry(title: str, billions: float = 1.0, **changes: Any) -> ModelEntry:
    """Return a 16-bit model on the Hub, unless changed."""
    values: dict[str, Any] = {
        "source": title,
        "title": title,
        "location": "hub",
        "parameters": round(billions * 1e9) or None,
        "bytes": round(billions * 2e9) or None,
        "architecture": "LlamaForCausalLM",
        "stored": "bf16",
        "license": "apache-2.0",
    }
    return ModelEntry.model_validate(values | changes)


def hub() -> events.ModelsFound:
    """Return search results of all sizes, one of them gated."""
    return _models_found(
        "hub",
        entry("Qwen/Qwen3-8B", 8.2, downloads=4_200_000),
        entry("meta-llama/Llama-3.1-70B-Instruct", 70.6, license="llama3.1", gated=True, downloads=900_000),
        entry("HuggingFaceTB/SmolLM2-1.7B-Instruct", 1.7, downloads=310_000),
        entry("meta-llama/Llama-3.2-3B-Instruct", 3.2, license="llama3.2", gated=True, downloads=2_100_000),
        entry("mistralai/Mistral-Small-24B", 23.6, downloads=150_000),
    )  # fmt: skip


def cache() -> events.ModelsFound:
    """Return the Hub cache: one incomplete download, and one model that isn't a base model."""
    return _models_found(
        "cache",
        entry("HuggingFaceTB/SmolLM2-360M-Instruct", 0.36, location="cache"),
        entry("Qwen/Qwen3-4B", 4.0, location="cache", missing=2),
        entry(
            "BAAI/bge-small-en",
            0.03,
            location="cache",
            license="mit",
            refusal="BertModel is an encoder or a classifier: it can't generate text.",
        ),
    )


def ollama() -> events.ModelsFound:
    """Return the models of Ollama."""
    blob = "/usr/share/ollama/.ollama/models/blobs/sha256-" + "ab" * 32
    return _models_found(
        "ollama",
        entry(
            "llama3.2:3b", 3.2, location="ollama", stored="Q4_K_M", source=blob, bytes=2_019_000_000
        ),
        entry(
            "nomic-embed-text:latest",
            0.137,
            location="ollama",
            refusal="GGUF files of the architecture nomic-bert cannot be unpacked for training.",
        ),
    )


def folder() -> events.ModelsFound:
    """Return the models of the user's own folder."""
    return _models_found(
        "folder",
        entry("org/Harbour-3B", 3.2, location="folder", source="/models/org/Harbour-3B"),
        entry(
            "old/gpt-x",
            1.3,
            location="folder",
            refusal="Its weights are pickles, a format that can run any code when it is opened.",
        ),
    )


def _models_found(location: ModelLocation, *models: ModelEntry) -> events.ModelsFound:
    return events.ModelsFound(location=location, models=models)
