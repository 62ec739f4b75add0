"""Classifiers: equal to transformers' own, trained like other objectives, saved as PEFT saves them."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification

from lora_studio.core.dataset.spec import DataSource
from lora_studio.core.lora import adapters
from lora_studio.core.lora.adapters import WeightedAdapter
from lora_studio.core.lora.spec import LoraSpec
from lora_studio.core.memory import adapter_size
from lora_studio.core.memory.rows import build_row_statistics
from lora_studio.core.messages import text
from lora_studio.core.model.spec import ModelSpec
from lora_studio.core.problems import ProblemError
from lora_studio.core.protocol import commands, events
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.tasks.classification import ACCURACY, ClassificationReport, weigh_classes
from lora_studio.core.training.spec import TrainingSpec
from lora_studio.engine.backends.backend import AdaptedModel
from lora_studio.engine.kernels.logprobs import LogprobModel
from lora_studio.engine.lora import attach
from lora_studio.engine.model.loading import load_tokenizer
from lora_studio.engine.selftest.judging import StageComparison
from lora_studio.engine.selftest.selftest import measure_merged
from lora_studio.engine.tasks.classification import (
    Classification,
    attach_classifier,
    write_config,
)
from lora_studio.engine.tasks.table import create_objective
from lora_studio.engine.tokens.encoder import Encoded, EncodedClassified
from tests.engine.conftest import TinyModel
from tests.engine.training.test_train_run import Start, start
from tests.helpers.runs.jobs import RecordingChannel, handle, make_job, train, write_rows
from tests.helpers.runs.resumed_runs import expect_same_adapter_after_pause

__all__ = ["start"]

LABELS = ("billing", "shipping", "technical")
TEXTS = ("I was charged twice.", "Where is my parcel?", "It crashes when I open it, every time.")
WORDS = "my order from last week about the new blue lamp was not what you said it would be so please help"
#: Rows that don't resemble each other, but for the word that tells their label.
ROWS = [
    {"text": " ".join(random.Random(n).sample(WORDS.split(), 5)) + f" {label}", "label": label}
    for n, label in enumerate(LABELS * 8)
]


class FakeBase:
    """What the head needs of a loaded base."""

    def __init__(self, model: Any, folder: Path) -> None:
        self.model, self.tokenizer = model, load_tokenizer(folder)
        self.new_tokens: dict[int, list[int]] = {}


def make_classifier(folder: Path) -> AdaptedModel:
    """Return a tiny 32-bit model with a head for three labels, whose B matrices aren't zero."""
    base = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    torch.manual_seed(3)
    model = attach.attach_adapter(base, LoraSpec(rank=4), make_job())
    tuned = AdaptedModel(FakeBase(base, folder), model)  # type: ignore[arg-type]
    attach_classifier(tuned, LABELS, 3)
    for name, value in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(value, std=0.05)
    model.eval()
    return tuned


def encode_texts(tuned: AdaptedModel) -> list[EncodedClassified]:
    rows = [np.asarray(tuned.base.tokenizer(text).input_ids, np.int32) for text in TEXTS]
    return [
        EncodedClassified(Encoded(ids, np.zeros(len(ids), bool)), number)
        for number, ids in enumerate(rows)
    ]


@pytest.mark.parametrize("packing", [True, False])
def test_peft_and_transformers_give_the_same_scores_and_loss(
    tiny: TinyModel, tmp_path: Path, packing: bool
) -> None:
    base, adapter = tiny("llama3"), tmp_path / "adapter"
    tuned = make_classifier(base)
    tuned.model.save_pretrained(str(adapter))
    write_config(tuned.base.model.config, LABELS, tuned.base.tokenizer.pad_token_id, adapter)
    config = AutoConfig.from_pretrained(adapter)
    assert (config.id2label, config.label2id["technical"]) == (dict(enumerate(LABELS)), 2)
    assert config.architectures == ["LlamaForSequenceClassification"]
    loaded = AutoModelForSequenceClassification.from_pretrained(base, config=config, dtype=torch.float32)  # fmt: skip
    loaded = peft.PeftModel.from_pretrained(loaded, adapter)
    assert json.loads((adapter / "adapter_config.json").read_text())["task_type"] == "SEQ_CLS"

    rows = encode_texts(tuned)
    batch = tuned.base.tokenizer(list(TEXTS), padding=True, return_tensors="pt")
    expected = loaded(**batch, labels=torch.tensor([row.label for row in rows]))
    objective = Classification(LogprobModel.create(tuned.model, packing=packing), [1.0, 1.0, 1.0])
    torch.testing.assert_close(objective.score(rows), expected.logits, rtol=0, atol=1e-5)
    measured = objective.compute_loss(rows)
    assert float(measured.total.detach()) / 3 == pytest.approx(float(expected.loss), abs=1e-5)
    measured.total.backward()
    assert tuned.model.base_model.model.score.modules_to_save["default"].weight.grad.abs().sum() > 0


