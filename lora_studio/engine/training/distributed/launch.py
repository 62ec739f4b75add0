"""Start, watch and stop the processes of a training run on several devices.

The worker is rank 0. It starts the other ranks (`worker_rank.py`) as child processes: in its session
and process group, so that killing the group reaches them; with a pipe that closes when the worker is
gone; and on Linux with a kernel signal on the worker's death. They find each other through a file in
the run's scratch folder and exchange data over the loopback interface only.
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
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from torch._C._distributed_c10d import FileStore
from torch.distributed import distributed_c10d

from lora_studio.core.messages import Text, text
from lora_studio.core.network.connections import note_contact, require_allowed
from lora_studio.core.network.purposes import Purpose
from lora_studio.core.problems import OWN_JSON, Problem, ProblemError, Where, error
from lora_studio.core.project.project import Project
from lora_studio.core.protocol import events
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.system.foreign_files import read_bytes
from lora_studio.core.system.memory_limits import KillCounter
from lora_studio.core.system.programs import get_empty_folder
from lora_studio.engine.devices import devices
from lora_studio.engine.devices.ranks import ProcessGroup, Sharding
from lora_studio.engine.runtime.channel import JobContext
from lora_studio.engine.runtime.failures import CancelledError
from lora_studio.engine.runtime.torch_settings import count_cores

#: How long ranks wait for each other. It is long because one may write a checkpoint while the others are
#: idle; a rank that dies is detected at once by other means.
TIMEOUT = timedelta(days=1)

#: Seconds between two checks of the other processes.
_POLL_INTERVAL = 0.1

#: Seconds that rank 0 has to notice another rank's death before its process is killed: a GPU would
#: wait forever for the lost rank.
_GRACE_PERIOD = 5.0

#: Seconds that ranks have to end their group together.
_LEAVE_PERIOD = 30.0

#: Seconds between two reads of the out-of-memory kill counters.
_KILL_COUNT_INTERVAL = 10.0

#: In the names of GPUs that have no access to each other's memory, whatever their driver says.
_WITHOUT_PEER_ACCESS = "GeForce RTX 40"

#: Exit status of a rank that failed because it lost another one, which has the actual cause.
EXIT_PEER_LOST = 70


@dataclass(frozen=True)
class Rendezvous:
    """Everything that a process needs to join a run as one of its ranks.

    `partners` are the GPUs of all ranks, by index.
    """

    run: str
    folder: str
    rank: int
    world_size: int
    device: str
    resume: bool = False
    partners: Sequence[int] = ()

    @property
    def store(self) -> str:
        """Return the file through which the ranks find each other."""
        return str(Path(self.folder) / "rendezvous")

    @property
    def ready_file(self) -> Path:
        """Return the file that exists once this rank has loaded everything."""
        return Path(self.folder) / f"ready-{self.rank}"

    @property
    def problem_file(self) -> Path:
        """Return the file in which this rank says why it failed."""
        return Path(self.folder) / f"problem-{self.rank}.json"

    def join(self) -> None:
        """Connect this process with the other ranks; blocks until all have joined."""
        _bind_to_loopback()
        note_contact("127.0.0.1", None, Purpose.RANKS)
        dist.init_process_group(
            choose_transport(self.device),
            store=FileStore(self.store, self.world_size),
            rank=self.rank,
            world_size=self.world_size,
            timeout=TIMEOUT,
        )

    def connect_process_group(self, sharding: Sharding) -> ProcessGroup:
        """Return this process as a rank that rank 0 started, with its decision about the weights."""

        def connect(_: Sharding) -> None:
            self.ready_file.touch()
            self.join()

        devices.set_partner_gpus(self.partners)
        return ProcessGroup(self.rank, self.world_size, connect, self.device, sharding)


def join_launched_ranks(run: RunFolder, rank: int, world_size: int) -> ProcessGroup:
    """Return this process as one that `accelerate launch` started, perhaps on several nodes.

    The rendezvous comes from the environment. Ranks other than 0 wait here until rank 0 has loaded
    everything, so that downloads and tokenization happen once.
    """
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    is_cpu = run.load_project().model.devices[0] == "cpu" or not torch.cuda.is_available()
    device = "cpu" if is_cpu else f"cuda:{local_rank}"
    if world_size == 1:
        return ProcessGroup(device=device)
    if address := os.environ.get("MASTER_ADDR"):  # contacted by native code
        require_allowed(address)
        port = os.environ.get("MASTER_PORT", "")
        note_contact(address, int(port) if port.isdecimal() else None, Purpose.RANKS)
    dist.init_process_group(choose_transport(device), timeout=TIMEOUT)
    ranks = ProcessGroup(rank, world_size, device=device)
    # GPUs of several nodes; a rank that has bfloat16 itself follows one that hasn't.
    lacks_bfloat16 = not is_cpu and not devices.has_bfloat16(torch.device(device))
    devices.avoid_bfloat16(ranks.is_true_on_any(lacks_bfloat16))

    def connect(sharding: Sharding) -> None:
        if ranks.is_first:
            ranks.broadcast(sharding)
        ranks.barrier()

    if not ranks.is_first:
        ranks.sharding = ranks.broadcast(ranks.sharding)
    ranks.connect = connect
    return ranks


def choose_transport(device: str) -> str:
    """Return the backend that carries tensors: NCCL for those on GPUs, gloo for the rest."""
    if not device.startswith("cuda"):
        return "gloo"
    torch.cuda.set_device(device)
    if not dist.is_nccl_available():
        # As on Windows. gloo copies through main memory, which only gradients of adapters cross.
        return "gloo"
    _avoid_missing_peer_access()
    return "cpu:gloo,cuda:nccl"


def _avoid_missing_peer_access() -> None:
    """Let NCCL copy through main memory where a GPU can't read another one's.

    WORKAROUND: GeForce cards of the RTX 40 series can't, but drivers before 550.40.07 report that they can, and
    NCCL waits forever (NVIDIA/nccl-tests#117). All GPUs count, because all ranks have to copy in the same way.
    """
    names = [torch.cuda.get_device_properties(i).name for i in range(torch.cuda.device_count())]
    if any(_WITHOUT_PEER_ACCESS in name for name in names):
        os.environ.setdefault("NCCL_P2P_DISABLE", "1")


def _bind_to_loopback() -> None:
    """Make gloo and NCCL listen on the loopback interface only."""
    name = {"linux": "lo", "darwin": "lo0"}.get(sys.platform)
    if name is not None:
        os.environ["GLOO_SOCKET_IFNAME"] = os.environ["NCCL_SOCKET_IFNAME"] = name


@contextmanager
def launch_ranks(
    run: RunFolder, project: Project, job: JobContext, scratch: Path, *, resume: bool
) -> Iterator[ProcessGroup]:
    """Start one rank for each device of the project, and yield this process as rank 0.

    The other ranks end with the block. Raises ProblemError that names the rank when one fails, and
    for a device that this computer doesn't have.
    """
    names = project.model.devices
    if len(names) == 1:
        yield ProcessGroup()
        return
    chosen = [devices.choose_device(name) for name in names]
    devices.set_partner_gpus(each.index or 0 for each in chosen if each.type == "cuda")
    pool = RankPool(run, names, job, scratch, resume=resume)
    threads = torch.get_num_threads()
    try:
        if names[0] == "cpu":
            torch.set_num_threads(_count_threads_per_process(len(names)))
        yield ProcessGroup(0, len(names), pool.connect)
        pool.finish()
    except (ProblemError, CancelledError):
        raise
    except Exception as error:
        # From here the death of another rank looks like a broken connection.
        if (problem := pool.wait_for_failure(within=_GRACE_PERIOD)) is not None:
            raise ProblemError([problem]) from error
        raise
    finally:
        pool.terminate()
        torch.set_num_threads(threads)


class RankPool:
    """The processes of all ranks but rank 0, as rank 0 sees them."""

    def __init__(
        self,
        run: RunFolder,
        names: tuple[str, ...],
        job: JobContext,
        scratch: Path,
        *,
        resume: bool,
    ) -> None:
        """Start a process for each device in `names` but the first; they import and wait for `connect`."""
        self._job = job
        self._ended = threading.Event()
        partners = devices.get_partner_gpus()
        self._rendezvous = [
            Rendezvous(str(run.path), str(scratch), rank, len(names), name, resume, partners)
            for rank, name in enumerate(names)
        ]
        self._processes: list[subprocess.Popen[bytes]] = []
        self._kill_counters: dict[int, KillCounter] = {}  # by process id
        try:
            for rendezvous in self._rendezvous[1:]:
                process = start_rank(rendezvous)
                self._processes.append(process)
                self._kill_counters[process.pid] = KillCounter(process.pid)
        except OSError:
            self.terminate()
            raise

    def connect(self, sharding: Sharding) -> None:
        """Let the other ranks load what rank 0 has loaded, and join them when they are ready."""
        for process in self._processes:
            assert process.stdin is not None
            with contextlib.suppress(OSError):
                process.stdin.write(f"{sharding}\n".encode())
                process.stdin.flush()
        others = self._rendezvous[1:]
        while not_ready := [other for other in others if not other.ready_file.exists()]:
            done = len(others) - len(not_ready)
            self._job.report_progress(
                text("starting the other processes"), done, len(others), "processes"
            )
            if (problem := self.wait_for_failure()) is not None:
                raise ProblemError([problem])
            time.sleep(_POLL_INTERVAL)
        threading.Thread(target=self._watch, name="ranks", daemon=True).start()
        self._rendezvous[0].join()

    def wait_for_failure(self, within: float = 0.0) -> Problem | None:
        """Return why one of the processes failed, waiting up to `within` seconds for a failure.

        Exit status 0 isn't a failure.
        """
        deadline = time.monotonic() + within
        while True:
            failed = [
                (status, rendezvous, process.pid)
                for rendezvous, process in zip(self._rendezvous[1:], self._processes, strict=True)
                if (status := process.poll())
            ]
            causes = [entry for entry in failed if entry[0] != EXIT_PEER_LOST] or failed
            if causes:
                status, rendezvous, pid = causes[0]
                is_killed = status == -getattr(signal, "SIGKILL", 9)
                if is_killed and self._kill_counters[pid].has_risen():
                    return _killed_for_memory_problem(rendezvous)
                return _read_failure(rendezvous, status)
            if time.monotonic() >= deadline:
                return None
            time.sleep(_POLL_INTERVAL)

    def finish(self) -> None:
        """End the group on all ranks at the same time, after the last exchange."""
        self._ended.set()
        leave_group()

    def terminate(self) -> None:
        """Kill the processes, whatever they are doing: rank 0 has everything worth keeping."""
        self._ended.set()
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.wait()
            if process.stdin is not None:
                with contextlib.suppress(OSError):
                    process.stdin.close()
        abort_group()

    def _watch(self) -> None:
        """End this process if another rank has died and the training loop doesn't notice."""
        counted_at = time.monotonic()
        while not self._ended.wait(_POLL_INTERVAL):
            if time.monotonic() - counted_at > _KILL_COUNT_INTERVAL:
                counted_at = time.monotonic()
                for counter in self._kill_counters.values():
                    counter.update()
            if (problem := self.wait_for_failure()) is None or self._ended.wait(_GRACE_PERIOD):
                continue
            self._job.emit(events.Failed(problem=problem))
            for process in self._processes:
                process.kill()
            self._job.channel.drain()
            os._exit(1)


@contextmanager
def leave_at_end(ranks: ProcessGroup) -> Iterator[ProcessGroup]:
    """Yield a rank that others started, and leave the group with them; after an error the process ends anyway."""
    yield ranks
    leave_group()


def leave_group() -> None:
    """Leave the process group; every rank has to call it.

    NCCL ends its communicators together, so it would wait forever for a rank that is gone. After a
    grace period this returns nevertheless: nothing is lost, since the process is about to end.
    """
    if dist.is_initialized():
        leaving = threading.Thread(target=dist.destroy_process_group, daemon=True)
        leaving.start()
        leaving.join(_LEAVE_PERIOD)


def abort_group() -> None:
    """Leave the process group without the other ranks, after a failure."""
    if not dist.is_initialized():
        return
    if "nccl" in str(dist.get_backend_config()).lower():
        distributed_c10d._abort_process_group()
    else:
        dist.destroy_process_group()


def is_peer_lost(error: BaseException) -> bool:
    """Return whether an exception means that the connection to another rank broke."""
    return isinstance(error, dist.DistError) or (
        isinstance(error, RuntimeError) and "gloo" in str(error).lower()
    )


def start_rank(rendezvous: Rendezvous) -> subprocess.Popen[bytes]:
    environment = os.environ | {"PYTHONUTF8": "1", "TOKENIZERS_PARALLELISM": "false"}
    if rendezvous.device == "cpu":
        environment["OMP_NUM_THREADS"] = str(_count_threads_per_process(rendezvous.world_size))
    arguments = json.dumps(vars(rendezvous))
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "lora_studio.engine.worker_rank", arguments],
        stdin=subprocess.PIPE,
        stdout=2,  # the run's log
        cwd=get_empty_folder(),
        env=environment,
        creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
    )


