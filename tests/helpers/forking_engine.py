"""Workers that start quickly: forks of a process that has imported everything.

`python -m tests.helpers.forking_engine FOLDER` reads commands from stdin, one JSON line each, and carries out
each in the real worker's main function, in its own process whose events go to stdout. Nothing here
may have started a thread before. llama.cpp's converter is forked as well, from a server in FOLDER.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch

from lora_studio.engine import worker
from lora_studio.engine.training import train_run
from tests.helpers.preloaded import PreloadedPython

#: The line that follows the events of each worker, however it ended.
ENDED = b'{"kind":"worker ended"}\n'


def main(folder: Path) -> None:
    """Start one worker after another, however each ends."""
    preloaded = PreloadedPython(folder)
    preloaded.run_converters(setattr)
    preloaded.start()
    torch.set_num_threads(1)
    assert train_run.Trainer
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            os.setsid()  # so that a kill of its process group reaches the programs that it starts
            reading, writing = os.pipe()
            os.write(writing, line.encode())
            os.close(writing)
            os.dup2(reading, 0)
            worker.main()
        os.waitpid(child, 0)
        os.write(1, b"\n" + ENDED)  # after a line that a killed worker left incomplete


if __name__ == "__main__":
    main(Path(sys.argv[1]))