def test_head_has_a_row_of_parameters_for_each_label(tiny: TinyModel) -> None:
    base = tiny("llama3")
    inspected = attach.inspect_model(ModelSpec(source=str(base)), LoraSpec(rank=4), make_job())
    planned = events.DatasetPlanned(
        task="classification", rows_read=3, rows_train=3, rows_validation=0, tokens=9, trained_tokens=3,
        labels=dict.fromkeys(LABELS, 1),
    )  # fmt: skip
    rows = build_row_statistics(planned)
    outputs = TrainingSpec().count_head_outputs(rows.task, rows.labels)
    expected = attach.count_parameters(make_classifier(base).model)
    sized = adapter_size.with_head(inspected, outputs).adapter
    assert sized is not None
    assert (sized.trainable, sized.total, sized.adapter_bytes) == (
        expected.trainable, expected.total, expected.adapter_bytes,
    )  # fmt: skip


def test_weights_and_predictions_count_rows(tiny: TinyModel) -> None:
    tuned = make_classifier(tiny("llama3"))
    rows, logprob_model = encode_texts(tuned), LogprobModel.create(tuned.model)
    with torch.no_grad():
        single = [
            float(Classification(logprob_model, [1.0] * 3).compute_loss([row]).total)
            for row in rows
        ]
        weighted = Classification(logprob_model, weigh_classes([4, 2, 2], "balanced")).compute_loss(
            rows
        )
    expected = sum(
        loss * weight for loss, weight in zip(single, (2 / 3, 4 / 3, 4 / 3), strict=True)
    )
    assert float(weighted.total) == pytest.approx(expected, rel=1e-5)
    assert weighted.confusion is not None
    assert weighted.confusion.sum(1).tolist() == [1, 1, 1]
    assert int(weighted.confusion.trace()) == int(weighted.metrics[ACCURACY])


def start_classifier(start: Start, folder: Path) -> RunFolder:
    rows = write_rows(folder / "messages.jsonl", ROWS)
    settings = {"epochs": 4, "micro_batch": 4, "sample_rows": 2, "learning_rate": 1e-2}
    dataset = {"validation_count": 6, "system_prompt": "Be brief."}
    return start(rows=rows, dataset=dataset, training=settings)


@pytest.mark.slow
def test_classifier_learns_and_resumes_exactly(start: Start, tmp_path: Path) -> None:
    unbroken, paused = start_classifier(start, tmp_path), start_classifier(start, tmp_path)
    channel = train(unbroken)
    assert channel.last(events.DatasetReady).labels.keys() == set(LABELS)
    assert len(channel.of(events.ParametersCounted)) == 1
    last = channel.last(events.Evaluated)
    assert last.classification is not None
    assert last.classification.rows == channel.last(events.DatasetReady).rows_validation
    assert last.metrics[ACCURACY] == last.classification.accuracy >= 5 / 6
    assert sum(label.support > 0 for label in last.classification.per_label) > 1
    assert not channel.of(events.Sampled)
    recorded = unbroken.read_manifest()["results"]["evaluations"][-1]["report"]
    assert ClassificationReport.model_validate(recorded) == last.classification

    resumed = expect_same_adapter_after_pause(paused, unbroken).last(events.Evaluated)
    assert (resumed.loss, resumed.classification) == (last.loss, last.classification)
    weights = load_file(unbroken.adapter / "adapter_model.safetensors")
    assert weights["base_model.model.score.weight"].shape[0] == len(LABELS)
    expect_merged_classifier(unbroken)


