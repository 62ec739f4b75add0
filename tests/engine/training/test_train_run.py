"""Training runs: what they change and leave behind, and how they resume, stop and fail."""

from __future__ import annotations

import json
import os
import resource
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import accelerate
import numpy as np
import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from lora_studio.core.protocol import commands, events
from lora_studio.core.protocol.events import Event
from lora_studio.core.runs import checksums
from lora_studio.core.runs import manifest as manifest_module
from lora_studio.core.runs.folder import RunFolder
from lora_studio.engine.kernels.fused import KernelRecord
from lora_studio.engine.runtime.channel import Flags
from lora_studio.engine.tasks.task import Loss
from lora_studio.engine.training import kernel_choice
from lora_studio.engine.training.memory import forecast
from tests.engine.conftest import TinyModel
from tests.helpers.faults.preloaded import get_shared
from tests.helpers.models.tiny_models import FAMILIES
from tests.helpers.runs.jobs import RecordingChannel, new_run, train, write_rows

ROWS = [
    {"instruction": f"What is {n} and {n}?", "output": f"It is {n + n}, said Pim."}
    for n in range(24)
]


@pytest.fixture
def start(tiny: TinyModel, tmp_path: Path) -> Callable[..., RunFolder]:
    """Create runs on a tiny model: 24 rows, 2 micro-batches of 2 rows per step, 32-bit, on the CPU."""
    file = write_rows(tmp_path / "rows.jsonl", ROWS)

    def make(family: str = "llama3", rows: Path = file, **specs: dict[str, Any]) -> RunFolder:
        training = {"epochs": 1, "micro_batch": 2, "gradient_accumulation": 2, "learning_rate": 5e-3}  # fmt: skip
        settings = {
            "model": {"source": str(tiny(family)), "precision": "fp32", "device": "cpu"},
            "dataset": {"sources": [str(rows)], "validation_share": 0.0, "max_length": 256},
            "training": training,
            "lora": {"rank": 4, "alpha": 8},
        }
        merged = {step: settings.get(step, {}) | specs.get(step, {}) for step in settings | specs}
        return new_run(tmp_path, **merged)

    return make


Start = Callable[..., RunFolder]


def losses(channel: RecordingChannel) -> dict[int, float]:
    return {event.step: event.loss for event in channel.of(events.StepDone)}


def adapter_of(run: RunFolder) -> dict[str, torch.Tensor]:
    return load_file(run.adapter / "adapter_model.safetensors")


def problem_of(channel: RecordingChannel) -> Any:
    return channel.last(events.Failed).problem


# --- learning ---------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_loss_falls_and_only_the_adapter_changes(
    start: Start, tiny: TinyModel, family: str
) -> None:
    before = {f.name: f.read_bytes() for f in tiny(family).iterdir()}
    run = start(family, training={"epochs": 2})
    channel = train(run)
    assert channel.events[-1] == channel.last(events.Done)
    steps = losses(channel)
    assert steps[12] < steps[1] - 0.3
    weights = adapter_of(run)
    assert all("lora_" in name for name in weights)
    assert {value.dtype for value in weights.values()} == {torch.float32}
    assert all(value.abs().sum() > 0 for name, value in weights.items() if "lora_B" in name)
    assert {f.name: f.read_bytes() for f in tiny(family).iterdir()} == before


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_rows_of_new_tokens_are_trained(start: Start, precision: str) -> None:
    lora = {"new_tokens": ["<lamp>"]}
    run = start(model={"precision": precision}, lora=lora, training={"max_steps": 2})
    assert train(run).of(events.Done)
    rows = [value for name, value in adapter_of(run).items() if "token_adapter" in name]
    assert rows
    assert all(value.isfinite().all() for value in rows)


