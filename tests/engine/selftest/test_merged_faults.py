"""A merged model is compared by value: every planted fault is named, a correct one has none."""

from __future__ import annotations

import errno
import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from lora_studio.core.messages import text
from lora_studio.core.model.folders import INDEX
from lora_studio.core.problems import ProblemError
from lora_studio.core.runs.folder import RunFolder
from lora_studio.engine.export.gguf.direct_gguf import DirectMerge
from lora_studio.engine.kernels.logprobs import LogprobModel
from lora_studio.engine.merging import merge
from lora_studio.engine.model.safetensors_files import SINGLE
from lora_studio.engine.runtime import failures
from lora_studio.engine.selftest import selftest
from lora_studio.engine.selftest.expected_model import (
    ExpectedModel,
    measure_rounding,
    open_expected,
)
from lora_studio.engine.selftest.judging import StageComparison
from lora_studio.engine.selftest.merged_comparison import compare_merged
from lora_studio.engine.tasks.classification import Classification, write_config
from tests.engine.conftest import TinyModel
from tests.engine.tasks.test_classification import TEXTS, encode_texts, make_classifier
from tests.engine.training.test_train_run import Start, start
from tests.helpers.runs.jobs import make_job, recorded_job, write_rows
from tests.helpers.runs.tiny_run import tiny_run

Tensors = dict[str, torch.Tensor]

