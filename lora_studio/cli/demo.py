"""Run a sample project without a window, and check its result."""

from __future__ import annotations

import math
import re
import time
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Protocol

import typer
from rich.table import Table

from lora_studio.cli import headless
from lora_studio.cli.common import JsonLinesOption
from lora_studio.cli.console import Display
from lora_studio.cli.event_text import describe
from lora_studio.client import worker
from lora_studio.core import problems
from lora_studio.core.evaluation import statistics
from lora_studio.core.evaluation.columns import Column
from lora_studio.core.evaluation.metrics import create_metric
from lora_studio.core.evaluation.plan import GREEDY, EvaluationPlan
from lora_studio.core.evaluation.results import EvaluationResults
from lora_studio.core.evaluation.statistics import PairedDifference
from lora_studio.core.evaluation.storage import EvaluationFolder
from lora_studio.core.messages import Text, counted, text
from lora_studio.core.problems import Problem, ProblemError, Where, error, fail
from lora_studio.core.project.samples import SampleName, copy_sample
from lora_studio.core.protocol import commands, events
from lora_studio.core.protocol.commands import TextSource
from lora_studio.core.rewards.spec import RewardSpec, adjust, find_equivalent_metric
from lora_studio.core.runs import chat_models
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.system.foreign_files import read_text
from lora_studio.core.tasks.samples import Message

#: The columns of the evaluation: the model before and after training.
BEFORE, AFTER = "base", "adapter"
#: Number of held-out prompts whose answers are shown.
_SHOWN = 5


class RewardDemo:
    """Trains, and compares the mean reward of greedy answers to held-out prompts with that of the base model."""

    stages = ("Train",)

    def __init__(self, folder: Path) -> None:
        """Take the folder of the project; nothing in it says what to expect."""

    def check(self, run: RunFolder, display: Display) -> bool:
        """Evaluate both models and show the result; return whether the mean reward rose significantly."""
        training = run.load_project().training
        metrics = list_metrics(training.rewards)
        columns = [
            each for each in chat_models.list_run_columns(run) if each.key in (BEFORE, AFTER)
        ]
        results = _evaluate(run, columns, metrics, training.rollout_tokens, display)
        return results is not None and report(results, training.rewards, display)


def list_metrics(rewards: Sequence[RewardSpec]) -> list[str]:
    """Return the metric of each reward; raises ProblemError for rewards that no evaluation computes."""
    names = [find_equivalent_metric(reward) for reward in rewards if not _has_own_text(reward)]
    known = [name for name in names if name is not None]
    if not rewards or len(known) < len(rewards):
        raise fail(
            "demo.changed_rewards",
            "The rewards of this project can't be measured on held-out prompts.",
            "Start with an empty folder: lora-studio demo --sample reward --folder FOLDER.",
        )
    return [create_metric(name).name for name in known]


def _has_own_text(reward: RewardSpec) -> bool:
    """Return whether a reward compares with anything else than the reference of the whole answer."""
    return bool(reward.text or reward.column or reward.answer_tag)


def _evaluate(
    run: RunFolder,
    columns: Sequence[Column],
    metrics: Sequence[str],
    tokens: int,
    display: Display,
) -> EvaluationResults | None:
    """Answer the held-out prompts with both models; return None if that failed, which is shown."""
    plan = EvaluationPlan(
        columns=tuple(columns),
        metrics=tuple(metrics),
        sampling=GREEDY.model_copy(update={"max_tokens": tokens}),
    )
    command = commands.Evaluate(run=str(run.path), plan=plan)
    ending = headless.perform(command, display)
    if not isinstance(ending, events.Done) or ending.paused:
        return None
    started = [
        event
        for event in run.iter_events_of("evaluation_started")
        if isinstance(event, events.EvaluationStarted) and event.id == command.id
    ]
    return EvaluationFolder(run.evaluations_folder / started[-1].evaluation).read()


def report(results: EvaluationResults, rewards: Sequence[RewardSpec], display: Display) -> bool:
    """Show answers and mean rewards of both models; return whether the rise is significant.

    Raises ProblemError if it isn't, or if there is nothing to compare.
    """
    before, after = (compute_rewards(results, rewards, column) for column in (BEFORE, AFTER))
    difference = statistics.compare(before, after)
    _print_answers(results, before, after, display)
    if difference is None:
        raise fail(
            "demo.no_answers",
            "No held-out prompt has an answer of both models.",
            "Look for the reason in the log of the run: {folder}.",
            folder=str(results.folder),
        )
    _print_means(difference, display)
    if difference.is_shown and difference.change > 0:
        display.print_line(text("✓ The mean reward rose significantly."))
        return True
    raise ProblemError(
        error(
            "demo.no_rise",
            "The mean reward of held-out prompts didn't rise significantly.",
            "Start with an empty folder: lora-studio demo --sample reward --folder FOLDER. If you changed the "
            "project, train longer.",
            where=Where(step="training", field="max_steps"),
        )
    )


