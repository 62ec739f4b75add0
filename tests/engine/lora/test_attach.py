"""Attaching an adapter: target layers of each architecture, exact counts, nothing else trains."""

from __future__ import annotations

import ast
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft.peft_model
import pytest
import torch
from peft import LoraConfig
from peft.tuners.tuners_utils import _ExcludedModule, check_target_module_exists
from safetensors.torch import load_file, save_file
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedModel,
)

import lora_studio.engine
from lora_studio.core.lora.adapters import AdapterMix, ModuleFilter, WeightedAdapter
from lora_studio.core.lora.spec import LoraSpec, Targets
from lora_studio.core.memory import adapter_size
from lora_studio.core.model.spec import ModelSpec
from lora_studio.core.problems import ProblemError
from lora_studio.core.protocol import commands, events
from lora_studio.engine.chat.adapters import AdapterSwitch
from lora_studio.engine.devices import devices
from lora_studio.engine.lora import adapter_files, attach
from lora_studio.engine.model import loading
from lora_studio.engine.model.shape import get_model_shape
from tests.engine.conftest import TinyModel
from tests.helpers.models.tiny_models import FAMILIES, random_adapter
from tests.helpers.runs.jobs import RecordingChannel, handle, make_job

ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
MLP = ("gate_proj", "up_proj", "down_proj")


def base(tiny: TinyModel, family: str) -> torch.nn.Module:
    return AutoModelForCausalLM.from_pretrained(tiny(family), dtype=torch.float32)


def targets_of(tiny: TinyModel, family: str, targets: Targets, *names: str) -> set[str]:
    spec = LoraSpec(targets=targets, target_names=names)
    return set(attach.find_targets(base(tiny, family), spec).names)


@pytest.mark.parametrize(
    ("family", "targets", "expected"),
    [
        ("llama3", "attention_qv", ("q_proj", "v_proj")),
        ("llama3", "attention", ATTENTION),
        ("llama3", "mlp", MLP),
        ("llama3", "attention_mlp", ATTENTION + MLP),
        ("gemma3", "all_linear", ATTENTION + MLP),
        ("phi3", "attention_qv", ("qkv_proj",)),
        ("phi3", "attention", ("qkv_proj", "o_proj")),
        ("phi3", "all_linear", ("qkv_proj", "o_proj", "gate_up_proj", "down_proj")),
        ("qwen3_moe", "all_linear", ATTENTION),
    ],
)
def test_target_preset_selects_the_layers_of_each_architecture(
    tiny: TinyModel, family: str, targets: Targets, expected: tuple[str, ...]
) -> None:
    assert targets_of(tiny, family, targets) == set(expected)


@pytest.mark.parametrize("family", FAMILIES)
def test_only_adapter_weights_train_in_32_bit(tiny: TinyModel, family: str) -> None:
    wrapped = attach.attach_adapter(base(tiny, family).to(torch.bfloat16), LoraSpec(), make_job())
    trainable = {name: p for name, p in wrapped.named_parameters() if p.requires_grad}
    assert trainable
    assert all("lora_" in name for name in trainable)
    assert {p.dtype for p in trainable.values()} == {torch.float32}
    assert not any("lm_head" in name or "embed" in name for name in trainable)


def test_trainable_count_is_rank_times_layer_widths(tiny: TinyModel) -> None:
    # Llama, 2 blocks: q 64->64, k and v 64->32, o 64->64, gate and up 64->128, down 128->64.
    per_block = 4 * (128 + 96 + 96 + 128 + 192 + 192 + 192)
    wrapped = attach.attach_adapter(base(tiny, "llama3"), LoraSpec(rank=4), make_job())
    counted = attach.count_parameters(wrapped)
    assert counted.trainable == 2 * per_block == 8192
    assert counted.adapter_bytes == 4 * 8192
    # Embeddings are shared with the output layer and count once.
    assert counted.total == 8192 + 480 * 64 + 2 * (64 * (64 + 32 + 32 + 64) + 3 * 64 * 128 + 2 * 64) + 64  # fmt: skip


