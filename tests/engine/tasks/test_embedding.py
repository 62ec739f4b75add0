"""Embedding training: equal to the published formula, however a step is split, and saved as PEFT loads it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import torch
from transformers import AutoModel, AutoModelForCausalLM

from lora_studio.core.lora import adapters
from lora_studio.core.lora.spec import LoraSpec
from lora_studio.core.problems import ProblemError
from lora_studio.core.protocol import commands, events
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.training.retrieval import MRR, RECALLS
from lora_studio.engine.devices.ranks import DuplicateBatch, ProcessGroup
from lora_studio.engine.kernels.logprobs import LogprobModel
from lora_studio.engine.lora import attach
from lora_studio.engine.model.loading import load_tokenizer
from lora_studio.engine.tasks.embedding import (
    InBatchNegatives,
    append_end_token,
    embed,
    find_false_negatives,
    list_ids,
    rank_positives,
    rank_texts,
    summarize_ranks,
)
from lora_studio.engine.tokens.encoder import EncodedSearchPair
from lora_studio.engine.training import checkpoint_files
from lora_studio.engine.training.recipe.neftune import add_embedding_noise
from tests.engine.conftest import TinyModel
from tests.engine.training.test_train_run import Start, start
from tests.helpers.runs.jobs import handle, make_job, new_run, train, write_rows
from tests.helpers.runs.resumed_runs import expect_same_adapter_after_pause
from tests.helpers.runs.search_questions import SEARCH_QUESTIONS

__all__ = ["start"]

WORDS = ["oak", "elm", "fig", "ash", "yew", "bay", "box", "fir", "gum", "ivy"]
ROWS = [
    {"query": f"Where is the {word}?", "positive": f"The {word} is in garden {n}.", "negative": f"No {word} here."}
    for n, word in enumerate(WORDS * 3)
]  # fmt: skip


def make_model(folder: Path, **lora: Any) -> peft.PeftModel:
    """Return a tiny 32-bit model whose B matrices aren't zero."""
    base = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    torch.manual_seed(3)
    model = attach.attach_adapter(base, LoraSpec(rank=4, **lora), make_job())
    for name, value in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(value, std=0.05)
    return model


def make_pairs(count: int, *, negatives: bool = True) -> list[EncodedSearchPair]:
    draw = np.random.default_rng(5)
    texts = [draw.integers(3, 60, size=int(size)).astype(np.int32) for size in draw.integers(3, 9, 3 * count)]  # fmt: skip
    return [
        EncodedSearchPair(texts[3 * n], texts[3 * n + 1], texts[3 * n + 2] if negatives and n % 2 else None)
        for n in range(count)
    ]  # fmt: skip


def expect_loss(model: peft.PeftModel, rows: list[EncodedSearchPair], pooling: str) -> torch.Tensor:
    """Return the mean loss as sentence-transformers' MultipleNegativesRankingLoss defines it, text by text."""

    def vector(ids: np.ndarray) -> torch.Tensor:
        batch = torch.from_numpy(ids.astype(np.int64))[None]
        states = model.get_base_model().model(input_ids=batch).last_hidden_state[0]
        return states[-1] if pooling == "last" else states.mean(0)

    texts = [row.positive for row in rows] + [r.negative for r in rows if r.negative is not None]
    found = [vector(ids) for ids in texts]
    losses = []
    for n, row in enumerate(rows):
        query = vector(row.query)
        scores = torch.stack([20 * torch.cosine_similarity(query, each, dim=0) for each in found])
        losses.append(torch.logsumexp(scores, 0) - scores[n])
    return torch.stack(losses).mean()


def take_gradients(model: peft.PeftModel) -> dict[str, torch.Tensor]:
    found = {n: v.grad.clone() for n, v in model.named_parameters() if v.grad is not None}
    model.zero_grad()
    return found


@pytest.mark.parametrize("pooling", ["last", pytest.param("mean", marks=pytest.mark.slow)])
def test_loss_and_gradients_equal_the_formula(tiny: TinyModel, pooling: Any) -> None:
    model, rows = make_model(tiny("llama3")).eval(), make_pairs(6)
    expect_loss(model, rows, pooling).backward()
    expected = take_gradients(model)
    for packing, size in ((True, 2), (False, 6)):  # by cached gradients, and all at once
        objective = InBatchNegatives(LogprobModel.create(model, packing=packing), 20.0, pooling)
        parts = [rows[at : at + size] for at in range(0, 6, size)]
        objective.prepare_step(parts)
        loss = torch.stack([objective.compute_loss(part).total for part in parts]).sum() / 6
        loss.backward()
        value = expect_loss(model, rows, pooling)
        torch.testing.assert_close(loss, value, rtol=1e-5, atol=0)
        for name, gradient in take_gradients(model).items():
            torch.testing.assert_close(gradient, expected[name], rtol=1e-4, atol=1e-5)


