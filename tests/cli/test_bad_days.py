"""Commands in an unusual environment end with a problem that names the cause, never a traceback."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lora_studio.core.runs.folder import RunFolder
from tests.helpers.models.tiny_models import tiny_model
from tests.helpers.runs.jobs import write_rows

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


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model."""
    return tiny_model("llama3", tmp_path_factory.mktemp("model"))


@pytest.fixture
def trainable(project: Path, model: Path) -> Path:
    """A project that trains 16 steps of a tiny model in seconds, with a checkpoint after every second step."""
    rows = [{"instruction": f"What is {n}?", "output": f"It is {n}, said Pim."} for n in range(20)]
    write_rows(project / "rows.jsonl", rows)
    (project / "p.lorastudio").write_text(
        f"""schema_version = 1
name = "p"
model = {{source = "{model}", precision = "fp32", device = "cpu"}}
lora = {{rank = 4, alpha = 8}}
dataset = {{sources = ["rows.jsonl"], validation_count = 4, max_length = 256}}
training = {{epochs = 4, micro_batch = 2, gradient_accumulation = 2, sample_rows = 0, save_every = 2}}
"""
    )
    return project


#: Without variables that move folders of the user away from HOME.
UNMOVED: dict[str, str | None] = dict.fromkeys(
    ("LORA_STUDIO_DATA", "LORA_STUDIO_CONFIG", "LORA_STUDIO_CACHE", "LORA_STUDIO_LOGS")
)

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
    (project / "runs" / "ä🙂").mkdir()
    ended = run_cli("runs", project, environment=UNMOVED | variables)
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize(
    ("command", "home"),
    [
        pytest.param(
            "estimate", "/etc/passwd", id="estimate, home is a file", marks=pytest.mark.thorough
        ),
        pytest.param("train", "/proc/home", id="train, home can't be written"),
    ],
)
def test_unwritable_home_is_named(trainable: Path, command: str, home: str) -> None:
    ended = run_cli(command, trainable, environment=UNMOVED | {"HOME": home})
    assert ended.returncode == 1
    assert f"the cache folder {home}/.cache/lora-studio can't be written to" in ended.stderr


_WINDOW = """
import sys
import time
from PySide6.QtCore import QTimer
from PySide6.QtWidgets import QApplication, QLabel
from lora_studio.gui import app

def end_once_reported():
    texts = [label.text() for label in QApplication.allWidgets() if isinstance(label, QLabel)]
    if any("can't be written to" in text for text in texts) or time.monotonic() > latest:
        print(texts)
        QApplication.quit()

latest = time.monotonic() + 120
timer = QTimer(interval=200)
timer.timeout.connect(end_once_reported)
prepare = app.prepare
def prepare_to_end(application):
    timer.start()
    return prepare(application)
app.prepare = prepare_to_end
sys.exit(app.main([]))
"""


def test_window_opens_without_a_usable_home() -> None:
    environment = {name: value for name, value in os.environ.items() if name not in UNMOVED}
    ended = subprocess.run(
        [sys.executable, "-c", _WINDOW],
        env=environment | {"HOME": "/etc/passwd", "QT_QPA_PLATFORM": "offscreen"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert "Traceback" not in ended.stderr
    assert "/etc/passwd/.config/lora-studio can't be written to" in ended.stdout


@pytest.mark.thorough
def test_trainings_at_once_outlive_their_output(trainable: Path) -> None:
    command = [sys.executable, "-P", "-m", "lora_studio", "train", str(trainable)]
    poor = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii", "TMPDIR": "/nonexistent"}
    piped = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    other = subprocess.Popen(
        command,
        env={**os.environ, **poor},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert piped.stdout is not None
    assert piped.stderr is not None
    assert any(line.strip() == "Train" for line in piped.stdout)  # its run exists now
    piped.stdout.close()  # as `head` does
    output = "".join(other.communicate(timeout=300))
    error = piped.stderr.read()
    piped.wait(timeout=300)
    piped.stderr.close()
    assert other.returncode == 0, output
    assert "Traceback" not in output + error
    runs = [RunFolder(path) for path in (trainable / "runs").iterdir()]
    assert len(runs) == 2
    until = time.monotonic() + 120
    while any(run.is_running() for run in runs) and time.monotonic() < until:
        time.sleep(0.1)  # the command has ended with its output, the worker continues
    assert [(run.read_state(), run.has_adapter) for run in runs] == [("trained", True)] * 2


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
        pytest.param("~unknown-user/x", id="unknown user"),
    ],
)
def test_odd_project_name_is_a_problem(tmp_path: Path, name: str) -> None:
    ended = run_cli("runs", tmp_path / name)
    assert ended.returncode == 2
    assert "Problem" in ended.stderr
