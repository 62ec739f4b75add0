"""Hubs and Ollama servers that answer without an end, nested too deeply, or elsewhere: each has a problem."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator

import pytest

from lora_studio.core.network.bounded_answers import AnswerLimits
from lora_studio.core.network.purposes import Purpose
from lora_studio.core.problems import ProblemError
from lora_studio.core.protocol.commands import SearchModels
from lora_studio.core.rewards.spec import RatedAnswer, RewardSpec
from lora_studio.core.tasks.samples import Message
from lora_studio.engine.export.ollama import client as ollama_client
from lora_studio.engine.export.ollama import server as ollama_server
from lora_studio.engine.hub import account, client
from lora_studio.engine.rewards.judge import open_judge
from lora_studio.engine.servers import openai_client
from tests.helpers.runs.jobs import make_job, recorded_job
from tests.helpers.servers.raw_server import OK, Script, drip, repeat, serve

DEEP = b"[" * 200_000
LINE = b'{"message": {"role": "assistant", "content": "word "}, "done": false}\n'


@pytest.fixture(autouse=True)
def small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits of a second instead of minutes, and of less than a megabyte."""
    api = AnswerLimits(max_bytes=500_000, first_seconds=1.0, seconds=1.0)
    lines = AnswerLimits(max_bytes=500_000, first_seconds=1.0, line_bytes=50_000, line_seconds=1.0)
    for module in (ollama_client, client):
        monkeypatch.setattr(module, "API_LIMITS", api)
    monkeypatch.setattr(ollama_client, "LINE_LIMITS", lines)
    monkeypatch.setattr(client, "MAX_PAGES", 5)
    monkeypatch.delenv("OLLAMA_HOST", raising=False)


def send(data: bytes) -> Script:
    return lambda connection: connection.sendall(data)


def sized(body: bytes) -> Script:
    return send(OK + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body)


def refusal(body: bytes, encoding: str = "utf-8") -> Script:
    """Return a script that refuses a request, with a reason in any codec of Python."""
    head = f"HTTP/1.1 500 Error\r\nContent-Type: text/plain; charset={encoding}\r\n"
    length = f"Connection: close\r\nContent-Length: {len(body)}\r\n\r\n"
    return send((head + length).encode() + body)


def redirect(to: str) -> Script:
    return send(f"HTTP/1.1 307 Moved\r\nLocation: {to}\r\nConnection: close\r\n\r\n".encode())


def send_page(connection: socket.socket) -> None:
    """Send an empty page of a list, with another one after it."""
    following = f"http://127.0.0.1:{connection.getsockname()[1]}/api/models?cursor=x"
    head = f'Link: <{following}>; rel="next"\r\nConnection: close\r\nContent-Length: 2\r\n\r\n'
    connection.sendall(OK + head.encode() + b"[]")


def chat(host: str) -> object:
    job, _ = recorded_job()
    return ollama_server.chat(host, "m", [Message(role="user", content="Hi")], {}, job)


def inspect(host: str) -> object:
    return ollama_server.inspect_server(host)


def show(host: str) -> object:
    return ollama_server.show_model(host, "m")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ask", "script", "code"),
    [
        pytest.param(inspect, repeat(OK + b"\r\n", b"[" * 65536), "ollama.unreadable_answer", id="endless JSON"),
        pytest.param(inspect, sized(DEEP), "ollama.unreadable_answer", id="deep JSON"),
        pytest.param(inspect, drip(OK + b"X: "), "ollama.interrupted", id="header that drips"),
        pytest.param(show, drip(OK + b"\r\n"), "ollama.unreadable_answer", id="body that drips"),
        pytest.param(chat, repeat(OK + b"\r\n", LINE * 100), "ollama.unreadable_answer", id="endless answer"),
        pytest.param(chat, repeat(OK + b"\r\n", b"x" * 10_000), "ollama.unreadable_answer", id="endless line"),
        pytest.param(chat, drip(OK + b"\r\n"), "ollama.unreadable_answer", id="line that drips"),
        pytest.param(chat, sized(LINE + DEEP[:40_000]), "ollama.unreadable_answer", id="deep line"),
        pytest.param(chat, redirect("http://other.example/"), "ollama.unreadable_answer", id="prompt sent elsewhere"),
        pytest.param(inspect, redirect("data:,x"), "ollama.unreadable_answer", id="redirect to data"),
        pytest.param(chat, redirect("/again"), "ollama.interrupted", id="redirect loop"),
        pytest.param(inspect, refusal(b'{"error": ' + DEEP + b"}"), "ollama.refused", id="deep refusal"),
        pytest.param(show, refusal(b"no", "rot13"), "ollama.refused", id="codec of no text"),
        pytest.param(inspect, refusal(b"BZh91AY", "bz2"), "ollama.refused", id="codec that unpacks"),
        pytest.param(chat, refusal(b"no", "undefined"), "ollama.refused", id="codec that fails"),
    ],
)  # fmt: skip
def test_ollama_server_without_an_end_is_a_problem(
    ask: Callable[[str], object], script: Script, code: str
) -> None:
    with serve(script) as server, pytest.raises(ProblemError) as caught:
        ask(f"http://127.0.0.1:{server.port}")
    assert caught.value.problems[0].code == code


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], None]]:
    import huggingface_hub
    from huggingface_hub import constants

    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    yield lambda port: monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{port}")
    huggingface_hub.close_session()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "code"),
    [
        pytest.param(repeat(OK + b"\r\n", b"[" * 65536), "model.unreadable_answer", id="endless JSON"),
        pytest.param(sized(DEEP), "model.unreadable_answer", id="deep JSON"),
        pytest.param(drip(OK + b"X: "), "model.offline", id="header that drips"),
        pytest.param(drip(OK + b"\r\n"), "model.unreadable_answer", id="body that drips"),
        pytest.param(redirect("ftp://x.example/"), "model.unreadable_answer", id="redirect to FTP"),
        pytest.param(send_page, "model.unreadable_answer", id="endless pages"),
    ],
)  # fmt: skip
def test_hub_without_an_end_is_a_problem(
    script: Script, code: str, hub: Callable[[int], None]
) -> None:
    job, _ = recorded_job()
    with serve(script) as server:
        hub(server.port)
        with pytest.raises(ProblemError) as caught:
            account.search_models(SearchModels(text="x"), job)
    assert caught.value.problems[0].code == code


