"""The training recipe: when it evaluates and saves, which adapter it keeps, the row order, samples."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from lora_studio.core.project import checks
from lora_studio.core.project.project import Draft
from lora_studio.core.protocol import commands, events
from lora_studio.core.protocol.events import Event
from lora_studio.core.runs import checksums
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.runs.heldout import read_heldout
from lora_studio.core.training.spec import TrainingSpec
from lora_studio.engine.runtime.channel import Flags
from lora_studio.engine.runtime.failures import NotFiniteError
from lora_studio.engine.tasks.task import Loss, Objective
from lora_studio.engine.tokens.batches import BatchPlan
from lora_studio.engine.training import best_adapter
from lora_studio.engine.training.trainer_state import EvaluationResult
from tests.engine.conftest import TinyModel
from tests.helpers.runs.jobs import RecordingChannel, handle, new_run, train, write_rows

ROWS = [
    {"instruction": f"What is {n} and {n}?", "output": f"It is {n + n}, said Pim." + " Yes." * (n % 5)}
    for n in range(20)
]  # fmt: skip

Start = Callable[..., RunFolder]


@pytest.fixture
def start(tiny: TinyModel, tmp_path: Path) -> Start:
    """Create runs on a tiny model: 16 training rows in steps of 4, 4 validation rows."""
    file = write_rows(tmp_path / "rows.jsonl", ROWS)

    def make(**training: Any) -> RunFolder:
        recipe = {"epochs": 2, "micro_batch": 2, "gradient_accumulation": 2, "learning_rate": 5e-3}
        return new_run(
            tmp_path,
            model={"source": str(tiny("llama3")), "precision": "fp32", "device": "cpu"},
            dataset={"sources": [str(file)], "validation_count": 4, "max_length": 256},
            training=recipe | training,
            lora={"rank": 4, "alpha": 8},
        )

    return make


def steps_of(channel: RecordingChannel, kind: Any) -> list[int]:
    return [event.step for event in channel.of(kind)]


@pytest.fixture
def eval_losses(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[float]], None]:
    """Replace the losses of evaluations, repeating the last one; the weights stay real."""
    from lora_studio.engine.training.trainer import Trainer

    def set_losses(losses: list[float]) -> None:
        own = Trainer.evaluate

        def evaluate(self: Trainer) -> None:
            done = len(self.state.evaluations)
            loss = losses[min(done, len(losses) - 1)]
            objective = self.objective
            self.objective = _Fixed(objective, loss)
            try:
                own(self)
            finally:
                self.objective = objective

        monkeypatch.setattr(Trainer, "evaluate", evaluate)

    return set_losses


class _Fixed(Objective):
    """An objective with the same loss for every row."""

    def __init__(self, own: Any, loss: float) -> None:
        super().__init__(own.logprob_model)
        self.value = loss

    def compute_loss(self, rows: Any) -> Loss:
        return Loss(torch.tensor(self.value * len(rows)))


def adapter_of(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "adapter_model.safetensors")


# --- when -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("recipe", "evaluated", "saved"),
    [
        ({"save_every": 0}, [4, 8], [8]),
        ({"eval_every": 3, "save_every": 5}, [3, 6, 8], [5, 8]),
        ({"cadence": "epochs", "eval_every": 0.5, "save_every": 1}, [2, 4, 6, 8], [4, 8]),
        ({"cadence": "epochs", "eval_every": 0, "save_every": 9}, [4, 8], [8]),
    ],
    ids=["end of epoch", "steps", "epochs", "long interval"],
)
def test_evaluations_and_checkpoints_follow_steps_or_epochs(
    start: Start, recipe: dict[str, Any], evaluated: list[int], saved: list[int]
) -> None:
    channel = train(start(**recipe))
    assert steps_of(channel, events.Evaluated) == evaluated
    assert steps_of(channel, events.CheckpointSaved) == saved


def test_epoch_interval_that_never_comes_gives_a_fix() -> None:
    draft = Draft()
    draft.set("training", "cadence", "epochs")  # 100 steps between checkpoints became epochs
    result = [item for item in checks.check(draft) if item.where.field == "save_every"]
    assert [item.severity for item in result] == ["warning"]
    assert result[0].fix is not None
    draft.set("training", "save_every", result[0].fix.value)
    assert not [item for item in checks.check(draft) if item.where.field == "save_every"]


# --- which adapter ----------------------------------------------------------------------------


def test_adapter_with_the_lowest_eval_loss_is_kept(
    start: Start, eval_losses: Callable[[list[float]], None]
) -> None:
    eval_losses([2.0, 1.5, 1.7, 1.9])
    run = start(eval_every=2, save_every=4, keep_checkpoints=9)
    channel = train(run)
    saved = channel.last(events.AdapterSaved)
    assert (saved.step, saved.best_loss) == (4, pytest.approx(1.5))
    assert run.read_manifest()["results"]["kept"] == {"step": 4, "loss": pytest.approx(1.5)}
    adapter, then = adapter_of(run.adapter), adapter_of(run.checkpoint(4))
    assert all(torch.equal(value, then[name]) for name, value in adapter.items())
    assert (run.adapter / "tokenizer_config.json").is_file()
    assert [folder.name for folder in run.best.iterdir()] == ["step-00000004"]


def test_resuming_a_finished_run_keeps_its_best_adapter(
    start: Start, eval_losses: Callable[[list[float]], None]
) -> None:
    eval_losses([1.5, 1.7])
    run = start()
    train(run)
    adapter = adapter_of(run.adapter)
    resumed = train(run, resume=True)
    assert resumed.last(events.AdapterSaved).step == 4
    assert all(torch.equal(value, adapter[name]) for name, value in adapter_of(run.adapter).items())


@pytest.mark.parametrize("lost", ["manifest", "record", "manifest and record", "nothing"])
def test_damaged_best_adapter_is_never_delivered(
    lost: str, start: Start, eval_losses: Callable[[list[float]], None]
) -> None:
    eval_losses([1.5, 1.7])
    run = start()
    train(run)
    last = adapter_of(run.checkpoint(8))
    (best,) = run.best.iterdir()
    weights = best / "adapter_model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 0x40
    weights.write_bytes(content)
    if "manifest" in lost:
        run.manifest_file.unlink()
    if "record" in lost:
        (best / checksums.RECORD).unlink()
    shutil.rmtree(run.adapter)
    resumed = train(run, resume=True)
    codes = [event.problem.code for event in resumed.of(events.Warned)]
    assert codes.count("training.best_damaged") == 1
    assert resumed.last(events.AdapterSaved).step == 8
    assert all(torch.equal(value, last[name]) for name, value in adapter_of(run.adapter).items())


def test_intact_best_adapter_is_delivered_without_the_manifest(
    start: Start, eval_losses: Callable[[list[float]], None]
) -> None:
    eval_losses([1.5, 1.7])
    run = start()
    train(run)
    adapter = adapter_of(run.adapter)
    run.manifest_file.unlink()
    shutil.rmtree(run.adapter)
    resumed = train(run, resume=True)
    assert resumed.last(events.AdapterSaved).step == 4
    assert all(torch.equal(value, adapter[name]) for name, value in adapter_of(run.adapter).items())
    assert not (run.adapter / checksums.RECORD).exists()


@pytest.mark.slow
def test_canceled_run_resumes_to_the_same_best_adapter(
    start: Start, eval_losses: Callable[[list[float]], None]
) -> None:
    eval_losses([2.0, 1.5, 1.4, 1.6])
    unbroken, broken = start(eval_every=2, save_every=3), start(eval_every=2, save_every=3)
    train(unbroken)

    def cancel(event: Event, flags: Flags) -> None:
        if isinstance(event, events.Evaluated) and event.step == 6:
            flags.cancel.set()

    train(broken, cancel)
    resumed = train(broken, resume=True)
    assert resumed.last(events.AdapterSaved).step == 6
    whole = adapter_of(unbroken.adapter)
    assert all(torch.equal(value, whole[name]) for name, value in adapter_of(broken.adapter).items())  # fmt: skip


@pytest.mark.slow
def test_best_adapter_of_a_checkpoint_survives_two_cancels(
    start: Start, eval_losses: Callable[[list[float]], None]
) -> None:
    eval_losses([1.5, 1.7, 1.4])
    run = start(eval_every=1, save_every=2)

    def at(step: int, wish: str) -> Callable[[Event, Flags], None]:
        def ask(event: Event, flags: Flags) -> None:
            if isinstance(event, events.StepDone) and event.step == step:
                getattr(flags, wish).set()

        return ask

    train(run, at(4, "cancel"))
    train(run, at(4, "cancel"), resume=True)
    assert run.list_checkpoint_steps() == [2]
    saved = train(run, at(3, "stop"), resume=True).last(events.AdapterSaved)
    assert (saved.step, saved.best_loss) == (1, pytest.approx(1.5))


def test_last_adapter_is_kept_without_keep_best(
    start: Start, eval_losses: Callable[[list[float]], None]
) -> None:
    eval_losses([1.5, 1.7])
    run = start(keep_best=False)
    saved = train(run).last(events.AdapterSaved)
    assert (saved.step, saved.best_loss) == (8, None)
    assert not run.best.exists()


@pytest.mark.parametrize(("losses", "saved_step"), [([1.5, 1.4], 6), ([1.5, 1.7], 2)])
def test_stop_keeps_last_adapter_unless_eval_loss_has_risen(
    start: Start, eval_losses: Callable[[list[float]], None], losses: list[float], saved_step: int
) -> None:
    eval_losses(losses)

    def stop(event: Event, flags: Flags) -> None:
        if isinstance(event, events.Evaluated) and event.step == 4:
            flags.stop.set()

    channel = train(start(eval_every=2), stop)
    assert channel.last(events.Done).stopped
    assert channel.last(events.AdapterSaved).step == min(saved_step, 5)


@pytest.mark.slow
def test_resume_makes_up_for_the_evaluation_a_stop_skipped(start: Start) -> None:
    recipe = {"eval_every": 2, "schedule": "reduce_on_plateau", "sample_rows": 0}
    whole, halved = start(**recipe), start(**recipe)

    def stop(event: Event, flags: Flags) -> None:
        if isinstance(event, events.StepDone) and event.step == 4:
            flags.stop.set()

    unbroken = train(whole)
    assert steps_of(train(halved, stop), events.Evaluated) == [2]
    resumed = train(halved, resume=True)
    assert steps_of(resumed, events.Evaluated) == [4, 6, 8]
    assert resumed.last(events.Evaluated).loss == unbroken.last(events.Evaluated).loss
    assert (
        halved.read_manifest()["results"]["evaluations"]
        == whole.read_manifest()["results"]["evaluations"]
    )


# --- when to end ------------------------------------------------------------------------------


@pytest.mark.slow
def test_early_stopping_ends_after_evaluations_without_gain(
    start: Start, eval_losses: Callable[[list[float]], None]
) -> None:
    eval_losses([2.0, 1.5, 1.6, 1.5, 1.4])
    run = start(epochs=8, eval_every=2, early_stopping=2)
    channel = train(run)
    assert channel.last(events.EndedEarly).step == 8
    assert channel.last(events.AdapterSaved).step == 4
    assert not channel.last(events.Done).stopped
    assert run.list_checkpoint_steps()[-1] == 8
    resumed = train(run, resume=True)
    assert not resumed.of(events.StepDone)
    assert resumed.last(events.EndedEarly).step == 8


@pytest.mark.parametrize(
    ("losses", "patience", "delta", "ends"),
    [
        ([3, 2, 1], 1, 0.0, False),
        ([3, 2, 2], 1, 0.0, True),
        ([3, 2, 1.99], 1, 0.05, True),
        ([3, 2, 2.5, 1.9], 2, 0.0, False),
        ([3, 2, float("nan"), 2.5], 2, 0.0, True),
        ([3, 3, 3, 3], 0, 0.0, False),
        ([], 1, 0.0, False),
    ],
    ids=[
        "improving",
        "no improvement",
        "too little",
        "recovered in time",
        "NaN",
        "switched off",
        "no evaluations",
    ],
)
def test_patience_counts_evaluations_without_improvement(
    losses: list[float], patience: int, delta: float, ends: bool
) -> None:
    spec = TrainingSpec(early_stopping=patience, early_stopping_delta=delta)
    evaluations = [EvaluationResult(step, loss) for step, loss in enumerate(losses)]
    assert best_adapter.is_exhausted(evaluations, spec) == ends


@pytest.mark.parametrize(
    ("field", "value"),
    [("early_stopping", 3), ("schedule", "reduce_on_plateau"), ("best_by", "exact")],
)
def test_eval_loss_settings_need_validation_rows(field: str, value: Any) -> None:
    draft = Draft()
    draft.set("dataset", "validation_share", 0.0)
    draft.set("training", field, value)
    result = [item for item in checks.check(draft) if item.where.field == field]
    assert [item.code for item in result] == ["training.needs_validation"]
    fix = result[0].fix
    assert fix is not None
    draft.set(fix.step, fix.field, fix.value)
    assert not [item for item in checks.check(draft) if item.where.field == field]


# --- in which order ---------------------------------------------------------------------------


def flat(parts: list[list[int]]) -> list[int]:
    return list(itertools.chain.from_iterable(parts))


LENGTHS = np.random.default_rng(0).integers(5, 900, 1003).tolist()


def test_grouped_steps_cover_every_row_with_similar_lengths() -> None:
    plain, grouped = (
        BatchPlan(LENGTHS, 4, 2, seed=5),
        BatchPlan(LENGTHS, 4, 2, seed=5, grouped=True),
    )
    for epoch in range(2):
        numbers = range(epoch * grouped.steps_per_epoch, (epoch + 1) * grouped.steps_per_epoch)
        rows = [flat(grouped.get_step(number)) for number in numbers]
        assert sorted(flat(rows)) == list(range(len(LENGTHS)))
        assert [len(step) for step in rows] == [8] * 125 + [3]

    def spread(plan: BatchPlan) -> float:
        return float(np.mean([np.ptp([LENGTHS[row] for row in flat(plan.get_step(n))]) for n in range(125)]))  # fmt: skip

    assert spread(grouped) < 0.2 * spread(plain)
    longest = [max(LENGTHS[row] for row in flat(grouped.get_step(n))) for n in range(125)]
    assert abs(np.corrcoef(longest, range(125))[0, 1]) < 0.3  # not from long to short


def test_grouped_order_follows_the_seed_for_any_step() -> None:
    one, other = BatchPlan(LENGTHS, 4, 2, seed=5, grouped=True), BatchPlan(LENGTHS, 4, 2, seed=5, grouped=True)  # fmt: skip
    forward = [one.get_step(number) for number in range(200)]
    assert [other.get_step(number) for number in reversed(range(200))] == forward[::-1]
    assert BatchPlan(LENGTHS, 4, 2, seed=6, grouped=True).get_step(0) != forward[0]
    # Half the micro-batch and twice the accumulation is the same rows in each step.
    halved = BatchPlan(LENGTHS, 2, 4, seed=5, grouped=True)
    assert [sorted(flat(halved.get_step(n))) for n in range(9)] == [sorted(flat(s)) for s in forward[:9]]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    "recipe", [{"group_by_length": True}, {"packing": False}], ids=["grouped", "padded"]
)
def test_order_and_packing_resume_bit_for_bit(start: Start, recipe: dict[str, Any]) -> None:
    recipe = recipe | {"save_every": 3, "gradient_accumulation": 1, "epochs": 1}
    unbroken, broken = start(**recipe), start(**recipe)
    train(unbroken)

    def cancel(event: Event, flags: Flags) -> None:
        if isinstance(event, events.CheckpointSaved) and event.step == 3:
            flags.cancel.set()

    train(broken, cancel)
    assert train(broken, resume=True).last(events.TrainingStarted).step == 3
    whole = adapter_of(unbroken.adapter)
    assert all(torch.equal(value, whole[name]) for name, value in adapter_of(broken.adapter).items())  # fmt: skip


@pytest.mark.slow
def test_packed_and_padded_rows_train_the_same(start: Start) -> None:
    packed, padded = start(epochs=1), start(epochs=1, packing=False)
    first, second = train(packed), train(padded)
    assert "packed" in json.dumps([str(event.text) for event in first.of(events.LogLine)])
    assert "padded" in json.dumps([str(event.text) for event in second.of(events.LogLine)])
    expected = [event.loss for event in first.of(events.StepDone)]
    assert [event.loss for event in second.of(events.StepDone)] == pytest.approx(expected, rel=1e-4)


# --- sample prompts ---------------------------------------------------------------------------


def sampled(channel: RecordingChannel) -> list[tuple[int, int, str]]:
    return [(item.step, item.index, item.source) for item in channel.of(events.Sampled)]


@pytest.mark.slow
def test_samples_are_answered_at_each_evaluation(start: Start) -> None:
    run = start(sample_prompts=["What is 3, and 4?"], sample_rows=1, sample_tokens=6)
    channel = train(run)
    assert sampled(channel) == [
        (0, 0, "base"), (0, 1, "base"), (4, 0, "tuned"), (4, 1, "tuned"),
        (8, 0, "tuned"), (8, 1, "tuned"),
    ]  # fmt: skip
    result = channel.of(events.Sampled)
    assert result[0].prompt == "What is 3, and 4?"
    assert result[1].prompt == read_heldout(run)[0].messages[0].content
    assert result[4].text != result[0].text  # it has learned something


@pytest.mark.slow
def test_base_samples_are_those_of_the_model_without_adapter(start: Start) -> None:
    run = start(sample_prompts=["What is 3?"], sample_rows=0, sample_tokens=6, epochs=1)
    (result,) = [item for item in train(run).of(events.Sampled) if item.source == "base"]
    turns = ({"role": "user", "content": "What is 3?"},)
    command = commands.Generate.model_validate(
        {
            "run": str(run.path),
            "sources": ("base", "tuned"),
            "conversations": (turns,),
            "max_tokens": 6,
        }
    )
    base, tuned = handle(command).of(events.Generated)
    assert base.text == result.text
    (after,) = [item for item in train(run).of(events.Sampled) if item.source == "tuned"]
    assert after.text == tuned.text


@pytest.mark.slow
def test_samples_do_not_change_training(start: Start) -> None:
    recipe = {"eval_every": 2, "save_every": 3, "epochs": 1}
    without, with_some = start(**recipe, sample_rows=0), start(**recipe, sample_rows=2, sample_tokens=4)  # fmt: skip
    for run in (without, with_some):
        frozen = run.load_project()
        dropping = frozen.lora.model_copy(update={"dropout": 0.2})
        run.project_file.write_text(frozen.model_copy(update={"lora": dropping}).to_toml())
    assert not train(without).of(events.Sampled)
    assert train(with_some).of(events.Sampled)
    whole = adapter_of(without.adapter)
    assert all(torch.equal(value, whole[name]) for name, value in adapter_of(with_some.adapter).items())  # fmt: skip


@pytest.mark.slow
def test_base_samples_are_computed_once_per_run(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lora_studio.engine.training import sampling

    run = start(sample_rows=2, sample_tokens=4, eval_every=2)
    calls: list[int] = []
    own = sampling.answering.complete
    monkeypatch.setattr(
        sampling.answering, "complete", lambda *about, **how: calls.append(1) or own(*about, **how)
    )
    train(run)
    assert len(calls) == 1 + 4  # the base once, the tuned model at each evaluation
    assert len(json.loads(run.samples_file.read_text())["base"]) == 2
    train(run, resume=True)
    assert len(calls) == 5


@pytest.mark.slow
@pytest.mark.parametrize(
    ("error", "code"),
    [  # the message of the CPU allocator
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried 12 bytes."),
            "training.no_memory_for_samples",
        ),
        (NotFiniteError(), "training.samples_not_finite"),
    ],
    ids=["memory", "NaN"],
)
def test_samples_that_fail_are_skipped_with_a_warning(
    error: Exception, code: str, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lora_studio.engine.training import sampling

    run = start(sample_rows=1, sample_tokens=4, epochs=1, eval_every=2)
    frozen = run.load_project()
    pissa = frozen.lora.model_copy(
        update={"init": "pissa"}
    )  # the base is answered before the first step
    run.project_file.write_text(frozen.model_copy(update={"lora": pissa}).to_toml())
    own, calls = sampling.answering.complete, []

    def complete(*about: Any, **how: Any) -> Any:
        calls.append(1)
        if len(calls) < 3:
            raise error
        return own(*about, **how)

    monkeypatch.setattr(sampling.answering, "complete", complete)
    channel = train(run)
    warned = [item.problem.code for item in channel.of(events.Warned)]
    assert warned == [code] * 2
    assert sampled(channel) == [(4, 0, "tuned")]


@pytest.mark.slow
def test_sample_prompts_are_answered_without_validation_rows(start: Start) -> None:
    run = start(sample_prompts=["Hi"], sample_tokens=4)
    frozen = run.load_project()
    data = frozen.dataset.model_copy(update={"validation_count": 0, "validation_share": 0.0})
    run.project_file.write_text(frozen.model_copy(update={"dataset": data}).to_toml())
    channel = train(run)
    assert not channel.of(events.Evaluated)
    assert sampled(channel)[:2] == [(0, 0, "base"), (5, 0, "tuned")]


@pytest.mark.slow
def test_pissa_run_answers_base_samples_before_initialization(start: Start) -> None:
    run = start(sample_prompts=["What is 3?"], sample_rows=0, sample_tokens=6, epochs=1)
    plain = [item for item in train(run).of(events.Sampled) if item.source == "base"]
    frozen = run.load_project()
    pissa = frozen.lora.model_copy(update={"init": "pissa"})
    run.project_file.write_text(frozen.model_copy(update={"lora": pissa}).to_toml())
    run.samples_file.unlink()
    other = [item for item in train(run).of(events.Sampled) if item.source == "base"]
    assert [item.text for item in other] == [item.text for item in plain]


@pytest.mark.slow
def test_schedule_free_samples_use_averaged_weights(start: Start) -> None:
    run = start(sample_prompts=["What is 3?"], sample_rows=0, sample_tokens=6, epochs=1,
                optimizer="schedule_free_adamw")  # fmt: skip
    (result,) = [item for item in train(run).of(events.Sampled) if item.source == "tuned"]
    turns = ({"role": "user", "content": "What is 3?"},)
    command = commands.Generate.model_validate(
        {"run": str(run.path), "sources": ("tuned",), "conversations": (turns,), "max_tokens": 6}
    )
    assert handle(command).last(events.Generated).text == result.text


# --- answers decide ---------------------------------------------------------------------------


def test_score_of_answers_decides_instead_of_the_loss() -> None:
    spec = TrainingSpec(best_by="exact", early_stopping=2)
    evaluations = [
        EvaluationResult(1, 0.5, 0.2), EvaluationResult(2, 0.9, 0.4),
        EvaluationResult(3, 0.1, 0.4), EvaluationResult(4, 0.0, None),
    ]  # fmt: skip
    assert best_adapter.find_best_evaluation(evaluations, spec) is evaluations[1]
    assert best_adapter.is_exhausted(evaluations, spec)
    assert not best_adapter.is_exhausted(evaluations[:3], spec)
    by_loss = TrainingSpec(early_stopping=2)
    assert best_adapter.find_best_evaluation(evaluations, by_loss) is evaluations[3]


@pytest.mark.slow
def test_adapter_with_the_best_answers_is_kept(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the second evaluation's answers equal the references; a resumed run decides the same."""
    from lora_studio.engine.generation import answering

    own, calls = answering.complete, []

    def complete(network: Any, tokenizer: Any, prompts: Any, *rest: Any, **how: Any) -> list[str]:
        calls.append(len(prompts))
        answers = own(network, tokenizer, prompts, *rest, **how)
        return references if len(calls) == 2 else answers

    settings = {"best_by": "chrf", "scored_rows": 3, "sample_tokens": 4, "sample_rows": 0}
    run = start(epochs=4, eval_every=2, early_stopping=2, save_every=2, **settings)
    plain = start(epochs=4, eval_every=2, sample_rows=0)
    unscored = train(plain)
    references = [sample.messages[-1].content for sample in read_heldout(plain)][:3]
    monkeypatch.setattr(answering, "complete", complete)
    channel = train(run)
    scores = [event.metrics[events.ANSWER_SCORE] for event in channel.of(events.Evaluated)]
    assert calls == [3] * 4
    assert scores[1] == 1.0
    assert max(scores[0], scores[2]) < 1.0
    assert steps_of(channel, events.EndedEarly) == [8]
    assert channel.of(events.AdapterSaved)[-1].step == 4
    losses = [event.loss for event in channel.of(events.Evaluated)]
    expected = [event.loss for event in unscored.of(events.Evaluated)][:4]
    assert losses == expected  # answering between steps changes nothing
    kept = run.read_manifest()["results"]["evaluations"]
    assert [entry["score"] for entry in kept] == scores
