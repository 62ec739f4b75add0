"""Translate exceptions into problems; no other module of the engine phrases unexpected failures."""

from __future__ import annotations

import errno
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from lora_studio.core.messages import NO_TEXT, Template, Text, text
from lora_studio.core.network.connections import OfflineError
from lora_studio.core.problems import Problem, ProblemError, Where, error
from lora_studio.core.system import offline
from lora_studio.core.system.files import cache_problem, describe_os_error
from lora_studio.core.system.foreign_files import UnsafeFileError


class CancelledError(Exception):
    """The user canceled the command; raised by `JobContext.check`."""


class PausedError(CancelledError):
    """The user paused a training at a point where nothing is lost."""


class NotFiniteError(Exception):
    """The model computed NaN or infinite values."""


#: Messages of libraries that ran out of memory: cuBLAS and cuDNN with codes of their own (cuBLAS with
#: another one when its workspace doesn't fit), and Apple's GPU of a buffer larger than it allows.
_OUT_OF_MEMORY = re.compile(
    r"out of memory|can't allocate memory|not enough memory|Cannot allocate memory|"
    r"ALLOC(ATION)?_FAILED|NOT_INITIALIZED when calling .?cublasCreate|Invalid buffer size",
    re.IGNORECASE,
)

#: Errors of CUDA after which no computation on the GPU succeeds in this process.
_DEVICE_LOST = re.compile(
    r"(CUDA|HIP) error: (?!no kernel image|invalid device)|device-side assert"
)

#: Those of them that the GPU or its driver may have caused; others are faults of the software.
_GPU_FAILED = re.compile(
    r"(CUDA|HIP) error: .*(launch failure|launch timed out|\bECC\b|NVLink error|hardware stack error|"
    r"illegal instruction|\bXid\b|\blost\b|fallen off the bus|no \S+-capable device|unknown error)",
    re.IGNORECASE,
)

#: Errors that say nothing about the content of the file at which they happen.
_NOT_CONTENT = (errno.EIO, errno.EMFILE, errno.ENFILE)

#: The number of an error of the system in the text of a library in Rust, and words in those of C++.
_NUMBER = re.compile(r"\(os error (\d{1,4})\)|\bOs \{ code: (\d{1,4})\b")
DISK_WORDS = {errno.EIO: "Input/output error", errno.EROFS: "Read-only file system"}

#: A panic of tokenizers: Oniguruma gave up a search.
_PATTERN_PANIC = "Onig:"

#: Errors of the disk itself: a failed read or write, and one that became read-only.
_DISK_ERRORS = (errno.EIO, errno.EROFS)


def to_problem(
    exception: BaseException, title: Template | Text, *, trains: bool = False
) -> Problem:
    """Return the problem that an exception means; `title` names the work, as in "Training".

    `trains`: the work trains a model instead of only using it.
    """
    if (refused := _offline_problem(exception)) is not None:
        return refused
    if isinstance(exception, ProblemError):
        return _name_system_cause(exception, title)
    if is_out_of_memory(exception):
        return error(
            "device.out_of_memory",
            "{title} ran out of memory.",
            "Reduce the micro-batch size or the max. sequence length, enable gradient "
            "checkpointing, or choose 4-bit precision. Closing other programs that use the device "
            "also helps."
            if trains
            else "Choose 4-bit precision or run on the CPU. Fewer models at a time and shorter answers also need "
            "less memory. Closing other programs that use the device also helps.",
            where=Where() if trains else Where(step="model", field="precision"),
            title=title,
        )
    if _is_gpu_failure(exception):
        return error(
            "gpu.failed",
            "{title} failed: the GPU reported an error ({reason}).",
            "Everything saved before is kept. Resume training to continue from the last checkpoint. If it happens "
            "again, restart the computer and update the GPU driver. Overheating and a weak power supply are "
            "other causes."
            if trains
            else "Start this step again. If it happens again, restart the computer and update the GPU driver. "
            "Overheating and a weak power supply are other causes.",
            title=title,
            reason=get_first_line(exception).removesuffix("."),
        )
    for translate in (
        cache_problem, disk_problem, _system_limit_problem, _model_problem,
        _permission_problem, _file_problem,
    ):  # fmt: skip
        if (problem := translate(exception, title)) is not None:
            return problem
    return error(
        "engine.unexpected",
        "{title} failed: {reason}",
        "Details are in the run's log. Everything saved before is kept.",
        title=title,
        reason=get_first_line(exception),
    )