def reply(message: str, usage: str = "{}") -> bytes:
    return f'{{"choices": [{{"message": {message}}}], "usage": {usage}}}'.encode()


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(repeat(OK + b"\r\n", b"[" * 65536), id="endless JSON"),
        pytest.param(sized(reply('{"content": "' + "x" * 600_000 + '"}')), id="too long"),
        pytest.param(
            drip(OK + b"Content-Length: 1000000\r\n\r\n"), id="slow", marks=pytest.mark.slow
        ),
        pytest.param(sized(b"[" * 200_000), id="deep"),
        pytest.param(sized(b"9" * 100_000), id="digits"),
        pytest.param(sized(reply('{"content": 7}')), id="a number"),
        pytest.param(
            sized(reply('{"content": "[[9]]"}', '{"completion_tokens": 1e999}')), id="infinite"
        ),
        pytest.param(sized(reply('{"content": "\\ud800 [[no]]"}')), id="half a character"),
    ],
)
def test_judge_without_an_end_gives_no_grade(
    script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openai_client, "_MAX_BYTES", 500_000)
    with serve(script) as server:
        spec = RewardSpec(
            kind="judge",
            server="openai",
            address=f"http://127.0.0.1:{server.port}/v1",
            model="m",
            seconds=1,
        )
        judge = open_judge(spec, "judge", make_job())
        answer = RatedAnswer((Message(role="user", content="Hi"),), "Hello", "", {}, True, 1)
        assert judge.score([answer]) == [None]
    (reason,) = judge.failures.take_all().values()
    assert 10 < len(str(reason)) < 900
    json.dumps(str(reason)).encode()


def test_token_does_not_follow_a_redirect_to_another_host(hub: Callable[[int], None]) -> None:
    job, _ = recorded_job()
    with (
        serve(sized(b'{"name": "pim"}')) as other,
        serve(redirect(f"http://localhost:{other.port}/whoami")) as first,
    ):
        hub(first.port)
        account.read_account(job)
    assert b"hf_secret" in first.requests[0]
    assert b"hf_secret" not in other.requests[0]


def test_list_of_the_hub_does_not_continue_on_another_server(hub: Callable[[int], None]) -> None:
    job, _ = recorded_job()
    with serve(sized(b"[]")) as other:
        link = f'Link: <http://127.0.0.1:{other.port}/api/models>; rel="next"\r\n'.encode()
        answer = OK + link + b"Content-Length: 2\r\nConnection: close\r\n\r\n[]"
        with serve(lambda connection: connection.sendall(answer)) as first:
            hub(first.port)
            with pytest.raises(ProblemError) as caught:
                account.search_models(SearchModels(text="a"), job)
    assert caught.value.problems[0].code == "model.unreadable_answer"
    assert b"hf_secret" in first.requests[0]
    assert other.requests == []


def test_hub_library_sends_its_token_to_the_hub_alone(hub: Callable[[int], None]) -> None:
    import huggingface_hub

    with serve(sized(b"{}")) as other, serve(sized(b"{}")) as home:
        hub(home.port)
        with client.contact_hub(Purpose.HUB_SEARCH):
            session = huggingface_hub.get_session()
            for server in (home, other):
                session.get(
                    f"http://127.0.0.1:{server.port}/x",
                    headers={"authorization": "Bearer hf_secret"},
                )
    assert b"hf_secret" in home.requests[0]
    assert b"hf_secret" not in other.requests[0]


def test_only_files_too_large_for_http_use_xet(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub
    from huggingface_hub import constants, file_download

    with client.contact_hub(Purpose.MODEL_DOWNLOAD):
        pass  # prepares the library
    noted: list[str] = []
    monkeypatch.setattr(client, "note_contact", lambda host, port, purpose: noted.append(host))
    sizes = iter([constants.MAX_HTTP_DOWNLOAD_SIZE + 1])

    def download(repository: str) -> str:
        if constants.HF_HUB_DISABLE_XET:
            file_download.http_get("http://127.0.0.1:9/", None, expected_size=next(sizes))
        return "/snapshot"

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert str(client.download_snapshot("a/b")) == "/snapshot"
    assert noted
    assert constants.HF_HUB_DISABLE_XET
