"""The report of a self-test: which files it forgets, and whether it makes exports start from the adapter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lora_studio.core.project.project import Project
from lora_studio.core.runs import folder, selftest_report, step_records
from lora_studio.core.runs.folder import RunFolder


def test_only_replaced_files_are_forgotten(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    merged = {"stage": "merged", "passed": True}
    row = {"prompt": "Hi", "base + adapter": "a", "merged": "b"}
    report: dict[str, Any] = {
        "passed": False,
        "stages": [merged, {"stage": "Q8_0", "passed": False}],
        "answers": [row | {"Q8_0": "c"}],
    }
    selftest_report.write(run, report)
    selftest_report.forget_files(run)
    left = selftest_report.read(run)
    assert left == {"passed": True, "stages": [merged], "answers": [row]}
    selftest_report.write(run, report | {"stages": report["stages"][1:]})
    selftest_report.forget_files(run)
    assert selftest_report.read(run) == {}


@pytest.fixture
def rounded_run(tmp_path: Path) -> RunFolder:
    """A run whose merged model was rounded to bfloat16 by default."""
    run = folder.create_run(tmp_path / "runs", Project(name="My run"), tmp_path)
    for model, name in ((run.merged, "config.json"), (run.adapter, "adapter_config.json")):
        model.mkdir()
        (model / name).write_text("{}")
    (run.adapter / "adapter_model.safetensors").write_text("")
    run.update_manifest(merged={"dtype": "auto", "stored_dtype": "bfloat16"})
    stage = {"stage": "merged", "passed": True, "verdict": "lossy"}
    selftest_report.write(run, {"passed": True, "stages": [stage], "answers": []})
    return run


@pytest.mark.parametrize(
    ("merged", "is_direct"),
    [
        pytest.param({"dtype": "auto", "stored_dtype": "bfloat16"}, True, id="by default"),
        pytest.param({"dtype": "auto", "stored_dtype": "float16"}, False, id="float16 base"),
        pytest.param({"dtype": "bf16", "stored_dtype": "bfloat16"}, False, id="by choice"),
        pytest.param(None, False, id="unknown"),
    ],
)
def test_only_default_bfloat16_makes_exports_direct(
    rounded_run: RunFolder, merged: dict[str, str] | None, is_direct: bool
) -> None:
    rounded_run.update_manifest(merged=merged)
    export = rounded_run.load_project().export
    assert selftest_report.is_exported_directly(rounded_run, export) is is_direct


def test_precision_chosen_after_the_merge_has_no_effect(rounded_run: RunFolder) -> None:
    project = rounded_run.load_project()
    fine = project.merging.model_copy(update={"dtype": "fp16", "weight": 0.5})
    chosen = project.model_copy(update={"merging": fine})
    step_records.update_settings(rounded_run, chosen, "export")
    assert rounded_run.load_project().merging == project.merging
    assert selftest_report.is_exported_directly(rounded_run, project.export)
    rounded_run.write_project(chosen)
    assert selftest_report.is_exported_directly(rounded_run, project.export)
