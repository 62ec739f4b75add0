"""Schedule several chat columns: whose turn it is, for how long, and which text is sent."""

from __future__ import annotations

import time
from collections.abc import Callable

from lora_studio.core.network.secrets import print_exception
from lora_studio.core.protocol import commands, events
from lora_studio.engine.chat.streams import AnswerStream, TimedStream
from lora_studio.engine.model.loading import release_gpu
from lora_studio.engine.runtime.channel import JobContext
from lora_studio.engine.runtime.failures import (
    CancelledError,
    is_device_lost,
    is_out_of_memory,
    to_problem,
)

#: Seconds between two updates of a growing answer; more frequent ones wouldn't look smoother.
UPDATE_INTERVAL = 0.05
#: Seconds that one column computes before the next: switching adapters has a cost.
_TURN = 0.1


def select_next_columns(active: dict[int, TimedStream]) -> list[int]:
    """Return the columns whose turn it is; if several share a lane, only the first of them."""
    busy_lanes: set[str] = set()
    chosen = []
    for column, timed_stream in active.items():
        if not timed_stream.stream.lane or timed_stream.stream.lane not in busy_lanes:
            chosen.append(column)
            busy_lanes.add(timed_stream.stream.lane)
    return chosen


def advance(
    column: int,
    active: dict[int, TimedStream],
    updates: dict[int, tuple[str, float]],
    job: JobContext,
) -> None:
    """Advance one answer by a turn and send what is new; `updates` are the text sent last, and when."""
    timed_stream, deadline = active[column], time.perf_counter() + _TURN
    is_growing = timed_stream.step(job.check)
    while is_growing and (len(active) == 1 or time.perf_counter() < deadline):
        text, sent = updates[column]
        if time.perf_counter() - sent >= UPDATE_INTERVAL:
            updates[column] = send_update(column, timed_stream.stream, text, job)
        is_growing = timed_stream.step(job.check)
    if is_growing:
        updates[column] = send_update(column, timed_stream.stream, updates[column][0], job)
        return
    job.emit(create_answered_event(column, timed_stream))
    timed_stream.stream.close()
    del active[column]


def send_update(
    column: int, stream: AnswerStream, before: str, job: JobContext
) -> tuple[str, float]:
    """Send what differs from the text `before`; return the current text and the time."""
    text = stream.get_text()
    if text != before:
        start = _count_common_prefix(before, text)
        grew = events.AnswerGrew(column=column, start=start, text=text[start:], tokens=stream.tokens)  # fmt: skip
        job.emit(grew)
    return text, time.perf_counter()


def _count_common_prefix(one: str, other: str) -> int:
    """Return how many leading characters two texts share."""
    if other.startswith(one):
        return len(one)
    pairs = zip(one, other, strict=False)
    return next((position for position, (a, b) in enumerate(pairs) if a != b), len(other))


def create_answered_event(column: int, clocked: TimedStream) -> events.Answered:
    """Return the event for a finished answer."""
    stream = clocked.stream
    return events.Answered(
        column=column,
        text=stream.get_text(),
        tokens=stream.tokens,
        prompt_tokens=stream.prompt_tokens,
        first_s=clocked.first_s,
        seconds=clocked.seconds,
        ending=stream.ending,
    )


def run_or_refuse_column(
    column: int, streams: dict[int, TimedStream], job: JobContext, action: Callable[[], None]
) -> None:
    """Call `action`, and report its error for this column only; the others continue.

    If the GPU is lost, no column can continue, so the error is raised.
    """
    try:
        action()
        return
    except CancelledError:
        raise
    except (
        Exception
    ) as error:  # its traceback keeps tensors until the block ends, and so do copies of its frame
        if is_device_lost(error):
            raise
        if (stream := streams.pop(column, None)) is not None:
            stream.stream.close()
        print_exception(error)
        problem = to_problem(error, commands.AskChat.title)
        needs_memory = is_out_of_memory(error)
    job.emit(events.AnswerRefused(column=column, problem=problem))
    if needs_memory:
        release_gpu()
