"""A worker that is replaced when the system ends it for lack of memory in the middle of a training.

While a training has a window, the window does that. One whose window is closed, or killed, gets a guard:
a small process that waits for the worker's end and then does the same (`guard`). The worker starts it when
nobody holds the other end of its pipe any more; so does whoever looks at a training that has neither
(`leave_guard`). The lock `guard_file` says that somebody does.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Iterator

from lora_studio.client import worker as client_worker
from lora_studio.client.worker import Command, Worker
from lora_studio.core.problems import Problem, ProblemError
from lora_studio.core.protocol import commands
from lora_studio.core.protocol.events import Ending, Event, Failed, TrainingStarted, Warned
from lora_studio.core.runs import guard as run_guard
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.system.locks import FileLock
from lora_studio.setup.environment import child_environment, frozen

#: The verb of the command line that is `guard`.
GUARD_VERB = "guard"

#: Seconds between two looks of a guard at whether the worker is still there.
_INTERVAL = 1.0

#: Seconds to try to become the one who guards a run: of whoever has something else to do, and of a
#: process that is there for nothing else. A look at a lock may be in the way for a moment.
_PATIENCE, _LONG_PATIENCE = 0.3, 5.0

#: Workers that may take the place of one: from 16 rows at a time down to one it takes four.
ATTEMPTS = 6


class RestartingWorker:
    """A `client.Link`; the command keeps its id, so that nobody has to know of the replacement.

    The next worker goes on from the last checkpoint with less memory (`Train.lower`), and hears
    again what the user had wished for.
    """

    def __init__(self, run: RunFolder, worker: Worker) -> None:
        """Use `start`."""
        self._run, self._worker = run, worker
        self._lock = threading.RLock()  # a signal's handler sends in the middle of anything
        self._train: commands.Train | None = None
        self._wishes: list[commands.Stop | commands.Pause] = []
        self._guarding = FileLock(run.guard_file)
        self._attempts = 0
        self._over = False

    @classmethod
    def start(cls, run: RunFolder) -> RestartingWorker:
        """Starts the first worker; raises ProblemError when there is no engine."""
        return cls(run, _worker(run))

    @property
    def pid(self) -> int:
        """Process number of the worker at work now."""
        return self._worker.pid

    def send(self, command: Command) -> None:
        """Passes a command on; a worker that has gone does not raise, its events say so."""
        with self._lock:
            if isinstance(command, commands.Train):
                self._train, self._wishes = command, []
                with contextlib.suppress(OSError):
                    self._guarding.acquire({"pid": os.getpid()}, _PATIENCE)
            elif isinstance(command, commands.Stop | commands.Pause):
                self._wishes.append(command)
            self._worker.send(command)

    def events(self) -> Iterator[Event]:
        """Blocks for the next event of any of the workers; ends with the last one."""
        while True:
            is_replaced = is_training = False
            for event in self._worker.events():
                is_training = is_training or isinstance(event, TrainingStarted)
                if is_training and isinstance(event, Failed) and self._replace(event):
                    yield Warned(id=event.id, problem=self._said(event.problem))
                    is_replaced = True
                    break
                if isinstance(event, Ending):
                    self._ended(event.id)
                yield event
            if not is_replaced:
                return

    def cancel(self, target: str) -> None:
        """Asks for the end of a command and enforces it; nothing is started any more."""
        with self._lock:
            self._over = True
        self._worker.cancel(target)

    def close(self) -> None:
        """Tells the worker that no more commands come."""
        self._worker.close()

    def kill(self) -> None:
        """Ends the worker and everything it started, at once and for good."""
        with self._lock:
            self._over = True
        self._worker.kill()

    def detach(self) -> None:
        """Lets the worker go on alone; it gives a training a guard."""
        with self._lock:
            self._over = True
            self._guarding.release()
        self._worker.detach()

    def _ended(self, command: str) -> None:
        with self._lock:
            if self._train is not None and self._train.id == command:
                self._train = None
                self._guarding.release()

    def _replace(self, event: Failed) -> bool:
        """Starts the next worker, if there is reason to."""
        with self._lock:
            train = self._train
            if (
                event.problem.code != "worker.out_of_memory"
                or train is None
                or train.id != event.id
                or self._over
                or self._attempts >= ATTEMPTS
            ):
                return False
            # One that lives ended in good order, and still has the memory of its device.
            self._worker.close()
            self._worker.kill()
            try:
                self._worker = _worker(self._run)
            except ProblemError:
                return False
            self._attempts += 1
            self._worker.send(train.model_copy(update={"resume": True, "lower": True}))
            for wish in self._wishes:
                self._worker.send(wish)
            return True

    def _said(self, problem: Problem) -> Problem:
        steps = self._run.checkpoint_steps()
        place = f"the checkpoint at step {steps[-1]}" if steps else "its beginning"
        return problem.model_copy(
            update={
                "remedy": f"Training goes on from {place} with less memory at a time (attempt "
                f"{self._attempts} of {ATTEMPTS}).",
                "severity": "warning",
            }
        )


def leave_guard(run: RunFolder) -> None:
    """Gives a training that is under way a guard, where nobody would start its worker anew."""
    if not run.is_guarded() and client_worker.unfinished_command(run, "train") is not None:
        with contextlib.suppress(OSError, ProblemError):
            _guard().start(run)


def guard(run: RunFolder) -> None:
    """Waits for the end of a training's worker; where it died of memory goes on one rung lower."""
    lock = FileLock(run.guard_file)
    command = client_worker.unended_command(run, "train")
    if command is None or not lock.acquire({"pid": os.getpid()}, _LONG_PATIENCE):
        return
    try:
        while run.is_running():
            time.sleep(_INTERVAL)
        if run.died_of_memory():
            train = commands.Train(id=command, run=str(run.path), resume=True, lower=True)
            for _ in client_worker.perform(train, start=RestartingWorker.start):
                pass  # the worker writes them into the run
    finally:
        lock.release()


def _worker(run: RunFolder) -> Worker:
    """A worker that knows how to leave its training a guard."""
    return Worker.start(run, {run_guard.VARIABLE: _guard().to_text()})


def _guard() -> run_guard.Guard:
    """The guard as this program starts it, from anywhere: with this one's environment."""
    program = [sys.executable] if frozen() else [sys.executable, "-P", "-m", "lora_studio"]
    environment = child_environment()
    changed = {run_guard.VARIABLE, *client_worker.engine_start()[1]}
    return run_guard.Guard(
        (*program, GUARD_VERB), {name: environment.get(name) for name in changed}
    )
