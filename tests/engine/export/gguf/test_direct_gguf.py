"""Direct GGUF export from base and adapter: the same file as from the merged folder."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from gguf import GGUFReader, dequantize
from safetensors.torch import load_file, save_file

from lora_studio.core import llama_cpp
from lora_studio.core.problems import ProblemError
from lora_studio.core.protocol import commands, events
from lora_studio.core.runs import step_records
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.system import consent
from lora_studio.engine import jobs
from lora_studio.engine.export.gguf import conversion, converter, direct_gguf
from lora_studio.engine.lora import adapter_files
from lora_studio.engine.merging import merge, shards
from lora_studio.engine.model import safetensors_files
from tests.helpers.models.llama_cpp_folder import packaged_llama_cpp
from tests.helpers.models.tiny_models import random_adapter, tiny_model
from tests.helpers.runs.jobs import Recorder, recorded_job
from tests.helpers.runs.tiny_run import tiny_run

# PEFT's warnings about adapters for experts and for tied weights.
pytestmark = [
    pytest.mark.filterwarnings("ignore:The following .*_pattern keys:RuntimeWarning"),
    pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings:UserWarning"),
    pytest.mark.filterwarnings("ignore:Setting `save_embedding_layers`:UserWarning"),
]

SMALL_SHARDS = {"shard_size_gb": 60e3 / 1e9}


def digest(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def with_adapter(run: RunFolder, **settings: Any) -> RunFolder:
    random_adapter(run.path.parents[1] / "base", run.adapter, **settings)
    return run


def with_merging(run: RunFolder, **changes: Any) -> RunFolder:
    project = run.load_project()
    spec = project.merging.model_copy(update=changes)
    step_records.update_settings(run, project.model_copy(update={"merging": spec}), "merge")
    return run


def written(run: RunFolder) -> tuple[Path, Recorder]:
    job, recorder = recorded_job()
    (file,) = conversion.write(run, run.load_project(), job).values()
    return file, recorder


#: Case -> family, adapter settings, merge settings.
CASES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "tied": ("llama3", {}, SMALL_SHARDS),
    "rank-stabilized DoRA": ("qwen3", {"use_dora": True, "use_rslora": True}, {}),
    "head of its own": ("llama3", {"target_modules": ["q_proj", "lm_head"]}, {}),
    "modules to save": ("mistral", {"target_modules": ["q_proj"], "modules_to_save": ["lm_head", "embed_tokens"]}, {"weight": 1.0}),
    "fused, in another precision": ("phi3", {}, {"weight": 0.5, "dtype": "fp16"}),
    "experts": ("qwen3_moe", {"target_modules": ["q_proj"], "target_parameters": ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]}, {}),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_direct_file_is_identical_to_file_from_merged_folder(case: str, tmp_path: Path) -> None:
    family, adapter, spec = CASES[case]
    kind = "F16" if "dtype" in spec else "BF16"
    run = with_merging(tiny_run(family, tmp_path, quantizations=(kind,)), **spec)
    with_adapter(run, **adapter)
    file, recorder = written(run)
    result = digest(file)
    assert not run.merged.exists()
    assert not list(run.temporary.iterdir())
    assert run.read_manifest()["gguf"]["from"] == "base and adapter"
    assert any("without a merged copy" in str(log.text) for log in recorder.of(events.LogLine))
    file.unlink()
    merge.merge(run, recorded_job()[0])
    file, _ = written(run)
    assert run.read_manifest()["gguf"]["from"] == "merged model"
    assert digest(file) == result


def test_tensor_in_memory_is_identical_to_merged_file(tmp_path: Path) -> None:
    base = tiny_model("llama3", tmp_path / "base")
    adapter = adapter_files.read(random_adapter(base, tmp_path / "a", use_dora=True))
    spec = merge.MergingSpec()
    merge.merge_folders(base, [adapter], tmp_path / "m", spec, recorded_job()[0])
    merged = load_file(tmp_path / "m" / safetensors_files.SINGLE)
    outputs = merge.make_plan(base, [adapter], spec).outputs
    assert {output.name for output in outputs} == merged.keys()
    for output in outputs:
        assert torch.equal(shards.compute_values(output), merged[output.name]), output.name


# --- precision --------------------------------------------------------------------------------


def relative_error(file: Path, run: RunFolder) -> float:
    """Return the error of a file's first down projection relative to the adapter's update."""
    module = "model.layers.0.mlp.down_proj"
    (layer,) = (one for one in adapter_files.read(run.adapter).layers if one.module == module)
    update = layer.b.read().float() @ layer.a.read().float() * layer.scale
    base = (
        safetensors_files.read_index(run.path.parents[1] / "base")[f"{module}.weight"]
        .read()
        .float()
    )
    (tensor,) = (one for one in GGUFReader(file).tensors if one.name == "blk.0.ffn_down.weight")
    held = torch.tensor(dequantize(tensor.data, tensor.tensor_type))
    return float((held - (base + update)).norm() / update.norm())


@pytest.mark.slow
def test_direct_file_keeps_small_updates_of_bfloat16_base(tmp_path: Path) -> None:
    run = tiny_run("llama3", tmp_path, quantizations=("F16",))
    file = run.adapter / "adapter_model.safetensors"
    result = load_file(file).items()
    save_file({name: value / (100 if "lora_B" in name else 1) for name, value in result}, file)
    straight_file, recorder = written(run)
    assert any("without a merged copy" in str(log.text) for log in recorder.of(events.LogLine))
    assert relative_error(straight_file, run) < 0.1
    straight_file.unlink()
    merge.merge(run, recorded_job()[0])
    assert relative_error(written(run)[0], run) > 0.3  # the merged model is stored in bfloat16


@pytest.mark.parametrize(
    ("dtype", "quantization", "taken"),
    [("auto", "Q8_0", "fp16"), ("auto", "BF16", "auto"), ("bf16", "Q8_0", "bf16")],
)
def test_merge_dtype_is_chosen_only_when_auto(
    dtype: str, quantization: str, taken: str, tmp_path: Path
) -> None:
    run = with_merging(tiny_run("llama3", tmp_path, quantizations=(quantization,)), dtype=dtype)
    recipe = direct_gguf.plan_direct_merge(run, run.load_project(), recorded_job()[0])
    assert recipe.merging.dtype == taken


# --- when direct export isn't possible ----------------------------------------------------------


@pytest.mark.slow
def test_merge_that_needs_peft_uses_a_temporary_copy(tmp_path: Path) -> None:
    run = tiny_run("llama3", tmp_path, quantizations=("BF16",))
    random_adapter(tmp_path / "base", tmp_path / "style", use_dora=True, seed=5)
    with_merging(run, further=(f"{tmp_path / 'style'}=0.5",))
    file, recorder = written(run)
    assert file.is_file()
    assert not run.merged.exists()
    assert not list(run.temporary.iterdir())
    logs = " ".join(str(log.text) for log in recorder.of(events.LogLine))
    assert "A temporary merged copy is written for the export: several adapters" in logs
    assert "Exporting directly" not in logs


@pytest.mark.slow
def test_converter_that_reads_files_differently_is_detected(tmp_path: Path) -> None:
    """Otherwise it would write a file of empty weights."""
    run = tiny_run("llama3", tmp_path)
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    (checkout / "gguf.py").write_text("class SpecialVocab: ...\nutility = None\n", "utf-8")
    script = checkout / "convert_hf_to_gguf.py"
    script.write_text("import gguf\nprint('read what?')\n", "utf-8")
    consent.trust(llama_cpp.find_programs(checkout))
    job, _ = recorded_job()
    recipe = direct_gguf.plan_direct_merge(run, run.load_project(), job)
    source = direct_gguf.write_headers(recipe, tmp_path / "scratch", trust=False)
    with pytest.raises(converter.UnsupportedModelError):
        conversion.convert(
            source.folder, tmp_path / "f.gguf", "x", str(checkout), job, recipe=source.recipe
        )


def test_header_only_weights_cannot_be_read_as_a_model(tmp_path: Path) -> None:
    run = tiny_run("llama3", tmp_path)
    job, _ = recorded_job()
    recipe = direct_gguf.plan_direct_merge(run, run.load_project(), job)
    source = direct_gguf.write_headers(recipe, tmp_path / "scratch", trust=False)
    assert sum(f.stat().st_size for f in source.folder.glob("*.safetensors")) < 10_000
    with pytest.raises(ProblemError, match="truncated"):
        safetensors_files.read_index(source.folder)


@pytest.mark.slow
def test_nan_is_reported_like_in_a_merge(tmp_path: Path) -> None:
    run = tiny_run("llama3", tmp_path, quantizations=("BF16",))
    file = run.adapter / adapter_files.WEIGHTS
    tensors = load_file(file)
    name = next(name for name in tensors if name.endswith("v_proj.lora_B.weight"))
    tensors[name][0, 0] = float("nan")
    save_file(tensors, file)
    with pytest.raises(ProblemError) as caught:
        written(run)
    (problem,) = caught.value.problems
    assert problem.code == "merging.not_finite"
    assert "v_proj" in str(problem.what)
    assert not run.gguf.exists()
    assert not list(run.temporary.iterdir())


# --- self-test and sizes ----------------------------------------------------------------------


@pytest.mark.slow
def test_export_without_merge_is_tested_against_base_and_adapter(tmp_path: Path) -> None:
    run = tiny_run("llama3", tmp_path, quantizations=("Q8_0",), adapter_gguf=True)
    job, recorder = recorded_job()
    jobs.run_command(commands.Export(run=str(run.path)), job)
    tested = recorder.of(events.SelfTested)
    assert [result.stage for result in tested] == ["converted", "Q8_0"]
    assert all(result.passed and result.tokens_equal for result in tested)
    report = json.loads(run.selftest_file.read_text("utf-8"))
    assert report["answers"][0].keys() == {"prompt", "base + adapter", "converted", "Q8_0"}
    assert run.modelfile.is_file()
    assert sorted(file.name for file in run.gguf.iterdir()) == [
        "Harbour-Q8_0.gguf",
        "Harbour-adapter.gguf",
    ]
    job, recorder = recorded_job()
    jobs.run_command(commands.SelfTest(run=str(run.path)), job)
    assert [result.stage for result in recorder.of(events.SelfTested)] == ["Q8_0"]


@pytest.mark.slow
def test_estimated_size_matches_the_model_as_merged(tmp_path: Path) -> None:
    run = tiny_run("llama3", tmp_path, quantizations=("BF16",))
    with_adapter(run, target_modules=["q_proj", "lm_head"])  # adds an untied output layer
    job, recorder = recorded_job()
    project = run.load_project()
    command = commands.EstimateSizes(model=project.model, export=project.export, run=str(run.path))
    jobs.run_command(command, job)
    (result,) = recorder.of(events.SizesEstimated)
    file, _ = written(run)
    assert abs(result.bytes["BF16"] - file.stat().st_size) < 200  # the name in the header


@pytest.mark.parametrize(
    ("convert_from", "merged", "expected"),
    [
        ("auto", False, True),
        ("auto", True, False),
        ("adapter", True, True),
        ("merged", False, None),
    ],
)
def test_convert_from_setting_decides_what_is_converted(
    convert_from: str, merged: bool, expected: bool | None, tmp_path: Path
) -> None:
    run = tiny_run("llama3", tmp_path, convert_from=convert_from)
    job, _ = recorded_job()
    if merged:
        merge.merge(run, job)
    if expected is None:
        with pytest.raises(ProblemError, match="no merged model"):
            conversion.choose_sources(run, run.load_project(), job)
        return
    model, _ = conversion.choose_sources(run, run.load_project(), job)
    assert (model(tmp_path / "scratch").recipe is not None) == expected


def test_unused_incomplete_merged_model_stops_no_export(tmp_path: Path) -> None:
    run = tiny_run("llama3", tmp_path, quantizations=("F16",))
    merge.merge(run, recorded_job()[0])
    (run.merged / "config.json").unlink()
    with pytest.raises(ProblemError, match="merged model is damaged"):
        written(run)
    project = run.load_project()
    export = project.export.model_copy(update={"convert_from": "adapter"})
    run.write_project(project.model_copy(update={"export": export}))
    file, _ = written(run)
    assert file.is_file()
    assert run.tokenizer == run.adapter


def test_damaged_tokenizer_of_the_merged_model_is_not_used(tmp_path: Path) -> None:
    run = tiny_run("llama3", tmp_path, convert_from="adapter")
    merge.merge(run, recorded_job()[0])
    (run.merged / "tokenizer_config.json").write_text("{}", "utf-8")
    with pytest.raises(ProblemError, match="merged model is damaged"):
        conversion.choose_sources(run, run.load_project(), recorded_job()[0])


def test_packaged_converter_supports_in_memory_weights() -> None:
    text = (packaged_llama_cpp() / "gguf-py" / "gguf" / "utility.py").read_text("utf-8")
    assert "class LocalTensor" in text
    assert "def mmap_bytes" in text
