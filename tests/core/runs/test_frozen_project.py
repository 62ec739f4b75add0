"""The project of a run: it survives a move, and a change by something else is noticed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from lora_studio.core.problems import ProblemError
from lora_studio.core.project.project import Project
from lora_studio.core.runs import facts, grid_search, manifest
from lora_studio.core.runs import folder as run_folder
from lora_studio.core.runs.folder import RunFolder


def make_project(folder: Path) -> RunFolder:
    """Create a project with a model, rows, an adapter, and a run of them."""
    for name in ("models/base", "models/large", "adapters/start", "adapters/other"):
        (folder / name).mkdir(parents=True)
    (folder / "data").mkdir()
    (folder / "data" / "rows.jsonl").write_text("{}\n")
    project = Project.model_validate(
        {
            "name": "Pim",
            "model": {"source": str(folder / "models" / "base")},
            "dataset": {"sources": [str(folder / "data" / "rows.jsonl")]},
            "lora": {"start_from": "adapters/start"},
            "training": {"teacher": "models/large/../large"},
            "merging": {"further": [f"{folder / 'adapters' / 'other'}=0.5"]},
        }
    )
    return run_folder.create_run(folder / "runs", project, folder)


def list_paths(project: Project) -> list[str]:
    return [
        project.model.source,
        project.dataset.sources[0].path,
        project.lora.start_from,
        project.training.teacher,
        project.merging.further[0],
    ]


def get_paths_in(folder: Path) -> list[str]:
    return [
        str(folder / "models" / "base"),
        str(folder / "data" / "rows.jsonl"),
        str(folder / "adapters" / "start"),
        str(folder / "models" / "large"),
        f"{folder / 'adapters' / 'other'}=0.5",
    ]


def store_absolute_paths(run: RunFolder) -> None:
    """Store the project like earlier versions: absolute paths, no checksum."""
    run.project_file.write_text(run.load_project().to_toml())
    run.update_manifest(taken_along={})


@pytest.mark.parametrize("is_old", [False, True], ids=["relative", "absolute"])
def test_run_of_moved_project_uses_its_files_there(tmp_path: Path, is_old: bool) -> None:
    run = make_project(tmp_path / "before")
    if is_old:
        store_absolute_paths(run)
    (tmp_path / "before").rename(tmp_path / "after")
    moved = RunFolder(tmp_path / "after" / "runs" / run.path.name)
    assert list_paths(moved.load_project()) == get_paths_in(tmp_path / "after")
    moved.require_inputs(moved.load_project(), with_data=True)


def test_run_of_copied_project_uses_the_copies(tmp_path: Path) -> None:

    run = make_project(tmp_path / "before")
    shutil.copytree(tmp_path / "before", tmp_path / "copy")
    copied = RunFolder(tmp_path / "copy" / "runs" / run.path.name)
    assert list_paths(copied.load_project()) == get_paths_in(tmp_path / "copy")


def test_run_moved_out_of_its_project_uses_the_original_files(tmp_path: Path) -> None:
    run = make_project(tmp_path / "project")
    run.path.rename(tmp_path / "alone")
    assert list_paths(RunFolder(tmp_path / "alone").load_project()) == get_paths_in(
        tmp_path / "project"
    )


def test_missing_input_is_named_with_old_and_new_location(tmp_path: Path) -> None:
    run = make_project(tmp_path / "before")
    (tmp_path / "before").rename(tmp_path / "after")
    (tmp_path / "after" / "data" / "rows.jsonl").unlink()
    moved = RunFolder(tmp_path / "after" / "runs" / run.path.name)
    with pytest.raises(ProblemError) as raised:
        moved.require_inputs(moved.load_project(), with_data=True)
    (problem,) = raised.value.problems
    assert problem.code == "run.missing_input"
    assert str(tmp_path / "before" / "data" / "rows.jsonl") in str(problem.what)
    assert str(tmp_path / "after" / "data" / "rows.jsonl") in str(problem.what)
    moved.require_inputs(moved.load_project(), with_data=False)


def test_settings_of_a_run_have_absolute_paths(tmp_path: Path) -> None:
    run = make_project(tmp_path / "p")
    settings = facts.read_frozen_settings(run).settings
    assert settings["model.source"] == str(tmp_path / "p" / "models" / "base")
    assert settings["dataset.sources"][0]["path"] == str(tmp_path / "p" / "data" / "rows.jsonl")


def test_repeated_run_of_a_moved_project_has_its_paths(tmp_path: Path) -> None:
    run = make_project(tmp_path / "before")
    (tmp_path / "before").rename(tmp_path / "after")
    repeated = grid_search.repeat_run(RunFolder(tmp_path / "after" / "runs" / run.path.name))
    assert list_paths(repeated.load_project()) == get_paths_in(tmp_path / "after")


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda text: text.replace("rank = 16", "rank = 17"), id="digit"),
        pytest.param(lambda text: text[: len(text) // 2], id="half"),
        pytest.param(lambda text: "", id="empty"),
    ],
)
def test_changed_settings_are_refused(tmp_path: Path, change: Callable[[str], str]) -> None:
    run = make_project(tmp_path / "p")
    text = run.project_file.read_text("utf-8")
    assert change(text) != text
    run.project_file.write_text(change(text), "utf-8")
    with pytest.raises(ProblemError) as raised:
        run.load_project()
    assert raised.value.problems[0].code == "run.damaged_settings"


def test_settings_of_another_run_are_refused(tmp_path: Path) -> None:
    first, second = make_project(tmp_path / "a"), make_project(tmp_path / "b")
    first.project_file.write_bytes(second.project_file.read_bytes())
    with pytest.raises(ProblemError, match="different runs"):
        first.load_project()


def test_settings_edited_by_hand_are_accepted(tmp_path: Path) -> None:
    run = make_project(tmp_path / "p")
    _, _, rest = run.project_file.read_text("utf-8").partition("\n")
    run.project_file.write_text(rest.replace("rank = 16", "rank = 17"), "utf-8")
    assert run.load_project().lora.rank == 17


def test_changed_manifest_is_kept_aside_and_its_entries_stay(tmp_path: Path) -> None:

    run = make_project(tmp_path / "p")
    assert manifest.repair(run.manifest_file) is None
    changed = json.loads(run.manifest_file.read_text()) | {"name": "Pam"}
    run.manifest_file.write_text(json.dumps(changed))
    warning = manifest.repair(run.manifest_file)
    assert warning is not None
    assert warning.code == "run.damaged_manifest"
    assert run.read_manifest()["name"] == "Pam"
    assert (run.path / "manifest.damaged.json").is_file()
    assert "is kept" in str(warning.remedy)
    assert manifest.repair(run.manifest_file) is None


def test_second_damaged_manifest_is_not_said_to_be_kept(tmp_path: Path) -> None:
    run = make_project(tmp_path / "p")
    for content in ("first", "second"):
        run.manifest_file.write_text(content)
        warning = manifest.repair(run.manifest_file)
    assert warning is not None
    assert "is kept" not in str(warning.remedy)
    assert (run.path / "manifest.damaged.json").read_text() == "first"


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe"], ids=range(4))
def test_unreadable_manifest_is_replaced(tmp_path: Path, content: bytes) -> None:

    run = make_project(tmp_path / "p")
    run.manifest_file.write_bytes(content)
    assert manifest.repair(run.manifest_file) is not None
    assert (run.path / "manifest.damaged.json").read_bytes() == content
    assert run.read_manifest() == {}
    run.update_manifest(name="Pim")
    assert manifest.repair(run.manifest_file) is None
