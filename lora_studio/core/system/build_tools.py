"""What Triton needs to build the launchers of GPU kernels: a C compiler and Python's headers."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
import sysconfig
from pathlib import Path
from typing import Literal

BuildTool = Literal["compiler", "headers"]


def find_missing_build_tool() -> BuildTool | None:
    """Return what Triton lacks on this computer; None if nothing, or where it isn't installed.

    Triton takes the compiler in CC, else gcc or clang. Its builds for Windows include one.
    """
    if not sys.platform.startswith("linux") or importlib.util.find_spec("triton") is None:
        return None
    if not os.environ.get("CC") and not any(map(shutil.which, ("gcc", "clang"))):
        return "compiler"
    header = Path(sysconfig.get_paths()["include"]) / "Python.h"
    return None if header.is_file() else "headers"
