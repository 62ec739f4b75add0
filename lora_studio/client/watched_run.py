"""Follow a run that another process is working on, through the files in its folder."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

from lora_studio.client.worker import (
    Command,
    call_later,
    crash_problem,
    out_of_memory_problem,
    parse_events,
)
from lora_studio.core import limits
from lora_studio.core.messages import text
from lora_studio.core.problems import Problem, ProblemError, Where, error, fail
from lora_studio.core.protocol import commands, events
from lora_studio.core.protocol.events import Event
from lora_studio.core.runs.facts import expect_checkpoints, lost_steps_warning
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.runs.state import RunState
from lora_studio.core.system.files import describe_os_error
from lora_studio.core.system.foreign_files import iter_lines, open_own, open_regular
from lora_studio.setup.tools import kill_tree

#: Seconds between two reads of the events file.
WATCH_INTERVAL = 0.2


class WatchedRun:
    """A run whose worker was started by an earlier window or another program."""

    def __init__(
        self,
        run: RunFolder,
        *,
        history: int = 0,
        on_history_read: Callable[[], None] = lambda: None,
    ) -> None:
        """Follow `run`; its events are read from the beginning.

        `on_history_read` is called once those in the first `history` bytes of its file have been yielded.
        """
        self._run = run
        self._history, self._on_history_read = history, on_history_read
        self._is_history_read = False
        self._detached = threading.Event()

    @property
    def pid(self) -> int | None:
        """Process ID of the worker; None after it has ended."""
        return self._run.worker_pid()

    def send(self, command: Command) -> None:
        """Append a control command to the run's mailbox; raises ProblemError if that fails."""
        try:
            with open_own(self._run.mailbox_file, "ab") as file:
                file.write(events.to_line(command).encode() + b"\n")
        except OSError as error:
            raise fail(
                "run.mailbox",
                "The command couldn't be sent to the run: {reason}.",
                "Check that the run's folder is writable.",
                where=Where(file=str(self._run.mailbox_file)),
                reason=describe_os_error(error),
            ) from error

    def iter_events(self) -> Iterator[Event]:
        """Yield all events of the run so far, then new ones until no worker is running.

        A worker that its guard is about to restart counts as running.
        """
        state = RunState()
        try:
            for event in self._tail():
                state.on_event(event)
                yield event
        except ProblemError as error:
            self._leave_history()
            yield events.Failed(id=state.command, problem=error.problems[0])
            return
        if self._detached.is_set():
            return
        if not self._run.path.is_dir():
            if state.command:
                yield events.Failed(id=state.command, problem=_moved_problem(self._run))
            return
        expect_checkpoints(state.lost, self._run)
        if (warning := lost_steps_warning(self._run, state.lost)) is not None:
            yield events.Warned(problem=warning)
        if state.command:
            problem = (
                out_of_memory_problem(self._run)
                if self._run.has_run_out_of_memory()
                else crash_problem(text("The worker stopped unexpectedly."), self._run)
            )
            yield events.Failed(id=state.command, problem=problem)

    def cancel(self, target: str) -> None:
        """Ask the worker to cancel a command, and kill it if it doesn't respond."""
        pid = self.pid
        self.send(commands.Cancel(target=target))
        if pid is not None:
            call_later(limits.CANCEL_SECONDS, lambda: kill_tree(pid) if self.pid == pid else None)

    def close(self) -> None:
        """Do nothing: the worker belongs to another process."""

    def kill(self) -> None:
        """Kill the worker and all processes it started."""
        if (pid := self.pid) is not None:
            kill_tree(pid)

    def detach(self) -> None:
        """Stop following the run; its worker continues."""
        self._detached.set()

    def _tail(self) -> Iterator[Event]:
        position = 0
        while True:
            # Checked before reading, so that the last events of a worker that ends now are read.
            running = self._run.is_running() or self._run.is_guarded()
            try:
                with open_regular(self._run.events_file) as file:
                    file.seek(position)
                    for line, size in iter_lines(file):
                        if self._detached.is_set():
                            return
                        position += size
                        if position > self._history:
                            self._leave_history()
                        yield from parse_events([line])
            except FileNotFoundError:
                pass
            except OSError as error:
                raise _unreadable_error(self._run, error) from error
            self._leave_history()  # whatever follows is new, even in a shorter file
            if not running or self._detached.wait(WATCH_INTERVAL):
                return

    def _leave_history(self) -> None:
        if not self._is_history_read:
            self._is_history_read = True
            self._on_history_read()


def _unreadable_error(run: RunFolder, reason: OSError) -> ProblemError:
    return fail(
        "run.events_unreadable",
        "The metrics of {run} can't be read: {reason}.",
        "Check the file named here. A job of this run that is still running continues.",
        run=run.path.name,
        reason=describe_os_error(reason),
        where=Where(file=str(run.events_file)),
    )


def _moved_problem(run: RunFolder) -> Problem:
    return error(
        "run.moved",
        "The run folder {path} was moved or deleted.",
        "If you moved it, its job continues at the new location. Open the run there.",
        path=str(run.path),
        where=Where(file=str(run.path)),
    )
