"""`lora-studio rewards`: rate answers of the base model before training."""

from __future__ import annotations

from typing import Annotated, cast

import typer
from rich.table import Table
from rich.text import Text

from lora_studio.cli import headless
from lora_studio.cli.common import JsonObjectOption, ProjectArgument, ask, print_json
from lora_studio.cli.console import Display
from lora_studio.core import formatting
from lora_studio.core.dataset.spec import DatasetSpec
from lora_studio.core.model.spec import ModelSpec
from lora_studio.core.protocol import commands, events
from lora_studio.core.protocol.training import PREVIEW_ROWS
from lora_studio.core.rewards.spec import describe_reward
from lora_studio.core.training.spec import TrainingSpec

#: Width of a number, and the least width of a text, in characters.
_NUMBER, _LEAST_TEXT = 6, 12


def rewards(
    path: ProjectArgument,
    as_json: JsonObjectOption = False,
    change: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="Change a setting first, for example --set training.rollout_tokens=64."
        ),
    ] = None,
    rows: Annotated[
        int, typer.Option(help="Number of rows to answer.", min=1, max=64)
    ] = PREVIEW_ROWS,
) -> None:
    """Try the rewards of a project: the base model answers some rows, and its answers are rated.

    Warns about rewards that fail or are the same for all answers. Nothing is trained.
    """
    display = Display(as_json=as_json)
    draft = headless.open_project(path, change or [], display)
    if draft is None:
        raise typer.Exit(headless.REFUSED)
    command = commands.PreviewRewards(
        model=cast(ModelSpec, draft.get_spec("model")),
        dataset=cast(DatasetSpec, draft.get_spec("dataset")),
        training=cast(TrainingSpec, draft.get_spec("training")),
        rows=rows,
    )
    tried = ask(command, events.RewardsPreviewed, display)
    if as_json:
        print_json(tried)
        return
    display.console.print(_make_table(tried, display.console.width))
    display.print_findings(list(tried.problems))


def _make_table(tried: events.RewardsPreviewed, width: int) -> Table:
    """Return one line per answer; texts are on one line, and shortened to the terminal."""
    names = (
        [str(describe_reward(name)) for name in tried.answers[0].values] if tried.answers else []
    )
    numbers = [(title, max(len(title), _NUMBER)) for title in (*names, "total")]
    remaining = width - sum(wide for _, wide in numbers) - 2 * (2 + len(numbers))
    table = Table(box=None)
    for title in ("Prompt", "Answer"):
        table.add_column(
            title, no_wrap=True, overflow="ellipsis", width=max(_LEAST_TEXT, remaining // 2)
        )
    for title, wide in numbers:
        table.add_column(Text(title), no_wrap=True, justify="right", min_width=wide)
    for answer in tried.answers:
        values = (*answer.values.values(), answer.reward)
        cells = ("–" if value is None else formatting.format_reward(value) for value in values)
        texts = (" ".join(content.split()) for content in (answer.prompt, answer.text))
        table.add_row(*map(Text, (*texts, *cells)))
    return table
