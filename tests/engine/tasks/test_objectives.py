"""Objectives: losses equal to their formulas, to transformers and to TRL, however they're computed."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import peft
import pytest
import torch
from safetensors.torch import load_file
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

from lora_studio.core.lora.spec import LoraSpec
from lora_studio.core.problems import ProblemError
from lora_studio.core.training.spec import TrainingSpec
from lora_studio.engine.kernels import chunked_logprobs
from lora_studio.engine.kernels.logprobs import LogprobModel
from lora_studio.engine.lora import attach
from lora_studio.engine.model import capped_attention
from lora_studio.engine.model.loading import load_tokenizer
from lora_studio.engine.tasks.preference import Dpo, Kto, Orpo, Simpo, swap_answer
from lora_studio.engine.tasks.table import create_objective
from lora_studio.engine.tokens.batches import collate
from lora_studio.engine.tokens.encoder import Encoded, EncodedLabeled, EncodedPair
from tests.engine.conftest import TinyModel
from tests.helpers.models.tiny_models import FAMILIES
from tests.helpers.models.trl_loss import trl_steps
from tests.helpers.runs.jobs import make_job


def sft(scores: torch.Tensor) -> torch.Tensor:
    """Return the sum that training divides by the number of trained tokens."""
    return -scores.sum()


Wrapped = Callable[..., peft.PeftModel]

#: What TRL reports for one step of each variant, and the folder with its gradients.
ByTrl = tuple[list[dict[str, Any]], Path]


def labels_of(row: Encoded) -> list[int]:
    """Return the IDs of trained tokens, and -100 elsewhere."""
    return np.where(row.trained, row.ids, -100).tolist()


def rows_of() -> list[Encoded]:
    """Return random rows: one with two trained spans, one with one, and one trained from the start."""
    generator = np.random.default_rng(1)
    rows = []
    for length, trained in ((12, (*range(4, 6), *range(9, 12))), (12, range(4, 12)), (7, range(7))):
        mask = np.isin(np.arange(length), list(trained))
        rows.append(Encoded(generator.integers(5, 400, length).astype(np.int32), mask))
    return rows


@pytest.fixture(scope="module")
def wrapped(tiny: TinyModel) -> Wrapped:
    """Create tiny 32-bit models with adapters whose B matrices aren't zero."""

    def make(family: str, seed: int = 3) -> peft.PeftModel:
        base = AutoModelForCausalLM.from_pretrained(tiny(family), dtype=torch.float32)
        capped_attention.enable_attention_softcapping(base)
        torch.manual_seed(seed)
        model = attach.attach_adapter(base, LoraSpec(rank=4), make_job())
        for name, value in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(value, std=0.05)
        return model.eval()

    return make


def own_sum(model: peft.PeftModel, rows: list[Encoded]) -> float:
    """Return the sum of transformers' own loss, row by row."""
    total = 0.0
    for row in rows:
        ids, labels = (
            torch.from_numpy(row.ids.astype(np.int64))[None],
            torch.tensor([labels_of(row)]),
        )
        count = int((labels[:, 1:] != -100).sum())
        total += float(model(input_ids=ids, labels=labels).loss.detach()) * count
    return total


@pytest.mark.parametrize("family", FAMILIES)
def test_sft_loss_equals_transformers_over_all_trained_tokens(
    wrapped: Wrapped, family: str
) -> None:
    model, rows = wrapped(family), rows_of()
    logprob_model = LogprobModel.create(model)
    assert (logprob_model.packed, logprob_model.chunked) == (True, True)
    assert float(sft(logprob_model(collate(rows))).detach()) == pytest.approx(
        own_sum(model, rows), rel=1e-5
    )


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("chunked", [True, False])
def test_packing_and_chunking_give_same_scores_and_gradients(
    wrapped: Wrapped, monkeypatch: pytest.MonkeyPatch, packed: bool, chunked: bool
) -> None:
    monkeypatch.setattr(
        chunked_logprobs, "count_logits_at_once", lambda *_: 5 * 512
    )  # several pieces
    model, rows = wrapped("qwen3"), rows_of()
    weights = torch.linspace(-1, 2, len(collate(rows).targets))
    logprob_model = LogprobModel.create(model)
    (logprob_model(collate(rows)) * weights).sum().backward()
    expected = [value.grad.clone() for value in model.parameters() if value.grad is not None]
    model.zero_grad()
    logprob_model.packed, logprob_model._head = packed, logprob_model._head if chunked else None
    (logprob_model(collate(rows)) * weights).sum().backward()
    actual = [value.grad for value in model.parameters() if value.grad is not None]
    assert len(actual) == len(expected) > 0
    for one, other in zip(actual, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


def test_rows_in_one_batch_do_not_influence_each_other(wrapped: Wrapped) -> None:
    logprob_model = LogprobModel.create(wrapped("mistral"))
    rows = rows_of()
    together = logprob_model(collate(rows)).detach()
    alone = torch.cat([logprob_model(collate([row])).detach() for row in rows])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-6)


