"""A GGUF file is compared by value: every planted fault is named, correct files have none."""

from __future__ import annotations

import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from lora_studio.core.merging import MergingSpec
from lora_studio.core.runs import checksums
from lora_studio.core.runs.folder import RunFolder
from lora_studio.engine.export.gguf import conversion, imatrix, quantizer
from lora_studio.engine.export.gguf.direct_gguf import DirectMerge
from lora_studio.engine.merging import merge
from lora_studio.engine.model.safetensors_files import SINGLE
from lora_studio.engine.selftest.expected_model import open_expected
from lora_studio.engine.selftest.gguf_comparison import ConvertedFile, GgufComparer
from lora_studio.engine.selftest.judging import StageComparison
from tests.helpers.models.tiny_gguf import LEFT_OUT, edit, read_tensor
from tests.helpers.runs.jobs import recorded_job
from tests.helpers.runs.tiny_run import tiny_run

Plant = Callable[[dict[str, Path], Path], Path]

GATE, UP, Q = "blk.1.ffn_gate.weight", "blk.1.ffn_up.weight", "blk.0.attn_q.weight"
NORM = "blk.0.attn_norm.weight"


def value(key: str, planted: Any) -> Plant:
    """Plant another value of a key; None leaves it out, a function changes it."""

    def plant(files: dict[str, Path], target: Path) -> Path:
        reader = gguf.GGUFReader(files["F16"])
        new = planted(reader.fields[key].contents()) if callable(planted) else planted
        return edit(files["F16"], target, {key: new})

    return plant


def tensor(name: str, change: Callable[[np.ndarray], Any], quantization: str = "F16") -> Plant:
    """Plant a tensor that `change` returns for the correct raw data."""

    def plant(files: dict[str, Path], target: Path) -> Path:
        planted = change(read_tensor(files[quantization], name))
        return edit(files[quantization], target, tensors={name: planted})

    return plant


def from_base(name: str, quantization: str) -> Plant:
    """Plant the base model's tensor in the same quantization."""

    def plant(files: dict[str, Path], target: Path) -> Path:
        planted = read_tensor(files[f"base-{quantization}"], name)
        return edit(files[quantization], target, tensors={name: planted})

    return plant


def other_tensor(name: str, other: str, quantization: str) -> Plant:
    """Plant the values of another tensor of the file."""

    def plant(files: dict[str, Path], target: Path) -> Path:
        planted = read_tensor(files[quantization], other)
        return edit(files[quantization], target, tensors={name: planted})

    return plant


def cut(share: float) -> Plant:
    def plant(files: dict[str, Path], target: Path) -> Path:
        shutil.copyfile(files["Q8_0"], target)
        os.truncate(target, int(target.stat().st_size * share))
        return target

    return plant


def exchange_positions(files: dict[str, Path], target: Path) -> Path:
    """Let the header name the position of another layer's tensor."""
    content = bytearray(files["F16"].read_bytes())

    def find(name: str) -> slice:
        text = name.encode()
        start = content.find(struct.pack("<Q", len(text)) + text) + 8 + len(text)
        (dimensions,) = struct.unpack_from("<I", content, start)
        offset = start + 4 + 8 * dimensions + 4
        return slice(offset, offset + 8)

    one, other = find("blk.0.attn_k.weight"), find("blk.1.attn_k.weight")
    content[one], content[other] = content[other], content[one]
    target.write_bytes(content)
    return target


def break_token(files: dict[str, Path], target: Path) -> Path:
    """Replace a character of a token by bytes that aren't UTF-8."""
    tokens = gguf.GGUFReader(files["F16"]).fields["tokenizer.ggml.tokens"].contents()
    token = next(token.encode() for token in tokens[256:] if len(token.encode()) > 6)
    before = struct.pack("<Q", len(token)) + token
    after = before[:-2] + b"\xff\xfe"
    target.write_bytes(files["F16"].read_bytes().replace(before, after, 1))
    return target


def replace_entry(index: int, planted: Any) -> Callable[[list[Any]], list[Any]]:
    return lambda items: [*items[:index], planted, *items[index + 1 :]]


