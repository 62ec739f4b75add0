"""The processes of a training on several devices: started by the worker, watched, ended with it.

The worker is the first rank. The others (`follower.py`) are its children: in its session and process
group, so that whoever kills the worker's group reaches them; with a pipe whose end tells them that the
worker has gone; and on Linux killed by the kernel when it does. They meet through a file in the run's
scratch folder and talk over the loopback interface alone.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path

import torch
import torch.distributed as dist
from torch._C._distributed_c10d import FileStore

from lora_studio.core.problems import Problem, ProblemError, Where
from lora_studio.core.project.project import Project
from lora_studio.core.protocol import events
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.system.memory_limits import KillCounter
from lora_studio.engine.devices import devices
from lora_studio.engine.runtime.channel import JobContext
from lora_studio.engine.runtime.failures import CancelledError
from lora_studio.engine.runtime.process_pool import cores
from lora_studio.engine.training.distributed.ranks import ProcessGroup

#: Ranks wait for each other this long: one may write a checkpoint while the others have nothing to
#: do. That one has died is seen by other means, at once.
TIMEOUT = timedelta(days=1)

#: Seconds between two looks at the other processes.
_INTERVAL = 0.1

#: Seconds that the first rank has to notice by itself that another one died, before it is ended: a
#: GPU that waits for a rank that is gone waits for ever.
_GRACE = 5.0

#: Seconds between two looks at how many processes were ended for lack of memory.
_LOOK_INTERVAL = 10.0

#: Exit status of a rank that failed because another one had gone: the cause is to be found there.
LOST = 70


@dataclass(frozen=True)
class Rendezvous:
    """All that a process needs to find its place among the ranks of a run."""

    run: str
    folder: str
    index: int
    count: int
    device: str
    resume: bool = False

    @property
    def store(self) -> str:
        """The file through which the ranks find each other."""
        return str(Path(self.folder) / "meeting")

    @property
    def ready_file(self) -> Path:
        """There once this rank has loaded everything."""
        return Path(self.folder) / f"ready-{self.index}"

    @property
    def problem_file(self) -> Path:
        """Why this rank failed."""
        return Path(self.folder) / f"problem-{self.index}.json"

    def join(self) -> None:
        """Connects this process with the others; waits for them."""
        _stay_on_this_computer()
        dist.init_process_group(
            _transport(self.device),
            store=FileStore(self.store, self.count),
            rank=self.index,
            world_size=self.count,
            timeout=TIMEOUT,
        )

    def follower(self) -> ProcessGroup:
        """This process as one that the first one started."""

        def connect() -> None:
            self.ready_file.touch()
            self.join()

        return ProcessGroup(self.index, self.count, connect, self.device)


def launched(run: RunFolder, index: int, count: int) -> ProcessGroup:
    """This process as one of those that `accelerate launch` started, perhaps on several nodes.

    The environment says where they meet. All but the first wait here until that has loaded
    everything: what is downloaded or computed on the way is done once.
    """
    number = int(os.environ.get("LOCAL_RANK", "0"))
    is_cpu = run.load_project().model.devices[0] == "cpu" or not torch.cuda.is_available()
    device = "cpu" if is_cpu else f"cuda:{number}"
    if count == 1:
        return ProcessGroup(device=device)
    dist.init_process_group(_transport(device), timeout=TIMEOUT)
    ranks = ProcessGroup(index, count, device=device)
    meet = partial(ranks.gather, None)

    def connect() -> None:
        if ranks.is_first:
            meet()
        meet()

    if not ranks.is_first:
        meet()
    ranks.connect = connect
    return ranks


def _transport(device: str) -> str:
    """What carries tensors between ranks: NCCL those on GPUs, gloo all else."""
    if not device.startswith("cuda"):
        return "gloo"
    torch.cuda.set_device(device)
    return "cpu:gloo,cuda:nccl"


def _stay_on_this_computer() -> None:
    """Makes gloo and NCCL listen on the loopback interface only."""
    name = {"linux": "lo", "darwin": "lo0"}.get(sys.platform)
    if name is not None:
        os.environ["GLOO_SOCKET_IFNAME"] = os.environ["NCCL_SOCKET_IFNAME"] = name


@contextmanager
def together(
    run: RunFolder, project: Project, job: JobContext, scratch: Path, *, resume: bool
) -> Iterator[ProcessGroup]:
    """This process as the first of as many ranks as the project has devices, started here.

    Whatever ends the block ends them. Raises ProblemError that names the rank when one fails, and for
    a device that this computer does not have.
    """
    names = project.model.devices
    if len(names) == 1:
        yield ProcessGroup()
        return
    for name in names:
        devices.choose(name)
    team = _Team(run, names, job, scratch, resume=resume)
    threads = torch.get_num_threads()
    try:
        if names[0] == "cpu":
            torch.set_num_threads(_threads(len(names)))
        yield ProcessGroup(0, len(names), team.connect)
    except (ProblemError, CancelledError):
        raise
    except Exception as error:
        # What the others' end looks like from here is a broken connection.
        if (problem := team.failure(within=_GRACE)) is not None:
            raise ProblemError([problem]) from error
        raise
    finally:
        team.end()
        torch.set_num_threads(threads)


class _Team:
    """The other ranks as the first one sees them."""

    def __init__(
        self,
        run: RunFolder,
        names: tuple[str, ...],
        job: JobContext,
        scratch: Path,
        *,
        resume: bool,
    ) -> None:
        """Starts them: they import what they need and wait for `connect`."""
        self._job = job
        self._ended = threading.Event()
        self._meetings = [
            Rendezvous(str(run.path), str(scratch), index, len(names), name, resume)
            for index, name in enumerate(names)
        ]
        self._processes: list[subprocess.Popen[bytes]] = []
        self._kills: dict[int, KillCounter] = {}  # by process number
        try:
            for meeting in self._meetings[1:]:
                process = _start(meeting)
                self._processes.append(process)
                self._kills[process.pid] = KillCounter(process.pid)
        except OSError:
            self.end()
            raise

    def connect(self) -> None:
        """Lets the others load what the first has loaded, and joins them when they have."""
        for process in self._processes:
            assert process.stdin is not None
            with contextlib.suppress(OSError):
                process.stdin.write(b"go\n")
                process.stdin.flush()
        others = self._meetings[1:]
        while waiting := [other for other in others if not other.ready_file.exists()]:
            done = len(others) - len(waiting)
            self._job.progress("starting the other processes", done, len(others), "processes")
            if (problem := self.failure()) is not None:
                raise ProblemError([problem])
            time.sleep(_INTERVAL)
        threading.Thread(target=self._watch, name="ranks", daemon=True).start()
        self._meetings[0].join()

    def failure(self, within: float = 0.0) -> Problem | None:
        """Why one of the others failed, if one does within so many seconds.

        One that ended well did its share, and waits for no checkpoint to be written.
        """
        until = time.monotonic() + within
        while True:
            ended = [
                (code, meeting, process.pid)
                for meeting, process in zip(self._meetings[1:], self._processes, strict=True)
                if (code := process.poll())
            ]
            causes = [entry for entry in ended if entry[0] != LOST] or ended
            if causes:
                code, meeting, number = causes[0]
                is_killed = code == -getattr(signal, "SIGKILL", 9)
                if is_killed and self._kills[number].has_risen():
                    return _out_of_memory(meeting)
                return _problem_of(meeting, code)
            if time.monotonic() >= until:
                return None
            time.sleep(_INTERVAL)

    def end(self) -> None:
        """Ends the others, whatever they are doing: they keep nothing that the first has not."""
        self._ended.set()
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.wait()
            if process.stdin is not None:
                with contextlib.suppress(OSError):
                    process.stdin.close()
        if dist.is_initialized():
            dist.destroy_process_group()

    def _watch(self) -> None:
        """Ends this process where another rank has died and the work here does not notice."""
        looked = time.monotonic()
        while not self._ended.wait(_INTERVAL):
            if time.monotonic() - looked > _LOOK_INTERVAL:
                looked = time.monotonic()
                for counter in self._kills.values():
                    counter.look()
            if (problem := self.failure()) is None or self._ended.wait(_GRACE):
                continue
            self._job.emit(events.Failed(problem=problem))
            for process in self._processes:
                process.kill()
            self._job.channel.drain()
            os._exit(1)


def has_lost_others(error: BaseException) -> bool:
    """Whether an exception says that the connection to another rank broke."""
    return isinstance(error, dist.DistError) or (
        isinstance(error, RuntimeError) and "gloo" in str(error).lower()
    )


def _start(meeting: Rendezvous) -> subprocess.Popen[bytes]:
    environment = os.environ | {"PYTHONUTF8": "1", "TOKENIZERS_PARALLELISM": "false"}
    if meeting.device == "cpu":
        environment["OMP_NUM_THREADS"] = str(_threads(meeting.count))
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "lora_studio.engine.worker_rank", json.dumps(vars(meeting))],
        stdin=subprocess.PIPE,
        stdout=2,  # the run's log
        env=environment,
        creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
    )


def _threads(processes: int) -> int:
    """Threads of each process, so that together they are as many as there are processors."""
    return max(1, cores() // processes)


def _out_of_memory(meeting: Rendezvous) -> Problem:
    """Of a rank that the system ended: the training is started again with less (`restarting.py`)."""
    return Problem(
        code="worker.out_of_memory",
        what=f"{_name(meeting)} was ended by the system because memory ran out.",
        remedy="What was saved before is intact. Resume the training with a smaller micro-batch, shorter "
        "rows or fewer processes.",
        where=Where(step="model", field="device"),
    )


def _name(meeting: Rendezvous) -> str:
    return f"The process on {meeting.device} ({meeting.index + 1} of {meeting.count})"


def _problem_of(meeting: Rendezvous, code: int) -> Problem:
    """What a rank that ended left behind, in words that name it."""
    who = _name(meeting)
    try:
        found = Problem.model_validate_json(meeting.problem_file.read_bytes())
    except (OSError, ValueError):
        how = f"was killed by signal {-code}" if code < 0 else f"ended with status {code}"
        return Problem(
            code="training.rank_died",
            what=f"{who} {how}, and training cannot go on without it.",
            remedy="Its last words, if any, are in the log of the run. Training can be resumed from "
            "its last checkpoint, also with fewer devices.",
            where=Where(step="model", field="device"),
        )
    return found.model_copy(update={"what": f"{who} failed: {found.what}"})