@pytest.mark.parametrize("family", FAMILIES)
def test_inspecting_without_weights_counts_the_same(tiny: TinyModel, family: str) -> None:
    channel = handle(commands.InspectModel(model=ModelSpec(source=str(tiny(family)))))
    result = channel.last(events.ModelInspected)
    wrapped = attach.attach_adapter(base(tiny, family), LoraSpec(), make_job())
    counted = attach.count_parameters(wrapped)
    assert result.adapter is not None
    assert (result.adapter.trainable, result.adapter.total) == (counted.trainable, counted.total)
    assert set(result.adapter.targets) == set(counted.targets)
    assert result.parameters == counted.total - counted.trainable
    assert (result.layers, result.hidden_size, result.stored_dtype) == (2, 64, "bf16")
    assert result.has_chat_template


@pytest.mark.parametrize(
    ("family", "name"),
    [
        ("llama3", "lm_head"),  # tied to the embedding
        ("mistral", "lm_head"),
        ("llama3", "embed_tokens"),
        ("qwen3_moe", "gate"),
        ("qwen3_moe", "model.layers.1.mlp.gate"),
    ],
)
def test_modules_without_adapters_are_trained_in_full(
    tiny: TinyModel, family: str, name: str
) -> None:
    with pytest.raises(ProblemError) as caught:
        targets_of(tiny, family, "names", "q_proj", name)
    (problem,) = caught.value.problems
    assert (problem.code, problem.where.field) == ("lora.no_adapter_possible", "target_names")
    # What the problem recommends trains the module; PEFT warns about tied ones, which the merge unties.
    warnings.filterwarnings("ignore", message="Model has `tie_word_embeddings")
    spec = LoraSpec(rank=4, modules_to_save=(name,))
    wrapped = attach.attach_adapter(base(tiny, family), spec, make_job())
    trained = [n for n, p in wrapped.named_parameters() if p.requires_grad and "lora_" not in n]
    assert trained
    assert all(f"{name}.modules_to_save" in n for n in trained)


def test_biases_train_if_chosen() -> None:
    network = GPT2LMHeadModel(GPT2Config(n_embd=32, n_layer=1, n_head=2, vocab_size=64))
    wrapped = attach.attach_adapter(network, LoraSpec(bias="all", rank=2), make_job())
    biases = [name for name, p in wrapped.named_parameters() if p.requires_grad and "bias" in name]
    assert biases


def test_conv1d_layers_are_targeted() -> None:
    network = GPT2LMHeadModel(GPT2Config(n_embd=32, n_layer=1, n_head=2, vocab_size=64))
    assert set(attach.get_linear_names(network)) == {"c_attn", "c_proj", "c_fc"}
    assert set(attach.find_targets(network, LoraSpec(targets="attention_qv")).names) == {"c_attn"}
    counted = attach.count_parameters(
        attach.attach_adapter(network, LoraSpec(targets="attention", rank=2), make_job())
    )
    # c_proj of the attention only, not the one in the MLP: 2·(32+96) + 2·(32+32).
    assert counted.trainable == 2 * 128 + 2 * 64


def test_layers_can_be_targeted_by_name(tiny: TinyModel) -> None:
    assert targets_of(tiny, "llama3", "names", "o_proj", "up_proj") == {"o_proj", "up_proj"}
    full = "model.layers.1.self_attn.q_proj"
    spec = LoraSpec(targets="names", target_names=(full,))
    assert set(attach.find_targets(base(tiny, "llama3"), spec).layers) == {full}


@pytest.mark.parametrize(
    "names",
    [("q_proj", "query"), ("norm",)],
    ids=["unknown", "norm"],
)
def test_unknown_target_name_lists_the_linear_layers(
    tiny: TinyModel, names: tuple[str, ...]
) -> None:
    with pytest.raises(ProblemError) as caught:
        targets_of(tiny, "llama3", "names", *names)
    (problem,) = caught.value.problems
    assert problem.code == "lora.nothing_trainable"
    assert names[-1] in str(problem.what)
    assert "q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj" in str(problem.remedy)


# --- experts ----------------------------------------------------------------------------------


def test_presets_skip_stacked_experts_with_a_warning(tiny: TinyModel) -> None:
    channel = RecordingChannel()
    attach.attach_adapter(base(tiny, "qwen3_moe"), LoraSpec(), make_job(channel))
    (warned,) = channel.of(events.Warned)
    assert warned.problem.code == "lora.experts_left_out"
    assert "gate_up_proj, down_proj" in str(warned.problem.what)


