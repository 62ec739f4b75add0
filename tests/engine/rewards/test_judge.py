"""A judge model as a reward: its grades, and failures that are counted."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from lora_studio.core.problems import ProblemError
from lora_studio.core.project import access_requests
from lora_studio.core.project.project import Draft
from lora_studio.core.rewards.spec import RatedAnswer, RewardSpec
from lora_studio.core.system import consent
from lora_studio.core.tasks.samples import Message
from lora_studio.engine.rewards.judge import build_grade_prompt, open_judge, parse_grade
from lora_studio.engine.rewards.registry import ScoredAnswers, open_rewards
from tests.helpers.accepted_projects import accept_project, list_new_requests
from tests.helpers.runs.jobs import make_job

PROMPT = (Message(role="user", content="What is 6 · 7?"),)


class Judge(BaseHTTPRequestHandler):
    """Grades the answer 42 with 9, refuses to grade 0, and fails for 13."""

    def do_POST(self) -> None:
        """Answer a request for a chat completion."""
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        prompt = body["messages"][0]["content"]
        reply = "Right. [[9]]" if "<answer>\n42\n" in prompt else "I won't grade this."
        content = {"choices": [{"message": {"content": reply}, "finish_reason": "stop"}]}
        failed = "\n13\n" in prompt or self.path != "/v1/chat/completions"
        plain = json.dumps({"error": {"message": "out of memory"}} if failed else content).encode()
        self.send_response(500 if failed else 200)
        self.send_header("content-length", str(len(plain)))
        self.end_headers()
        self.wfile.write(plain)

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@pytest.fixture
def address() -> Iterator[str]:
    """Return the address of a judge."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Judge)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def score(spec: RewardSpec, *answers: str) -> ScoredAnswers:
    """Return the ratings of answers by a judge."""
    rated = [RatedAnswer(PROMPT, answer, "42", {}, True, 1) for answer in answers]
    with open_rewards([spec], make_job()) as rewards:
        return rewards.score(rated)


def test_judge_grades_what_it_can(address: str) -> None:
    scored = score(RewardSpec(kind="judge", address=address, model="m"), "42", "0", "13")
    assert scored.totals == [0.9, None, None]
    reasons = [str(failure.reason) for failure in scored.failures]
    assert "won't grade" in reasons[0]
    assert "out of memory" in reasons[1]


def test_judge_that_is_away_is_counted() -> None:
    spec = RewardSpec(kind="judge", server="openai", address="http://127.0.0.1:9/v1", model="m")
    scored = score(spec, *["42"] * 8)
    assert scored.totals == [None] * 8
    assert "didn't answer" in str(scored.failures[-1].reason)


def test_missing_key_is_a_problem_before_training(address: str) -> None:
    spec = RewardSpec(kind="judge", address=address, model="m", key_variable="NO_SUCH_KEY")
    with pytest.raises(ProblemError) as raised:
        score(spec, "42")
    assert raised.value.problems[0].code == "evaluation.no_key"


@pytest.mark.parametrize(
    ("reply", "grade"),
    [("[[10]]", 1.0), ("Not [[2]], but [[7,5]]", 0.75), ("[[11]]", None), ("7", None), ("[[3/10]]", 0.3)],
)  # fmt: skip
def test_last_grade_of_a_reply_counts(reply: str, grade: float | None) -> None:
    assert parse_grade(reply) == grade


def test_prompt_shows_request_reference_and_answer() -> None:
    prompt = build_grade_prompt(RatedAnswer(PROMPT, "43", "42", {}, True, 1), "Be strict.")
    assert "user: What is 6 · 7?" in prompt
    assert "<reference>\n42\n</reference>" in prompt
    assert "<answer>\n43\n</answer>" in prompt
    assert "Be strict." in prompt


@pytest.mark.parametrize("variable", ["", "PATH"])
def test_judge_elsewhere_is_asked_only_with_consent(
    variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LORA_STUDIO_CONFIG", str(tmp_path / "config"))
    address = "http://127.0.0.1:9" if variable else "http://judge.example"
    reward = {"kind": "judge", "address": address, "model": "m", "key_variable": variable}
    spec = RewardSpec.model_validate(reward)
    with pytest.raises(ProblemError) as caught:
        open_judge(spec, "judge", make_job())
    (problem,) = caught.value.problems
    assert problem.code == "training.judge_not_trusted"
    assert (variable or address) in str(problem.what)
    draft = Draft(path=tmp_path / "p.lorastudio")
    draft.set("training", "rewards", [reward])
    # The terminal shows what a project asks for, but doesn't allow it.
    judges = access_requests.list_unallowed_judges(draft)
    others = [each for each in list_new_requests(draft) if each not in judges]
    access_requests.accept_requests(draft, others)
    with pytest.raises(ProblemError):
        open_judge(spec, "judge", make_job())
    with monkeypatch.context() as allowed:
        allowed.setenv(consent.TRUST_VARIABLE, str(problem.remedy.values["digest"]))
        open_judge(spec, "judge", make_job())
    accept_project(draft)  # as the window does
    open_judge(spec, "judge", make_job())


@pytest.mark.parametrize(
    "reply", ["", "[[11]]", "\x1b]52;c;eA==\x07 [[x]]", "[[" * 200_000, "[[ " + " " * 200_000]
)
def test_nonsense_of_a_judge_is_no_grade(reply: str) -> None:
    assert parse_grade(reply) is None
