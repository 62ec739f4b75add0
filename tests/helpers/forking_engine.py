"""Workers that start quickly: forks of a process that has imported everything.

`python -m tests.helpers.forking_engine` reads commands from stdin, one JSON line each, and carries out
each in the real worker's main function, in its own process whose events go to stdout. Nothing here
may have started a thread before.
"""

from __future__ import annotations

import os
import sys

import torch

from lora_studio.engine import worker
from lora_studio.engine.training import train_run

#: The line that follows the events of each worker, however it ended.
ENDED = b'{"kind":"worker ended"}\n'


def main() -> None:
    """Start one worker after another, however each ends."""
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
    main()
