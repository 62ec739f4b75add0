"""The user's own llama.cpp: which of its files run, and the consent to run them."""

from __future__ import annotations

import shutil
from pathlib import Path

from lora_studio.core.problems import Problem, ProblemError, Where, error
from lora_studio.core.system import consent
from lora_studio.core.system.consent import ForeignCode

#: The converters, relative to the folder of a checkout.
CONVERTER = "convert_hf_to_gguf.py"
LORA_CONVERTER = "convert_lora_to_gguf.py"

#: The quantizer, and where builds and releases of llama.cpp have it.
QUANTIZER = "llama-quantize"
QUANTIZER_FOLDERS = ("build/bin", "bin", "build/bin/Release", ".")

#: What the converters import, and what the quantizer loads from its own folder.
_MODULES = ("*.py", "conversion/**/*.py", "gguf-py/**/*.py")
_LIBRARIES = ("*.so", "*.so.*", "*.dylib", "*.dll")


def find_programs(folder: Path) -> ForeignCode:
    """Return the files of a llama.cpp folder that conversion and quantization run; raises OSError."""
    files = {file for pattern in _MODULES for file in folder.glob(pattern) if file.is_file()}
    for place in QUANTIZER_FOLDERS:
        for name in (QUANTIZER, f"{QUANTIZER}.exe"):
            if (folder / place / name).is_file():
                files.add(folder / place / name)
                files |= {lib for pattern in _LIBRARIES for lib in (folder / place).glob(pattern)}
    return consent.identify_code("llama_cpp", folder, files)


def find_on_path(name: str) -> str | None:
    """Return a program of this name on PATH; one in the current folder doesn't count."""
    path = shutil.which(name)
    if path is None or not Path(path).is_absolute() or Path(path).parent == Path.cwd():
        return None
    return path


def is_allowed(folder: str) -> bool:
    """Return whether the programs of a folder may run; there is nothing to allow without a folder."""
    return not folder or consent.is_trusted(find_programs(Path(folder)))


def require_consent(folder: str) -> None:
    """Raise ProblemError unless the user allowed the programs of a folder to run."""
    if not folder:
        return
    programs = find_programs(Path(folder))
    if not consent.is_trusted(programs):
        raise ProblemError(_untrusted_problem(programs))


def _untrusted_problem(programs: ForeignCode) -> Problem:
    return error(
        "export.code_not_trusted",
        "The project uses the llama.cpp programs in {folder}. You haven't allowed them to run yet.",
        "Review them. If you trust them, allow them on the Export page, or run "
        "`lora-studio --trust {digest} …`. Otherwise, leave the llama.cpp field empty.",
        where=Where(step="export", field="llama_cpp", file=str(programs.folder)),
        folder=str(programs.folder),
        digest=programs.digest,
    )