def flip(data: np.ndarray) -> np.ndarray:
    """Return the rows in another order."""
    return data[::-1]


def swap_halves_of_heads(data: np.ndarray) -> np.ndarray:
    """Undo the converter's permutation for rotary embeddings: 4 heads of 16 rows."""
    return data.reshape(4, 8, 2, -1).swapaxes(1, 2).reshape(data.shape)


#: (identifier, quantization, what is planted, what must be named)
FAULTS: list[tuple[str, str, Plant, str]] = [
    ("rope base", "F16", value("llama.rope.freq_base", 10000.0), "llama.rope.freq_base is 10000.0 instead of 500000.0"),
    ("rope base near", "F16", value("llama.rope.freq_base", 500001.0), "llama.rope.freq_base is 500001.0 instead of 500000.0"),
    ("rope dimensions", "F16", value("llama.rope.dimension_count", 8), "llama.rope.dimension_count is 8 instead of 16"),
    ("rope scaling", "F16", value("llama.rope.scaling.factor", 4.0), "llama.rope.scaling.factor is 4.0, but should not be set"),
    ("epsilon", "F16", value("llama.attention.layer_norm_rms_epsilon", 1e-3), "llama.attention.layer_norm_rms_epsilon is 0.001 instead of 1e-06"),
    ("epsilon missing", "F16", value("llama.attention.layer_norm_rms_epsilon", LEFT_OUT), "layer_norm_rms_epsilon is missing"),
    ("context length", "F16", value("llama.context_length", 512), "llama.context_length is 512 instead of 1024"),
    ("layers", "F16", value("llama.block_count", 1), "llama.block_count is 1 instead of 2"),
    ("embedding length", "F16", value("llama.embedding_length", 128), "llama.embedding_length is 128 instead of 64"),
    ("feed forward", "F16", value("llama.feed_forward_length", 64), "llama.feed_forward_length is 64 instead of 128"),
    ("heads", "F16", value("llama.attention.head_count", 8), "llama.attention.head_count is 8 instead of 4"),
    ("no heads", "F16", value("llama.attention.head_count", 0), "llama.attention.head_count is 0 instead of 4"),
    ("key-value heads", "F16", value("llama.attention.head_count_kv", 4), "llama.attention.head_count_kv is 4 instead of 2"),
    ("key length", "F16", value("llama.attention.key_length", 32), "llama.attention.key_length is 32 instead of 16"),
    ("sliding window", "F16", value("llama.attention.sliding_window", 64), "llama.attention.sliding_window is 64, but should not be set"),
    ("vocabulary size", "F16", value("llama.vocab_size", 1), "llama.vocab_size is 1 instead of"),
    ("architecture", "F16", value("general.architecture", "qwen2"), "general.architecture is \"qwen2\" instead of \"llama\""),
    ("file type", "F16", value("general.file_type", 7), "general.file_type is 7 instead of 1"),
    ("sampling default", "F16", value("general.sampling.temp", 1.5), "general.sampling.temp is 1.5, but should not be set"),
    ("tokenizer model", "F16", value("tokenizer.ggml.model", "llama"), "tokenizer.ggml.model is \"llama\" instead of \"gpt2\""),
    ("pre-tokenizer", "F16", value("tokenizer.ggml.pre", "qwen2"), "tokenizer.ggml.pre is \"qwen2\" instead of \"llama-bpe\""),
    ("pre-tokenizer missing", "F16", value("tokenizer.ggml.pre", LEFT_OUT), "tokenizer.ggml.pre is missing"),
    ("token", "F16", value("tokenizer.ggml.tokens", replace_entry(300, "xyz")), "tokenizer.ggml.tokens[300] is \"xyz\""),
    ("tokens cut", "F16", value("tokenizer.ggml.tokens", lambda tokens: tokens[:-1]), "tokenizer.ggml.tokens has"),
    ("token type", "F16", value("tokenizer.ggml.token_type", replace_entry(478, 1)), "tokenizer.ggml.token_type[478] is 1 instead of 3"),
    ("merge", "F16", value("tokenizer.ggml.merges", replace_entry(5, "q z")), "tokenizer.ggml.merges[5] is \"q z\""),
    ("merges cut", "F16", value("tokenizer.ggml.merges", lambda merges: merges[:10]), "tokenizer.ggml.merges has 10 entries instead of"),
    ("eos", "F16", value("tokenizer.ggml.eos_token_id", 1), "tokenizer.ggml.eos_token_id is 1 instead of 478"),
    ("eos missing", "F16", value("tokenizer.ggml.eos_token_id", LEFT_OUT), "tokenizer.ggml.eos_token_id is missing"),
    ("bos", "F16", value("tokenizer.ggml.bos_token_id", 3), "tokenizer.ggml.bos_token_id is 3"),
    ("eot", "F16", value("tokenizer.ggml.eot_token_id", 3), "tokenizer.ggml.eot_token_id is 3, but should not be set"),
    ("padding", "F16", value("tokenizer.ggml.padding_token_id", 3), "tokenizer.ggml.padding_token_id is 3, but should not be set"),
    ("second bos", "F16", value("tokenizer.ggml.add_bos_token", False), "tokenizer.ggml.add_bos_token is false instead of true"),
    ("add eos", "F16", value("tokenizer.ggml.add_eos_token", True), "tokenizer.ggml.add_eos_token is true, but should not be set"),
    ("add space", "F16", value("tokenizer.ggml.add_space_prefix", True), "tokenizer.ggml.add_space_prefix is true, but should not be set"),
    ("template trailing blank", "F16", value("tokenizer.chat_template", lambda text: text + " "), "tokenizer.chat_template differs from character"),
    ("other template", "F16", value("tokenizer.chat_template", "{{ messages }}"), "tokenizer.chat_template differs from character 3 on"),
    ("template missing", "F16", value("tokenizer.chat_template", LEFT_OUT), "tokenizer.chat_template is missing"),
    ("second template", "F16", value("tokenizer.chat_template.tool_use", "x"), "tokenizer.chat_template.tool_use is \"x\", but should not be set"),
    ("base tensor", "F16", from_base(GATE, "F16"), f"{GATE} is still the base model's, without the adapter"),
    ("base tensor in Q8_0", "Q8_0", from_base(GATE, "Q8_0"), f"{GATE} is still the base model's, without the adapter"),
    ("base tensor in Q4_K_M", "Q4_K_M", from_base(UP, "Q4_K_M"), f"{UP} is still the base model's, without the adapter"),
    ("zeros", "F16", tensor(GATE, np.zeros_like), f"{GATE} contains only zeros"),
    ("zeros in Q8_0", "Q8_0", tensor(GATE, np.zeros_like, "Q8_0"), f"{GATE} contains only zeros"),
    ("NaN", "F16", tensor(NORM, lambda data: np.full_like(data, np.nan)), f"{NORM} contains NaN"),
    ("rows reversed", "Q8_0", tensor(GATE, flip, "Q8_0"), f"{GATE} has its rows in the wrong order"),
    ("rotary order", "F16", tensor(Q, swap_halves_of_heads), f"{Q} has its rows in the wrong order"),
    ("other tensor", "Q8_0", other_tensor(GATE, UP, "Q8_0"), f"{GATE} contains the values of {UP}"),
    ("other layer", "F16", other_tensor(GATE, "blk.0.ffn_gate.weight", "F16"), f"{GATE} contains the values of blk.0.ffn_gate.weight"),
    ("one row", "F16", tensor(GATE, lambda data: np.concatenate([data[:1] * 2, data[1:]])), f"{GATE} differs from what was trained in 1 of 128 rows"),
    ("norm scaled", "Q8_0", tensor(NORM, lambda data: data * 1.01, "Q8_0"), f"{NORM} differs"),
    ("tensor missing", "F16", tensor(GATE, lambda _: LEFT_OUT), f"{GATE} is missing"),
    ("separate head", "F16", lambda files, target: edit(files["F16"], target, tensors={"output.weight": np.ones((480, 64), np.float32)}), "output.weight is not part of the trained model"),
    ("other type", "Q8_0", tensor(GATE, lambda data: (gguf.quants.quantize(gguf.quants.dequantize(data, gguf.GGMLQuantizationType.Q8_0), gguf.GGMLQuantizationType.Q4_0), gguf.GGMLQuantizationType.Q4_0), "Q8_0"), f"{GATE} is stored as Q4_0 instead of Q8_0"),
    ("rope scaling type", "F16", value("llama.rope.scaling.type", "linear"), "llama.rope.scaling.type is \"linear\", but should not be set"),
    ("attention scale", "F16", value("llama.attention.scale", 0.5), "llama.attention.scale is 0.5, but should not be set"),
    ("not causal", "F16", value("llama.attention.causal", False), "llama.attention.causal is false, but should not be set"),
    ("value length", "F16", value("llama.attention.value_length", 8), "llama.attention.value_length is 8 instead of 16"),
    ("logit scale", "F16", value("llama.logit_scale", 2.0), "llama.logit_scale is 2.0, but should not be set"),
    ("experts", "F16", value("llama.expert_count", 4), "llama.expert_count is 4, but should not be set"),
    ("unknown token", "F16", value("tokenizer.ggml.unknown_token_id", 2), "tokenizer.ggml.unknown_token_id is 2, but should not be set"),
    ("end of message", "F16", value("tokenizer.ggml.eom_token_id", 2), "tokenizer.ggml.eom_token_id is 2, but should not be set"),
    ("suppressed tokens", "F16", value("tokenizer.ggml.suppress_tokens", [1]), "tokenizer.ggml.suppress_tokens is [1], but should not be set"),
    ("alignment", "F16", value("general.alignment", 64), "the file is truncated: it has"),
    ("adapter", "F16", value("general.type", "adapter"), "general.type is \"adapter\" instead of \"model\""),
    ("name of Phi-3", "F16", value("general.name", "phi-3"), "general.name is \"phi-3\" instead of"),
    ("part of a split file", "F16", value("split.count", 2), "split.count is 2, but should not be set"),
    ("columns reversed", "F16", tensor(Q, lambda data: data[:, ::-1]), f"{Q} differs from what was trained in 64 of 64 rows"),
    ("transposed", "F16", tensor(Q, np.transpose), f"{Q} differs from what was trained in 64 of 64 rows"),
    ("heads reversed", "F16", tensor(Q, lambda data: data.reshape(4, 16, -1)[::-1].reshape(data.shape)), f"{Q} has its rows in the wrong order"),
    ("scaled", "F16", tensor(Q, lambda data: data * np.float16(1.01)), f"{Q} differs"),
    ("norm in 16 bits", "F16", tensor(NORM, lambda data: (data.astype(np.float16), gguf.GGMLQuantizationType.F16)), f"{NORM} is stored as F16 instead of F32"),
    ("more bits", "F16", tensor(Q, lambda data: (data.astype(np.float32), gguf.GGMLQuantizationType.F32)), f"{Q} is stored as F32 instead of F16"),
    ("type that isn't read", "F16", tensor(Q, lambda data: (data.astype(np.int8), gguf.GGMLQuantizationType.I8)), f"{Q} is stored as I8 instead of F16"),
    ("additional bias", "F16", lambda files, target: edit(files["F16"], target, tensors={"blk.0.attn_q.bias": np.zeros(64, np.float32)}), "blk.0.attn_q.bias is not part of the trained model"),
    ("positions exchanged", "F16", exchange_positions, "blk.0.attn_k.weight contains the values of blk.1.attn_k.weight"),
    ("invalid token", "F16", break_token, "tokenizer.ggml.tokens["),
    ("file of the base", "Q8_0", lambda files, target: Path(shutil.copyfile(files["base-Q8_0"], target)), "blk.0.ffn_down.weight is still the base model's, without the adapter"),
    ("file of another quantization", "Q8_0", lambda files, target: Path(shutil.copyfile(files["Q4_K_M"], target)), "general.file_type is 15 instead of 7"),
    ("cut in the weights", "Q8_0", cut(0.9), "the file is truncated: it has"),
    ("cut in the header", "Q8_0", cut(0.05), "the file can't be read"),
    ("empty", "Q8_0", cut(0.0), "the file can't be read"),
]  # fmt: skip


