"""Show the events of a job in a terminal: a progress bar for stages and a line for each important event."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

from rich.console import Console, ConsoleOptions, RenderableType
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID
from rich.segment import Segment
from rich.table import Table
from rich.text import Text as CellText

from lora_studio.cli.event_text import describe
from lora_studio.core import formatting
from lora_studio.core.messages import NO_TEXT, READABLE, Template, Text, text
from lora_studio.core.problems import Problem
from lora_studio.core.protocol import events
from lora_studio.core.tasks.classification import SHOWN_LABELS, ClassificationReport

#: Seconds after which a finished job rings the terminal's bell: most terminals then highlight the window or notify.
LONG = 60.0
#: Seconds between two lines about training steps without a progress bar.
PLAIN_INTERVAL = 5.0


#: Control characters and their visible spelling. Foreign text could otherwise set the terminal's title or
#: clipboard, or overwrite what was printed before. Halves of surrogate pairs can't be encoded.
_CONTROLS = {
    code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"
} | {code: f"\\u{code:04x}" for code in range(0xD800, 0xE000)}


def make_printable(text: str) -> str:
    """Return a text whose control characters and halves of surrogate pairs are spelled out."""
    return text.translate(_CONTROLS)


def write_out(text: str) -> None:
    """Write a text to stdout: exactly to files and pipes, without control characters to a terminal."""
    if sys.stdout.isatty():
        sys.stdout.write(make_printable(text))
    else:  # in bytes: Windows would change the ends of lines, and other encodings lack characters
        sys.stdout.flush()
        sys.stdout.buffer.write(text.encode("utf-8", "backslashreplace"))
    sys.stdout.flush()


class SafeConsole(Console):
    """A console that spells out control characters in everything that it prints.

    While `outlives_output` is true, a job is shown that must not end with its output: what can't be
    printed is dropped. `lost_output` is the first reason for that, of any console; a reader that has
    ended is none.
    """

    outlives_output = False
    lost_output: ClassVar[OSError | None] = None

    def print(self, *objects: Any, **options: Any) -> None:
        """Print objects; raises OSError unless the job outlives its output."""
        with self.tolerate_failure():
            super().print(*objects, **options)

    @contextmanager
    def tolerate_failure(self) -> Iterator[None]:
        """Drop an OSError of the block if the job outlives its output."""
        try:
            yield
        except OSError as error:
            if not self.outlives_output:
                raise
            if not isinstance(error, BrokenPipeError):
                SafeConsole.lost_output = SafeConsole.lost_output or error

    def on_broken_pipe(self) -> None:
        """Raise BrokenPipeError, where rich would exit: a job can continue without its reader."""
        raise BrokenPipeError

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Yield the segments to print; styles and cursor movements of our own aren't text."""
        for segment in super().render(renderable, options):
            yield (
                segment
                if segment.control
                else Segment(make_printable(segment.text), segment.style, segment.control)
            )


