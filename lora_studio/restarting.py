"""A worker that is replaced when the system ends it for lack of memory in the middle of a training."""

from __future__ import annotations

import threading
from collections.abc import Iterator

from lora_studio.client import Command, Worker
from lora_studio.core import commands
from lora_studio.core.events import Event, Failed, TrainingStarted, Warned
from lora_studio.core.problems import Problem, ProblemError
from lora_studio.core.run_folder import RunFolder

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
        self._attempts = 0
        self._over = False

    @classmethod
    def start(cls, run: RunFolder) -> RestartingWorker:
        """Starts the first worker; raises ProblemError when there is no engine."""
        return cls(run, Worker.start(run))

    @property
    def pid(self) -> int:
        """Process number of the worker at work now."""
        return self._worker.pid

    def send(self, command: Command) -> None:
        """Passes a command on; a worker that has gone does not raise, its events say so."""
        with self._lock:
            if isinstance(command, commands.Train):
                self._train, self._wishes = command, []
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
        """Lets the worker go on alone: nobody replaces it then."""
        with self._lock:
            self._over = True
        self._worker.detach()

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
            try:
                self._worker = Worker.start(self._run)
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
