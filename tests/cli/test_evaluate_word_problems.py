"""A second task on the command line: word problems, with a better, an equal, and a worse model planted.

The models are stored answers on a local server with OpenAI's interface, so that it is known what has to
come out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lora_studio.cli.app import app
from lora_studio.core.evaluation.forgetting import load_forgetting_items
from lora_studio.core.project.project import Project
from lora_studio.core.runs import folder
from lora_studio.core.runs.folder import RunFolder
from tests.helpers.runs.word_problems import make_word_problems
from tests.helpers.servers.ports import run_server

pytestmark = pytest.mark.slow

COUNT = 120

#: Which problems each model solves, by their number. Of 120, the base model solves 72.
SOLVED: dict[str, Callable[[int], bool]] = {
    "base": lambda n: n % 5 < 3,
    "better": lambda n: n % 10 != 9,
    "equal": lambda n: n in (3, 8, 13, 18) or (n % 5 < 3 and n not in (0, 1, 2)),
    "worse": lambda n: n % 10 < 3,
}


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """A server of the four models; the problems are in `problems.jsonl`."""
    rows = make_word_problems(COUNT)
    (tmp_path / "problems.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    numbers = {row["question"]: number for number, row in enumerate(rows)}
    solutions = {row["question"]: row["answer"] for row in rows}
    general = {item.question: item for item in load_forgetting_items()}

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            model, question = body["model"], body["messages"][-1]["content"]
            if question in numbers:
                is_solved = SOLVED[model](numbers[question])
                text = f"Step by step, that makes {solutions[question] if is_solved else -1}."
            elif model == "worse" and general[question].category == "arithmetic":
                text = "I don't know."
            else:
                text = general[question].reference or ""
            choice = {"message": {"content": text}, "finish_reason": "stop"}
            content = json.dumps({"choices": [choice], "usage": {"completion_tokens": 9}}).encode()
            with suppress(OSError):
                self.send_response(200)
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    with run_server(server):
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """A run without a model of its own."""
    return folder.create_run(tmp_path / "runs", Project(name="sums"), tmp_path)


def test_planted_models_get_their_verdicts(run: RunFolder, address: str, tmp_path: Path) -> None:
    out = tmp_path / "results.json"
    models = [option for name in SOLVED for option in ("--against", f"{address}#{name}")]
    sets = ["--test", str(tmp_path / "problems.jsonl"), "--test", "forgetting"]
    call = ["evaluate", str(run.path), *models, *sets, "--limit", str(COUNT), "--out", str(out)]
    result = CliRunner().invoke(app, call)
    shown = " ".join(result.output.split())
    assert result.exit_code == 0, shown
    means = json.loads(out.read_text("utf-8"))["means"]
    (key,) = (each for each in means if each.startswith("file:"))
    solved = {name: sum(map(is_solved, range(COUNT))) for name, is_solved in SOLVED.items()}
    assert solved == {"base": 72, "better": 108, "equal": 73, "worse": 36}
    assert means[key]["number"] == {name: count / COUNT for name, count in solved.items()}

    # 36 rows fixed, none broken: McNemar's p is 2 · 0.5³⁶.
    assert "Compared with base" in shown
    assert re.search(r"better: Better: 60 % → 90 % \(\+2\d to \+3\d points\)", shown)
    # 4 fixed and 3 broken: σ² = (7 − 1/120)/119, δ = 1/120, n = 7.849·σ²/δ² = 6,641.
    assert "equal: No difference shown (60 % → 61 %); 6,700 rows would be needed" in shown
    assert re.search(r"worse: Worse: 60 % → 30 % \(−3\d to −2\d points\)", shown)
    assert "worse: Forgot: −100 points in arithmetic" in shown
    assert "equal: No forgetting shown" in shown
    assert "better: No forgetting shown" in shown
    assert "can't be measured: Perplexity of the reference and Multiple choice." in shown
