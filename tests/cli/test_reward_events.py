"""Events of reward training, with and without each optional figure, in the terminal and in the window's log."""

from __future__ import annotations

import io
from collections.abc import Iterator
from itertools import chain, combinations

import pytest
from rich.console import Console

from lora_studio.cli import rewards
from lora_studio.cli.console import Display
from lora_studio.core.protocol import events
from lora_studio.core.protocol.training import ShownAnswer, TriedAnswer
from lora_studio.engine import cluster
from lora_studio.gui.pages.training.page import _format_line

#: What a step or an evaluation may lack: a reward may fail for all answers, KL may be off, …
_OPTIONAL = {
    "reward": 0.5, "reward_spread": 0.25, "reward/exact": 0.75, "kl": 0.125, "failed_share": 0.0,
}  # fmt: skip


def _list_metrics() -> Iterator[dict[str, float]]:
    """Yield the metrics of a step, whole, without each, and without all."""
    sizes = (0, len(_OPTIONAL) - 1, len(_OPTIONAL))
    for names in chain.from_iterable(combinations(_OPTIONAL, size) for size in sizes):
        yield {"cut_share": 0.5} | {name: _OPTIONAL[name] for name in names}


def _list_events(metrics: dict[str, float]) -> list[events.Event]:
    answer = ShownAnswer(prompt="", text="", reward=0.5)
    full = ShownAnswer(
        prompt="p", text="[b]x", reference="r", reward=1, values={"exact": 1.0}, ended=False
    )
    return [
        events.StepDone(
            id="t", step=1, steps=2, epoch=0.5, loss=0.0, learning_rate=1e-4, grad_norm=0.0, tokens=0,
            tokens_per_s=0.0, memory_bytes=1 << 30, metrics=metrics,
        ),
        events.Evaluated(id="t", step=1, loss=-0.5, metrics=metrics),
        events.AnswersRated(id="t", step=1, best=full, worst=answer),
        events.AnswersRated(id="t", step=1, best=answer, worst=answer),
        *(events.EndedEarly(id="t", step=3, evaluations=2, best_by=by) for by in ("loss", "score", "reward")),
        events.AdapterSaved(id="t", step=3, folder="adapter", bytes=1),
        events.AdapterSaved(id="t", step=3, folder="adapter", bytes=1, best_reward=0.0),
    ]  # fmt: skip


@pytest.mark.parametrize("metrics", list(_list_metrics()), ids=" ".join)
def test_every_event_is_shown_without_optional_metrics(metrics: dict[str, float]) -> None:
    display, out = Display(), io.StringIO()
    display.console = display.notes = Console(file=out, width=300, force_terminal=False)
    for event in _list_events(metrics):
        display.show(event)
        cluster.describe(event)
        line = _format_line(event)
        assert "nan" not in line
        if isinstance(event, events.Evaluated) and "reward" in metrics:
            assert line == "step 1: eval reward 0.50"
    shown = out.getvalue()
    assert ("mean reward 0.5" in shown) == ("reward" in metrics)
    assert ("loss -0.5" in shown) == (not {"reward", "failed_share"} & set(metrics))  # fmt: skip
    assert "from step 3 with the highest mean reward, 0.0000" in shown
    assert "the mean reward didn't improve in 2 evaluations" in shown


def test_tried_rewards_have_their_names_as_titles() -> None:
    values = {"Right [form]": 1.0, "regex_2": None, "total": 2.0}
    answer = TriedAnswer(prompt="1 + 1?", text="2", values=values, reward=3.0)
    console = Console(file=io.StringIO(), width=120)
    console.print(rewards._make_table(events.RewardsTried(id="t", answers=(answer,)), 120))
    head, row = console.file.getvalue().splitlines()  # type: ignore[attr-defined]  # a StringIO
    assert " ".join(head.split()) == "Prompt Answer Right [form] Regular expression 2 total total"
    assert " ".join(row.split()) == "1 + 1? 2 1.00 – 2.00 3.00"
