"""Faults of the program itself are found: in merging, reading of adapters, settings, and conversion.

A comparison with a second merge or conversion by the same code has the same fault, so it can't find these.
Each is planted in the program while it merges, converts, and tests; none in the self-test.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch

from lora_studio.core.merging import MergingSpec
from lora_studio.core.runs.folder import RunFolder
from lora_studio.engine.export.gguf import conversion
from lora_studio.engine.lora import adapter_files
from lora_studio.engine.merging import merge, model_files
from lora_studio.engine.merging import plan as merging_plan
from lora_studio.engine.model import gguf_header
from lora_studio.engine.selftest.judging import StageComparison
from lora_studio.engine.selftest.oracle import gguf_tensors, trained_tensors
from lora_studio.engine.selftest.oracle.gguf_tensors import FileJudgment
from lora_studio.engine.selftest.selftest import RunComparer
from tests.helpers.models.llama_cpp_folder import llama_cpp_folder
from tests.helpers.models.tiny_gguf import edit, read_tensor
from tests.helpers.models.tiny_models import random_adapter
from tests.helpers.runs.jobs import recorded_job
from tests.helpers.runs.tiny_run import tiny_run

# PEFT's warnings about adapters that these tests create on purpose.
pytestmark = [
    pytest.mark.filterwarnings("ignore:The following .*_pattern keys:RuntimeWarning"),
    pytest.mark.filterwarnings("ignore:Setting `save_embedding_layers`:UserWarning"),
    pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings:UserWarning"),
    pytest.mark.filterwarnings("ignore:Adapter 'default'.* have invalid shape"),
]

Plant = Callable[[pytest.MonkeyPatch], None]
EXPERTS = {
    "target_modules": ["q_proj"],
    "target_parameters": ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"],
}

#: Kinds of adapters: family and settings.
ADAPTERS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama3", {}),
    "rslora": ("llama3", {"use_rslora": True}),
    "patterns": ("llama3", {"rank_pattern": {"q_proj": 2}, "alpha_pattern": {"v_proj": 32}}),
    "dora": ("llama3", {"use_dora": True}),
    "head": ("llama3", {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]}),
    "tokens": ("llama3", {"trainable_token_indices": [3, 5, 9]}),
    "biases": ("qwen2", {"bias": "all"}),
    "bias of B": ("qwen2", {"lora_bias": True, "target_modules": ["q_proj"]}),
    "experts": ("qwen3_moe", EXPERTS),
}


# --- what is planted in merging ---------------------------------------------------------------


def change_updates(change: Callable[[dict[str, Any]], Any]) -> Plant:
    """Let the plan of a merge have other updates."""

    def plant(patch: pytest.MonkeyPatch) -> None:
        correct = merging_plan._plan_updates

        def planned(*arguments: Any) -> dict[str, Any]:
            updates = correct(*arguments)
            change(updates)
            return updates

        patch.setattr(merging_plan, "_plan_updates", planned)

    return plant


def leave_out(part: str) -> Plant:
    def change(updates: dict[str, Any]) -> None:
        for name in [name for name in updates if part in name]:
            del updates[name]

    return change_updates(change)


def exchange(one: str, other: str) -> Plant:
    """Exchange the updates of two tensors of the same shape."""

    def change(updates: dict[str, Any]) -> None:
        updates[one], updates[other] = updates[other], updates[one]

    return change_updates(change)


def repeat(name: str) -> Plant:
    return change_updates(lambda updates: updates[name].extend(updates[name][:]))


def scale_delta(factor: float) -> Plant:
    def plant(patch: pytest.MonkeyPatch) -> None:
        correct = merging_plan.LowRankDelta.compute_delta
        patch.setattr(
            merging_plan.LowRankDelta, "compute_delta", lambda *a: correct(*a).mul_(factor)
        )

    return plant


def replace_function(owner: Any, name: str, create: Callable[[Any], Any]) -> Plant:
    return lambda patch: patch.setattr(owner, name, create(getattr(owner, name)))


def change_layer(**settings: Any) -> Plant:
    """Read the adapter's settings wrongly."""

    def create(correct: Any) -> Any:
        def get(adapter: Any, module: str) -> Any:
            kept = adapter.config
            adapter.config = kept | settings
            try:
                rank, scale = correct(adapter, module)
            finally:
                adapter.config = kept
            return correct(adapter, module)[0], scale * rank / correct(adapter, module)[0]

        return get

    return replace_function(adapter_files, "_get_rank_and_scale", create)


