"""Every adapter type and initialization: it trains, and the saved adapter is the trained one."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from peft.tuners.lora import layer
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, Qwen2Config, Qwen2ForCausalLM

from lora_studio.core.lora.spec import LoraSpec
from lora_studio.core.problems import ProblemError
from lora_studio.core.project import checks
from lora_studio.core.project.project import Draft
from lora_studio.core.protocol import commands, events
from lora_studio.core.runs import checksums
from lora_studio.core.runs.folder import RunFolder
from lora_studio.engine.backends.backend import prepare_with_peft
from lora_studio.engine.dataset.prepare import prepare
from lora_studio.engine.dataset.rows.sequences import EncodedRows
from lora_studio.engine.kernels.logprobs import LogprobModel
from lora_studio.engine.lora import attach, initialization
from lora_studio.engine.model.loading import load_tokenizer
from lora_studio.engine.tokens.batches import collate
from lora_studio.engine.training import train_run
from lora_studio.engine.training.recipe import torch_optimizers
from lora_studio.engine.training.recipe.neftune import add_embedding_noise
from tests.engine.conftest import TinyModel
from tests.helpers.runs.jobs import handle, make_job, new_run, train, write_rows

ROWS = [
    {"instruction": f"What is {n} and {n}?", "output": f"It is {n + n}, said Pim."}
    for n in range(16)
]

Start = Callable[..., RunFolder]


@pytest.fixture
def start(tiny: TinyModel, tmp_path: Path) -> Start:
    file = write_rows(tmp_path / "rows.jsonl", ROWS)

    def make(shape: dict[str, Any], precision: str = "fp32", **recipe: Any) -> RunFolder:
        training = {"epochs": 2, "micro_batch": 4, "gradient_accumulation": 1, "learning_rate": 5e-3}  # fmt: skip
        return new_run(
            tmp_path,
            model={"source": str(tiny("llama3")), "precision": precision, "device": "cpu"},
            dataset={"sources": [str(file)], "validation_share": 0.25, "max_length": 256},
            training=training | recipe,
            lora={"rank": 4, "alpha": 8} | shape,
        )

    return make


def loss_of_saved(run: RunFolder) -> float:
    """Return the validation loss of base and saved adapter, loaded with PEFT alone."""
    project = run.load_project()
    base = AutoModelForCausalLM.from_pretrained(project.model.source, dtype=torch.float32)
    model = PeftModel.from_pretrained(base, str(run.adapter)).eval()
    tokenizer = load_tokenizer(Path(project.model.source))
    rows = EncodedRows(prepare(project.dataset, tokenizer, project.training.seed, make_job()).validation)  # fmt: skip
    return -float(LogprobModel.create(model)(collate(list(rows))).detach().mean())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`")
@pytest.mark.parametrize(
    "shape",
    [
        {"use_rslora": True},
        {"adapter_type": "miss", "rank": 24, "dropout": 0.1},
        {"use_dora": True},
        {"init": "gaussian"},
        {"init": "orthogonal"},
        {"init": "pissa"},
        {"init": "olora", "use_dora": True},
        {"init": "pissa", "use_rslora": True, "modules_to_save": ["norm"]},
        {"init": "eva"},
        {"blocks": "1"},
        {"own_ranks": ["q_proj=8", "down_proj=2:2"]},
    ],
    ids=lambda shape: next(iter(shape)) + "=" + str(next(iter(shape.values()))),
)
def test_saved_adapter_has_the_loss_of_training(start: Start, shape: dict[str, Any]) -> None:
    run = start(shape)
    channel = train(run)
    assert channel.of(events.Done), channel.of(events.Failed)
    evaluations = channel.of(events.Evaluated)
    assert evaluations[-1].loss < evaluations[0].loss
    assert loss_of_saved(run) == pytest.approx(evaluations[-1].loss, rel=2e-4)
    assert not list(run.temporary.iterdir())


@pytest.mark.slow
def test_fully_trained_modules_are_saved_with_the_adapter(start: Start, tiny: TinyModel) -> None:
    run = start({"modules_to_save": ["norm"]})
    channel = train(run)
    assert loss_of_saved(run) == pytest.approx(channel.of(events.Evaluated)[-1].loss, rel=2e-4)


@pytest.mark.filterwarnings("ignore:Careful, disabling adapter layers with bias")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_trainable_weights_are_32_bit_outputs_keep_base_dtype(
    dtype: torch.dtype,
) -> None:
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4, "vocab_size": 99}
    base = Qwen2ForCausalLM(Qwen2Config(num_hidden_layers=2, **shape)).to(dtype)
    spec = LoraSpec(rank=4, bias="all", use_dora=True, modules_to_save=("norm", "embed_tokens"))
    model = attach.attach_adapter(base, spec, make_job())
    assert {value.dtype for value in model.parameters() if value.requires_grad} == {torch.float32}
    assert {value.dtype for value in model.parameters() if not value.requires_grad} == {dtype}
    ids = torch.arange(9)[None]
    for name in ("embed_tokens", "norm"):
        layer = model.get_base_model().get_decoder().get_submodule(name)
        inputs = (
            ids if name == "embed_tokens" else torch.ones(1, 9, base.config.hidden_size).to(dtype)
        )
        assert layer(inputs).dtype == dtype
        with model.disable_adapter():
            assert layer(inputs).dtype == dtype


@pytest.mark.slow
def test_norm_of_16_bit_base_learns_below_its_rounding(start: Start, tiny: TinyModel) -> None:
    run = start({"modules_to_save": ["norm"]}, "bf16", learning_rate=1e-4)
    channel = train(run)
    assert any(
        str(event.text).startswith("Rows are packed") for event in channel.of(events.LogLine)
    )
    saved = load_file(run.adapter / "adapter_model.safetensors")
    before = AutoModelForCausalLM.from_pretrained(tiny("llama3")).get_decoder().norm.weight
    steps = (saved["base_model.model.model.norm.weight"] - before).abs()
    assert 0 < steps.max() < 2e-3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("init", "precision"), [("pissa", "fp32"), ("eva", "fp32"), ("loftq", "4bit")]
)
def test_init_from_weights_or_data_resumes_bit_for_bit(
    start: Start, init: str, precision: str
) -> None:
    whole, halved = (start({"init": init}, precision, max_steps=6) for _ in range(2))
    train(whole)
    train_half = handle(
        commands.Train(run=str(halved.path)),
        lambda event, flags: flags.stop.set() if isinstance(event, events.StepDone) else None,
    )
    assert train_half.last(events.Done).stopped
    train(halved, resume=True)
    name = "adapter_model.safetensors"
    assert (halved.adapter / name).read_bytes() == (whole.adapter / name).read_bytes()


def interrupt_pissa(
    start: Start, iterations: list[Any], monkeypatch: pytest.MonkeyPatch
) -> RunFolder:
    """Return a run that stopped after its first step; decompositions from then on are noted."""
    run = start({"init": "pissa"}, max_steps=2)
    stop = handle(
        commands.Train(run=str(run.path)),
        lambda event, flags: flags.stop.set() if isinstance(event, events.StepDone) else None,
    )
    assert stop.last(events.Done).stopped
    for owner, name in ((layer, "svd_lowrank"), (torch.linalg, "svd")):
        original = getattr(owner, name)
        note = partial(_note_call, iterations, name, original)
        monkeypatch.setattr(owner, name, note)
    return run


def _note_call(calls: list[Any], name: str, original: Any, *args: Any, **named: Any) -> Any:
    calls.append(name)
    return original(*args, **named)


@pytest.mark.slow
def test_resumed_pissa_reuses_its_kept_initial_adapter(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Any] = []
    run = interrupt_pissa(start, calls, monkeypatch)
    kept = load_file(run.initial_adapter / "adapter_model.safetensors")
    assert all(value.abs().sum() > 0 for value in kept.values())
    assert train(run, resume=True).of(events.Done)
    assert not calls
    train(start({"init": "pissa"}, max_steps=1))
    assert "svd_lowrank" in calls
    (run.initial_adapter / "adapter_model.safetensors").write_bytes(b"damaged")
    problem = train(run, resume=True).last(events.Failed).problem
    assert problem.code == "run.damaged_adapter"


@pytest.mark.slow
def test_pissa_of_an_earlier_version_resumes_as_it_started(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Any] = []
    run = interrupt_pissa(start, calls, monkeypatch)
    shutil.rmtree(run.initial_adapter)
    checksums.forget_checksums(run, run.initial_adapter)
    assert train(run, resume=True).of(events.Done)
    assert {*calls} == {"svd"}


def test_preference_reference_is_the_stored_base(start: Start, tmp_path: Path) -> None:
    pairs = [
        {"prompt": f"What is {n}?", "chosen": f"It is {n}, said Pim.", "rejected": "No idea!"}
        for n in range(8)
    ]
    run = start({"init": "pissa"}, max_steps=1)  # writes other rows first
    write_rows(tmp_path / "rows.jsonl", pairs)
    assert train(run).last(events.StepDone).loss == pytest.approx(0.693147, rel=1e-4)


def test_eva_starts_with_orthonormal_directions_of_the_data(start: Start, tiny: TinyModel) -> None:
    base = AutoModelForCausalLM.from_pretrained(tiny("llama3"), dtype=torch.float32)
    run = start({"init": "eva"})
    tuned = prepare_with_peft(run.load_project(), make_job(), run.path)
    # With sharding, the weights aren't loaded yet.
    tuned.base = replace(tuned.base, device=torch.device("meta"))
    tokenizer = load_tokenizer(tiny("llama3"))
    rows = list(EncodedRows(prepare(run.load_project().dataset, tokenizer, 0, make_job()).training))
    train_run.initialize_from_data(tuned, rows, 4, make_job())
    layers = dict(initialization.iter_lora_layers(tuned.model))
    first = layers["model.layers.0.self_attn.q_proj"].lora_A["default"].weight.detach()
    torch.testing.assert_close(first @ first.T, torch.eye(4), atol=1e-4, rtol=0)
    torch.testing.assert_close(first, layers["model.layers.0.self_attn.k_proj"].lora_A["default"].weight.detach())  # fmt: skip
    # Inputs of the first layer, computed independently: the leading directions span the same space.
    batch = collate(rows)
    states = base.model.layers[0].input_layernorm(base.model.embed_tokens(batch.ids[batch.sources]))
    _, _, right = torch.linalg.svd((states - states.mean(0)).detach(), full_matrices=False)
    covered = (right[:4] @ first.T).pow(2).sum() / 4
    assert float(covered) > 0.8
    rows[0].trained[:-1] = False
    with pytest.raises(ProblemError, match="at least 4 trained tokens"):
        train_run.initialize_from_data(tuned, rows[:1], 1, make_job())


def test_eva_decomposes_in_32_bit(
    start: Start, tiny: TinyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CUDA has no decomposition of the 16-bit matrices that autocast would return."""
    fit, seen = train_run.IncrementalPCA.partial_fit, []

    def check(self: Any, states: torch.Tensor) -> Any:
        seen.append((torch.is_autocast_enabled("cpu"), states.dtype))
        return fit(self, states)

    monkeypatch.setattr(train_run.IncrementalPCA, "partial_fit", check)
    run = start({"init": "eva"}, "bf16")
    tuned = prepare_with_peft(run.load_project(), make_job(), run.path)
    rows = prepare(run.load_project().dataset, load_tokenizer(tiny("llama3")), 0, make_job())
    train_run.initialize_from_data(tuned, list(EncodedRows(rows.training)), 4, make_job())
    assert tuned.base.dtype == torch.bfloat16
    assert set(seen) == {(False, torch.float32)}


