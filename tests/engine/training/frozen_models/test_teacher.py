"""Training with a teacher: its tokens are computed once, cached, and those of the plain models."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from lora_studio.core.protocol import events
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.system import paths
from lora_studio.engine.training.frozen_models import reference_logprobs
from lora_studio.engine.training.frozen_models.teacher import TeacherModel
from tests.engine.conftest import TinyModel
from tests.engine.training.test_train_run import (
    ROWS,
    Start,
    adapter_of,
    losses,
    problem_of,
    start,
)
from tests.helpers.models.tiny_models import make_teacher
from tests.helpers.runs.jobs import train, write_rows

__all__ = ["start"]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def teacher(tiny: TinyModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a model with the tokenizer of the student and other weights."""
    return make_teacher(tiny("llama3"), tmp_path_factory.mktemp("teacher") / "model")


@pytest.fixture
def passes(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the rows of each micro-batch of the teacher, with a cache that no other test process uses."""
    assert not own_cache.exists()
    counted: list[int] = []
    original = TeacherModel.compute

    def compute(self: TeacherModel, rows: Any, job: Any) -> Any:
        records = original(self, rows, job)
        counted.append(len(rows))
        return records

    monkeypatch.setattr(TeacherModel, "compute", compute)
    return counted


Distill = Callable[..., RunFolder]


@pytest.fixture
def distill(start: Start, teacher: Path) -> Distill:
    """Create runs with a teacher."""

    def make(**training: Any) -> RunFolder:
        settings = {"teacher": str(teacher), "teacher_precision": "fp32", "keep_best": False}
        return start(
            dataset={"validation_share": 0.25}, training={"eval_every": 3, **settings, **training}
        )

    return make


def read_rows(run: RunFolder) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Return the token ids and the loss mask of each training row, as train.py reads them."""
    ids, trained, lengths = (
        np.load(run.data / f"{name}.npy") for name in ("ids", "trained", "lengths")
    )
    ends = np.cumsum(lengths)[:-1]
    parts = zip(np.split(ids, ends), np.split(trained, ends), strict=True)
    return [(torch.from_numpy(row.astype(np.int64)), torch.from_numpy(mask)) for row, mask in parts]


def compute_figures(run: RunFolder, student: Path, teacher: Any) -> dict[str, float]:
    """Return the metrics of an untrained student, at temperature 2, from the logits of both models."""
    entropy, divergence, count = 0.0, 0.0, 0
    model = AutoModelForCausalLM.from_pretrained(student, dtype=torch.float32).eval()
    for ids, trained in read_rows(run):
        with torch.no_grad():
            own, better = (m(input_ids=ids[None]).logits[0, :-1] for m in (model, teacher))
        own, better, targets = own[trained[1:]], better[trained[1:]].float(), ids[1:][trained[1:]]
        entropy += float(torch.nn.functional.cross_entropy(own, targets, reduction="sum"))
        divergence += float(
            torch.nn.functional.kl_div(
                (own / 2).log_softmax(1),
                (better / 2).log_softmax(1),
                reduction="sum",
                log_target=True,
            )
        )
        count += len(targets)
    return {"cross_entropy": entropy / count, "teacher_kl": divergence / count}


#: One step with all rows and all tokens of the vocabulary.
WHOLE = {
    "epochs": 1, "micro_batch": 18, "gradient_accumulation": 1, "distillation_weight": 0.25,
    "distillation_temperature": 2.0, "distillation_top_k": 4096,
}  # fmt: skip


def test_loss_is_that_of_both_plain_models(
    distill: Distill, tiny: TinyModel, teacher: Path, passes: list[int]
) -> None:
    run = distill(**WHOLE)
    channel = train(run)
    assert sum(passes) == len(ROWS)
    other = AutoModelForCausalLM.from_pretrained(teacher, dtype=torch.float32).eval()
    expected = compute_figures(run, tiny("llama3"), other)
    first = channel.of(events.StepDone)[0]
    assert first.metrics == pytest.approx(expected, rel=1e-5)
    loss = 0.75 * expected["cross_entropy"] + 0.25 * 4 * expected["teacher_kl"]
    assert first.loss == pytest.approx(loss, rel=1e-5)
    assert channel.of(events.Evaluated)[-1].metrics["teacher_kl"] > 0


@pytest.mark.thorough
def test_quantized_teacher_gives_its_own_probabilities(
    distill: Distill, tiny: TinyModel, teacher: Path, passes: list[int]
) -> None:
    run = distill(**WHOLE, teacher_precision="4bit")
    first = train(run).of(events.StepDone)[0]
    settings = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    other = AutoModelForCausalLM.from_pretrained(
        teacher, dtype=torch.bfloat16, quantization_config=settings, device_map={"": "cpu"}
    )
    expected = compute_figures(run, tiny("llama3"), other.eval())
    assert first.metrics == pytest.approx(expected, rel=5e-3)
    assert sum(passes) == len(ROWS)
    plain = train(distill(**WHOLE)).of(events.StepDone)[0]
    assert sum(passes) == 2 * len(ROWS)  # it isn't taken for the teacher in 32-bit
    assert abs(first.metrics["teacher_kl"] / plain.metrics["teacher_kl"] - 1) > 1e-3


def test_values_are_cached_and_split_of_a_step_does_not_matter(
    distill: Distill, passes: list[int]
) -> None:
    one = train(distill(epochs=1, micro_batch=2, gradient_accumulation=4))
    assert sum(passes) == len(ROWS)
    passes.clear()
    other = train(distill(epochs=1, micro_batch=8, gradient_accumulation=1, packing=False))
    assert not passes
    assert losses(one) == pytest.approx(losses(other), rel=1e-4)
    (file,) = (paths.get_cache_folder() / "teacher").glob("*.values")
    with file.open("rb+") as stream:
        stream.seek(100)
        stream.write(b"damage")
    train(distill(epochs=1))
    assert passes == [1]


def test_pause_in_the_teacher_keeps_what_is_done(
    distill: Distill, passes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reference_logprobs, "BLOCK", 1)
    unbroken = distill()
    train(unbroken)
    shutil.rmtree(paths.get_cache_folder() / "teacher")
    passes.clear()
    run, compute = distill(), TeacherModel.compute

    def compute_and_pause(self: TeacherModel, rows: Any, job: Any) -> Any:
        if len(passes) == 3:
            job.flags.pause.set()
        return compute(self, rows, job)

    with monkeypatch.context() as patch:
        patch.setattr(TeacherModel, "compute", compute_and_pause)
        channel = train(run)
    assert channel.last(events.Done).paused
    stages = {str(event.stage) for event in channel.of(events.Progress)}
    assert "computing the teacher's probabilities" in stages
    assert 0 < sum(passes) < len(ROWS)
    train(run, resume=True)
    assert sum(passes) == len(ROWS)
    for name, value in adapter_of(run).items():
        torch.testing.assert_close(value, adapter_of(unbroken)[name], rtol=0, atol=0)


def test_other_tokenizer_is_refused_by_its_first_token(
    distill: Distill, teacher: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(teacher, other)
    content = json.loads((other / "tokenizer.json").read_text())
    vocabulary = content["model"]["vocab"]
    names = sorted(vocabulary, key=vocabulary.__getitem__)
    first, second = names[300], names[301]
    vocabulary[first], vocabulary[second] = vocabulary[second], vocabulary[first]
    (other / "tokenizer.json").write_text(json.dumps(content))
    problem = problem_of(train(distill(teacher=str(other))))
    assert problem.code == "training.teacher_tokens"
    assert problem.what.values["number"] == vocabulary[second]
    assert problem.what.values["own"] == first


def test_teacher_that_changed_is_refused_on_resume(
    distill: Distill, teacher: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(teacher, other)
    run = distill(teacher=str(other), epochs=2)

    def pause(event: Any, flags: Any) -> None:
        if isinstance(event, events.StepDone) and event.step == 2:
            flags.pause.set()

    assert train(run, on_event=pause).last(events.Done).paused
    model = AutoModelForCausalLM.from_pretrained(other, dtype=torch.float32)
    model.lm_head.weight.data.mul_(1.5)
    model.save_pretrained(other)
    assert problem_of(train(run, resume=True)).code == "training.teacher_changed"


def test_teacher_of_pairs_is_not_loaded(distill: Distill, start: Start, tmp_path: Path) -> None:
    pairs = [{"prompt": f"{n}?", "chosen": "Yes.", "rejected": "No."} for n in range(6)]
    run = start(
        rows=write_rows(tmp_path / "pairs.jsonl", pairs),
        training={"teacher": "builtin:SmolLM2-135M-Instruct", "max_steps": 1},
    )
    assert train(run).last(events.Done)
