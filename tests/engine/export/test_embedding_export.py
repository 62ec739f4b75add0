"""GGUF files of an embedding model: they pool, add the end token, and give the trained vectors."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gguf import GGUFReader

from lora_studio.core.model.embedding_files import EmbeddingOutput, write_modules
from lora_studio.core.model.spec import ModelSpec
from lora_studio.core.protocol import commands, events
from lora_studio.core.protocol.chat import ServedRun
from lora_studio.core.runs.folder import RunFolder
from lora_studio.engine.export.gguf import converter_program
from lora_studio.engine.export.gguf.converter import convert
from lora_studio.engine.model import gguf_header
from lora_studio.engine.model.loading import load_tokenizer
from lora_studio.engine.model.sources import resolve_intact
from lora_studio.engine.runtime import llama_cpp
from lora_studio.engine.runtime.llama_cpp import EmbeddingLlama
from lora_studio.engine.selftest.judging import StageComparison
from lora_studio.engine.selftest.selftest import VectorComparer
from lora_studio.engine.tasks.embedding import append_end_token
from tests.engine.export.serving.test_server import on_path, post, serve_until
from tests.engine.training.test_train_run import Start, start
from tests.helpers.models.llama_cpp_folder import llama_cpp_folder
from tests.helpers.runs.jobs import RecordingChannel, handle, make_job, train, write_rows
from tests.helpers.servers import llama_server
from tests.helpers.servers.ollama_server import FakeOllama, fake_ollama

__all__ = ["start"]


@pytest.fixture
def ollama(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeOllama]:
    monkeypatch.delenv("OLLAMA_HOST", raising=False)
    with fake_ollama() as server:
        yield server


WORDS = ["oak", "elm", "fig", "ash", "yew", "bay", "box", "fir", "gum", "ivy"]
ROWS = [
    {"query": f"Where is the {word}?", "positive": f"The {word} is in garden {n}."}
    for n, word in enumerate(WORDS * 2)
]


def make_run(start: Start, folder: Path, host: str = "", **training: Any) -> RunFolder:
    rows = write_rows(folder / "pairs.jsonl", ROWS)
    run = start(
        rows=rows,
        dataset={"validation_share": 0.3},
        training={"epochs": 1, "micro_batch": 8, "sample_rows": 0, **training},
        export={
            "quantizations": ["Q8_0"],
            "ollama_create": bool(host),
            "ollama_host": host,
            "llama_cpp": str(llama_cpp_folder(folder / "llama.cpp")),
        },
    )
    train(run)
    return run


def change_header(file: Path, target: Path, **values: int) -> Path:
    """Copy a GGUF file with other values of single fields."""
    shutil.copyfile(file, target)
    reader = GGUFReader(target, "r+")
    for name, value in values.items():
        field = next(each for key, each in reader.fields.items() if key.endswith(name))
        field.parts[field.data[0]][0] = value
    reader.data.flush()
    return target


def expect_same_vectors_in_ollama(
    exported: RecordingChannel, run: RunFolder, ollama: FakeOllama
) -> None:
    proof = exported.last(events.OllamaCreated).vectors
    assert proof is not None
    assert proof.is_proven
    assert (proof.compared, round(proof.least, 3)) == (12, 1.0)
    (model,) = ollama.models.values()
    assert (model["template"], model["parameters"]) == ("", {"num_ctx": 4096})

    again = commands.CreateOllama(run=str(run.path), quantization="Q8_0", force=True)
    ollama.faults.rewrites = lambda content: f"{content} Thanks!"
    failed = handle(again).last(events.Failed)
    assert failed.problem.code == "ollama.other_vectors"
    ollama.faults.chat_error = "no GPU"
    unasked = handle(again).last(events.OllamaCreated).vectors
    assert unasked is not None
    assert "weren't compared: The Ollama server" in str(unasked.verdict)


def expect_same_vectors_from_llama_server(run: RunFolder, file: Path) -> None:
    """Compare the vectors of llama.cpp's real server, where it is on PATH, with those of the file."""
    texts = ["Where is the oak?", "The fig is in garden 2."]
    served: list[Any] = []

    def ask(ready: events.ServerReady) -> None:
        assert ready.embeds
        served.extend(post(ready, "/v1/embeddings", {"model": ready.model, "input": texts})["data"])

    command = commands.Serve(runs=(ServedRun(run=str(run.path)),), file=str(file))
    serve_until(events.ServerReady, command, ask)
    with EmbeddingLlama(file) as llama:
        for content, answer in zip(texts, served, strict=True):
            expected = llama.embed(llama.tokenize(content, add_special=True))
            assert answer["embedding"] == pytest.approx(expected, abs=1e-3)