def round_early(correct: Any) -> Any:
    """Add updates in 16 bits."""
    del correct

    def load(self: merging_plan.LowRankDelta) -> Any:
        a, b = self.a.read(), self.b.read()

        def apply(block: torch.Tensor, first: int, last: int) -> torch.Tensor:
            return block.add_((self.compute_delta(a, b, first, last) * 1.0).to(torch.bfloat16).to(block.dtype))  # fmt: skip

        return apply

    return load


def without_magnitude(self: merging_plan.DoraDelta) -> Any:
    return self.low_rank.load()


def first_expert(correct: Any) -> Any:
    return lambda self: correct(dataclasses.replace(self, expert=0))


def next_rows(correct: Any) -> Any:
    def load(self: merging_plan.RowsDelta) -> Any:
        return correct(dataclasses.replace(self, indices=tuple(i + 1 for i in self.indices)))

    return load


def change_settings(**changes: Any) -> Plant:
    def create(correct: Any) -> Any:
        return lambda *a, **named: correct(*a, **named) | changes

    return replace_function(model_files, "update_settings", create)


def other_template(correct: Any) -> Any:
    def copy(base: Path, adapter: Path, target: Path) -> None:
        correct(base, adapter, target)
        file = target / "chat_template.jinja"
        file.write_text(file.read_text("utf-8") + " ", "utf-8")

    return copy


def other_end(correct: Any) -> Any:
    def stop(merged: Path, **named: Any) -> None:
        correct(merged, **named)
        file = merged / "generation_config.json"
        settings = json.loads(file.read_text("utf-8"))
        file.write_text(json.dumps(settings | {"eos_token_id": 1}), "utf-8")

    return stop


def scale_norm(correct: Any) -> Any:
    def compute(output: Any, changes: Any, block: Any) -> torch.Tensor:
        value: torch.Tensor = correct(output, changes, block)
        return value * 0.5 if output.changed and "down_proj" in output.name else value

    return compute


def forget_adapter(correct: Any) -> Any:
    return lambda sources, merged, settings: correct(sources, merged[:1], settings)


O_PROJ, V_PROJ = "model.layers.1.self_attn.o_proj.weight", "model.layers.0.self_attn.v_proj.weight"
UP = "model.layers.1.mlp.up_proj.weight"
#: The first tensor that is named when all are wrong.
FIRST = "model.layers.0.mlp.down_proj.weight"

