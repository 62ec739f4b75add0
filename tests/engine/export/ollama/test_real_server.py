"""The real Ollama server that the export tests use: it starts, stores models, and stops cleanly."""

from __future__ import annotations

import json
import os
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import ollama
import pytest

from lora_studio.engine.export.ollama.server import unload_afterwards
from tests.helpers.models import tiny_gguf
from tests.helpers.servers.real_ollama import VERSION, Server, install, running_server

pytestmark = pytest.mark.slow

TEMPLATE = (
    "{{ if .System }}[sys] {{ .System }}\n{{ end }}[ask] {{ .Prompt }}\n[say] {{ .Response }}"
)


@pytest.fixture(scope="module")
def program() -> Path:
    path = install()
    if isinstance(path, str):
        pytest.skip(path)
    return path


@pytest.fixture(scope="module")
def server(program: Path) -> Iterator[Server]:
    with running_server(program) as running:
        yield running


@pytest.fixture
def client(server: Server) -> Iterator[ollama.Client]:
    with ollama.Client(server.host) as client:
        yield client


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_gguf.write(tmp_path_factory.mktemp("gguf") / "tiny.gguf")


def test_server_answers_with_its_version(server: Server) -> None:
    with urllib.request.urlopen(f"{server.host}/api/version") as answer:
        assert json.load(answer) == {"version": VERSION}


def test_model_is_created_shown_and_deleted(client: ollama.Client, tiny_model: Path) -> None:
    digest = client.create_blob(tiny_model)
    created = client.create(
        model="tiny",
        files={tiny_model.name: digest},
        template=TEMPLATE,
        parameters={"stop": ["[ask]"], "temperature": 0.25},
    )
    assert created.status == "success"

    shown = client.show("tiny")
    assert shown.template == TEMPLATE
    assert shown.details is not None
    assert (shown.details.format, shown.details.family) == ("gguf", "llama")
    assert shown.modelinfo is not None
    assert shown.modelinfo["llama.embedding_length"] == tiny_gguf.WIDTH
    lines = {tuple(line.split(maxsplit=1)) for line in (shown.parameters or "").splitlines()}
    assert lines == {("stop", '"[ask]"'), ("temperature", "0.25")}
    assert [model.model for model in client.list().models] == ["tiny:latest"]

    client.delete("tiny")
    assert client.list().models == []
    with pytest.raises(ollama.ResponseError) as refusal:
        client.show("tiny")
    assert refusal.value.status_code == 404


def test_model_that_answered_is_unloaded(client: ollama.Client, server: Server) -> None:
    gguf = tiny_gguf.write(server.models.parent / "tiny.gguf")
    client.create(model="tiny", files={gguf.name: client.create_blob(gguf)}, template=TEMPLATE)
    with unload_afterwards(server.host, "tiny"):
        client.generate("tiny", "Hello", options={"num_predict": 1})
        assert [model.name for model in client.ps().models] == ["tiny:latest"]
    assert client.ps().models == []
    client.delete("tiny")


def test_stopped_server_leaves_no_process_and_no_model_store(program: Path) -> None:
    with running_server(program) as running:
        os.kill(running.pid, 0)
        assert running.models.is_dir()
    with pytest.raises(ProcessLookupError):
        os.kill(running.pid, 0)
    assert not running.models.exists()