def test_sliding_window_limits_packed_rows(
    tiny: TinyModel,
) -> None:
    base = AutoModelForCausalLM.from_pretrained(tiny("mistral"), dtype=torch.float32)
    base.config.sliding_window = 6
    model = attach.attach_adapter(base, LoraSpec(rank=4), make_job()).eval()
    logprob_model = LogprobModel.create(model)
    assert logprob_model.packed
    assert float(sft(logprob_model(collate(rows_of()))).detach()) == pytest.approx(
        own_sum(model, rows_of()), rel=1e-5
    )


def test_recurrent_model_is_trained_on_padded_rows() -> None:
    from transformers import MambaConfig, MambaForCausalLM

    torch.manual_seed(0)
    config = MambaConfig(vocab_size=512, hidden_size=32, state_size=4, num_hidden_layers=2)
    model = peft.get_peft_model(
        MambaForCausalLM(config), peft.LoraConfig(target_modules=["x_proj"], r=4)
    ).eval()
    logprob_model = LogprobModel.create(model)
    assert not logprob_model.packed
    rows = rows_of()
    assert float(sft(logprob_model(collate(rows))).detach()) == pytest.approx(
        own_sum(model, rows), rel=1e-4
    )


def test_trained_output_layer_gets_its_gradient(tiny: TinyModel) -> None:
    base = AutoModelForCausalLM.from_pretrained(tiny("phi3"), dtype=torch.float32)
    assert not base.config.tie_word_embeddings
    model = peft.get_peft_model(
        base, peft.LoraConfig(target_modules=["o_proj"], modules_to_save=["lm_head"], r=4)
    )
    logprob_model = LogprobModel.create(model)
    assert not logprob_model.chunked
    sft(logprob_model(collate(rows_of()))).backward()
    assert any(
        value.grad is not None for name, value in model.named_parameters() if "lm_head" in name
    )


@pytest.mark.parametrize("size", [1, 2])
def test_micro_batches_add_up_to_the_whole_gradient(wrapped: Wrapped, size: int) -> None:
    model, rows = wrapped("qwen3"), rows_of()
    logprob_model = LogprobModel.create(model)

    def gradients(batches: list[list[Encoded]]) -> list[torch.Tensor]:
        model.zero_grad()
        for part in batches:
            sft(logprob_model(collate(part))).backward()
        return [value.grad.clone() for value in model.parameters() if value.grad is not None]

    parts = [rows[begin : begin + size] for begin in range(0, len(rows), size)]
    for one, other in zip(gradients(parts), gradients([rows]), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_accumulated_sft_loss_equals_trl(tiny: TinyModel, by_trl: ByTrl) -> None:
    rows, actual = rows_of(), by_trl[0][-1]
    base = AutoModelForCausalLM.from_pretrained(tiny("llama3"), dtype=torch.float32)
    scores = LogprobModel.create(attach.attach_adapter(base, LoraSpec(), make_job()).eval())(
        collate(rows)
    )
    assert actual["log"]["loss"] == pytest.approx(-float(scores.detach().mean()), rel=1e-4)


@pytest.mark.parametrize(("gigabytes", "positions"), [(24, 192), (80, 864)])
def test_large_gpus_compute_more_logits_at_once(
    monkeypatch: pytest.MonkeyPatch, gigabytes: int, positions: int
) -> None:
    """The output layer of Qwen, in multiples of 32 positions."""
    card = SimpleNamespace(total_memory=gigabytes * 10**9)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: card)
    with FakeTensorMode():
        layer = SimpleNamespace(weight=torch.empty(151_936, 8, device="cuda:0"))
        head = chunked_logprobs.OutputHead(layer, lambda logits: logits)  # type: ignore[arg-type]
        assert chunked_logprobs.get_chunk_size(head) == positions


