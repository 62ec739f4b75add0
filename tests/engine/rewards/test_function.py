"""A Python function as a reward: consent by hash, limits, and failures with their reason."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from lora_studio.core.problems import ProblemError
from lora_studio.core.rewards import spec as spec_module
from lora_studio.core.rewards.spec import RatedAnswer, RewardSpec
from lora_studio.core.system import consent
from lora_studio.engine.rewards.registry import ScoredAnswers, open_rewards
from tests.helpers.runs.jobs import make_job

ANSWERS = [RatedAnswer((), text, "yes", {"city": "Bonn"}, True, 1) for text in ("yes", "no", "bad")]

SOURCE = """
import socket, subprocess, sys, time
print("noise on stdout")

def compare(answer, reference, columns):
    print("more noise")
    assert columns == {"city": "Bonn"}
    if answer == "bad":
        raise ValueError("what a word")
    return answer == reference

def hang(answer):
    if answer == "no":
        time.sleep(60)
    return len(answer)

def grow(answer):
    return len(bytearray(4_000_000_000))

def leave(answer):
    import os
    os._exit(3)

def contact(answer):
    if answer == "yes":
        socket.create_connection(("127.0.0.1", 9), 1)
    subprocess.run([sys.executable, "-c", ""])

def share(answer):
    import mmap
    return len(mmap.mmap(-1, 4_000_000_000))

def flood(answer):
    import os
    for number in range(3, 20):
        try:
            for _ in range(100):
                os.write(number, b"{}\\n" * 10_000)
        except OSError:
            pass
    os._exit(3)

def look(answer):
    import os
    opened = [os.path.realpath(f"/proc/self/fd/{number}") for number in os.listdir("/proc/self/fd")]
    secrets = [name for name in os.environ if "SECRET" in name or name == "HOME"]
    raise ValueError(f"sees {[each for each in opened if 'rate.py' in each] + secrets}")

def nothing(**everything):
    return None if len(everything) == 4 else 1
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Return a file with functions that is allowed to run."""
    file = tmp_path / "rate.py"
    file.write_text(SOURCE, "utf-8")
    consent.trust(spec_module.find_code(file))
    return file


def score(file: Path, function: str, **settings: Any) -> ScoredAnswers:
    """Return the ratings by a function of a file."""
    spec = RewardSpec(kind="python", code_file=str(file), function=function, **settings)
    with open_rewards([spec], make_job()) as rewards:
        return rewards.score(ANSWERS)


def test_code_runs_only_with_consent_to_its_content(source: Path) -> None:
    source.write_text(SOURCE + "# changed", "utf-8")
    with pytest.raises(ProblemError) as raised:
        score(source, "compare")
    problem = raised.value.problems[0]
    assert problem.code == "training.code_not_trusted"
    assert problem.where.file == str(source)


def test_missing_file_is_a_problem(tmp_path: Path) -> None:
    with pytest.raises(ProblemError) as raised:
        score(tmp_path / "gone.py", "compare")
    assert raised.value.problems[0].code == "training.reward_unreadable"


@pytest.mark.slow
def test_an_error_costs_only_the_value_of_its_answer(source: Path) -> None:
    scored = score(source, "compare")
    assert scored.totals == [1.0, 0.0, None]
    assert "ValueError: what a word" in str(scored.failures[0].reason)


@pytest.mark.slow
def test_a_function_that_hangs_is_ended_and_started_again(source: Path) -> None:
    began = time.monotonic()
    scored = score(source, "hang", seconds=1.0)
    assert scored.totals == [3.0, None, 3.0]
    assert "longer than 1" in str(scored.failures[0].reason)
    assert time.monotonic() - began < 50


@pytest.mark.slow
@pytest.mark.parametrize(
    ("function", "reason"),
    [
        ("grow", "MemoryError"),
        ("leave", "process ended"),
        ("contact", "PermissionError"),
        ("share", "MemoryError"),
        ("flood", "The function"),
        ("look", "sees []"),
        ("nothing", "returned None"),
        ("absent", "no function named absent"),
    ],
)
def test_failures_are_counted_with_their_reason(
    source: Path, function: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET", "x")
    with source.open() as inherited:
        os.set_inheritable(inherited.fileno(), True)
        scored = score(source, function)
    assert scored.totals == [None] * 3
    assert all(reason in str(failure.reason) for failure in scored.failures)