def _count_threads_per_process(processes: int) -> int:
    """Return how many threads each process gets, so that together they match the number of cores."""
    return max(1, count_cores() // processes)


def _killed_for_memory_problem(rendezvous: Rendezvous) -> Problem:
    """Return the problem of a rank killed for memory; `client/oom_supervisor.py` restarts with less."""
    return error(
        "worker.out_of_memory",
        "{process} ran out of memory and was killed by the system.",
        "Checkpoints are intact. Resume with a smaller micro-batch, shorter rows, or fewer "
        "processes.",
        where=Where(step="model", field="device"),
        process=_describe(rendezvous),
    )


def _describe(rendezvous: Rendezvous) -> Text:
    return text(
        "The process on {device} ({number} of {count})",
        device=rendezvous.device,
        number=rendezvous.rank + 1,
        count=rendezvous.world_size,
    )


def _read_failure(rendezvous: Rendezvous, status: int) -> Problem:
    """Return what a rank that ended left behind, with the rank named."""
    process = _describe(rendezvous)
    try:
        problem = Problem.model_validate_json(read_bytes(rendezvous.problem_file), context=OWN_JSON)
    except (OSError, ValueError):
        return error(
            "training.rank_died",
            "{process} was killed by signal {number:d}. Training can't continue without it."
            if status < 0
            else "{process} exited with status {number:d}. Training can't continue without it.",
            "Details are in the run's log. You can resume from the last checkpoint, even with fewer devices.",
            where=Where(step="model", field="device"),
            process=process,
            number=abs(status),
        )
    what = text("{process} stopped with an error: {reason}", process=process, reason=problem.what)
    return problem.model_copy(update={"what": what})