def test_scores_return_from_output_layer_on_another_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """On several GPUs, an output layer that is tied to the embeddings is on the first one."""
    devices = []
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda _: SimpleNamespace(total_memory=24 << 30)
    )

    def score(logits: torch.Tensor, targets: torch.Tensor, _: bool) -> torch.Tensor:
        devices.append((str(logits.device), str(targets.device)))
        return torch.empty(len(logits), device=logits.device)

    with FakeTensorMode(allow_non_fake_inputs=True):
        layer = torch.nn.Linear(8, 40, bias=False, device="meta")
        layer.weight = torch.nn.Parameter(torch.empty(40, 8, device="cuda:0"), requires_grad=False)
        hidden = torch.empty(5, 8, device="cuda:1")
        head = chunked_logprobs.OutputHead(layer, lambda logits: logits, score)
        layer.register_forward_pre_hook(lambda _, inputs: (inputs[0].to("cuda:0"),))
        targets = torch.empty(5, dtype=torch.int64, device="cuda:1")
        actual = chunked_logprobs.ChunkedLogprobs.apply(hidden, targets, head)
        assert (actual.shape, actual.device) == ((5,), hidden.device)
    assert devices == [("cuda:0", "cuda:0")]


# --- preference objectives --------------------------------------------------------------------


def pair_of(seed: int) -> EncodedPair:
    """Return two answers of different length to one prompt."""
    generator = np.random.default_rng(seed)
    prompt = generator.integers(5, 400, 5)

    def side(length: int) -> Encoded:
        ids = np.concatenate([prompt, generator.integers(5, 400, length)]).astype(np.int32)
        return Encoded(ids, np.arange(len(ids)) >= 5)

    return EncodedPair(side(4), side(7))


def log_likelihood(model: torch.nn.Module, row: Encoded) -> float:
    """Return log π(y|x) from its definition."""
    logits = model(input_ids=torch.from_numpy(row.ids.astype(np.int64))[None]).logits[0].double()
    table = logits.log_softmax(-1)
    return sum(
        float(table[position - 1, row.ids[position]].detach())
        for position in np.flatnonzero(row.trained)
    )


def both(model: peft.PeftModel, row: Encoded) -> tuple[float, float]:
    """Return log π(y|x) with and without the adapter."""
    tuned = log_likelihood(model, row)
    with model.disable_adapter():
        return tuned, log_likelihood(model, row)


def test_dpo_matches_its_formula_with_base_as_reference(wrapped: Wrapped) -> None:
    model, pairs = wrapped("llama3"), [pair_of(1), pair_of(2)]
    expected, ahead = 0.0, 0
    for pair in pairs:
        (chosen, chosen_base), (rejected, rejected_base) = both(model, pair.chosen), both(model, pair.rejected)  # fmt: skip
        margin = 0.3 * ((chosen - chosen_base) - (rejected - rejected_base))
        expected += math.log1p(math.exp(-margin))
        ahead += margin > 0
    actual = Dpo(LogprobModel.create(model), 0.3).compute_loss(pairs)
    assert float(actual.total.detach()) == pytest.approx(expected, rel=1e-5)
    assert int(actual.metrics["accuracy"]) == ahead


def test_dpo_starts_at_log_2_and_separates_the_answers(tiny: TinyModel) -> None:
    base = AutoModelForCausalLM.from_pretrained(tiny("llama3"), dtype=torch.float32)
    model = attach.attach_adapter(base, LoraSpec(rank=8), make_job()).train()
    dpo, pairs = Dpo(LogprobModel.create(model), 0.5), [pair_of(1), pair_of(2)]
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=5e-3)
    values = []
    for _ in range(6):
        actual = dpo.compute_loss(pairs)
        values.append(float(actual.total.detach()) / 2)
        optimizer.zero_grad()
        actual.total.backward()
        optimizer.step()
    assert values[0] == pytest.approx(math.log(2), rel=1e-5)
    assert values[-1] < 0.5 * values[0]


def test_orpo_matches_its_formula(wrapped: Wrapped) -> None:
    model, pair = wrapped("llama3"), pair_of(3)
    chosen, rejected = (
        log_likelihood(model, pair.chosen) / 4,
        log_likelihood(model, pair.rejected) / 7,
    )
    log_odds = [math.log(math.exp(p) / (1 - math.exp(p))) for p in (chosen, rejected)]
    ratio = -math.log(1 / (1 + math.exp(log_odds[1] - log_odds[0])))
    actual = Orpo(LogprobModel.create(model), 0.2).compute_loss([pair])
    assert float(actual.total.detach()) == pytest.approx(-chosen + 0.2 * ratio, rel=1e-5)


