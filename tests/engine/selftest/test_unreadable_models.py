"""Models on a failing disk: the self-test doesn't judge what it can't read."""

from __future__ import annotations

import errno
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lora_studio.engine.runtime import failures
from lora_studio.engine.selftest.merged_comparison import compare_merged
from tests.helpers.runs.jobs import make_job


@pytest.mark.skipif(sys.platform != "linux", reason="/proc has a file whose reading fails")
def test_error_of_the_disk_is_no_difference_of_a_model(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("expected", "merged")]
    for folder in folders:
        folder.mkdir()
    (folders[0] / "config.json").write_text("{}")
    (folders[1] / "config.json").symlink_to("/proc/self/mem")
    expected: Any = SimpleNamespace(folder=folders[0], tensors={}, changed=())
    with pytest.raises(OSError) as raised:
        compare_merged(folders[1], expected, make_job())
    assert raised.value.errno == errno.EIO
    problem = failures.to_problem(raised.value, "Testing the model")
    assert problem.code == "disk.failing"
