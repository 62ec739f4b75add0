"""Evaluations by the real worker: paused, killed in the middle, and continued."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from lora_studio.client.worker import Worker
from lora_studio.core.chat import Sampling
from lora_studio.core.evaluation import storage
from lora_studio.core.evaluation.columns import Column, ServerModel
from lora_studio.core.evaluation.plan import EvaluationPlan
from lora_studio.core.evaluation.results import EvaluationResults
from lora_studio.core.evaluation.test_sets import HeldoutRows
from lora_studio.core.project.project import Project
from lora_studio.core.protocol import commands, events
from lora_studio.core.runs import folder
from lora_studio.core.runs.folder import RunFolder
from tests.helpers.servers.ports import run_server

pytestmark = pytest.mark.slow

ITEMS = 60
#: Requests that a column has under way, and that a kill loses.
_PARALLEL = 4


class SlowModel:
    """A server whose answers take a tenth of a second; it counts what it is asked."""

    def __init__(self) -> None:
        """Start without questions."""
        self.asked: Counter[str] = Counter()
        self.address = ""
        self.reached = threading.Event()
        self._limit = ITEMS

    def wait_for(self, answers: int) -> None:
        """Wait until this many questions were asked."""
        self._limit = answers
        self.reached.clear()
        assert self.reached.wait(600)

    def ask(self, question: str) -> None:
        self.asked[question] += 1
        if self.asked.total() >= self._limit:
            self.reached.set()
        time.sleep(0.1)


@pytest.fixture
def model() -> Iterator[SlowModel]:
    slow = SlowModel()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            slow.ask(body["messages"][-1]["content"])
            choice = {"message": {"content": "yes"}, "finish_reason": "stop"}
            content = json.dumps({"choices": [choice]}).encode()
            with suppress(OSError):  # the worker may be dead
                self.send_response(200)
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    slow.address = f"http://127.0.0.1:{server.server_address[1]}/v1"
    with run_server(server):
        yield slow


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """A run without a model of its own, with rows that were held out."""
    monkeypatch.setenv("LORA_STUDIO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("LORA_STUDIO_LOGS", str(tmp_path / "logs"))
    new_run = folder.create_run(tmp_path / "runs", Project(name="bot"), tmp_path)
    rows = (
        {"messages": [{"role": "user", "content": f"Is {n} a number?"}, {"role": "assistant", "content": "yes"}]}
        for n in range(ITEMS)
    )  # fmt: skip
    new_run.heldout_file.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return new_run


def read(run: RunFolder) -> EvaluationResults:
    results = storage.read_latest(run.evaluations_folder)
    assert results is not None
    return results


def _find_ending(stream: Iterator[events.Event], command: str) -> events.Event:
    """Return the final event of a command."""
    kinds = (events.Done, events.Failed, events.Cancelled)
    return next(each for each in stream if each.id == command and isinstance(each, kinds))


def test_pause_and_kill_lose_no_answer_that_was_recorded(run: RunFolder, model: SlowModel) -> None:
    plan = EvaluationPlan(
        columns=(Column(key="served", model=ServerModel(address=model.address, name="m")),),
        test_sets=(HeldoutRows(),),
        metrics=("exact",),
        sampling=Sampling(temperature=0.0, max_tokens=4),
    )
    worker = Worker.start(run)
    first = commands.Evaluate(run=str(run.path), plan=plan)
    worker.send(first)
    model.wait_for(16)
    worker.send(commands.Pause(target=first.id))
    stream = worker.iter_events()
    ending = _find_ending(stream, first.id)
    assert isinstance(ending, events.Done)
    assert ending.paused
    paused = read(run)
    assert not paused.is_complete
    assert 8 <= len(paused.answers) < ITEMS

    again = commands.Evaluate(run=str(run.path), evaluation=paused.folder.name)
    worker.send(again)
    model.wait_for(model.asked.total() + 16)
    worker.kill()  # SIGKILL
    assert isinstance(_find_ending(stream, again.id), events.Failed)
    killed = read(run)
    assert len(paused.answers) < len(killed.answers) < ITEMS
    assert not killed.is_complete

    worker = Worker.start(run)
    last = again.model_copy(update={"id": f"{again.id}2"})
    worker.send(last)
    worker.close()
    assert isinstance(_find_ending(worker.iter_events(), last.id), events.Done)
    results = read(run)
    assert results.folder == paused.folder
    assert results.is_complete
    assert results.get_scores("heldout", "served", "exact") == {
        item.id: 1.0 for item in results.items
    }
    assert len(results.items) == len(model.asked) == ITEMS
    assert model.asked.total() <= ITEMS + 2 * _PARALLEL  # what was under way is asked again