def test_named_stacked_experts_are_adapted(tiny: TinyModel) -> None:
    spec = LoraSpec(targets="names", target_names=("q_proj", "gate_up_proj", "down_proj"), rank=2)
    channel = RecordingChannel()
    network = base(tiny, "qwen3_moe")
    wrapped = attach.attach_adapter(network, spec, make_job(channel))
    (warned,) = channel.of(events.Warned)
    assert warned.problem.code == "lora.experts_need_merging"
    # 2 blocks; q: 2·(64+64). Each of 4 experts: gate_up 2·(64+64), down 2·(32+64).
    assert attach.count_parameters(wrapped).trainable == 2 * (256 + 4 * (256 + 192))
    ids = torch.arange(1, 17)[None]
    wrapped(input_ids=ids, labels=ids).loss.backward()
    grads = [p.grad for name, p in wrapped.named_parameters() if "experts" in name and "lora_B" in name]  # fmt: skip
    assert grads
    assert all(grad is not None and grad.abs().sum() > 0 for grad in grads)


def test_all_experts_are_adapted_if_chosen(tiny: TinyModel) -> None:
    network = base(tiny, "qwen3_moe")
    wrapped = attach.attach_adapter(network, LoraSpec(adapt_experts=True, rank=2), make_job())
    trained = [name for name, value in wrapped.named_parameters() if value.requires_grad]
    # 2 blocks; q, k, v, and o, and the two stacked tensors of the experts have A and B each; no router has.
    assert len(trained) == 2 * (4 + 2) * 2
    assert not any(".gate." in name for name in trained)


def build_mamba_model(kind: str) -> PreTrainedModel:
    """Return a tiny model of attention and Mamba layers."""
    shared = {
        "vocab_size": 64,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_attention_heads": 4,
    }
    own: dict[str, dict[str, Any]] = {
        "falcon_h1": {"num_hidden_layers": 1, "mamba_d_ssm": 32, "mamba_n_heads": 4, "mamba_d_head": 8},
        "bamba": {"num_hidden_layers": 2, "attn_layer_indices": [1], "mamba_n_heads": 8, "mamba_d_head": 8},
        "jamba": {"num_hidden_layers": 2, "attn_layer_period": 2, "attn_layer_offset": 1, "use_mamba_kernels": False},
    }  # fmt: skip
    config = AutoConfig.for_model(kind, **shared, num_key_value_heads=2, **own[kind])
    return AutoModelForCausalLM.from_config(config)


@pytest.mark.parametrize(
    ("kind", "name"), [("falcon_h1", "out_proj"), ("bamba", "out_proj"), ("jamba", "dt_proj")]
)
def test_layers_whose_weights_a_kernel_reads_get_no_adapter(kind: str, name: str) -> None:
    network = build_mamba_model(kind)
    assert any(path.endswith(name) for path, _ in network.named_modules())
    targets = attach.find_targets(network, LoraSpec())
    assert "in_proj" in targets.names
    assert name not in targets.names
    assert name not in attach.get_linear_names(network)
    shape = get_model_shape(network, targets.layers)
    expected = sum(
        2 * (layer.inputs + layer.outputs) * layer.count
        for layer in shape.linear
        if layer.adaptable
    )
    channel = RecordingChannel()
    wrapped = attach.attach_adapter(network, LoraSpec(rank=2), make_job(channel))
    (warned,) = (
        event for event in channel.of(events.Warned) if event.problem.code == "lora.layers_left_out"
    )
    assert name in str(warned.problem.what)
    counted = attach.count_parameters(wrapped)
    assert counted.trainable == expected


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "title"),
    [
        ({"dropout": 0.1}, "Dropout"),
        ({"use_dora": True}, "DoRA"),
        ({"init": "pissa"}, "Initialization"),
        ({"init": "eva"}, "Initialization"),
    ],
)
def test_what_experts_cannot_have_is_said_before_training(
    tiny: TinyModel, settings: dict[str, Any], title: str
) -> None:
    names = ("q_proj", "gate_up_proj")
    spec = LoraSpec(targets="names", target_names=names, rank=2, **settings)
    with pytest.raises(ProblemError, match=rf"stacked experts \(gate_up_proj\): {title}"):
        attach.attach_adapter(base(tiny, "qwen3_moe"), spec, make_job())
    model = ModelSpec(source=str(tiny("qwen3_moe")))
    inspected = attach.inspect_model(model, spec, make_job())
    assert inspected.adapter is None
    assert inspected.adapter_problem is not None
    fix = inspected.adapter_problem.fix
    assert fix is not None
    reset = spec.model_copy(update={fix.field: fix.value})
    assert attach.inspect_model(model, reset, make_job()).adapter is not None