#: (identifier, adapter, what is planted, what must be named, settings of the merge)
MERGING: list[tuple[str, str, Plant, str, dict[str, Any]]] = [
    ("one layer's output left out", "llama", leave_out("layers.1.self_attn.o_proj"), f"{O_PROJ} is still the base model's", {}),
    ("a layer left out", "llama", leave_out("layers.1."), f"{O_PROJ} is still the base model's", {}),
    ("every update left out", "llama", leave_out("layers."), f"{FIRST} is still the base model's", {}),
    ("update applied twice", "llama", repeat(UP), f"{UP} has the adapter's update at 2.00 times", {}),
    ("updates exchanged", "llama", exchange(UP, "model.layers.0.mlp.up_proj.weight"), f"{UP} differs", {}),
    ("keys and values exchanged", "llama", exchange(V_PROJ, V_PROJ.replace("v_proj", "k_proj")), f"{V_PROJ} differs", {}),
    ("alpha halved", "llama", scale_delta(0.5), f"{FIRST} has the adapter's update at 0.50 times", {}),
    ("scale a little wrong", "llama", scale_delta(1.05), f"{FIRST} has the adapter's update at 1.05 times", {}),
    ("update subtracted", "llama", scale_delta(-1.0), f"{FIRST} has the adapter's update at -1.00 times", {}),
    ("rounded before it is added", "llama", replace_function(merging_plan.LowRankDelta, "load", round_early), f"{FIRST} differs", {}),
    ("half of a tensor", "llama", replace_function(merge.merging_shards, "_compute_rows", scale_norm), "down_proj.weight differs", {}),
    ("rsLoRA ignored", "rslora", change_layer(use_rslora=False), f"{FIRST} has the adapter's update at 0.50 times", {}),
    ("alpha of modules ignored", "patterns", change_layer(alpha_pattern={}), f"{V_PROJ} has the adapter's update at 0.25 times", {}),
    ("magnitudes ignored", "dora", lambda patch: patch.setattr(merging_plan.DoraDelta, "load", without_magnitude), f"{FIRST} differs", {}),
    ("trained head lost", "head", lambda patch: patch.setattr(merging_plan, "_find_replacements", lambda *_: {}), "lm_head.weight is missing", {}),
    ("head stays tied", "head", lambda patch: patch.setattr(merging_plan, "_untie", lambda sources, new, updates, merged: new.clear()), "lm_head.weight is missing", {}),
    ("head called tied", "head", change_settings(tie_word_embeddings=True), "config.json: tie_word_embeddings is true instead of false", {}),
    ("rows of other tokens", "tokens", replace_function(merging_plan.RowsDelta, "load", next_rows), "model.embed_tokens.weight differs", {}),
    ("biases lost", "biases", lambda patch: patch.setattr(merging_plan, "_find_replacements", lambda *_: {}), "model.layers.0.self_attn.q_proj.bias contains only zeros", {}),
    ("bias of B scaled", "bias of B", replace_function(merging_plan.BiasDelta, "load", lambda correct: lambda self: correct(dataclasses.replace(self, scale=1.0))), "q_proj.bias has the adapter's update at 0.50 times", {}),
    ("one expert for all", "experts", replace_function(merging_plan.LowRankFactor, "read", first_expert), "model.layers.0.mlp.experts.1.down_proj.weight differs", {}),
    ("expert left out", "experts", leave_out("layers.1.mlp.experts.3.down_proj"), "model.layers.1.mlp.experts.3.down_proj.weight is still the base model's", {}),
    ("gate and up exchanged", "experts", exchange("model.layers.0.mlp.experts.2.gate_proj.weight", "model.layers.0.mlp.experts.2.up_proj.weight"), "model.layers.0.mlp.experts.2.up_proj.weight differs", {}),
    ("second adapter forgotten", "llama", replace_function(merging_plan, "_plan_updates", forget_adapter), f"{FIRST} ", {"further": ("second=0.7",)}),
    ("weight ignored", "llama", replace_function(adapter_files, "_get_rank_and_scale", lambda correct: lambda adapter, module: correct(dataclasses.replace(adapter, weight=1.0), module)), f"{FIRST} has the adapter's update at 2.00 times", {"weight": 0.5}),
    ("epsilon", "llama", change_settings(rms_norm_eps=1e-3), "config.json: rms_norm_eps is 0.001 instead of 1e-06", {}),
    ("layers", "llama", change_settings(num_hidden_layers=1), "config.json: num_hidden_layers is 1 instead of 2", {}),
    ("template", "llama", replace_function(model_files, "copy", other_template), "chat_template.jinja is a different file than in training", {}),
    ("end of answers", "llama", replace_function(model_files, "stop_at_turn_end", other_end), "generation_config.json: eos_token_id", {}),
]  # fmt: skip

_FAST = ("one layer's output left out", "alpha halved", "epsilon")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], RunFolder]:
    """Return the run with a kind of adapter, created once."""
    created: dict[str, RunFolder] = {}

    def get(kind: str) -> RunFolder:
        if kind not in created:
            family, settings = ADAPTERS[kind]
            folder = tmp_path_factory.mktemp("run")
            run = tiny_run(family, folder)
            if settings:
                shutil.rmtree(run.adapter)
                random_adapter(folder / "base", run.adapter, **settings)
            created[kind] = run
        return created[kind]

    return get


def compare(run: RunFolder, settings: dict[str, Any], scratch: Path) -> StageComparison:
    """Merge a run and compare the merged model with what was trained."""
    further = tuple(f"{scratch.parent / name}" for name in settings.get("further", ()))
    spec = MergingSpec(**settings | {"further": further})
    project = run.load_project().model_copy(update={"merging": spec})
    run.write_project(project)
    shutil.rmtree(run.merged, ignore_errors=True)
    job = recorded_job()[0]
    merge.merge(run, job)
    scratch.mkdir()
    return RunComparer(run, project, scratch, job).compare_merged()


