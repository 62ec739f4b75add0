"""The model step: which base model, at which precision, on which device."""

from __future__ import annotations

import re
from typing import Literal

from lora_studio.core.spec import Spec, setting

Precision = Literal["auto", "bf16", "fp16", "fp32", "8bit", "4bit"]
SourceKind = Literal["none", "builtin", "gguf", "folder", "hub"]

BUILTIN_PREFIX = "builtin:"
DEFAULT_BUILTIN = "SmolLM2-135M-Instruct"

#: A GGUF file as Ollama stores it, under the digest of its content.
_BLOB = re.compile(r"(^|[/\\])sha256-[0-9a-f]{64}\Z")
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+\Z")


class ModelSpec(Spec):
    """Which base model is adapted and how it is held in memory while training."""

    source: str = setting(
        "",
        "Model",
        "A folder with a Hugging Face model, a .gguf file, a hub id such as org/name, or "
        f"{BUILTIN_PREFIX}{DEFAULT_BUILTIN} for the small model that comes with the program.",
        path="any",
        help_topic="base-model",
    )
    revision: str = setting(
        "main",
        "Revision",
        "Branch, tag or commit of a hub model. A commit makes a run repeatable.",
        advanced=True,
        min_length=1,
        help_topic="base-model",
    )
    precision: Precision = setting(
        "auto",
        "Precision",
        "How the frozen base weights are held while training. 16-bit is exact and fastest; 8-bit "
        "halves and 4-bit quarters their memory at a small cost in quality. A processor without "
        "16-bit arithmetic does best with 32-bit. The adapter itself is always trained in 32-bit.",
        choices={
            "auto": "Best for this device",
            "bf16": "bfloat16",
            "fp16": "float16",
            "fp32": "float32",
            "8bit": "8-bit",
            "4bit": "4-bit (QLoRA)",
        },
        help_topic="precision",
    )
    quant_type: Literal["nf4", "fp4"] = setting(
        "nf4",
        "4-bit type",
        "NF4 suits weights that are normally distributed, as a model's are; FP4 is plain 4-bit "
        "floating point. Used with 4-bit precision only.",
        choices={"nf4": "NF4", "fp4": "FP4"},
        advanced=True,
        help_topic="quantization",
    )
    double_quant: bool = setting(
        True,
        "Double quantisation",
        "Also quantises the scales of 4-bit blocks: saves about 0.4 bit per parameter.",
        advanced=True,
        help_topic="quantization",
    )
    device: str = setting(
        "auto",
        "Device",
        "Where the model is placed: auto, cpu, mps, cuda, or one of several as cuda:1. Several train "
        "together, each on a part of every step: cuda:0,cuda:1 on two GPUs, cpu:2 in two processes "
        "on the processor.",
        advanced=True,
        pattern=r"^(auto|mps|cpu(:[1-9]\d?)?|cuda(:\d+)?|cuda:\d+(,cuda:\d+)+)$",
        help_topic="devices",
    )
    sharding: Literal["auto", "replicate", "shard"] = setting(
        "auto",
        "Weights on several devices",
        "Whether every device holds all base weights, which is fastest, or a part of them, for models "
        "that do not fit on one. Used with several devices only; quantised weights cannot be divided.",
        choices={
            "auto": "Divided if they do not fit",
            "replicate": "All on each",
            "shard": "Divided among them",
        },
        advanced=True,
        help_topic="devices",
    )
    trust_remote_code: bool = setting(
        False,
        "Run the model's own code",
        "Some models bring Python code of their own. It runs with your rights: allow it only for a "
        "model whose author you trust.",
        advanced=True,
        help_topic="remote-code",
    )

    @property
    def kind(self) -> SourceKind:
        """What `source` names; judged from its spelling alone."""
        return source_kind(self.source)

    @property
    def devices(self) -> tuple[str, ...]:
        """Where each process of a training runs, as `names_of` has it."""
        return names_of(self.device)


def names_of(device: str) -> tuple[str, ...]:
    """One name for each process that trains on a device setting.

    `cuda:0,cuda:1` are two GPUs with a process each, `cpu:2` two processes on the processor.
    """
    if device.startswith("cpu:"):
        return ("cpu",) * int(device.removeprefix("cpu:"))
    return tuple(device.split(","))


def source_kind(source: str) -> SourceKind:
    """What a model source names, judged from its spelling alone (no disk, no network)."""
    if not source.strip():
        return "none"
    if source.startswith(BUILTIN_PREFIX):
        return "builtin"
    if source.lower().endswith(".gguf") or _BLOB.search(source):
        return "gguf"
    return "hub" if _HUB_ID.match(source) else "folder"