def _model_problem(exception: BaseException, title: Template | Text) -> Problem | None:
    """Return the problem of a model that loads, but can't be used; None for anything else."""
    if is_native_panic(exception) and str(exception).startswith(_PATTERN_PANIC):
        return error(
            "model.tokenizer_pattern",
            "{title} failed: a regular expression of the model's tokenizer takes too long.",
            "Download or copy the model again, or choose another one. Its tokenizer.json may be damaged or "
            "made to use up time.",
            where=Where(step="model", field="source"),
            title=title,
        )
    if isinstance(exception, NotFiniteError):
        return error(
            "model.not_finite",
            "{title} failed: the model computes NaN or infinite values.",
            "Its weights or its config.json may be damaged: download or copy the model again. A model in "
            "float16 may need bfloat16.",
            where=Where(step="model", field="precision"),
            title=title,
        )
    return None


def _permission_problem(exception: BaseException, title: Template | Text) -> Problem | None:
    if not isinstance(exception, PermissionError):
        return None
    file = str(exception.filename) if exception.filename else None
    return error(
        "disk.not_allowed",
        "{title} failed: no permission to use {file}."
        if file
        else "{title} failed: no permission to use a file.",
        "Give yourself access to it, or choose another folder.",
        where=Where(file=file),
        title=title,
        file=file or "",
    )


def _file_problem(exception: BaseException, title: Template | Text) -> Problem | None:
    """Return the problem of a file that is missing or isn't what it should be; None for anything else."""
    if isinstance(exception, UnsafeFileError):
        what: Template = "{title} failed: {file} can't be used, because {reason}."
        file, reason = str(exception.path), exception.reason
    elif isinstance(exception, FileNotFoundError) and exception.filename:
        what, file, reason = "{title} failed: {file} is missing.", str(exception.filename), NO_TEXT
    elif isinstance(exception, IsADirectoryError) and exception.filename:
        # A rename names the new file first, and the folder in its way second.
        file, reason = str(exception.filename2 or exception.filename), NO_TEXT
        what = "{title} failed: {file} is a folder, but must be a file."
    elif isinstance(exception, NotADirectoryError | FileExistsError) and exception.filename:
        what = "{title} failed: {file} is a file, but must be a folder."
        file, reason = str(exception.filename2 or exception.filename), NO_TEXT
    else:
        return None
    return error(
        "disk.wrong_file",
        what,
        "Restore it from a backup, or rename it so that a new one can be written. Then start this step "
        "again.",
        where=Where(file=file),
        title=title,
        file=file,
        reason=reason,
    )


def _name_system_cause(exception: ProblemError, title: Template | Text) -> Problem:
    """Return the problem of an exception.

    If a failing disk or a limit of the system caused it, the file that it names isn't damaged: then the
    code and the remedy are those of the cause.
    """
    problem = exception.problems[0]
    for cause in _iter_causes(exception):
        number = _get_error_number(cause)
        if number in _NOT_CONTENT or is_out_of_processes(cause):
            system = disk_problem(cause, title) or _system_limit_problem(cause, title)
            if system is not None:
                where = problem.where if problem.where.file else system.where
                return system.model_copy(update={"what": problem.what, "where": where})
    return problem


def _iter_causes(exception: BaseException) -> Iterator[BaseException]:
    """Yield what caused an exception, the latest first; a chain may be circular."""
    cause = exception.__cause__ or exception.__context__
    for _ in range(20):
        if cause is None:
            return
        if not isinstance(cause, ProblemError):
            yield cause
        cause = cause.__cause__ or cause.__context__