@pytest.mark.parametrize(
    ("kind", "plant", "named", "settings"),
    [
        pytest.param(
            *entry[1:],
            id=entry[0],
            marks=() if entry[0] in _FAST else pytest.mark.thorough,
        )
        for entry in MERGING
    ],
)
def test_fault_of_merging_is_named(
    kind: str,
    plant: Plant,
    named: str,
    settings: dict[str, Any],
    runs: Callable[[str], RunFolder],
    tmp_path: Path,
) -> None:
    run = runs(kind)
    if "further" in settings:
        random_adapter(run.path.parents[1] / "base", tmp_path / "second", seed=11)
    with pytest.MonkeyPatch.context() as patch:
        plant(patch)
        comparison = compare(run, settings, tmp_path / "scratch")
    faults = [str(fault) for fault in comparison.faults]
    assert any(named in fault for fault in faults), faults
    assert not comparison.is_reproduced


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(kind, marks=() if kind == "llama" else pytest.mark.thorough)
        for kind in ADAPTERS
    ],
)
@pytest.mark.parametrize(
    "settings",
    [{}, pytest.param({"dtype": "fp16"}, marks=pytest.mark.thorough)],
    ids=["as stored", "fp16"],
)
def test_correct_merge_is_called_exact(
    kind: str, settings: dict[str, Any], runs: Callable[[str], RunFolder], tmp_path: Path
) -> None:
    comparison = compare(runs(kind), settings, tmp_path / "scratch")
    assert comparison.faults == ()
    assert comparison.is_exact


def test_adapter_that_only_peft_can_merge_is_not_called_exact(
    runs: Callable[[str], RunFolder], tmp_path: Path
) -> None:
    run = runs("llama")
    file = run.adapter / adapter_files.CONFIG
    before = file.read_text("utf-8")
    file.write_text(json.dumps(json.loads(before) | {"init_lora_weights": "olora"}), "utf-8")
    try:
        comparison = compare(run, {}, tmp_path / "scratch")
    finally:
        file.write_text(before, "utf-8")
    assert comparison.faults == ()
    assert comparison.is_reproduced
    assert not comparison.is_exact
    assert "second merge" in str(comparison.compared)


# --- what is planted in conversion ------------------------------------------------------------

Edit = Callable[[dict[str, Path]], tuple[str, dict[str, Any], dict[str, Any]]]


def key(name: str, value: Any) -> Edit:
    """Let the converter write another value of a key; a function changes it."""

    def plant(files: dict[str, Path]) -> tuple[str, dict[str, Any], dict[str, Any]]:
        new = value
        if callable(value):
            new = value(gguf.GGUFReader(files["F16"]).fields[name].contents())
        return "F16", {name: new}, {}

    return plant


def tensor(name: str, change: Callable[[np.ndarray], Any], quantization: str = "F16") -> Edit:
    return lambda files: (quantization, {}, {name: change(read_tensor(files[quantization], name))})


def of_base(name: str, quantization: str) -> Edit:
    def plant(files: dict[str, Path]) -> tuple[str, dict[str, Any], dict[str, Any]]:
        return quantization, {}, {name: read_tensor(files[f"base-{quantization}"], name)}

    return plant


def of_other(one: str, other: str, quantization: str) -> Edit:
    """Exchange two tensors of the same shape."""

    def plant(files: dict[str, Path]) -> tuple[str, dict[str, Any], dict[str, Any]]:
        first, second = (read_tensor(files[quantization], name) for name in (one, other))
        return quantization, {}, {one: second, other: first}

    return plant


def scale_blocks(data: np.ndarray) -> np.ndarray:
    """Return Q8_0 data with other scales."""
    blocks = data.reshape(-1, 34).copy()
    blocks[:, :2] = (blocks[:, :2].copy().view(np.float16) * np.float16(1.5)).view(np.uint8)
    return blocks.reshape(data.shape)


def pair_halves(data: np.ndarray) -> np.ndarray:
    return data.reshape(4, 8, 2, -1).swapaxes(1, 2).reshape(data.shape)


Q, GATE, DOWN, EXPERT = "blk.0.attn_q.weight", "blk.1.ffn_gate.weight", "blk.0.ffn_down.weight", "blk.1.ffn_down_exps.weight"  # fmt: skip

