"""Out of memory: the same steps in smaller micro-batches, the same loss curve, and a report."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lora_studio.core.curves import metrics
from lora_studio.core.messages import Text
from lora_studio.core.protocol import commands, events
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.training.spec import TrainingSpec
from lora_studio.engine.kernels.logprobs import LogprobModel
from lora_studio.engine.tokens.batches import Batch, BatchPlan
from lora_studio.engine.training import checkpoint_files, trainer_state
from lora_studio.engine.training.memory import forecast
from lora_studio.engine.training.memory.watch import MemoryLimit, MemoryWatch
from lora_studio.engine.training.problems import memory_exhausted_error
from lora_studio.engine.training.trainer_state import MemoryLevel
from tests.engine.conftest import TinyModel
from tests.helpers.runs.jobs import handle, new_run, train, write_rows

ROWS: dict[str, list[dict[str, Any]]] = {
    "sft": [{"instruction": f"What is {n}?", "output": f"It is {n}" + ", said Pim" * (n % 7) + "."}
            for n in range(24)],
    "pairs": [{"prompt": f"What is {n}?", "chosen": f"It is {n}" + ", said Pim" * (n % 5) + ".",
               "rejected": f"No idea: {n}!"} for n in range(24)],
    "labels": [{"prompt": f"What is {n}?", "completion": f"It is {n}" + ", said Pim" * (n % 5) + ".",
                "label": n % 2 == 0} for n in range(24)],
}  # fmt: skip

OUT = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total of")
Start = Callable[..., RunFolder]


@pytest.fixture
def start(tiny: TinyModel, tmp_path: Path) -> Start:
    """Create runs of 4 steps of 6 rows on a tiny model, without dropout, in 32-bit."""

    def make(rows: str = "sft", **training: Any) -> RunFolder:
        file = write_rows(tmp_path / f"{rows}.jsonl", ROWS[rows])
        recipe = {"max_steps": 4, "micro_batch": 6, "gradient_accumulation": 1, "eval_every": 2,
                  "learning_rate": 2e-3, "save_every": 2}  # fmt: skip
        return new_run(
            tmp_path,
            model={"source": str(tiny("llama3")), "precision": "fp32", "device": "cpu"},
            dataset={"sources": [str(file)], "validation_share": 0.2, "max_length": 256},
            training=recipe | training,
            lora={"rank": 4, "alpha": 8},
        )

    return make


class Limit:
    """A fake device where a pass needs memory for each row, half as much when recomputing."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.rows: float = 1000
        self.passes = 0  # that fit
        self.fails_at: set[int] = set()
        for name in ("__call__", "compute_last_states"):
            monkeypatch.setattr(LogprobModel, name, self._limit_pass(getattr(LogprobModel, name)))

    def _limit_pass(self, own: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
        def score(logprob_model: LogprobModel, batch: Batch) -> torch.Tensor:
            recomputes = logprob_model.base.is_gradient_checkpointing
            result = own(logprob_model, batch)
            if len(batch.lengths) * (0.5 if recomputes else 1.0) > self.rows:
                raise OUT
            self.passes += 1
            if self.passes in self.fails_at:
                raise OUT
            return result

        return score


@pytest.fixture(autouse=True)
def unfilled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each micro-batch as many rows as the settings say, as where no memory is to spare."""
    monkeypatch.setattr(forecast, "fill_micro_batches", lambda plan: plan)


@pytest.fixture
def limit(monkeypatch: pytest.MonkeyPatch) -> Limit:
    return Limit(monkeypatch)


def assert_same_curve(run: RunFolder, expected: RunFolder) -> None:
    result, whole = metrics.read_metrics(run), metrics.read_metrics(expected)
    assert result.steps.get("tokens") == whole.steps.get("tokens")
    assert result.loss == pytest.approx(whole.loss, rel=1e-5)
    assert result.evaluations.get("loss") == pytest.approx(whole.evaluations.get("loss"), rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rows", "recipe", "per_row"),
    [
        pytest.param("sft", {}, 1, id="sft"),
        pytest.param("pairs", {"dpo_loss": "ipo"}, 2, id="dpo", marks=pytest.mark.slow),
        pytest.param("pairs", {"preference": "simpo"}, 2, id="simpo", marks=pytest.mark.thorough),
        pytest.param("pairs", {"preference": "reward"}, 2, id="reward", marks=pytest.mark.thorough),
        pytest.param("pairs", {"preference": "orpo"}, 2, id="orpo", marks=pytest.mark.slow),
        pytest.param("labels", {}, 1, id="kto", marks=pytest.mark.slow),
    ],
)
def test_oom_keeps_the_curve_with_smaller_micro_batches(
    start: Start, limit: Limit, rows: str, recipe: dict[str, Any], per_row: int
) -> None:
    whole, lean = start(rows, **recipe), start(rows, **recipe)
    train(whole)
    limit.rows = 3 * per_row
    channel = train(lean)
    assert channel.of(events.Done)
    (recovered,) = channel.of(events.Recovered)
    assert (recovered.step, recovered.micro_batch, recovered.gradient_accumulation) == (0, 3, 2)
    assert "2.00 GiB" in str(recovered.why)
    assert_same_curve(lean, whole)


@pytest.mark.slow
def test_recomputation_is_used_when_one_row_does_not_fit(start: Start, limit: Limit) -> None:
    whole, lean = start(), start()
    train(whole)
    limit.rows = 0.5
    channel = train(lean)
    levels = [(event.micro_batch, event.gradient_checkpointing) for event in channel.of(events.Recovered)]  # fmt: skip
    assert levels == [(3, False), (1, False), (1, True)]
    assert_same_curve(lean, whole)


@pytest.mark.slow
def test_hopeless_oom_is_a_problem_with_the_cheapest_fix(start: Start, limit: Limit) -> None:
    limit.rows = 0.1
    channel = train(start())
    problem = channel.last(events.Failed).problem
    assert problem.code == "device.out_of_memory"
    assert problem.fix is not None
    assert (problem.fix.step, problem.fix.field) == ("model", "precision")
    assert not channel.of(events.StepDone)


@pytest.mark.slow
@pytest.mark.parametrize(
    "at", [2, pytest.param(5, marks=pytest.mark.slow), pytest.param(9, marks=pytest.mark.slow)]
)
def test_oom_in_the_middle_repeats_only_that_step(start: Start, limit: Limit, at: int) -> None:
    """Micro-batches of 2 rows: one probe, 3 in each step, 3 in each evaluation of 5 rows."""
    recipe = {"micro_batch": 2, "gradient_accumulation": 3}
    whole, lean = start(**recipe), start(**recipe)
    train(whole)
    limit.passes, limit.fails_at = 0, {at}
    channel = train(lean)
    (recovered,) = channel.of(events.Recovered)
    assert recovered.micro_batch == 1
    assert_same_curve(lean, whole)
    order = [event.kind for event in channel.events if event.kind in ("step_done", "recovered")]
    assert order.index("recovered") == recovered.step


@pytest.mark.slow
def test_longest_batch_is_probed_first(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    token_counts: list[int] = []
    own = LogprobModel.__call__

    def score(logprob_model: LogprobModel, batch: Batch) -> torch.Tensor:
        if torch.is_grad_enabled():
            token_counts.append(batch.tokens)
        return own(logprob_model, batch)

    monkeypatch.setattr(LogprobModel, "__call__", score)
    train(start(micro_batch=2, gradient_accumulation=3))
    assert len(token_counts) == 1 + 3 + 3 + 3 + 1, (
        "19 rows are three steps of 6 rows and one of a single row"
    )
    assert token_counts[0] == max(token_counts)


@pytest.mark.parametrize("padded", [False, True])
def test_longest_batch_of_a_plan_matches_exhaustive_search(padded: bool) -> None:
    lengths = np.random.default_rng(3).integers(1, 500, 103)
    plan = BatchPlan(lengths, 3, 4, seed=1)

    def size(rows: list[int]) -> int:
        return int(lengths[rows].max() * len(rows) if padded else lengths[rows].sum())

    for steps in (1, 7, plan.steps_per_epoch, 3 * plan.steps_per_epoch):
        every = [rows for step in range(steps) for rows in plan.get_step(step)]
        assert size(plan.find_longest(steps, padded=padded)) == max(map(size, every))


@pytest.mark.slow
def test_resumed_run_starts_at_the_level_that_fit(start: Start, limit: Limit) -> None:
    whole, lean = start(), start()
    train(whole)
    limit.rows = 1

    def pause(event: Any, flags: Any) -> None:
        if isinstance(event, events.StepDone) and event.step == 1:
            flags.pause.set()

    handle(commands.Train(run=str(lean.path)), pause)
    noted = lean.read_manifest()["memory"]
    assert (noted["micro_batch"], noted["gradient_accumulation"]) == (1, 6)
    passes = limit.passes
    channel = train(lean, resume=True)
    assert not channel.of(events.Recovered)
    assert limit.passes > passes
    assert_same_curve(lean, whole)


@pytest.mark.slow
def test_run_killed_for_memory_resumes_one_level_lower(start: Start) -> None:
    whole, lean = start(), start()
    train(whole)
    channel = train(lean, resume=True, lower=True)
    (recovered,) = channel.of(events.Recovered)
    assert recovered.micro_batch == 3
    resumed = train(lean, resume=True)
    assert resumed.of(events.Done)
    assert_same_curve(lean, whole)


class Scaler(torch.amp.GradScaler):
    """Scale losses on a CPU like in float16 on a GPU."""

    def __init__(self, device: str, enabled: bool) -> None:
        super().__init__(device, enabled=not enabled)


@pytest.mark.slow
@pytest.mark.parametrize(("call", "step"), [(1, 0), (4, 2)])
@pytest.mark.parametrize("scaler", [torch.amp.GradScaler, Scaler])
@pytest.mark.filterwarnings("ignore:Seems like `optimizer.step")  # a scaler wraps it
def test_oom_in_the_optimizer_resumes_from_last_checkpoint(
    start: Start, monkeypatch: pytest.MonkeyPatch, scaler: type, call: int, step: int
) -> None:
    monkeypatch.setattr(torch.amp, "GradScaler", scaler)
    whole, lean = start(), start()
    train(whole)
    own = torch.optim.AdamW.step
    calls: list[int] = []

    def failing_step(optimizer: Any, *about: Any) -> Any:
        calls.append(1)
        result = own(optimizer, *about)
        if len(calls) == call:
            raise MemoryError  # after the weights have changed
        return result

    monkeypatch.setattr(torch.optim.AdamW, "step", failing_step)
    channel = train(lean)
    assert [event.step for event in channel.of(events.Recovered)] == [step]
    assert_same_curve(lean, whole)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Seems like `optimizer.step")  # a scaler wraps it
def test_oom_after_unscaling_gradients_keeps_the_curve(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []

    class Failing(Scaler):
        def unscale_(self, optimizer: torch.optim.Optimizer) -> None:
            super().unscale_(optimizer)
            calls.append(1)
            if len(calls) == 3:
                raise OUT

    monkeypatch.setattr(torch.amp, "GradScaler", Scaler)
    whole, lean = start(), start()
    train(whole)
    monkeypatch.setattr(torch.amp, "GradScaler", Failing)
    channel = train(lean)
    assert [event.step for event in channel.of(events.Recovered)] == [2], channel.events[-1]
    assert_same_curve(lean, whole)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Seems like `optimizer.step")  # a scaler wraps it
@pytest.mark.parametrize(("overflows", "ends"), [(2, False), (1000, True)])
def test_float16_overflow_lowers_the_scale_until_none_is_left(
    start: Start, monkeypatch: pytest.MonkeyPatch, overflows: int, ends: bool
) -> None:
    calls: list[int] = []

    class Overflowing(Scaler):
        def scale(self, outputs: Any) -> Any:
            calls.append(1)
            # The first call is the probe's.
            return super().scale(outputs * (torch.inf if 1 < len(calls) <= 1 + overflows else 1.0))

    monkeypatch.setattr(torch.amp, "GradScaler", Overflowing)
    channel = train(start(max_steps=30, epochs=100, eval_every=1000, save_every=1000))
    steps = channel.of(events.StepDone)
    if ends:
        assert channel.last(events.Failed).problem.code == "training.diverged"
        assert "gradient" in str(channel.last(events.Failed).problem.what)
        assert len(steps) == 17, "a scale of 2 to the 16th is halved down to 1, and below"
    else:
        assert len(steps) == 30
        assert channel.of(events.Done)


@pytest.fixture
def writing(monkeypatch: pytest.MonkeyPatch) -> Callable[[set[int]], None]:
    """Run out of memory at the given writes of the adapter: one in each checkpoint and at the beginning,
    one for the best of each evaluation, one at the end."""

    def arrange(calls_without_memory: set[int]) -> None:
        own, calls = checkpoint_files._write_trained_weights, itertools.count(1)

        def save(*about: Any) -> None:
            if next(calls) in calls_without_memory:
                raise RuntimeError(
                    "DefaultCPUAllocator: can't allocate memory: you tried 12 bytes."
                )
            own(*about)

        monkeypatch.setattr(checkpoint_files, "_write_trained_weights", save)

    return arrange


#: In the order of writing: the beginning; the best and a checkpoint at steps 2 and 4; the end.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("calls", "codes"),
    [
        pytest.param({1}, [], id="the beginning, once"),
        pytest.param({2}, [], id="the best, once"),
        pytest.param({2, 3}, ["training.no_memory_for_best"], id="the best"),
        pytest.param({3}, [], id="a checkpoint, once"),
        pytest.param({3, 4}, ["training.no_memory_for_checkpoint"], id="a checkpoint"),
        pytest.param({6}, [], id="the end, once"),
    ],
)
def test_oom_while_saving_does_not_end_training(
    start: Start, writing: Callable[[set[int]], None], calls: set[int], codes: list[str]
) -> None:
    whole, lean = start(keep_best=True), start(keep_best=True)
    train(whole)
    writing(calls)
    channel = train(lean)
    assert channel.of(events.Done), channel.events[-1]
    assert [event.problem.code for event in channel.of(events.Warned)] == codes
    assert_same_curve(lean, whole)
    assert not channel.of(events.Recovered)
    assert (
        lean.read_manifest()["results"]["evaluations"]
        == whole.read_manifest()["results"]["evaluations"]
    )
    assert len(channel.of(events.Evaluated)) == 2


@pytest.mark.slow
def test_pause_without_memory_resumes_from_earlier_checkpoint(
    start: Start, writing: Callable[[set[int]], None]
) -> None:
    whole, lean = start(), start()
    train(whole)
    writing({4, 5})

    def pause(event: Any, flags: Any) -> None:
        if isinstance(event, events.StepDone) and event.step == 3:
            flags.pause.set()

    channel = handle(commands.Train(run=str(lean.path)), pause)
    assert channel.last(events.Done).paused
    assert "resumes from step 2" in str(channel.last(events.Warned).problem.remedy)
    assert lean.list_checkpoint_steps() == [2]
    assert train(lean, resume=True).last(events.TrainingStarted).step == 2
    assert_same_curve(lean, whole)


@pytest.mark.slow
@pytest.mark.parametrize("at", [9, 13])
def test_oom_in_kto_lookahead_repeats_the_step_or_evaluation(
    start: Start, limit: Limit, at: int
) -> None:
    """KTO first computes the answers to mismatched prompts of the whole step."""
    whole, lean = start("labels"), start("labels")
    train(whole)
    limit.passes, limit.fails_at = 0, {at}
    channel = train(lean)
    (recovered,) = channel.of(events.Recovered)
    assert recovered.micro_batch == 3
    assert_same_curve(lean, whole)
    assert len(channel.of(events.Evaluated)) == 2


def test_levels_halve_rows_then_recompute() -> None:
    spec = TrainingSpec(micro_batch=5, gradient_accumulation=3)
    level: MemoryLevel | None = trainer_state.choose_starting_level(spec)
    levels = []
    while level is not None:
        levels.append((level.micro_batch, level.count_micro_batches(15), level.recomputing))
        level = level.get_next_lower(can_recompute=True)
    assert levels == [(5, 3, False), (2, 8, False), (1, 15, False), (1, 15, True)]


def test_cutting_one_very_long_row_is_the_cheapest_fix() -> None:
    error = memory_exhausted_error(Text(template="Out."), [100] * 99 + [5000], "4bit")
    (problem,) = error.problems
    assert problem.fix is not None
    assert (problem.fix.field, problem.fix.value) == ("max_length", 104)
    assert "cuts 1 row" in str(problem.remedy)


def test_reset_discards_a_check_in_progress() -> None:
    is_checking, go_on = threading.Event(), threading.Event()
    held = [90]

    def check() -> int:
        result = held[0]
        if threading.current_thread().name == "memory watch" and result == 99:
            is_checking.set()
            go_on.wait()
        return result

    limit = MemoryLimit("{used:memory} of {limit:memory}", lambda: 100, check)
    with MemoryWatch(torch.device("cpu"), [limit]) as watch:
        held[0] = 99
        assert is_checking.wait(60)
        held[0] = 10
        resting = threading.Thread(target=watch.reset)
        resting.start()
        resting.join(0.3)  # would return at once if reset didn't wait for the check
        go_on.set()
        resting.join()
    watch.check()  # raises nothing