def test_orpo_gradient_is_finite_for_certain_answers() -> None:
    pair = pair_of(3)
    for certain in (slice(0, 4), slice(4, 11), slice(0, 11)):  # the chosen one, the other one, both
        scores = torch.full((11,), -1.0)
        scores[certain] = 0.0
        scores.requires_grad_()
        actual = Orpo(cast("LogprobModel", lambda batch, scores=scores: scores), 0.2).compute_loss(
            [pair]
        )
        actual.total.backward()
        assert torch.isfinite(actual.total.detach())
        assert scores.grad is not None
        assert torch.isfinite(scores.grad).all()


def test_reference_is_computed_without_dropout_of_the_base() -> None:
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=512, n_positions=64, n_embd=32, n_layer=2, n_head=2,
                        resid_pdrop=0.5, embd_pdrop=0.5, attn_pdrop=0.5,
                        bos_token_id=1, eos_token_id=2)  # fmt: skip
    model = attach.attach_adapter(
        GPT2LMHeadModel(config), LoraSpec(rank=4, dropout=0.5), make_job()
    )
    logprob_model, batch = LogprobModel.create(model), collate(rows_of())
    logprob_model.load_reference()

    def scores(model: peft.PeftModel) -> torch.Tensor:
        with torch.no_grad(), logprob_model.switch_to_reference():
            return logprob_model(batch)

    expected = scores(model.eval())
    torch.testing.assert_close(scores(model.train()), expected)
    with torch.no_grad():
        assert not torch.allclose(
            logprob_model(batch), expected, rtol=1e-3
        )  # dropout is active again


def test_kto_matches_its_formula_with_crossed_reference(
    wrapped: Wrapped,
) -> None:
    model = wrapped("llama3")
    rows = pair_up([EncodedLabeled(pair_of(seed).chosen, seed != 2) for seed in (1, 2, 3)])
    crossed = []
    for index, row in enumerate(rows):
        other = rows[index - 1].answer
        ids = np.concatenate([row.answer.ids[:5], other.ids[5:]])
        crossed.append(Encoded(ids, np.arange(len(ids)) >= 5))
    rewards = [tuned - base for tuned, base in (both(model, row.answer) for row in rows)]
    shift = max(0.0, float(np.mean([tuned - base for tuned, base in (both(model, row) for row in crossed)])))  # fmt: skip
    signs = [1 if row.label else -1 for row in rows]
    expected = sum(1 - 1 / (1 + math.exp(-0.1 * sign * (r - shift))) for sign, r in zip(signs, rewards, strict=True))  # fmt: skip
    kto = Kto(LogprobModel.create(model), 0.1)
    kto.prepare_step([rows[:2], rows[2:]])
    outputs = [kto.compute_loss(part) for part in (rows[:2], rows[2:])]
    assert sum(float(output.total.detach()) for output in outputs) == pytest.approx(expected, rel=1e-5)  # fmt: skip
    correct = sum(sign * (r - shift) > 0 for sign, r in zip(signs, rewards, strict=True))
    assert sum(int(output.metrics["accuracy"]) for output in outputs) == correct


def test_answers_of_an_untrained_model_are_on_neither_side(wrapped: Wrapped) -> None:
    model = wrapped("llama3")
    rows = pair_up([EncodedLabeled(pair_of(seed).chosen, seed != 2) for seed in (1, 2)])
    kto = Kto(LogprobModel.create(model), 0.1)
    with model.disable_adapter():
        kto.prepare_step([rows])
        assert int(kto.compute_loss(rows).metrics["accuracy"]) == 0


def pair_up(rows: list[EncodedLabeled]) -> list[EncodedLabeled]:
    """Return rows with their prompts and the answers before theirs, as a training reads them."""
    others = [swap_answer(row.answer, rows[n - 1].answer) for n, row in enumerate(rows)]
    return [replace(row, mismatched=other) for row, other in zip(rows, others, strict=True)]


def test_kto_with_one_row_per_step_is_refused() -> None:
    with pytest.raises(ProblemError, match="at least two rows"):
        create_objective(
            TrainingSpec(micro_batch=1, gradient_accumulation=1), "kto", cast("LogprobModel", None)
        )


