"""The engine under `accelerate launch`: one process per device of every node.

`python -m lora_studio.engine.cluster RUN` trains the run in a folder, or continues from its last
checkpoint. Rank 0 does what a worker does: it holds the run's lock, records events and saves; all
other ranks compute their share. The training loop is the same as everywhere.
"""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from lora_studio.core.messages import NO_TEXT, Text, text
from lora_studio.core.network.secrets import print_exception
from lora_studio.core.problems import ProblemError
from lora_studio.core.project import access_requests
from lora_studio.core.protocol import commands, events
from lora_studio.core.runs import cluster
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.system import consent
from lora_studio.engine import worker
from lora_studio.engine.runtime import memory_guard
from lora_studio.engine.runtime.channel import Channel, Inbox, JobContext
from lora_studio.engine.runtime.torch_settings import set_torch_defaults

#: Exit status of a training that failed.
_FAILED = 1


class TextChannel(Channel):
    """Write the run's events file like a worker's, and readable lines to stdout."""

    ending: events.Ending | None = None

    def _mirror(self, pipe: IO[bytes]) -> None:
        while (line := self._lines.get()) is not None:
            event = events.parse(line)
            if isinstance(event, events.Ending):
                self.ending = event
            if message := describe(event):
                pipe.write(f"{message}\n".encode())


def describe(event: events.Event) -> Text:
    """Return an event as one line, NO_TEXT for events that aren't shown."""
    match event:
        case events.TrainingStarted():
            return text(
                "Training {steps:d} steps, starting at step {step:d}.",
                steps=event.steps,
                step=event.step,
            )
        case events.StepDone() if (reward := event.metrics.get(events.REWARD)) is not None:
            return text(
                "step {step:d} of {steps:d}: mean reward {reward:.4f}, {speed:.0f} tokens/s",
                step=event.step,
                steps=event.steps,
                reward=reward,
                speed=event.tokens_per_s,
            )
        case events.StepDone():
            return text(
                "step {step:d} of {steps:d}: loss {loss:.4f}, {speed:.0f} tokens/s",
                step=event.step,
                steps=event.steps,
                loss=event.loss,
                speed=event.tokens_per_s,
            )
        case events.Evaluated():
            return _describe_evaluation(event)
        case events.CheckpointSaved() | events.AdapterSaved():
            return text("step {step:d}: saved {folder}", step=event.step, folder=event.folder)
        case events.Warned() | events.Failed():
            return text("{what} {remedy}", what=event.problem.what, remedy=event.problem.remedy)
        case events.LogLine():
            return event.text
        case events.Done():
            return text("Paused." if event.paused else "Done.")
        case events.Cancelled():
            return text("Canceled.")
    return NO_TEXT


def _describe_evaluation(event: events.Evaluated) -> Text:
    reward = event.metrics.get(events.REWARD)
    if reward is not None:
        return text("step {step:d}: eval reward {reward:.4f}", step=event.step, reward=reward)
    if event.has_rewards:
        return text("step {step:d}: no completion has a reward", step=event.step)
    return text("step {step:d}: eval loss {loss:.4f}", step=event.step, loss=event.loss)


def main() -> None:
    """Train, and exit with status 0 when training finished or was paused.

    The options `--trust HASH` allow what the run asks for, see its README.md.
    """
    consent.trust_in_this_process(_read_trusted(sys.argv[2:]))
    memory_guard.make_memory_countable()
    set_torch_defaults()
    run = RunFolder(Path(sys.argv[1]).resolve())
    rank, count = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    status = _report(run, count) if rank == 0 else _follow(run, rank, count)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _read_trusted(options: Sequence[str]) -> list[str]:
    """Return the hash after each `--trust`."""
    pairs = itertools.pairwise(options)
    return [digest for name, digest in pairs if name == "--trust"]


def _report(run: RunFolder, count: int) -> int:
    channel = TextChannel()
    inbox = Inbox(lambda command: None)
    worker.call_on_sigterm(inbox.request_shutdown)

    def train(command: commands.Job | commands.Question, job: JobContext) -> events.Ending:
        from lora_studio.engine.training import train_run
        from lora_studio.engine.training.distributed.launch import join_launched_ranks

        if problems := cluster.list_missing_files(run):
            raise ProblemError(problems)
        lower = isinstance(command, commands.Train) and command.lower
        ranks = join_launched_ranks(run, 0, count)
        return train_run.train(run, job, resume=True, lower=lower, ranks=ranks)

    worker.handle(commands.Train(run=str(run.path), resume=True), channel, inbox, train)
    channel.drain()
    return 0 if isinstance(channel.ending, events.Done) else _FAILED


def _follow(run: RunFolder, rank: int, count: int) -> int:
    from lora_studio.engine.training import train_run
    from lora_studio.engine.training.distributed.launch import join_launched_ranks
    from lora_studio.engine.worker_rank import create_silent_job, ignore_signals

    ignore_signals()
    try:
        # Rank 0 checks its own node; consent on this one may differ.
        access_requests.require_run_allowed(run.path, run.load_project())
        run.require_no_links()
        train_run.follow(
            run, join_launched_ranks(run, rank, count), create_silent_job(), resume=True
        )
    except ProblemError as error:
        for problem in error.problems:
            print(f"{problem.what} {problem.remedy}", file=sys.stderr)
        return _FAILED
    except BaseException as error:
        print_exception(error)
        return _FAILED
    return 0


if __name__ == "__main__":
    main()
