"""What killed workers leave in a run folder: every temporary name, and the sweep that deletes it.

| name | written by | swept |
|---|---|---|
| `.NAME.RANDOM.tmp` (file) | `write_atomic`, also from the window (`about.json`) | unless a living process has it open |
| `.NAME.RANDOM.tmp` (folder) | `create_folder_atomic`: adapter, checkpoints, data | under the run's lock |
| `.NAME.RANDOM.old` | the same, for the folder that it replaces | moved back if the new one is missing |
| `.merged.unfinished` | a merge; holds its finished shards | no: the next merge continues from it |
| `.merged.old` | a merge, for the folder that it replaces | moved back if the new one is missing |
| `tmp/` | training, self-test and export, for scratch files | under the run's lock |
| `.link-probe` | an import, to test for hard links | under the run's lock |
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.system.files import sweep_temporary_files, sweep_temporary_folders


def sweep(run: RunFolder) -> None:
    """Delete what killed workers left in a run; call it under the run's lock."""
    for folder in _iter_folders(run):
        sweep_temporary_files(folder)
        sweep_temporary_folders(folder)
    _restore_merged(run)
    shutil.rmtree(run.temporary, ignore_errors=True)
    with contextlib.suppress(OSError):
        (run.path / ".link-probe").unlink()


def _iter_folders(run: RunFolder) -> Iterator[Path]:
    yield run.path
    for folder in (run.checkpoints, run.best, run.gguf):
        if folder.is_dir() and not folder.is_symlink():
            yield folder


def _restore_merged(run: RunFolder) -> None:
    """Move the merged model back that a killed merge had moved aside, or delete it if it was replaced."""
    backup = get_backup_folder(run.merged)
    if backup.is_dir() and not backup.is_symlink():
        if run.merged.exists():
            shutil.rmtree(backup, ignore_errors=True)
        else:
            backup.rename(run.merged)


def get_backup_folder(merged: Path) -> Path:
    """Return the folder that a merged model is moved to while a new one replaces it."""
    return merged.with_name(f".{merged.name}.old")
