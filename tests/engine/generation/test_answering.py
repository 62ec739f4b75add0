"""Generation: torch and llama.cpp agree, answers end at the trained token, and can be canceled."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from lora_studio.core.chat import Sampling
from lora_studio.core.problems import ProblemError
from lora_studio.core.protocol import commands, events
from lora_studio.core.protocol.commands import TextSource
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.tasks.samples import Message
from lora_studio.engine import jobs
from lora_studio.engine.export.gguf import conversion
from lora_studio.engine.generation import answering, turn_boundaries
from lora_studio.engine.merging import merge
from lora_studio.engine.model import loading
from lora_studio.engine.runtime.failures import CancelledError
from lora_studio.engine.runtime.llama_cpp import Llama, should_add_bos
from tests.helpers.models.tiny_models import FAMILIES, TEMPLATES, tiny_model
from tests.helpers.runs.recorded_job import Recorder, recorded_job
from tests.helpers.runs.tiny_run import tiny_run
from tests.helpers.servers.ollama_server import fake_ollama

CONVERSATIONS = (
    (Message(role="user", content="Which lamp burns longest?"),),
    (Message(role="user", content="And?"),),
    (
        Message(role="user", content="Please answer in one short sentence."),
        Message(role="assistant", content="Yes."),
        Message(role="user", content="What does it come to in all, 42 crates or 3.50 each?"),
    ),
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run of a tiny Llama with its adapter, merged model and 16-bit GGUF file."""
    new_run = tiny_run("llama3", tmp_path_factory.mktemp("run"), quantizations=("F16",))
    job, _ = recorded_job()
    merge.merge(new_run, job)
    conversion.write(new_run, new_run.load_project(), job)
    return new_run


def answers(
    run: RunFolder, *sources: TextSource, max_tokens: int = 12, **settings: float
) -> tuple[dict[str, list[events.Generated]], Recorder]:
    job, recorder = recorded_job()
    command = commands.Generate(
        run=str(run.path),
        sources=sources,
        conversations=CONVERSATIONS,
        max_tokens=max_tokens,
        **settings,
    )
    jobs.run_command(command, job)
    by_source: dict[str, list[events.Generated]] = {source: [] for source in sources}
    for event in recorder.of(events.Generated):
        by_source[event.source].append(event)
    for generated in by_source.values():
        generated.sort(key=lambda event: event.index)
        assert [event.index for event in generated] == [0, 1, 2]
    return by_source, recorder


def texts(generated: list[events.Generated]) -> list[str]:
    return [event.text for event in generated]


# --- by torch ---------------------------------------------------------------------------------


@pytest.mark.slow
def test_batch_gives_the_same_answers_as_single_prompts(run: RunFolder) -> None:
    generated, _ = answers(run, "tuned")
    project = run.load_project()
    tokenizer = AutoTokenizer.from_pretrained(run.adapter)
    base = AutoModelForCausalLM.from_pretrained(project.model.source, dtype=torch.float32)
    tuned = answering.with_adapter(base, run)
    for conversation, event in zip(CONVERSATIONS, generated["tuned"], strict=True):
        ids = tokenizer.apply_chat_template(
            [turn.model_dump(include={"role", "content"}) for turn in conversation],
            add_generation_prompt=True,
            return_dict=False,
        )
        for _ in range(12):
            ids.append(int(tuned(torch.tensor([ids])).logits[0, -1].argmax()))
        assert event.text == tokenizer.decode(ids[-12:], skip_special_tokens=True)
        assert (event.tokens, event.finished) == (12, False)


@pytest.mark.slow
def test_merged_model_answers_like_the_adapter_unlike_the_base(
    run: RunFolder,
) -> None:
    generated, recorder = answers(run, "base", "tuned", "merged")
    assert texts(generated["base"]) != texts(generated["tuned"])
    assert texts(generated["merged"])[0] == texts(generated["tuned"])[0]
    assert len(recorder.of(events.ModelLoaded)) == 2  # base and tuned share one


