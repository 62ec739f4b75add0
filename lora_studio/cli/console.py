"""Shows the events of a job on a terminal: a progress bar for stages, a line for what matters."""

from __future__ import annotations

import json
import sys
import textwrap
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from lora_studio.core import formatting
from lora_studio.core.messages import READABLE
from lora_studio.core.problems import Problem
from lora_studio.core.protocol import events
from lora_studio.core.protocol.training import COMPONENTS, MemoryEstimate

#: Seconds of a job after which nobody watches any more: the terminal rings at its end, which most of them
#: show in their window's title or as a notification.
LONG = 60.0
#: Seconds between two lines about training steps where no bar can be drawn.
PLAIN_INTERVAL = 5.0


class Display:
    """Prints events for a person, or as JSON lines for a program.

    JSON goes to stdout alone; whatever else there is to say then goes to stderr.
    """

    def __init__(self, *, as_json: bool = False) -> None:
        """With `as_json` every event is one line on stdout."""
        self.as_json = as_json
        self.console = Console(stderr=as_json, highlight=False)
        self._progress = Progress(
            TextColumn("  {task.description}"),
            BarColumn(bar_width=30),
            TextColumn("{task.fields[detail]}"),
            console=self.console,
            transient=True,
        )
        self._task: TaskID | None = None
        self._last_plain = 0.0

    def follow(self, stream: Iterable[events.Event]) -> events.Ending | None:
        """Shows events until the stream ends; the last ending, None when there was none."""
        ending: events.Ending | None = None
        began = time.monotonic()
        for event in self.shown(stream):
            if isinstance(event, events.Ending):
                ending = event
        if time.monotonic() - began >= LONG and self.console.is_terminal:
            self.console.bell()
        return ending

    def shown(self, stream: Iterable[events.Event]) -> Iterator[events.Event]:
        """The same events, each shown before it is passed on."""
        with self._bar():
            for event in stream:
                self.show(event)
                yield event

    def progress(self, stream: Iterable[events.Event]) -> Iterator[events.Event]:
        """The same events, with a bar for stages alone: for verbs that show the answer themselves."""
        with self._bar():
            for event in stream:
                if isinstance(event, events.Progress) and not self.as_json:
                    self.show(event)
                yield event

    @contextmanager
    def _bar(self) -> Iterator[None]:
        """A bar on a terminal, gone in the end."""
        live = not self.as_json and self.console.is_terminal
        if live:
            self._progress.start()
        try:
            yield
        finally:
            self._end_stage()
            if live:
                self._progress.stop()

    def show(self, event: events.Event) -> None:
        """Shows one event."""
        if self.as_json:
            sys.stdout.write(event.model_dump_json(context=READABLE) + "\n")
            sys.stdout.flush()
            return
        match event:
            case events.Progress():
                self._stage(str(event.stage), event.done, event.total, _left(event.eta_s))
            case events.StepDone():
                self._step(event)
            case events.Failed():
                self._end_stage()
                self.problem(event.problem)
            case events.Warned():
                self.problem(event.problem)
            case _ if text := sentence(event):
                self._end_stage()
                self.say(text)

    def say(self, text: str) -> None:
        """Prints a line for the person."""
        self.console.print(f"  {escape(text)}", soft_wrap=True)

    def title(self, text: str) -> None:
        """Prints the heading of a step."""
        self.console.print(f"\n[bold]{escape(text)}[/bold]")

    def problem(self, problem: Problem) -> None:
        """Prints a problem: what, where, what to do."""
        if self.as_json:
            self.console.print(f"{problem}", soft_wrap=True, markup=False)
            return
        colour, word = ("red", "Problem") if problem.severity == "error" else ("yellow", "Note")
        place = f" [dim]({escape(str(problem.where))})[/dim]" if str(problem.where) else ""
        self.console.print(
            f"  [{colour}]{word}:[/{colour}] {escape(str(problem.what))}{place}", soft_wrap=True
        )
        if problem.remedy:
            self.console.print(f"    {escape(str(problem.remedy))}", soft_wrap=True)

    def problems(self, problems: Iterable[Problem]) -> None:
        """Prints every problem; with `--json` as one array on stdout."""
        problems = list(problems)
        if self.as_json:
            print(
                json.dumps(
                    {
                        "problems": [
                            item.model_dump(mode="json", context=READABLE) for item in problems
                        ]
                    }
                )
            )
            return
        for problem in problems:
            self.problem(problem)

    def _step(self, event: events.StepDone) -> None:
        detail = (
            f"step {event.step}/{event.steps} · loss {formatting.loss(event.loss)} · "
            f"{formatting.rate(event.tokens_per_s)} · {formatting.memory(event.memory_bytes)}"
            f"{_left(event.eta_s)}"
        )
        if self.console.is_terminal:
            self._stage("Training", event.step, event.steps, detail)
        elif event.time - self._last_plain >= PLAIN_INTERVAL or event.step == event.steps:
            self._last_plain = event.time
            self.say(detail)

    def _stage(self, name: str, done: float, total: float | None, detail: str) -> None:
        if not self.console.is_terminal:
            return
        if self._task is not None and self._progress.tasks[0].description != name:
            self._end_stage()
        if self._task is None:
            self._task = self._progress.add_task(name, total=total, detail=detail)
        self._progress.update(self._task, completed=done, total=total, detail=detail)

    def _end_stage(self) -> None:
        if self._task is not None:
            self._progress.remove_task(self._task)
            self._task = None


