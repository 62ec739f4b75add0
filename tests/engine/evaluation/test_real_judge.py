"""A real judge and a real column on llama.cpp's server, which stops in the middle and comes back."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from lora_studio.core.chat import Sampling
from lora_studio.core.evaluation import preferences, report, storage
from lora_studio.core.evaluation.columns import Column, ServerModel
from lora_studio.core.evaluation.plan import EvaluationPlan, JudgeSettings
from lora_studio.core.evaluation.results import EvaluationResults
from lora_studio.core.evaluation.test_sets import HeldoutRows
from lora_studio.core.protocol import commands, events
from lora_studio.core.runs import chat_models
from lora_studio.core.runs.folder import RunFolder
from lora_studio.engine.evaluation import evaluation
from lora_studio.engine.export.gguf import converter
from tests.helpers.models.llama_cpp_folder import llama_cpp_folder
from tests.helpers.runs.jobs import handle, recorded_job
from tests.helpers.runs.tiny_run import tiny_run
from tests.helpers.servers import llama_server
from tests.helpers.servers.ports import free_port

pytestmark = pytest.mark.slow

ITEMS = 8
#: A tiny model says nothing sensible; the server's grammar makes each of its answers a verdict.
_GRAMMAR = 'root ::= "[[A]]" | "[[B]]" | "[[tie]]"'


@dataclass
class Server:
    """llama-server with a model, on a port that stays the same when it starts again."""

    program: Path
    file: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        options = ["--port", str(self.port), "--ctx-size", "8192", "--parallel", "2", "--no-warmup", "--threads", "1"]  # fmt: skip
        self.process = subprocess.Popen(
            [self.program, "-m", self.file, *options, "--grammar", _GRAMMAR, "--alias", "tiny judge"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            env=os.environ | {"LLAMA_ARG_OFFLINE": "1"},
        )  # fmt: skip
        address = f"http://127.0.0.1:{self.port}/health"
        for _ in range(600):
            try:
                if httpx.get(address, trust_env=False).is_success:
                    return
            except httpx.HTTPError:
                time.sleep(0.1)
        raise TimeoutError(address)

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


@contextmanager
def serve(file: Path) -> Iterator[Server]:
    outcome = llama_server.install()
    if isinstance(outcome, str):
        pytest.skip(outcome)
    server = Server(outcome.program, file, free_port())
    server.start()
    try:
        yield server
    finally:
        server.stop()


def read(run: RunFolder) -> EvaluationResults:
    results = storage.read_latest(run.evaluations_folder)
    assert results is not None
    return results


def test_real_judge_survives_the_end_of_its_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluation, "get_cache_folder", lambda: tmp_path / "cache")
    run = tiny_run("llama3", tmp_path)
    job, _ = recorded_job()
    file = tmp_path / "tiny.gguf"
    converter.convert(tmp_path / "base", file, "tiny", str(llama_cpp_folder(tmp_path / "llama.cpp")), job)  # fmt: skip
    with serve(file) as server:
        model = ServerModel(address=f"http://127.0.0.1:{server.port}/v1", name="tiny judge")
        plan = EvaluationPlan(
            columns=(*chat_models.list_run_columns(run)[:2], Column(key="served", model=model)),
            test_sets=(HeldoutRows(limit=ITEMS),),
            metrics=("exact", "perplexity"),
            sampling=Sampling(temperature=0.0, top_p=1.0, max_tokens=6),
            judge=JudgeSettings(model=model, baseline="base"),
        )

        def stop_while_judging(event: events.Event, _: object) -> None:
            if isinstance(event, events.Progress) and "judging" in str(event.stage) and event.done:
                server.stop()

        handle(commands.Evaluate(run=str(run.path), plan=plan), stop_while_judging)
        stopped = read(run)
        assert stopped.facts.judge_problem is not None
        assert stopped.facts.judge_problem.code == "evaluation.server_unreachable"
        assert stopped.is_complete  # nothing but the judge is missing
        assert len(stopped.answers) == 3 * ITEMS
        assert len(stopped.judgments) < 2 * ITEMS
        served = [row for (_, key), row in stopped.answers.items() if key == "served"]
        assert all(row.problem is None and row.answer.startswith("[[") for row in served)
        assert "didn't answer" in report.build_report(stopped).replace("&#39;", "'")

        server.start()
        handle(commands.Evaluate(run=str(run.path), evaluation=stopped.folder.name))
    results = read(run)
    assert results.facts.judge_problem is None
    found = preferences.count_judgments(results)
    assert [(each.column, each.baseline, each.judge) for each in found] == [
        ("adapter", "base", "tiny judge"), ("served", "base", "tiny judge"),
    ]  # fmt: skip
    assert [(each.compared, each.unknown) for each in found] == [(ITEMS, 0)] * 2