@pytest.mark.slow
def test_files_pool_end_texts_and_give_trained_vectors(
    start: Start, ollama: FakeOllama, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(start, tmp_path, ollama.host)
    handle(commands.Merge(run=str(run.path)))
    channel = handle(commands.Export(run=str(run.path)))
    assert [(each.stage, each.verdict) for each in channel.of(events.SelfTested)] == [
        ("merged", "passed"), ("converted", "passed"), ("Q8_0", "passed"),
    ]  # fmt: skip
    tested = channel.last(events.SelfTested)
    assert (tested.similarity or 0) >= 0.99 > (tested.similarity_limit or 1)
    (file,) = run.gguf.glob("*.gguf")
    values = gguf_header.read(file).values
    assert (values["llama.pooling_type"], values["tokenizer.ggml.add_eos_token"]) == (3, True)
    assert not channel.of(events.TemplateDerived)
    assert run.modelfile.read_text() == f"FROM ./gguf/{file.name}\nPARAMETER num_ctx 4096\n"
    expect_same_vectors_in_ollama(channel, run, ollama)

    comparer = VectorComparer(run, run.load_project(), "last", make_job())
    for changed, fault in (
        ({"pooling_type": 1}, "it pools in another way"),
        ({"add_eos_token": 0}, "it splits texts into other tokens"),
    ):
        copy = change_header(file, tmp_path / "changed.gguf", **changed)
        failed = comparer.measure("Q8_0", copy, StageComparison())
        assert (failed.verdict, str(failed.faults[0])) == ("failed", fault)

    build = llama_server.install()
    if isinstance(build, str):
        pytest.skip(build)
    on_path(build.program, monkeypatch)
    expect_same_vectors_from_llama_server(run, file)


@pytest.mark.thorough
def test_mean_is_exported_without_a_merged_copy(start: Start, tmp_path: Path) -> None:
    run = make_run(start, tmp_path, pooling="mean")
    channel = handle(commands.Export(run=str(run.path)))
    assert [each.verdict for each in channel.of(events.SelfTested)] == ["passed", "passed"]
    (file,) = run.gguf.glob("*.gguf")
    assert gguf_header.read(file).values["llama.pooling_type"] == 1


@pytest.mark.slow
def test_tokenizer_with_end_token_is_recognized(tmp_path: Path) -> None:
    base = resolve_intact(ModelSpec(source="builtin:SmolLM2-135M-Instruct"), make_job())
    tokenizer = load_tokenizer(base)
    append_end_token(tokenizer)
    tokenizer.save_pretrained(str(tmp_path))
    shutil.copyfile(base / "config.json", tmp_path / "config.json")
    write_modules(tmp_path, EmbeddingOutput("mean", 576, 64))
    file = tmp_path / "vocabulary.gguf"
    convert(tmp_path, file, "test", "", make_job(), kind="F16", vocabulary_only=True)
    (ids,) = llama_cpp.tokenize_prompts(file, ["Where is it?"])
    assert ids == tokenizer("Where is it?").input_ids


def test_edges_are_those_of_the_tokenizer(tmp_path: Path) -> None:
    token, text = {"SpecialToken": {"id": "</s>"}}, {"Sequence": {"id": "A"}}
    adding = {"type": "TemplateProcessing", "single": [text, token]}
    processor = {"type": "Sequence", "processors": [{"type": "ByteLevel"}, adding]}
    (tmp_path / "tokenizer.json").write_text(json.dumps({"post_processor": processor}))
    assert converter_program.read_edges(tmp_path) == {"bos": False, "eos": True}
    (tmp_path / "tokenizer.json").write_text(json.dumps({"post_processor": None}))
    assert converter_program.read_edges(tmp_path) == {}
