"""Quantization: everything llama.cpp offers, size estimates, and importance matrices."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path
from typing import get_args

import gguf
import gguf as gguf_format
import numpy as np
import pytest

from lora_studio.core import llama_cpp
from lora_studio.core.export import (
    BITS_PER_WEIGHT,
    COMMON,
    QUANTIZATIONS,
    ExportSpec,
    Quantization,
    should_use_imatrix,
)
from lora_studio.core.problems import ProblemError
from lora_studio.core.system import consent
from lora_studio.engine.export.gguf import conversion, direct_gguf, imatrix
from lora_studio.engine.export.gguf import (
    quantizer as gguf_quantizer,
)
from lora_studio.engine.runtime.llama_cpp import Llama
from tests.helpers.models.llama_cpp_folder import llama_cpp_folder
from tests.helpers.models.tiny_models import tiny_model
from tests.helpers.runs.jobs import recorded_job


def outline(file: Path, *, width: int = 512, layers: int = 2, experts: int = 0) -> Path:
    """Write a Llama without weights: header and shapes, and a sparse hole instead of tensors."""
    writer = gguf_format.GGUFWriter(file, "llama")
    writer.add_block_count(layers)
    writer.add_context_length(512)
    writer.add_embedding_length(width)
    writer.add_feed_forward_length(2 * width)
    writer.add_head_count(8)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(1024)
    if experts:
        writer.add_expert_count(experts)
        writer.add_expert_used_count(2)
    stack = (experts,) if experts else ()
    suffix = "_exps" if experts else ""
    shapes: dict[str, tuple[int, ...]] = {
        "token_embd.weight": (1024, width),
        "output.weight": (1024, width),
        "output_norm.weight": (width,),
    }
    for layer in range(layers):
        shapes |= {
            f"blk.{layer}.attn_q.weight": (width, width),
            f"blk.{layer}.attn_v.weight": (width // 4, width),
            f"blk.{layer}.ffn_up{suffix}.weight": (*stack, 2 * width, width),
            f"blk.{layer}.ffn_down{suffix}.weight": (*stack, width, 2 * width),
            f"blk.{layer}.ffn_norm.weight": (width,),
        }
    size = 0
    for name, shape in shapes.items():
        kind = np.dtype(np.float32 if len(shape) == 1 else np.float16)
        length = int(np.prod(shape)) * kind.itemsize
        writer.add_tensor_info(name, shape, kind, length)
        size += length
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()
    with file.open("r+b") as opened:
        opened.truncate(-(-file.stat().st_size // 32) * 32 + size)
    return file


@pytest.fixture(scope="module")
def sixteen_bit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model as F16, next to its importance matrix."""
    folder = tmp_path_factory.mktemp("gguf")
    model = tiny_model("llama3", folder / "model")
    own = llama_cpp_folder(folder / "llama.cpp")
    conversion.convert(model, folder / "f16.gguf", "Harbour", str(own), recorded_job()[0])
    rows = np.random.default_rng(0).integers(10, 400, size=(4, 30)).tolist()
    result = imatrix.measure(folder / "f16.gguf", rows, recorded_job()[0])
    imatrix.write(result, folder / "imatrix.gguf", "rows")
    return folder / "f16.gguf"


# --- offered ----------------------------------------------------------------------------------


def test_every_writable_file_type_of_llama_cpp_is_offered(tmp_path: Path) -> None:
    from llama_cpp_py_sync._cffi_bindings import get_ffi

    file = outline(tmp_path / "outline.gguf", experts=4)
    known = get_ffi().typeof("enum llama_ftype").relements
    names = {name.partition("LLAMA_FTYPE_")[2].partition("_")[2] for name in known}
    names -= {""}  # GUESSED
    quantizer = gguf_quantizer.Quantizer()
    with quantizer.capture_log():  # hundreds of lines
        able = {name for name in names if quantizer.run(str(file), "", name, dry=True) == 0}
    assert able == set(QUANTIZATIONS)
    assert set(get_args(Quantization)) == set(QUANTIZATIONS)
    assert names - able == {"NVFP4"}  # in the enumeration, not in the quantizer


def test_captured_log_goes_back_to_whoever_logged_before() -> None:
    quantizer = gguf_quantizer.Quantizer()
    ffi, lib = quantizer.ffi, quantizer.lib
    seen: list[str] = []

    def listen(_level: int, text: object, _data: object) -> None:
        seen.append(ffi.string(text).decode())

    usual, data = ffi.new("ggml_log_callback *"), ffi.new("void **")
    lib.llama_log_get(usual, data)
    callback = ffi.callback("void(enum ggml_log_level, char *, void *)", listen)
    lib.llama_log_set(callback, ffi.NULL)
    try:
        with quantizer.capture_log() as captured:
            quantizer.run("no such file.gguf", "", "Q8_0", dry=True)
        assert captured
        assert not seen
        quantizer.run("no such file.gguf", "", "Q8_0", dry=True)
        assert seen
    finally:
        lib.llama_log_set(usual[0], data[0])