def write_files(run: RunFolder, folder: Path) -> dict[str, Path]:
    """Return correct files by quantization, and those of the base model."""
    job, project = recorded_job()[0], run.load_project()
    files: dict[str, Path] = {str(k): v for k, v in conversion.write(run, project, job).items()}
    shutil.copytree(run.merged, folder / "kept")
    shutil.copyfile(run.path.parents[1] / "base" / SINGLE, run.merged / SINGLE)
    checksums.forget_checksums(run, run.merged)
    copies = {name: Path(shutil.copyfile(file, folder / file.name)) for name, file in files.items()}
    base = conversion.write(run, project, job)
    copies |= {
        f"base-{name}": Path(shutil.copyfile(file, folder / f"base-{file.name}"))
        for name, file in base.items()
    }
    shutil.rmtree(run.merged)
    (folder / "kept").rename(run.merged)
    return copies


def quantize_with_imatrix(source: Path, target: Path) -> Path:
    """Write a Q4_K_M file whose quantizer had an importance matrix."""
    generator = np.random.default_rng(0)
    sums = {
        tensor.name: imatrix.ActivationSums(
            np.exp(generator.normal(0, 1.5, (1, int(tensor.shape[0])))), np.array([1])
        )
        for tensor in gguf.GGUFReader(source).tensors
        if tensor.name.startswith("blk.") and len(tensor.shape) == 2
    }
    matrix = target.with_suffix(".imatrix")
    imatrix.write(sums, matrix, "rows.jsonl")
    quantizer.quantize(source, target, "Q4_K_M", "", recorded_job()[0], imatrix=matrix)
    return target


