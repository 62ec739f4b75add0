"""Fixtures of all tests: an isolated data folder, so that tests never touch the user's."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from pytestqt.qtbot import QtBot

#: Longest wait for something in a window, in milliseconds, where a test says nothing else. pytest-qt
#: gives up after five seconds, in which a machine that is busy may not get to a timer's turn.
PATIENCE = 120_000

for wait in (QtBot.waitUntil, QtBot.waitSignal, QtBot.waitSignals, QtBot.waitExposed):
    assert wait.__kwdefaults__["timeout"] == 5000, "pytest-qt takes its defaults from elsewhere now"
    wait.__kwdefaults__["timeout"] = PATIENCE

# By the clock of the wall an example may take any time on a busy machine, and the same examples each
# time let a change fail for what it changed alone; `--hypothesis-profile=explore` looks for others.
settings.register_profile(
    "same", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile(
    "explore", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("same")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Shows beside a failure all that the processes of the test have said: what fails once in a hundred
    runs is told by that alone."""
    report = yield
    if not report.failed or call.excinfo is None:
        return report
    error = call.excinfo.value
    if isinstance(error, subprocess.CalledProcessError | subprocess.TimeoutExpired):
        for name in ("stdout", "stderr"):
            said = getattr(error, name) or ""
            text = said.decode(errors="replace") if isinstance(said, bytes) else said
            report.sections.append((f"{name} of the process", text))
    folder = getattr(item, "funcargs", {}).get("tmp_path")
    for log in sorted(Path(folder).rglob("*log*")) if folder else ():
        if log.is_file() and log.name in ("log.txt", "worker.log", "setup.log"):
            report.sections.append((str(log), log.read_text("utf-8", errors="replace")))
    return report


@pytest.fixture(scope="session", autouse=True)
def _own_data_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    before = os.environ.get("LORA_STUDIO_DATA")
    os.environ["LORA_STUDIO_DATA"] = str(tmp_path_factory.mktemp("data"))
    yield
    if before is None:
        del os.environ["LORA_STUDIO_DATA"]
    else:
        os.environ["LORA_STUDIO_DATA"] = before
