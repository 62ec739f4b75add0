"""From exceptions to problems: nothing else in the engine phrases a failure twice."""

from __future__ import annotations

import errno
import re

from lora_studio.core.problems import Problem, ProblemError, Where
from lora_studio.core.system import offline
from lora_studio.engine.runtime.offline import OfflineError


class CancelledError(Exception):
    """The user asked for the end of the command; raised by `Job.check`."""


class PausedError(CancelledError):
    """The user wants a training to rest, and nothing would be lost right here."""


#: What libraries say when there is no memory: cuBLAS and cuDNN with codes of their own, cuBLAS where
#: its workspace does not fit with another one, and Apple's GPU of a piece larger than any it gives.
_OUT_OF_MEMORY = re.compile(
    r"out of memory|can't allocate memory|not enough memory|Cannot allocate memory|"
    r"ALLOC(ATION)?_FAILED|NOT_INITIALIZED when calling .?cublasCreate|Invalid buffer size",
    re.IGNORECASE,
)


def problem_from(error: BaseException, doing: str) -> Problem:
    """The problem that an exception means; `doing` completes "… went wrong while <doing>"."""
    if (refused := _offline(error)) is not None:
        return refused
    if isinstance(error, ProblemError):
        return error.problems[0]
    if is_out_of_memory(error):
        return Problem(
            code="device.out_of_memory",
            what=f"Memory ran out while {doing}.",
            remedy="Make the micro-batch or the longest row smaller, switch gradient checkpointing "
            "on, or choose 4-bit precision. Closing other programs that use the device helps too.",
        )
    if (problem := disk_problem(error, doing)) is not None:
        return problem
    if isinstance(error, PermissionError):
        return Problem(
            code="disk.not_allowed",
            what=f"{error.filename or 'A file'} may not be used while {doing}.",
            remedy="Give yourself the right to it, or choose another folder.",
            where=Where(file=str(error.filename) if error.filename else None),
        )
    return Problem(
        code="engine.unexpected",
        what=f"Something went wrong while {doing}: {first_line(error)}",
        remedy="The log of the run has the details. Nothing that was saved before is lost.",
    )


def _offline(error: BaseException) -> Problem | None:
    """The problem of offline mode, where that is what an exception goes back to."""
    cause: BaseException | None = error
    for _ in range(20):  # a chain may bite its own tail
        if isinstance(cause, OfflineError):
            what = str(cause).removeprefix("Offline mode is on: ")
            place = error.problems[0].where if isinstance(error, ProblemError) else Where()
            return offline.refusal(what, place).problems[0]
        cause = (cause.__cause__ or cause.__context__) if cause is not None else None
    return None


def disk_problem(error: BaseException, doing: str) -> Problem | None:
    """The problem of a disk that takes no more, None where an exception means something else."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return disk_full(doing, error.filename)
    if "No space left on device" in str(error):
        return disk_full(doing, None)
    if getattr(error, "errno", None) == errno.EFBIG or "File too large" in str(error):
        return Problem(
            code="disk.file_too_large",
            what=f"A file grew larger than its disk allows while {doing}.",
            remedy="Move the project to a disk without that limit (FAT has one of 4 GB), or raise "
            "the limit on file sizes of your account. Files that were complete before are "
            "untouched.",
            where=Where(file=str(getattr(error, "filename", None) or "") or None),
        )
    return None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception means that a device or the machine has no memory left."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, (RuntimeError, OSError)) and bool(_OUT_OF_MEMORY.search(str(error)))


def disk_full(doing: str, file: object) -> Problem:
    """The problem of a full disk."""
    return Problem(
        code="disk.full",
        what=f"The disk is full: there was no room left while {doing}.",
        remedy="Free some space or move the project to a larger disk, then start this step again. "
        "Files that were complete before are untouched.",
        where=Where(file=str(file) if file else None),
    )


def first_line(error: BaseException) -> str:
    """What an exception says first, as a sentence."""
    text = str(error).strip().split("\n")[0] or type(error).__name__
    return text if text.endswith((".", "!", "?")) else f"{text}."