def test_quantizations_are_sorted_from_largest_to_smallest() -> None:
    bits = list(BITS_PER_WEIGHT.values())
    assert bits == sorted(bits, reverse=True)
    assert set(COMMON) < set(QUANTIZATIONS)
    assert ExportSpec().quantizations[0] in COMMON


def test_main_bits_are_those_of_a_type_of_gguf() -> None:
    known = {8 * size / block for block, size in gguf.GGML_QUANT_SIZES.values()}
    newer = {"Q2_0"}  # not in the package yet
    assert {name for name, facts in QUANTIZATIONS.items() if facts.main_bits not in known} == newer


@pytest.mark.parametrize("quantization", QUANTIZATIONS)
def test_quantization_that_needs_imatrix_is_refused_without_one(
    quantization: Quantization, tmp_path: Path
) -> None:
    if not QUANTIZATIONS[quantization].needs_imatrix:
        assert not should_use_imatrix(ExportSpec(), quantization)
        return
    assert should_use_imatrix(ExportSpec(), quantization)
    with pytest.raises(ProblemError) as caught:
        gguf_quantizer.quantize(tmp_path / "a", tmp_path / "b", quantization, "", recorded_job()[0])
    assert caught.value.problems[0].code == "quantize.needs_imatrix"


def test_llama_cpp_requires_imatrix_exactly_where_we_say(
    tmp_path: Path,
) -> None:
    file = outline(tmp_path / "outline.gguf")
    quantizer = gguf_quantizer.Quantizer()
    requiring = set()
    for name in QUANTIZATIONS:
        with quantizer.capture_log() as log_lines:
            assert quantizer.run(str(file), "", name, dry=True) == 0
        if "will require an imatrix" in "".join(log_lines):
            requiring.add(name)
    # IQ3_XS requires it for attention only, which this outline has.
    assert requiring == {name for name, facts in QUANTIZATIONS.items() if facts.needs_imatrix}


def test_imatrix_always_skips_types_that_ignore_it() -> None:
    spec = ExportSpec(imatrix="always")
    without = {name for name in QUANTIZATIONS if not should_use_imatrix(spec, name)}
    assert without == {"F32", "BF16", "F16", "Q8_0", "MXFP4_MOE"}


@pytest.mark.skipif(sys.platform == "win32", reason="the fake program is a shell script")
@pytest.mark.parametrize(
    ("listed", "is_refused"),
    [
        pytest.param(
            "   7  or  Q8_0    :  7.96G\n          COPY    : only copy\n", True, id="older"
        ),
        pytest.param("  38  or  MXFP4_MOE :  MXFP4 MoE\n", False, id="current"),
        pytest.param("usage: of another form\n", False, id="no_list"),
    ],
)
def test_type_that_the_quantizer_does_not_list_is_refused(
    listed: str, is_refused: bool, tmp_path: Path
) -> None:
    program = tmp_path / "bin" / "llama-quantize"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\ncat <<END\n{listed}END\nexit 1\n", "utf-8")
    program.chmod(0o755)
    consent.trust(llama_cpp.find_programs(tmp_path))
    job, _ = recorded_job()
    with pytest.raises(ProblemError) if is_refused else nullcontext() as caught:
        gguf_quantizer.require_known_types(["MXFP4_MOE"], str(tmp_path), job)
    if caught is not None:
        (problem,) = caught.value.problems
        assert problem.code == "quantize.unknown_type"
        assert f"llama.cpp in {tmp_path} doesn't have MXFP4_MOE" in str(problem.what)


# --- written ----------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    "quantization", [name for name in QUANTIZATIONS if name not in ("F16", "Q1_0", "MXFP4_MOE")]
)
def test_every_quantization_is_written_and_runs(
    quantization: Quantization, sixteen_bit: Path, tmp_path: Path
) -> None:
    file = tmp_path / "q.gguf"
    job, recorder = recorded_job()
    matrix = sixteen_bit.with_name("imatrix.gguf") if BITS_PER_WEIGHT[quantization] < 8 else None
    expected = gguf_quantizer.estimate_sizes(
        sixteen_bit, [quantization], job, imatrix=matrix is not None
    )
    tool = gguf_quantizer.quantize(sixteen_bit, file, quantization, "", job, imatrix=matrix)
    assert str(tool).startswith("bundled llama.cpp (llama-cpp-py-sync ")
    assert file.stat().st_size == expected[quantization]
    assert str(recorder.of(type(recorder.events[-1]))[-1].stage) == f"Quantizing to {quantization}"
    with Llama(file, context=64) as model:
        assert np.isfinite(model.compute_logits([0, 5, 9], [0, 2])).all()


