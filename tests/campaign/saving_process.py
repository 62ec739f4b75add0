"""A process that saves small files on a disk that may fail: one fork for each time.

`python -m tests.campaign.saving_process FOLDER` reads a number as a JSON line, saves it in every file of the project
in a fork, and answers with what each save reported: "" for success, or the reason that a person reads. It runs under
the library of `tests/helpers/faults/bad_disk.py`, whose counts begin anew in each fork.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

from lora_studio.core.lora.spec import LoraSpec
from lora_studio.core.problems import ProblemError
from lora_studio.core.project import project
from lora_studio.core.runs import queue
from lora_studio.core.runs.annotations import RunAnnotations
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.system import consent
from lora_studio.core.system.consent import ForeignCode
from lora_studio.core.system.files import create_folder_atomic, write_file


def save_project(folder: Path, number: int) -> None:
    """Save the project file."""
    draft = project.load(folder)
    draft.name = f"n{number}"
    draft.save()


def save_frozen_project(run: RunFolder, number: int) -> None:
    """Save the settings of a run."""
    frozen = run.load_project()
    run.write_project(frozen.model_copy(update={"lora": LoraSpec(rank=number)}))


def save_annotations(run: RunFolder, number: int) -> None:
    """Save the notes on a run."""
    run.write_about(RunAnnotations(title=str(number), notes="x" * 5000))


def save_queue(run: RunFolder, number: int) -> None:
    """Change the queue twice."""
    queue.set_paused(run.path.parent, bool(number % 2))
    queue.move(run.path.parent, run.path.name, number % 3)


def save_consent(number: int) -> None:
    """Record a consent."""
    consent.trust(ForeignCode("reward", Path("/code"), ("score.py",), f"{number:032x}"))


def save_folder(run: RunFolder, number: int) -> None:
    """Replace a folder of several files."""
    with create_folder_atomic(run.adapter) as target:
        for name in ("adapter_config.json", "adapter_model.safetensors", "tokenizer.json"):
            write_file(target / name, f"{number}\n" * 400)


def save_all(folder: Path, number: int) -> dict[str, str]:
    """Save a number everywhere; return the reason of each save that failed."""
    run = RunFolder(folder / "runs" / "first")
    saves: dict[str, Callable[[], object]] = {
        "project": lambda: save_project(folder, number),
        "settings": lambda: save_frozen_project(run, number),
        "notes": lambda: save_annotations(run, number),
        "manifest": lambda: run.update_manifest(number=number),
        "queue": lambda: save_queue(run, number),
        "consent": lambda: save_consent(number),
        "adapter": lambda: save_folder(run, number),
    }
    return {name: _describe(save) for name, save in saves.items()}


def _describe(save: Callable[[], object]) -> str:
    try:
        save()
    except ProblemError as error:
        return str(error.problems[0].what)
    except OSError as error:
        return os.strerror(error.errno or 0)
    except BaseException as error:
        return f"escaped: {error!r}"
    return ""


def main(folder: Path) -> None:
    """Save once for each line of stdin."""
    for line in sys.stdin:
        number = json.loads(line)
        child = os.fork()
        if child == 0:
            os.write(1, json.dumps(save_all(folder, number)).encode() + b"\n")
            os._exit(0)
        os.waitpid(child, 0)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