def requantize(data: np.ndarray) -> tuple[np.ndarray, gguf.GGMLQuantizationType]:
    """Return Q5_0 data, which the tiny matrices have for Q4_K, in Q4_0."""
    values = gguf.quants.dequantize(data, gguf.GGMLQuantizationType.Q5_0)
    kind = gguf.GGMLQuantizationType.Q4_0
    return gguf.quants.quantize(values, kind), kind


def multiply(data: np.ndarray) -> np.ndarray:
    """Return Q5_0 data whose values are multiplied by 1.05."""
    blocks = data.reshape(-1, 22).copy()
    scales = blocks[:, :2].copy().view(np.float16)
    blocks[:, :2] = (scales * np.float16(1.05)).view(np.uint8)
    return blocks.reshape(data.shape)


#: (identifier, change of a tensor that had an importance matrix, what must be named)
WITH_IMATRIX: list[tuple[str, Callable[[np.ndarray], Any], str]] = [
    ("lower type", requantize, f"{UP} is stored as Q4_0 instead of Q5_0"),
    ("multiplied", multiply, f"{UP} differs from what was trained"),
    ("one row", lambda data: np.concatenate([data[:1] * 0, data[1:]]), f"{UP} differs from what was trained in 1 of 128 rows"),
    ("other row", lambda data: np.concatenate([data[1:2], data[1:]]), f"{UP} differs from what was trained in 1 of 128 rows"),
]  # fmt: skip