def test_second_pass_has_the_noise_and_dropout_of_the_first(tiny: TinyModel) -> None:
    model, rows = make_model(tiny("llama3"), dropout=0.2).train(), make_pairs(6)
    logprob_model, parts = LogprobModel.create(model), [rows[:3], rows[3:]]
    add_embedding_noise(logprob_model, 50.0)
    torch.manual_seed(4)
    vectors = [embed(logprob_model, list_ids(part), "mean") for part in parts]
    expected_loss = rank_texts(parts, vectors, 20.0).losses.sum()
    expected_loss.backward()
    expected = take_gradients(model)
    objective = InBatchNegatives(logprob_model, 20.0, "mean")
    torch.manual_seed(4)
    objective.prepare_step(parts)
    loss = torch.stack([objective.compute_loss(part).total for part in parts]).sum()
    loss.backward()
    torch.testing.assert_close(loss, expected_loss)
    for name, gradient in take_gradients(model).items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("trains", [True, False])
def test_sharded_ranks_embed_equally_often(tiny: TinyModel, trains: bool) -> None:
    rows, parts, passes = make_pairs(6), list[Any](), list[list[int]]()
    parts = [rows[at : at + 2] for at in range(0, 6, 2)]  # one for each rank, and one more
    for rank in range(2):
        model = make_model(tiny("llama3"))
        ranks, count = ProcessGroup(rank, 2, is_sharded=True), list[int]()
        vectors = [torch.zeros(len(list_ids(part)), model.config.hidden_size) for part in parts]
        ranks.all_gather = lambda _, each=vectors: [each[::2], each[1::2]]  # type: ignore[method-assign,misc]  # no other process
        objective = InBatchNegatives(LogprobModel.create(model), 20.0, "last", ranks)
        model.get_base_model().model.register_forward_pre_hook(lambda *_, n=count: n.append(1))
        with torch.set_grad_enabled(trains):
            objective.prepare_step(parts)
            own = ranks.get_local_batches(parts)
            for part in own:
                objective.compute_loss(part)
        assert isinstance(own[-1], DuplicateBatch) == bool(rank)
        passes.append(count)
    assert [len(count) for count in passes] == ([4, 4] if trains else [2, 2])


def test_similarities_are_computed_in_32_bit() -> None:
    vectors = torch.nn.functional.normalize(torch.randn(9, 8), dim=1)
    rows = make_pairs(3)
    vectors = vectors[: len(list_ids(rows))]
    expected = rank_texts([rows], [vectors], 20.0).losses
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(rank_texts([rows], [vectors], 20.0).losses, expected)


def test_equal_texts_are_no_negatives() -> None:
    a, b, c, d = (np.array([n, n + 1], np.int32) for n in range(4))
    rows = [EncodedSearchPair(a, b, c), EncodedSearchPair(d, b), EncodedSearchPair(a, c, a)]
    assert find_false_negatives(rows).tolist() == [
        [False, True, True, True, True],  # b again, c of an equal query twice, itself
        [True, False, False, False, False],
        [True, True, False, True, True],
    ]


def test_ranks_are_pessimistic_and_ignore_other_positives() -> None:
    same = torch.ones(5, 3) / 3**0.5
    queries, positives = np.array([0, 1]), np.array([2, 3])
    assert rank_positives(same, queries, positives).tolist() == [2, 2]
    vectors = torch.nn.functional.normalize(
        torch.tensor([[1.0, 0], [1, 0.1], [0.5, 1], [0, 1]]), dim=1
    )
    # Two positives of one query, and a query that is itself a positive.
    ranks = rank_positives(vectors, np.array([0, 0, 3]), np.array([2, 3, 1]))
    assert ranks.tolist() == [2, 2, 2]
    assert summarize_ranks(np.array([1, 2, 11]))[MRR] == pytest.approx((1 + 1 / 2 + 1 / 11) / 3)


def test_end_token_is_appended_once(tiny: TinyModel) -> None:
    tokenizer = load_tokenizer(tiny("llama3"))
    before = tokenizer("Who is it?").input_ids
    for _ in range(2):
        append_end_token(tokenizer)
        assert tokenizer("Who is it?").input_ids == [*before, tokenizer.eos_token_id]


