"""The data check on the rows of its benchmark: all planted faults are found, and a cancel is heeded."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from lora_studio.core.dataset.spec import DatasetSpec, DataSource
from lora_studio.engine.dataset.quality import dataset_comparison
from lora_studio.engine.dataset.quality.lint import lint
from lora_studio.engine.dataset.rows import mixture
from lora_studio.engine.runtime.failures import CancelledError
from tests.benchmarks import data_lint
from tests.helpers.runs.jobs import make_job

#: Scans of other tests must not be found in the cache.
pytestmark = pytest.mark.usefixtures("cache")


def test_all_planted_faults_are_reported(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    planted = data_lint.write_rows(file, 1500)
    linted = lint(DatasetSpec(sources=(DataSource(path=str(file)),)), make_job())
    reported = Counter({finding.code: finding.count for finding in linted.findings})
    # An edit may exchange a word of the answer for itself or one of the question for a longer one.
    assert reported.pop("lint.near_duplicates") == pytest.approx(
        planted.pop("lint.near_duplicates"), abs=2
    )
    reported.pop("lint.conflicting_answers", None)
    assert reported == planted


def test_cancel_is_heeded_between_two_repairs(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    data_lint.write_rows(file, 50)
    rows = mixture.open_dataset(DatasetSpec(sources=(DataSource(path=str(file)),)), make_job())
    compared = dataset_comparison.compare_rows(rows, make_job())
    job = make_job()
    job.flags.cancel.set()
    with pytest.raises(CancelledError):
        dataset_comparison.apply_repairs(compared, (), np.ones(50, dtype=bool), job)