class Display:
    """Prints events for a person, or as JSON lines for a program.

    `console` prints results to stdout, `notes` progress and problems to stderr. With JSON, stdout has only
    events, and `console` prints to stderr as well.
    """

    def __init__(self, *, as_json: bool = False) -> None:
        """Create the display; with `as_json`, print each event as one line on stdout."""
        self.as_json = as_json
        self.notes = SafeConsole(stderr=True, highlight=False)
        self.console = self.notes if as_json else SafeConsole(highlight=False)
        #: The bar of a stage. Another stage gets another one: text on stdout must not meet a bar on stderr.
        self._bar: tuple[str, Progress, TaskID] | None = None
        self._last_plain = 0.0

    def outlive_output(self) -> None:
        """Continue if output can't be printed: the display shows a job that must not end with it."""
        self.console.outlives_output = self.notes.outlives_output = True

    def follow(self, stream: Iterable[events.Event]) -> events.Ending | None:
        """Show events until the stream ends and return the last ending, None if there was none."""
        ending: events.Ending | None = None
        began = time.monotonic()
        for event in self.show_all(stream):
            if isinstance(event, events.Ending):
                ending = event
        if time.monotonic() - began >= LONG and self.notes.is_terminal:
            self.notes.bell()
        return ending

    def show_all(self, stream: Iterable[events.Event]) -> Iterator[events.Event]:
        """Show each event, then yield it."""
        try:
            for event in stream:
                self.show(event)
                yield event
        finally:
            self._end_stage()

    def show_progress(self, stream: Iterable[events.Event]) -> Iterator[events.Event]:
        """Yield all events and show only a progress bar for stages, for commands that print the answer themselves."""
        try:
            for event in stream:
                if isinstance(event, events.Progress) and not self.as_json:
                    self.show(event)
                yield event
        finally:
            self._end_stage()

    def show(self, event: events.Event) -> None:
        """Show one event."""
        if self.as_json:
            with self.console.tolerate_failure():
                sys.stdout.write(events.to_line(event, READABLE) + "\n")
                sys.stdout.flush()
            return
        match event:
            case events.Progress(unit="steps"):
                self._update_stage("Training", event.done, event.total, str(event.stage))
            case events.Progress():
                self._update_stage(
                    str(event.stage), event.done, event.total, str(_format_time_left(event.eta_s))
                )
            case events.StepDone():
                self._update_step(event)
            case events.Failed():
                self.print_problem(event.problem)
            case events.Warned():
                self.print_problem(event.problem)
            case events.ServerLogged():
                for line in event.lines:
                    self.print_line(line)
            case _ if message := describe(event):
                self.print_line(message)

    def print_line(self, message: Text | str) -> None:
        """Print one line of a result."""
        self._print_line(message, self.console)

    def print_note(self, message: Text | str) -> None:
        """Print one line that isn't a result."""
        self._print_line(message, self.notes)

    def _print_line(self, message: Text | str, console: SafeConsole) -> None:
        self._end_stage()
        console.print(f"  {escape(str(message))}", soft_wrap=True)

    def print_title(self, text: str) -> None:
        """Print the heading of a step."""
        self._end_stage()
        self.console.print(f"\n[bold]{escape(text)}[/bold]")

    def print_facts(self, facts: Iterable[tuple[str, object]]) -> None:
        """Print names and values below each other; a name without a value is left out."""
        self.print_table((), ((name, value) for name, value in facts if value))

    def print_table(self, titles: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """Print rows of cells, without a head if there are no titles; texts are printed as they are."""
        self._end_stage()
        table = Table(*titles, box=None, show_header=bool(titles))
        for cells in rows:
            table.add_row(*(CellText(str(cell)) for cell in cells))
        self.console.print(table)

    def print_problem(self, problem: Problem) -> None:
        """Print a problem of the command: what happened, where, and what to do."""
        self._end_stage()
        self._print_problem(problem, self.notes)

    def print_problems(self, problems: Iterable[Problem]) -> None:
        """Print every problem of the command; with `--json` as one object on stdout."""
        problems = list(problems)
        if self.as_json:
            shown = [item.model_dump(mode="json", context=READABLE) for item in problems]
            print(json.dumps({"problems": shown}))
            return
        for problem in problems:
            self.print_problem(problem)

    def print_findings(self, problems: Iterable[Problem]) -> None:
        """Print the problems that are the result of a command."""
        for problem in problems:
            self._print_problem(problem, self.console)

    def _print_problem(self, problem: Problem, console: SafeConsole) -> None:
        if self.as_json:
            console.print(f"{problem}", soft_wrap=True, markup=False)
            return
        color, word = ("red", "Problem") if problem.severity == "error" else ("yellow", "Note")
        location = f" [dim]({escape(str(problem.where))})[/dim]" if str(problem.where) else ""
        console.print(
            f"  [{color}]{word}:[/{color}] {escape(str(problem.what))}{location}", soft_wrap=True
        )
        if problem.remedy:
            console.print(f"    {escape(str(problem.remedy))}", soft_wrap=True)

    def _update_step(self, event: events.StepDone) -> None:
        reward = event.metrics.get("reward")
        template: Template = (
            "step {step:d}/{steps:d} · loss {metric:loss} · {rate} · {memory:memory}{left}"
            if reward is None
            else "step {step:d}/{steps:d} · mean reward {metric:loss} · {rate} · {memory:memory}{left}"
        )
        detail = str(
            text(
                template,
                step=event.step,
                steps=event.steps,
                metric=event.loss if reward is None else reward,
                rate=formatting.format_rate(event.tokens_per_s),
                memory=event.memory_bytes,
                left=_format_time_left(event.eta_s),
            )
        )
        if self.notes.is_terminal:
            self._update_stage("Training", event.step, event.steps, detail)
        elif abs(event.time - self._last_plain) >= PLAIN_INTERVAL or event.step == event.steps:
            self._last_plain = event.time
            self.print_note(detail)

    def _update_stage(self, name: str, done: float, total: float | None, detail: str) -> None:
        if not self.notes.is_terminal:
            return
        if self._bar is None or self._bar[0] != name:
            self._end_stage()
            columns = "  {task.description}", BarColumn(bar_width=30), "{task.fields[detail]}"
            progress = Progress(*columns, console=self.notes, transient=True)
            self._bar = name, progress, progress.add_task(name, total=total, detail=detail)
            progress.start()
        _, progress, task = self._bar
        progress.update(task, completed=done, total=total, detail=detail)

    def _end_stage(self) -> None:
        if self._bar is not None:
            self._bar[1].stop()
            self._bar = None


def _format_time_left(seconds: float | None) -> Text:
    return NO_TEXT if seconds is None else text(" · {time:remaining} left", time=seconds)


#: The longest label above a column of the confusion matrix, in characters.
_LABEL_WIDTH = 12


def print_report(report: ClassificationReport, display: Display) -> None:
    """Print precision, recall, F1, and rows of each label, and the confusion matrix of few labels."""
    display.console.print(_make_label_table(report))
    if (left := len(report.labels) - SHOWN_LABELS) > 0:
        display.print_line(f"{formatting.format_plural(left, 'more label')} aren't shown.")
    elif matrix := _make_confusion_table(report, display.console.width):
        display.console.print()
        display.console.print(matrix)


def _make_label_table(report: ClassificationReport) -> Table:
    table = Table(box=None)
    table.add_column("Label", overflow="fold")
    for title in ("Precision", "Recall", "F1", "Rows"):
        table.add_column(title, justify="right", no_wrap=True)
    for each in report.per_label[:SHOWN_LABELS]:
        shares = map(formatting.format_percent, (each.precision, each.recall, each.f1))
        table.add_row(CellText(each.label), *shares, str(each.support))
    return table


def _make_confusion_table(report: ClassificationReport, width: int) -> Table | None:
    """Return the rows of each label by the label that is predicted, None if the terminal is too narrow."""
    matrix = report.build_matrix()
    titles = [_shorten(label) for label in report.labels]
    first = "Label \\ predicted"
    needed = sum(len(title) + 2 for title in titles) + max(len(first), *map(len, titles))
    if needed > width:
        return None
    table = Table(box=None)
    table.add_column(CellText(first), no_wrap=True)
    for title in titles:
        table.add_column(CellText(title), justify="right", no_wrap=True)
    for number, (title, counts) in enumerate(zip(titles, matrix, strict=True)):
        table.add_row(CellText(title), *_format_counts(counts, number))
    return table


def _format_counts(counts: Sequence[int], right: int) -> list[CellText]:
    """Return the cells of a row; right predictions are bold, and zeros are dots."""
    return [
        CellText(str(count) if count else "·", "bold" if number == right else "")
        for number, count in enumerate(counts)
    ]


def _shorten(label: str) -> str:
    return label if len(label) <= _LABEL_WIDTH else f"{label[: _LABEL_WIDTH - 1]}…"
