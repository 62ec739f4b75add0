"""Find out why PyTorch uses no GPU on a computer that has one."""

from __future__ import annotations

import os

from lora_studio.core.messages import Template
from lora_studio.core.problems import Problem, Where, warning
from lora_studio.core.system.nvml import Nvml
from lora_studio.engine.devices.devices import list_supported_gpus

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
        return _make_problem(
            "PyTorch {version} has no code for {title}, so training uses the CPU.", _SET_UP, title
        )
    title = _get_driver_title()
    if not title and not torch.cuda.device_count():
        return None
    if torch.version.cuda is None and title:
        what: Template = "PyTorch {version} is a build without CUDA. It can't use {title}, so training uses the CPU."
        return _make_problem(what, _SET_UP, title)
    what = (
        "PyTorch {version} can't use {title}, so training uses the CPU. The GPU's driver may be too old."
        if title
        else "PyTorch {version} can't use this computer's GPU, so training uses the CPU. The GPU's driver may be "
        "too old."
    )
    return _make_problem(what, _UPDATE_DRIVER, title)


def _get_driver_title() -> str:
    """Return the name of the first visible card that NVIDIA's driver knows, "" if there is none."""
    if os.environ.get("CUDA_VISIBLE_DEVICES", "all").strip() in ("", "-1"):
        return ""
    nvml = Nvml()
    cards = nvml.list_cards()
    return (nvml.read_text("nvmlDeviceGetName", cards[0]) or "") if cards else ""


def _make_problem(what: Template, remedy: Template, title: str) -> Problem:
    import torch

    return warning(
        "model.gpu_not_used",
        what,
        remedy,
        where=Where(step="model", field="device"),
        version=torch.__version__,
        title=title,
    )