def expect_same_labels_of_a_file(run: RunFolder, expected: events.TextsClassified) -> None:
    """Classify the rows of a file, and compare their labels with those of the texts alone."""
    file = write_rows(run.path.parent / "rows.jsonl", [{"text": each} for each in (*TEXTS, " ")])
    command = commands.ClassifyFile(run=str(run.path), source=DataSource(path=str(file)))
    predicted = handle(command).last(events.TextsClassified)
    assert predicted.probabilities == expected.probabilities
    assert [json.loads(row)["text"] for row in predicted.rows] == [*TEXTS, " "]


def expect_failure_of_a_wrong_merge(run: RunFolder) -> None:
    """Check the self-test of a merged model whose head predicts the opposite."""
    (file,) = run.merged.glob("*.safetensors")
    weights = load_file(file)
    weights["score.weight"] *= -1
    save_file(weights, file, metadata={"format": "pt"})
    channel = RecordingChannel()
    equal = StageComparison(compared=text("equal"))
    tested = measure_merged(run, run.load_project(), equal, make_job(channel))
    assert (tested.passed, tested.verdict) == (False, "failed")
    problem = channel.last(events.Warned).problem
    assert problem.code == "selftest.failed"
    assert "gives other label probabilities" in str(problem.what)


def expect_merged_classifier(run: RunFolder) -> None:
    """Merge, load the result with transformers alone, and compare it with base and adapter in PEFT."""
    tested = handle(commands.Merge(run=str(run.path))).last(events.SelfTested)
    assert (tested.stage, tested.passed) == ("merged", True)
    assert "label probabilities" in str(tested.compared)
    merged, loading = AutoModelForSequenceClassification.from_pretrained(run.merged, dtype=torch.float32, output_loading_info=True)  # fmt: skip
    assert not any(loading[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert merged.config.id2label == dict(enumerate(LABELS))
    assert merged.config.label2id == {label: number for number, label in enumerate(LABELS)}
    base = AutoModelForSequenceClassification.from_pretrained(
        run.load_project().model.source, config=AutoConfig.from_pretrained(run.adapter), dtype=torch.float32
    )  # fmt: skip
    adapted = peft.PeftModel.from_pretrained(base, run.adapter)
    batch = load_tokenizer(run.merged)(list(TEXTS), padding=True, return_tensors="pt")
    with torch.no_grad():
        expected, actual = adapted(**batch).logits, merged(**batch).logits
    assert expected.std() > 0.1
    torch.testing.assert_close(actual, expected, rtol=2e-2, atol=2e-2)  # stored in 16-bit
    asked = handle(commands.Classify(run=str(run.path), texts=(*TEXTS, " ")))
    predicted = asked.last(events.TextsClassified)
    assert (predicted.labels, predicted.probabilities[-1]) == (LABELS, ())
    probabilities = torch.tensor(predicted.probabilities[:-1])
    torch.testing.assert_close(probabilities, expected.softmax(1), rtol=1e-3, atol=1e-4)
    failed = handle(commands.Export(run=str(run.path))).last(events.Failed)
    assert failed.problem.code == "export.classifier"
    expect_same_labels_of_a_file(run, predicted)
    expect_failure_of_a_wrong_merge(run)
    with pytest.raises(ProblemError, match="can't write them"):
        adapters.read_config(run.adapter)
    own = WeightedAdapter(folder=str(run.adapter))
    combined = commands.CombineAdapters(adapters=(own, own), out=str(run.path / "combined"))
    assert handle(combined).last(events.Failed).problem.code == "lora.only_scores"


@pytest.mark.slow
def test_rows_of_one_label_cannot_be_classified(start: Start, tmp_path: Path) -> None:
    rows = write_rows(tmp_path / "one.jsonl", [{**row, "label": "same"} for row in ROWS])
    failed = train(start(rows=rows)).last(events.Failed)
    assert failed.problem.code == "dataset.one_label"


def test_classifier_cannot_be_kept_by_its_answers(tiny: TinyModel) -> None:
    logprob_model = LogprobModel.create(make_classifier(tiny("llama3")).model)
    with pytest.raises(ProblemError, match="doesn't write answers"):
        create_objective(TrainingSpec(best_by="exact"), "classification", logprob_model)