# --- quantized --------------------------------------------------------------------------------


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("precision", ["4bit", "8bit"])
def test_quantized_base_is_upcast_without_native_bfloat16(
    tiny: TinyModel, precision: str, native: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "has_bfloat16_instructions", lambda: native)
    spec = ModelSpec(source=str(tiny("llama3")), precision=precision, device="cpu")
    loaded = loading.load(spec, make_job(), training=True)
    assert loaded.dtype == (torch.bfloat16 if native else torch.float32)
    wrapped = attach.attach_adapter(loaded.model, LoraSpec(), make_job())
    assert attach.is_prepared(loaded.model) is not native
    norm = wrapped.get_base_model().model.norm.weight
    assert norm.dtype == loaded.dtype
    ids = torch.arange(1, 17)[None]
    wrapped(input_ids=ids, labels=ids).loss.backward()
    grads = [p.grad for name, p in wrapped.named_parameters() if "lora_B" in name]
    assert all(grad is not None and grad.abs().sum() > 0 for grad in grads)
    # Packed weights count unpacked.
    assert attach.count_parameters(wrapped).total == attach.count_parameters(attach.attach_adapter(base(tiny, "llama3"), LoraSpec(), make_job())).total  # fmt: skip


@pytest.mark.parametrize("precision", ["4bit", "8bit"])
def test_forward_without_gradients_keeps_quantized_gradients(
    tiny: TinyModel, precision: str
) -> None:
    spec = ModelSpec(source=str(tiny("llama3")), precision=precision, device="cpu")
    loaded = loading.load(spec, make_job(), training=True)
    wrapped = attach.attach_adapter(loaded.model, LoraSpec(init="gaussian"), make_job())
    for name, value in wrapped.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(value, std=0.05)
    ids = torch.arange(1, 17)[None]

    def gradients() -> list[torch.Tensor]:
        wrapped.train().zero_grad()
        wrapped(input_ids=ids, labels=ids).loss.backward()
        return [p.grad.clone() for p in wrapped.parameters() if p.grad is not None]

    before = gradients()
    with torch.no_grad():
        wrapped.eval()(input_ids=ids)
    after = gradients()
    assert len(after) == len(before) > 0
    for one, other in zip(before, after, strict=True):
        torch.testing.assert_close(one, other)


