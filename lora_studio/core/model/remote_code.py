"""Python code that a model's folder includes, and the user's consent to run it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lora_studio.core import limits
from lora_studio.core.problems import Problem, ProblemError, Where, error, fail
from lora_studio.core.system import consent
from lora_studio.core.system.consent import ForeignCode
from lora_studio.core.system.foreign_files import read_json

#: Files whose `auto_map` names classes that transformers would import from the folder.
_CONFIGURATIONS = ("config.json", "tokenizer_config.json")


def find_code(folder: Path) -> ForeignCode | None:
    """Return the code that loading the model would run, None if it needs none of its own.

    Code that is in another repository doesn't count: it is never loaded. Raises ProblemError if the
    folder has more code than any model does.
    """
    references = [name for file in _CONFIGURATIONS for name in _read_references(folder / file)]
    if not any("--" not in name for name in references):
        return None
    files = [file for file in folder.rglob("*.py") if file.is_file()]
    if (
        len(files) > limits.CODE_FILES
        or sum(file.stat().st_size for file in files) > limits.CODE_BYTES
    ):
        raise fail(
            "model.too_much_code",
            "{folder} has more Python files than a model needs ({count}).",
            "Copy the model's own files to a new folder, and choose that.",
            where=Where(step="model", field="source"),
            folder=str(folder),
            count=len(files),
        )
    return consent.identify_code("model", folder, files)


def is_allowed(folder: Path, *, requested: bool) -> bool:
    """Return whether the code of a model may run; `requested` is the project's setting.

    Raises ProblemError if the project requests it and the user hasn't allowed it yet.
    """
    code = find_code(folder) if requested else None
    if code is None:
        return False
    if not consent.is_trusted(code):
        raise ProblemError(untrusted_problem(code))
    return True


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
