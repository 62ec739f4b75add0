"""Keep damaged settings files aside, so that the program can write new ones without losing anything."""

from __future__ import annotations

import errno
from pathlib import Path

from lora_studio.core.problems import Problem, Where, warning

#: Suffix of a damaged file that was kept; further ones get a number.
SUFFIX = ".damaged"

#: Damaged files to keep of one name. Later ones stay where they are and are overwritten.
_MOST = 20

#: Errors of opening something that isn't a file: a folder, or links in a circle.
_NO_FILE = (errno.EISDIR, errno.ELOOP, errno.ENOTDIR)

_notices: list[Problem] = []


def raise_unless_damaged(error: Exception) -> None:
    """Raise an error of reading a file that says nothing about its content.

    The disk, a permission, or a limit on open files may be the cause, so the file must not be replaced.
    """
    if isinstance(error, OSError) and error.errno is not None and error.errno not in _NO_FILE:
        raise error


def set_aside(file: Path) -> Path | None:
    """Rename a file whose content is damaged, and note it for the user; return its new path.

    Returns None if the file doesn't exist or can't be renamed.
    """
    for number in range(1, _MOST + 1):
        kept = file.with_name(file.name + SUFFIX + (f"-{number}" if number > 1 else ""))
        if kept.exists():
            continue
        try:
            file.rename(kept)
        except OSError:
            return None
        _notices.append(
            warning(
                "settings.damaged",
                "{file} is damaged, so default values are used.",
                "The damaged file is kept as {kept}. To restore it, repair it and rename it back.",
                where=Where(file=str(file)),
                file=file.name,
                kept=kept.name,
            )
        )
        return kept
    return None


def collect_notices() -> list[Problem]:
    """Return the notices about files that were set aside, each once."""
    notices, _notices[:] = list(_notices), []
    return notices