def test_quantized_base_keeps_16_bit_experts(
    tiny: TinyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = ModelSpec(source=str(tiny("qwen3_moe")), precision="4bit", device="cpu")
    monkeypatch.setattr(devices, "has_bfloat16_instructions", lambda: True)
    loaded = loading.load(spec, make_job(), training=True)
    wrapped = attach.attach_adapter(loaded.model, LoraSpec(), make_job())
    experts = [p for p in wrapped.parameters() if p.dim() == 3]
    assert {p.dtype for p in experts} == {loaded.dtype} == {torch.bfloat16}


@pytest.mark.parametrize("family", FAMILIES)
def test_count_from_widths_matches_peft(tiny: TinyModel, family: str) -> None:
    spec = ModelSpec(source=str(tiny(family)))
    inspected = attach.inspect_model(spec, LoraSpec(), make_job())
    for shape in (
        LoraSpec(),
        LoraSpec(rank=5, targets="attention"),
        LoraSpec(targets="attention_qv", use_dora=True),
        LoraSpec(targets="names", target_names=inspected.linear_names[:1], blocks="1"),
        LoraSpec(own_ranks=(f"{inspected.linear_names[0]}=3",), use_rslora=True),
    ):
        outline = loading.load_on_meta(tiny(family), spec)
        result = [
            adapter_size.count_parameters(inspected, shape),
            attach.count_on_meta(outline, shape),
        ]
        at_once, by_peft = (x.model_dump(exclude={"time"}) if x else None for x in result)
        assert at_once == by_peft
        assert at_once is not None


def test_count_from_widths_is_none_when_it_cannot_be_exact(tiny: TinyModel) -> None:
    inspected = attach.inspect_model(
        ModelSpec(source=str(tiny("qwen3_moe"))), LoraSpec(), make_job()
    )
    experts = next(name for name in inspected.linear_names if name not in ATTENTION)
    for shape in (
        LoraSpec(bias="all"),
        LoraSpec(modules_to_save=("lm_head",)),
        LoraSpec(targets="names", target_names=(experts,)),
        LoraSpec(blocks="99"),
        LoraSpec(start_from="/somewhere"),
    ):
        assert adapter_size.count_parameters(inspected, shape) is None


_ENGINE = Path(lora_studio.engine.__file__).parent

#: PEFT's functions that read an adapter, by default onto the first GPU.
_LOADERS = ("PeftModel.from_pretrained", "load_adapter", "load_peft_weights")


@pytest.mark.filterwarnings("ignore:Already found a `peft_config` attribute:UserWarning")
def test_chat_on_the_cpu_leaves_a_gpu_alone(
    tiny: TinyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = tiny("llama3")
    folders = [random_adapter(base, tmp_path / name, seed=seed) for seed, name in enumerate("ab")]
    monkeypatch.setattr(peft.peft_model, "infer_device", lambda: "cuda")
    switch = AdapterSwitch(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32))
    for folder in folders:
        switch.to(AdapterMix(name="", adapters=(WeightedAdapter(folder=str(folder)),)))
    assert {value.device.type for value in switch.network.parameters()} == {"cpu"}


def test_every_adapter_is_read_into_main_memory() -> None:
    loading = [
        f"{file.relative_to(_ENGINE)}:{call.lineno}"
        for file in _ENGINE.rglob("*.py")
        for call in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(call, ast.Call) and _may_use_gpu(call)
    ]
    assert not loading


def _may_use_gpu(call: ast.Call) -> bool:
    name = ast.unparse(call.func)
    if not any(name == loader or name.endswith(f".{loader}") for loader in _LOADERS):
        return False
    named: dict[str | None, Any] = {each.arg: each.value for each in call.keywords}
    device = named.get("torch_device", named.get("device"))
    return not (isinstance(device, ast.Constant) and device.value == "cpu")


MODULE = "model.layers.0.self_attn.q_proj"
A, B = (f"base_model.model.{MODULE}.lora_{half}.weight" for half in "AB")
MAGNITUDE = f"base_model.model.{MODULE}.lora_magnitude_vector"

Tensors = dict[str, torch.Tensor]


def repeat(tensors: Tensors) -> None:
    tensors[A.removeprefix("base_model.model.")] = tensors[A] * 100


def flatten(tensors: Tensors) -> None:
    tensors[B] = tensors[B].flatten()


def shrink(tensors: Tensors) -> None:
    tensors[A] = torch.tensor(1.0)


def add_magnitude(tensors: Tensors) -> None:
    tensors[MAGNITUDE] = torch.full((len(tensors[B]),), 50.0)


def add_bias(tensors: Tensors) -> None:
    tensors[B.replace("weight", "bias")] = torch.ones(len(tensors[B]))


def add_rows(tensors: Tensors) -> None:
    name = "base_model.model.model.embed_tokens.token_adapter.trainable_tokens_delta"
    tensors[name] = torch.ones(2, tensors[A].shape[1])


@pytest.mark.parametrize(
    ("change", "settings", "reason"),
    [
        (repeat, {}, "twice"),
        (flatten, {}, "aren't matrices"),
        (shrink, {}, "aren't matrices"),
        (add_magnitude, {}, "use_dora"),
        (None, {"use_dora": True}, "use_dora"),
        (add_bias, {}, "lora_bias"),
        (add_rows, {"trainable_token_indices": [5, 5]}, "rows of its new tokens"),
        (add_rows, {"trainable_token_indices": [5, [5]]}, "rows of its new tokens"),
        (None, {"target_modules": ["nothing"]}, "include model.layers."),
        (None, {"target_modules": ".*k_proj"}, "include model.layers."),
        (None, {"exclude_modules": ["q_proj"]}, "include model.layers.0.self_attn.q_proj"),
        (None, {"target_modules": ["q_proj"], "layers_to_transform": [1]}, "include model.layers.0."),
    ],
)  # fmt: skip
def test_contradictory_adapter_is_refused_by_its_reason(
    tiny: TinyModel,
    tmp_path: Path,
    change: Callable[[Tensors], None] | None,
    settings: dict[str, Any],
    reason: str,
) -> None:
    adapter = random_adapter(tiny("llama3"), tmp_path / "adapter")
    assert adapter_files.read(adapter).layers
    file = adapter / adapter_files.CONFIG
    file.write_text(json.dumps(json.loads(file.read_text("utf-8")) | settings), "utf-8")
    if change is not None:
        tensors = load_file(adapter / adapter_files.WEIGHTS)
        change(tensors)
        save_file(tensors, adapter / adapter_files.WEIGHTS)
    with pytest.raises(ProblemError) as caught:
        adapter_files.read(adapter)
    problem = caught.value.problems[0]
    is_about_settings = reason.startswith("include")
    assert (
        problem.code == f"merging.{'broken_settings' if is_about_settings else 'foreign_adapter'}"
    )
    assert reason in str(problem.what)


#: Names of modules that settings select or leave out.
_MODULES = ("model.layers.1.self_attn.q_proj", "model.layers.11.mlp.experts.1.up_proj", "lm_head")


@pytest.mark.parametrize(
    "settings",
    [
        {"target_modules": ["q_proj", "lm_head"]},
        {"target_modules": ["proj", "model.layers.1.self_attn.q_proj"]},
        {"target_modules": r".*\.layers\.1\..*"},
        {"target_modules": r"layers\.1\..*"},
        {"target_modules": ["q_proj", "up_proj"], "exclude_modules": ["up_proj"]},
        {"target_modules": ["q_proj", "up_proj"], "exclude_modules": ".*experts.*"},
        {"target_modules": ["q_proj", "up_proj", "lm_head"], "layers_to_transform": [1]},
        {"target_modules": ["q_proj", "up_proj"], "layers_to_transform": 11},
        {"target_modules": ["q_proj", "up_proj"], "layers_to_transform": []},
        {"target_modules": ["q_proj", "up_proj"], "layers_to_transform": [1], "layers_pattern": "layers"},
        {"target_modules": ["up_proj"], "layers_to_transform": [1], "layers_pattern": ["h", "layers"]},
        {"target_modules": ["up_proj"], "layers_to_transform": [1], "layers_pattern": "h"},
        {"target_modules": ["q_proj"], "layers_to_transform": [1], "layers_pattern": "(layers)"},
        {"target_modules": ["q_proj", "lm_head", "up_proj"], "modules_to_save": ["lm_head", "mlp"]},
    ],
)  # fmt: skip
def test_modules_are_selected_as_peft_selects_them(settings: dict[str, Any]) -> None:
    config = LoraConfig(**settings)
    expected = [
        bool(found) and not isinstance(found, _ExcludedModule)
        for found in (check_target_module_exists(config, module) for module in _MODULES)
    ]
    module_filter = ModuleFilter(settings)
    assert [module_filter.selects(module) for module in _MODULES] == expected


@pytest.mark.parametrize(
    "settings", [{"target_modules": "ALL-linear"}, {"target_modules": None}, {}]
)
def test_settings_without_names_select_every_module(settings: dict[str, Any]) -> None:
    module_filter = ModuleFilter(settings | {"exclude_modules": ["lm_head"]})
    assert [module_filter.selects(module) for module in _MODULES] == [True, True, False]


def test_settings_with_parameters_alone_select_no_module() -> None:
    module_filter = ModuleFilter(
        {"target_modules": None, "target_parameters": ["experts.gate_up_proj"]}
    )
    assert not any(module_filter.selects(module) for module in _MODULES)
