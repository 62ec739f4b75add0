"""Detect the accelerator: NVIDIA GPUs through the driver, AMD GPUs through the kernel, Apple GPUs,
or none.
"""

from __future__ import annotations

import contextlib
import os
import platform
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from lora_studio.core.messages import NO_TEXT, Text, counted, join_sentences, text
from lora_studio.core.system.nvml import Nvml
from lora_studio.core.system.programs import find_on_path, get_empty_folder

#: The kind of accelerator that an engine supports; engines for several can be installed side by
#: side.
Variant = Literal["cpu", "cuda", "rocm", "mps"]
VARIANTS: tuple[Variant, ...] = ("cpu", "cuda", "rocm", "mps")

#: Builds of PyTorch by the CUDA version that the driver must support, the newest first, each with
#: the lowest and highest compute capability that the newest version on PyTorch's own index has code
#: for. From the support matrix in PyTorch's RELEASE.md, and `.ci/manywheel/build_cuda.sh` before 2.9:
#: cu128 starts at Turing in 2.7 and since 2.11. 2.8 to 2.10, also the standard index's builds for 12.8,
#: start at Volta, although 2.8's release notes say otherwise. cu126 has no code for Blackwell.
_CUDA_BUILDS: tuple[tuple[str, tuple[int, int], tuple[int, int], tuple[int, int]], ...] = (
    ("cu130", (13, 0), (7, 5), (99, 0)),
    ("cu128", (12, 8), (7, 5), (99, 0)),
    ("cu126", (12, 0), (5, 0), (9, 9)),
    ("cu118", (11, 8), (5, 0), (9, 0)),
)
#: The build for AMD: it includes the ROCm libraries and needs only the kernel's driver.
ROCM_BUILD = "rocm7.2"

#: The architectures that it has code for, from PyTorch's build scripts. Those of most integrated GPUs
#: aren't among them.
_ROCM_GPUS = {
    "gfx900", "gfx906", "gfx908", "gfx90a", "gfx942", "gfx950", "gfx1030", "gfx1100", "gfx1101",
    "gfx1102", "gfx1150", "gfx1151", "gfx1200", "gfx1201",
}  # fmt: skip
_SECONDS = 10.0

#: A GPU of NVIDIA: name, bytes of memory (0 if unknown), and compute capability.
_NvidiaGpu = tuple[str, int, tuple[int, int]]


class Accelerator(BaseModel):
    """The device that an engine is chosen for; memory in bytes, 0 if it shares the machine's
    memory.

    `title` names all GPUs; `memory` is that of the first, which training prefers. `driver` is the
    driver's version, `cuda` the newest CUDA version that it supports, `capabilities` the compute
    capabilities of all GPUs. `torch` is the matching build of PyTorch, `note` is a note for the user.
    """

    model_config = ConfigDict(defer_build=True, frozen=True, extra="forbid")

    variant: Variant
    title: str
    memory: int = 0
    driver: str = ""
    cuda: tuple[int, int] | None = None
    capabilities: tuple[tuple[int, int], ...] = ()
    torch: str
    note: Text = NO_TEXT

    def describe(self) -> Text:
        """Return the device that PyTorch can use on this computer, with memory, driver, and note."""
        if self.variant == "cpu":
            template = "No GPU that PyTorch supports. Training runs on the CPU ({name})."
            device = text(template, name=self.title)
        else:
            parts = [text("{title}", title=self.title or self.variant)]
            if self.memory:
                parts.append(text("{memory:memory}", memory=self.memory))
            if self.driver:
                parts.append(text("driver {version}", version=self.driver))
            if self.cuda:
                parts.append(text("CUDA {version}", version=".".join(map(str, self.cuda))))
            device = text("{parts}." if self.note else "{parts}", parts=tuple(parts))
        return join_sentences([device, self.note]) if self.note else device


def detect_accelerator() -> Accelerator:
    """Return the best device of this computer; falls back to the CPU."""
    if (nvidia := _detect_nvidia()) is not None:
        return nvidia
    device = detect_amd() or _detect_apple() or get_cpu()
    if device.variant == "cpu" and has_nvidia_gpu():
        return get_cpu(
            text(
                "This computer has an NVIDIA GPU, but its driver isn't installed or doesn't respond. Install "
                "NVIDIA's driver 525 or newer, restart the computer, and set up the engine again."
            )
        )
    return device


