"""NaN and infinite values never reach a GGUF file: the tensor is named while it is written."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from lora_studio.core.problems import Problem, ProblemError
from lora_studio.engine.export.gguf import converter, quantizer
from lora_studio.engine.export.gguf.converter import FirstPass
from lora_studio.engine.export.gguf.converter_program import CheckedTensor, require_finite
from lora_studio.engine.export.gguf.tensor_comparison import BF16, F16, F32
from lora_studio.engine.model.safetensors_files import SINGLE
from tests.helpers.models.llama_cpp_folder import llama_cpp_folder
from tests.helpers.models.tiny_models import tiny_model
from tests.helpers.runs.recorded_job import recorded_job

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


def test_delayed_tensor_is_computed_once_when_it_is_written(tmp_path: Path) -> None:
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    computed: list[np.ndarray] = []

    def compute(tensor: np.ndarray) -> np.ndarray:
        computed.append(tensor + 1)
        return computed[-1]

    checked = CheckedTensor("norm", SimpleNamespace(dtype=F32, tensor=values), compute)
    assert checked.nbytes == 24
    assert not computed
    with (tmp_path / "tensor").open("wb") as file:
        checked.tofile(file)
    assert (tmp_path / "tensor").read_bytes() == (values + 1).tobytes()
    assert len(computed) == 1


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
