"""A real worker that answers questions about data, with its times, memory, and reaction to a cancel.

Memory is the peak of the process tree, sampled every 50 ms, without memory shared with other processes
(USS), so that the page cache doesn't count. Other programs slow the clock down but hardly change the
seconds of the processor, so both are measured.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import psutil

from lora_studio.client.worker import Worker
from lora_studio.core.protocol import commands, events


class Usage:
    """Peak memory and processor time of a process and its children; `alone` is without children."""

    def __init__(self, pid: int) -> None:
        """Start without a measurement."""
        self._process = psutil.Process(pid)
        self.tree = self.alone = 0
        self._processor: dict[int, float] = {}

    @property
    def processor(self) -> float:
        """Seconds of the processor that all processes have used, also those that have ended."""
        return sum(self._processor.values())

    def look(self) -> int:
        """Return the bytes of the whole process tree now."""
        sizes = []
        for process in (self._process, *self._process.children(recursive=True)):
            try:
                sizes.append(process.memory_full_info().uss)
                times = process.cpu_times()
                self._processor[process.pid] = times.user + times.system
            except psutil.Error:
                sizes.append(0)  # the process has just ended
        self.alone, self.tree = max(self.alone, sizes[0]), max(self.tree, sum(sizes))
        return sum(sizes)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Measure every 50 ms until the block ends."""
        ended = threading.Event()

        def watch() -> None:
            while not ended.wait(0.05) and self._process.is_running():
                try:
                    self.look()
                except psutil.Error:
                    return

        thread = threading.Thread(target=watch)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
            with suppress(psutil.Error):
                self.look()


@dataclass(frozen=True)
class CancelTime:
    """Seconds from a cancel to its answer, and whether the worker itself gave it or had to be killed."""

    seconds: float
    survived: bool

    def __str__(self) -> str:
        """Return both as text."""
        return f"{self.seconds:.2f} s" + ("" if self.survived else ", the worker was killed")


class ReadingWorker:
    """A worker for one question after the other; close it when done."""

    def __init__(self) -> None:
        """Start the worker and wait until it is ready."""
        self._worker = Worker.start()
        self._events = self._worker.iter_events()
        next(event for event in self._events if isinstance(event, events.Hello))
        self.usage = Usage(self._worker.pid)
        self.idle = self.usage.look()

    def iter_answer(self, question: commands.Question) -> Iterator[events.Event]:
        """Yield the events of one question up to its ending."""
        self._worker.send(question)
        for event in self._events:
            yield event
            if isinstance(event, events.Ending) and event.id == question.id:
                return

    def cancel_at(
        self, question: commands.Question, stage: str = "", share: float = 0, after: float = 0
    ) -> CancelTime | None:
        """Cancel a question once `share` of a stage is done, or after some seconds without a stage.

        Return None if it ends before.
        """
        sent: list[float] = []

        def cancel() -> None:
            sent.append(time.perf_counter())
            self._worker.cancel(question.id)

        timer = threading.Timer(after, cancel)
        if not stage:
            timer.start()
        for event in self.iter_answer(question):
            if (
                not sent
                and isinstance(event, events.Progress)
                and str(event.stage) == stage
                and event.done >= share * (event.total or 0)
            ):
                cancel()
            if isinstance(event, events.Cancelled):
                seconds = time.perf_counter() - sent[0]
                time.sleep(0.1)  # a killed worker ends within that time
                return CancelTime(seconds, psutil.pid_exists(self._worker.pid))
        timer.cancel()
        return None

    def describe_memory(self) -> str:
        """Return the peak above idle as text."""
        alone, tree = self.usage.alone - self.idle, self.usage.tree - self.idle
        return f"{alone / 1e6:,.0f} MB over idle, {tree / 1e6:,.0f} MB with processes that help"

    def close(self) -> None:
        """Let the worker end."""
        self._worker.close()
        for _ in self._events:
            continue
