"""`lora-studio engine`: output and refusals. Complete setups are in test_operations.py."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from lora_studio import __main__
from lora_studio.cli.app import app
from lora_studio.core.system import offline
from lora_studio.setup import engines, folders
from lora_studio.setup.folders import EngineRoot
from tests.setup.test_engines import make


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EngineRoot:
    monkeypatch.setenv(folders.VARIABLE, str(tmp_path / "my engines"))
    monkeypatch.setenv("LORA_STUDIO_LOGS", str(tmp_path / "logs"))
    monkeypatch.delenv("LORA_STUDIO_ENGINE", raising=False)
    return folders.get_root()


def engine(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["engine", *arguments])


def printed_json(result: Result) -> Any:
    return json.loads(result.stdout)


def test_status_shows_engine_folder_and_machine(root: EngineRoot) -> None:
    status = printed_json(engine("status", "--json"))
    assert status["engine"] is None
    assert status["folder"] == str(root.path)
    assert status["machine"]["variant"] in ("cpu", "cuda", "rocm", "mps")
    installed = make(root, "cpu-1")
    engines.switch_engine(installed, root)
    status = printed_json(engine("status", "--json"))
    assert status["engine"]["name"] == "cpu-1"
    assert status["python"] == str(installed.python)


def test_status_fails_for_an_engine_of_another_version(
    root: EngineRoot,
) -> None:
    engines.switch_engine(make(root, "cpu-1", app_version="0.0.1"), root)
    result = engine("status", "--json")
    assert result.exit_code == 1
    assert printed_json(result)["problems"][0]["code"] == "engine.version"


def test_list_marks_the_engine_in_use(root: EngineRoot) -> None:
    make(root, "cuda-1", variant="cuda")
    engines.switch_engine(make(root, "cpu-1"), root)
    listed = {one["name"]: one["in_use"] for one in printed_json(engine("list", "--json"))}
    assert listed == {"cpu-1": True, "cuda-1": False}


def test_use_and_rollback_switch_between_engines(root: EngineRoot) -> None:
    make(root, "cuda-1", variant="cuda")
    engines.switch_engine(make(root, "cpu-1"), root)
    assert printed_json(engine("use", "cuda", "--json"))["name"] == "cuda-1"
    assert printed_json(engine("rollback", "--json"))["name"] == "cpu-1"


def test_switching_to_another_version_shows_a_warning(root: EngineRoot) -> None:
    make(root, "cuda-1", variant="cuda", app_version="0.0.1")
    engines.switch_engine(make(root, "cpu-1"), root)
    used = engine("use", "cuda")
    assert "Switched to engine cuda-1." in used.stdout
    warned = " ".join(used.stderr.split())
    assert "The engine has version 0.0.1" in warned
    assert "`lora-studio engine update`" in warned
    assert not engine("use", "cpu").stderr


def test_removing_reports_progress_in_bytes(root: EngineRoot) -> None:
    old = make(root, "cpu-1", bytes="5000")
    (old.folder / "library").write_bytes(bytes(5000))
    lines = [json.loads(line) for line in engine("remove", "cpu-1", "--json").stdout.splitlines()]
    progress = next(line for line in lines if line["kind"] == "progress")
    assert (progress["stage"]["text"], progress["total"], progress["unit"]) == (
        "Removing",
        5000,
        "B",
    )
    assert lines[-1]["kind"] == "done"
    assert not old.folder.exists()


def test_help_of_use_describes_its_json_output() -> None:
    assert "with --python, events as JSON lines" in " ".join(
        engine("use", "--help").stdout.replace("│", " ").split()
    )


def test_unknown_engine_is_refused_with_the_installed_ones(root: EngineRoot) -> None:
    make(root, "cpu-1")
    result = engine("use", "rocm", "--json")
    assert result.exit_code == 2
    assert "cpu-1" in printed_json(result)["problems"][0]["remedy"]["text"]


def test_remove_needs_a_name_or_the_all_option(root: EngineRoot) -> None:
    installed = make(root, "cpu-1")
    assert engine("remove", "--yes").exit_code == 2
    assert installed.folder.exists()
    (root.path / "holiday.jpg").write_text("not ours")
    assert engine("remove", "--all", "--yes").exit_code == 0
    assert [item.name for item in root.path.iterdir()] == ["holiday.jpg"]


def test_check_without_an_engine_is_a_problem(root: EngineRoot) -> None:
    result = engine("check", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout.splitlines()[-1])["problem"]["code"] == "engine.missing"


def test_wheel_folder_option_does_not_turn_on_offline_mode(
    root: EngineRoot,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "")
    arguments = ["engine", "install", "--offline", str(tmp_path), "--yes", "--json"]
    monkeypatch.setattr(sys, "argv", ["lora-studio", *arguments])
    with pytest.raises(SystemExit):
        __main__.main()
    problem = json.loads(capsys.readouterr().out.splitlines()[-1])["problem"]
    assert problem["what"]["text"] == "This folder contains no wheels."
    assert not offline.is_on()


@pytest.mark.parametrize(
    "arguments",
    [["--offline", "engine", "list"], ["doctor", "--offline"], ["--offline"]],
    ids=["before-verb", "after-verb", "without-verb"],
)
def test_offline_option_works_before_and_after_the_verb(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE", "UV_OFFLINE"):
        monkeypatch.setenv(name, "")
    rest = __main__.apply_offline_option(arguments)
    assert rest == [word for word in arguments if word != "--offline"]
    assert offline.is_on()


@pytest.mark.parametrize(
    "arguments",
    [("install", "--for", "quantum"), ("install", "--offline", "/nowhere"), ("use",),
     ("use", "cpu", "--python", "/nowhere"),
     ("wheelhouse", "out", "--platform", "amiga")],
    ids=[
        "unknown-variant", "missing-wheel-folder", "use-nothing", "name-and-python",
        "unknown-platform",
    ],
)  # fmt: skip
def test_invalid_arguments_are_refused_before_any_change(
    root: EngineRoot, arguments: tuple[str, ...]
) -> None:
    assert engine(*arguments).exit_code == 2
    assert not root.path.exists()
