"""Settings that PyTorch reads from the environment when it is loaded."""

from __future__ import annotations

import os
import sys
from collections.abc import MutableMapping
from pathlib import Path

#: Where PyTorch looks for settings of its allocator: the name since 2.9, and the earlier ones.
ALLOCATOR_VARIABLES = ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_HIP_ALLOC_CONF")

#: Segments that grow. Micro-batches differ in length, so blocks of a fixed segment rarely fit the next
#: one's tensors, and memory runs out while parts of each segment are unused.
_ALLOCATOR_SETTINGS = "expandable_segments:True"

#: Exists where NVIDIA's own driver for Linux runs. Windows, its Linux subsystem, and other vendors' drivers
#: can't map memory in this way, or only in part.
_DRIVER = Path("/proc/driver/nvidia/version")


def set_torch_defaults(
    environment: MutableMapping[str, str] | None = None, *, driver: Path = _DRIVER
) -> None:
    """Set what PyTorch does on GPUs, where the environment doesn't: call it before PyTorch is imported.

    Matrix products on CUDA need no compiler, and the segments of its allocator grow. Child processes inherit it.
    """
    variables = os.environ if environment is None else environment
    # WORKAROUND: PyTorch replaces the outer product of every rotary embedding by a Triton kernel, also where
    # Triton lacks the C compiler or Python.h to build it; each model fails then (pytorch/pytorch#196977).
    variables.setdefault("TORCH_DISABLE_NATIVE_JIT", "1")
    if any(name in variables for name in ALLOCATOR_VARIABLES):
        return
    if sys.platform == "linux" and driver.exists():
        for name in ALLOCATOR_VARIABLES[:2]:
            variables[name] = _ALLOCATOR_SETTINGS
