"""Python code that a model's folder includes, and the user's consent to run it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from lora_studio.core import limits
from lora_studio.core.problems import Problem, ProblemError, Where, error, fail
from lora_studio.core.system import consent
from lora_studio.core.system.consent import ForeignCode
from lora_studio.core.system.files import describe_os_error
from lora_studio.core.system.foreign_files import read_bytes, read_json

#: Files whose `auto_map` names classes that loading a model imports. Nothing else that a folder refers to is ever
#: imported: see `engine/runtime/model_code.py`.
_CONFIGURATIONS = ("config.json", "tokenizer_config.json")

#: A class in a module of the folder itself: `modeling_own.OwnModel`.
_OWN_CLASS = re.compile(r"(\w[\w-]*)\.(\w+)")

_WHERE = Where(step="model", field="trust_remote_code")


class ModelCode(NamedTuple):
    """The code of a model, and its files by name: exactly what was hashed."""

    code: ForeignCode
    contents: Mapping[str, bytes]


def find_code(folder: Path) -> ForeignCode | None:
    """Return the code that loading the model would run; see `read_code`."""
    model_code = read_code(folder)
    return model_code.code if model_code else None


def read_code(folder: Path) -> ModelCode | None:
    """Return the code that loading the model would run, None if it needs none of its own.

    A model whose code is only in other repositories has none: that is never loaded. Linked folders aren't read, so
    their code doesn't run either. Raises ProblemError if the folder has more code than any model does, refers to code
    that isn't among its own files, or can't be read.
    """
    references = [name for file in _CONFIGURATIONS for name in _read_references(folder / file)]
    if all("--" in name for name in references):
        return None
    try:
        files = list(_iter_python_files(folder))
        size = sum(file.stat().st_size for file in files)
        if len(files) > limits.CODE_FILES or size > limits.CODE_BYTES:
            raise fail(
                "model.too_much_code",
                "{folder} has more Python files than a model needs ({count}).",
                "Copy the model's own files to a new folder, and choose that.",
                where=Where(step="model", field="source"),
                folder=str(folder),
                count=len(files),
            )
        contents = {
            file.relative_to(folder).as_posix(): read_bytes(file, limits.CODE_BYTES)
            for file in files
        }
    except OSError as failure:
        raise fail(
            "model.code_unreadable",
            "Couldn't read the Python code in {folder}: {reason}.",
            "Check the permissions of the folder, or turn off “Trust remote code”.",
            where=_WHERE.model_copy(update={"file": str(folder)}),
            folder=str(folder),
            reason=describe_os_error(failure),
        ) from failure
    for name in references:
        _require_own(folder, name, contents)
    return ModelCode(consent.identify_contents("model", folder, contents), contents)


def _iter_python_files(folder: Path) -> Iterator[Path]:
    """Yield the Python files in a folder, but not in links to other folders; raises OSError."""

    def refuse(failure: OSError) -> None:
        raise failure

    for parent, _, names in os.walk(folder, onerror=refuse):
        for name in names:
            if name.endswith(".py") and (file := Path(parent, name)).is_file():
                yield file


def _require_own(folder: Path, reference: str, contents: Mapping[str, bytes]) -> None:
    """Raise ProblemError for a reference to a class that isn't in a file of the folder itself."""
    match = _OWN_CLASS.fullmatch(reference)
    if match is None or f"{match[1]}.py" not in contents:
        raise fail(
            "model.code_elsewhere",
            "The model {name} refers to Python code that isn't in its folder: {reference}.",
            "Copy that code into the folder and correct the reference (`auto_map`), or turn off “Trust remote code”.",
            where=_WHERE.model_copy(update={"file": str(folder)}),
            name=folder.name,
            reference=reference[:200],
        )


def read_allowed(folder: Path, *, requested: bool) -> ModelCode | None:
    """Return the code of a model that may run; `requested` is the project's setting.

    Raises ProblemError if the project requests it and the user hasn't allowed it yet.
    """
    model_code = read_code(folder) if requested else None
    if model_code is not None and not consent.is_trusted(model_code.code):
        raise ProblemError(untrusted_problem(model_code.code))
    return model_code


def untrusted_problem(code: ForeignCode) -> Problem:
    """Return the problem of a model whose code the user hasn't allowed to run."""
    return error(
        "model.code_not_trusted",
        "The model {name} includes Python code that would run with your permissions. You haven't "
        "allowed it yet.",
        "Review the code. If you trust it, allow it on the Model page, or run "
        "`lora-studio --trust {digest} …`. Otherwise, turn off “Trust remote code”.",
        where=Where(step="model", field="trust_remote_code", file=str(code.folder)),
        name=code.folder.name,
        digest=code.digest,
    )


def _read_references(file: Path) -> list[str]:
    """Return the classes that a configuration's `auto_map` names, as "[REPOSITORY--]MODULE.CLASS"."""
    try:
        classes = read_json(file).get("auto_map") or {}
    except (OSError, ValueError, AttributeError, RecursionError):
        return []  # loading reports an unreadable file
    values: list[Any] = list(classes.values()) if isinstance(classes, dict) else [classes]
    flat = [item for value in values for item in (value if isinstance(value, list) else [value])]
    return [item for item in flat if isinstance(item, str)]