def test_preference_training_with_biases_is_refused(tiny: TinyModel) -> None:
    base = AutoModelForCausalLM.from_pretrained(tiny("llama3"), dtype=torch.float32)
    logprob_model = LogprobModel.create(
        attach.attach_adapter(base, LoraSpec(bias="all"), make_job())
    )
    with pytest.raises(ProblemError, match="if biases are trained"):
        create_objective(TrainingSpec(), "preference", logprob_model)
    for method in ("orpo", "simpo"):
        create_objective(
            TrainingSpec.model_validate({"preference": method}), "preference", logprob_model
        )


# --- compared with TRL ------------------------------------------------------------------------

#: The seed of an adapter whose KTO reference point on these rows is above zero.
SEED = 19

PAIRS = [
    {"prompt": "What is 4?", "chosen": " It is 4, said Pim.", "rejected": " No idea."},
    {"prompt": "And what comes next?", "chosen": " Five!", "rejected": " Who would know? Not me."},
    {"prompt": "Name a ship.", "chosen": " The Grey Heron, of Bremen.", "rejected": " Ship."},
]


#: The same as single answers with labels.
LABELED = [
    {"prompt": pair["prompt"], "completion": pair[side], "label": side == "chosen"}
    for pair in PAIRS
    for side in ("chosen", "rejected")
]


