"""The importance matrix: measured by llama.cpp, checked against torch on the same tokens."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from lora_studio.core.problems import ProblemError
from lora_studio.engine.export.gguf import conversion, imatrix
from lora_studio.engine.runtime.failures import CancelledError
from tests.helpers.models.llama_cpp_folder import llama_cpp_folder
from tests.helpers.models.tiny_models import tiny_model
from tests.helpers.runs.jobs import recorded_job

#: llama.cpp's tensor name -> the module in transformers.
_LINEAR = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def conversations(count: int = 6, length: int = 40) -> list[list[int]]:
    dice = np.random.default_rng(3)
    return dice.integers(10, 400, size=(count, length)).tolist()


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A folder by family, with the model and its F32 file."""
    folder = tmp_path_factory.mktemp("imatrix")
    own = str(llama_cpp_folder(folder / "llama.cpp"))
    folders = {}
    for family in ("llama3", "qwen3_moe"):
        model = tiny_model(family, folder / family, stored="float32")
        conversion.convert(
            model, folder / f"{family}.gguf", family, own, recorded_job()[0], kind="F32"
        )
        folders[family] = folder
    return folders


def hooked(model: Path, names: dict[str, str]) -> dict[str, np.ndarray]:
    """Return the sums of squared inputs of each module, measured with transformers in 64 bits."""
    network = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()
    sums: dict[str, np.ndarray] = {}

    def hook(name: str):  # type: ignore[no-untyped-def]  # a closure over one name
        def add(_module, inputs) -> None:  # type: ignore[no-untyped-def]  # torch's own signature
            values = inputs[0].detach().double().reshape(-1, inputs[0].shape[-1]).numpy()
            sums[name] = sums.get(name, 0) + np.square(values).sum(0)

        return add

    for layer, block in enumerate(network.model.layers):
        for short, path in names.items():
            block.get_submodule(path).register_forward_pre_hook(hook(f"blk.{layer}.{short}.weight"))
    with torch.inference_mode():
        for ids in conversations():
            network(input_ids=torch.tensor([ids]))
    return sums


@pytest.mark.slow
def test_sums_of_squares_match_torch_activations(converted: dict[str, Path]) -> None:
    folder = converted["llama3"]
    measured = imatrix.measure(folder / "llama3.gguf", conversations(), recorded_job()[0])
    expected = hooked(folder / "llama3", _LINEAR)
    assert measured.keys() == expected.keys()
    for name, values in expected.items():
        assert measured[name].counts.tolist() == [240]
        np.testing.assert_allclose(measured[name].squares[0], values, rtol=2e-3, err_msg=name)


@pytest.mark.slow
def test_expert_sums_cover_only_its_routed_tokens(converted: dict[str, Path]) -> None:
    folder = converted["qwen3_moe"]
    measured = imatrix.measure(folder / "qwen3_moe.gguf", conversations(), recorded_job()[0])
    routed = {name: sums for name, sums in measured.items() if "_exps" in name}
    assert len(routed) == 6  # gate, up and down of two layers
    for name, sums in routed.items():
        assert sums.squares.shape == (4, 32 if "down" in name else 64)
        assert sums.counts.sum() == 240 * 2, name  # two experts for each token
    # Together, the experts see each token twice, with the same input.
    dense = hooked(folder / "qwen3_moe", {"ffn_gate_exps": "mlp"})
    for name, values in dense.items():
        np.testing.assert_allclose(routed[name].squares.sum(0), 2 * values, rtol=2e-3)
        gate, up = routed[name], routed[name.replace("gate", "up")]
        np.testing.assert_allclose(gate.squares, up.squares)


@pytest.mark.slow
def test_cancel_stops_measuring(converted: dict[str, Path]) -> None:
    job, recorder = recorded_job()
    recorder.on_event = lambda event: job.flags.cancel.set()
    with pytest.raises(CancelledError):
        imatrix.measure(converted["llama3"] / "llama3.gguf", conversations(), job)


def test_written_matrix_reads_as_means_and_ones_if_unused(
    tmp_path: Path,
) -> None:
    squares = np.array([[8.0, 2.0, 4.0], [0.0, 0.0, 0.0]])
    sums = {"blk.0.ffn_up_exps.weight": imatrix.ActivationSums(squares, np.array([4, 0]))}
    imatrix.write(sums, tmp_path / "imatrix.gguf", "rows.jsonl")
    (values,) = imatrix.read(tmp_path / "imatrix.gguf").values()
    assert values.dtype == np.float32
    assert values.tolist() == [2.0, 0.5, 1.0, 1.0, 1.0, 1.0]


def test_spread_samples_all_conversations_evenly() -> None:
    rows = [[number] * 10 for number in range(1000)]
    taken = imatrix.select_evenly(rows, 200)
    assert [row[0] for row in taken][:3] == [0, 53, 105]
    assert taken[-1] == rows[-1]
    assert sum(map(len, taken)) == 200
    assert imatrix.select_evenly(rows[:3], 200) == rows[:3]


def test_measuring_without_long_conversations_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ProblemError) as caught:
        imatrix.measure(tmp_path / "none.gguf", [[1, 2, 3]], recorded_job()[0])
    assert caught.value.problems[0].code == "imatrix.no_data"