def test_sampling_follows_the_seed(run: RunFolder) -> None:
    first, repeated, other = (
        texts(answers(run, "tuned", temperature=1.0, seed=seed)[0]["tuned"]) for seed in (1, 1, 2)
    )
    assert first == repeated
    assert first != other


def test_answer_ends_at_the_trained_end_of_turn_token(run: RunFolder) -> None:
    tokenizer = loading.load_tokenizer(run.adapter)
    end = turn_boundaries.create_turn_end_criteria(tokenizer, [1, 5])
    assert tokenizer.convert_tokens_to_ids("<|eot_id|>") in end.ids
    assert {1, 5} <= set(end.ids)
    assert end.text == ""


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_has_its_end_of_turn_token(family: str, tmp_path: Path) -> None:
    tokenizer = loading.load_tokenizer(tiny_model(family, tmp_path))
    end = turn_boundaries.create_turn_end_criteria(tokenizer)
    assert end.text == ""
    marks = tokenizer.convert_ids_to_tokens(list(end.ids))
    expected = {
        "llama3": "<|eot_id|>", "qwen3": "<|im_end|>", "gemma2": "<end_of_turn>", "gemma3": "<end_of_turn>",
        "mistral": "</s>", "phi3": "<|end|>", "granite": "<|end_of_text|>",
        "smollm3": "<|im_end|>", "qwen3_moe": "<|im_end|>",
    }  # fmt: skip
    assert expected[family] in marks


def test_end_marker_without_a_token_is_cut_as_text(tmp_path: Path) -> None:
    tokenizer = loading.load_tokenizer(tiny_model("mistral", tmp_path))
    tokenizer.chat_template = (TEMPLATES / "chatml.jinja").read_text("utf-8")
    end = turn_boundaries.create_turn_end_criteria(tokenizer)
    assert end.text == "<|im_end|>"
    assert end.cut("Yes.<|im_end|>\nmore") == ("Yes.", True)
    assert end.cut("Yes. And") == ("Yes. And", False)


# --- by llama.cpp -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def file(run: RunFolder) -> Path:
    return run.get_gguf_file("Harbour", "F16")


@pytest.fixture
def llama(file: Path) -> Iterator[Llama]:
    with Llama(file, context=1024) as opened:
        yield opened


def test_llama_cpp_matches_tokens_and_logits_of_torch(run: RunFolder, llama: Llama) -> None:
    tokenizer = AutoTokenizer.from_pretrained(run.merged)
    text = "<|begin_of_text|>The keeper laughed.  42 crates\n\n你好 🙂<|eot_id|>" * 30
    ids = llama.tokenize(text)
    assert ids == tokenizer(text, add_special_tokens=False).input_ids
    assert len(ids) > 600  # more than one batch
    positions = [0, 1, 511, 512, len(ids) - 1]
    network = AutoModelForCausalLM.from_pretrained(run.merged, dtype=torch.float32)
    expected = network(torch.tensor([ids])).logits[0, positions].detach().numpy()
    np.testing.assert_allclose(llama.compute_logits(ids, positions), expected, atol=0.02)


