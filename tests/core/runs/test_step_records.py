"""The settings that made a result of a run stay those that made it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lora_studio.core.project.project import Project
from lora_studio.core.runs import folder, step_records
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.runs.step_records import RecordedStep

LATER = {
    "name": "My run",
    "lora": {"rank": 64},
    "merging": {"dtype": "fp32"},
    "export": {"quantizations": ["Q8_0"], "llama_cpp": "tools", "ollama_name": "other"},
}


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    run = folder.create_run(tmp_path / "runs", Project(name="My run"), tmp_path)
    run.merged.mkdir()
    (run.merged / "config.json").write_text("{}")
    return run


def read_settings(run: RunFolder) -> dict[str, Any]:
    now = run.load_project()
    return {
        "rank": now.lora.rank,
        "dtype": now.merging.dtype,
        "quantizations": now.export.quantizations,
        "ollama_name": now.export.ollama_name,
    }


@pytest.mark.parametrize(
    ("step", "changed"),
    [
        pytest.param("merge", {"dtype": "fp32"}, id="merge"),
        pytest.param("export", {"quantizations": ("Q8_0",), "ollama_name": "other"}, id="export"),
        pytest.param("create_ollama", {"ollama_name": "other"}, id="ollama"),
    ],
)
def test_job_changes_only_the_settings_of_its_result(
    run: RunFolder, tmp_path: Path, step: RecordedStep, changed: dict[str, Any]
) -> None:
    before = read_settings(run)
    step_records.update_settings(run, Project.model_validate(LATER).resolve(tmp_path), step)
    assert read_settings(run) == before | changed


def test_direct_export_takes_the_merging_settings(run: RunFolder, tmp_path: Path) -> None:
    (run.merged / "config.json").unlink()
    step_records.update_settings(run, Project.model_validate(LATER).resolve(tmp_path), "export")
    assert run.load_project().merging.dtype == "fp32"


@pytest.mark.parametrize(
    ("step", "changes", "described"),
    [
        pytest.param(
            "merge", {"dtype": "fp16"},
            "Precision of the merged model Same as the base model \u2192 float16", id="dtype",
        ),
        pytest.param("merge", {"weight": 0.5}, "Adapter weight 1 \u2192 0.5", id="weight"),
        pytest.param("export", {"quantizations": ("Q4_K_M", "Q8_0")}, "Quantizations", id="new-file"),
        pytest.param("create_ollama", {"temperature": 0.1}, "Temperature 0.7 \u2192 0.1", id="ollama"),
        pytest.param("export", {"temperature": 0.1}, "", id="other-result"),
        pytest.param("export", {"self_test": False}, "", id="no-effect"),
    ],
)  # fmt: skip
def test_result_of_other_settings_is_out_of_date(
    run: RunFolder, step: RecordedStep, changes: dict[str, Any], described: str
) -> None:
    project = run.load_project()
    step_records.record_settings(run, project, step)
    spec = project.merging if step == "merge" else project.export
    assert step_records.list_outdated(run, spec, step) == ()
    outdated = step_records.list_outdated(run, spec.model_copy(update=changes), step)
    assert ", ".join(str(change.text) for change in outdated).startswith(described)
    assert bool(outdated) == bool(described)


@pytest.mark.parametrize(
    "entry",
    [
        pytest.param(None, id="missing"),
        pytest.param({"dtype": "bf17"}, id="invalid"),
        pytest.param({"dtype": "auto", "shard_size_gb": 5.0}, id="of-an-earlier-version"),
    ],
)
def test_odd_record_makes_nothing_out_of_date(run: RunFolder, entry: Any) -> None:
    run.update_manifest(merged=entry)
    assert step_records.list_outdated(run, run.load_project().merging, "merge") == ()
