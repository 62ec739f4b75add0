"""The sample project that learns from examples: check its style of answering in every stage."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from lora_studio.cli import headless
from lora_studio.cli.console import Display
from lora_studio.cli.event_text import describe
from lora_studio.client import worker
from lora_studio.core.dataset.spec import Message
from lora_studio.core.messages import Text, text
from lora_studio.core.protocol import commands, events
from lora_studio.core.protocol.commands import TextSource
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.system.foreign_files import read_text

_NAMES: dict[TextSource, str] = {"base": "Base", "tuned": "Tuned", "gguf": "GGUF"}


@dataclass(frozen=True)
class Expectation:
    """What the sample project should teach the model, read from `expect.toml` in its folder."""

    showcase: tuple[str, ...]
    groups: tuple[QuestionGroup, ...]
    tuned_at_least: float
    base_at_most: float
    max_tokens: int


@dataclass(frozen=True)
class QuestionGroup:
    """Held-out questions whose answers must match a pattern."""

    name: str
    questions: tuple[str, ...]
    pattern: re.Pattern[str]


Answers = dict[TextSource, list[str]]


class AssistantDemo:
    """Trains, merges, and exports, and compares answers of the base, the tuned, and the exported model."""

    stages = tuple(headless.STAGES)

    def __init__(self, folder: Path) -> None:
        """Read what the sample project should teach; raises what `load_expectation` raises."""
        self._expected = load_expectation(folder / "expect.toml")

    def check(self, run: RunFolder, display: Display) -> bool:
        """Show the answers, and return whether they and all self-tests are as expected."""
        answers = _ask_answers(run, self._expected, display)
        if answers is None:
            return False
        _print_showcase(self._expected, answers, display)
        return _check(run, self._expected, answers, display)


def load_expectation(file: Path) -> Expectation:
    """Read `expect.toml`; raises OSError, KeyError, TypeError, or ValueError if the file isn't valid."""
    raw: dict[str, Any] = tomllib.loads(read_text(file))
    return Expectation(
        showcase=tuple(raw["showcase"]),
        groups=tuple(
            QuestionGroup(item["name"], tuple(item["questions"]), re.compile(item["pattern"]))
            for item in raw["held_out"]
        ),
        tuned_at_least=float(raw["tuned_at_least"]),
        base_at_most=float(raw["base_at_most"]),
        max_tokens=int(raw["max_tokens"]),
    )


def _ask_answers(target: RunFolder, expected: Expectation, display: Display) -> Answers | None:
    questions = [
        *expected.showcase,
        *(question for group in expected.groups for question in group.questions),
    ]
    command = commands.Generate(
        run=str(target.path),
        sources=tuple(_NAMES),
        conversations=tuple((Message(role="user", content=each),) for each in questions),
        max_tokens=expected.max_tokens,
    )
    answers: Answers = {source: [""] * len(questions) for source in _NAMES}
    for event in display.show_all(worker.perform(command)):
        match event:
            case events.Generated():
                answers[event.source][event.index] = event.text
            case events.Failed() | events.Cancelled():
                return None
    return answers


def _print_showcase(expected: Expectation, answers: Answers, display: Display) -> None:
    table = Table("Question", *_NAMES.values(), show_lines=True)
    for index, question in enumerate(expected.showcase):
        table.add_row(question, *(answers[source][index].strip() for source in _NAMES))
    display.console.print(table, markup=False)


def _check(target: RunFolder, expected: Expectation, answers: Answers, display: Display) -> bool:
    """Check the shares of held-out answers that show the trained behavior, and the self-tests."""
    shares = {source: _share(expected, answers[source]) for source in _NAMES}
    checks: list[tuple[Text, bool]] = [
        (
            text(
                "{model}: trained behavior in {share:percent} of held-out answers "
                "(at least {limit:percent})",
                model=_NAMES[source],
                share=shares[source],
                limit=expected.tuned_at_least,
            ),
            shares[source] >= expected.tuned_at_least,
        )
        for source in ("tuned", "gguf")
    ]
    below = text(
        "{model}: trained behavior in {share:percent} of held-out answers (at most {limit:percent})",
        model=_NAMES["base"],
        share=shares["base"],
        limit=expected.base_at_most,
    )
    checks.append((below, shares["base"] <= expected.base_at_most))
    tested = list_self_tests(target)
    checks += [(describe(event), event.passed) for event in tested]
    stages = {event.stage for event in tested}
    expected_stages = {"merged", *target.load_project().export.quantizations}
    checks.append((text("Self-tests ran for all stages"), expected_stages <= stages))
    for check, passed in checks:
        display.print_line(text("✓ {check}" if passed else "✗ {check}", check=check))
    return all(passed for _, passed in checks)


def list_self_tests(target: RunFolder) -> list[events.SelfTested]:
    """Return the last test of each stage; both merge and export test the merged model."""
    tests = (event for event in target.iter_events() if isinstance(event, events.SelfTested))
    return list({event.stage: event for event in tests}.values())


def _share(expected: Expectation, answers: list[str]) -> float:
    """Return the share of held-out answers that match the pattern of their group."""
    position, matched, total = len(expected.showcase), 0, 0
    for group in expected.groups:
        for _ in group.questions:
            matched += bool(group.pattern.search(answers[position]))
            position, total = position + 1, total + 1
    return matched / total