def _offline_problem(exception: BaseException) -> Problem | None:
    """Return the problem of offline mode if that caused the exception, else None."""
    for cause in (exception, *_iter_causes(exception)):
        if isinstance(cause, OfflineError):
            where = exception.problems[0].where if isinstance(exception, ProblemError) else Where()
            return error(
                "offline",
                "Offline mode is on: {host} was not contacted.",
                offline.REMEDY,
                where=where,
                host=cause.host,
            )
    return None


def disk_problem(exception: BaseException, title: Template | Text) -> Problem | None:
    """Return the problem of a full disk or a file too large for it; None for anything else."""
    number = _get_error_number(exception)
    if number in (errno.ENOSPC, errno.EDQUOT) or "No space left on device" in str(exception):
        file = getattr(exception, "filename2", None) or getattr(exception, "filename", None)
        return disk_full_problem(title, file, is_quota=number == errno.EDQUOT)
    if number in _DISK_ERRORS:
        file = getattr(exception, "filename", None)
        return _failing_disk_problem(number, str(file or ""), title)
    if number == errno.EFBIG or "File too large" in str(exception):
        return error(
            "disk.file_too_large",
            "{title} failed: a file grew larger than its disk allows.",
            "Move the project to a disk without that limit (FAT32 allows 4 GB per file), or "
            "raise your account's file size limit. Complete files are unchanged.",
            where=Where(file=str(getattr(exception, "filename", None) or "") or None),
            title=title,
        )
    return None


def _failing_disk_problem(number: int | None, file: str, title: Template | Text) -> Problem:
    what: dict[bool, Template] = {
        True: "{title} failed: the disk with {file} is read-only."
        if file
        else "{title} failed: the disk is read-only.",
        False: "{title} failed: the disk reported an error for {file}."
        if file
        else "{title} failed: the disk reported an error.",
    }
    return error(
        "disk.read_only" if number == errno.EROFS else "disk.failing",
        what[number == errno.EROFS],
        "Check the disk: Linux also makes a failing disk read-only. Then start this step again, or "
        "move the project to another disk. Files that were complete are unchanged.",
        where=Where(file=file or None),
        title=title,
        file=file,
    )


def _system_limit_problem(exception: BaseException, title: Template | Text) -> Problem | None:
    """Return the problem of a limit of the account or a missing temporary folder, else None."""
    if "failed to map segment from shared object" in str(exception):
        return error(
            "system.address_space",
            "{title} failed: the system didn't allow enough memory to load a library.",
            "Raise the limit on address space (run `ulimit -v unlimited` in the terminal before you start "
            "LoRA Studio), or close other programs.",
            title=title,
        )
    if "No usable temporary directory" in str(exception):
        return error(
            "system.no_temporary_folder",
            "{title} failed: no folder for temporary files is writable.",
            "Check that the disk isn't full and that no limit on file sizes is set (`ulimit -f`), or set "
            "TMPDIR to another folder.",
            title=title,
        )
    if is_out_of_processes(exception):
        return error(
            "system.processes",
            "{title} failed: the system doesn't allow more processes or threads.",
            "Close other programs, or raise the limit on processes (run `ulimit -u 4096` in the terminal "
            "before you start LoRA Studio).",
            title=title,
        )
    if _get_error_number(exception) in (errno.EMFILE, errno.ENFILE):
        return error(
            "system.open_files",
            "{title} failed: too many files are open.",
            "Raise the limit on open files (run `ulimit -n 4096` in the terminal before you start LoRA "
            "Studio).",
            title=title,
        )
    return None


def is_out_of_processes(exception: BaseException) -> bool:
    """Return whether a process or a thread couldn't be started because there are too many."""
    if "can't start new thread" in str(exception):
        return True
    return _get_error_number(exception) == errno.EAGAIN