def plant_with_imatrix(files: dict[str, Path], folder: Path) -> dict[str, ConvertedFile]:
    """Return a correct file, and others with a wrong tensor, all with a matrix."""
    correct, base = (
        quantize_with_imatrix(files[name], folder / f"matrix-{name}.gguf")
        for name in ("F16", "base-F16")
    )
    right = read_tensor(correct, UP)
    tensors = {"base tensor": read_tensor(base, UP)}
    tensors |= {name: change(right) for name, change, _ in WITH_IMATRIX}
    planted = {
        name: edit(correct, folder / f"matrix-{number}.gguf", tensors={UP: data})
        for number, (name, data) in enumerate(tensors.items())
    }
    return {
        name: ConvertedFile(file, "Q4_K_M", imatrix=True)
        for name, file in ({"correct": correct} | planted).items()
    }


def compare_all(
    run: RunFolder, planted: dict[str, ConvertedFile], scratch: Path
) -> dict[str, StageComparison]:
    job, project = recorded_job()[0], run.load_project()
    recipe = DirectMerge(
        base=merge.resolve_base(project.model, project.merging, job),
        adapters=tuple(merge.get_chosen_adapters(run, project.merging)),
        merging=project.merging,
    )
    expected = open_expected(recipe, scratch / "expected", job, trust=False)
    comparer = GgufComparer(
        expected,
        scratch,
        job,
        name=project.name,
        llama_cpp=project.export.llama_cpp,
        kind="BF16",
        adds_bos=True,
        trust=False,
    )
    return comparer.compare(planted)


