"""The real Ollama server that the export tests talk to: it comes up, keeps models, and goes away."""

from __future__ import annotations

import json
import os
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import gguf
import numpy as np
import ollama
import pytest

from tests.helpers.real_ollama import VERSION, Server, install, running_server

pytestmark = pytest.mark.slow

TEMPLATE = (
    "{{ if .System }}[sys] {{ .System }}\n{{ end }}[ask] {{ .Prompt }}\n[say] {{ .Response }}"
)


@pytest.fixture(scope="module")
def program() -> Path:
    found = install()
    if isinstance(found, str):
        pytest.skip(found)
    return found


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
    """A Llama GGUF of one layer, 8 wide, with a vocabulary of 4 tokens."""
    path = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(1)
    writer.add_context_length(64)
    writer.add_embedding_length(8)
    writer.add_feed_forward_length(16)
    writer.add_head_count(2)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(4)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(["<unk>", "<s>", "</s>", "a"])
    writer.add_token_scores([0.0, 0.0, 0.0, -1.0])
    writer.add_token_types([2, 3, 3, 1])
    shapes = {
        "token_embd.weight": (4, 8),
        "blk.0.attn_norm.weight": (8,),
        "blk.0.attn_q.weight": (8, 8),
        "blk.0.attn_k.weight": (8, 8),
        "blk.0.attn_v.weight": (8, 8),
        "blk.0.attn_output.weight": (8, 8),
        "blk.0.ffn_norm.weight": (8,),
        "blk.0.ffn_gate.weight": (16, 8),
        "blk.0.ffn_up.weight": (16, 8),
        "blk.0.ffn_down.weight": (8, 16),
        "output_norm.weight": (8,),
    }
    generator = np.random.default_rng(0)
    for name, shape in shapes.items():
        writer.add_tensor(name, generator.standard_normal(shape, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_the_server_answers_with_its_version(server: Server) -> None:
    with urllib.request.urlopen(f"{server.host}/api/version") as answer:
        assert json.load(answer) == {"version": VERSION}


def test_a_model_is_created_shown_and_deleted(client: ollama.Client, tiny_model: Path) -> None:
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
    assert shown.modelinfo["llama.embedding_length"] == 8
    lines = {tuple(line.split(maxsplit=1)) for line in (shown.parameters or "").splitlines()}
    assert lines == {("stop", '"[ask]"'), ("temperature", "0.25")}
    assert [model.model for model in client.list().models] == ["tiny:latest"]

    client.delete("tiny")
    assert client.list().models == []
    with pytest.raises(ollama.ResponseError) as refusal:
        client.show("tiny")
    assert refusal.value.status_code == 404


def test_no_process_and_no_model_store_is_left_behind(program: Path) -> None:
    with running_server(program) as running:
        os.kill(running.pid, 0)
        assert running.models.is_dir()
    with pytest.raises(ProcessLookupError):
        os.kill(running.pid, 0)
    assert not running.models.exists()
