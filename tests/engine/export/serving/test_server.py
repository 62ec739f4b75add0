"""Serving with llama-server: its options, its life, and answers of the real one."""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from lora_studio.core.chat import Sampling
from lora_studio.core.problems import Problem, ProblemError
from lora_studio.core.protocol import commands, events
from lora_studio.core.protocol.chat import ServedRun
from lora_studio.core.runs import folder as run_folder
from lora_studio.core.runs.folder import RunFolder
from lora_studio.engine.export.gguf import converter
from lora_studio.engine.export.serving import server
from lora_studio.engine.export.serving.server import PreparedModel
from lora_studio.engine.merging import merge
from lora_studio.engine.runtime.failures import CancelledError
from lora_studio.engine.runtime.llama_cpp import Llama
from tests.helpers.models.tiny_models import random_adapter, tiny_model
from tests.helpers.runs.jobs import Recorder, recorded_job
from tests.helpers.runs.tiny_run import tiny_run
from tests.helpers.servers import fake_llama_server, llama_server

posix = pytest.mark.skipif(sys.platform == "win32", reason="the fake program is a #! script")


@pytest.fixture
def tokenizer(tmp_path: Path) -> PreTrainedTokenizerBase:
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
        tiny_model("qwen3", tmp_path)
    )
    return tokenizer


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return tiny_run("qwen3", tmp_path)