@pytest.fixture(scope="module")
def merged(tiny: TinyModel, wrapped: Wrapped, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of `wrapped("llama3", SEED)` with its adapter merged in 32-bit."""
    folder = tmp_path_factory.mktemp("trl") / "merged"
    wrapped("llama3", SEED).merge_and_unload().save_pretrained(folder)
    load_tokenizer(tiny("llama3")).save_pretrained(folder)
    return folder


def answer(prompt: list[int], completion: list[int]) -> Encoded:
    ids = np.array([*prompt, *completion], np.int32)
    return Encoded(ids, np.arange(len(ids)) >= len(prompt))


def encoded(row: dict[str, Any]) -> EncodedPair:
    """Convert a row of TRL's DPO or ORPO trainer to a pair."""
    if "chosen_ids" in row:
        sides = row["chosen_ids"], row["rejected_ids"]
        return EncodedPair(*(answer(row["prompt_ids"], side) for side in sides))
    mask = [np.array(row[f"{side}_labels"]) != -100 for side in ("chosen", "rejected")]
    ids = [np.array(row[f"{side}_input_ids"], np.int32) for side in ("chosen", "rejected")]
    return EncodedPair(*(Encoded(i, m) for i, m in zip(ids, mask, strict=True)))


#: Trainers of TRL with their settings, and the same objective here.
VARIANTS: list[tuple[dict[str, Any], Callable[[LogprobModel], Dpo | Simpo]]] = [
    *(
        ({"method": "dpo", "loss_type": loss, "label_smoothing": 0.2, "beta": 0.3}, partial(Dpo, beta=0.3, loss_type=loss, label_smoothing=0.2))
        for loss in ("sigmoid", "hinge", "ipo", "robust")
    ),
    ({"method": "cpo", "loss_type": "simpo", "cpo_alpha": 0.0, "beta": 2.0, "simpo_gamma": 0.7}, partial(Simpo, beta=2.0, gamma=0.7)),
]  # fmt: skip


@pytest.fixture(scope="module")
def by_trl(tiny: TinyModel, merged: Path) -> ByTrl:
    """One step of `VARIANTS`, KTO, ORPO, and fine-tuning by TRL, in one process; its imports take longer."""
    rows = [{"input_ids": row.ids.tolist(), "labels": labels_of(row)} for row in rows_of()]
    variants = [
        *(settings for settings, _ in VARIANTS),
        {"method": "kto", "rows": LABELED},
        {"method": "orpo"},
        {"method": "sft", "rows": rows, "model": str(tiny("llama3"))},
    ]
    folder = merged.parent
    return trl_steps(variants, merged, PAIRS, folder, base=tiny("llama3")), folder / "out"


def expect_gradients(model: peft.PeftModel, file: Path) -> dict[str, torch.Tensor]:
    """Return the gradients of A and B of each layer from those of the merged weights, W + s B A."""
    merged, expected = load_file(file), {}
    for name, layer in model.named_modules():
        if hasattr(layer, "lora_A"):
            gradient = merged[name.removeprefix("base_model.model.") + ".weight"]
            a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
            scale = layer.scaling["default"]
            expected[f"{name}.lora_A.default.weight"] = scale * b.detach().T @ gradient
            expected[f"{name}.lora_B.default.weight"] = scale * gradient @ a.detach().T
    return expected


def expect_trl_gradients(model: peft.PeftModel, file: Path, msg: str) -> None:
    """Fail unless the adapter has the gradients that TRL has saved for the merged weights."""
    values = dict(model.named_parameters())
    for name, gradient in expect_gradients(model, file).items():
        torch.testing.assert_close(values[name].grad, gradient, rtol=1e-4, atol=1e-5, msg=f"{msg} {name}")  # fmt: skip


@pytest.mark.slow
def test_preference_losses_and_gradients_equal_trl(wrapped: Wrapped, by_trl: ByTrl) -> None:
    steps, out = by_trl
    for number, (actual, (settings, create)) in enumerate(zip(steps, VARIANTS, strict=False)):
        model = wrapped("llama3", SEED)
        own = create(LogprobModel.create(model)).compute_loss(
            [encoded(row) for row in actual["rows"]]
        )
        assert float(own.total.detach()) / 3 == pytest.approx(actual["log"]["loss"], rel=1e-4), settings  # fmt: skip
        assert float(own.metrics["margin"]) / 3 == pytest.approx(actual["log"]["rewards/margins"], rel=1e-3)  # fmt: skip
        assert float(own.metrics["accuracy"]) / 3 == pytest.approx(actual["log"]["rewards/accuracies"])  # fmt: skip
        (own.total / 3).backward()
        expect_trl_gradients(model, out / f"{number}.safetensors", str(settings))


@pytest.mark.slow
def test_kto_loss_and_gradients_equal_trl(wrapped: Wrapped, by_trl: ByTrl) -> None:
    actual, file = by_trl[0][len(VARIANTS)], by_trl[1] / f"{len(VARIANTS)}.safetensors"
    assert actual["log"]["kl"] > 0.05
    model = wrapped("llama3", SEED)
    kto = Kto(LogprobModel.create(model), 0.1)
    own = pair_up(
        [
            EncodedLabeled(answer(row["prompt_ids"], row["completion_ids"]), row["label"])
            for row in actual["rows"]
        ]
    )
    known = kto.compute_reference(own).tolist()
    cached = [replace(row, reference=tuple(v)) for row, v in zip(own, known, strict=True)]
    for rows in own, cached:
        kto.prepare_step([rows[:4], rows[4:]])
        losses = [kto.compute_loss(part).total for part in (rows[:4], rows[4:])]
        total = torch.stack(losses).sum() / 6
        assert float(total.detach()) == pytest.approx(actual["log"]["loss"], rel=1e-4)
        assert kto._shift == pytest.approx(actual["log"]["kl"], rel=1e-3)
        model.zero_grad()
        total.backward()
        expect_trl_gradients(model, file, "kto")


@pytest.mark.slow
def test_orpo_equals_trl_except_for_prompt_likelihood(wrapped: Wrapped, by_trl: ByTrl) -> None:
    number = len(VARIANTS) + 1
    actual, file = by_trl[0][number], by_trl[1] / f"{number}.safetensors"
    model = wrapped("llama3", SEED)
    logprob_model, rows = LogprobModel.create(model), [encoded(row) for row in actual["rows"]]
    own = Orpo(logprob_model, 0.1).compute_loss(rows)
    means = [logprob_model(collate([row.chosen])).mean() for row in rows]
    answers = (own.total + torch.stack(means).sum()) / 3
    assert float(answers.detach()) == pytest.approx(
        -0.1 * actual["log"]["log_odds_ratio"], rel=1e-4
    )
    # TRL's likelihood is the mean over all tokens of the batch, prompts included.
    whole = collate([Encoded(row.chosen.ids, np.arange(row.chosen.tokens) > 0) for row in rows])
    likelihood = -logprob_model(whole).mean()
    assert float(likelihood.detach()) == pytest.approx(actual["log"]["nll_loss"], rel=1e-4)
    assert float(own.metrics["margin"]) / 3 == pytest.approx(actual["log"]["rewards/margins"], rel=1e-3)  # fmt: skip
    assert float(own.metrics["accuracy"]) / 3 == pytest.approx(actual["log"]["rewards/accuracies"])
    loss = likelihood + answers
    assert float(loss.detach()) == pytest.approx(actual["log"]["loss"], rel=1e-4)
    loss.backward()
    expect_trl_gradients(model, file, "orpo")
