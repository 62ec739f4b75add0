"""Settings of PyTorch's allocator on GPUs, which it reads from the environment when it is loaded."""

from __future__ import annotations

import os
import sys
from collections.abc import MutableMapping
from pathlib import Path

#: Where PyTorch looks for settings: the name since 2.9, and the earlier ones.
VARIABLES = ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_HIP_ALLOC_CONF")

#: Segments that grow. Micro-batches differ in length, so blocks of a fixed segment rarely fit the next
#: one's tensors, and memory runs out while parts of each segment are unused.
_SETTINGS = "expandable_segments:True"

#: Exists where NVIDIA's own driver for Linux runs. Windows, its Linux subsystem, and other vendors' drivers
#: can't map memory in this way, or only in part.
_DRIVER = Path("/proc/driver/nvidia/version")


def set_allocator_defaults(
    environment: MutableMapping[str, str] | None = None, *, driver: Path = _DRIVER
) -> None:
    """Let the segments of CUDA's allocator grow, unless the environment has settings of its own.

    Without effect once PyTorch has allocated memory on a GPU. Child processes inherit it.
    """
    variables = os.environ if environment is None else environment
    if any(name in variables for name in VARIABLES):
        return
    if sys.platform == "linux" and driver.exists():
        for name in VARIABLES[:2]:
            variables[name] = _SETTINGS
