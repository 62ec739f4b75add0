"""Counts of rows by length, and the histogram drawn from them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lora_studio.core.dataset.spec import DatasetSpec
from lora_studio.engine.dataset.lengths import LengthTable, count_lengths
from lora_studio.gui.plots.length_histogram import LengthData


def measure(lengths: list[int], limit: int = 2048) -> LengthData:
    """Return the counts of rows whose last half is trained."""
    each = np.asarray(lengths, np.int64)
    spans = np.column_stack([each // 2, each])
    table = LengthTable(each, each, spans, int(each.sum()), 1.0)
    return LengthData(count_lengths([table], DatasetSpec(max_length=limit), (), complete=True))


row_lengths = st.lists(
    st.integers(1, 300) | st.integers(1, 9_000) | st.integers(1, 100_000), min_size=1, max_size=300
)


@given(row_lengths, st.integers(16, 8192))
def test_bars_are_whole_rows_and_hold_each_once(lengths: list[int], limit: int) -> None:
    measured = measure(lengths, limit)
    edges = measured.choose_bins(max(lengths), 48)
    heights = measured.count_per_bin(edges)
    assert np.all(np.diff(edges) > 0)
    assert heights.tolist() == [round(height) for height in heights]
    assert heights.sum() == len(lengths)


@given(row_lengths)
def test_shares_over_multiples_of_eight_are_exact_for_most_rows(lengths: list[int]) -> None:
    measured = measure(lengths)
    common = np.percentile(lengths, 99.5)
    if common > 3_200:  # edges are further apart
        return
    for limit in range(16, int(common), 8):
        over = sum(length > limit for length in lengths) / len(lengths)
        assert measured.count_over(limit)[0] == pytest.approx(over)
