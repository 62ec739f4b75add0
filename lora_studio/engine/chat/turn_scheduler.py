"""Schedule several chat columns: whose turn it is, for how long, and which text is sent."""

from __future__ import annotations

import time
from collections.abc import Callable

from lora_studio.core.network.secrets import print_exception
from lora_studio.core.protocol import commands, events
from lora_studio.engine.chat.streams import AnswerStream
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


class ColumnAnswer:
    """The unfinished answer of a column: its stream, the seconds spent in it alone, and the text that was sent."""

    def __init__(self, column: int, stream: AnswerStream) -> None:
        """Take a stream that hasn't started."""
        self.column, self.stream = column, stream
        self.seconds = self.first_s = 0.0
        self.sent, self._sent_at = "", 0.0

    def advance(self, job: JobContext, *, is_alone: bool) -> bool:
        """Advance by a turn and send what is new; return False once the answer is complete."""
        deadline = time.perf_counter() + _TURN
        is_growing = self._step(job)
        while is_growing and (is_alone or time.perf_counter() < deadline):
            if time.perf_counter() - self._sent_at >= UPDATE_INTERVAL:
                self.send_update(job)
            is_growing = self._step(job)
        if is_growing:
            self.send_update(job)
        else:
            self.send_whole(job)
        return is_growing

    def send_update(self, job: JobContext) -> None:
        """Send what differs from the text that was sent."""
        before, text = self.sent, self.stream.get_text()
        if text != before:
            start = _count_common_prefix(before, text)
            grew = events.AnswerGrew(column=self.column, start=start, text=text[start:], tokens=self.stream.tokens)  # fmt: skip
            job.emit(grew)
        self.sent, self._sent_at = text, time.perf_counter()

    def send_whole(self, job: JobContext) -> None:
        """Send the answer with its numbers."""
        stream = self.stream
        job.emit(
            events.Answered(
                column=self.column,
                text=stream.get_text(),
                tokens=stream.tokens,
                prompt_tokens=stream.prompt_tokens,
                first_s=self.first_s,
                seconds=self.seconds,
                ending=stream.ending,
            )
        )

    def _step(self, job: JobContext) -> bool:
        began, before = time.perf_counter(), self.stream.tokens
        try:
            return self.stream.step(job.check)
        finally:
            self.seconds += time.perf_counter() - began
            if before == 0 and self.stream.tokens:
                self.first_s = self.seconds


def _count_common_prefix(one: str, other: str) -> int:
    """Return how many leading characters two texts share."""
    if other.startswith(one):
        return len(one)
    pairs = zip(one, other, strict=False)
    return next((position for position, (a, b) in enumerate(pairs) if a != b), len(other))


def select_next_columns(answers: dict[int, ColumnAnswer]) -> list[int]:
    """Return the columns whose turn it is; if several share a lane, only the first of them."""
    busy_lanes: set[str] = set()
    chosen = []
    for column, answer in answers.items():
        if not answer.stream.lane or answer.stream.lane not in busy_lanes:
            chosen.append(column)
            busy_lanes.add(answer.stream.lane)
    return chosen


def advance(column: int, answers: dict[int, ColumnAnswer], job: JobContext) -> None:
    """Advance the answer of a column by a turn; a complete one is closed and removed."""
    if not answers[column].advance(job, is_alone=len(answers) == 1):
        answers.pop(column).stream.close()


def run_or_refuse_column(
    column: int, answers: dict[int, ColumnAnswer], job: JobContext, action: Callable[[], None]
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
        if (answer := answers.pop(column, None)) is not None:
            answer.stream.close()
        print_exception(error)
        problem = to_problem(error, commands.AskChat.title)
        needs_memory = is_out_of_memory(error)
    job.emit(events.AnswerRefused(column=column, problem=problem))
    if needs_memory:
        release_gpu()