def test_new_training_chooses_its_kernels_freely(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = []
    read = kernel_choice.read_record

    def note(*arguments: Any) -> Any:
        records.append(read(*arguments))
        return records[-1]

    monkeypatch.setattr(kernel_choice, "read_record", note)
    run = start(training={"max_steps": 1})
    train(run)
    train(run)  # again from the beginning
    assert records == [KernelRecord(), KernelRecord()]


def test_losses_and_rates_are_pinned(start: Start) -> None:
    run = start("qwen3", training={"epochs": 1, "warmup_share": 0.34, "schedule": "linear"})
    channel = train(run)
    steps = channel.of(events.StepDone)
    assert [event.step for event in steps] == [1, 2, 3, 4, 5, 6]
    assert steps[-1].cpu_percent is not None
    # 3 of 6 steps of warmup from zero, then down to zero; the rate is the one used by the step.
    expected = [0.0, 1 / 3, 2 / 3, 1.0, 2 / 3, 1 / 3]
    assert [event.learning_rate / 5e-3 for event in steps] == pytest.approx(expected)
    assert [event.loss for event in steps] == pytest.approx(PINNED, rel=2e-3)
    assert [event.epoch for event in steps] == pytest.approx([n / 6 for n in range(1, 7)])


PINNED = [6.7248, 6.6925, 6.6013, 6.4845, 6.1498, 5.8322]


def test_first_loss_is_that_of_the_base_model(start: Start) -> None:
    run = start(training={"max_steps": 1, "micro_batch": 24, "gradient_accumulation": 1})
    channel = train(run)
    model = AutoModelForCausalLM.from_pretrained(
        run.load_project().model.source, dtype=torch.float32
    )
    from lora_studio.engine.dataset.prepare import prepare
    from lora_studio.engine.dataset.rows.sequences import EncodedRows
    from lora_studio.engine.model.loading import load_tokenizer
    from lora_studio.engine.tokens import batches
    from tests.helpers.runs.jobs import make_job

    tokenizer = load_tokenizer(Path(run.load_project().model.source))
    spec = run.load_project().dataset.model_copy(update={"validation_share": 0.0})
    rows = EncodedRows(prepare(spec, tokenizer, 0, make_job()).training)
    batch = batches.collate(list(rows))
    ids, mask = batch.to_padded()
    labels = torch.full_like(ids, -100)
    labels.view(-1)[batch.get_padded_sources() + 1] = batch.targets
    own = model(input_ids=ids, attention_mask=mask, labels=labels).loss
    assert losses(channel)[1] == pytest.approx(float(own.detach()), rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("micro_batch", [1, 3, 6])
def test_splitting_a_step_does_not_change_it(start: Start, micro_batch: int) -> None:
    def settings(size: int) -> dict[str, Any]:
        return {"micro_batch": size, "gradient_accumulation": 6 // size, "max_steps": 3}

    whole, split = start(training=settings(6)), start(training=settings(micro_batch))
    train(whole), train(split)
    expected = adapter_of(whole)
    for name, value in adapter_of(split).items():
        torch.testing.assert_close(value, expected[name], rtol=1e-3, atol=2e-5)


def test_short_rows_are_packed_up_to_the_longest_row(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        forecast, "fill_micro_batches", lambda plan: plan
    )  # as if memory were short
    rows = [{"instruction": "Count.", "output": "one two three four " * n} for n in (16, 1, 1, 1)]
    settings = {"micro_batch": 1, "gradient_accumulation": 4, "max_steps": 1}
    run = start(rows=write_rows(tmp_path / "some.jsonl", rows), training=settings)
    train(run)
    order = np.load(run.data / "order.npy")
    assert (order >= 0).sum(2).tolist() == [[1, 3]]


@pytest.mark.slow
@pytest.mark.parametrize("method", ["dpo", "orpo", "simpo"])
def test_preference_training_learns_the_better_answer(
    start: Start, tmp_path: Path, method: str
) -> None:
    pairs = [
        {"prompt": f"What is {n}?", "chosen": f"It is {n}, said Pim.", "rejected": f"No idea: {n}!"}
        for n in range(24)
    ]
    run = start(
        rows=write_rows(tmp_path / "pairs.jsonl", pairs),
        dataset={"validation_share": 0.2},
        training={"epochs": 3, "preference": method, "micro_batch": 4},
    )
    channel = train(run)
    assert channel.last(events.DatasetReady).task == "preference"
    first, last = channel.of(events.StepDone)[0], channel.of(events.StepDone)[-1]
    assert last.loss < 0.9 * first.loss
    assert last.metrics["margin"] > first.metrics["margin"]
    assert channel.last(events.Evaluated).metrics["accuracy"] > 0.9
    assert (run.adapter / "adapter_model.safetensors").is_file()


@pytest.mark.slow
def test_kto_training_learns_the_good_answers(start: Start, tmp_path: Path) -> None:
    rows = [
        {
            "prompt": f"What is {n}?",
            "completion": f"It is {n}, said Pim." if n % 2 else f"No idea: {n}!",
            "label": bool(n % 2),
        }
        for n in range(24)
    ]
    run = start(rows=write_rows(tmp_path / "labels.jsonl", rows), training={"epochs": 4})
    channel = train(run)
    steps = channel.of(events.StepDone)
    assert channel.last(events.DatasetReady).task == "kto"
    assert steps[0].loss == pytest.approx(0.5, abs=1e-3)
    assert steps[-1].loss < 0.45


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["4bit", "8bit", "bf16"])
def test_reduced_precision_base_learns_on_the_cpu(start: Start, precision: str) -> None:
    run = start(model={"precision": precision}, training={"epochs": 2})
    channel = train(run)
    steps = losses(channel)
    assert steps[12] < 0.85 * steps[1]
    assert channel.last(events.ModelLoaded).precision == precision
    assert {value.dtype for value in adapter_of(run).values()} == {torch.float32}


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        {"gradient_checkpointing": "on"},
        {"schedule": "constant"},
        {"max_grad_norm": 0.0, "weight_decay": 0.1},
    ],
    ids=["checkpointing", "constant rate", "no clipping"],
)
def test_recipe_variant_lowers_the_loss(start: Start, settings: dict[str, Any]) -> None:
    channel = train(start(training={"epochs": 2} | settings))
    assert losses(channel)[12] < 0.85 * losses(channel)[1]


