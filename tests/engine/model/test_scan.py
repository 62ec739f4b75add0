"""Models on this computer: their details, and why some can't be a base model."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import ModelInfo

from lora_studio.core.model.catalog import ModelEntry, ModelLocation, explain_refusal
from lora_studio.core.model.spec import classify_source
from lora_studio.engine.hub.account import to_model_entry
from lora_studio.engine.model import from_gguf, gguf_header
from lora_studio.engine.model import scan as model_scan
from tests.engine.conftest import TinyModel
from tests.helpers.models.tiny_models import write_config
from tests.helpers.runs.jobs import recorded_job


def scan(location: ModelLocation, *folders: Path) -> dict[str, ModelEntry]:
    """Return the found models by title."""
    job, _ = recorded_job()
    return {entry.title: entry for entry in model_scan.scan_models(location, folders, job)}


def tiny_gguf(file: Path, architecture: str = "llama", **values: object) -> Path:
    """Write a GGUF file with two small tensors and a vocabulary of three tokens."""
    import gguf

    file.parent.mkdir(parents=True, exist_ok=True)
    writer = gguf.GGUFWriter(file, architecture)
    writer.add_block_count(2)
    writer.add_embedding_length(64)
    writer.add_context_length(512)
    writer.add_token_list(["a", "bc", "def"])
    writer.add_license("mit")
    writer.add_file_type(15)
    for key, value in values.items():
        writer.add_uint16(key.replace("_", "."), int(str(value)))
    writer.add_tensor("blk.0.attn_q.weight", np.zeros((64, 32), np.float32))
    writer.add_tensor("token_embd.weight", np.zeros((3, 64), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def test_folder_scan_reports_parameters_format_and_size(tiny: TinyModel, tmp_path: Path) -> None:
    shutil.copytree(tiny("llama3"), tmp_path / "org" / "llama")
    (tmp_path / "org" / "llama" / "README.md").write_text("---\nlicense: mit\n---\n")
    result = scan("folder", tmp_path)["org/llama"]
    assert result.is_usable
    assert result.architecture == "LlamaForCausalLM"
    assert (result.stored, result.license, result.outline.layers) == ("bf16", "mit", 2)
    assert result.parameters is not None
    assert result.bytes is not None
    assert abs(result.bytes - 2 * result.parameters) < 10_000  # plus the header
    assert result.outline.vocabulary > 0


@pytest.mark.parametrize(
    ("architecture", "why"),
    [
        ("BertForMaskedLM", "encoder"),
        ("XLMRobertaForSequenceClassification", "encoder"),
        ("ViTForImageClassification", "vision"),
        ("CLIPModel", "vision"),
        ("T5ForConditionalGeneration", "encoder-decoder"),
        ("WhisperForConditionalGeneration", "speech"),
    ],
)
def test_non_text_model_is_listed_with_a_reason(
    tiny: TinyModel, tmp_path: Path, architecture: str, why: str
) -> None:
    folder = Path(shutil.copytree(tiny("llama3"), tmp_path / "model"))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"architectures": [architecture]}))
    assert why in str(scan("folder", tmp_path)["model"].refusal)


@pytest.mark.parametrize(
    "architecture",
    ["LlamaForCausalLM", "GPT2LMHeadModel", "Gemma3ForConditionalGeneration", "SomethingNew"],
)
def test_text_model_is_not_refused_by_architecture_name(architecture: str) -> None:
    assert not explain_refusal([architecture])


@pytest.mark.parametrize(
    ("method", "is_usable"), [("gptq", False), ("awq", False), ("bitsandbytes", True)]
)
def test_quantization_that_cannot_be_trained_is_named(
    tiny: TinyModel, tmp_path: Path, method: str, is_usable: bool
) -> None:
    folder = Path(shutil.copytree(tiny("llama3"), tmp_path / "model"))
    settings = {"quant_method": method, "bits": 4}
    write_config(folder, quantization_config=settings)
    listed = to_model_entry(ModelInfo(id="a/b", config={"quantization_config": settings}))
    for entry in (scan("folder", tmp_path)["model"], listed):
        assert entry.is_usable == is_usable
        assert (method.upper() in str(entry.refusal)) != is_usable


def test_pickles_and_missing_files_are_reported(tiny: TinyModel, tmp_path: Path) -> None:
    pickled = Path(shutil.copytree(tiny("llama3"), tmp_path / "pickled"))
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    torn = Path(shutil.copytree(tiny("llama3"), tmp_path / "torn"))
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    (torn / "model.safetensors.index.json").write_text(json.dumps(index))
    (torn / "model.safetensors").rename(torn / "model-1.safetensors")
    result = scan("folder", tmp_path)
    assert "pickles" in str(result["pickled"].refusal)
    assert result["torn"].missing == 1
    assert not result["torn"].refusal


def test_gguf_files_report_their_header(tmp_path: Path) -> None:
    tiny_gguf(tmp_path / "good.gguf")
    tiny_gguf(tmp_path / "bert.gguf", "bert")
    tiny_gguf(tmp_path / "part.gguf", split_count=3)
    tiny_gguf(tmp_path / "mmproj-x.gguf", "clip")
    (tmp_path / "broken.gguf").write_bytes(b"GGUF" + bytes(5))
    result = scan("folder", tmp_path)
    good = result["good.gguf"]
    assert (good.parameters, good.stored, good.license) == (64 * 32 + 3 * 64, "Q4_K_M", "mit")
    assert (good.outline.layers, good.outline.context, good.outline.vocabulary) == (2, 512, 3)
    assert "bert" in str(result["bert.gguf"].refusal)
    assert "split file" in str(result["part.gguf"].refusal)
    assert "middle of its header" in str(result["broken.gguf"].refusal)
    assert "mmproj-x.gguf" not in result


def test_usable_gguf_architectures_are_those_we_can_unpack() -> None:
    assert sorted(gguf_header.TRAINABLE) == from_gguf.list_architectures()


def test_ollama_models_are_listed_from_manifests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = "sha256-" + "ab" * 32
    tiny_gguf(tmp_path / "made.gguf").rename(_in(tmp_path / "models/blobs") / digest)
    kinds = {"model": digest.replace("-", ":"), "template": "sha256:00"}
    library = tmp_path / "models/manifests/registry.ollama.ai/library"
    own = tmp_path / "models/manifests/registry.ollama.ai/pim"
    _manifest(library / "llama" / "1b", kinds)
    _manifest(own / "harbour" / "latest", kinds | {"adapter": "sha256:01"})
    (library / "llama" / "torn").write_text("{")
    monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path / "models"))
    result = scan("ollama")
    assert result.keys() == {"llama:1b", "pim/harbour:latest", "llama:torn"}
    assert "manifest is damaged" in str(result["llama:torn"].refusal)
    assert result["llama:1b"].is_usable
    assert classify_source(result["llama:1b"].source) == "gguf"
    assert "adapter" in str(result["pim/harbour:latest"].refusal)


def _in(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


def _manifest(file: Path, kinds: dict[str, str]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    layers = [
        {"mediaType": f"application/vnd.ollama.image.{kind}", "digest": digest}
        for kind, digest in kinds.items()
    ]
    file.write_text(json.dumps({"layers": layers}))


def test_lm_studio_models_are_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_gguf(tmp_path / ".lmstudio/models/someone/Model-GGUF/model-Q4_K_M.gguf")
    monkeypatch.setenv("HOME", str(tmp_path))
    result = scan("lm_studio")
    assert result["model-Q4_K_M.gguf"].is_usable


def test_scanning_imports_neither_torch_nor_transformers(tmp_path: Path) -> None:
    tiny_gguf(tmp_path / "good.gguf")
    script = (
        "import sys; from pathlib import Path; from lora_studio.engine.model import scan as model_scan;"
        "from tests.helpers.runs.jobs import recorded_job;"
        "print(len(model_scan.scan_models('folder', [Path(sys.argv[1])], recorded_job()[0])),"
        "'torch' in sys.modules, 'transformers' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        capture_output=True, text=True, check=True, env=os.environ | {"PYTHONPATH": str(Path.cwd())},
    )  # fmt: skip
    assert done.stdout.split() == ["1", "False", "False"]


def test_header_with_large_vocabulary_is_read_within_a_second(tmp_path: Path) -> None:
    import gguf

    file = tmp_path / "large.gguf"
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_token_list([f"token {index}" for index in range(50_000)])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    began = time.process_time()
    assert gguf_header.read(file).vocabulary == 50_000
    assert time.process_time() - began < 1.0
