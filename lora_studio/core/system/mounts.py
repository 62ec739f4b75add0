"""Create folders, but none in place of a disk that isn't connected."""

from __future__ import annotations

import os
from pathlib import Path

from lora_studio.core.messages import Text, text
from lora_studio.core.problems import ProblemError, Where, error

#: Where systems mount disks: for all users, and those in which each user has a folder (FHS 3.0,
#: 3.11 and 3.12; udisks2's documentation).
_ROOTS = (Path("/mnt"), Path("/media"), Path("/run/media"), Path("/Volumes"))
_PER_USER = (Path("/media"), Path("/run/media"))
#: A folder on the disk of the system.
_SYSTEM = Path("/")


class DiskNotMountedError(ProblemError, OSError):
    """Raised instead of creating a folder where a disk is usually mounted, but isn't now."""

    def __init__(self, mount_point: Path, path: Path) -> None:
        """Store the problem; `reason` completes a sentence."""
        self.reason: Text = text("no disk is mounted at {folder}", folder=str(mount_point))
        super().__init__(
            error(
                "disk.not_mounted",
                "No disk is mounted at {folder}.",
                "Connect and mount the disk, or choose another folder.",
                where=Where(file=str(path)),
                folder=str(mount_point),
            )
        )


def create_folder(path: Path, *, exist_ok: bool = True) -> None:
    """Create a folder with its parents.

    Raises OSError, which is a DiskNotMountedError if its disk isn't mounted: the system's disk could
    fill up, and the disk's own content would hide the folder later.
    """
    if not path.exists() and (mount_point := find_missing_mount(path)) is not None:
        raise DiskNotMountedError(mount_point, path)
    path.mkdir(parents=True, exist_ok=exist_ok)


def find_missing_mount(path: Path) -> Path | None:
    """Return the folder at which the disk of a path should be mounted, None if nothing is missing.

    A disk is missing if what exists of the path is the folder of mount points, or an empty folder in
    it, on the disk of the system.
    """
    path = Path(os.path.abspath(path))  # noqa: PTH100 - links stay, as they may lead to the disk
    root = next((root for root in _ROOTS if path.is_relative_to(root) and path != root), None)
    if root is None:
        return None
    names = path.relative_to(root).parts
    mount_point = root / names[0]
    if root in _PER_USER and len(names) > 1 and names[0] == os.environ.get("USER"):
        mount_point /= names[1]
    try:
        if not mount_point.exists():
            return mount_point if _is_on_system_disk(root) else None
        if not mount_point.is_dir() or any(mount_point.iterdir()):
            return None
        return mount_point if _is_on_system_disk(mount_point) else None
    except OSError:
        return None  # the caller's own attempt says why it can't be used


def _is_on_system_disk(folder: Path) -> bool:
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    return existing.stat().st_dev == _SYSTEM.stat().st_dev
