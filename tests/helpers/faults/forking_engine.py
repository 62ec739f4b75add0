"""Workers that start quickly: forks of a process that has imported everything.

`python -m tests.helpers.faults.forking_engine FOLDER` reads commands from stdin, one JSON line each, and carries out
each in the real worker's main function, in its own process whose events go to stdout. What a worker imports late
is imported here once it has ended, so that the next one has it. Nothing here may have started a
thread before. llama.cpp's converter is forked as well, from a server in FOLDER. A file `kill_point.json` there
says where the next worker kills itself.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import sys
from functools import partial
from pathlib import Path

import torch

from lora_studio.core.protocol import commands, events
from lora_studio.engine import jobs, worker
from lora_studio.engine.runtime.channel import JobContext
from lora_studio.engine.training import train_run
from tests.helpers.faults.kill_points import KillPoint
from tests.helpers.faults.preloaded import PreloadedPython

#: The line that follows the events of each worker, however it ended.
ENDED = b'{"kind":"worker ended"}\n'
#: The file with the kill point of the next worker.
KILL_POINT = "kill_point.json"


def main(folder: Path) -> None:
    """Start one worker after another, however each ends."""
    preloaded = PreloadedPython(folder)
    preloaded.run_converters(setattr)
    preloaded.start()
    torch.set_num_threads(1)
    assert train_run.Trainer
    gc.freeze()  # a collection in a fork would copy the pages of all these objects
    imported = folder / "imported"
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            os.setsid()  # so that a kill of its process group reaches the programs that it starts
            reading, writing = os.pipe()
            os.write(writing, line.encode())
            os.close(writing)
            os.dup2(reading, 0)
            _arm_kill_point(folder / KILL_POINT)
            worker.main(partial(_run_and_list_imports, set(sys.modules), imported))
        os.waitpid(child, 0)
        _import_all(imported)
        os.write(1, b"\n" + ENDED)  # after a line that a killed worker left incomplete
    os._exit(0)


def _arm_kill_point(file: Path) -> None:
    if file.exists():
        point = KillPoint(**json.loads(file.read_text()))
        file.unlink()
        point.arm()


def _run_and_list_imports(
    known: set[str], file: Path, command: commands.Job | commands.Question, job: JobContext
) -> events.Ending:
    """Run a command, and write the names of the modules that it imported to a file."""
    try:
        return jobs.run_command(command, job)
    finally:
        with contextlib.suppress(OSError):
            file.write_text("\n".join(name for name in sys.modules if name not in known))


def _import_all(file: Path) -> None:
    """Import the modules that a worker listed; it lists none if it was killed."""
    if not file.exists():
        return
    for name in file.read_text().splitlines():
        if name not in sys.modules:
            with contextlib.suppress(Exception):  # a module of a model, or one that isn't complete
                importlib.import_module(name)
    file.unlink()
    gc.collect()
    gc.freeze()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
