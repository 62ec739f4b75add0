"""The encoders of images as a GGUF file: its values are the model's, and a planted fault is named."""

from __future__ import annotations

from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from lora_studio.core.problems import ProblemError
from lora_studio.engine.export.gguf import projector
from tests.helpers.models.architectures import write_architecture
from tests.helpers.models.llama_cpp_folder import llama_cpp_folder
from tests.helpers.models.tiny_models import tiny_model
from tests.helpers.runs.jobs import recorded_job


@pytest.fixture(scope="module")
def smolvlm(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return the folder of a multimodal model and its projector file."""
    folder = tmp_path_factory.mktemp("smolvlm")
    model, target = write_architecture("smolvlm", folder / "model"), folder / "projector.gguf"
    tools = llama_cpp_folder(folder / "llama.cpp")
    assert projector.write_projector(model, target, "Pim", str(tools), recorded_job()[0])
    return model, target


def test_values_are_those_of_the_model(smolvlm: tuple[Path, Path]) -> None:
    assert projector.list_different_tensors(*smolvlm, recorded_job()[0]) == []


@pytest.mark.parametrize(
    "weight",
    [
        "model.vision_model.encoder.layers.1.mlp.fc1.weight",
        "model.connector.modality_projection.proj.weight",
    ],
)
def test_planted_fault_is_named(weight: str, smolvlm: tuple[Path, Path], tmp_path: Path) -> None:
    model, target = smolvlm
    weights = load_file(model / "model.safetensors")
    weights[weight][0, 0] += 0.5
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    assert len(projector.list_different_tensors(tmp_path, target, recorded_job()[0])) == 1


def test_other_projector_is_refused(
    smolvlm: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, _ = smolvlm
    other = write_architecture("smolvlm", tmp_path / "other", seed=2)
    convert = projector.convert
    monkeypatch.setattr(
        projector, "convert", lambda _, *rest, **named: convert(other, *rest, **named)
    )
    tools = llama_cpp_folder(tmp_path / "llama.cpp")
    with pytest.raises(ProblemError, match="differs from the model"):
        projector.write_projector(model, tmp_path / "x.gguf", "Pim", str(tools), recorded_job()[0])


def test_language_model_has_none(tmp_path: Path) -> None:
    model = tiny_model("qwen3", tmp_path / "model")
    assert not projector.write_projector(model, tmp_path / "x.gguf", "Pim", "", recorded_job()[0])