#: (identifier, adapter, what is planted, what must be named)
CONVERSION: list[tuple[str, str, Edit, str]] = [
    ("rope base", "llama", key("llama.rope.freq_base", 10000.0), "llama.rope.freq_base is 10000.0 instead of 500000.0"),
    ("epsilon", "llama", key("llama.attention.layer_norm_rms_epsilon", 1e-5), "llama.attention.layer_norm_rms_epsilon is 1e-05 instead of 1e-06"),
    ("rope scaling", "llama", key("llama.rope.scaling.type", "linear"), "llama.rope.scaling.type is \"linear\" instead of \"none\""),
    ("rope dimensions", "llama", key("llama.rope.dimension_count", 8), "llama.rope.dimension_count is 8 instead of 16"),
    ("key-value heads", "llama", key("llama.attention.head_count_kv", 4), "llama.attention.head_count_kv is 4 instead of 2"),
    ("context", "llama", key("llama.context_length", 512), "llama.context_length is 512 instead of 1024"),
    ("layers", "llama", key("llama.block_count", 1), "llama.block_count is 1 instead of 2"),
    ("end of text", "llama", key("tokenizer.ggml.eos_token_id", 3), "tokenizer.ggml.eos_token_id is 3 instead of"),
    ("begin of text", "llama", key("tokenizer.ggml.bos_token_id", 3), "tokenizer.ggml.bos_token_id is 3 instead of"),
    ("template", "llama", key("tokenizer.chat_template", lambda text: text.replace("user", "human", 1) + " "), "tokenizer.chat_template differs from character"),
    ("token", "llama", key("tokenizer.ggml.tokens", lambda tokens: [*tokens[:300], "x!", *tokens[301:]]), "tokenizer.ggml.tokens[300] is \"x!\""),
    ("experts used", "experts", key("qwen3moe.expert_used_count", 4), "qwen3moe.expert_used_count is 4 instead of 2"),
    ("width of experts", "experts", key("qwen3moe.expert_feed_forward_length", 64), "qwen3moe.expert_feed_forward_length is 64 instead of 32"),
    ("rope base of Qwen2", "biases", key("qwen2.rope.freq_base", None), "qwen2.rope.freq_base is missing"),
    ("rotary order", "llama", tensor(Q, pair_halves), f"{Q} differs"),
    ("base's tensor", "llama", of_base(GATE, "F16"), f"{GATE} is still the base model's"),
    ("base's tensor in Q8_0", "llama", of_base(GATE, "Q8_0"), f"{GATE} is still the base model's"),
    ("base's tensor in 5 bits", "llama", of_base(GATE, "Q4_K_M"), f"{GATE} is still the base model's"),
    ("layers exchanged in Q8_0", "llama", of_other(DOWN, "blk.1.ffn_down.weight", "Q8_0"), f"{DOWN} differs"),
    ("layers exchanged in 5 bits", "llama", of_other(GATE, "blk.0.ffn_gate.weight", "Q4_K_M"), f"{GATE} differs"),
    ("scale of blocks", "llama", tensor(DOWN, scale_blocks, "Q8_0"), f"{DOWN} differs"),
    ("scaled", "llama", tensor(DOWN, lambda data: data * np.float16(1.01)), f"{DOWN} differs"),
    ("zeros", "llama", tensor(DOWN, np.zeros_like, "Q8_0"), f"{DOWN} contains only zeros"),
    ("norm shifted", "llama", tensor("blk.0.attn_norm.weight", lambda data: data + 1), "blk.0.attn_norm.weight differs"),
    ("tensor lost", "biases", tensor("blk.0.attn_q.bias", lambda _: None), "blk.0.attn_q.bias is missing"),
    ("experts reversed", "experts", tensor(EXPERT, lambda data: data[::-1]), f"{EXPERT} differs"),
    ("expert's update lost", "experts", of_base(EXPERT, "Q8_0"), f"{EXPERT} is still the base model's"),
]  # fmt: skip


def judge(
    run: RunFolder, files: dict[str, Path], *, all_rows: bool = False
) -> dict[str, FileJudgment]:
    """Return what the rules alone say about files."""
    base, job = run.path.parents[1] / "base", recorded_job()[0]
    mix = merge.get_chosen_adapters(run, MergingSpec())
    trained = trained_tensors.open_trained(base, mix, None, trust=False, check=job.check)
    layouts = {name: gguf_header.read_layout(file) for name, file in files.items()}
    return gguf_tensors.judge_files(
        layouts, trained, base, run.adapter, job, trust=False, all_rows=all_rows
    )


@pytest.fixture(scope="module")
def converted(
    runs: Callable[[str], RunFolder], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], dict[str, FileJudgment]]:
    """Return the judgments of a run's correct files and of all faulty ones, computed once."""
    judged: dict[str, dict[str, FileJudgment]] = {}

    def get(kind: str) -> dict[str, FileJudgment]:
        if kind not in judged:
            run, folder = runs(kind), tmp_path_factory.mktemp("converted")
            files = write_files(run, folder, with_base=kind != "biases")
            planted = {name: file for name, file in files.items() if not name.startswith("base")}
            for number, (name, of, plant, _) in enumerate(CONVERSION):
                if of == kind:
                    source, values, tensors = plant(files)
                    target = folder / f"planted-{number}.gguf"
                    planted[name] = edit(files[source], target, values, tensors)
            judged[kind] = judge(run, planted)
        return judged[kind]

    return get