def test_loftq_brings_quantized_model_closer_to_the_original(start: Start, tiny: TinyModel) -> None:
    base = AutoModelForCausalLM.from_pretrained(tiny("llama3"), dtype=torch.float32)
    ids = torch.arange(5, 60)[None]
    exact = base(input_ids=ids).logits.detach()

    def distance(init: str) -> float:
        run = start({"init": init, "rank": 16, "alpha": 8, "use_rslora": True}, "4bit")
        tuned = prepare_with_peft(run.load_project(), make_job(), run.path)
        with torch.no_grad():
            return float((tuned.model(input_ids=ids).logits.float() - exact).norm())

    assert distance("loftq") < 0.9 * distance("default")


@pytest.mark.parametrize(
    ("shape", "field"), [({"blocks": "0-7"}, "blocks"), ({"modules_to_save": ["head"]}, "modules_to_save")],
    ids=["blocks", "modules_to_save"]
)  # fmt: skip
def test_missing_block_or_module_is_reported_at_its_field(
    start: Start, shape: dict[str, Any], field: str
) -> None:
    problem = train(start(shape)).last(events.Failed).problem
    assert (problem.where.step, problem.where.field) == ("lora", field)


@pytest.mark.parametrize(
    ("model", "shape", "code"),
    [
        ({"precision": "4bit"}, {"init": "pissa"}, "lora.init_needs_exact_base"),
        ({}, {"init": "loftq"}, "lora.loftq_needs_4bit"),
        ({"precision": "4bit"}, {"init": "orthogonal"}, "lora.orthogonal_on_quantized"),
        ({}, {"init": "orthogonal", "rank": 3}, "lora.orthogonal_needs_even_ranks"),
    ],
    ids=[
        "PiSSA on 4-bit",
        "LoftQ on 16-bit",
        "orthogonal on 4-bit",
        "orthogonal with odd rank",
    ],
)
def test_invalid_init_combination_is_reported_with_a_fix(
    model: dict[str, Any], shape: dict[str, Any], code: str
) -> None:
    draft = Draft()
    draft.values["model"].update(model)
    draft.values["lora"].update(shape)
    problems = [problem for problem in checks.check(draft) if problem.code == code]
    assert problems[0].where.field == "init"
    assert problems[0].fix is not None