def has_nvidia_gpu(pci: Path = Path("/sys/bus/pci/devices")) -> bool:
    """Return whether the kernel lists a display controller of NVIDIA, with or without a driver."""
    for device in pci.glob("*"):
        with contextlib.suppress(OSError):
            vendor, kind = (
                (device / name).read_text("ascii", "replace") for name in ("vendor", "class")
            )
            if vendor.startswith("0x10de") and kind.startswith("0x03"):
                return True
    return False


def get_cpu(note: Text = NO_TEXT) -> Accelerator:
    """Return the CPU as the device, with a note about an unusable GPU."""
    return Accelerator(
        variant="cpu", title=_get_processor_name(), torch="cpu" if not _is_mac() else "", note=note
    )


def _detect_nvidia() -> Accelerator | None:
    gpus = _query_nvml()
    if gpus is None:
        return None
    build = choose_cuda_build(gpus.cuda, gpus.capabilities)
    if build is None:
        return get_cpu(_explain_no_build(gpus))
    left_out = len(gpus.capabilities) - _count_supported(build, gpus.capabilities)
    note = counted(
        left_out,
        "This build of PyTorch has no code for {n} older or newer GPU. It isn't used.",
        "This build of PyTorch has no code for {n} older or newer GPUs. They aren't used.",
    )
    return gpus.model_copy(update={"torch": build, "note": note if left_out else NO_TEXT})


def _explain_no_build(gpus: Accelerator) -> Text:
    """Return why no build of PyTorch runs on the GPUs with their driver."""
    needed = [
        needs for build, needs, _, _ in _CUDA_BUILDS if _count_supported(build, gpus.capabilities)
    ]
    if not needed:
        return text("PyTorch has no code for {gpu}, so training uses the CPU.", gpu=gpus.title)
    if gpus.cuda is None:
        return text(
            "The driver of {gpu} ({version}) doesn't report a CUDA version, so training uses the CPU. Its CUDA "
            "library may be missing. Install the complete NVIDIA driver, then update the engine.",
            gpu=gpus.title,
            version=gpus.driver,
        )
    major, minor = min(needed)
    return text(
        "The driver of {gpu} ({version}) is too old for PyTorch, which needs a driver for CUDA "
        "{major:d}.{minor:d} or newer on this GPU. Update the NVIDIA driver, then update the engine.",
        gpu=gpus.title,
        version=gpus.driver,
        major=major,
        minor=minor,
    )


def choose_cuda_build(
    cuda: tuple[int, int] | None, capabilities: Sequence[tuple[int, int]]
) -> str | None:
    """Return the build of PyTorch that the driver can run and that has code for most of the GPUs.

    If none has code for all of them, it is one for the GPU with the highest capability, which training
    uses. Of equal builds it is the newest.
    """
    builds = [build for build, needs, _, _ in _CUDA_BUILDS if cuda is not None and cuda >= needs]
    if not capabilities:
        return builds[0] if builds else None

    def rate(build: str) -> tuple[int, int]:
        return _count_supported(build, [max(capabilities)]), _count_supported(build, capabilities)

    best = max(builds, key=rate, default=None)
    return best if best is not None and rate(best)[1] else None


def _count_supported(build: str, capabilities: Sequence[tuple[int, int]]) -> int:
    """Return how many of the GPUs a build has code for."""
    lowest, highest = next(known[2:] for known in _CUDA_BUILDS if known[0] == build)
    return sum(lowest <= capability <= highest for capability in capabilities)


