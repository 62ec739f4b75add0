"""What Triton and Inductor need to compile kernels, and where compiled code is kept."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
import sysconfig
from pathlib import Path
from typing import Literal

from lora_studio.core.system import paths

BuildTool = Literal["compiler", "headers"]


def find_missing_build_tool() -> BuildTool | None:
    """Return what Triton lacks to build the launchers of GPU kernels; None if nothing, or where it isn't installed.

    Triton takes the compiler in CC, else gcc or clang. Its builds for Windows include one.
    """
    if not sys.platform.startswith("linux") or importlib.util.find_spec("triton") is None:
        return None
    if not os.environ.get("CC") and not any(map(shutil.which, ("gcc", "clang"))):
        return "compiler"
    return _find_missing_headers()


def find_missing_cpu_build_tool() -> BuildTool | None:
    """Return what Inductor lacks to compile for a CPU on Linux: it takes the compiler in CXX, else g++."""
    if shutil.which(os.environ.get("CXX") or "g++") is None:
        return "compiler"
    return _find_missing_headers()


def set_compile_caches() -> None:
    """Let libraries keep what they compile in the user's cache; call it before they compile.

    Inductor's own folder is in the system's temporary one, under a name that others can guess, and code is
    loaded from it. Unsloth's is the current folder. Variables that are set already stay.
    """
    cache = paths.get_cache_folder()
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache / "inductor"))
    os.environ.setdefault("UNSLOTH_COMPILE_LOCATION", str(cache / "unsloth"))


def _find_missing_headers() -> BuildTool | None:
    header = Path(sysconfig.get_paths()["include"]) / "Python.h"
    return None if header.is_file() else "headers"
