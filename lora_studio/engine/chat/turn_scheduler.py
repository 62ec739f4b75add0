"""Who of several columns goes on next, for how long, and what is told of an answer that grows."""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from lora_studio.core.protocol import events
from lora_studio.engine.chat.streams import AnswerStream, TimedStream
from lora_studio.engine.runtime.channel import JobContext
from lora_studio.engine.runtime.failures import CancelledError, problem_from

#: Seconds between two tellings of a growing answer: as often as an eye sees it grow.
TELL_EVERY = 0.05
#: Seconds that one column computes before it is another's turn: a switch of adapters takes a moment.
_TURN = 0.1


def next_of_each_lane(active: dict[int, TimedStream]) -> list[int]:
    """The columns whose turn it is: of those that share a lane only the first."""
    taken: set[str] = set()
    chosen = []
    for column, each in active.items():
        if not each.stream.lane or each.stream.lane not in taken:
            chosen.append(column)
            taken.add(each.stream.lane)
    return chosen


def advance(
    column: int, active: dict[int, TimedStream], told: tuple[str, float], job: JobContext
) -> tuple[str, float]:
    """Lets one answer go on for a moment and tells what is new; the text told and when."""
    clocked, until = active[column], time.perf_counter() + _TURN
    goes_on = clocked.step(job.check)
    while goes_on and (len(active) == 1 or time.perf_counter() < until):
        if time.perf_counter() - told[1] >= TELL_EVERY:
            told = tell(column, clocked.stream, told[0], job)
        goes_on = clocked.step(job.check)
    if goes_on:
        return tell(column, clocked.stream, told[0], job)
    job.emit(answered(column, clocked))
    clocked.stream.close()
    del active[column]
    return told


def tell(column: int, stream: AnswerStream, before: str, job: JobContext) -> tuple[str, float]:
    """Tells what is different from what was told `before`; the text as it is now, and when."""
    text = stream.text()
    if text != before:
        start = _common(before, text)
        grew = events.AnswerGrew(column=column, start=start, text=text[start:], tokens=stream.tokens)  # fmt: skip
        job.emit(grew)
    return text, time.perf_counter()


def _common(one: str, other: str) -> int:
    """Characters that two texts begin with together."""
    if other.startswith(one):
        return len(one)
    pairs = zip(one, other, strict=False)
    return next((place for place, (a, b) in enumerate(pairs) if a != b), len(other))


def answered(column: int, clocked: TimedStream) -> events.Answered:
    """An answer that has come to its end."""
    stream = clocked.stream
    return events.Answered(
        column=column,
        text=stream.text(),
        tokens=stream.tokens,
        prompt_tokens=stream.prompt_tokens,
        first_s=clocked.first_s,
        seconds=clocked.seconds,
        ending=stream.ending,
    )


@contextmanager
def refusing(column: int, streams: dict[int, TimedStream], job: JobContext) -> Iterator[None]:
    """A column that cannot answer says so and leaves the others alone."""
    try:
        yield
    except CancelledError:
        raise
    except Exception as error:
        if (stream := streams.pop(column, None)) is not None:
            stream.stream.close()
        traceback.print_exception(error, file=sys.stderr)
        problem = problem_from(error, "answering")
        job.emit(events.AnswerRefused(column=column, problem=problem))