@pytest.mark.thorough
def test_all_rows_are_judged_on_request(
    runs: Callable[[str], RunFolder], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def double_second_row(data: np.ndarray) -> np.ndarray:
        data = data.copy()
        data[1] *= 2
        return data

    monkeypatch.setattr(gguf_tensors, "_CHANGED", 256)
    run = runs("llama")
    files = write_files(run, tmp_path, with_base=False)
    _, values, tensors = tensor(DOWN, double_second_row)(files)
    planted = {"F16": edit(files["F16"], tmp_path / "planted.gguf", values, tensors)}
    assert not judge(run, planted)["F16"].faults
    (fault,) = judge(run, planted, all_rows=True)["F16"].faults
    assert f"{DOWN} differs" in str(fault.describe())
    assert not any(each.faults for each in judge(run, files, all_rows=True).values())


def write_files(run: RunFolder, folder: Path, *, with_base: bool) -> dict[str, Path]:
    """Return correct files by quantization, and those of the base model, whose biases can't be weighted."""
    project, job = run.load_project(), recorded_job()[0]
    export = project.export.model_copy(update={"quantizations": ("F16", "Q8_0", "Q4_K_M")})
    project = project.model_copy(update={"export": export, "merging": MergingSpec()})
    run.write_project(project)
    files: dict[str, Path] = {}
    for prefix, weight in (("", 1.0), ("base-", 1e-12))[: 1 + with_base]:
        spec = MergingSpec(weight=weight)
        changed = project.model_copy(update={"merging": spec})
        shutil.rmtree(run.merged, ignore_errors=True)
        run.write_project(changed)
        merge.merge(run, job)
        for name, file in conversion.write(run, changed, job).items():
            files[f"{prefix}{name}"] = Path(shutil.copyfile(file, folder / f"{prefix}{file.name}"))
    run.write_project(project)
    return files


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("name", "kind", "named"),
    [pytest.param(e[0], e[1], e[3], id=e[0]) for e in CONVERSION],
)
def test_fault_of_conversion_is_named(
    name: str, kind: str, named: str, converted: Callable[[str], dict[str, FileJudgment]]
) -> None:
    judgment = converted(kind)[name]
    faults = [*map(str, judgment.differences), *(str(f.describe()) for f in judgment.faults)]
    assert any(named in fault for fault in faults), faults


@pytest.mark.thorough
@pytest.mark.parametrize("kind", ["llama", "biases", "experts"])
@pytest.mark.parametrize("quantization", ["F16", "Q8_0", "Q4_K_M"])
def test_correct_file_is_judged_right(
    kind: str, quantization: str, converted: Callable[[str], dict[str, FileJudgment]]
) -> None:
    assert converted(kind)[quantization] == FileJudgment()


#: (identifier, lines added to the converter, what must be named)
CONVERTERS: list[tuple[str, str, str]] = [
    ("rope base", "gguf.GGUFWriter.add_rope_freq_base = lambda self, value: self.add_float32('llama.rope.freq_base', 10000.0)", "llama.rope.freq_base is 10000.0 instead of 500000.0"),
    ("epsilon", "gguf.GGUFWriter.add_layer_norm_rms_eps = lambda self, value: self.add_float32('llama.attention.layer_norm_rms_epsilon', 1e-5)", "llama.attention.layer_norm_rms_epsilon is 1e-05 instead of 1e-06"),
    ("rotary order", "from conversion.llama import LlamaModel; LlamaModel.undo_permute = False", "attn_q.weight differs"),
]  # fmt: skip


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("lines", "named"), [pytest.param(*entry[1:], id=entry[0]) for entry in CONVERTERS]
)
def test_fault_of_the_converter_is_named_in_each_file(
    lines: str, named: str, tmp_path: Path
) -> None:
    run = tiny_run("llama3", tmp_path, quantizations=("F16", "Q8_0"))
    script = tmp_path / "llama.cpp" / "convert_hf_to_gguf.py"
    llama_cpp_folder(script.parent, lines=lines)
    job, project = recorded_job()[0], run.load_project()
    merge.merge(run, job)
    files = {str(k): v for k, v in conversion.write(run, project, job).items()}
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    for comparison in RunComparer(run, project, scratch, job).compare_files(files).values():
        faults = [str(fault) for fault in comparison.faults]
        assert any(named in fault for fault in faults), faults
