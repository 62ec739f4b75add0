"""The user's own llama.cpp: which of its files run, and the consent to run them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from lora_studio.core import limits
from lora_studio.core.problems import Problem, ProblemError, Where, error, fail
from lora_studio.core.system import consent
from lora_studio.core.system.consent import ForeignCode

#: The converters, relative to the folder of a checkout.
CONVERTER = "convert_hf_to_gguf.py"
LORA_CONVERTER = "convert_lora_to_gguf.py"

#: Its programs, and where builds and releases of llama.cpp have them.
QUANTIZER = "llama-quantize"
SERVER = "llama-server"
QUANTIZER_FOLDERS = ("build/bin", "bin", "build/bin/Release", ".")

#: What Python imports and what programs load. A folder next to the converter counts too: Python would
#: import `numpy/__init__.py` from there before the installed package.
_CODE = (".py", ".so", ".dylib", ".dll")
_VERSIONED_LIBRARY = ".so."


def find_programs(folder: Path) -> ForeignCode:
    """Return the files of a llama.cpp folder that conversion and quantization can run.

    Raises OSError for unreadable files, and ProblemError if there are more files than in llama.cpp.
    """
    files: list[Path] = []
    for parent, folders, names in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if name != ".git"]
        files += [Path(parent, name) for name in names if _is_code(name)]
        if (
            len(files) > limits.LLAMA_CPP_FILES
            or len(Path(parent).parts) > len(folder.parts) + limits.LLAMA_CPP_DEPTH
        ):
            raise fail(
                "export.too_much_code",
                "{folder} has more program files than llama.cpp.",
                "Choose the folder of llama.cpp itself.",
                where=Where(step="export", field="llama_cpp", file=str(folder)),
                folder=str(folder),
            )
    return consent.identify_code("llama_cpp", folder, [file for file in files if file.is_file()])


def _is_code(name: str) -> bool:
    """Return whether a file can be run or loaded by llama.cpp's programs, judged by its name."""
    is_program = name.removesuffix(".exe") in (QUANTIZER, SERVER)
    return is_program or name.endswith(_CODE) or _VERSIONED_LIBRARY in name


def find_on_path(name: str) -> str | None:
    """Return a program of this name on PATH; one in the current folder doesn't count."""
    path = shutil.which(name)
    if path is None or not Path(path).is_absolute() or Path(path).parent == Path.cwd():
        return None
    return path


def find_server(folder: str) -> str | None:
    """Return llama-server of an allowed llama.cpp folder, else the one on PATH, None without either."""
    if folder and is_allowed(folder) and (program := _find_server_in(Path(folder))) is not None:
        return program
    return find_on_path(SERVER)


def _find_server_in(folder: Path) -> str | None:
    names = [folder / part / (SERVER + end) for part in QUANTIZER_FOLDERS for end in ("", ".exe")]
    return next((str(name) for name in names if name.is_file()), None)


def resolve_server(path: str) -> str | None:
    """Return the llama-server that the user named: a program, or an allowed llama.cpp folder.

    Without a name, returns the one on PATH, or None. Raises ProblemError if there is none at the path.
    """
    if not path or Path(path).is_file():
        return path or find_on_path(SERVER)
    if Path(path).is_dir():
        require_consent(path)
        if (program := _find_server_in(Path(path))) is not None:
            return program
    raise fail(
        "template.no_llama_server",
        "There is no llama-server at {path}.",
        "Give the program, or the folder of a llama.cpp build or release.",
        where=Where(file=path),
        path=path,
    )


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
