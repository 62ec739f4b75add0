"""The user's own llama.cpp: which of its files run, the consent to run them, and the copy that runs.

Programs and scripts run from a private copy of exactly the files that the user allowed: whatever changes in the
folder meanwhile, and whatever else is in it (bytecode, links, other libraries), plays no part.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import NamedTuple

from lora_studio.core import limits
from lora_studio.core.problems import Problem, ProblemError, Where, error, fail
from lora_studio.core.system import consent
from lora_studio.core.system.consent import ForeignCode
from lora_studio.core.system.programs import create_private_folder, find_on_path

#: The converters, relative to the folder of a checkout.
CONVERTER = "convert_hf_to_gguf.py"
LORA_CONVERTER = "convert_lora_to_gguf.py"

#: Its programs, and where builds and releases of llama.cpp have them.
QUANTIZER = "llama-quantize"
SERVER = "llama-server"
QUANTIZER_FOLDERS = ("build/bin", "bin", "build/bin/Release", ".")

#: What Python imports, what programs load, and the templates that the converter reads. A folder next to the converter
#: counts too: Python would import `numpy/__init__.py` from there before the installed package.
_CODE = (".py", ".so", ".dylib", ".dll", ".jinja")
_VERSIONED_LIBRARY = ".so."

#: Where the loaders of Linux and macOS look for libraries before the folder in which a program was built.
_LIBRARY_PATH = "DYLD_LIBRARY_PATH" if sys.platform == "darwin" else "LD_LIBRARY_PATH"


class _Copy(NamedTuple):
    """A private copy of a folder, and names, sizes and times of the files that it was made from."""

    folder: Path
    code: ForeignCode
    made_from: tuple[tuple[str, int, int], ...]


#: The copies of this process, by the folder they were made from.
_copies: dict[str, _Copy] = {}


def find_programs(folder: Path) -> ForeignCode:
    """Return the files of a llama.cpp folder that conversion and quantization can run.

    Raises OSError for files or folders that can't be read, and ProblemError if there are more files than in llama.cpp.
    """
    return consent.identify_code("llama_cpp", folder, _list_files(folder))


def _list_files(folder: Path) -> list[Path]:
    def refuse(failure: OSError) -> None:
        raise failure

    files: list[Path] = []
    for parent, folders, names in os.walk(folder, onerror=refuse, followlinks=True):
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
    return [file for file in files if file.is_file()]


def _is_code(name: str) -> bool:
    """Return whether a file can be run or loaded by llama.cpp's programs, judged by its name."""
    is_program = name.removesuffix(".exe") in (QUANTIZER, SERVER)
    return is_program or name.endswith(_CODE) or _VERSIONED_LIBRARY in name


def copy_allowed(folder: str) -> Path:
    """Return a private copy of the programs of a folder; raises OSError, and ProblemError unless the user allowed them.

    A process copies them once; later copies are made only if a file has changed.
    """
    source = Path(folder).absolute()
    files = _list_files(source)
    stated = ((str(file), file.stat()) for file in files)
    made_from = tuple((name, status.st_size, status.st_mtime_ns) for name, status in stated)
    copy = _copies.get(folder)
    if copy is None or copy.made_from != made_from:
        target = create_private_folder()
        copy = _Copy(target, consent.identify_code("llama_cpp", source, files, target), made_from)
    if not consent.is_trusted(copy.code):
        shutil.rmtree(copy.folder, ignore_errors=True)
        raise ProblemError(_untrusted_problem(copy.code))
    _copies[folder] = copy
    return copy.folder


def get_original(program: str) -> str:
    """Return the file of which a program is a private copy, or the program itself."""
    for source, copy in _copies.items():
        if Path(program).is_relative_to(copy.folder):
            return str(Path(source, Path(program).relative_to(copy.folder)))
    return program


def get_variables(program: str) -> dict[str, str]:
    """Return the environment variables with which a private copy of a program finds the libraries of that copy.

    Programs that were built in a checkout look for their libraries there.
    """
    for copy in _copies.values():
        if Path(program).is_relative_to(copy.folder):
            libraries = (
                copy.folder / name
                for name in copy.code.files
                if (name.endswith((".so", ".dylib")) or _VERSIONED_LIBRARY in name)
            )
            folders = dict.fromkeys(str(library.parent) for library in libraries)
            given = os.environ.get(_LIBRARY_PATH)
            return {_LIBRARY_PATH: os.pathsep.join([*folders, *([given] if given else [])])}
    return {}


def find_server(folder: str) -> str | None:
    """Return llama-server of an allowed llama.cpp folder, else the one on PATH, None without either."""
    if folder and is_allowed(folder) and (program := find_program(folder, SERVER)) is not None:
        return program
    return find_on_path(SERVER)


def find_program(folder: str, name: str) -> str | None:
    """Return the private copy of a program in a llama.cpp folder, None if it isn't there.

    Raises OSError, and ProblemError unless the user allowed the programs of the folder.
    """
    name += ".exe" if sys.platform == "win32" else ""
    files = [Path(part, name) for part in QUANTIZER_FOLDERS]
    if (file := next((file for file in files if Path(folder, file).is_file()), None)) is None:
        return None
    return str(copy_allowed(folder) / file)


def resolve_server(path: str) -> str | None:
    """Return the llama-server that the user named: a program, or an allowed llama.cpp folder.

    Without a name, returns the one on PATH, or None. Raises ProblemError if there is none at the path.
    """
    if not path or Path(path).is_file():
        return path or find_on_path(SERVER)
    if Path(path).is_dir() and (program := find_program(path, SERVER)) is not None:
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