@pytest.mark.parametrize("blocks", ["", "1"])
def test_peft_loads_the_adapter_without_the_output_layer(
    tiny: TinyModel, tmp_path: Path, blocks: str
) -> None:
    model = make_model(tiny("llama3"), blocks=blocks).eval()
    tokenizer = load_tokenizer(tiny("llama3"))
    append_end_token(tokenizer)
    model.peft_config["default"].task_type = peft.TaskType.FEATURE_EXTRACTION
    (tmp_path / "adapter").mkdir()
    checkpoint_files.write_adapter(model, tmp_path / "adapter", tokenizer)
    loaded = peft.PeftModel.from_pretrained(
        AutoModel.from_pretrained(tiny("llama3"), dtype=torch.float32), str(tmp_path / "adapter")
    )
    ids = load_tokenizer(tmp_path / "adapter")("Where is the oak?", return_tensors="pt").input_ids
    states = loaded(input_ids=ids).last_hidden_state[0]
    for pooling, pooled in (("last", states[-1]), ("mean", states.mean(0))):
        own = embed(LogprobModel.create(model), [ids[0].numpy()], pooling)[0]
        expected = torch.nn.functional.normalize(pooled, dim=0)
        torch.testing.assert_close(own, expected, rtol=0, atol=1e-5)
    base = tiny("llama3")
    plain = AutoModel.from_pretrained(base, dtype=torch.float32)(input_ids=ids).last_hidden_state
    assert (plain[0] - states).abs().max() > 1e-3


def start_embedding(start: Start, folder: Path, **training: Any) -> RunFolder:
    rows = write_rows(folder / "pairs.jsonl", ROWS)
    settings = {"epochs": 2, "micro_batch": 4, "sample_rows": 2, "neftune_alpha": 1.0, **training}
    lora = {"dropout": 0.1}
    return start(rows=rows, dataset={"validation_share": 0.3}, training=settings, lora=lora)


@pytest.mark.slow
def test_embeddings_learn_resume_and_load_with_peft(start: Start, tmp_path: Path) -> None:
    unbroken, paused = start_embedding(start, tmp_path), start_embedding(start, tmp_path)
    channel = train(unbroken)
    first, last = channel.of(events.Evaluated)[0], channel.of(events.Evaluated)[-1]
    assert first.step == 0
    assert last.loss < first.loss
    assert last.metrics[RECALLS[1]] > first.metrics[RECALLS[1]]
    assert "rows of its step are the negatives" in str(
        [event.text for event in channel.of(events.LogLine)]
    )
    expect_same_adapter_after_pause(paused, unbroken)
    expect_merged_model(unbroken)


def expect_merged_model(run: RunFolder) -> None:
    """Merge, and read the result as sentence-transformers does: by the modules that the folder names."""
    tested = handle(commands.Merge(run=str(run.path))).last(events.SelfTested)
    assert (tested.stage, tested.passed) == ("merged", True)
    assert tested.similarity == pytest.approx(1, abs=1e-4)  # stored in 16-bit
    modules = json.loads((run.merged / "modules.json").read_text())
    assert [(each["path"], each["type"].rsplit(".")[-1]) for each in modules] == [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]  # fmt: skip
    pooling = json.loads((run.merged / "1_Pooling" / "config.json").read_text())
    assert [name for name, is_on in pooling.items() if is_on is True and "mode" in name] == ["pooling_mode_lasttoken"]  # fmt: skip
    model = AutoModel.from_pretrained(run.merged, dtype=torch.float32)
    assert pooling["word_embedding_dimension"] == model.config.hidden_size
    tokenizer = load_tokenizer(run.merged)
    assert tokenizer("Who?").input_ids[-1] == tokenizer.eos_token_id
    with pytest.raises(ProblemError, match="turns texts into vectors"):
        adapters.read_config(run.adapter)


@pytest.mark.thorough
def test_small_model_finds_more_answers_after_training(tmp_path: Path) -> None:
    rows = write_rows(tmp_path / "questions.jsonl", SEARCH_QUESTIONS)
    run = new_run(
        tmp_path,
        model={"source": "builtin:SmolLM2-135M-Instruct", "precision": "bf16", "device": "cpu"},
        dataset={"sources": [str(rows)], "validation_count": 12, "max_length": 64},
        training={"epochs": 20, "micro_batch": 28, "gradient_accumulation": 1, "learning_rate": 5e-4, "pooling": "mean"},
        lora={"rank": 16, "alpha": 32},
    )  # fmt: skip
    evaluated = train(run).of(events.Evaluated)
    assert evaluated[-1].metrics[RECALLS[1]] > evaluated[0].metrics[RECALLS[1]]
    assert evaluated[-1].metrics[MRR] > evaluated[0].metrics[MRR]