@pytest.mark.slow
def test_gradient_checkpointing_does_not_change_the_result(start: Start) -> None:
    plain = start(training={"max_steps": 3})
    frugal = start(training={"max_steps": 3, "gradient_checkpointing": "on"})
    train(plain), train(frugal)
    expected = adapter_of(plain)
    for name, value in adapter_of(frugal).items():
        torch.testing.assert_close(value, expected[name], rtol=1e-4, atol=1e-6)


def test_gradient_checkpointing_trains_a_16_bit_base(start: Start) -> None:
    run = start(model={"precision": "bf16"}, training={"max_steps": 2, "gradient_checkpointing": "on"})  # fmt: skip
    assert train(run).of(events.Done)


@pytest.mark.slow
def test_training_does_without_the_accelerator_of_accelerate(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It refuses computers with several RTX 40 GPUs and an older driver, even to train on one of them."""
    refused = NotImplementedError("Using RTX 4000 series doesn't support faster communication")
    monkeypatch.setattr(accelerate.Accelerator, "__init__", Mock(side_effect=refused))
    assert len(losses(train(start(training={"max_steps": 1})))) == 1


def test_named_experts_train(start: Start) -> None:
    run = start(
        "qwen3_moe",
        lora={"targets": "names", "target_names": ["q_proj", "gate_up_proj", "down_proj"]},
        training={"epochs": 2},
    )
    channel = train(run)
    assert losses(channel)[12] < losses(channel)[1]
    assert any("experts" in name for name in adapter_of(run))


# --- events and files -------------------------------------------------------------------------


def test_parameters_are_counted_before_training_starts(start: Start) -> None:
    kinds = [event.kind for event in train(start(training={"max_steps": 1})).events]
    order = ["started", "model_loaded", "dataset_ready", "parameters_counted", "training_started", "step_done", "checkpoint_saved", "adapter_saved", "done"]  # fmt: skip
    assert [kind for kind in kinds if kind in order] == order


def test_every_phase_of_a_training_has_its_name(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LORA_STUDIO_CACHE", str(tmp_path / "cache"))  # no tokens of other tests
    run = start(dataset={"validation_share": 0.2}, training={"max_steps": 2})
    channel = train(run)
    stages = [str(event.stage) for event in channel.of(events.Progress)]
    expected = [
        "starting PyTorch", "loading the model", "attaching the adapter", "tokenizing rows",
        "comparing rows", "splitting the rows", "preparing the optimizer",
        "estimating memory and time", "writing rows for train.py", "writing train.py",
        "saving the initial state", "testing the largest micro-batch", "step 1 of 2",
        "evaluating", "saving a checkpoint", "saving the adapter",
    ]  # fmt: skip
    assert [stage for stage in dict.fromkeys(stages) if stage in expected] == expected
    kinds = [event.kind for event in channel.events]
    first_step = next(
        n for n, event in enumerate(channel.events)
        if isinstance(event, events.Progress) and str(event.stage) == "step 1 of 2"
    )  # fmt: skip
    assert first_step < kinds.index("step_done")


def test_evaluations_come_at_their_steps_and_at_the_end(start: Start) -> None:
    run = start(dataset={"validation_share": 0.25}, training={"eval_every": 2, "epochs": 1})
    channel = train(run)
    assert [event.step for event in channel.of(events.Evaluated)] == [2, 4, 5]
    ready = channel.last(events.DatasetReady)
    assert (ready.rows_train, ready.rows_validation) == (18, 6)
    results = run.read_manifest()["results"]
    assert [entry["step"] for entry in results["evaluations"]] == [2, 4, 5]


def test_heldout_conversations_are_the_validation_rows(start: Start) -> None:
    run = start(dataset={"validation_share": 0.25}, training={"max_steps": 1})
    train(run)
    lines = [json.loads(line) for line in run.heldout_file.read_text("utf-8").splitlines()]
    assert len(lines) == 6
    assert [turn["role"] for turn in lines[0]["messages"]] == ["user", "assistant"]
    assert run.read_manifest()["heldout"]["from"] == "validation rows"


def test_training_rows_are_held_out_without_validation_split(
    start: Start,
) -> None:
    run = start(training={"max_steps": 1})
    train(run)
    assert len(run.heldout_file.read_text("utf-8").splitlines()) == 24
    assert "training rows" in run.read_manifest()["heldout"]["from"]


def test_manifest_describes_the_run(start: Start) -> None:
    run = start(training={"max_steps": 2, "seed": 7})
    train(run)
    manifest = run.read_manifest()
    # The package metadata may omit the build (+cpu, +cu130).
    assert torch.__version__.startswith(manifest["versions"]["torch"])
    assert manifest["seed"] == 7
    assert len(manifest["dataset"]["sources"][0]["sha256"]) == 64
    assert len(manifest["base_model"]["hash"]) == 64
    assert (manifest["device"], manifest["precision"], manifest["dtype"]) == ("cpu", "fp32", "float32")  # fmt: skip
    assert manifest["parameters"]["trainable"] == 8192
    assert manifest["results"]["steps"] == 2
    assert manifest["results"]["loss"] > 0
    assert manifest["results"]["seconds"] > 0


def test_adapter_folder_is_complete_and_loads_with_peft(start: Start, tiny: TinyModel) -> None:
    run = start(training={"max_steps": 2})
    channel = train(run)
    names = {file.name for file in run.adapter.iterdir()}
    assert names == {"adapter_config.json", "adapter_model.safetensors", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"}  # fmt: skip
    base = AutoModelForCausalLM.from_pretrained(tiny("llama3"), dtype=torch.float32)
    loaded = peft.PeftModel.from_pretrained(base, run.adapter)
    stored = adapter_of(run)
    for name, value in peft.get_peft_model_state_dict(loaded).items():
        torch.testing.assert_close(value, stored[name])
    assert channel.last(events.AdapterSaved).bytes == sum(f.stat().st_size for f in run.adapter.iterdir())  # fmt: skip


def test_chosen_chatml_is_saved_with_the_adapter(start: Start) -> None:
    run = start(dataset={"chat_template": "chatml"}, training={"max_steps": 1})
    train(run)
    assert "<|im_start|>" in (run.adapter / "chat_template.jinja").read_text()


def test_template_that_hides_earlier_turns_gives_a_warning(start: Start, tmp_path: Path) -> None:
    turns = [("system", "S"), ("user", "Q"), ("assistant", "A"), ("user", "Q2"), ("assistant", "A2")]  # fmt: skip
    row = {"messages": [{"role": role, "content": text} for role, text in turns]}
    channel = train(start("mistral", write_rows(tmp_path / "chat.jsonl", [row, row]), training={"max_steps": 1}))  # fmt: skip
    codes = [event.problem.code for event in channel.of(events.Warned)]
    assert codes == ["dataset.answers_left_out"]


def test_used_and_skipped_rows_add_up(start: Start, tmp_path: Path) -> None:
    long = {"instruction": "x " * 800, "output": "never reached"}
    rows = write_rows(tmp_path / "mixed.jsonl", [*ROWS[:4], {"instruction": "?"}, long])
    ready = train(start(rows=rows, training={"max_steps": 1})).last(events.DatasetReady)
    assert ready.rows_read == 6
    assert ready.rows_train + ready.rows_validation + sum(s.count for s in ready.skipped) == 6
    assert {s.rows for s in ready.skipped} == {(5,), (6,)}


# --- resuming ---------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"training": {"optimizer": "adamw_8bit"}},
        {"training": {"optimizer": "schedule_free_adamw"}},
        {"lora": {"adapter_type": "miss"}},
        pytest.param({"lora": {"new_tokens": ["<lamp>", "said Pim"]}}, marks=pytest.mark.thorough),
    ],
    ids=["AdamW", "8-bit AdamW", "schedule-free AdamW", "MiSS", "new tokens"],
)
def test_resumed_training_matches_an_unbroken_one_exactly(
    start: Start, settings: dict[str, Any]
) -> None:
    recipe = {
        "lora": {"dropout": 0.2} | settings.get("lora", {}),
        "dataset": {"validation_share": 0.1},
        "training": {"epochs": 2, "save_every": 3} | settings.get("training", {}),
    }
    unbroken, broken = start(**recipe), start(**recipe)
    expected = train(unbroken)

    def cancel(event: Event, flags: Flags) -> None:
        if isinstance(event, events.StepDone) and event.step == 8:
            flags.cancel.set()

    cut = train(broken, cancel)
    assert cut.of(events.Cancelled)
    assert not broken.adapter.exists()
    resumed = train(broken, resume=True)
    assert resumed.last(events.TrainingStarted).step == 6
    together = losses(cut) | losses(resumed)
    assert together == losses(expected)
    whole = adapter_of(unbroken)
    assert all(torch.equal(value, whole[name]) for name, value in adapter_of(broken).items())
    assert broken.read_manifest()["results"]["evaluations"] == unbroken.read_manifest()["results"]["evaluations"]  # fmt: skip


@pytest.mark.slow
def test_damaged_checkpoints_are_reported_and_skipped(start: Start) -> None:
    run = start(training={"epochs": 1, "save_every": 2, "keep_checkpoints": 3})
    first = train(run)
    assert run.list_checkpoint_steps() == [2, 4, 6]
    state = run.checkpoint(6) / "training.pt"
    state.write_bytes(state.read_bytes()[:-100])
    (run.checkpoint(4) / "adapter_model.safetensors").unlink()
    channel = train(run, resume=True)
    assert [e.problem.code for e in channel.of(events.Warned)] == ["training.checkpoint_damaged"] * 2  # fmt: skip
    assert channel.last(events.TrainingStarted).step == 2
    assert losses(channel)[6] == losses(first)[6]


def test_partial_checkpoint_of_killed_worker_is_deleted(start: Start) -> None:
    run = start(training={"max_steps": 2})
    half = run.checkpoints / ".step-00000001.abcd1234.tmp"
    half.mkdir(parents=True)
    (half / "training.pt").write_bytes(b"half")
    train(run, resume=True)
    assert [path.name for path in run.checkpoints.iterdir()] == ["step-00000002"]


def test_resume_without_checkpoint_starts_from_the_beginning(start: Start) -> None:
    channel = train(start(training={"max_steps": 1}), resume=True)
    assert channel.last(events.TrainingStarted).step == 0
    assert any("from the beginning" in str(log.text) for log in channel.of(events.LogLine))


def test_resuming_a_finished_training_changes_nothing(start: Start) -> None:
    run = start(training={"max_steps": 2})
    train(run)
    before = adapter_of(run)
    channel = train(run, resume=True)
    assert not channel.of(events.StepDone)
    assert all(torch.equal(value, before[name]) for name, value in adapter_of(run).items())


def test_resuming_on_other_rows_is_a_problem(start: Start) -> None:
    run = start(training={"max_steps": 2})
    train(run)
    write_rows(Path(run.load_project().dataset.sources[0].path), ROWS[:-1])
    assert problem_of(train(run, resume=True)).code == "training.data_changed"


def test_resuming_an_adapter_without_a_weight_is_a_problem(start: Start) -> None:
    run = start(training={"max_steps": 2})
    train(run)
    checkpoint = run.checkpoint(2)
    file = checkpoint / "adapter_model.safetensors"
    weights = load_file(file)
    lost = weights.popitem()[0]
    save_file(weights, file, {"format": "pt"})
    about = json.loads((checkpoint / "checkpoint.json").read_text("utf-8"))
    assert manifest_module.remove_seal(about)
    about["files"][file.name] = checksums.compute_checksum(file)
    (checkpoint / "checkpoint.json").write_text(
        json.dumps(manifest_module.add_seal(about)), "utf-8"
    )
    problem = problem_of(train(run, resume=True))
    assert problem.code == "training.checkpoint_foreign"
    assert lost.removesuffix(".weight") in str(problem.what).replace(".default", "")


def test_older_checkpoints_are_deleted(start: Start) -> None:
    run = start(training={"save_every": 1, "keep_checkpoints": 2})
    train(run)
    assert run.list_checkpoint_steps() == [5, 6]


def test_checkpoint_is_written_on_request(start: Start) -> None:

    def ask(event: Event, flags: Flags) -> None:
        if isinstance(event, events.StepDone) and event.step == 2:
            flags.checkpoint.set()

    channel = train(start(training={"save_every": 0}), ask)
    assert [event.step for event in channel.of(events.CheckpointSaved)] == [2, 6]


#: A worker that is killed after reporting its twelfth step.
_KILLED = """
import os
from lora_studio.engine.runtime import channel
from lora_studio.engine import worker
own = channel.Channel.emit
def emit(self, event):
    own(self, event)
    if event.kind == "step_done" and event.step == 12:
        os.kill(os.getpid(), 9)
channel.Channel.emit = emit
worker.main()
"""


@pytest.mark.slow
def test_killed_worker_resumes_from_its_last_checkpoint(start: Start) -> None:
    recipe = {"training": {"epochs": 8, "save_every": 5}}
    unbroken, killed = start(**recipe), start(**recipe)
    train(unbroken)
    worker = subprocess.Popen(
        get_shared().code_command(_KILLED),
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    with worker:
        assert worker.stdin is not None
        assert worker.stderr is not None
        worker.stdin.write(commands.Train(run=str(killed.path)).model_dump_json() + "\n")
        worker.stdin.flush()
        stderr = worker.stderr.read()
    assert worker.returncode == -9, stderr
    assert killed.read_state() == "interrupted"
    last = killed.list_checkpoint_steps()[-1]
    resumed = train(killed, resume=True)
    assert resumed.last(events.TrainingStarted).step == last >= 10
    whole = adapter_of(unbroken)
    assert all(torch.equal(value, whole[name]) for name, value in adapter_of(killed).items())


# --- stopping and failing ---------------------------------------------------------------------


@pytest.mark.slow
def test_stopping_keeps_a_usable_adapter(start: Start) -> None:

    def stop(event: Event, flags: Flags) -> None:
        if isinstance(event, events.StepDone) and event.step == 3:
            flags.stop.set()

    run = start(training={"epochs": 2})
    channel = train(run, stop)
    assert channel.last(events.Done).stopped
    assert list(losses(channel)) == [1, 2, 3]
    assert channel.last(events.AdapterSaved).step == 3
    assert run.read_manifest()["results"]["stopped"]
    assert run.list_checkpoint_steps() == [3]
    assert adapter_of(run)
    rest = train(run, resume=True)
    assert list(losses(rest)) == list(range(4, 13))


def test_cancel_is_obeyed_before_the_next_micro_batch(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lora_studio.engine.tasks.supervised import Sft

    computed: list[int] = []
    own = Sft.compute_loss

    def counted(*about: Any) -> Loss:
        computed.append(1)
        if len(computed) == 7:  # the probe and six micro-batches
            cancel[0].set()
        return own(*about)

    cancel: list[Any] = []
    monkeypatch.setattr(Sft, "compute_loss", counted)
    settings = {"gradient_accumulation": 4, "micro_batch": 1, "packing": False}
    run = start(training=settings)
    channel = train(run, lambda event, flags: cancel.append(flags.cancel))
    assert channel.of(events.Cancelled)
    assert len(computed) == 7
    assert not run.adapter.exists()


def test_nan_loss_ends_training_before_the_adapter_is_damaged(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lora_studio.engine.tasks.supervised import Sft

    own = Sft.compute_loss
    calls: list[int] = []

    def diverging(*about: Any) -> Loss:
        calls.append(1)
        # The probe of memory and three steps are finite.
        return Loss(own(*about).total * (float("nan") if len(calls) > 4 else 1.0))

    monkeypatch.setattr(Sft, "compute_loss", diverging)
    run = start(training={"save_every": 1})
    channel = train(run)
    problem = problem_of(channel)
    assert (problem.code, problem.where.field) == ("training.diverged", "learning_rate")
    assert list(losses(channel)) == [1, 2, 3]
    stored = load_file(run.checkpoint(3) / "adapter_model.safetensors")
    assert all(value.isfinite().all() for value in stored.values())


#: A training run in a process with a limit on file sizes, which acts like a full disk.
_LIMITED = """
import resource, sys
from lora_studio.core.protocol import commands
from tests.helpers.runs import jobs
def limit(event, flags):
    if event.kind == "checkpoint_saved" and event.step == 2:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
channel = jobs.handle(commands.Train(run=sys.argv[1]), limit)
for event in channel.events[-2:]:
    print(event.model_dump_json())
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(resource, "RLIMIT_FSIZE"), reason="needs limits on file sizes")
def test_full_disk_pauses_and_keeps_the_earlier_checkpoint(start: Start) -> None:
    run = start(training={"save_every": 2})
    done = subprocess.run(
        get_shared().code_command(_LIMITED, str(run.path)),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    warned, ended = map(json.loads, done.stdout.splitlines()[-2:])
    assert warned["problem"]["code"] in ("disk.full", "disk.file_too_large")
    assert warned["problem"]["remedy"]["values"] == {"step": 2}
    if warned["problem"]["code"] == "disk.file_too_large":
        assert "space" not in warned["problem"]["remedy"]["template"]
    assert ended["paused"]
    assert run.read_state() == "paused"
    assert [path.name for path in run.checkpoints.iterdir()] == ["step-00000002"]
    channel = train(run, resume=True)
    assert channel.last(events.TrainingStarted).step == 2
    assert channel.of(events.Done)


def test_template_without_usable_rows_is_a_problem(start: Start, tmp_path: Path) -> None:
    chat = {"messages": [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}, {"role": "assistant", "content": "c"}]}  # fmt: skip
    run = start("gemma3", write_rows(tmp_path / "odd.jsonl", [chat]))
    problem = problem_of(train(run))
    assert problem.code == "dataset.no_usable_rows"
    assert "Roles must go user, model" in str(problem.what)
    assert problem.fix is not None
    assert problem.fix.changes == (("dataset", "chat_template", "chatml"),)


def test_nothing_trainable_is_a_problem(start: Start) -> None:
    run = start(lora={"targets": "names", "target_names": ["query_key_value"]})
    problem = problem_of(train(run))
    assert problem.code == "lora.nothing_trainable"
    assert "q_proj" in str(problem.remedy)


def test_unreadable_model_is_a_problem(start: Start, tmp_path: Path) -> None:
    run = start(model={"source": str(tmp_path)})
    assert problem_of(train(run)).code == "model.not_a_model"


@pytest.mark.slow
def test_new_training_deletes_earlier_checkpoints(start: Start) -> None:
    run = start(training={"save_every": 2})
    train(run)

    def stop(event: Event, flags: Flags) -> None:
        if isinstance(event, events.TrainingStarted):
            flags.stop.set()

    train(run, stop)
    assert run.list_checkpoint_steps() == [1]
