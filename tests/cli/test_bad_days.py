"""Commands in an unusual environment end with a problem that names the cause, never a traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="uses devices and names of Linux"),
]

#: What no user may meet.
FORBIDDEN = (
    "Traceback",
    "engine.unexpected",
    "command.unexpected",
    "The worker ended with",
    "Details are in the run's log",
)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project that can be listed but has no model."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "p.lorastudio").write_text('schema_version = 1\nname = "p"\n')
    (folder / "runs").mkdir()
    return folder


def run_cli(
    *arguments: str | Path,
    environment: dict[str, str | None] | None = None,
    prepare: Callable[[], None] | None = None,
    cwd: Path | None = None,
    stdout: int = subprocess.PIPE,
) -> subprocess.CompletedProcess[str]:
    """Run the program and check that its output has nothing that a user must not meet."""
    variables = {**os.environ, **(environment or {})}
    ended = subprocess.run(
        [sys.executable, "-P", "-m", "lora_studio", *map(str, arguments)],
        env={name: value for name, value in variables.items() if value is not None},
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        preexec_fn=prepare,
        cwd=cwd,
        timeout=300,
        check=False,
    )
    output = (ended.stdout or "") + ended.stderr
    for word in FORBIDDEN:
        assert word not in output, output
    assert ended.returncode >= 0
    return ended


HOMES: list[tuple[str, dict[str, str | None]]] = [
    ("no home", {"HOME": None}),
    ("missing home", {"HOME": "/nonexistent/home"}),
    ("home that can't be written", {"HOME": "/proc/home"}),
    ("home that is a file", {"HOME": "/etc/passwd"}),
    ("no temporary folder", {"TMPDIR": "/nonexistent"}),
    ("ASCII terminal", {"LC_ALL": "C", "PYTHONIOENCODING": "ascii"}),
    ("latin-1 terminal", {"PYTHONIOENCODING": "latin-1"}),
]


@pytest.mark.parametrize("variables", [pytest.param(each, id=name) for name, each in HOMES])
def test_runs_are_listed_without_a_usable_home(
    project: Path, variables: dict[str, str | None]
) -> None:
    folders = dict.fromkeys(
        ("LORA_STUDIO_DATA", "LORA_STUDIO_CONFIG", "LORA_STUDIO_CACHE", "LORA_STUDIO_LOGS")
    )
    (project / "runs" / "ä🙂").mkdir()
    ended = run_cli("runs", project, environment={**folders, **variables})
    assert ended.returncode == 0, ended.stderr


def test_full_stdout_is_reported(project: Path) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        ended = run_cli("runs", project, "--json", stdout=full)
    finally:
        os.close(full)
    assert ended.returncode == 1
    assert "No space left on device" in ended.stderr


def test_closed_pipe_ends_quietly(project: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        ended = run_cli("runs", project, "--json", stdout=writer)
    finally:
        os.close(writer)
    assert (ended.returncode, ended.stderr) == (1, "")


def test_closed_stdout_ends_quietly(project: Path) -> None:
    ended = run_cli("runs", project, prepare=lambda: os.close(1))
    assert (ended.returncode, ended.stderr) == (0, "")


def test_deleted_current_folder_is_no_obstacle(project: Path, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    assert run_cli("runs", project, cwd=gone, prepare=gone.rmdir).returncode == 0


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("\udcff\udcfe", id="not unicode"),
        pytest.param("x" * 300, id="too long"),
        pytest.param("~nobody/x", id="unknown user"),
    ],
)
def test_odd_project_name_is_a_problem(tmp_path: Path, name: str) -> None:
    ended = run_cli("runs", tmp_path / name)
    assert ended.returncode == 2
    assert "Problem" in ended.stdout
