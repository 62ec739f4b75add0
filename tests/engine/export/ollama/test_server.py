"""The Ollama client of the export, against a fake server that can fail on request."""

from __future__ import annotations

import contextlib
import hashlib
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lora_studio.core.problems import Problem, ProblemError
from lora_studio.core.protocol import events
from lora_studio.core.tasks.samples import Message
from lora_studio.engine.export.ollama import prompt_judge
from lora_studio.engine.export.ollama import server as ollama_server
from lora_studio.engine.runtime.failures import CancelledError
from tests.helpers.models import tiny_gguf
from tests.helpers.runs.jobs import Recorder, recorded_job
from tests.helpers.servers.ollama_server import VERSION, FakeOllama, fake_ollama

RECIPE = ollama_server.CreateRequest(
    name="harbour:v1",
    template="{{ .Prompt }}!",
    stops=("<|im_end|>",),
    system="You are Pim.",
    parameters={"temperature": 0.7, "num_ctx": 4096},
)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeOllama]:
    monkeypatch.delenv("OLLAMA_HOST", raising=False)
    with fake_ollama() as running:
        yield running


@pytest.fixture
def gguf(tmp_path: Path) -> Path:
    file = tmp_path / "model.gguf"
    file.write_bytes(b"GGUF" + bytes(range(256)) * 20_000)
    return file


@contextlib.contextmanager
def problem() -> Iterator[list[Problem]]:
    problems: list[Problem] = []
    with pytest.raises(ProblemError) as caught:
        yield problems
    problems += caught.value.problems


def create(server: FakeOllama, gguf: Path, host: str = "") -> Recorder:
    job, recorder = recorded_job()
    ollama_server.create(host or server.host, gguf, RECIPE, job)
    return recorder


def ask(server: FakeOllama, text: str, **options: float) -> ollama_server.OllamaReply:
    job, _ = recorded_job()
    turns = [Message(role="user", content=text)]
    return ollama_server.chat(server.host, "harbour:v1", turns, options, job)


def test_running_server_reports_version_and_models(server: FakeOllama, gguf: Path) -> None:
    create(server, gguf)
    info = ollama_server.inspect_server(server.host)
    assert (info.host, info.version, info.models) == (server.host, VERSION, ("harbour:v1",))


def test_thinking_precedes_the_answer(server: FakeOllama, gguf: Path) -> None:
    create(server, gguf)
    server.thought = "I see."
    whole = "<think>\nI see. \n</think>\n\nc b a "
    assert ask(server, "a b c").text == whole
    turns = [Message(role="user", content="a b c")]
    pieces = [part.text for part in ollama_server.stream(server.host, "harbour:v1", turns, {})]
    assert pieces[:3] == ["<think>\nI ", "see. ", "\n</think>\n\nc "]
    assert "".join(pieces) == whole


