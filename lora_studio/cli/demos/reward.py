"""The sample project that learns from rewards: compare the rewards of held-out prompts before and after."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from lora_studio.cli import headless
from lora_studio.cli.console import Display
from lora_studio.core.evaluation import statistics
from lora_studio.core.evaluation.columns import Column
from lora_studio.core.evaluation.measures import measure_by_name
from lora_studio.core.evaluation.plan import GREEDY, EvaluationPlan
from lora_studio.core.evaluation.results import EvaluationResults
from lora_studio.core.evaluation.statistics import PairedDifference
from lora_studio.core.evaluation.storage import EvaluationFolder
from lora_studio.core.messages import counted, text
from lora_studio.core.problems import ProblemError, Where, error, fail
from lora_studio.core.protocol import commands, events
from lora_studio.core.rewards.spec import RewardSpec, adjust, name_measure
from lora_studio.core.runs import speakers
from lora_studio.core.runs.folder import RunFolder

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
        measures = list_measures(training.rewards)
        columns = [each for each in speakers.list_run_columns(run) if each.key in (BEFORE, AFTER)]
        results = _evaluate(run, columns, measures, training.rollout_tokens, display)
        return results is not None and report(results, training.rewards, display)


def list_measures(rewards: Sequence[RewardSpec]) -> list[str]:
    """Return the measure of each reward; raises ProblemError for rewards that no evaluation computes."""
    names = [name_measure(reward) for reward in rewards if not _has_own_text(reward)]
    known = [name for name in names if name is not None]
    if not rewards or len(known) < len(rewards):
        raise fail(
            "demo.changed_rewards",
            "The rewards of this project can't be measured on held-out prompts.",
            "Start with an empty folder: lora-studio demo --sample reward --folder FOLDER.",
        )
    return [measure_by_name(name).name for name in known]


def _has_own_text(reward: RewardSpec) -> bool:
    """Return whether a reward compares with anything else than the reference of the whole answer."""
    return bool(reward.text or reward.column or reward.answer_tag)


def _evaluate(
    run: RunFolder,
    columns: Sequence[Column],
    measures: Sequence[str],
    tokens: int,
    display: Display,
) -> EvaluationResults | None:
    """Answer the held-out prompts with both models; return None if that failed, which is shown."""
    plan = EvaluationPlan(
        columns=tuple(columns),
        measures=tuple(measures),
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
    return EvaluationFolder(run.evaluations / started[-1].evaluation).read()


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
    measures = list_measures(rewards)
    totals: list[float | None] = []
    for item in results.items:
        answer = results.answers.get((item.id, column))
        scores = {} if answer is None else answer.scores
        values = [
            adjust(reward, scores.get(name)) for reward, name in zip(rewards, measures, strict=True)
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
