"""Whether the user's folders can be written to, and the problems if they can't."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

from lora_studio.core.messages import Template, Text
from lora_studio.core.problems import Problem, ProblemError, Where, error, warning
from lora_studio.core.system import paths
from lora_studio.core.system.files import describe_os_error
from lora_studio.core.system.mounts import create_folder

#: Errors that have other causes than the folder, and problems of their own.
_OTHER_CAUSES = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EMFILE, errno.ENFILE)


def cache_problem(exception: BaseException, title: Template | Text) -> Problem | None:
    """Return the problem if an exception means that the cache folder can't be written to, else None."""
    if not isinstance(exception, OSError) or exception.errno in _OTHER_CAUSES:
        return None
    try:
        folder = paths.get_cache_folder()
    except ProblemError as unknown:
        return unknown.problems[0]
    files = [
        Path(os.fsdecode(name)) for name in (exception.filename, exception.filename2) if name
    ]  # fmt: skip
    if not any(file.is_relative_to(folder) or folder.is_relative_to(file) for file in files):
        return None
    if (reason := _explain_unwritable(folder)) is None:
        return None
    return error(
        "system.cache_not_writable",
        "{title} failed: the cache folder {folder} can't be written to ({reason}).",
        "Set HOME to a folder that you can write to, or LORA_STUDIO_CACHE to another cache folder.",
        where=Where(file=str(folder)),
        title=title,
        folder=str(folder),
        reason=reason,
    )


def settings_problem() -> Problem | None:
    """Return the warning that settings can't be saved, None if they can."""
    folder = paths.get_config_folder()
    if (reason := _explain_unwritable(folder)) is None:
        return None
    return warning(
        "settings.not_saved",
        "Your settings and the list of projects can't be saved: {folder} can't be written to ({reason}).",
        "Set HOME to a folder that you can write to, or LORA_STUDIO_CONFIG to another folder for "
        "settings. Then restart the app.",
        where=Where(file=str(folder)),
        folder=str(folder),
        reason=reason,
    )


def _explain_unwritable(folder: Path) -> Text | str | None:
    """Return why no file can be created in a folder, which is created if missing; None if one can."""
    try:
        create_folder(folder)
        with tempfile.TemporaryFile(dir=folder):
            return None
    except OSError as failure:
        return describe_os_error(failure)
