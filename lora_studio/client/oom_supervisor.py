"""Restart a training worker that the system killed for lack of memory.

While the window is open, it supervises its worker (`RestartingWorker`). After the window is closed
or killed, a guard takes over: a small process that waits for the worker to end and restarts it if
needed (`guard_run`). The worker starts the guard when its pipe to the parent closes, and so does
any process that finds a training run without a supervisor (`start_guard`). The lock `guard_file`
ensures that there is only one supervisor.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Iterator

from lora_studio.client import worker as client_worker
from lora_studio.client.worker import (
    Command,
    Worker,
    find_last_open_command,
    find_unfinished_command,
)
from lora_studio.core.messages import text
from lora_studio.core.problems import Problem, ProblemError
from lora_studio.core.protocol import commands
from lora_studio.core.protocol.events import Ending, Event, Failed, TrainingStarted, Warned
from lora_studio.core.runs import guard as run_guard
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.system.locks import FileLock
from lora_studio.setup.tools import build_child_environment, is_frozen

#: The command-line verb that runs `guard_run`.
GUARD_VERB = "guard"

#: Seconds between a guard's checks of whether the worker is still running.
_INTERVAL = 1.0

#: Seconds to wait for the supervisor lock, in a parent and in a guard. A process that only checks
#: the lock also holds it for a moment.
_LOCK_TIMEOUT, _GUARD_LOCK_TIMEOUT = 0.3, 5.0

#: Restarts before giving up. Five are enough to stop filling micro-batches of 16 rows and to go to one row.
MAX_RESTARTS = 6


class RestartingWorker:
    """A `Link` whose worker is replaced after an out-of-memory kill. Commands keep their IDs.

    The next worker resumes from the last checkpoint with a lower memory setting (`Train.lower`) and
    receives the user's stop and pause requests again.
    """

    def __init__(self, run: RunFolder, worker: Worker) -> None:
        """Supervise `worker`; use `start` to create both."""
        self._run, self._worker = run, worker
        self._lock = threading.RLock()  # reentrant: a signal handler may call `send` at any time
        self._train: commands.Train | None = None
        self._requests: list[commands.Stop | commands.Pause] = []
        self._guard_lock = FileLock(run.guard_file)
        self._restarts = 0
        self._is_stopped = False

    @classmethod
    def start(cls, run: RunFolder) -> RestartingWorker:
        """Start the first worker; raises ProblemError if no engine is installed."""
        return cls(run, _start_worker(run))

    @property
    def pid(self) -> int:
        """Process ID of the current worker."""
        return self._worker.pid

    def send(self, command: Command) -> None:
        """Send a command. If the worker has ended, `iter_events` reports it; nothing is raised."""
        with self._lock:
            if isinstance(command, commands.Train):
                self._train, self._requests = command, []
                with contextlib.suppress(OSError):
                    self._guard_lock.acquire({"pid": os.getpid()}, _LOCK_TIMEOUT)
            elif isinstance(command, commands.Stop | commands.Pause):
                self._requests.append(command)
            self._worker.send(command)

    def iter_events(self) -> Iterator[Event]:
        """Yield the events of all workers in turn; ends with the last one."""
        while True:
            is_replaced = is_training = False
            for event in self._worker.iter_events():
                is_training = is_training or isinstance(event, TrainingStarted)
                if is_training and isinstance(event, Failed) and self._replace(event):
                    yield Warned(id=event.id, problem=self._as_warning(event.problem))
                    is_replaced = True
                    break
                if isinstance(event, Ending):
                    self._on_ending(event.id)
                yield event
            if not is_replaced:
                return

    def cancel(self, target: str) -> None:
        """Cancel a command; the worker isn't restarted."""
        with self._lock:
            self._is_stopped = True
        self._worker.cancel(target)

    def close(self) -> None:
        """Tell the worker that no more commands follow."""
        self._worker.close()

    def kill(self) -> None:
        """Kill the worker and all processes it started; it isn't restarted."""
        with self._lock:
            self._is_stopped = True
        self._worker.kill()

    def detach(self) -> None:
        """Let the worker continue on its own; it starts a guard for a training run."""
        with self._lock:
            self._is_stopped = True
            self._guard_lock.release()
        self._worker.detach()

    def _on_ending(self, command: str) -> None:
        with self._lock:
            if self._train is not None and self._train.id == command:
                self._train = None
                self._guard_lock.release()

    def _replace(self, event: Failed) -> bool:
        """Start the next worker if this one was killed for lack of memory, and return whether it was."""
        with self._lock:
            train = self._train
            if (
                event.problem.code != "worker.out_of_memory"
                or train is None
                or train.id != event.id
                or self._is_stopped
                or self._restarts >= MAX_RESTARTS
            ):
                return False
            # A worker that is still running reported the problem itself and still holds GPU memory.
            self._worker.close()
            self._worker.kill()
            try:
                self._worker = _start_worker(self._run)
            except ProblemError:
                return False
            self._restarts += 1
            self._worker.send(train.model_copy(update={"resume": True, "lower": True}))
            for request in self._requests:
                self._worker.send(request)
            return True

    def _as_warning(self, problem: Problem) -> Problem:
        steps = self._run.list_checkpoint_steps()
        values = {"attempt": self._restarts, "attempts": MAX_RESTARTS}
        if steps:
            remedy = text(
                "Training restarts from the checkpoint at step {step} with a lower memory setting "
                "(attempt {attempt} of {attempts}).",
                step=steps[-1],
                **values,
            )
        else:
            remedy = text(
                "Training restarts from the beginning with a lower memory setting "
                "(attempt {attempt} of {attempts}).",
                **values,
            )
        return problem.model_copy(update={"remedy": remedy, "severity": "warning"})


def start_guard(run: RunFolder) -> None:
    """Start a guard for a training run that is in progress without a supervisor."""
    if not run.is_guarded() and find_unfinished_command(run, "train") is not None:
        with contextlib.suppress(OSError, ProblemError):
            _build_guard().start(run)


def guard_run(run: RunFolder) -> None:
    """Wait for a training worker to end, and restart it if it was killed for lack of memory."""
    lock = FileLock(run.guard_file)
    command = find_last_open_command(run, "train")
    if command is None or not lock.acquire({"pid": os.getpid()}, _GUARD_LOCK_TIMEOUT):
        return
    try:
        while run.is_running():
            time.sleep(_INTERVAL)
        if run.has_run_out_of_memory():
            train = commands.Train(id=command, run=str(run.path), resume=True, lower=True)
            for _ in client_worker.perform(train, start=RestartingWorker.start):
                pass  # the worker records its events in the run folder
    finally:
        lock.release()


def _start_worker(run: RunFolder) -> Worker:
    """Start a worker that knows how to start a guard for its training run."""
    return Worker.start(run, {run_guard.VARIABLE: _build_guard().to_text()})


def _build_guard() -> run_guard.Guard:
    """Return a `Guard` that any process can start, with the environment of this one."""
    program = [sys.executable] if is_frozen() else [sys.executable, "-P", "-m", "lora_studio"]
    environment = build_child_environment()
    changed = {run_guard.VARIABLE, *client_worker.get_launch_settings()[1]}
    return run_guard.Guard(
        (*program, GUARD_VERB), {name: environment.get(name) for name in changed}
    )
