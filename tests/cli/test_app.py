"""The command line: errors are messages, never tracebacks; no heavy imports."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import typer

from lora_studio import __version__
from lora_studio.cli import headless
from lora_studio.cli.app import app
from lora_studio.cli.console import Display
from lora_studio.cli.headless import apply_overrides
from lora_studio.client import worker as client_worker
from lora_studio.core.problems import ProblemError
from lora_studio.core.project import access_requests, checks, project
from lora_studio.core.project.project import Draft, Project
from lora_studio.core.protocol import commands, events
from lora_studio.core.runs import folder
from lora_studio.core.system import locks
from tests.helpers.accepted_projects import list_new_requests
from tests.helpers.command_line import run_studio
from tests.helpers.window import fake_engine


@pytest.mark.slow
def test_version_option_prints_the_version() -> None:
    command = [sys.executable, "-m", "lora_studio", "--version"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=600, check=True)
    assert ended.stdout.strip() == __version__


@pytest.mark.slow
def test_missing_project_is_refused_with_a_message(tmp_path: Path) -> None:
    result = run_studio("run", str(tmp_path / "nothing"))
    assert result.returncode == 2
    assert "No project was found at" in result.stderr
    assert "Traceback" not in result.stdout + result.stderr


@pytest.mark.slow
def test_all_project_problems_are_shown_at_once(tmp_path: Path) -> None:
    project.create(tmp_path, "x", {"lora": {"rank": "many"}, "training": {"epochs": -1}})
    result = run_studio("run", str(tmp_path))
    assert result.returncode == 2
    for text in ("Rank", "Epochs", "No model selected", "No dataset selected"):
        assert text in result.stderr


@pytest.mark.slow
def test_json_problems_are_one_object_on_stdout(tmp_path: Path) -> None:
    project.create(tmp_path, "x")
    result = run_studio("run", "--json", str(tmp_path))
    assert result.returncode == 2
    codes = {item["code"] for item in json.loads(result.stdout)["problems"]}
    assert codes == {"model.none", "dataset.none"}


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["merge", "export", "watch", "resume", "pause", "metrics"])
def test_folder_that_is_not_a_run_is_refused(verb: str, tmp_path: Path) -> None:
    result = run_studio(verb, str(tmp_path))
    assert result.returncode in (1, 2)
    assert "run" in result.stderr
    assert "Traceback" not in result.stdout + result.stderr
    assert list(tmp_path.iterdir()) == []


def test_set_option_overrides_settings() -> None:
    draft = Draft()
    overrides = (
        "training.epochs=1.5",
        "export.quantizations=Q8_0, Q4_K_M",
        "model.double_quant=false",
    )
    apply_overrides(draft, overrides, Display())
    frozen = draft.freeze()
    assert frozen.training.epochs == 1.5
    assert frozen.export.quantizations == ("Q8_0", "Q4_K_M")
    assert frozen.model.double_quant is False


@pytest.mark.parametrize("override", ["quickly=1", "training.quickly=1", "magic.quickly=1"])
def test_unknown_setting_is_refused_with_the_valid_names(override: str) -> None:
    with pytest.raises(ProblemError, match=r"Unknown setting.*(Steps:|Fields of training:)"):
        apply_overrides(Draft(), [override], Display())


@pytest.mark.parametrize(
    ("overrides", "alpha"),
    [
        pytest.param(["lora.rank=8"], 16, id="follows"),
        pytest.param(["lora.rank=8", "lora.alpha=32"], 32, id="explicit"),
        pytest.param(["lora.alpha=32", "lora.rank=8"], 32, id="explicit-first"),
        pytest.param(["training.epochs=2"], 32, id="unrelated"),
    ],
)
def test_alpha_follows_a_rank_that_is_set(
    overrides: list[str], alpha: int, capsys: pytest.CaptureFixture[str]
) -> None:
    draft = Draft()
    apply_overrides(draft, overrides, Display())
    assert draft.freeze().lora.alpha == alpha
    assert ("lora.alpha is set to 16" in capsys.readouterr().err) == (alpha == 16)


@pytest.mark.slow
def test_cli_import_loads_no_other_command_torch_or_qt() -> None:
    code = (
        "import sys, lora_studio.cli.app; "
        "heavy = {'torch', 'transformers', 'PySide6', 'datasets', 'jinja2', 'lora_studio.cli.engine'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"


def test_every_command_is_found_by_its_name() -> None:
    group: Any = typer.main.get_command(app)
    assert [name for name, command in group.commands.items() if command.name != name] == []
    assert {"run", "data", "merge", "engine"} <= set(group.commands)
    assert set(group.commands["data"].commands) == {"inspect", "lint", "render"}


@pytest.mark.slow
def test_demo_in_an_unwritable_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = run_studio("demo", "--folder", str(tmp_path / "file" / "x"))
    assert result.returncode == 2
    assert "couldn't be created" in result.stderr
    assert "Traceback" not in result.stdout + result.stderr


@pytest.mark.slow
def test_background_training_is_paused_and_metrics_are_csv(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenario = tmp_path / "scenario.json"
    scenario.write_text(json.dumps({"train": [{"steps": 10_000, "seconds": 0.02}]}))
    monkeypatch.setenv("LORA_STUDIO_ENGINE", fake_engine.command_line(scenario))
    run = folder.create_run(tmp_path / "runs", Project(name="x"), tmp_path)
    assert "No training is in progress" in run_studio("pause", str(run.path)).stderr
    worker = client_worker.Worker.start(run)
    worker.send(commands.Train(run=str(run.path)))
    stream = worker.iter_events()
    next(event for event in stream if isinstance(event, events.StepDone))
    worker.detach()
    result = run_studio("pause", str(run.path))
    assert result.returncode == 0
    assert "`lora-studio resume" in result.stdout
    assert run.read_state() == "paused"
    assert not any(isinstance(event, events.Ending) for event in stream)
    lines = run_studio("metrics", str(run.path)).stdout.splitlines()
    assert lines[0].startswith("step,epoch,loss")
    assert len(lines) == 1 + run.list_checkpoint_steps()[-1]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="systemd-inhibit is a program of Linux")
def test_system_stays_awake_only_while_a_job_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenario, record = tmp_path / "scenario.json", tmp_path / "told.txt"
    scenario.write_text(
        json.dumps({"train": [{"await": str(record)}]})
    )  # the job runs until the program has started
    monkeypatch.setenv("LORA_STUDIO_ENGINE", fake_engine.command_line(scenario))
    monkeypatch.delenv("QT_QPA_PLATFORM", raising=False)
    program = tmp_path / "systemd-inhibit"
    program.write_text(
        f'#!/bin/sh\necho "$@ $$" > {record}.part && mv {record}.part {record}\nsleep 60\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    run = folder.create_run(tmp_path / "runs", Project(name="x"), tmp_path)
    assert run_studio("resume", str(run.path)).returncode == 0
    *arguments, pid = record.read_text().split()
    assert "--what=sleep:idle" in arguments
    assert not psutil.pid_exists(int(pid))


@pytest.mark.slow
def test_reward_model_is_neither_merged_nor_exported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    scenario = tmp_path / "scenario.json"
    scenario.write_text("{}")
    monkeypatch.setenv("LORA_STUDIO_ENGINE", fake_engine.command_line(scenario))
    frozen = Project.model_validate({"name": "x", "training": {"preference": "reward"}})
    run = folder.create_run(tmp_path / "runs", frozen, tmp_path)
    for task, stages in (("chat", 3), ("preference", 1)):
        run.update_manifest(dataset={"task": task})
        run.events_file.unlink(missing_ok=True)
        assert headless.run_stages(run, ("Train", "Merge", "Export"), Display()) == 0
        assert len(list(run.iter_events_of("done"))) == stages
    assert "neither merged nor exported" in " ".join(capsys.readouterr().out.split())


@pytest.mark.slow
def test_pause_is_refused_while_merging(tmp_path: Path) -> None:
    run = folder.create_run(tmp_path / "runs", Project(name="x"), tmp_path)
    started = events.Started(id="1", command="merge")
    run.events_file.write_text(events.to_line(started) + "\n", "utf-8")
    lock = locks.FileLock(run.lock_file)
    assert lock.acquire({"pid": os.getpid()})
    result = run_studio("pause", str(run.path))
    lock.release()
    assert result.returncode == headless.REFUSED
    assert "No training is in progress" in result.stderr


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no polite kill")
def test_sigterm_pauses_the_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scenario = tmp_path / "scenario.json"
    scenario.write_text(json.dumps({"train": [{"steps": 10_000, "seconds": 0.02}]}))
    monkeypatch.setenv("LORA_STUDIO_ENGINE", fake_engine.command_line(scenario))
    run = folder.create_run(tmp_path / "runs", Project(name="x"), tmp_path)
    command = [sys.executable, "-m", "lora_studio", "resume", "--json", str(run.path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = iter(process.stdout)
        next(line for line in lines if events.parse(line).kind == "step_done")
        process.terminate()
        ending = events.parse(list(lines)[-1])
    assert (
        process.returncode == headless.INTERRUPTED
    )  # so that no command that needs the adapter follows
    assert isinstance(ending, events.Done)
    assert ending.paused
    assert run.read_state() == "paused"


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="only Unix hangs up")
def test_training_survives_a_closed_terminal_with_a_guard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenario = tmp_path / "scenario.json"
    scenario.write_text(json.dumps({"train": [{"steps": 10_000, "seconds": 0.02}]}))
    monkeypatch.setenv("LORA_STUDIO_ENGINE", fake_engine.command_line(scenario))
    run = folder.create_run(tmp_path / "runs", Project(name="x"), tmp_path)
    command = [sys.executable, "-m", "lora_studio", "resume", "--json", str(run.path)]
    inherited = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup would have changed it
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        signal.signal(signal.SIGHUP, inherited)
        assert process.stdout is not None
        next(line for line in process.stdout if events.parse(line).kind == "step_done")
        process.send_signal(signal.SIGHUP)
        process.stdout.read()
    assert run.is_running()
    until = time.monotonic() + 120
    while not run.is_guarded():
        assert time.monotonic() < until
        time.sleep(0.1)
    assert run_studio("pause", str(run.path)).returncode == 0
    assert run.read_state() == "paused"
    while run.is_guarded():
        assert time.monotonic() < until + 600
        time.sleep(0.1)


ROWS = '{"question": "Where?", "answer": "Here."}\n'


@pytest.fixture
def data(tmp_path: Path) -> Path:
    file = tmp_path / "rows.jsonl"
    file.write_text(ROWS, "utf-8")
    return file


def create(folder: Path, *options: object, base: Path | None = None) -> tuple[int, str]:
    command = ("new", folder, "--model", "builtin:SmolLM2-135M-Instruct", *options)
    result = run_studio(*command, folder=base)
    return result.returncode, result.stdout + result.stderr


@pytest.mark.slow
def test_new_project_is_complete_and_known(tmp_path: Path, data: Path) -> None:
    options = ("--data", data.name, "--preset", "quick", "--set", "lora.use_dora=true", "--json")
    code, output = create(tmp_path / "My bot", *options, base=tmp_path)
    assert code == 0, output
    draft = project.load(tmp_path / "My bot")
    assert json.loads(output)["project"] == str(draft.path)
    assert draft.name == "My bot"
    assert draft.path == tmp_path / "My bot" / "My bot.lorastudio"
    assert not checks.filter_errors(checks.check(draft))
    frozen = draft.freeze()
    assert [source.path for source in frozen.dataset.sources] == [str(data)]
    assert (frozen.lora.use_dora, frozen.training.max_steps) == (True, 60)
    assert access_requests.list_requests(draft), "the data is outside of the project"
    assert list_new_requests(draft) == []


@pytest.mark.slow
def test_nothing_is_created_from_invalid_input(tmp_path: Path, data: Path) -> None:
    target = tmp_path / "bot"
    code, output = create(target, "--data", "some/missing.jsonl", base=tmp_path)
    assert code == 2
    assert f"{tmp_path / 'some' / 'missing.jsonl'} doesn't exist" in output
    code, output = create(target, "--data", data, "--set", "lora.rank=many")
    assert code == 2
    assert "isn't a whole number" in output
    code, output = create(target, "--data", "")
    assert code == 2
    assert "unexpected" not in output
    assert not target.exists()


@pytest.mark.slow
def test_existing_project_is_not_replaced(tmp_path: Path, data: Path) -> None:
    assert create(tmp_path / "bot", "--data", data)[0] == 0
    before = (tmp_path / "bot" / "bot.lorastudio").read_bytes()
    code, output = create(tmp_path / "bot", "--data", data, "--name", "other")
    assert code == 2
    assert "already contains a project" in output
    assert (tmp_path / "bot" / "bot.lorastudio").read_bytes() == before
