"""GGUF conversion: files hold exactly the merged model, and every failure is reported."""

from __future__ import annotations

import json
import py_compile
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gguf
import gguf as gguf_format
import numpy as np
import psutil
import pytest
import torch
from safetensors.torch import load_file, save_file

from lora_studio.core import llama_cpp
from lora_studio.core.export import ExportSpec, Quantization
from lora_studio.core.model.spec import ModelSpec
from lora_studio.core.problems import Problem, ProblemError
from lora_studio.core.protocol import commands, events
from lora_studio.core.runs import leftovers
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.system import consent
from lora_studio.engine import jobs
from lora_studio.engine.export.gguf import (
    conversion,
    converter,
    converter_program,
    direct_gguf,
    quantizer,
)
from lora_studio.engine.export.gguf.adapter_gguf import explain_unsupported, write_adapter_gguf
from lora_studio.engine.export.gguf.converter import FirstPass
from lora_studio.engine.export.gguf.finite_values import require_finite
from lora_studio.engine.export.gguf.tensor_comparison import BF16, F16, F32
from lora_studio.engine.lora import adapter_files
from lora_studio.engine.merging import merge
from lora_studio.engine.model import safetensors_files
from lora_studio.engine.model.safetensors_files import SINGLE
from lora_studio.engine.runtime import child_process, disk
from lora_studio.engine.runtime.failures import CancelledError
from lora_studio.engine.selftest import selftest
from tests.helpers.faults.preloaded import get_shared
from tests.helpers.models.llama_cpp_folder import llama_cpp_folder, packaged_llama_cpp
from tests.helpers.models.old_converter import old_llama_cpp_folder
from tests.helpers.models.tiny_models import FAMILIES, random_adapter, tiny_model, write_config
from tests.helpers.runs.jobs import recorded_job
from tests.helpers.runs.tiny_run import heldout_rows, tiny_run

#: Families whose rotary embedding pairs neighbors in llama.cpp and halves in transformers.
_PERMUTED = ("llama3", "mistral", "granite", "smollm3")


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model("llama3", tmp_path_factory.mktemp("llama3"))


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(llama_cpp_folder(tmp_path_factory.mktemp("llama.cpp")))