@pytest.fixture(scope="module")
def comparisons(tmp_path_factory: pytest.TempPathFactory) -> dict[str, StageComparison]:
    """All planted faults and the correct files, compared in one run of the converter."""
    folder = tmp_path_factory.mktemp("gguf")
    run = tiny_run("llama3", folder / "run", quantizations=("F16", "Q8_0", "Q4_K_M"))
    merge.merge(run, recorded_job()[0])
    files = write_files(run, folder)
    planted = {
        name: ConvertedFile(plant(files, folder / f"planted-{number}.gguf"), kind)
        for number, (name, kind, plant, _) in enumerate(FAULTS)
    }
    planted |= {kind: ConvertedFile(files[kind], kind) for kind in ("F16", "Q8_0", "Q4_K_M")}
    return compare_all(run, planted, folder)


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(1.0, id="large updates", marks=pytest.mark.thorough),
        pytest.param(0.05, id="small updates", marks=pytest.mark.thorough),
    ],
)
def with_imatrix(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, StageComparison]:
    """A correct and a faulty file whose quantizer had an importance matrix."""
    folder = tmp_path_factory.mktemp("imatrix")
    run = tiny_run("llama3", folder / "run", quantizations=("F16",))
    weighted = {"merging": MergingSpec(weight=request.param)}
    run.write_project(run.load_project().model_copy(update=weighted))
    merge.merge(run, recorded_job()[0])
    return compare_all(run, plant_with_imatrix(write_files(run, folder), folder), folder)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "named"), [pytest.param(f[0], f[3], id=f[0]) for f in FAULTS])
def test_planted_fault_in_gguf_file_is_named(
    name: str, named: str, comparisons: dict[str, StageComparison]
) -> None:
    faults = comparisons[name].faults
    assert any(named in str(fault) for fault in faults), faults


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["F16", "Q8_0", "Q4_K_M"])
def test_correct_file_has_no_fault(kind: str, comparisons: dict[str, StageComparison]) -> None:
    assert comparisons[kind].faults == ()
    assert comparisons[kind].is_exact
    assert "tensors and" in str(comparisons[kind].compared)


@pytest.mark.slow
def test_correct_file_with_imatrix_has_no_fault(with_imatrix: dict[str, StageComparison]) -> None:
    assert with_imatrix["correct"].faults == ()
    assert not with_imatrix["correct"].is_exact


@pytest.mark.slow
def test_base_tensor_with_imatrix_is_named(with_imatrix: dict[str, StageComparison]) -> None:
    faults = [str(fault) for fault in with_imatrix["base tensor"].faults]
    assert faults == [f"{UP} is still the base model's, without the adapter"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "named"), [pytest.param(f[0], f[2], id=f[0]) for f in WITH_IMATRIX]
)
def test_fault_of_file_with_imatrix_is_named(
    name: str, named: str, with_imatrix: dict[str, StageComparison]
) -> None:
    faults = [str(fault) for fault in with_imatrix[name].faults]
    assert len(faults) == 1
    assert named in faults[0]


@pytest.mark.slow
def test_one_fault_names_one_tensor(comparisons: dict[str, StageComparison]) -> None:
    for name in ("base tensor in Q8_0", "rows reversed", "rotary order", "other tensor"):
        assert len(comparisons[name].faults) == 1, comparisons[name].faults