def test_llama_cpp_logs_only_errors(
    file: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with Llama(file, context=256) as llama:
        llama.compute_logits(llama.tokenize("The harbour master"), [0])
    assert capfd.readouterr() == ("", "")
    (tmp_path / "torn.gguf").write_bytes(b"torn")
    with pytest.raises(ProblemError):
        Llama(tmp_path / "torn.gguf")
    shown = capfd.readouterr()
    assert shown.out == ""
    assert "torn.gguf" in shown.err


def test_greedy_tokens_follow_the_logits_up_to_the_limit(llama: Llama) -> None:
    ids = llama.tokenize("The harbour master")
    tokens = list(llama.generate(ids, Sampling(temperature=0, max_tokens=7)))
    assert len(tokens) == 7
    for token in tokens:
        assert token == int(llama.compute_logits(ids, [len(ids) - 1]).argmax())
        ids.append(token)


def test_llama_cpp_sampling_follows_the_seed(llama: Llama) -> None:
    ids = llama.tokenize("The harbour master")
    first, repeated, other = (
        list(llama.generate(ids, Sampling(max_tokens=8, temperature=2.0, top_p=0.9, seed=seed)))
        for seed in (1, 1, 2)
    )
    assert first == repeated
    assert first != other


def test_answer_ends_at_the_context_limit(file: Path) -> None:
    with Llama(file, context=256) as llama:
        ids = (llama.tokenize("la ") * 250)[:250]
        assert (
            len(list(llama.generate(ids, Sampling(temperature=0, max_tokens=100)))) == 256 - 250 + 1
        )


def compute_for_ever(llama: Llama, ids: list[int]) -> None:
    while True:
        llama.compute_logits(ids, [0])


def test_cancel_stops_a_llama_cpp_computation(file: Path) -> None:
    flag = threading.Event()
    with Llama(file, context=1024, cancelled=flag.is_set) as llama:
        ids = llama.tokenize("The harbour master")
        began = time.monotonic()
        threading.Timer(0.2, flag.set).start()
        with pytest.raises(CancelledError):
            compute_for_ever(llama, ids)
        assert time.monotonic() - began < 300  # without the cancel, it never ends


def test_adds_bos_is_read_from_the_file(file: Path) -> None:
    assert should_add_bos(file) is True


def test_gguf_file_answers_like_the_tuned_model(run: RunFolder) -> None:
    generated, _ = answers(run, "tuned", "gguf", max_tokens=4)
    assert texts(generated["gguf"]) == texts(generated["tuned"])
    assert [event.tokens for event in generated["gguf"]] == [4, 4, 4]


# --- all together -----------------------------------------------------------------------------


def test_ollama_uses_project_name_and_command_settings(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    with fake_ollama() as server:
        monkeypatch.setenv("OLLAMA_HOST", server.host)
        generated, _ = answers(run, "ollama", max_tokens=3)
    assert texts(generated["ollama"])[0] == "longest? burns lamp "
    assert [event.finished for event in generated["ollama"]] == [False, True, False]


def test_cancel_stops_an_answer_between_tokens(run: RunFolder) -> None:
    job, _ = recorded_job()
    command = commands.Generate(
        run=str(run.path), sources=("tuned",), conversations=CONVERSATIONS, max_tokens=900
    )
    threading.Timer(1.0, job.flags.cancel.set).start()
    with pytest.raises(CancelledError):
        jobs.run_command(command, job)


@pytest.mark.parametrize(
    ("source", "missing", "code"),
    [
        ("tuned", "adapter", "chat.no_adapter"),
        ("merged", "merged", "chat.not_merged"),
        ("gguf", "gguf", "chat.no_gguf"),
    ],
)
def test_missing_model_is_reported_with_its_step(
    source: TextSource, missing: str, code: str, run: RunFolder, tmp_path: Path
) -> None:
    copy = RunFolder(tmp_path / "copy")
    shutil.copytree(run.path, copy.path)
    shutil.rmtree(copy.path / missing)
    with pytest.raises(ProblemError) as caught:
        answers(copy, source)
    assert caught.value.problems[0].code == code


def test_conversation_rejected_by_template_is_a_problem(tmp_path: Path) -> None:
    run = tiny_run("gemma3", tmp_path)
    two = (Message(role="user", content="a"), Message(role="user", content="b"))
    command = commands.Generate(run=str(run.path), sources=("base",), conversations=(two,))
    with pytest.raises(ProblemError) as caught:
        jobs.run_command(command, recorded_job()[0])
    assert caught.value.problems[0].code == "chat.refused_by_template"
