"""A GGUF file becomes a Hugging Face folder: weights dequantised, tokenizer rebuilt by rule."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from lora_studio.core.problems import ProblemError, Where, fail
from lora_studio.engine.channel import Job
from lora_studio.engine.gguf_tokenizer import Header, save_tokenizer

if TYPE_CHECKING:
    import torch


def convert(file: Path, folder: Path, job: Job) -> None:
    """Writes the model of a GGUF file into `folder`; raises ProblemError by name when it cannot."""
    import torch
    from transformers import AutoModelForCausalLM

    job.progress("reading model file", 0, None)
    reader = _open(file)
    header = Header(reader)
    _check_architecture(file, header.text("general.architecture"))
    dtype = _dtype(reader)
    tokenizer = save_tokenizer(header, folder)
    job.progress("unpacking weights", 0, None)
    try:
        model = AutoModelForCausalLM.from_pretrained(
            file.parent, gguf_file=file.name, dtype=dtype, local_files_only=True
        )
    except (ValueError, KeyError, NotImplementedError, RuntimeError, OSError) as error:
        raise _unreadable(file, str(error)) from error
    job.check()
    # Both remember the GGUF's quantisation, which the written weights no longer have.
    model.hf_quantizer = None
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    ends = header.end_tokens(tokenizer)
    for settings in (model.config, model.generation_config):
        settings.bos_token_id = tokenizer.bos_token_id
        settings.pad_token_id = tokenizer.pad_token_id
        settings.eos_token_id = ends[0] if len(ends) == 1 else ends
    model.save_pretrained(folder)
    licence = header.text("general.license")
    (folder / "README.md").write_text(
        f"---\nlicense: {licence or 'unknown'}\n---\n\nUnpacked from {file.name}.\n", "utf-8"
    )
    with torch.no_grad():
        del model


def architectures() -> list[str]:
    """The GGUF architectures that can be unpacked here."""
    from transformers.modeling_gguf_pytorch_utils import GGUF_SUPPORTED_ARCHITECTURES

    # The mapping's keys also hold two sections of the header, and encoders that cannot chat.
    no_chat = {"general", "tokenizer", "t5", "umt5"}
    return sorted(set(GGUF_SUPPORTED_ARCHITECTURES) - no_chat)


def _open(file: Path) -> Any:
    import gguf

    try:
        return gguf.GGUFReader(file)
    except (ValueError, OSError, IndexError, KeyError) as error:
        raise _unreadable(file, str(error)) from error


def _check_architecture(file: Path, architecture: str) -> None:
    known = architectures()
    if architecture not in known:
        raise fail(
            "model.gguf_architecture",
            f"{file.name} holds a model of the architecture {architecture or '(none)'}, which "
            "cannot be unpacked for training.",
            f"Choose the model as a Hugging Face folder or hub id. GGUF files can be used of: "
            f"{', '.join(known)}.",
            where=Where(step="model", field="source", file=str(file)),
        )


def _dtype(reader: Any) -> torch.dtype:
    """float32 or float16 where the file holds that; what was quantised is kept in bfloat16."""
    import torch

    types = {tensor.tensor_type.name for tensor in reader.tensors if len(tensor.shape) > 1}
    if types == {"F32"}:
        return torch.float32
    return torch.float16 if types <= {"F32", "F16"} else torch.bfloat16


def _unreadable(file: Path, why: str) -> ProblemError:
    return fail(
        "model.unreadable",
        f"{file.name} cannot be read as a GGUF model: {why.rstrip('.') or 'it is damaged'}.",
        "Fetch or copy the file again; it is damaged or incomplete.",
        where=Where(step="model", field="source", file=str(file)),
    )