def _get_error_number(exception: BaseException) -> int | None:
    """Return the system's number of an error, also if a library in Rust or C++ names it in its text."""
    if isinstance(exception, OSError) and exception.errno is not None:
        return exception.errno
    if sys.platform == "win32":  # other numbers
        return None
    content = str(exception)
    if (match := _NUMBER.search(content)) is not None:
        return int(match[1] or match[2])
    return next((number for number, words in DISK_WORDS.items() if words in content), None)


def is_out_of_memory(exception: BaseException) -> bool:
    """Return whether an exception means that a device or the computer has no memory left."""
    if isinstance(exception, MemoryError) or type(exception).__name__ == "OutOfMemoryError":
        return True
    return isinstance(exception, (RuntimeError, OSError)) and bool(
        _OUT_OF_MEMORY.search(str(exception))
    )


def is_device_lost(exception: BaseException) -> bool:
    """Return whether this process may no longer be able to use its GPU, so that it has to end."""
    return any(
        bool(_DEVICE_LOST.search(str(cause))) and not is_out_of_memory(cause)
        for cause in (exception, *_iter_causes(exception))
    )


def _is_gpu_failure(exception: BaseException) -> bool:
    causes = (exception, *_iter_causes(exception))
    return is_device_lost(exception) and any(_GPU_FAILED.search(str(cause)) for cause in causes)


@contextmanager
def translate_library_errors(
    to_error: Callable[[Text | str], BaseException], *expected: type[Exception]
) -> Iterator[None]:
    """Raise `to_error(reason)` for an exception of a library that reads a file from somebody else.

    Such libraries raise any type, even plain `Exception`, for a file that they don't understand.
    What isn't about the file's content passes: problems, a cancellation, lack of memory, errors of
    the disk, and the `expected` types, which the caller handles.
    """
    passed: tuple[type[Exception], ...] = (ProblemError, CancelledError, OfflineError, *expected)
    try:
        yield
    except passed:
        raise
    except BaseException as error:
        is_about_content = isinstance(error, Exception) or is_native_panic(error)
        if not is_about_content or is_out_of_memory(error) or _is_about_system(error):
            raise
        raise to_error(_describe_library_error(error)) from error


def _describe_library_error(error: BaseException) -> Text | str:
    """Return what a library says about a file: the first line, or all if that is only a heading."""
    if isinstance(error, KeyError) and len(error.args) == 1 and str(error.args[0]).isidentifier():
        return text("the name “{name}” wasn't found", name=str(error.args[0])[:300])
    reason = describe_os_error(error)
    if not isinstance(reason, str):
        return reason
    return (" ".join(str(error).split()).rstrip(".") if reason.endswith(":") else reason)[:300]


def _is_about_system(error: BaseException) -> bool:
    if isinstance(error, PermissionError) or disk_problem(error, "") is not None:
        return True
    return _system_limit_problem(error, "") is not None


def is_caused_by_system(exception: BaseException) -> bool:
    """Return whether the disk, a limit, or a permission caused an exception: it says nothing about content."""
    return any(_is_about_system(cause) for cause in (exception, *_iter_causes(exception)))


def is_native_panic(exception: BaseException) -> bool:
    """Return whether an exception is a panic of a library in Rust, which isn't an `Exception`."""
    return type(exception).__name__ == "PanicException"


def disk_full_problem(title: Template | Text, file: object, *, is_quota: bool = False) -> Problem:
    """Return the problem of a full disk, or of an account that may use no more of it: `is_quota`."""
    return error(
        "disk.full",
        "{title} failed: the disk is full."
        if not is_quota
        else "{title} failed: your disk quota is used up.",
        "Free up some space or move the project to a larger disk, then start this step again. "
        "Files that were complete are unchanged."
        if not is_quota
        else "Delete some of your files on this disk or move the project to another disk, then start this "
        "step again. Files that were complete are unchanged.",
        where=Where(file=str(file) if file else None),
        title=title,
    )


def get_first_line(exception: BaseException) -> str:
    """Return the first line of an exception's message, ending in a period."""
    line = str(exception).strip().split("\n")[0] or type(exception).__name__
    return line if line.endswith((".", "!", "?")) else f"{line}."