def _query_nvml() -> Accelerator | None:
    """Query NVML, the library of the driver."""
    nvml = Nvml()
    gpus: list[_NvidiaGpu] = []
    for card in nvml.list_cards():
        name, memory = nvml.read_text("nvmlDeviceGetName", card), nvml.read_memory(card)
        capability = nvml.query("nvmlDeviceGetCudaComputeCapability", card)
        if not name or memory is None or capability is None:
            return None
        gpus.append((name, int(memory.total), (int(capability[0]), int(capability[1]))))
    version = nvml.query("nvmlSystemGetCudaDriverVersion_v2")
    driver = nvml.read_text("nvmlSystemGetDriverVersion")
    if not (gpus and driver and version):
        return None
    return _summarize_nvidia(gpus, driver, (version // 1000, version % 1000 // 10))


def _summarize_nvidia(
    gpus: list[_NvidiaGpu], driver: str, cuda: tuple[int, int] | None
) -> Accelerator:
    """Return the GPUs as one device, the most capable first."""
    ordered = sorted(gpus, key=lambda gpu: (gpu[2], gpu[1]), reverse=True)
    return Accelerator(
        variant="cuda",
        title=_join_names([name for name, _, _ in ordered]),
        memory=ordered[0][1],
        driver=driver,
        cuda=cuda,
        capabilities=tuple(capability for _, _, capability in ordered),
        torch="",
    )


def _join_names(names: Sequence[str]) -> str:
    """Return the names of GPUs as one title, equal ones once with their number."""
    return " + ".join(f"{n} × {name}" if n > 1 else name for name, n in Counter(names).items())


def detect_amd(
    kfd: Path = Path("/sys/class/kfd/kfd/topology/nodes"), interface: Path = Path("/dev/kfd")
) -> Accelerator | None:
    """Return the GPUs that the kernel lists, nodes with compute units, if PyTorch has code for them.

    Otherwise return the CPU with a note, and None without such a node. `interface` is the file
    through which programs compute on them.
    """
    if not sys.platform.startswith("linux") or not kfd.is_dir():
        return None
    gpus: list[tuple[str, int]] = []
    for node in sorted(kfd.iterdir()):
        try:
            lines = (line.split() for line in (node / "properties").read_text("utf-8").splitlines())
            facts = {line[0]: int(line[1]) for line in lines if len(line) == 2}
            if facts.get("simd_count", 0) and facts.get("vendor_id") == 0x1002:
                gpus.append(
                    (format_gfx_name(facts.get("gfx_target_version", 0)), _read_node_memory(node))
                )
        except (OSError, ValueError):
            continue
    if not gpus:
        return None
    supported = [gpu for gpu in gpus if gpu[0] in _ROCM_GPUS]
    if not supported:
        return get_cpu(
            text(
                "PyTorch {build} has no code for this computer's AMD GPU ({gpu}), so it isn't used.",
                build=ROCM_BUILD,
                gpu=gpus[0][0],
            )
        )
    gpus = supported
    version = Path("/sys/module/amdgpu/version")
    return Accelerator(
        variant="rocm",
        title=_join_names([f"AMD GPU ({name})" for name, _ in gpus]),
        memory=gpus[0][1],
        driver=version.read_text("utf-8").strip() if version.is_file() else "",
        torch=ROCM_BUILD,
        note=NO_TEXT if os.access(interface, os.R_OK | os.W_OK) else _explain_no_access(interface),
    )


def _explain_no_access(interface: Path) -> Text:
    return text(
        "{file} can't be opened, so PyTorch can't use the GPU. Run `{command}`, then sign out and sign in "
        "again.",
        file=str(interface),
        command="sudo usermod -aG render,video $USER",
    )


def format_gfx_name(version: int) -> str:
    """Return AMD's name of the architecture: 110000 is gfx1100, 90010 is gfx90a."""
    major, minor, stepping = version // 10000, version // 100 % 100, version % 100
    return f"gfx{major}{minor}{stepping:x}"


def _read_node_memory(node: Path) -> int:
    size = 0
    for bank in (node / "mem_banks").glob("*/properties"):
        match = re.search(r"^size_in_bytes (\d+)", bank.read_text("utf-8"), re.MULTILINE)
        size += int(match[1]) if match else 0
    return size


def _detect_apple() -> Accelerator | None:
    if not _is_mac() or platform.machine() != "arm64":
        return None
    return Accelerator(variant="mps", title=_get_processor_name(), torch="")


def _is_mac() -> bool:
    return sys.platform == "darwin"


def _get_processor_name() -> str:
    if _is_mac():
        return _run_program("sysctl", "-n", "machdep.cpu.brand_string").strip() or "Mac"
    with contextlib.suppress(OSError):
        text = Path("/proc/cpuinfo").read_text("utf-8", "replace")
        if match := re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE):
            return match[1].strip()
    return platform.processor() or platform.machine() or "Processor"


def _run_program(program: str, *arguments: str) -> str:
    """Return the output of a program, or "" if it is missing, fails, or hangs."""
    path = find_on_path(program)
    if path is None:
        return ""
    try:
        done = subprocess.run(
            [path, *arguments], capture_output=True, timeout=_SECONDS, check=False, cwd=get_empty_folder(),
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else ""
