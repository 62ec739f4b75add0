"""Models found on this computer: what is said of each, and why some cannot be a base."""

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

from lora_studio.core.model.catalog import ModelEntry, Place, refusal_of
from lora_studio.core.model.spec import source_kind
from lora_studio.engine.model import from_gguf, gguf_header
from lora_studio.engine.model import scan as model_scan
from tests.engine.conftest import TinyModel
from tests.helpers.recorded_job import recorded_job


def scan(place: Place, *folders: Path) -> dict[str, ModelEntry]:
    """What is found, by title."""
    job, _ = recorded_job()
    return {entry.title: entry for entry in model_scan.scan_models(place, folders, job)}


def tiny_gguf(file: Path, architecture: str = "llama", **values: object) -> Path:
    """A GGUF file of two small tensors, whose vocabulary has three tokens."""
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


def test_a_folder_tells_parameters_format_and_size_of_each_model_in_it(
    tiny: TinyModel, tmp_path: Path
) -> None:
    shutil.copytree(tiny("llama3"), tmp_path / "org" / "llama")
    (tmp_path / "org" / "llama" / "README.md").write_text("---\nlicense: mit\n---\n")
    found = scan("folder", tmp_path)["org/llama"]
    assert found.usable
    assert found.architecture == "LlamaForCausalLM"
    assert (found.stored, found.licence, found.outline.layers) == ("bf16", "mit", 2)
    assert found.parameters is not None
    assert found.bytes is not None
    assert abs(found.bytes - 2 * found.parameters) < 10_000  # but for the header
    assert found.outline.vocabulary > 0


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
def test_a_model_that_does_not_write_text_is_listed_with_the_reason(
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
def test_a_model_that_may_write_text_is_not_refused_by_its_name(architecture: str) -> None:
    assert not refusal_of([architecture])


def test_pickles_and_missing_files_are_told(tiny: TinyModel, tmp_path: Path) -> None:
    pickled = Path(shutil.copytree(tiny("llama3"), tmp_path / "pickled"))
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    torn = Path(shutil.copytree(tiny("llama3"), tmp_path / "torn"))
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    (torn / "model.safetensors.index.json").write_text(json.dumps(index))
    (torn / "model.safetensors").rename(torn / "model-1.safetensors")
    found = scan("folder", tmp_path)
    assert "pickles" in str(found["pickled"].refusal)
    assert found["torn"].missing == 1
    assert not found["torn"].refusal


def test_gguf_files_tell_what_their_header_says(tmp_path: Path) -> None:
    tiny_gguf(tmp_path / "good.gguf")
    tiny_gguf(tmp_path / "bert.gguf", "bert")
    tiny_gguf(tmp_path / "part.gguf", split_count=3)
    tiny_gguf(tmp_path / "mmproj-x.gguf", "clip")
    (tmp_path / "broken.gguf").write_bytes(b"GGUF" + bytes(5))
    found = scan("folder", tmp_path)
    good = found["good.gguf"]
    assert (good.parameters, good.stored, good.licence) == (64 * 32 + 3 * 64, "Q4_K_M", "mit")
    assert (good.outline.layers, good.outline.context, good.outline.vocabulary) == (2, 512, 3)
    assert "bert" in str(found["bert.gguf"].refusal)
    assert "split file" in str(found["part.gguf"].refusal)
    assert "middle of its header" in str(found["broken.gguf"].refusal)
    assert "mmproj-x.gguf" not in found


def test_what_can_be_unpacked_is_what_the_list_calls_usable() -> None:
    assert sorted(gguf_header.TRAINABLE) == from_gguf.architectures()


def test_models_of_ollama_are_found_by_its_manifests(
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
    found = scan("ollama")
    assert found.keys() == {"llama:1b", "pim/harbour:latest"}
    assert found["llama:1b"].usable
    assert source_kind(found["llama:1b"].source) == "gguf"
    assert "adapter" in str(found["pim/harbour:latest"].refusal)


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


def test_models_of_lm_studio_are_found_under_their_publisher(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_gguf(tmp_path / ".lmstudio/models/someone/Model-GGUF/model-Q4_K_M.gguf")
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    found = scan("lm_studio")
    assert found["model-Q4_K_M.gguf"].usable


def test_looking_imports_neither_torch_nor_transformers(tmp_path: Path) -> None:
    tiny_gguf(tmp_path / "good.gguf")
    script = (
        "import sys; from pathlib import Path; from lora_studio.engine.model import scan as model_scan;"
        "from tests.helpers.recorded_job import recorded_job;"
        "print(len(model_scan.scan_models('folder', [Path(sys.argv[1])], recorded_job()[0])),"
        "'torch' in sys.modules, 'transformers' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        capture_output=True, text=True, check=True, env=os.environ | {"PYTHONPATH": str(Path.cwd())},
    )  # fmt: skip
    assert done.stdout.split() == ["1", "False", "False"]


def test_a_header_with_a_large_vocabulary_takes_no_second(tmp_path: Path) -> None:
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