@pytest.mark.parametrize(("blocks", "numbers"), [("", None), ("3", [3]), ("0-2, 5", [0, 1, 2, 5])])
def test_blocks_are_parsed_as_ranges(blocks: str, numbers: list[int] | None) -> None:
    assert attach.LoraSpec(blocks=blocks).block_numbers == numbers


def test_own_rank_keeps_the_alpha_ratio_by_default() -> None:
    spec = attach.LoraSpec(rank=8, alpha=16, own_ranks=("q_proj=32", "v_proj=4:4"))
    assert spec.rank_pattern == {"q_proj": 32, "v_proj": 4}
    assert spec.alpha_pattern == {"q_proj": 64, "v_proj": 4}


def test_lora_plus_gives_b_a_higher_learning_rate(start: Start, tiny: TinyModel) -> None:
    base = AutoModelForCausalLM.from_pretrained(tiny("llama3"), dtype=torch.float32)
    model = attach.attach_adapter(base, attach.LoraSpec(rank=4), make_job())
    spec = start({}, lora_plus_ratio=16.0).load_project().training
    slow, fast = torch_optimizers.create_optimizer(spec, model).param_groups
    assert fast["lr"] == pytest.approx(16 * slow["lr"])
    assert {p.shape[1] for p in fast["params"]} == {4}
    assert {p.shape[0] for p in slow["params"]} == {4}


def test_neftune_noise_has_formula_size_and_needs_gradients(tiny: TinyModel) -> None:
    base = AutoModelForCausalLM.from_pretrained(tiny("llama3"), dtype=torch.float32)
    model = attach.attach_adapter(base, attach.LoraSpec(rank=4), make_job()).train()
    logprob_model = LogprobModel.create(model)
    add_embedding_noise(logprob_model, 5.0)
    layer = logprob_model.base.get_input_embeddings()
    logprob_model.lengths = (4, 16)
    ids = torch.arange(5, 25)[None]
    with torch.no_grad():
        clean = layer(ids)
    noise = (layer(ids) - clean).abs()[0]
    size = layer.weight.shape[1]
    assert 0.7 < float(noise[:4].max() / (5 / (4 * size) ** 0.5)) <= 1.0001
    assert 0.9 < float(noise[4:].max() / (5 / (16 * size) ** 0.5)) <= 1.0001
