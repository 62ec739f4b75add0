"""The merge: equal to its formula, equal to PEFT, refused when it can't be correct."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from lora_studio.core.merging import MergingSpec
from lora_studio.core.model.spec import ModelSpec
from lora_studio.core.problems import ProblemError
from lora_studio.core.project.project import Project
from lora_studio.core.protocol import events
from lora_studio.core.runs import folder as run_folder
from lora_studio.core.runs.folder import RunFolder
from lora_studio.engine.lora import adapter_files
from lora_studio.engine.merging import merge, plan
from lora_studio.engine.model import safetensors_files
from lora_studio.engine.runtime import disk
from lora_studio.engine.runtime.failures import CancelledError
from tests.helpers.models.tiny_models import (
    ATTENTION,
    FAMILIES,
    random_adapter,
    tiny_model,
    write_config,
)
from tests.helpers.runs.jobs import Recorder, recorded_job

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}

# PEFT's warnings about adapters that these tests create on purpose.
pytestmark = [
    pytest.mark.filterwarnings("ignore:The following .*_pattern keys:RuntimeWarning"),
    pytest.mark.filterwarnings("ignore:Setting `save_embedding_layers`:UserWarning"),
    pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings:UserWarning"),
]


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model("llama3", tmp_path_factory.mktemp("llama3"))


@pytest.fixture(scope="module")
def mistral(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model("mistral", tmp_path_factory.mktemp("mistral"))


def merged(
    base: Path, adapter: Path, target: Path, **settings: Any
) -> tuple[dict[str, torch.Tensor], Recorder]:
    job, recorder = recorded_job()
    target.mkdir()
    merge.merge_folders(base, [adapter_files.read(adapter)], target, MergingSpec(**settings), job)
    tensors: dict[str, torch.Tensor] = {}
    for file in target.glob("*.safetensors"):
        tensors |= load_file(file)
    return tensors, recorder


def merged_by_peft(base: Path, adapter: Path, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    model = AutoModelForCausalLM.from_pretrained(base, dtype=dtype)
    return PeftModel.from_pretrained(model, adapter).merge_and_unload().state_dict()


def assert_loads_equal(folder: Path, expected: dict[str, torch.Tensor]) -> None:
    actual = AutoModelForCausalLM.from_pretrained(folder, dtype="auto").state_dict()
    assert actual.keys() == expected.keys()
    for name, value in actual.items():
        assert value.dtype == expected[name].dtype, name
        assert torch.equal(value, expected[name]), name


def refusal(base: Path, adapter: Path, target: Path, **settings: Any) -> str:
    with pytest.raises(ProblemError) as caught:
        merged(base, adapter, target, **settings)
    return caught.value.problems[0].code


def leftovers(run: RunFolder) -> list[str]:
    return [file.name for file in run.path.iterdir() if file.name.startswith((".", "tmp"))]


def edit_weights(adapter: Path, change: Any) -> None:
    file = adapter / adapter_files.WEIGHTS
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file)


def edit_config(adapter: Path, **changes: Any) -> None:
    file = adapter / adapter_files.CONFIG
    file.write_text(json.dumps(json.loads(file.read_text("utf-8")) | changes), "utf-8")


# --- correct ----------------------------------------------------------------------------------


def test_merge_matches_a_hand_computed_example(tmp_path: Path) -> None:
    base, adapter = tmp_path / "base", tmp_path / "adapter"
    base.mkdir()
    adapter.mkdir()
    (base / "config.json").write_text('{"model_type": "llama", "dtype": "float32"}')
    weight = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    save_file(
        {"layer.weight": weight, "other.weight": torch.ones(2)}, base / safetensors_files.SINGLE
    )
    halves = {
        "base_model.model.layer.lora_A.weight": torch.tensor([[1.0, 0.0, -1.0]]),
        "base_model.model.layer.lora_B.weight": torch.tensor([[2.0], [-1.0]]),
    }
    save_file(halves, adapter / adapter_files.WEIGHTS)
    (adapter / adapter_files.CONFIG).write_text('{"peft_type": "LORA", "r": 1, "lora_alpha": 0.5}')
    after, _ = merged(base, adapter, tmp_path / "merged")
    assert after["layer.weight"].tolist() == [[2.0, 2.0, 2.0], [3.5, 5.0, 6.5]]
    assert after["other.weight"].tolist() == [1.0, 1.0]


@pytest.mark.parametrize("family", FAMILIES)
def test_merge_equals_peft_bit_for_bit(family: str, tmp_path: Path) -> None:
    base = tiny_model(family, tmp_path / "base")
    adapter = random_adapter(base, tmp_path / "adapter")
    _, recorder = merged(base, adapter, tmp_path / "merged")
    assert_loads_equal(tmp_path / "merged", merged_by_peft(base, adapter, torch.bfloat16))
    assert not recorder.of(events.LogLine)  # streamed, not by PEFT


@pytest.mark.parametrize("stored", ["bfloat16", "float16", "float32"])
@pytest.mark.parametrize("dtype", ["bf16", "fp16", "fp32"])
def test_merge_equals_peft_in_every_dtype(stored: str, dtype: str, tmp_path: Path) -> None:
    base = tiny_model("qwen3", tmp_path / "base", stored=stored)
    adapter = random_adapter(base, tmp_path / "adapter")
    merged(base, adapter, tmp_path / "merged", dtype=dtype)
    assert_loads_equal(tmp_path / "merged", merged_by_peft(base, adapter, DTYPES[dtype]))


KINDS: dict[str, dict[str, Any]] = {
    "rslora": {"use_rslora": True},
    "patterns": {
        "rank_pattern": {"q_proj": 2},
        "alpha_pattern": {r"layers\.1\.self_attn\.v_proj": 32},
    },
    "bias": {"bias": "lora_only"},
    "dora": {"use_dora": True},
    "dora with rslora": {"use_dora": True, "use_rslora": True},
    "head saved whole": {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]},
    "embedding saved whole": {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens"]},
    "embedding adapted": {"target_modules": ["q_proj", "embed_tokens"]},
    "embedding and head adapted": {"target_modules": ["q_proj", "embed_tokens", "lm_head"]},
    "embedding with dora": {"target_modules": ["q_proj", "embed_tokens"], "use_dora": True},
    "bare matrix": {"target_modules": ["k_proj"], "target_parameters": ["q_proj.weight"]},
}


@pytest.mark.parametrize("stored", ["bfloat16", "float32"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_adapter_is_streamed_like_peft(
    kind: str, stored: str, tmp_path: Path
) -> None:
    base = tiny_model("mistral", tmp_path / "base", stored=stored)
    adapter = random_adapter(base, tmp_path / "adapter", **KINDS[kind])
    _, recorder = merged(base, adapter, tmp_path / "merged")
    assert not recorder.of(events.LogLine)
    assert_loads_equal(tmp_path / "merged", merged_by_peft(base, adapter, getattr(torch, stored)))


GPT2 = {"n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 128}
SMALL = {
    "hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 16, "max_position_embeddings": 128,
}  # fmt: skip
C = ["c_attn", "c_proj"]
EXPERTS = ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]


@pytest.mark.parametrize(
    ("family", "shape", "adapted"),
    [
        ("gpt2", GPT2, {"target_modules": C, "fan_in_fan_out": True}),
        ("gpt2", GPT2, {"target_modules": C, "fan_in_fan_out": True, "use_dora": True}),
        ("gpt2", GPT2, {"target_modules": C, "fan_in_fan_out": True, "bias": "all", "lora_bias": True}),
        ("mixtral", SMALL | {"num_local_experts": 4}, {"target_modules": ["q_proj"], "target_parameters": EXPERTS}),
        ("gpt_oss", SMALL | {"num_local_experts": 4}, {"target_modules": ["q_proj"], "target_parameters": EXPERTS}),
    ],
    ids=["transposed", "transposed dora", "biases", "experts apart", "experts stacked"],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:.*:UserWarning")
def test_every_kind_of_layer_is_streamed_like_peft(
    family: str, shape: dict[str, Any], adapted: dict[str, Any], mistral: Path, tmp_path: Path
) -> None:
    base = tmp_path / "base"
    vocabulary = json.loads((mistral / "config.json").read_text("utf-8"))["vocab_size"]
    config = AutoConfig.for_model(
        family, **shape, vocab_size=vocabulary, bos_token_id=1, eos_token_id=2, pad_token_id=0
    )
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).save_pretrained(base)
    AutoTokenizer.from_pretrained(mistral).save_pretrained(base)
    adapter = random_adapter(base, tmp_path / "adapter", **adapted)
    _, recorder = merged(base, adapter, tmp_path / "merged")
    assert not recorder.of(events.LogLine)
    assert_loads_equal(tmp_path / "merged", merged_by_peft(base, adapter, torch.bfloat16))


@settings(max_examples=25, deadline=None)
@given(
    outputs=st.integers(1, 900),
    inputs=st.integers(1, 2000),
    rank=st.integers(1, 40),
    kind=st.sampled_from(["plain", "transposed", "dora", "rounded"]),
    dtype=st.sampled_from([torch.bfloat16, torch.float16, torch.float32]),
)
def test_blockwise_merge_equals_merge_at_once(
    outputs: int, inputs: int, rank: int, kind: str, dtype: torch.dtype
) -> None:
    torch.manual_seed(outputs * inputs)
    a, b = torch.randn(rank, inputs), torch.randn(outputs, rank)
    shape = (inputs, outputs) if kind == "transposed" else (outputs, inputs)
    weight = torch.randn(shape).to(dtype)
    delta = (b @ a).T * 1.7 if kind == "transposed" else b @ a * 1.7
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "x.safetensors"
        magnitude = torch.rand(outputs) + 0.5
        save_file({"a": a, "b": b, "m": magnitude}, file)
        held = {tensor.name: tensor for tensor in safetensors_files.read_header(file)}
        update: plan.WeightDelta = plan.LowRankDelta(
            plan.LowRankFactor(held["a"], True),
            plan.LowRankFactor(held["b"], False),
            1.7,
            transposed=kind == "transposed",
            rounded=kind == "rounded",
        )
        if kind == "dora":
            update = plan.DoraDelta(update, held["m"])
        change = update.load()
    expected = weight.clone()
    if kind == "dora":
        norm = torch.linalg.norm(weight + delta, dim=1)
        expected = ((magnitude / norm).view(-1, 1) * (weight + delta)).to(dtype)
    else:
        expected += delta.to(dtype) if kind == "rounded" else delta
    blocks = plan.split_range(shape[0], plan.count_block_rows(*shape))
    result = torch.cat([change(weight[first:last].clone(), first, last) for first, last in blocks])
    assert torch.equal(result, expected)


def test_head_trained_apart_from_tied_embedding_is_untied(llama: Path, tmp_path: Path) -> None:
    adapter = random_adapter(
        llama, tmp_path / "adapter", target_modules=["q_proj"], modules_to_save=["lm_head"]
    )
    tensors, _ = merged(llama, adapter, tmp_path / "merged")
    before = load_file(llama / safetensors_files.SINGLE)["model.embed_tokens.weight"]
    assert torch.equal(tensors["model.embed_tokens.weight"], before)
    assert not torch.equal(tensors["lm_head.weight"], before)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "merged", dtype="auto")
    assert torch.equal(model.lm_head.weight, tensors["lm_head.weight"])
    assert torch.equal(model.model.embed_tokens.weight, before)


@pytest.mark.parametrize(
    ("module", "lost"),
    [("lm_head", "lm_head.weight"), ("norm", "model.norm.weight"), ("mlp", "model.layers.1.mlp.up_proj.weight")],
)  # fmt: skip
def test_adapter_that_lacks_a_module_trained_in_full_is_refused(
    llama: Path, tmp_path: Path, module: str, lost: str
) -> None:
    adapter = random_adapter(
        llama, tmp_path / "adapter", target_modules=["q_proj"], modules_to_save=[module]
    )
    merged(llama, adapter, tmp_path / "complete")
    edit_weights(adapter, lambda tensors: tensors.pop(f"base_model.model.{lost}"))
    with pytest.raises(ProblemError) as caught:
        merged(llama, adapter, tmp_path / "merged")
    assert caught.value.problems[0].code == "merging.missing_weights"
    assert f"it lacks {lost}, " in str(caught.value.problems[0].what)
    assert not list((tmp_path / "merged").glob("*.safetensors"))


def test_untouched_tensors_keep_their_bytes_and_dtype(llama: Path, tmp_path: Path) -> None:
    adapter = random_adapter(llama, tmp_path / "adapter", target_modules=ATTENTION)
    tensors, _ = merged(llama, adapter, tmp_path / "merged")
    before = load_file(llama / safetensors_files.SINGLE)
    changed = {name for name in before if not torch.equal(before[name], tensors[name])}
    assert changed == {
        f"model.layers.{layer}.self_attn.{name}.weight" for layer in range(2) for name in ATTENTION
    }


def test_shards_respect_the_chosen_size_and_are_indexed(llama: Path, tmp_path: Path) -> None:
    adapter = random_adapter(llama, tmp_path / "adapter")
    merged(llama, adapter, tmp_path / "merged", shard_size_gb=60e3 / 1e9)
    index = json.loads((tmp_path / "merged" / safetensors_files.INDEX).read_text("utf-8"))
    files = sorted((tmp_path / "merged").glob("*.safetensors"))
    assert len(files) > 2
    assert {file.name for file in files} == set(index["weight_map"].values())
    for file in files:
        sizes = [value.nbytes for value in load_file(file).values()]
        assert len(sizes) == 1 or sum(sizes) <= 60e3
    assert_loads_equal(tmp_path / "merged", merged_by_peft(llama, adapter, torch.bfloat16))


def test_sharded_base_is_read_from_all_files(llama: Path, tmp_path: Path) -> None:
    base = tmp_path / "base"
    model = AutoModelForCausalLM.from_pretrained(llama, dtype="auto")
    model.save_pretrained(base, max_shard_size="50KB")
    assert len(list(base.glob("*.safetensors"))) > 2
    adapter = random_adapter(llama, tmp_path / "adapter")
    merged(base, adapter, tmp_path / "merged")
    assert_loads_equal(tmp_path / "merged", merged_by_peft(llama, adapter, torch.bfloat16))


def test_merged_model_has_tokenizer_and_template_of_adapter(llama: Path, tmp_path: Path) -> None:
    adapter = random_adapter(llama, tmp_path / "adapter")
    tokenizer = AutoTokenizer.from_pretrained(adapter)
    tokenizer.chat_template = "{{ messages[0]['content'] }} of its own"
    tokenizer.save_pretrained(adapter)
    merged(llama, adapter, tmp_path / "merged", dtype="fp32")
    result = AutoTokenizer.from_pretrained(tmp_path / "merged")
    assert result.chat_template == tokenizer.chat_template
    config = json.loads((tmp_path / "merged" / "config.json").read_text("utf-8"))
    assert config["dtype"] == "float32"
    assert (tmp_path / "merged" / "generation_config.json").is_file()
    assert not (tmp_path / "merged" / adapter_files.CONFIG).exists()


# --- refused ----------------------------------------------------------------------------------


def test_adapter_of_other_model_is_refused(llama: Path, tmp_path: Path) -> None:
    other = tiny_model("phi3", tmp_path / "other")
    adapter = random_adapter(other, tmp_path / "adapter")
    assert refusal(llama, adapter, tmp_path / "merged") == "merging.foreign_adapter"


Q_PROJ = "base_model.model.model.layers.{}.self_attn.q_proj.lora_{}.weight"


def add_layer(tensors: dict[str, torch.Tensor]) -> None:
    for half in "AB":
        tensors[Q_PROJ.format(2, half)] = tensors[Q_PROJ.format(1, half)].clone()


@pytest.mark.parametrize(
    ("change", "changes", "code"),
    [
        (lambda t: t.update({Q_PROJ.format(0, "A"): torch.zeros(4, 65)}), {}, "foreign_adapter"),
        (add_layer, {"target_modules": ".*_proj"}, "foreign_adapter"),
        (lambda t: t.pop(Q_PROJ.format(0, "B")), {}, "foreign_adapter"),
        (None, {"r": 8}, "foreign_adapter"),
        (None, {"peft_type": "IA3"}, "not_lora"),
        (None, None, "no_adapter"),
    ],
    ids=["other width", "more layers", "half an update", "other rank", "other kind", "none"],
)
def test_adapter_that_contradicts_itself_or_the_base_is_refused(
    change: Any, changes: dict[str, Any] | None, code: str, llama: Path, tmp_path: Path
) -> None:
    adapter = random_adapter(llama, tmp_path / "adapter", r=4)
    if change is not None:
        edit_weights(adapter, change)
    if changes is None:
        (adapter / adapter_files.CONFIG).unlink()
    else:
        edit_config(adapter, **changes)
    assert refusal(llama, adapter, tmp_path / "merged") == f"merging.{code}"


def test_truncated_adapter_file_is_refused(llama: Path, tmp_path: Path) -> None:
    adapter = random_adapter(llama, tmp_path / "adapter")
    file = adapter / adapter_files.WEIGHTS
    file.write_bytes(file.read_bytes()[:-100])
    assert refusal(llama, adapter, tmp_path / "merged") == "model.unreadable"


@pytest.mark.parametrize(
    "settings", [{}, {"init_lora_weights": "olora"}], ids=["streamed", "by PEFT"]
)
def test_nan_in_adapter_is_refused(settings: dict[str, Any], llama: Path, tmp_path: Path) -> None:
    adapter = random_adapter(llama, tmp_path / "adapter", **settings)
    name = "base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight"
    edit_weights(adapter, lambda tensors: tensors[name].fill_(float("nan")))
    assert refusal(llama, adapter, tmp_path / "merged") == "merging.not_finite"


def test_float16_overflow_is_refused_with_a_remedy(llama: Path, tmp_path: Path) -> None:
    adapter = random_adapter(llama, tmp_path / "adapter", lora_alpha=200_000_000)
    with pytest.raises(ProblemError) as caught:
        merged(llama, adapter, tmp_path / "merged", dtype="fp16")
    assert caught.value.problems[0].code == "merging.not_finite"
    assert "bfloat16" in str(caught.value.problems[0].remedy)


def test_gptq_base_is_refused(llama: Path, tmp_path: Path) -> None:
    base = tmp_path / "base"
    shutil.copytree(llama, base)
    write_config(base, quantization_config={"quant_method": "gptq", "bits": 4})
    adapter = random_adapter(llama, tmp_path / "adapter")
    assert refusal(base, adapter, tmp_path / "merged") == "merging.quantized_base"


# --- a run ------------------------------------------------------------------------------------


@pytest.fixture
def run(llama: Path, tmp_path: Path) -> RunFolder:
    project = Project(name="Harbour", model=ModelSpec(source=str(llama)))
    new_run = run_folder.create_run(tmp_path / "runs", project, tmp_path)
    random_adapter(llama, new_run.adapter)
    return new_run


def test_merge_of_a_run_leaves_only_the_model(run: RunFolder) -> None:
    job, recorder = recorded_job()
    merge.merge(run, job)
    (event,) = recorder.of(events.Merged)
    assert event.folder == str(run.merged)
    assert event.dtype == "bfloat16"
    assert event.tensors_changed == 14
    assert event.bytes == sum(file.stat().st_size for file in run.merged.iterdir())
    assert leftovers(run) == []
    shown = [
        progress
        for progress in recorder.of(events.Progress)
        if str(progress.stage) == "merging the weights"
    ]
    assert shown[-1].done == shown[-1].total


def test_merged_model_stops_at_the_end_of_turn_token(tmp_path: Path) -> None:
    base = tiny_model("qwen3", tmp_path / "base")
    for name, changes in (
        ("tokenizer_config.json", {"eos_token": "<|endoftext|>"}),
        ("generation_config.json", {"eos_token_id": 3}),
    ):
        file = base / name
        file.write_text(json.dumps(json.loads(file.read_text("utf-8")) | changes), "utf-8")
    project = Project(name="Base", model=ModelSpec(source=str(base)))
    new_run = run_folder.create_run(tmp_path / "runs", project, tmp_path)
    random_adapter(base, new_run.adapter)
    merge.merge(new_run, recorded_job()[0])
    ids = AutoTokenizer.from_pretrained(new_run.merged).get_vocab()
    settings = json.loads((new_run.merged / "generation_config.json").read_text("utf-8"))
    assert settings["eos_token_id"][0] == 3
    assert set(settings["eos_token_id"]) == {3, ids["<|endoftext|>"], ids["<|im_end|>"]}


def test_canceled_merge_keeps_the_earlier_model(run: RunFolder) -> None:
    merge.merge(run, recorded_job()[0])
    before = load_file(run.merged / safetensors_files.SINGLE)
    job, recorder = recorded_job()
    recorder.on_event = lambda event: (
        job.flags.cancel.set()
        if str(getattr(event, "stage", "")) == "merging the weights"
        else None
    )
    with pytest.raises(CancelledError):
        merge.merge(run, job)
    after = load_file(run.merged / safetensors_files.SINGLE)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert leftovers(run) == []


def test_full_disk_is_detected_before_writing(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk, "RESERVE", 1 << 60)
    job, _ = recorded_job()
    with pytest.raises(ProblemError) as caught:
        merge.merge(run, job)
    assert caught.value.problems[0].code == "disk.full"
    assert "free" in str(caught.value.problems[0].what)
    assert not run.merged.exists()


def test_merged_weight_is_base_plus_scale_times_b_times_a(tmp_path: Path) -> None:
    base = tiny_model("llama3", tmp_path / "base", stored="float32")
    adapter = random_adapter(base, tmp_path / "adapter", r=4, lora_alpha=12)
    before = load_file(base / safetensors_files.SINGLE)
    update = load_file(adapter / adapter_files.WEIGHTS)
    after, _ = merged(base, adapter, tmp_path / "merged")
    name = "model.layers.1.mlp.down_proj"
    a, b = (update[f"base_model.model.{name}.lora_{half}.weight"].double() for half in "AB")
    expected = before[f"{name}.weight"].double() + 12 / 4 * (b @ a)
    torch.testing.assert_close(after[f"{name}.weight"].double(), expected, rtol=0, atol=1e-6)
    assert (after[f"{name}.weight"] - before[f"{name}.weight"]).abs().max() > 0.1


def test_second_merge_replaces_the_first(run: RunFolder, llama: Path) -> None:
    job, _ = recorded_job()
    merge.merge(run, job)
    before = load_file(run.merged / safetensors_files.SINGLE)
    shutil.rmtree(run.adapter)
    random_adapter(llama, run.adapter, seed=4)
    merge.merge(run, job)
    after = load_file(run.merged / safetensors_files.SINGLE)
    name = "model.layers.0.self_attn.q_proj.weight"
    assert not torch.equal(before[name], after[name])