def compute_rewards(
    results: EvaluationResults, rewards: Sequence[RewardSpec], column: str
) -> list[float | None]:
    """Return the total reward of each item's answer, Σ weight · value; None where a value is missing."""
    metrics = list_metrics(rewards)
    totals: list[float | None] = []
    for item in results.items:
        answer = results.answers.get((item.id, column))
        scores = {} if answer is None else answer.scores
        values = [
            adjust(reward, scores.get(name)) for reward, name in zip(rewards, metrics, strict=True)
        ]
        known = [
            reward.weight * value
            for reward, value in zip(rewards, values, strict=True)
            if value is not None
        ]
        totals.append(math.fsum(known) if len(known) == len(rewards) else None)
    return totals


def _print_answers(
    results: EvaluationResults,
    before: Sequence[float | None],
    after: Sequence[float | None],
    display: Display,
) -> None:
    """Show the answers to the first prompts, each with its reward."""
    table = Table("Prompt", "Base", "Tuned", show_lines=True)
    for item, *totals in list(zip(results.items, before, after, strict=True))[:_SHOWN]:
        answers = (results.answers.get((item.id, column)) for column in (BEFORE, AFTER))
        cells = [
            f"{'' if answer is None else answer.answer.strip()}\n→ {'–' if total is None else f'{total:g}'}"
            for answer, total in zip(answers, totals, strict=True)
        ]
        table.add_row(item.messages[-1].content, *cells)
    display.console.print(table, markup=False)


def _print_means(difference: PairedDifference, display: Display) -> None:
    """Show both means, and the change with its interval."""
    display.print_line(
        text(
            "Mean reward of {prompts}: {before:.2f} before training, {after:.2f} after.",
            prompts=counted(difference.rows, "{n} held-out prompt", "{n} held-out prompts"),
            before=difference.before,
            after=difference.after,
        )
    )
    display.print_line(
        text(
            "Change: {change:.2f}, 95 % interval {low:.2f} to {high:.2f}, p = {p:.2g}.",
            change=difference.change,
            low=difference.interval.low,
            high=difference.interval.high,
            p=difference.p_value,
        )
    )


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


class Demo(Protocol):
    """What is done with the run of a sample project, and how its result is checked."""

    @property
    def stages(self) -> Sequence[str]:
        """Names of the stages that run, in order."""

    def check(self, run: RunFolder, display: Display) -> bool:
        """Show what the model learned, and return whether it learned what it should.

        Raises ProblemError if the result can't be checked.
        """


#: Creates the demo of a sample project from its folder.
_DEMOS: Mapping[SampleName, Callable[[Path], Demo]] = {
    "assistant": AssistantDemo,
    "reward": RewardDemo,
}


def demo(
    sample: Annotated[
        SampleName,
        typer.Option(help="Sample project: assistant learns from examples, reward from rewards."),
    ] = "assistant",
    folder: Annotated[
        Path | None, typer.Option(help="Folder for the sample project.", file_okay=False)
    ] = None,
    as_json: JsonLinesOption = False,
) -> None:
    """Train a sample project, and check what the model has learned."""
    raise typer.Exit(run(sample, folder, Display(as_json=as_json)))


def run(sample: SampleName, folder: Path | None, display: Display) -> int:
    """Run the stages of a sample project and check the result; return 0 only if every check passes."""
    began = time.monotonic()
    try:
        project_folder = copy_sample(sample, folder)
        plan = _DEMOS[sample](project_folder)
    except (OSError, KeyError, TypeError, ValueError) as error:
        display.print_problems([_make_unreadable_problem(folder, error)])
        return headless.REFUSED
    display.print_title(f"Sample project in {project_folder}")
    draft = headless.open_project(project_folder, [], display)
    if draft is None:
        return headless.REFUSED
    try:
        run_folder = headless.create_run(draft)
        if status := headless.run_stages(run_folder, tuple(plan.stages), display):
            return status
        display.print_title("Comparison")
        passed = plan.check(run_folder, display)
    except ProblemError as error:
        display.print_problems(error.problems)
        return headless.FAILED
    display.print_line(text("Results: {folder}", folder=str(run_folder.path)))
    display.print_line(text("Finished in {time:duration}.", time=time.monotonic() - began))
    return 0 if passed else headless.FAILED


def _make_unreadable_problem(folder: Path | None, error: Exception) -> Problem:
    return problems.error(
        "demo.unreadable",
        "The sample project couldn't be created: {error}.",
        "Specify an empty folder on a disk with enough free space: lora-studio demo --folder FOLDER.",
        where=Where(file=str(folder) if folder else None),
        error=str(error),
    )
