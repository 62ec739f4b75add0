"""Requests to a served model that can be copied, and which file and runs are served."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path

import pytest

from lora_studio.core import serving
from lora_studio.core.export import ExportSpec
from lora_studio.core.model.spec import ModelSpec
from lora_studio.core.project.project import Project
from lora_studio.core.protocol.chat import ServedAdapter, ServerReady
from lora_studio.core.runs import folder
from lora_studio.core.runs.folder import RunFolder

READY = ServerReady(
    address="http://127.0.0.1:8080", model="Pim's \"bot\"", file="base.gguf", program="llama-server",
    adapters=(ServedAdapter(id=0, name="a", scale=1.0), ServedAdapter(id=1, name="b", scale=0.5)),
)  # fmt: skip


def create_run(tmp_path: Path, model: str = "/models/pim", *files: str) -> RunFolder:
    project = Project(
        name="bot", model=ModelSpec(source=model), export=ExportSpec(quantizations=("Q8_0", "F16"))
    )
    run = folder.create_run(tmp_path, project, tmp_path)
    run.gguf.mkdir()
    for name in files:
        (run.gguf / name).write_bytes(b"GGUF")
    return run


@pytest.mark.skipif(sys.platform == "win32", reason="quoted for cmd.exe there")
def test_curl_command_has_the_scale_of_every_adapter() -> None:
    program, address, *_, body = shlex.split(serving.format_curl(READY))
    assert (program, address) == ("curl", "http://127.0.0.1:8080/v1/chat/completions")
    parsed = json.loads(body)
    assert parsed["model"] == READY.model
    assert parsed["lora"] == [{"id": 0, "scale": 1.0}, {"id": 1, "scale": 0.5}]


@pytest.mark.skipif(sys.platform == "win32", reason="quoted for cmd.exe there")
def test_requests_to_an_embedding_model_ask_for_vectors() -> None:
    ready = READY.model_copy(update={"adapters": (), "embeds": True})
    _, address, *_, body = shlex.split(serving.format_curl(ready))
    assert address == "http://127.0.0.1:8080/v1/embeddings"
    assert json.loads(body).keys() == {"model", "input"}
    code = serving.format_python(ready)
    compile(code, "request.py", "exec")
    assert "client.embeddings.create" in code
    _, address, *_, body = shlex.split(serving.format_ollama_embed_curl("http://pim:11434", "bot"))
    assert (address, json.loads(body)["model"]) == ("http://pim:11434/api/embed", "bot")


@pytest.mark.skipif(sys.platform == "win32", reason="quoted for cmd.exe there")
@pytest.mark.parametrize("embeds", [False, True])
def test_requests_have_the_key(embeds: bool) -> None:
    ready = READY.model_copy(update={"key": "a-b_c", "embeds": embeds})
    assert "Authorization: Bearer a-b_c" in shlex.split(serving.format_curl(ready))
    assert 'api_key="a-b_c"' in serving.format_python(ready)


def test_python_code_compiles_and_has_scales_only_with_adapters() -> None:
    code = serving.format_python(READY)
    compile(code, "request.py", "exec")
    assert '"scale": 0.5' in code
    merged = serving.format_python(READY.model_copy(update={"adapters": ()}))
    compile(merged, "request.py", "exec")
    assert "lora" not in merged


@pytest.mark.parametrize(
    ("files", "chosen"),
    [
        pytest.param((), None, id="no file"),
        pytest.param(("bot-adapter.gguf",), None, id="adapter only"),
        pytest.param(("bot-F16.gguf", "bot-Q8_0.gguf"), "bot-Q8_0.gguf", id="first quantization"),
        pytest.param(("bot-F16.gguf",), "bot-F16.gguf", id="only one"),
        pytest.param(("other-Q4_0.gguf",), "other-Q4_0.gguf", id="imported"),
    ],
)
def test_gguf_file_to_serve_is_the_first_quantization(
    tmp_path: Path, files: tuple[str, ...], chosen: str | None
) -> None:
    file = serving.choose_gguf_file(create_run(tmp_path, "/models/pim", *files))
    assert (file and file.name) == chosen


def test_runs_of_another_base_model_are_not_offered(tmp_path: Path) -> None:
    runs = [create_run(tmp_path, model) for model in ("/models/pim", "/models/pim", "/models/x")]
    for run in runs:
        run.adapter.mkdir()
        (run.adapter / "adapter_config.json").write_text("{}")
        run.events_file.write_text("")
    options = list(serving.iter_runs_of_base(tmp_path, runs[0].path))
    assert {option.path for option in options} == {runs[0].path, runs[1].path}