def estimate_sentence(found: MemoryEstimate) -> str:
    """What a training takes, in one line: all of it, the largest parts, how long."""
    parts = sorted(found.parts.items(), key=lambda part: -part[1])[:3]
    largest = ", ".join(
        f"{COMPONENTS[name].lower()} {formatting.memory(size)}" for name, size in parts
    )
    said = f"Memory: about {formatting.memory(found.total)} ({largest}, …)"
    if found.available is not None:
        verdict = "fits" if found.fits else "DOESN'T FIT"
        said += f"; {verdict}, {formatting.memory(found.available)} are free"
    if found.seconds is not None:
        said += f". Time: {formatting.remaining(found.seconds)}"
    return f"{said}."


def sentence(event: events.Event) -> str | None:
    """What an event means to a person, in one line; None for what a bar shows better."""
    match event:
        case events.Log():
            return str(event.text)
        case events.ModelLoaded():
            return (
                f"Model loaded: {formatting.count(event.parameters)} parameters on {event.device} in "
                f"{event.precision}, {formatting.memory(event.memory_bytes)}."
            )
        case events.ParametersCounted():
            return (
                f"{formatting.count(event.trainable)} of {formatting.count(event.total)} parameters train "
                f"({formatting.percent(event.percent / 100)}), {formatting.size(event.adapter_bytes)} on disk."
            )
        case events.DatasetReady():
            return _dataset_sentence(event)
        case events.MemoryEstimated():
            return estimate_sentence(event.estimate)
        case events.Evaluated():
            return f"Evaluation after step {event.step}: loss {formatting.loss(event.loss)}."
        case events.Sampled():
            who = "Base" if event.source == "base" else f"After step {event.step}"
            return f"{who}, “{_start(event.prompt)}”: {_start(event.text)}"
        case events.EndedEarly():
            taken = formatting.plural(event.evaluations, "evaluation")
            return f"Ended early after step {event.step}: {taken} without a lower eval loss."
        case events.AdapterSaved():
            loss = event.best_loss
            best = f" It is that of step {event.step}, with the lowest eval loss, {formatting.loss(loss)}." if loss else ""  # fmt: skip
            return f"Adapter saved: {event.folder} ({formatting.size(event.bytes)}).{best}"
        case events.Merged():
            return f"Merged model: {event.folder} ({formatting.size(event.bytes)}, {event.dtype})."
        case events.ShardWritten():
            state = "kept from a previous attempt" if event.kept else "written"
            return f"{event.file} {state} ({event.number} of {event.of}, {formatting.size(event.bytes)})."
        case events.AdapterCombined():
            return (
                f"Combined adapter ({event.method}): {event.folder}, rank {event.rank}, "
                f"{formatting.plural(event.layers, 'layer')}, {formatting.size(event.bytes)}."
            )
        case events.GgufWritten():
            return f"{event.quantization}: {event.file} ({formatting.size(event.bytes)})."
        case events.TemplateDerived() if event.proven:
            return f"Ollama template proven on {event.conversations} conversations."
        case events.TemplateDerived():
            return f"The Ollama template is not proven: {event.difference}"
        case events.SelfTested():
            verdict = {"passed": "passed", "lossy": "LOSSY", "failed": "FAILED"}[event.verdict]
            return (
                f"Self-test of {event.stage} {verdict}: same first choice at "
                f"{formatting.percent(event.top1)} of {event.positions} positions, KL {event.kl:.4f}"
                f" {_limits(event)}."
            )
        case events.Pushed():
            return (
                f"Uploaded the {event.what} ({event.files} files, {formatting.size(event.bytes)}): "
                f"{event.url}"
            )
        case events.OllamaFound():
            return f"Ollama {event.version} answers at {event.host}."
        case events.OllamaCreated():
            return f"Created in Ollama: run it with  ollama run {event.name}"
        case events.Cancelled():
            return "Cancelled."
        case events.Recovered():
            return str(event.text)
        case events.Done() if event.stopped:
            return "Stopped. The adapter was saved."
        case events.Done() if event.paused:
            return "Paused. Run `lora-studio resume RUN` to continue."
    return None


def _start(text: str) -> str:
    """The beginning of a text, on one line."""
    return textwrap.shorten(text, 100, placeholder=" …")


def _dataset_sentence(event: events.DatasetReady) -> str:
    skipped = sum(item.count for item in event.skipped)
    text = (
        f"Dataset ({event.task}): {event.rows_read} rows read, {event.rows_train} to train on, "
        f"{event.rows_validation} to validate, {skipped} skipped"
    )
    if event.skipped:
        text += f" ({'; '.join(f'{item.count} × {item.reason}' for item in event.skipped)})"
    if event.rows_cut:
        text += f", {event.rows_cut} cut to the longest length"
    return f"{text}; {formatting.count(event.trained_tokens)} tokens train in each epoch."


def _left(seconds: float | None) -> str:
    return "" if seconds is None else f" · {formatting.remaining(seconds)} left"


def _limits(event: events.SelfTested) -> str:
    """What a stage had to reach, or why no figure counts."""
    if event.top1_limit is None or event.kl_limit is None:
        return f"({event.basis})"
    return f"(at least {formatting.percent(event.top1_limit)}, at most {event.kl_limit:.3g})"
