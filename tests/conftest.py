"""Fixtures of all tests: isolated data and configuration, so that tests never touch the user's."""

from __future__ import annotations

import gc
import subprocess
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from pytestqt.qtbot import QtBot

from lora_studio.core.system import foreign_files
from lora_studio.engine.runtime import fast_imports
from tests.helpers.faults.preloaded import get_shared, share

fast_imports.hide_rarely_used_packages()  # as in a worker
gc.disable()  # until the tests run

#: Default timeout of pytest-qt's waits, in milliseconds; its default of 5 s is too short on a busy machine.
PATIENCE = 120_000

for wait in (QtBot.waitUntil, QtBot.waitSignal, QtBot.waitSignals, QtBot.waitExposed):
    assert wait.__kwdefaults__["timeout"] == 5000, "pytest-qt moved its default timeouts"
    wait.__kwdefaults__["timeout"] = PATIENCE

# No deadline, because a busy machine may pause at any time; and the same examples in each run, so that
# a failure is caused by the change itself. `--hypothesis-profile=explore` tries other examples.
settings.register_profile(
    "same", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile(
    "explore", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("same")


@pytest.hookimpl(tryfirst=True)  # before tests are selected by their marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every thorough test as slow, so that the fast tier has none."""
    for item in items:
        if item.get_closest_marker("thorough"):
            item.add_marker(pytest.mark.slow)


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """Exclude the imported libraries, a million objects, from all garbage collections of the tests."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(tryfirst=True)  # also in the process that hands out the tests, which collects none
def pytest_runtestloop() -> None:
    """Collect garbage again."""
    gc.enable()


def pytest_unconfigure() -> None:
    """Let the interpreter collect everything at its end, which some libraries check."""
    gc.unfreeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the output and logs of the test's processes to the report of a failure."""
    report = yield
    if not report.failed or call.excinfo is None:
        return report
    error = call.excinfo.value
    if isinstance(error, subprocess.CalledProcessError | subprocess.TimeoutExpired):
        for name in ("stdout", "stderr"):
            output = getattr(error, name) or ""
            text = output.decode(errors="replace") if isinstance(output, bytes) else output
            report.sections.append((f"{name} of the process", text))
    folder = getattr(item, "funcargs", {}).get("tmp_path")
    for log in sorted(Path(folder).rglob("*log*")) if folder else ():
        if log.is_file() and log.name in ("log.txt", "worker.log", "setup.log"):
            report.sections.append((str(log), log.read_text("utf-8", errors="replace")))
    return report


@pytest.fixture(scope="session", autouse=True)
def _own_folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LORA_STUDIO_DATA", str(tmp_path_factory.mktemp("data")))
        patch.setenv("LORA_STUDIO_CONFIG", str(tmp_path_factory.mktemp("config")))
        patch.setenv("LORA_STUDIO_LOGS", str(tmp_path_factory.mktemp("logs")))
        yield


@pytest.fixture(scope="session", autouse=True)
def _shared_python(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Let tests of this process share a Python with the imports of workers."""
    with share(tmp_path_factory.mktemp("shared")):
        yield


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty cache folder of the program, which isn't the user's."""
    monkeypatch.setenv("LORA_STUDIO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def quick_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start workers in forks of a process that has imported what they need."""
    for name, value in get_shared().engine_variable().items():
        monkeypatch.setenv(name, value)


@pytest.fixture(autouse=True)
def _no_notices_of_other_tests() -> None:
    """Forget what earlier tests damaged: the next job in this process would warn of it."""
    foreign_files.collect_notices()
