"""Hashes that identify the model of a column, so that its answers can be reused."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from lora_studio.core.lora.adapters import WeightedAdapter
from lora_studio.core.system.foreign_files import open_regular

#: Samples of a file, and their bytes: reading gigabytes would take longer than the answers.
_SAMPLES, _SAMPLE_BYTES = 16, 1 << 16


def hash_files(files: Sequence[Path]) -> str:
    """Return a digest of files: name, size, time of the last change, and 16 samples of 64 KiB of each.

    A copy with another time gets another digest, so that no change goes unnoticed between the samples.
    """
    digest = hashlib.sha256()
    for file in sorted(files):
        state = file.stat()
        digest.update(f"{file.name}:{state.st_size}:{state.st_mtime_ns}\n".encode())
        with open_regular(file) as stream:
            for sample in range(_SAMPLES):
                stream.seek(state.st_size * sample // _SAMPLES)
                digest.update(stream.read(_SAMPLE_BYTES))
    return digest.hexdigest()


def hash_model_folder(folder: Path) -> str:
    """Return a digest of the weights, configuration, tokenizer, and chat template of a model."""
    suffixes = (".safetensors", ".json", ".jinja", ".model", ".txt")
    return hash_files(
        [file for file in folder.iterdir() if file.suffix in suffixes and file.is_file()]
    )


def hash_adapters(adapters: Sequence[WeightedAdapter]) -> str:
    """Return a digest of adapters with their weights, "" for none."""
    parts = [f"{hash_model_folder(Path(each.folder))} × {each.weight!r}" for each in adapters]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest() if parts else ""


def combine(*parts: str) -> str:
    """Return one digest of several facts."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
