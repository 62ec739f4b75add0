"""Adapters and chats on the command line, with real workers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

from lora_studio.core.project import project
from lora_studio.core.runs import folder as run_folder
from lora_studio.engine.model import safetensors_files
from tests.helpers.command_line import run_studio
from tests.helpers.models.tiny_models import random_adapter, tiny_model, write_config
from tests.helpers.runs.tiny_run import tiny_run

pytestmark = pytest.mark.end2end


def studio(*arguments: object, status: int = 0) -> str:
    result = run_studio(*arguments)
    assert result.returncode == status, result.stdout + result.stderr
    assert "Traceback" not in result.stdout + result.stderr
    return result.stdout + result.stderr if status else result.stdout


def test_adapters_from_library_can_be_merged_and_imported(tmp_path: Path) -> None:
    base = tiny_model("llama3", tmp_path / "base")
    one = random_adapter(base, tmp_path / "lib" / "one", seed=1)
    two = random_adapter(base, tmp_path / "lib" / "two", seed=2, r=8, target_modules=["q_proj"])
    project.create(tmp_path / "project", "Harbour", {"model": {"source": str(base)}}).save()

    listed = json.loads(studio("adapters", "list", tmp_path / "lib", "--json"))
    assert {facts["folder"] for facts in listed} == {str(one), str(two)}
    shown = json.loads(studio("adapters", "show", two, "--model", base, "--json"))
    assert shown["fit"]["fits"]
    assert all(layer["norm"] > 0 for layer in shown["adapter"]["layers"])
    other = tiny_model("phi3", tmp_path / "phi3")
    assert "doesn't fit" in studio("adapters", "show", two, "--model", other, status=1)

    mix = tmp_path / "lib" / "mix"
    studio("adapters", "combine", f"{one}=0.5", two, "--out", mix, "--method", "cat")
    ties = ("adapters", "combine", one, two, "--out", tmp_path / "no", "--method", "ties")
    assert "needs equal ranks" in studio(*ties, status=1)

    def merged(folder: Path, *arguments: object) -> dict[str, torch.Tensor]:
        out = studio("merge", *arguments, "--dtype", "fp32", "--json")
        kinds = [json.loads(line)["kind"] for line in out.splitlines()]
        assert kinds[-1] == "done"
        assert "shard_written" in kinds
        return load_file(folder / safetensors_files.SINGLE)

    apart = merged(
        tmp_path / "apart", "--base", base, "--adapter", f"{one}=0.5", "--adapter", two,
        "--out", tmp_path / "apart",
    )  # fmt: skip
    at_once = merged(
        tmp_path / "at_once", "--base", base, "--adapter", mix, "--out", tmp_path / "at_once"
    )
    for name, value in apart.items():
        torch.testing.assert_close(value, at_once[name], rtol=0, atol=1e-5)

    studio("import", tmp_path / "project", "--adapter", one)
    (run,) = run_folder.list_runs(tmp_path / "project" / "runs")
    plan: dict[str, Any] = json.loads(studio("merge", run.path, "--plan", "--json"))
    assert plan["by_peft"] is None
    assert not run.merged.exists()
    own = merged(run.merged, run.path, "--weight", 0.5, "--adapter", two)
    assert all(torch.equal(own[name], apart[name]) for name in own)
    studio("import", tmp_path / "project", "--model", tmp_path / "apart")
    assert {each.read_state() for each in run_folder.list_runs(run.path.parent)} == {"merged"}
    foreign = random_adapter(other, tmp_path / "lib" / "foreign")
    refused = studio("import", tmp_path / "project", "--adapter", foreign, status=1)
    assert "The model has no model.layers.0." in refused
    assert len(run_folder.list_runs(run.path.parent)) == 2


def chat(*arguments: object, status: int = 0, typed: str = "") -> str:
    result = run_studio("chat", *arguments, typed=typed)
    assert result.returncode == status, result.stdout + result.stderr
    assert "Traceback" not in result.stdout + result.stderr
    return result.stdout + result.stderr if status else result.stdout


def let_model_write_letters(base: Path) -> None:
    """Zero the output of tokens that aren't letters: what a random model prefers depends on the processor,
    and an answer of parts of letters shows nothing while it grows."""
    file = base / safetensors_files.SINGLE
    tensors = load_file(file)
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
    for token, index in AutoTokenizer.from_pretrained(base).get_vocab().items():
        if not (text := token.lstrip("Ġ")).isalpha() or not text.isascii():
            tensors["lm_head.weight"][index] = 0
    save_file(tensors, file, metadata={"format": "pt"})
    write_config(base, tie_word_embeddings=False)


def test_chat_loads_model_once_and_streams_each_answer(tmp_path: Path) -> None:
    run = tiny_run("llama3", tmp_path)
    let_model_write_letters(tmp_path / "base")
    options = ("--max-tokens", 8, "--device", "cpu", "--system", "Be brief.")
    out = chat(run.path, "--json", *options, typed="Which lamp?\nAnd then?\n\n")
    sent = [json.loads(line) for line in out.splitlines()]
    kinds = [event["kind"] for event in sent]
    assert kinds.count("model_loaded") == 1
    answers = [event for event in sent if event["kind"] == "answered"]
    assert [answer["tokens"] for answer in answers] == [8, 8]
    assert answers[1]["prompt_tokens"] > answers[0]["prompt_tokens"]
    assert "answer_grew" in kinds

    read = run_studio("chat", run.path, *options, "--prompt", "Which lamp?")
    assert answers[0]["text"].split() == read.stdout.split()
    assert "8 tokens" in read.stderr
    base = chat(run.path, *options, "--with", "base", "--prompt", "Which lamp?")
    assert base != read.stdout
    assert "no merged model yet" in chat(run.path, "--with", "merged", "--prompt", "Hi", status=2)


@pytest.mark.thorough
def test_chat_without_run_uses_base_model(tmp_path: Path) -> None:
    base = tiny_model("llama3", tmp_path / "base")
    let_model_write_letters(base)
    project.create(tmp_path / "project", "Harbour", {"model": {"source": str(base)}}).save()
    options = ("--max-tokens", 4, "--device", "cpu")
    result = run_studio("chat", tmp_path / "project", *options, typed="Hello\n\n")
    assert result.stdout.strip()
    assert "4 tokens" in result.stderr
