"""The report of a self-test forgets files that are about to be replaced."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lora_studio.core.runs import selftest_report
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
