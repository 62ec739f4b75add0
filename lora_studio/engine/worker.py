"""One worker: takes commands one after another and ends each in Done, Failed or Cancelled."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lora_studio import __version__
from lora_studio.core.problems import Where, fail
from lora_studio.core.protocol import commands, events
from lora_studio.core.runs import guard as run_guard
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.system import memory_limits
from lora_studio.core.system.locks import FileLock
from lora_studio.engine import jobs
from lora_studio.engine.runtime.channel import Channel, Inbox, JobContext
from lora_studio.engine.runtime.failures import CancelledError, problem_from

_DOING = {
    "train": "training",
    "merge": "merging",
    "import_adapter": "importing the adapter",
    "import_model": "importing the model",
    "plan_merge": "planning the merge",
    "merge_adapters": "merging",
    "list_adapters": "looking for adapters",
    "show_adapter": "reading the adapter",
    "combine_adapters": "combining adapters",
    "export": "exporting",
    "selftest": "testing",
    "push": "uploading",
    "preview_card": "making the model card",
    "convert": "making GGUF files",
    "estimate_sizes": "estimating sizes",
    "generate": "answering",
    "inspect_model": "looking at the model",
    "list_models": "looking for models",
    "search_models": "searching the hub",
    "download_model": "fetching the model",
    "inspect_account": "asking the hub",
    "sign_in": "signing in",
    "sign_out": "signing out",
    "inspect_dataset": "reading the dataset",
    "read_rows": "reading rows",
    "show_row": "reading a row",
    "measure_dataset": "measuring the dataset",
    "lint_dataset": "checking the dataset",
    "inspect_devices": "looking for devices",
    "inspect_ollama": "asking Ollama",
    "create_ollama": "creating the model in Ollama",
    "show_ollama": "asking Ollama",
    "copy_ollama": "copying the model in Ollama",
    "remove_ollama": "removing the model from Ollama",
    "derive_template": "deriving the template",
    "render_template": "rendering the template",
    "open_chat": "loading the models of the chat",
    "ask_chat": "answering",
    "show_prompt": "reading the prompt",
}

#: Commands that change a run, hold its lock and write its record.
_CHANGING = (
    commands.Train, commands.Merge, commands.Export, commands.ImportAdapter, commands.ImportModel,
    commands.SelfTest, commands.CreateOllama,
)  # fmt: skip

#: Seconds to try to take the lock of a run.
_PATIENCE = 2.0

#: Seconds between two looks at how many processes were ended for lack of memory.
_LOOK_INTERVAL = 10.0


#: Carries out a command and returns how it ended.
RunCommand = Callable[[commands.Job | commands.Question, JobContext], events.Ending]


def main(run_command: RunCommand = jobs.run_command) -> None:
    """Run commands until stdin ends or a shutdown is requested; exits without joining threads."""
    channel = Channel()
    channel.emit(events.Hello(app_version=__version__, pid=os.getpid()))
    waiting: queue.Queue[commands.Job | commands.Question | None] = queue.Queue()
    inbox = Inbox(waiting.put)
    inbox.read_pipe(os.fdopen(os.dup(0), "rb", buffering=0))
    heed_sigterm(inbox.wind_up)
    while (command := waiting.get()) is not None:
        handle(command, channel, inbox, run_command)
    channel.drain()
    sys.stderr.flush()
    os._exit(0)


def heed_sigterm(wind_up: Callable[[], None]) -> None:
    """Lets a polite kill, as at the end of a session, pause a training in place of ending it.

    Python runs handlers between two of its instructions, and a forward pass in C takes seconds: the
    signal's number is written to a socket at once, and a thread of its own acts on it.
    """
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    signal.signal(signal.SIGTERM, lambda *_: None)

    def heed() -> None:
        while numbers := reader.recv(64):
            if signal.SIGTERM in numbers:
                wind_up()

    _KEPT_OPEN.append(writer)
    threading.Thread(target=heed, name="signals", daemon=True).start()


#: The end of the socket that signals are written to, for as long as the process lives.
_KEPT_OPEN: list[socket.socket] = []


def handle(
    command: commands.Job | commands.Question,
    channel: Channel,
    inbox: Inbox,
    run_command: RunCommand = jobs.run_command,
) -> None:
    """Carry out one command from `Started` to its ending event."""
    job = JobContext(command.id, channel, inbox.begin(command))
    try:
        with _recording(command, channel, inbox) as is_after_kill:
            try:
                job.emit(events.Started(command=command.kind))
                job.check()
                if is_after_kill and isinstance(command, commands.Train):
                    command = command.model_copy(update={"lower": command.resume})
                ending = run_command(command, job)
            except BaseException as error:
                ending = _ending(error, command)
            # Still under the run's lock: whoever finds it free also finds how the command ended.
            job.emit(ending)
    except BaseException as error:
        job.emit(_ending(error, command))


def _ending(
    error: BaseException, command: commands.Job | commands.Question
) -> events.Failed | events.Cancelled:
    if isinstance(error, CancelledError):
        return events.Cancelled()
    traceback.print_exception(error, file=sys.stderr)
    return events.Failed(problem=problem_from(error, _DOING[command.kind]))


@contextmanager
def _recording(
    command: commands.Job | commands.Question, channel: Channel, inbox: Inbox
) -> Iterator[bool]:
    """Holds the run's lock and records its events while a job that changes it is at work.

    Tells whether the worker before was ended for lack of memory: nobody may have been there to see it.
    """
    if not isinstance(command, _CHANGING):
        yield False
        return
    run = RunFolder(Path(command.run))
    run.load_project()  # refuses a folder that is no run before anything is written into it
    is_after_kill = run.died_of_memory()
    lock = FileLock(run.lock_file)
    content = {"pid": os.getpid(), "command": command.id, "since": time.time()}
    if not lock.acquire(content, _PATIENCE):
        raise fail(
            "run.busy",
            "Another worker is at work on this run.",
            "Wait until it has ended, or watch it.",
            where=Where(file=str(run.path)),
        )
    channel.open_run(run)
    end_watching = inbox.watch_mailbox(run.mailbox_file)
    end_noting = _note_kills(lock, content)
    is_guarded = isinstance(command, commands.Train)
    end_guarding = inbox.when_alone(lambda: _leave_guard(run) if is_guarded else None)
    try:
        yield is_after_kill
    finally:
        end_guarding()
        end_noting()
        end_watching()
        channel.close_run()
        lock.release()


def _leave_guard(run: RunFolder) -> None:
    """Nobody else would start this worker anew if the system ended it for lack of memory."""
    if (guard := run_guard.named()) is not None:
        try:
            guard.start(run)
        except OSError as error:
            traceback.print_exception(error, file=sys.stderr)


def _note_kills(lock: FileLock, content: dict[str, Any]) -> Callable[[], None]:
    """Keeps in the lock how many processes the system had ended for lack of memory at the look before
    the last: one with gigabytes takes seconds to end, and counts from their beginning. Returns the end
    of that.

    Whoever finds what this worker has left behind can tell then whether it was one of them.
    """
    ended = threading.Event()
    last = memory_limits.tally()
    lock.note(content | {"kills": last})

    def look() -> None:
        nonlocal last
        while not ended.wait(_LOOK_INTERVAL):
            with contextlib.suppress(OSError):
                lock.note(content | {"kills": last})
            last = memory_limits.tally()

    thread = threading.Thread(target=look, name="kills", daemon=True)
    thread.start()

    def end() -> None:
        ended.set()
        thread.join()

    return end
