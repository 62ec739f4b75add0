"""The model step: the base model, its precision, and its device."""

from __future__ import annotations

import re
from typing import Literal

from lora_studio.core.spec import Spec, setting

Precision = Literal["auto", "bf16", "fp16", "fp32", "8bit", "4bit"]
SourceKind = Literal["none", "builtin", "gguf", "folder", "hub"]

BUILTIN_PREFIX = "builtin:"
DEFAULT_BUILTIN = "SmolLM2-135M-Instruct"
#: Size and quantization of the built-in model's GGUF file.
BUILTIN_BYTES = 98_362_432
BUILTIN_FILE_TYPE = "Q4_1"

#: A GGUF file in Ollama's store, named by the digest of its content.
_BLOB = re.compile(r"(^|[/\\])sha256-[0-9a-f]{64}\Z")
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+\Z")


class ModelSpec(Spec):
    """The base model to adapt, and how to load it for training."""

    source: str = setting(
        "",
        "Model",
        "A Hugging Face model folder, a .gguf file, a Hub ID such as org/name, or "
        f"{BUILTIN_PREFIX}{DEFAULT_BUILTIN} for the small built-in model.",
        path="any",
        help_topic="base-model",
    )
    revision: str = setting(
        "main",
        "Revision",
        "Branch, tag, or commit of a Hub model. Pin a commit to make a run reproducible.",
        advanced=True,
        min_length=1,
        help_topic="base-model",
    )
    precision: Precision = setting(
        "auto",
        "Precision",
        "How the frozen base weights are stored during training. 16-bit is exact and fastest."
        " 8-bit saves up to half and 4-bit up to three quarters of their memory, at a small cost in quality."
        " On a GPU, 4-bit usually trains faster than 8-bit. On a CPU without 16-bit arithmetic, use 32-bit."
        " The adapter itself is always trained in 32-bit.",
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
        "NF4 suits normally distributed weights, which model weights are. FP4 is plain 4-bit "
        "floating point. Only used with 4-bit precision.",
        choices={"nf4": "NF4", "fp4": "FP4"},
        advanced=True,
        help_topic="quantization",
    )
    double_quant: bool = setting(
        True,
        "Double quantization",
        "Also quantizes the scales of 4-bit blocks. Saves about 0.4 bits per parameter.",
        advanced=True,
        help_topic="quantization",
    )
    device: str = setting(
        "auto",
        "Device",
        "Device to train on: auto, cpu, mps, cuda, or one GPU such as cuda:1. Name several to"
        " train in parallel, each on a part of every batch: cuda:0,cuda:1 for two GPUs, cpu:2"
        " for two CPU processes.",
        advanced=True,
        pattern=r"^(auto|mps|cpu(:[1-9]\d?)?|cuda(:\d+)?|cuda:\d+(,cuda:\d+)+)$",
        help_topic="devices",
    )
    sharding: Literal["auto", "replicate", "shard"] = setting(
        "auto",
        "Weights across devices",
        "Replicate the base weights on every device, which is fastest, or shard them for "
        "models that don't fit on one. Only used with several devices; quantized weights "
        "can't be sharded.",
        choices={
            "auto": "Shard if they don't fit",
            "replicate": "Replicate",
            "shard": "Shard",
        },
        advanced=True,
        help_topic="devices",
    )
    trust_remote_code: bool = setting(
        False,
        "Trust remote code",
        "Some models include their own Python code, which runs with your permissions. Allow it "
        "only for models whose author you trust.",
        advanced=True,
        help_topic="remote-code",
    )

    @property
    def kind(self) -> SourceKind:
        """The kind of model source, judged from its spelling alone."""
        return classify_source(self.source)

    @property
    def devices(self) -> tuple[str, ...]:
        """The device name of each training process (`list_device_names`)."""
        return list_device_names(self.device)


def list_device_names(device: str) -> tuple[str, ...]:
    """Return one device name for each training process of a device setting.

    `cuda:0,cuda:1` means two GPUs with a process each, `cpu:2` two processes on the CPU.
    """
    if device.startswith("cpu:"):
        return ("cpu",) * int(device.removeprefix("cpu:"))
    return tuple(device.split(","))


def classify_source(source: str) -> SourceKind:
    """Return the kind of a model source, judged from its spelling alone (no disk, no network)."""
    if not source.strip():
        return "none"
    if source.startswith(BUILTIN_PREFIX):
        return "builtin"
    if source.lower().endswith(".gguf") or _BLOB.search(source):
        return "gguf"
    return "hub" if _HUB_ID.match(source) else "folder"


def is_local_source(source: str) -> bool:
    """Return whether a model source is a path on this computer, judged from its spelling alone."""
    return classify_source(source) in ("folder", "gguf")
