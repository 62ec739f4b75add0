"""The Python file of a reward, and the user's consent to run it."""

from __future__ import annotations

from pathlib import Path

from lora_studio.core import limits
from lora_studio.core.problems import Problem, ProblemError, Where, error, fail
from lora_studio.core.system import consent
from lora_studio.core.system.consent import ForeignCode
from lora_studio.core.system.files import describe_os_error
from lora_studio.core.system.foreign_files import read_bytes


def find_code(file: Path) -> ForeignCode:
    """Return the code of a reward's file; raises OSError."""
    return _identify(file, read_bytes(file, limits.CODE_BYTES))


def read_trusted_source(file: Path) -> str:
    """Return exactly the source that the user has allowed; raises ProblemError."""
    try:
        content = read_bytes(file, limits.CODE_BYTES)
        source = content.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as failure:
        reason = describe_os_error(failure) if isinstance(failure, OSError) else str(failure)
        raise fail(
            "training.reward_unreadable",
            "Couldn't read the reward's Python file {file}: {reason}.",
            "Choose another file.",
            where=Where(step="training", field="rewards", file=str(file)),
            file=str(file),
            reason=reason,
        ) from failure
    code = _identify(file, content)
    if not consent.is_trusted(code):
        raise ProblemError(untrusted_problem(code))
    return source


def untrusted_problem(code: ForeignCode) -> Problem:
    """Return the problem of a reward whose code the user hasn't allowed to run."""
    return error(
        "training.code_not_trusted",
        "The reward in {name} is Python code that would run on this computer. You haven't allowed it yet.",
        "Review the code. If you trust it, allow it on the Train page, or run "
        "`lora-studio --trust {digest} …`. Otherwise, remove this reward.",
        where=Where(step="training", field="rewards", file=str(code.folder / code.files[0])),
        name=code.files[0],
        digest=code.digest,
    )


def _identify(file: Path, content: bytes) -> ForeignCode:
    return consent.identify_contents("reward", file.parent, {file.name: content})
