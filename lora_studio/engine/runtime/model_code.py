"""Python code that a model's folder includes, in the process that runs it."""

from __future__ import annotations

from pathlib import Path

from lora_studio.core.model import remote_code
from lora_studio.engine.runtime import fast_imports


def is_allowed(folder: Path, *, requested: bool) -> bool:
    """Return whether the code of a model may run, as `remote_code.is_allowed`.

    If so, it can import every package: some models need those that this process hides.
    """
    allowed = remote_code.is_allowed(folder, requested=requested)
    if allowed:
        fast_imports.show_rarely_used_packages()
    return allowed