V_PROJ = "model.layers.1.self_attn.v_proj.weight"
UP_PROJ = "model.layers.0.mlp.up_proj.weight"
NORM = "model.layers.0.input_layernorm.weight"
EMBEDDING = "model.embed_tokens.weight"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A correctly merged run of a tiny Llama."""
    new_run = tiny_run("llama3", tmp_path_factory.mktemp("merged"))
    merge.merge(new_run, recorded_job()[0])
    return new_run


@pytest.fixture(scope="module")
def expected(run: RunFolder, tmp_path_factory: pytest.TempPathFactory) -> ExpectedModel:
    """What base + adapter of the run give."""
    job, project = recorded_job()[0], run.load_project()
    recipe = DirectMerge(
        base=merge.resolve_base(project.model, project.merging, job),
        adapters=tuple(merge.get_chosen_adapters(run, project.merging)),
        merging=project.merging,
    )
    return open_expected(recipe, tmp_path_factory.mktemp("expected"), job, trust=False)


def compare(
    run: RunFolder, expected: ExpectedModel, folder: Path, plant: Callable[[Path], None]
) -> StageComparison:
    model = folder / "model"
    shutil.copytree(run.merged, model)
    plant(model)
    return compare_merged(model, expected, recorded_job()[0])


def setting(file: str, key: str, value: Any) -> Callable[[Path], None]:
    """Plant another value at a path of keys; None removes the key."""

    def plant(model: Path) -> None:
        path = model / file
        content = json.loads(path.read_text("utf-8"))
        parent = content
        *parents, last = key.split("/")
        for name in parents:
            parent = parent[int(name) if isinstance(parent, list) else name]
        if value is None:
            del parent[last]
        else:
            parent[last] = value
        path.write_text(json.dumps(content), "utf-8")

    return plant


def config(key: str, value: Any) -> Callable[[Path], None]:
    return setting("config.json", key, value)


def weights(change: Callable[[Tensors], Any]) -> Callable[[Path], None]:
    """Plant changed weights: `change` edits the dictionary of tensors."""

    def plant(model: Path) -> None:
        tensors = load_file(model / SINGLE)
        change(tensors)
        save_file(tensors, model / SINGLE, metadata={"format": "pt"})

    return plant


def text_file(file: str, change: Callable[[str], str]) -> Callable[[Path], None]:
    def plant(model: Path) -> None:
        path = model / file
        path.write_text(change(path.read_text("utf-8")), "utf-8")

    return plant


def add_file(name: str, content: str) -> Callable[[Path], None]:
    def plant(model: Path) -> None:
        (model / name).parent.mkdir(exist_ok=True)
        (model / name).write_text(content, "utf-8")

    return plant


def truncate(model: Path) -> None:
    os.truncate(model / SINGLE, (model / SINGLE).stat().st_size - 1000)


def add_shard(model: Path) -> None:
    shutil.copyfile(model / SINGLE, model / "model-00002-of-00002.safetensors")


def swap(one: str, other: str) -> Callable[[Tensors], None]:
    def change(tensors: Tensors) -> None:
        tensors[one], tensors[other] = tensors[other], tensors[one]

    return change


def base_of(name: str) -> Callable[[Path], None]:
    def plant(model: Path) -> None:
        base = load_file(model.parents[2] / "base" / SINGLE)
        weights(lambda tensors: tensors.update({name: base[name]}))(model)

    return plant


FAULTS = [
    pytest.param(config("rope_parameters/rope_theta", 10000.0), "config.json: rope_parameters.rope_theta is 10000.0 instead of 500000.0", id="rope theta"),
    pytest.param(config("rope_parameters/rope_type", "linear"), "rope_parameters.rope_type is \"linear\"", id="rope type"),
    pytest.param(config("rope_parameters/factor", 4.0), "rope_parameters.factor is 4.0, but should not be set", id="rope factor"),
    pytest.param(config("rms_norm_eps", 1e-3), "rms_norm_eps is 0.001 instead of 1e-06", id="rms norm epsilon"),
    pytest.param(config("num_hidden_layers", 2.0), "num_hidden_layers is 2.0 instead of 2", id="count with a decimal point"),
    pytest.param(config("transformers_version", "4.57.1"), "transformers_version is \"4\" instead of \"5\"", id="version before tokenizer fixes"),
    pytest.param(config("quantization_config", {"quant_method": "fp8"}), "quantization_config is", id="quantization config"),
    pytest.param(config("architectures", ["MistralForCausalLM"]), "architectures[0] is \"MistralForCausalLM\"", id="architecture"),
    pytest.param(config("auto_map", {"AutoModelForCausalLM": "m.X"}), "auto_map is", id="remote code"),
    pytest.param(setting("generation_config.json", "suppress_tokens", [5]), "suppress_tokens is [5], but should not be set", id="suppressed tokens"),
    pytest.param(setting("tokenizer_config.json", "chat_template", "{{ 1 }}"), "tokenizer_config.json: chat_template is \"{{ 1 }}\", but should not be set", id="second template in tokenizer config"),
    pytest.param(setting("tokenizer_config.json", "tokenizer_class", "LlamaTokenizer"), "tokenizer_class is \"LlamaTokenizer\"", id="tokenizer class"),
    pytest.param(add_file("special_tokens_map.json", '{"eos_token": "<x>"}'), "special_tokens_map.json is not part", id="special tokens map"),
    pytest.param(add_file("chat_template.json", '{"chat_template": ""}'), "chat_template.json is not part", id="template of a processor"),
    pytest.param(add_file("additional_chat_templates/tool_use.jinja", ""), "additional_chat_templates/tool_use.jinja is not part", id="template for tools"),
    pytest.param(add_file("custom_generate/generate.py", ""), "custom_generate/generate.py is not part", id="code for generation"),
    pytest.param(add_file("pytorch_model.bin", ""), "pytorch_model.bin is not part", id="pickle"),
    pytest.param(setting("tokenizer.json", "truncation", {"max_length": 4}), "tokenizer.json: truncation", id="truncation"),
    pytest.param(lambda m: save_file(load_file(m / SINGLE), m / SINGLE), "model.safetensors: format is missing", id="format of the weights"),
    pytest.param(weights(lambda t: t.update({UP_PROJ: t[UP_PROJ].flip(1).contiguous()})), f"{UP_PROJ} differs from what was trained in 128 of 128 rows", id="columns reversed"),
    pytest.param(weights(lambda t: t.update({UP_PROJ: t[UP_PROJ].to(torch.float8_e4m3fn).to(t[UP_PROJ].dtype)})), f"{UP_PROJ} differs", id="rounded to float8"),
    pytest.param(config("rms_norm_eps", None), "rms_norm_eps is missing", id="rms norm epsilon missing"),
    pytest.param(config("num_attention_heads", 8), "num_attention_heads is 8 instead of 4", id="heads"),
    pytest.param(config("num_key_value_heads", 4), "num_key_value_heads is 4 instead of 2", id="key-value heads"),
    pytest.param(config("head_dim", 32), "head_dim is 32 instead of 16", id="head size"),
    pytest.param(config("num_hidden_layers", 1), "num_hidden_layers is 1 instead of 2", id="layers"),
    pytest.param(config("max_position_embeddings", 512), "max_position_embeddings is 512 instead of 1024", id="context length"),
    pytest.param(config("tie_word_embeddings", False), "tie_word_embeddings is false instead of true", id="tied embeddings"),
    pytest.param(config("vocab_size", 512), "vocab_size is 512", id="vocabulary size"),
    pytest.param(config("hidden_act", "gelu"), "hidden_act is \"gelu\" instead of \"silu\"", id="activation"),
    pytest.param(config("attention_bias", True), "attention_bias is true instead of false", id="bias"),
    pytest.param(config("sliding_window", 64), "sliding_window is 64, but should not be set", id="sliding window"),
    pytest.param(config("eos_token_id", 1), "config.json: eos_token_id is 1 instead of", id="eos in config"),
    pytest.param(config("model_type", "mistral"), "model_type is \"mistral\" instead of \"llama\"", id="model type"),
    pytest.param(config("dtype", "float16"), "dtype is \"float16\" instead of \"bfloat16\"", id="dtype"),
    pytest.param(config("torch_dtype", "float16"), "torch_dtype is \"float16\", but should not be set", id="older dtype key"),
    pytest.param(setting("generation_config.json", "eos_token_id", 1), "generation_config.json: eos_token_id is 1", id="eos in generation config"),
    pytest.param(setting("generation_config.json", "temperature", 1.9), "temperature is 1.9, but should not be set", id="sampling default"),
    pytest.param(lambda m: (m / "generation_config.json").unlink(), "generation_config.json is missing", id="generation config missing"),
    pytest.param(setting("tokenizer_config.json", "eos_token", "<|end_of_text|>"), "eos_token is \"<|end_of_text|>\" instead of \"<|eot_id|>\"", id="eos token"),
    pytest.param(setting("tokenizer_config.json", "bos_token", "<|eot_id|>"), "bos_token is \"<|eot_id|>\"", id="bos token"),
    pytest.param(setting("tokenizer_config.json", "add_bos_token", True), "add_bos_token is true, but should not be set", id="add bos"),
    pytest.param(setting("tokenizer.json", "added_tokens/0/special", False), "added_tokens[0].special is false instead of true", id="special token"),
    pytest.param(setting("tokenizer.json", "added_tokens/0/content", "<x>"), "added_tokens[0].content is \"<x>\"", id="token text"),
    pytest.param(setting("tokenizer.json", "post_processor", None), "post_processor is missing", id="post processor"),
    pytest.param(setting("tokenizer.json", "model/merges", []), "model.merges has 0 entries instead of", id="merges"),
    pytest.param(text_file("chat_template.jinja", lambda text: text + " "), "chat_template.jinja differs from character", id="template trailing blank"),
    pytest.param(text_file("chat_template.jinja", lambda text: text.replace("eot_id", "eom_id")), "chat_template.jinja differs from character", id="other template"),
    pytest.param(lambda m: (m / "chat_template.jinja").unlink(), "chat_template.jinja is missing", id="template missing"),
    pytest.param(lambda m: (m / "added_tokens.json").write_text('{"<x>": 3}'), "added_tokens.json is not part of the trained model", id="additional file"),
    pytest.param(lambda m: (m / "adapter_config.json").write_text("{}"), "adapter_config.json is not part", id="second adapter"),
    pytest.param(lambda m: (m / "config.json").write_text("{"), "config.json can't be read", id="broken config"),
    pytest.param(add_shard, "model-00002-of-00002.safetensors is not part", id="additional shard"),
    pytest.param(truncate, "the file is truncated", id="truncated weights"),
    pytest.param(base_of(V_PROJ), f"{V_PROJ} is the base model's, without the adapter", id="base tensor"),
    pytest.param(base_of(UP_PROJ), f"{UP_PROJ} is the base model's, without the adapter", id="other base tensor"),
    pytest.param(weights(lambda t: t[V_PROJ].zero_()), f"{V_PROJ} contains only zeros", id="zeros"),
    pytest.param(weights(lambda t: t[NORM][:1].fill_(torch.nan)), f"{NORM} contains NaN", id="NaN"),
    pytest.param(weights(lambda t: t.update({UP_PROJ: t[UP_PROJ].flip(0)})), f"{UP_PROJ} has its rows in the wrong order", id="rows reversed"),
    pytest.param(weights(swap("model.layers.0.mlp.gate_proj.weight", UP_PROJ)), f"{UP_PROJ} contains the values of model.layers.0.mlp.gate_proj.weight", id="swapped tensors"),
    pytest.param(weights(lambda t: t[EMBEDDING][3].add_(0.5)), f"{EMBEDDING} differs from what was trained in 1 of", id="one row"),
    pytest.param(weights(lambda t: t[NORM].mul_(1.01)), f"{NORM} differs", id="norm scaled"),
    pytest.param(weights(lambda t: t.pop(V_PROJ)), f"{V_PROJ} is missing", id="tensor missing"),
    pytest.param(weights(lambda t: t.update({"lm_head.weight": t[EMBEDDING].clone()})), "lm_head.weight is not part", id="untied head"),
    pytest.param(weights(lambda t: t.update({NORM: t[NORM][:32].clone()})), f"{NORM} has the shape 32 instead of 64", id="shape"),
    pytest.param(weights(lambda t: t.update({NORM: t[NORM].float()})), f"{NORM} is stored as F32 instead of BF16", id="stored type"),
]  # fmt: skip


@pytest.mark.parametrize(("plant", "named"), FAULTS)
def test_planted_fault_in_merged_model_is_named(
    plant: Callable[[Path], None],
    named: str,
    run: RunFolder,
    expected: ExpectedModel,
    tmp_path: Path,
) -> None:
    base = run.path.parents[1] / "base"
    (tmp_path / "base").symlink_to(base)
    (tmp_path / "copies").mkdir()
    comparison = compare(run, expected, tmp_path / "copies" / "one", plant)
    assert any(named in str(fault) for fault in comparison.faults), comparison.faults
    assert not comparison.is_exact


def test_correct_merged_model_has_no_fault(
    run: RunFolder, expected: ExpectedModel, tmp_path: Path
) -> None:
    comparison = compare(run, expected, tmp_path, config("transformers_version", "5.0.0"))
    assert comparison.faults == ()
    assert comparison.is_exact
    assert "20 tensors and all settings" in str(comparison.compared)


def swap_files(model: Path) -> None:
    first, second, *_ = sorted(model.glob("*.safetensors"))
    first.rename(model / "other")
    second.rename(first)
    (model / "other").rename(second)


def edit_index(change: Callable[[dict[str, str]], Any]) -> Callable[[Path], None]:
    def plant(model: Path) -> None:
        file = model / INDEX
        content = json.loads(file.read_text("utf-8"))
        change(content["weight_map"])
        file.write_text(json.dumps(content), "utf-8")

    return plant


def repeat_tensor(model: Path) -> None:
    first, *_, last = sorted(model.glob("*.safetensors"))
    tensors, others = load_file(first), load_file(last)
    name = sorted(others)[0]
    save_file(tensors | {name: others[name] * 0}, first, metadata={"format": "pt"})


SHARD_FAULTS = [
    pytest.param(swap_files, "model-00002-of-00004.safetensors instead of model-00001", id="files swapped"),
    pytest.param(edit_index(lambda m: m.update({EMBEDDING: "model-00004-of-00004.safetensors"})), f"weight_map.{EMBEDDING} is", id="index names another file"),
    pytest.param(edit_index(lambda m: m.pop(EMBEDDING)), f"weight_map.{EMBEDDING} is missing", id="index lacks a tensor"),
    pytest.param(edit_index(lambda m: m.update({"x": m[EMBEDDING]})), "weight_map.x is", id="index has another tensor"),
    pytest.param(repeat_tensor, "is in two files", id="tensor in two files"),
    pytest.param(lambda m: (m / "model-00002-of-00004.safetensors").unlink(), "model-00002-of-00004.safetensors is missing", id="file missing"),
]  # fmt: skip


@pytest.fixture(scope="module")
def sharded(run: RunFolder, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ExpectedModel]:
    """The run merged into four files, and what it must be."""
    job, project = recorded_job()[0], run.load_project()
    spec = project.merging.model_copy(update={"shard_size_gb": 7e-5})
    base = merge.resolve_base(project.model, spec, job)
    model = tmp_path_factory.mktemp("sharded") / "merged"
    chosen = tuple(merge.get_chosen_adapters(run, spec))
    recipe = DirectMerge(base=base, adapters=chosen, merging=spec)
    merge.merge_into(model, base, recipe.read(), spec, job)
    return model, open_expected(recipe, tmp_path_factory.mktemp("expected"), job, trust=False)


@pytest.mark.parametrize(("plant", "named"), SHARD_FAULTS)
def test_planted_fault_in_model_of_several_files_is_named(
    plant: Callable[[Path], None],
    named: str,
    sharded: tuple[Path, ExpectedModel],
    tmp_path: Path,
) -> None:
    model, expected = sharded
    copy = Path(shutil.copytree(model, tmp_path / "model"))
    assert compare_merged(copy, expected, recorded_job()[0]).faults == ()
    plant(copy)
    faults = compare_merged(copy, expected, recorded_job()[0]).faults
    assert any(named in str(fault) for fault in faults), faults


def test_unmerged_weights_have_one_cause(
    run: RunFolder, expected: ExpectedModel, tmp_path: Path
) -> None:
    base = run.path.parents[1] / "base" / SINGLE
    comparison = compare(run, expected, tmp_path, lambda m: shutil.copyfile(base, m / SINGLE) and None)  # fmt: skip
    assert "the adapter was not merged" in str(comparison.cause)


def test_missing_layer_is_the_cause(
    run: RunFolder, expected: ExpectedModel, tmp_path: Path
) -> None:
    plant = weights(lambda t: [t.pop(name) for name in list(t) if "layers.1." in name])
    assert "layers are missing: 1" in str(compare(run, expected, tmp_path, plant).cause)


def test_sums_in_another_order_are_no_fault(
    run: RunFolder, expected: ExpectedModel, tmp_path: Path
) -> None:
    def round_one_value_up(tensors: Tensors) -> None:
        bits = tensors[UP_PROJ].view(torch.int16)
        bits[0, 0] += 1

    comparison = compare(run, expected, tmp_path, weights(round_one_value_up))
    assert comparison.faults == ()


def test_rounding_is_measured_on_the_updates_alone(expected: ExpectedModel) -> None:
    share, dtype = measure_rounding(expected, recorded_job()[0])
    assert dtype == "bfloat16"
    assert 0.001 < share < 0.1


__all__ = ["start"]


@pytest.mark.slow
def test_code_of_a_classifier_is_not_loaded(tiny: TinyModel, tmp_path: Path) -> None:
    base, adapter = tiny("llama3"), tmp_path / "adapter"
    tuned = make_classifier(base)
    tuned.model.save_pretrained(str(adapter))
    write_config(tuned.base.model.config, tuned.labels, tuned.base.tokenizer.pad_token_id, adapter)
    tuned.base.tokenizer.save_pretrained(str(adapter))
    config = json.loads((adapter / "config.json").read_text("utf-8"))
    config["auto_map"] = {"AutoConfig": "own.Config", "AutoModelForSequenceClassification": "own.Model"}  # fmt: skip
    (adapter / "config.json").write_text(json.dumps(config), "utf-8")
    (adapter / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n", "utf-8")

    def predict(trust: bool) -> np.ndarray:
        return selftest.predict_labels(base, adapter, TEXTS, 512, make_job(), trust=trust)  # fmt: skip

    with torch.no_grad():
        expected = Classification(LogprobModel.create(tuned.model), [1.0] * 3).score(
            encode_texts(tuned)
        )
    np.testing.assert_allclose(predict(trust=False), expected.softmax(1).numpy(), atol=1e-5)
    with pytest.raises(ProblemError, match="haven't allowed"):
        predict(trust=True)
    assert not (tmp_path / "ran").exists()


def test_weights_alone_are_compared_without_held_out_texts(start: Start, tmp_path: Path) -> None:
    run = start(rows=write_rows(tmp_path / "rows.jsonl", [{"text": "a", "label": "b"}]))
    compared = StageComparison((), compared=text("equal"))
    tested = selftest.measure_merged(run, run.load_project(), compared, make_job())
    assert (tested.passed, str(tested.compared)) == (True, "equal")


@pytest.mark.skipif(sys.platform != "linux", reason="/proc has a file whose reading fails")
def test_error_of_the_disk_is_no_difference_of_a_model(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("expected", "merged")]
    for folder in folders:
        folder.mkdir()
    (folders[0] / "config.json").write_text("{}")
    (folders[1] / "config.json").symlink_to("/proc/self/mem")
    expected: Any = SimpleNamespace(folder=folders[0], tensors={}, changed=())
    with pytest.raises(OSError) as raised:
        compare_merged(folders[1], expected, make_job())
    assert raised.value.errno == errno.EIO
    problem = failures.to_problem(raised.value, "Testing the model")
    assert problem.code == "disk.failing"
