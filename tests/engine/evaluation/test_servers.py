"""Columns on OpenAI-compatible servers: answers, refusals, and a server that stops in the middle."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from lora_studio.core.chat import OllamaChatModel, Sampling
from lora_studio.core.evaluation.columns import ServerModel
from lora_studio.core.evaluation.items import create_item
from lora_studio.core.problems import ProblemError
from lora_studio.core.tasks.samples import Message
from lora_studio.engine.evaluation import server_runner
from lora_studio.engine.evaluation.runners import AnswerRequest
from lora_studio.engine.export.ollama import server as ollama_server
from lora_studio.engine.export.ollama.server import CreateRequest
from lora_studio.engine.servers.openai_client import Reply
from tests.helpers.models import tiny_gguf
from tests.helpers.runs.jobs import make_job
from tests.helpers.servers.ollama_server import fake_ollama
from tests.helpers.servers.ports import run_server

SAMPLING = Sampling(temperature=0.0, top_p=1.0, max_tokens=7)
REQUESTS = [
    AnswerRequest(create_item(test_set="t", messages=(Message(role="user", content=str(n)),)), "")
    for n in range(20)
]  # fmt: skip


@dataclass
class FakeServer:
    """Answers with the question in words; with an error after `breaks_after` requests, and not at all after
    `ends_after`, or to the question `silent_at`."""

    address: str = ""
    breaks_after: int = 1000
    ends_after: int = 1000
    silent_at: str = ""
    answer: Any = None
    bodies: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)


@contextmanager
def fake_server(**settings: Any) -> Iterator[FakeServer]:
    fake = FakeServer(**settings)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            fake.bodies.append(body)
            fake.keys.append(self.headers.get("authorization", ""))
            if (
                len(fake.bodies) > fake.ends_after
                or body["messages"][-1]["content"] == fake.silent_at
            ):
                return
            status, answer = 200, fake.answer
            if len(fake.bodies) > fake.breaks_after:
                status, answer = 503, {"error": {"message": "out of memory."}}
            elif answer is None:
                text = f"It is {body['messages'][-1]['content']}."
                choice = {"message": {"content": text}, "finish_reason": "stop"}
                answer = {
                    "choices": [choice],
                    "usage": {"completion_tokens": 4, "prompt_tokens": 2},
                }
            content = json.dumps(answer).encode()
            with suppress(OSError):  # the client may have given up
                self.send_response(status)
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    fake.address = f"http://127.0.0.1:{server.server_address[1]}/v1"
    with run_server(server):
        yield fake


def ask(fake: FakeServer, key_variable: str = "") -> Iterator[tuple[int, Reply]]:
    model = ServerModel(address=fake.address, name="m", key_variable=key_variable)
    runner = server_runner.create_server_runner(model, make_job())
    try:
        yield from runner.generate(REQUESTS, SAMPLING)
    finally:
        runner.close()


def test_server_answers_with_the_sampling_of_the_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "secret")
    with fake_server() as fake:
        replies = dict(ask(fake, "MY_KEY"))
    assert [replies[n].text for n in range(20)] == [f"It is {n}." for n in range(20)]
    assert (replies[0].tokens, replies[0].prompt_tokens, replies[0].ending) == (4, 2, "end")
    assert set(fake.keys) == {"Bearer secret"}
    sent = fake.bodies[0]
    assert (sent["model"], sent["temperature"], sent["max_tokens"]) == ("m", 0.0, 7)
    assert "top_k" not in sent


def test_server_that_stops_in_the_middle_keeps_its_answers() -> None:
    """What it didn't answer says nothing about the model, so it isn't a failed answer either."""
    replies: list[Reply] = []
    with fake_server(breaks_after=9) as fake, pytest.raises(ProblemError, match="out of memory"):
        replies.extend(reply for _, reply in ask(fake))
    assert [reply.problem for reply in replies] == [None] * 9


def test_server_that_is_gone_at_the_end_fails_no_answer() -> None:
    replies: list[Reply] = []
    with fake_server(ends_after=17) as fake, pytest.raises(ProblemError, match="didn't answer"):
        replies.extend(reply for _, reply in ask(fake))
    assert [reply.problem for reply in replies] == [None] * 17


def test_request_without_an_answer_is_asked_again_then_failed() -> None:
    with fake_server(silent_at="19") as fake:
        replies = dict(ask(fake))
    assert [index for index, reply in replies.items() if reply.problem is not None] == [19]
    asked = [body["messages"][-1]["content"] for body in fake.bodies]
    assert (asked.count("19"), len(replies)) == (2, 20)


def test_refused_requests_at_the_end_are_failed_answers() -> None:
    with fake_server(breaks_after=17) as fake:
        replies = [reply for _, reply in ask(fake)]
    assert sum(reply.problem is not None for reply in replies) == 3


@pytest.mark.parametrize(
    "answer", [{}, {"choices": []}, [], {"choices": [{"message": {"content": 3}}]}]
)
def test_nonsense_of_a_server_is_a_problem(answer: Any) -> None:
    with fake_server(answer=answer) as fake, pytest.raises(ProblemError, match="unexpected form"):
        list(ask(fake))


def test_missing_key_is_refused_by_the_name_of_its_variable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("MY_KEY", raising=False)
    with fake_server() as fake, pytest.raises(ProblemError, match="MY_KEY"):
        list(ask(fake, "MY_KEY"))
    assert fake.bodies == []


def test_model_of_an_ollama_column_is_unloaded_at_its_end(tmp_path: Path) -> None:
    with fake_ollama() as fake:
        recipe = CreateRequest(name="pim", template="{{ .Prompt }}", stops=())
        ollama_server.create(fake.host, tiny_gguf.write(tmp_path / "m.gguf"), recipe, make_job())
        runner = server_runner.create_ollama_runner(
            OllamaChatModel(name="pim", host=fake.host), make_job()
        )
        assert len(list(runner.generate(REQUESTS[:2], SAMPLING))) == 2
        assert fake.loaded == {"pim:latest"}
        runner.close()
        assert fake.loaded == set()


def test_ollama_that_isnt_running_gets_a_remedy_for_evaluations() -> None:
    with pytest.raises(ProblemError) as caught:
        server_runner.create_ollama_runner(
            OllamaChatModel(name="m", host="http://127.0.0.1:1"), make_job()
        )
    problem = caught.value.problems[0]
    assert problem.code == "ollama.not_running"
    assert "Then evaluate again" in str(problem.remedy)
    assert "Modelfile" not in str(problem.remedy)
    assert problem.where.step is None
