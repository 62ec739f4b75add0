"""`lora-studio demo`: run the sample project from end to end and check what the model learned."""

from __future__ import annotations

import re
import shutil
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from lora_studio.cli import headless
from lora_studio.cli.console import Display
from lora_studio.cli.event_text import describe
from lora_studio.client import worker
from lora_studio.core import problems
from lora_studio.core.dataset.spec import Message
from lora_studio.core.messages import Text, text
from lora_studio.core.problems import Problem, ProblemError, Where
from lora_studio.core.protocol import commands, events
from lora_studio.core.protocol.commands import TextSource
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.system import paths
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


def run(folder: Path | None, display: Display) -> int:
    """Train, merge, export, and check; return 0 only if every check passes."""
    began = time.monotonic()
    try:
        project_folder = prepare(folder)
        expected = load_expectation(project_folder / "expect.toml")
    except (OSError, KeyError, TypeError, ValueError) as error:
        display.print_problems([_make_unreadable_problem(folder, error)])
        return headless.REFUSED
    display.print_title(f"Sample project in {project_folder}")
    draft = headless.open_project(project_folder, [], display)
    if draft is None:
        return headless.REFUSED
    try:
        run_folder = headless.create_run(draft)
    except ProblemError as error:
        display.print_problems(error.problems)
        return headless.FAILED
    if status := headless.run_stages(run_folder, tuple(headless.STAGES), display):
        return status
    display.print_title("Comparison")
    answers = _ask_answers(run_folder, expected, display)
    if answers is None:
        return headless.FAILED
    _print_showcase(expected, answers, display)
    passed = _check(run_folder, expected, answers, display)
    display.print_line(text("Results: {folder}", folder=str(run_folder.path)))
    display.print_line(text("Finished in {time:duration}.", time=time.monotonic() - began))
    return 0 if passed else headless.FAILED


def prepare(folder: Path | None) -> Path:
    """Return the folder of the sample project; copy it from the resources if it doesn't exist yet."""
    target = (folder or paths.get_data_folder() / "Sample project").resolve()
    if not any(target.glob("*.lorastudio")):
        shutil.copytree(paths.get_resources_folder() / "sample", target, dirs_exist_ok=True)
    return target


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


def _make_unreadable_problem(folder: Path | None, error: Exception) -> Problem:
    return problems.error(
        "demo.unreadable",
        "The sample project couldn't be created: {error}.",
        "Specify an empty folder on a disk with enough free space: lora-studio demo --folder FOLDER.",
        where=Where(file=str(folder) if folder else None),
        error=str(error),
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
    try:
        for event in display.show_all(worker.perform(command)):
            match event:
                case events.Generated():
                    answers[event.source][event.index] = event.text
                case events.Failed() | events.Cancelled():
                    return None
    except ProblemError as error:
        display.print_problems(error.problems)
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