@pytest.mark.slow
def test_imatrix_reduces_the_weighted_error(sixteen_bit: Path, tmp_path: Path) -> None:
    def error(matrix: Path | None) -> float:
        file = tmp_path / "q.gguf"
        gguf_quantizer.quantize(sixteen_bit, file, "IQ4_NL", "", recorded_job()[0], imatrix=matrix)
        total = 0.0
        weighed = imatrix.read(sixteen_bit.with_name("imatrix.gguf"))
        written = {tensor.name: tensor for tensor in gguf_format.GGUFReader(file).tensors}
        for tensor in gguf_format.GGUFReader(sixteen_bit).tensors:
            if tensor.name in weighed and written[tensor.name].tensor_type.name == "IQ4_NL":
                got = written[tensor.name]
                values = gguf_format.quants.dequantize(got.data, got.tensor_type)
                difference = np.square(tensor.data.astype(np.float32) - values)
                total += float((difference * weighed[tensor.name]).sum())
        assert total > 0
        return total

    assert error(sixteen_bit.with_name("imatrix.gguf")) < 0.98 * error(None)


# --- size estimates ---------------------------------------------------------------------------


def test_dry_run_log_gives_the_exact_file_size() -> None:
    log = (
        "[   1/   2] a.weight                             - [ 64,  3,   1,   1], type =    f16, "
        "size =     0.00 MiB ->     0.00 MiB (q8_0)\n"
        "[   2/   2] b.weight                             - [  5,   1,   1,   1], type =    f32, "
        "size =    0.000 MiB\n"
    )
    header = 1000
    before = header + 64 * 3 * 2 + 32  # 20 bytes, padded to 32
    after = header + 6 * 34 + 20 + 32  # six blocks of 34 bytes are 204, padded to 224
    assert gguf_quantizer.parse_planned_bytes(log, before) == after
    with pytest.raises(ValueError, match="no tensors"):
        gguf_quantizer.parse_planned_bytes("nothing", 10)


@pytest.mark.slow
def test_sizes_are_estimated_from_shapes_alone(tmp_path: Path) -> None:
    file = outline(tmp_path / "outline.gguf")
    result = gguf_quantizer.estimate_sizes(file, list(QUANTIZATIONS), recorded_job()[0])
    assert result.keys() == QUANTIZATIONS.keys() - {"MXFP4_MOE"}
    assert result["F16"] == file.stat().st_size
    assert result["Q8_0"] < 0.55 * result["F16"]
    assert result["Q2_K"] < result["Q4_K_M"] < result["Q6_K"]


@pytest.mark.slow
def test_type_for_experts_is_offered_only_with_experts(tmp_path: Path) -> None:
    job, _ = recorded_job()
    dense, mixture = (outline(tmp_path / f"{n}.gguf", experts=n) for n in (0, 8))
    assert not gguf_quantizer.estimate_sizes(dense, ["MXFP4_MOE"], job)
    result = gguf_quantizer.estimate_sizes(mixture, ["Q8_0", "Q4_0", "MXFP4_MOE"], job)
    # Experts in 4.25 bits and the rest in 8.5.
    experts, parameters = count_parameters(mixture)
    expected = (experts * 4.25 + (parameters - experts) * 8.5) / 8
    assert result["MXFP4_MOE"] == pytest.approx(expected, rel=0.02)


def count_parameters(file: Path) -> tuple[int, int]:
    """Return how many parameters are those of experts, and how many there are."""
    counts = {t.name: int(t.n_elements) for t in gguf_format.GGUFReader(file).tensors}
    return sum(n for name, n in counts.items() if "_exps" in name), sum(counts.values())


@pytest.mark.slow
def test_experts_are_quantized_to_the_estimated_size(tmp_path: Path) -> None:
    model, own = tiny_model("qwen3_moe", tmp_path / "model"), llama_cpp_folder(tmp_path / "own")
    first, file, (job, _) = tmp_path / "first.gguf", tmp_path / "q.gguf", recorded_job()
    conversion.convert(model, first, "outline", str(own), job, kind="BF16")
    estimated = gguf_quantizer.estimate_sizes(first, ["MXFP4_MOE"], job)
    gguf_quantizer.quantize(first, file, "MXFP4_MOE", "", job)
    assert file.stat().st_size == estimated["MXFP4_MOE"]
    kinds = {t.name: t.tensor_type.name for t in gguf_format.GGUFReader(file).tensors}
    assert {kind for name, kind in kinds.items() if "_exps" in name} == {"MXFP4"}
    with Llama(file, context=64) as llama:
        assert np.isfinite(llama.compute_logits([0, 5, 9], [0, 2])).all()


@pytest.mark.slow
def test_estimate_before_conversion_matches_the_file(sixteen_bit: Path, tmp_path: Path) -> None:
    folder = sixteen_bit.parent
    spec = ExportSpec(llama_cpp=str(folder / "llama.cpp"))
    result = conversion.estimate_sizes(
        direct_gguf.open_source(folder / "model"), spec, recorded_job()[0]
    ).bytes
    # Q1_0 has blocks of 128 without a smaller fallback; this model's rows have 64 values.
    assert result.keys() == QUANTIZATIONS.keys() - {"Q1_0", "MXFP4_MOE"}
    for name in ("Q8_0", "Q4_K_M"):
        file = tmp_path / f"{name}.gguf"
        gguf_quantizer.quantize(sixteen_bit, file, name, "", recorded_job()[0])
        # Only the model's name in the header may differ.
        assert abs(result[name] - file.stat().st_size) <= 64