def on_path(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")


def serve_until(
    kind: type[events.Event], command: commands.Serve, then: Callable[[Any], None] = lambda _: None
) -> Recorder:
    """Serve until an event of a kind, then stop; `then` gets the event in another thread."""
    job, recorder = recorded_job()

    def finish(event: Any) -> None:
        try:
            then(event)
        finally:
            job.flags.cancel.set()

    def on_event(event: Any) -> None:
        if isinstance(event, kind):
            threading.Thread(target=finish, args=(event,)).start()

    recorder.on_event = on_event
    server.serve(command, job)
    return recorder


def get_problem(command: commands.Serve) -> Problem:
    with pytest.raises(ProblemError) as raised:
        server.serve(command, recorded_job()[0])
    return raised.value.problems[0]


# --- options ----------------------------------------------------------------------------------


def test_options_name_model_context_and_each_adapter(tokenizer: PreTrainedTokenizerBase) -> None:
    files = (Path("/cache/a.gguf"), Path("/a, b/c.gguf"))
    model = PreparedModel(Path("base.gguf"), "Pim", tokenizer, 2048, adapter_files=files)
    assert server.list_options(model) == [
        "--alias", "Pim", "--ctx-size", "2048", "--lora", "/cache/a.gguf", "--lora", '"/a, b/c.gguf"',
    ]  # fmt: skip
    embedding = PreparedModel(Path("pim.gguf"), "Pim", tokenizer, 2048, longest=512)
    assert server.list_options(embedding)[4:] == [
        "--embeddings", "--batch-size", "512", "--ubatch-size", "512",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("ending", "variables"),
    [
        pytest.param("", {}, id="template without reasoning"),
        pytest.param(
            "{% if enable_thinking %}<think>{% endif %}", {"LLAMA_ARG_REASONING": "off"}, id="off if unset"
        ),
        pytest.param(
            "{% if enable_thinking is defined and not enable_thinking %}<no>{% endif %}", {}, id="on if unset"
        ),
        pytest.param("{{ fail() }}", {}, id="template that fails"),
    ],
)  # fmt: skip
def test_reasoning_is_as_the_template_has_it_unset(
    tokenizer: PreTrainedTokenizerBase, ending: str, variables: dict[str, str]
) -> None:
    tokenizer.chat_template = "{% for m in messages %}{{ m.content }}{% endfor %}" + ending
    assert server.choose_variables(tokenizer) == variables


# --- problems ---------------------------------------------------------------------------------


@posix
def test_adapter_of_an_embedding_model_is_not_served(
    run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_path(fake_llama_server.write_program(tmp_path / "bin"), monkeypatch)
    run.update_manifest(dataset={"task": "embedding"})
    command = commands.Serve(runs=(ServedRun(run=str(run.path)),))
    assert get_problem(command).code == "serve.embedding_adapter"


def test_missing_program_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ProblemError) as raised:
        server.find_program("")
    problem = raised.value.problems[0]
    assert problem.code == "serve.no_llama_server"
    assert "brew install llama.cpp" in str(problem.remedy)
    assert "PATH" in str(problem.what)


@posix
def test_program_of_a_folder_needs_consent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LORA_STUDIO_CONFIG", str(tmp_path / "config"))
    program = fake_llama_server.write_program(tmp_path / "llama.cpp" / "build" / "bin")
    with pytest.raises(ProblemError) as raised:
        server.find_program(str(tmp_path / "llama.cpp"))
    assert raised.value.problems[0].code == "export.code_not_trusted"
    assert program.is_file()


@posix
def test_port_in_use_is_a_problem(
    run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_path(fake_llama_server.write_program(tmp_path / "bin"), monkeypatch)
    file = tmp_path / "merged.gguf"
    file.write_bytes(b"GGUF")
    with socket.socket() as used:
        used.bind(("127.0.0.1", 0))
        used.listen()
        port = used.getsockname()[1]
        served = (ServedRun(run=str(run.path)),)
        problem = get_problem(commands.Serve(runs=served, file=str(file), port=port))
    assert problem.code == "serve.port"
    assert str(port) in str(problem.what)


# --- its life ---------------------------------------------------------------------------------


@posix
def test_file_is_served_until_stopped_and_log_is_reported(
    run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_path(fake_llama_server.write_program(tmp_path / "bin"), monkeypatch)
    file = tmp_path / "merged.gguf"
    file.write_bytes(b"GGUF")
    command = commands.Serve(runs=(ServedRun(run=str(run.path)),), file=str(file))
    recorder = serve_until(events.Warned, command)  # after its prompts were compared
    (ready,) = recorder.of(events.ServerReady)
    assert (ready.model, ready.file, ready.adapters) == ("Harbour", str(file), ())
    lines = [line for event in recorder.of(events.ServerLogged) for line in event.lines]
    assert lines[0].startswith(f"arguments --model {file} --host 127.0.0.1 --port ")
    with pytest.raises(OSError):
        urllib.request.urlopen(f"{ready.address}/health")


@posix
def test_server_that_ends_by_itself_is_a_problem(
    run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_path(fake_llama_server.write_program(tmp_path / "bin", seconds=1.0), monkeypatch)
    file = tmp_path / "merged.gguf"
    file.write_bytes(b"GGUF")
    problem = get_problem(commands.Serve(runs=(ServedRun(run=str(run.path)),), file=str(file)))
    assert problem.code == "export.llama_server_failed"
    assert "remove llama-server" not in str(problem.remedy)


@posix
def test_cancel_while_prompts_are_compared_is_no_problem(
    run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_path(fake_llama_server.write_program(tmp_path / "bin", hangs=True), monkeypatch)
    file = tmp_path / "merged.gguf"
    file.write_bytes(b"GGUF")
    command = commands.Serve(runs=(ServedRun(run=str(run.path)),), file=str(file))
    recorder = serve_until(events.ServerReady, command, lambda _: time.sleep(0.5))
    assert not recorder.of(events.Warned)


@posix
def test_cancel_before_the_server_is_ready_cancels(
    run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_path(fake_llama_server.write_program(tmp_path / "bin"), monkeypatch)
    file = tmp_path / "merged.gguf"
    file.write_bytes(b"GGUF")
    job, _ = recorded_job()
    job.flags.cancel.set()
    with pytest.raises(CancelledError):
        server.serve(commands.Serve(runs=(ServedRun(run=str(run.path)),), file=str(file)), job)


# --- the real one -----------------------------------------------------------------------------

_QUESTION = [{"role": "user", "content": "Which lamp burns longest?"}]
_TOKENS = 10


def ask(ready: events.ServerReady, prompt: str, *scales: float) -> list[int]:
    """Return the token IDs of a greedy answer, whose text /v1/chat/completions answers, too."""
    common = {
        "temperature": 0, "max_tokens": _TOKENS, "n_predict": _TOKENS,
        "lora": [{"id": i, "scale": scale} for i, scale in enumerate(scales)],
    }  # fmt: skip
    chat = post(
        ready, "/v1/chat/completions", {"model": ready.model, "messages": _QUESTION} | common
    )
    raw = post(ready, "/completion", {"prompt": prompt, "return_tokens": True} | common)
    # Chat answers lack white space and incomplete characters at their ends.
    content = chat["choices"][0]["message"]["content"]
    assert content
    assert content in raw["content"]
    return list(raw["tokens"])


def post(ready: events.ServerReady, path: str, body: dict[str, Any]) -> Any:
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {ready.key}"}
    request = urllib.request.Request(ready.address + path, json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def answer_in_process(file: Path, prompt: str) -> list[int]:
    """Return the token IDs of the greedy answer of a GGUF file without adapters."""
    with Llama(file, context=512) as llama:
        return list(
            llama.generate(llama.tokenize(prompt), Sampling(temperature=0, max_tokens=_TOKENS))
        )


@pytest.mark.slow
def test_scales_give_answers_of_base_and_merged_models(
    run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = llama_server.install()
    if isinstance(build, str):
        pytest.skip(build)
    on_path(build.program, monkeypatch)
    monkeypatch.setenv("LORA_STUDIO_CACHE", str(tmp_path / "cache"))
    base = tmp_path / "base"
    second = run_folder.create_run(tmp_path / "runs", run.load_project(), tmp_path)
    random_adapter(
        base, second.adapter, seed=8, use_rslora=True, alpha_pattern={"o_proj": 2}, rank_pattern={"q_proj": 2}
    )  # fmt: skip
    tokenizer = AutoTokenizer.from_pretrained(base)
    prompt = str(
        tokenizer.apply_chat_template(_QUESTION, add_generation_prompt=True, tokenize=False)
    )
    served: list[list[int]] = []
    files: list[Path] = []

    def ask_all(ready: events.ServerReady) -> None:
        assert [adapter.scale for adapter in ready.adapters] == [1.0, 0.0]
        files.append(Path(ready.file))
        served.extend(ask(ready, prompt, *scales) for scales in ((0, 0), (0, 1), (1, 0)))

    runs = (ServedRun(run=str(run.path)), ServedRun(run=str(second.path), scale=0.0))
    llama_cpp = run.load_project().export.llama_cpp
    serve_until(events.ServerReady, commands.Serve(runs=runs, llama_cpp=llama_cpp), ask_all)
    merge.merge(second, recorded_job()[0])
    files.append(tmp_path / "merged.gguf")
    converter.convert(second.merged, files[1], "model", llama_cpp, recorded_job()[0])
    assert served[:2] == [answer_in_process(file, prompt) for file in files]
    assert len({tuple(answer) for answer in served}) == 3