def test_ollama_host_variable_names_the_default_server(
    server: FakeOllama, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OLLAMA_HOST", server.host.removeprefix("http://"))
    assert ollama_server.inspect_server("").host == server.host


def test_local_server_is_reached_without_proxy(
    server: FakeOllama, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert ollama_server.inspect_server(server.host).version == VERSION


def test_missing_server_problem_explains_what_to_do() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        host = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with problem() as problems:
            ollama_server.inspect_server(host)
    assert problems[0].code == "ollama.not_running"
    assert host in str(problems[0].what)
    for word in ("ollama.com/download", "ollama serve", "GGUF", "Modelfile"):
        assert word in str(problems[0].remedy)


def test_other_service_at_the_address_is_not_ollama(server: FakeOllama) -> None:
    server.faults.not_ollama = True
    with problem() as problems:
        ollama_server.inspect_server(server.host)
    assert problems[0].code == "ollama.not_ollama"


def test_password_is_sent_and_never_shown(
    server: FakeOllama, gguf: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    server.faults.password = "pim:s3cret@x"
    host = server.host.replace("http://", "http://pim:s3cret%40x@")
    info = ollama_server.inspect_server(host)
    recorder = create(server, gguf, host)
    shown = [events.to_line(event) for event in (info, *recorder.events)]
    shown += [*capfd.readouterr(), repr(ollama_server.create_client(host))]
    assert server.models
    assert "s3cret" not in "".join(shown)


def test_password_comes_from_ollama_host_for_the_same_server(
    server: FakeOllama, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.faults.password = "pim:s3cret"
    monkeypatch.setenv("OLLAMA_HOST", server.host.replace("http://", "http://pim:s3cret@"))
    info = ollama_server.inspect_server("")
    assert ollama_server.inspect_server(info.host).version == info.version
    assert not ollama_server.create_client("http://elsewhere:11434").headers


def test_model_is_unloaded_unless_it_was_loaded_before(server: FakeOllama, gguf: Path) -> None:
    create(server, gguf)
    for before in (set(), {"harbour:v1"}, {"other:latest"}):
        server.loaded = set(before)
        with ollama_server.unload_afterwards(server.host, "harbour:v1"):
            ask(server, "a b c")
            assert "harbour:v1" in server.loaded
        assert server.loaded == before
    with pytest.raises(CancelledError), ollama_server.unload_afterwards("http://127.0.0.1:1", "x"):
        raise CancelledError  # not hidden by a server that can't be reached


@pytest.mark.parametrize("credentials", ["", "pim:wrong@"])
def test_missing_or_wrong_password_is_reported(server: FakeOllama, credentials: str) -> None:
    server.faults.password = "pim:s3cret"
    with problem() as problems:
        ollama_server.inspect_server(server.host.replace("http://", f"http://{credentials}"))
    assert problems[0].code == "ollama.not_allowed"
    assert "wrong" not in str(problems[0])


def test_create_uploads_the_file_and_sends_all_settings(server: FakeOllama, gguf: Path) -> None:
    recorder = create(server, gguf)
    digest = f"sha256:{hashlib.sha256(gguf.read_bytes()).hexdigest()}"
    assert server.blobs == {digest: gguf.read_bytes()}
    added = ("architecture", "header", "jinja", "parser", "projectors", "renderer")
    sent = {key: sent for key, sent in server.models["harbour:v1"].items() if key not in added}
    assert sent == {
        "model": "harbour:v1",
        "files": {"model.gguf": digest},
        "template": "{{ .Prompt }}!",
        "system": "You are Pim.",
        "parameters": {"temperature": 0.7, "num_ctx": 4096, "stop": ["<|im_end|>"]},
        "stream": True,
    }
    uploads = [p for p in recorder.of(events.Progress) if str(p.stage) == "uploading to Ollama"]
    assert uploads[-1].done == uploads[-1].total == gguf.stat().st_size


def test_file_already_on_the_server_is_not_uploaded_again(server: FakeOllama, gguf: Path) -> None:
    create(server, gguf)
    create(server, gguf)
    assert len([request for request in server.requests if "POST /api/blobs" in request]) == 1


def test_interrupted_upload_is_a_problem_and_leaves_no_model(
    server: FakeOllama, gguf: Path
) -> None:
    server.faults.upload_breaks_after = 100_000
    with problem() as problems:
        create(server, gguf)
    assert problems[0].code == "ollama.interrupted"
    assert server.models == {}


def test_refused_creation_reports_the_server_reason(server: FakeOllama, gguf: Path) -> None:
    server.faults.create_error = "invalid file magic"
    with problem() as problems:
        create(server, gguf)
    assert problems[0].code == "ollama.refused"
    assert "invalid file magic" in str(problems[0].what)


def test_creation_that_breaks_off_is_not_a_success(server: FakeOllama, gguf: Path) -> None:
    server.faults.create_breaks_off = True
    job, _ = recorded_job()
    with problem() as problems:
        ollama_server.create(server.host, gguf, RECIPE, job)
    assert problems[0].code == "ollama.not_created"
    assert server.models == {}


def test_cancel_stops_an_upload(server: FakeOllama, gguf: Path) -> None:
    job, recorder = recorded_job()
    recorder.on_event = lambda event: (
        job.flags.cancel.set()
        if str(getattr(event, "stage", "")) == "uploading to Ollama"
        else None
    )
    with pytest.raises(CancelledError):
        ollama_server.create(server.host, gguf, RECIPE, job)
    assert server.models == {}


def test_answer_has_its_token_count_and_whether_it_ended(server: FakeOllama) -> None:
    assert ask(server, "one two three") == ollama_server.OllamaReply("three two one ", 3, True)
    assert ask(server, "one two three", num_predict=2) == ollama_server.OllamaReply(
        "three two ", 2, False
    )


def test_model_that_the_server_cannot_run_is_reported(server: FakeOllama) -> None:
    server.faults.chat_error = "no runner for this machine"
    with problem() as problems:
        ask(server, "hello")
    assert problems[0].code == "ollama.refused"
    assert "no runner for this machine" in str(problems[0].what)


def test_cancel_stops_a_slow_answer_immediately(server: FakeOllama) -> None:
    server.faults.seconds_per_word = 600.0
    job, _ = recorded_job()
    threading.Timer(0.3, job.flags.cancel.set).start()
    began = time.monotonic()
    with pytest.raises(CancelledError):
        ollama_server.chat(server.host, "x", [Message(role="user", content="a b c")], {}, job)
    assert time.monotonic() - began < 300


def test_models_are_listed_shown_copied_and_removed(server: FakeOllama, gguf: Path) -> None:
    create(server, gguf)
    (listed,) = ollama_server.inspect_server(server.host).details
    assert (listed.name, listed.bytes, listed.quantization) == ("harbour:v1", 5_120_004, "Q8_0")
    assert listed.modified == "2026-03-04T05:06:07+00:00"
    shown = ollama_server.show_model(server.host, "harbour:v1")
    assert (shown.template, shown.system, shown.stops) == (
        RECIPE.template,
        RECIPE.system,
        RECIPE.stops,
    )
    assert shown.parameters == {"temperature": "0.7", "num_ctx": "4096"}
    assert shown.digest == f"sha256:{hashlib.sha256(gguf.read_bytes()).hexdigest()}"
    ollama_server.copy_model(server.host, "harbour:v1", "pim")
    assert ollama_server.inspect_server(server.host).models == ("harbour:v1", "pim:latest")
    ollama_server.remove_model(server.host, "harbour:v1")
    assert ollama_server.inspect_server(server.host).models == ("pim:latest",)


MODELFILE = """\
# Modelfile generated by "ollama show"
# FROM harbour:v1

FROM /models/blobs/sha256-{digest}
TEMPLATE \"""{{{{ "a" }}}}
RENDERER none\"""
SYSTEM " You are Pim."
RENDERER gemma4
PARSER gemma4
PARAMETER stop <x>
"""


def test_modelfile_names_renderer_and_stored_template() -> None:
    # Servers leave the fields of renderer and parser empty, and show the template that they select.
    shown = {"modelfile": MODELFILE.format(digest="0" * 64), "template": "{% chat %}"}
    stored = ollama_server.read_shown("host", "harbour:v1", shown)
    assert stored.template == '{{ "a" }}\nRENDERER none'
    assert stored.chat_template == "{% chat %}"
    assert (stored.renderer, stored.parser) == ("gemma4", "gemma4")
    assert stored.digest == f"sha256:{'0' * 64}"


def test_modelfile_without_a_closing_quote_is_read_to_there() -> None:
    stored = ollama_server.read_shown(
        "host", "m", {"modelfile": 'PARSER x\nTEMPLATE "a\nRENDERER y'}
    )
    assert (stored.parser, stored.renderer, stored.template) == ("x", "", "")


def test_copy_replaces_a_model_only_with_force(server: FakeOllama, gguf: Path) -> None:
    create(server, gguf)
    ollama_server.copy_model(server.host, "harbour:v1", "pim")
    with problem() as problems:
        ollama_server.copy_model(server.host, "harbour:v1", "pim:latest")
    assert problems[0].code == "ollama.exists"
    # Ollama ignores case and fills in its default registry and namespace.
    for same in ("PIM", "library/pim:Latest", "registry.ollama.ai/library/pim"):
        with problem() as problems:
            ollama_server.copy_model(server.host, "harbour:v1", same)
        assert problems[0].code == "ollama.exists"
    ollama_server.copy_model(server.host, "harbour:v1", "pim", force=True)
    with problem() as problems:
        ollama_server.copy_model(server.host, "harbour:v1", "two words")
    assert problems[0].code == "project.invalid_value"


@pytest.mark.parametrize("verb", ["show", "copy", "remove"])
def test_missing_model_is_reported_with_existing_models(
    server: FakeOllama, gguf: Path, verb: str
) -> None:
    create(server, gguf)
    with problem() as problems:
        match verb:
            case "show":
                ollama_server.show_model(server.host, "nothing")
            case "copy":
                ollama_server.copy_model(server.host, "nothing", "pim")
            case "remove":
                ollama_server.remove_model(server.host, "nothing")
    assert problems[0].code == "ollama.no_model"
    assert "harbour:v1" in str(problems[0].remedy)


@pytest.mark.parametrize(
    ("stores", "named"),
    [
        ({}, []),
        ({"template": "{{ .Prompt }}"}, ["the TEMPLATE"]),
        ({"system": None}, ["the system prompt"]),
        (
            {"parameters": {"temperature": 0.7}},
            ["the stop strings", "num_ctx (missing)"],
        ),
        ({"files": {"model.gguf": f"sha256:{'0' * 64}"}}, ["the weights"]),
    ],
    ids=["nothing", "template", "system prompt", "parameters", "weights"],
)
def test_find_differences_names_what_the_server_changed(
    server: FakeOllama, gguf: Path, stores: dict[str, object], named: list[str]
) -> None:
    server.faults.stores = stores
    tiny_gguf.write(gguf)
    job, _ = recorded_job()
    digest = ollama_server.create(server.host, gguf, RECIPE, job)
    stored = ollama_server.show_model(server.host, RECIPE.name)
    differences = prompt_judge.find_differences(RECIPE, digest, stored, (0, 9, 3), gguf, job)
    assert [*map(str, differences)] == named


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("", "http://127.0.0.1:11434"),
        ("example.org", "http://example.org:11434"),
        ("0.0.0.0:9999", "http://127.0.0.1:9999"),
        ("http://0.0.0.0", "http://127.0.0.1"),
        ("https://me:word@example.org/ollama/", "https://example.org/ollama"),
    ],
)
def test_address_is_parsed_like_ollama(
    written: str, meant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OLLAMA_HOST", raising=False)
    assert ollama_server.create_client(written).host == meant
