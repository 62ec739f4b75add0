"""The report of a self-test: which files it forgets, and whether it makes exports start from the adapter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lora_studio.core.export import DIRECT_SOURCE, MERGED_SOURCE
from lora_studio.core.project.project import Project
from lora_studio.core.protocol import events
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


@pytest.mark.parametrize(
    ("gguf", "is_direct"),
    [
        pytest.param({"from": DIRECT_SOURCE}, True, id="last export"),
        pytest.param(
            {"from": MERGED_SOURCE, "files": {"Q8_0": {"from": DIRECT_SOURCE}}}, True, id="earlier"
        ),
        pytest.param(
            {"from": DIRECT_SOURCE, "files": {"Q8_0": {"from": MERGED_SOURCE}}}, False, id="merged"
        ),
        pytest.param({"from": DIRECT_SOURCE, "files": {"Q8_0": []}}, True, id="damaged entry"),
        pytest.param([], False, id="damaged"),
        pytest.param(None, False, id="unknown"),
    ],
)
def test_source_of_a_file_is_that_of_its_own_export(
    gguf: Any, is_direct: bool, rounded_run: RunFolder
) -> None:
    rounded_run.update_manifest(gguf=gguf)
    assert selftest_report.is_direct_file(rounded_run, "Q8_0") is is_direct


@pytest.mark.parametrize(
    ("direct", "stages", "counted"),
    [
        pytest.param([True], ["merged", "Q8_0"], ["Q8_0"], id="direct"),
        pytest.param([False], ["merged", "Q8_0"], ["merged", "Q8_0"], id="from merged"),
        pytest.param(
            [True, False], ["merged", "Q8_0", "F16"], ["merged", "Q8_0", "F16"], id="both"
        ),
        pytest.param([True], ["merged"], ["merged"], id="direct, untested"),
        pytest.param([], ["merged"], ["merged"], id="no files"),
    ],
)
def test_merged_model_counts_only_for_files_made_from_it(
    direct: list[bool], stages: list[str], counted: list[str]
) -> None:
    written = [
        events.GgufWritten(file=name, quantization=name, bytes=1, tool="llama.cpp", is_direct=value)
        for name, value in zip(("Q8_0", "F16"), direct, strict=False)
    ]
    tested = [events.SelfTested(stage=name, passed=False, verdict="failed") for name in stages]
    result = selftest_report.list_tests_of_files(written, tested)
    assert [event.stage for event in result] == counted