@pytest.fixture(scope="module")
def sixteen_bit(llama: Path, own: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("gguf") / "f16.gguf"
    conversion.convert(llama, file, "Harbour", own, recorded_job()[0])
    return file


def convert_problem(model: Path, target: Path, llama_cpp: str = "") -> Problem:
    with pytest.raises(ProblemError) as caught:
        conversion.convert(model, target, "Harbour", llama_cpp, recorded_job()[0])
    assert not target.exists() or llama_cpp
    return caught.value.problems[0]


# --- converted --------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_every_gguf_tensor_equals_the_model_tensor(family: str, own: str, tmp_path: Path) -> None:
    model = tiny_model(family, tmp_path / "model")
    file = tmp_path / "f16.gguf"
    conversion.convert(
        model, file, conversion.choose_model_name("Harbour", model), own, recorded_job()[0]
    )
    expected = expected_tensors(family, model)
    result = {tensor.name: tensor for tensor in gguf_format.GGUFReader(file).tensors}
    result.pop("rope_freqs.weight", None)
    assert result.keys() == expected.keys()
    for name, value in expected.items():
        data = result[name].data
        stored = torch.from_numpy(np.array(data)).float().reshape(value.shape)
        exact = value.half().float() if data.dtype == np.float16 else value
        assert torch.equal(stored, exact), name


def expected_tensors(family: str, model: Path) -> dict[str, torch.Tensor]:
    """Return the model's tensors in 32 bits, with llama.cpp's names and row order."""
    arch = {"llama3": "llama", "mistral": "llama", "qwen3_moe": "qwen3moe"}.get(family, family)
    key = next(key for key, name in gguf_format.MODEL_ARCH_NAMES.items() if name == arch)
    names = gguf_format.get_tensor_name_map(key, 2)
    result: dict[str, torch.Tensor] = {}
    experts: dict[str, list[torch.Tensor]] = {}
    for name, stored in safetensors_files.read_index(model).items():
        value = stored.read().float()
        if family in _PERMUTED and (".q_proj." in name or ".k_proj." in name):
            value = interleave(value, heads=4 if ".q_proj." in name else 2)
        if family.startswith("gemma") and name.endswith("norm.weight"):
            value += 1  # Gemma multiplies by 1 + weight, llama.cpp by the weight
        if ".experts." in name:
            layer, projection = name.split(".")[2], name.split(".")[-2]
            experts.setdefault(f"model.layers.{layer}.mlp.experts.{projection}", []).append(value)
        else:
            translated = names.get_name(name, try_suffixes=(".weight",))
            assert translated is not None, name
            result[translated] = value
    for name, values in experts.items():
        translated = names.get_name(f"{name}.weight", try_suffixes=(".weight",))
        assert translated is not None, name
        result[translated] = torch.stack(values)
    return result


def interleave(weight: torch.Tensor, heads: int) -> torch.Tensor:
    """Reorder the rows of each head from two halves to interleaved pairs."""
    rows, width = weight.shape
    half = rows // heads // 2
    return weight.view(heads, 2, half, width).transpose(1, 2).reshape(rows, width)


def test_model_name_marks_phi3_and_only_phi3(llama: Path, tmp_path: Path) -> None:
    phi3 = tiny_model("phi3", tmp_path / "phi3")
    assert conversion.choose_model_name("Harbour", phi3) == "Harbour (phi3)"
    assert conversion.choose_model_name("My Phi-3", phi3) == "My Phi-3"
    assert conversion.choose_model_name("Harbour", llama) == "Harbour"
    assert conversion.choose_model_name("Better than Phi-3", llama) == "Better than Phi 3"


@pytest.mark.slow
def test_conversion_reports_progress_and_converter(llama: Path, own: str, tmp_path: Path) -> None:
    job, recorder = recorded_job()
    tool = conversion.convert(llama, tmp_path / "f16.gguf", "Harbour", own, job)
    assert str(tool) == f"llama.cpp in {own}"
    shown = [progress.done for progress in recorder.of(events.Progress)]
    assert shown[0] == 0
    assert shown[-1] == 100


# --- not converted ----------------------------------------------------------------------------


@pytest.mark.slow
def test_unsupported_architecture_is_refused_by_name(llama: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(llama, model)
    write_config(model, architectures=["NovelForCausalLM"])
    result = convert_problem(model, tmp_path / "f16.gguf")
    assert result.code == "gguf.unsupported_architecture"
    assert "NovelForCausalLM" in str(result.what)


@pytest.mark.slow
def test_unknown_tokenizer_is_refused_with_the_consequence(llama: Path, tmp_path: Path) -> None:
    result = convert_problem(llama, tmp_path / "f16.gguf")
    assert result.code == "gguf.unknown_tokenizer"
    assert "LlamaForCausalLM" in str(result.what)
    assert "tokenize differently" in str(result.what)


@pytest.mark.slow
def test_truncated_model_reports_the_converter_error(llama: Path, own: str, tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(llama, model)
    (model / safetensors_files.SINGLE).write_bytes(b"torn")
    result = convert_problem(model, tmp_path / "f16.gguf", own)
    assert result.code == "gguf.conversion_failed"
    assert "Error" in str(result.what)


def broken_llama_cpp(folder: Path, body: str) -> str:
    folder.mkdir()
    (folder / "convert_hf_to_gguf.py").write_text(body, "utf-8")
    consent.trust(llama_cpp.find_programs(folder))
    return str(folder)


@pytest.mark.parametrize(
    ("body", "code", "words"),
    [
        ("raise ValueError('no such head')", "gguf.conversion_failed", "no such head"),
        ("import os; os.kill(os.getpid(), 9)", "device.out_of_memory", "ran out of memory"),
        ("import os; os.abort()", "gguf.conversion_failed", "status -6"),
        ("raise OSError(28, 'No space left on device')", "disk.full", "disk is full"),
        ("print('done, or so it says')", "gguf.conversion_failed", "so it says"),
    ],
    ids=["raises", "killed", "crashes", "disk full", "writes nothing"],
)
@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_failing_converter_is_reported_with_its_output(
    body: str, code: str, words: str, llama: Path, tmp_path: Path
) -> None:
    result = convert_problem(llama, tmp_path / "f16.gguf", broken_llama_cpp(tmp_path / "own", body))
    assert result.code == code
    assert words in str(result.what)


def test_folder_without_converter_is_refused(llama: Path, tmp_path: Path) -> None:
    result = convert_problem(llama, tmp_path / "f16.gguf", str(tmp_path))
    assert result.code == "export.llama_cpp_incomplete"
    assert result.where.field == "llama_cpp"


def test_bytecode_beside_a_converter_is_not_run(llama: Path, tmp_path: Path) -> None:
    """`__pycache__` isn't part of what the user allowed, and Python would trust it."""
    folder = tmp_path / "own"
    own = broken_llama_cpp(folder, "import helper")
    source = folder / "helper.py"
    source.write_text("import sys; sys.exit('from the hidden bytecode')", "utf-8")
    hidden = py_compile.compile(
        str(source), invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH
    )
    assert hidden
    source.write_text("import sys; sys.exit('from the source')", "utf-8")
    consent.trust(llama_cpp.find_programs(folder))
    result = convert_problem(llama, tmp_path / "f16.gguf", own)
    assert "from the source" in str(result.what)


def test_bytecode_behind_a_link_is_not_run(llama: Path, tmp_path: Path) -> None:
    folder, assets = tmp_path / "own", tmp_path / "assets"
    assets.mkdir()
    own = broken_llama_cpp(
        folder, "import sys; sys.path.insert(0, __file__[:-21] + 'py')\nimport helper"
    )
    (folder / "py").symlink_to("../assets")
    source = assets / "helper.py"
    source.write_text("import sys; sys.exit('from the hidden bytecode')", "utf-8")
    py_compile.compile(str(source), invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
    source.write_text("import sys; sys.exit('from the source')", "utf-8")
    consent.trust(llama_cpp.find_programs(folder))
    result = convert_problem(llama, tmp_path / "f16.gguf", own)
    assert "from the source" in str(result.what)


def test_cancel_kills_the_child_process_immediately(tmp_path: Path) -> None:
    script = tmp_path / "sleeper.py"
    script.write_text("import os, time; print(os.getpid(), flush=True); time.sleep(600)", "utf-8")
    job, _ = recorded_job()
    pids: list[int] = []

    def on_line(line: str) -> None:
        pids.append(int(line))
        job.flags.cancel.set()

    began = time.monotonic()
    with pytest.raises(CancelledError):
        child_process.run(child_process.get_python_command(str(script)), job, on_line)
    assert time.monotonic() - began < 300  # it would sleep for ten minutes
    assert not _is_alive(pids[0])


def test_child_process_ends_with_its_parent(tmp_path: Path) -> None:
    script = tmp_path / "sleeper.py"
    script.write_text("import os, time; print(os.getpid(), flush=True); time.sleep(600)", "utf-8")
    program = (
        "import os\n"
        "from lora_studio.engine.runtime import child_process as child\n"
        "from tests.helpers.runs.jobs import recorded_job\n"
        f"child.run(child.get_python_command({str(script)!r}), recorded_job()[0],\n"
        "          lambda line: (print(line, flush=True), os.kill(os.getpid(), 9)))\n"
    )
    parent = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    grandchild = int(parent.stdout.split()[0])
    deadline = time.monotonic() + 300
    while _is_alive(grandchild) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not _is_alive(grandchild)


def _is_alive(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


# --- quantized --------------------------------------------------------------------------------


def test_invalid_gguf_file_is_not_quantized(tmp_path: Path) -> None:
    (tmp_path / "f16.gguf").write_bytes(b"nothing of the kind")
    with pytest.raises(ProblemError) as caught:
        quantizer.quantize(
            tmp_path / "f16.gguf", tmp_path / "q.gguf", "Q4_K_M", "", recorded_job()[0]
        )
    assert caught.value.problems[0].code == "quantize.failed"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="the fake program is a shell script")
def test_custom_quantizer_takes_precedence_and_reports_a_crash(
    sixteen_bit: Path, tmp_path: Path
) -> None:
    program = tmp_path / "build" / "bin" / "llama-quantize"
    program.parent.mkdir(parents=True)
    program.write_text('#!/bin/sh\necho "[ 1/ 2] $3 with $4 threads"\ncp "$1" "$2"\n', "utf-8")
    program.chmod(0o755)
    consent.trust(llama_cpp.find_programs(tmp_path))
    job, recorder = recorded_job()
    tool = quantizer.quantize(sixteen_bit, tmp_path / "q.gguf", "Q6_K", str(tmp_path), job)
    assert str(tool) == f"llama.cpp in {tmp_path}"
    assert recorder.of(events.Progress)[0].total == 2
    program.write_text("#!/bin/sh\nkill -SEGV $$\n", "utf-8")
    consent.trust(llama_cpp.find_programs(tmp_path))
    with pytest.raises(ProblemError) as caught:
        quantizer.quantize(sixteen_bit, tmp_path / "q2.gguf", "Q6_K", str(tmp_path), job)
    assert "status -11" in str(caught.value.problems[0].what)


# --- a run ------------------------------------------------------------------------------------


@pytest.mark.slow
def test_several_quantizations_share_one_conversion(tmp_path: Path) -> None:
    run = tiny_run("llama3", tmp_path, quantizations=("Q4_K_M", "Q8_0"))
    shutil.copytree(tmp_path / "base", run.merged)
    job, recorder = recorded_job()
    files = conversion.write(run, run.load_project(), job)
    assert files == {name: run.get_gguf_file("Harbour", name) for name in ("Q4_K_M", "Q8_0")}
    assert sorted(run.gguf.iterdir()) == sorted(files.values())
    assert not list(run.temporary.iterdir())
    written = {event.quantization: event for event in recorder.of(events.GgufWritten)}
    for name, file in files.items():
        assert written[name].bytes == file.stat().st_size
        assert written[name].file == str(file)
    assert written["Q4_K_M"].bytes < written["Q8_0"].bytes


@pytest.mark.slow
def test_canceled_export_leaves_no_file(tmp_path: Path) -> None:
    run = tiny_run("llama3", tmp_path)
    shutil.copytree(tmp_path / "base", run.merged)
    job, recorder = recorded_job()
    recorder.on_event = lambda event: (
        job.flags.cancel.set() if "Quantizing" in str(getattr(event, "stage", "")) else None
    )
    with pytest.raises(CancelledError):
        conversion.write(run, run.load_project(), job)
    assert not run.gguf.exists()
    assert not list(run.temporary.iterdir())


@pytest.mark.parametrize("fault", ["not merged", "disk full"])
def test_impossible_export_is_refused_before_it_starts(
    fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tiny_run("llama3", tmp_path, convert_from="merged")
    if fault == "disk full":
        shutil.copytree(tmp_path / "base", run.merged)
        monkeypatch.setattr(disk, "RESERVE", 1 << 60)
    with pytest.raises(ProblemError) as caught:
        conversion.write(run, run.load_project(), recorded_job()[0])
    expected = {"not merged": "export.not_merged", "disk full": "disk.full"}
    assert caught.value.problems[0].code == expected[fault]


# --- the first pass ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stored", "quantizations", "expected"),
    [
        ("bfloat16", ("Q4_K_M", "F16"), "BF16"),
        ("float16", ("Q4_K_M",), "F16"),
        ("float32", ("Q4_K_M",), "F16"),
        ("float32", ("F32", "Q4_K_M"), "F32"),
    ],
)
def test_first_pass_keeps_the_exact_weights(
    stored: str, quantizations: tuple[Quantization, ...], expected: str, tmp_path: Path
) -> None:
    model = tiny_model("llama3", tmp_path, stored=stored)
    assert (
        conversion.choose_first_pass(direct_gguf.open_source(model).tensors, quantizations)
        == expected
    )


@pytest.mark.slow
def test_files_of_killed_export_are_deleted_by_next_job(tmp_path: Path) -> None:
    run = tiny_run("llama3", tmp_path, self_test=False)
    shutil.copytree(tmp_path / "base", run.merged)
    program = (
        "import os, sys\nfrom pathlib import Path\n"
        "from lora_studio.core.protocol import commands\nfrom lora_studio.engine import jobs\n"
        "from tests.helpers.runs.jobs import recorded_job\n"
        "job, recorder = recorded_job()\n"
        "recorder.on_event = lambda event: "
        "os.kill(os.getpid(), 9) if 'Quantizing' in str(getattr(event, 'stage', '')) else None\n"
        "jobs.run_command(commands.Export(run=sys.argv[1]), job)\n"
    )
    command = get_shared().code_command(program, str(run.path))
    killed = subprocess.run(command, capture_output=True)
    assert killed.returncode == -9, killed.stderr
    assert list(run.temporary.rglob("*.gguf"))
    leftovers.sweep(run)
    assert not run.temporary.exists()


@pytest.mark.slow
def test_model_folder_converts_to_only_the_requested_files(
    llama: Path, own: str, tmp_path: Path
) -> None:
    rows = tmp_path / "rows.jsonl"
    lines = (json.dumps(row, ensure_ascii=False) for row in heldout_rows(20))
    rows.write_text("".join(f"{line}\n" for line in lines), "utf-8")
    command = commands.Convert(
        model=ModelSpec(source=str(llama)),
        out=str(tmp_path / "out"),
        export=ExportSpec(quantizations=("IQ2_XS", "Q8_0"), llama_cpp=own),
        data=str(rows),
    )
    job, recorder = recorded_job()
    jobs.run_command(command, job)
    written = {event.quantization: event for event in recorder.of(events.GgufWritten)}
    assert sorted((tmp_path / "out").iterdir()) == sorted(Path(e.file) for e in written.values())
    assert written["IQ2_XS"].imatrix
    assert not written["Q8_0"].imatrix
    for event in written.values():
        assert event.estimated_bytes == event.bytes


@pytest.mark.slow
def test_quantization_unfit_for_model_is_refused_before_start(
    tmp_path: Path,
) -> None:
    run = tiny_run("llama3", tmp_path, quantizations=("Q8_0", "Q1_0"), imatrix="needed")
    shutil.copytree(tmp_path / "base", run.merged)
    with pytest.raises(ProblemError) as caught:
        conversion.write(run, run.load_project(), recorded_job()[0])
    assert caught.value.problems[0].code == "quantize.not_for_model"
    assert "Q1_0" in str(caught.value.problems[0].what)
    assert not run.gguf.exists()


@pytest.mark.slow
def test_adapter_gguf_holds_both_matrices_of_each_update(
    tmp_path: Path,
) -> None:
    run = tiny_run("llama3", tmp_path, adapter_gguf=True, quantizations=("F16",))
    merge.merge(run, recorded_job()[0])
    job, recorder = recorded_job()
    conversion.write(run, run.load_project(), job)
    event = next(e for e in recorder.of(events.GgufWritten) if e.quantization == "adapter")
    names = {tensor.name for tensor in gguf_format.GGUFReader(event.file).tensors}
    assert {"blk.0.attn_q.weight.lora_a", "blk.0.attn_q.weight.lora_b"} <= names
    assert any("support adapter" in str(log.text) for log in recorder.of(events.LogLine))


@pytest.mark.slow
def test_manifest_records_the_llama_cpp_versions(own: str, tmp_path: Path) -> None:
    run = tiny_run("llama3", tmp_path, quantizations=("Q8_0",))
    shutil.copytree(tmp_path / "base", run.merged)
    conversion.write(run, run.load_project(), recorded_job()[0])
    record = run.read_manifest()["gguf"]
    assert record["converter"].startswith("llama.cpp in ")
    assert record["quantizer"].startswith("bundled llama.cpp (llama-cpp-py-sync ")
    assert record["files"].keys() == {"Q8_0"}


@pytest.mark.filterwarnings("ignore:.*tie_word_embeddings", "ignore:.*save_embedding_layers")
@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        pytest.param({}, "", id="lora"),
        pytest.param({"use_rslora": True, "alpha_pattern": {"q_proj": 2}}, "", id="other scales"),
        pytest.param({"use_dora": True}, "DoRA", id="dora"),
        pytest.param({"modules_to_save": ["norm"]}, "trained in full", id="norms"),
        pytest.param({"target_modules": ["embed_tokens"]}, "more than linear", id="embedding"),
        pytest.param({"init_lora_weights": "pissa"}, "pissa", id="changed base"),
    ],
)
def test_what_llama_cpp_would_ignore_is_named(
    tmp_path: Path, settings: dict[str, Any], reason: str
) -> None:
    base = tiny_model("llama3", tmp_path / "base")
    adapter = adapter_files.read(random_adapter(base, tmp_path / "adapter", **settings))
    explanation = explain_unsupported(adapter)
    assert (reason in str(explanation)) if reason else explanation is None


def test_unsupported_adapter_is_refused_with_the_way_out(tmp_path: Path) -> None:
    base = tiny_model("llama3", tmp_path / "base")
    adapter = random_adapter(base, tmp_path / "adapter", use_dora=True)
    with pytest.raises(ProblemError) as raised:
        write_adapter_gguf(adapter, base, tmp_path / "a.gguf", "", recorded_job()[0])
    problem = raised.value.problems[0]
    assert problem.code == "gguf.adapter_unsupported"
    assert "GGUF file" in str(problem.remedy)
    assert not (tmp_path / "a.gguf").exists()


@pytest.mark.slow
def test_llama_cpp_scales_each_update_as_peft_does(tmp_path: Path) -> None:
    base = tiny_model("llama3", tmp_path / "base")
    folder = random_adapter(
        base, tmp_path / "adapter", use_rslora=True, lora_alpha=6,
        alpha_pattern={"o_proj": 3}, rank_pattern={"down_proj": 2},
    )  # fmt: skip
    target = tmp_path / "adapter.gguf"
    write_adapter_gguf(folder, base, target, "", recorded_job()[0])
    reader = gguf.GGUFReader(target)
    alpha = float(reader.get_field("adapter.lora.alpha").contents())  # type: ignore[union-attr]
    tensors = {tensor.name: tensor.data for tensor in reader.tensors}
    layers = {layer.module: layer for layer in adapter_files.read(folder).layers}
    for module, name in (("self_attn.o_proj", "attn_output"), ("mlp.down_proj", "ffn_down")):
        layer = layers[f"model.layers.0.{module}"]
        b = tensors[f"blk.0.{name}.weight.lora_b"]
        expected = layer.b.read().numpy() * layer.scale
        # llama.cpp: alpha / rank, with the rank of the tensor itself.
        np.testing.assert_allclose(b * (alpha / b.shape[1]), expected, rtol=1e-6)


def test_built_in_converter_is_a_package_and_reviewed_whole() -> None:
    folder = packaged_llama_cpp()
    reviewed = {Path(file) for file in llama_cpp.find_programs(folder).files}
    assert {Path("convert_hf_to_gguf.py"), Path("conversion/llama.py")} <= reviewed


@pytest.mark.slow
def test_single_file_converter_writes_equal_tensors(tmp_path: Path) -> None:
    model = tiny_model("llama3", tmp_path / "model")
    written = []
    for folder in (old_llama_cpp_folder(tmp_path / "old"), llama_cpp_folder(tmp_path / "new")):
        file = tmp_path / f"{folder.name}.gguf"
        job, recorder = recorded_job()
        tool = converter.convert(model, file, "pim", str(folder), job, kind="BF16")
        assert str(tool) == f"llama.cpp in {folder}"
        assert recorder.of(events.Progress)[-1].done == 100
        tensors = gguf.GGUFReader(file).tensors
        written.append({tensor.name: (tensor.tensor_type, tensor.data) for tensor in tensors})
    old, new = written
    assert old.keys() == new.keys()
    for name, (kind, data) in old.items():
        assert kind == new[name][0], name
        assert np.array_equal(data, new[name][1]), name


@pytest.mark.slow
@pytest.mark.thorough
def test_single_file_converter_exports_a_run_that_passes(tmp_path: Path) -> None:
    run = create_old_run(tmp_path)
    job, recorder = recorded_job()
    with conversion.convert_run(run, run.load_project(), job) as converted:
        results = selftest.run(run, run.load_project(), converted.get_stages(), job)
    assert [(result.stage, result.verdict) for result in results] == [("F16", "passed")]
    logs = " ".join(str(log.text) for log in recorder.of(events.LogLine))
    assert "this version of llama.cpp can't merge weights while reading them" in logs


@pytest.mark.slow
def test_architecture_of_only_the_built_in_converter_is_named(tmp_path: Path) -> None:
    model = tiny_model("qwen3", tmp_path / "model")
    old = str(old_llama_cpp_folder(tmp_path / "old"))
    problems = []
    for architecture in ("Qwen3ForCausalLM", "NovelForCausalLM"):
        write_config(model, architectures=[architecture])
        with pytest.raises(ProblemError) as caught:
            converter.convert(model, tmp_path / "f.gguf", "pim", old, recorded_job()[0])
        problems += caught.value.problems
    assert [problem.code for problem in problems] == ["gguf.unsupported_architecture"] * 2
    assert "The built-in llama.cpp supports it" in str(problems[0].remedy)
    assert "A newer llama.cpp may support it" in str(problems[1].remedy)


def create_old_run(folder: Path) -> RunFolder:
    run = tiny_run("llama3", folder, quantizations=("F16",))
    project = run.load_project()
    old = str(old_llama_cpp_folder(folder / "old"))
    spec = project.export.model_copy(update={"llama_cpp": old})
    run.write_project(project.model_copy(update={"export": spec}))
    return run


_DTYPES = {F32: torch.float32, F16: torch.float16, BF16: torch.bfloat16}


def to_bytes(values: torch.Tensor) -> np.ndarray:
    return values.contiguous().view(torch.uint8).numpy()


@pytest.mark.parametrize("kind", _DTYPES)
@pytest.mark.parametrize(
    ("value", "phrase"),
    [
        pytest.param(float("nan"), "contains NaN values", id="nan"),
        pytest.param(float("inf"), "contains infinite values", id="infinity"),
        pytest.param(float("-inf"), "contains infinite values", id="minus_infinity"),
    ],
)
def test_value_that_is_not_finite_is_refused(kind: int, value: float, phrase: str) -> None:
    values = torch.randn(70, 64).to(_DTYPES[kind])
    require_finite("blk.0.attn_q.weight", to_bytes(values), kind)
    values[69, 63] = value
    with pytest.raises(ProblemError, match=f"The tensor blk.0.attn_q.weight {phrase}"):
        require_finite("blk.0.attn_q.weight", to_bytes(values), kind)


@pytest.mark.parametrize("kind", _DTYPES)
def test_largest_and_smallest_numbers_are_accepted(kind: int) -> None:
    facts = torch.finfo(_DTYPES[kind])
    values = torch.tensor([facts.max, facts.min, facts.tiny, 0.0, -0.0], dtype=_DTYPES[kind])
    require_finite("norm", to_bytes(values), kind)


def test_quantized_values_are_not_checked() -> None:
    require_finite("experts", np.full((4, 34), 255, np.uint8), 8)


def plant(folder: Path, stored: str, value: float) -> Path:
    model = tiny_model("llama3", folder / stored, stored=stored)
    tensors = load_file(model / SINGLE)
    tensors["model.layers.1.self_attn.v_proj.weight"][3, 4] = value
    save_file(tensors, model / SINGLE, metadata={"format": "pt"})
    return model


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stored", "value", "kind", "what", "remedy"),
    [
        pytest.param("bfloat16", float("nan"), "BF16", "NaN", "Training diverged", id="nan"),
        pytest.param("float32", 1e6, "F16", "infinite", "Export F32 as well", id="overflow"),
    ],
)
def test_conversion_names_the_tensor_that_is_not_finite(
    stored: str, value: float, kind: FirstPass, what: str, remedy: str, tmp_path: Path
) -> None:
    model, own = plant(tmp_path, stored, value), llama_cpp_folder(tmp_path / "llama.cpp")
    with pytest.raises(ProblemError) as caught:
        converter.convert(model, tmp_path / "f.gguf", "pim", str(own), recorded_job()[0], kind=kind)
    (problem,) = caught.value.problems
    assert problem.code == "gguf.not_finite"
    assert f"blk.1.attn_v.weight contains {what} values" in str(problem.what)
    assert remedy in str(problem.remedy)


@pytest.mark.slow
def test_quantizer_names_the_tensor_that_is_too_large(tmp_path: Path) -> None:
    model, own = plant(tmp_path, "bfloat16", 1e6), llama_cpp_folder(tmp_path / "llama.cpp")
    file, (job, _) = tmp_path / "bf16.gguf", recorded_job()
    converter.convert(model, file, "pim", str(own), job, kind="BF16")
    with pytest.raises(ProblemError) as caught:
        quantizer.quantize(file, tmp_path / "f16.gguf", "F16", "", job)
    problem: Problem = caught.value.problems[0]
    assert problem.code == "quantize.out_of_range"
    assert "blk.1.attn_v.weight contains values that are too large for F16" in str(problem.what)


@pytest.mark.parametrize(
    ("names", "skips"),
    [
        (["model.layers.1.mlp.up_proj.weight"], True),
        (["model.layers.1.mlp.up_proj.weight", "mtp.fc.weight"], False),
        (["model.layers.1.mlp.up_proj.weight", "model.layers.2.eh_proj.weight"], False),
        (["model.language_model.layers.1.q.weight", "model.visual.layers.7.q.weight"], True),
    ],
    ids=["none", "mtp", "layer after the last", "vision layers"],
)
def test_prediction_of_several_tokens_needs_weights(
    names: list[str], skips: bool, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text('{"num_hidden_layers": 2}', "utf-8")
    save_file({name: torch.zeros(1) for name in names}, tmp_path / SINGLE)
    base = SimpleNamespace(ModelBase=SimpleNamespace(no_mtp=False))
    converter_program.skip_absent_prediction(base, tmp_path)
    assert base.ModelBase.no_mtp is skips
