"""The encoders of images and audio of a multimodal model as a GGUF file of their own, which llama.cpp calls projector.

Training leaves them as they are, so the file holds the checkpoint's own weights. 16 bits are kept: a projector in
four bits loses much of what it sees.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from lora_studio.core.messages import Text, text
from lora_studio.core.problems import ProblemError, Where, fail, warning
from lora_studio.core.system.foreign_files import read_json
from lora_studio.engine.export.gguf.converter import convert
from lora_studio.engine.export.gguf.tensor_comparison import F32
from lora_studio.engine.model import gguf_header, safetensors_files
from lora_studio.engine.model.gguf_header import GgufTensor
from lora_studio.engine.runtime.channel import JobContext

#: Settings of encoders in config.json.
_ENCODERS = ("vision_config", "audio_config")

#: Refusals of the converter after which the language model is exported alone.
_UNSUPPORTED = ("gguf.unsupported_architecture", "gguf.conversion_failed")

#: Names of weights that belong to the language model.
_LANGUAGE = re.compile(
    r"(?:^|\.)(?:language_model|text_model|lm_head|mtp)\.|^model\.(?:layers|embed_tokens|norm)\."
)


def has_encoders(model: Path) -> bool:
    """Return whether a model reads images or audio, by its config.json."""
    settings = read_json(model / "config.json")
    return any(settings.get(name) for name in _ENCODERS)


def write_projector(model: Path, target: Path, name: str, llama_cpp: str, job: JobContext) -> bool:
    """Write the projector of a model and compare its values; return False if there is none to write.

    `model` is a folder with all weights, `name` and `llama_cpp` are as for `convert`. Warns if this llama.cpp can't
    convert the encoders. Raises ProblemError, also if a value isn't that of the model.
    """
    if not has_encoders(model):
        return False
    try:
        convert(model, target, name, llama_cpp, job, kind="F16", projector=True)
    except ProblemError as error:
        problem = error.problems[0]
        if problem.code not in _UNSUPPORTED:
            raise
        return _leave_out(model, target, problem.what, job)
    if not _list_matrices(target):
        return _leave_out(model, target, text("It wrote none of their weights."), job)
    if different := list_different_tensors(model, target, job):
        raise fail(
            "gguf.other_projector",
            "The file with the encoders of images and audio differs from the model: {tensors}.",
            "Don't use it. Export again. If that doesn't help, choose another version of llama.cpp.",
            where=Where(step="export", file=str(target)),
            tensors=tuple(text("{tensor}", tensor=each) for each in different[:4]),
        )
    return True


def _leave_out(model: Path, target: Path, reason: Text, job: JobContext) -> bool:
    target.unlink(missing_ok=True)
    job.warn(
        warning(
            "gguf.no_projector",
            "The GGUF files read text only, because llama.cpp can't convert this model's encoders of images and "
            "audio. {reason}",
            "Use the merged model with transformers or vLLM to read images, or try a newer llama.cpp.",
            where=Where(step="export", file=str(model)),
            reason=reason,
        )
    )
    return False


def _list_matrices(projector: Path) -> list[GgufTensor]:
    tensors = gguf_header.read_layout(projector).tensors.values()
    return [tensor for tensor in tensors if len(tensor.shape) >= 2]


def list_different_tensors(model: Path, projector: Path, job: JobContext) -> list[str]:
    """Return the matrices of a projector whose values aren't those of a tensor of the model.

    The converter splits, joins, and reorders tensors, so values are compared without their order: those of each
    matrix must be the values of one tensor of the model, or of equal parts of it.
    """
    known: set[bytes] = set()
    for stored in safetensors_files.read_index(model, job.check).values():
        job.check()
        if len(stored.shape) >= 2 and not _LANGUAGE.search(stored.name):
            value = stored.read().to(torch.float16).float().numpy()
            known.update(_fingerprint(part) for part in _iter_parts(value))
    return [
        tensor.name
        for tensor in _list_matrices(projector)
        if _fingerprint(_read(projector, tensor)) not in known
    ]


def _iter_parts(value: np.ndarray) -> Iterator[np.ndarray]:
    """Yield a tensor, its halves and thirds, and the frames of a convolution over time."""
    yield value
    for parts in (2, 3):
        if len(value) % parts == 0:
            yield from np.split(value, parts)
    if value.ndim == 5:
        for frame in range(value.shape[2]):
            yield value[:, :, frame]


def _fingerprint(values: np.ndarray) -> bytes:
    """Return bytes that are the same for the same values in any order."""
    return np.sort(values.astype(np.float16), axis=None).tobytes()


def _read(file: Path, tensor: GgufTensor) -> np.ndarray:
    raw = np.memmap(file, np.uint8, mode="r", offset=tensor.start, shape=tensor.bytes or 0)
    return np.asarray(raw.view(np.float32 if tensor.type == F32 else np.float16), np.float32)
