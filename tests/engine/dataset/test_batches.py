"""Batches: the order is a pure function of the seed, and padding is never trained."""

from __future__ import annotations

from itertools import chain

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lora_studio.core.dataset.spec import DatasetSpec
from lora_studio.core.training.spec import TrainingSpec
from lora_studio.engine.dataset.lengths import LengthTable, count_lengths
from lora_studio.engine.tokens.batches import BatchPlan, batch_by_length, collate
from lora_studio.engine.tokens.encoder import Encoded
from lora_studio.gui.plots.length_histogram import LengthData

LENGTHS = [5, 30, 7, 9, 28, 6, 31, 8, 4, 29]


def encoded(ids: list[int], trained: list[bool]) -> Encoded:
    return Encoded(np.asarray(ids, np.int32), np.asarray(trained))


@given(
    st.lists(st.integers(1, 500), min_size=1, max_size=60),
    st.integers(1, 5),
    st.integers(1, 4),
    st.integers(0, 1000),
)
def test_every_epoch_covers_every_row_once(
    lengths: list[int], micro_batch: int, accumulation: int, seed: int
) -> None:
    plan = BatchPlan(lengths, micro_batch, accumulation, seed)
    for epoch in range(2):
        steps = range(epoch * plan.steps_per_epoch, (epoch + 1) * plan.steps_per_epoch)
        rows = [row for step in steps for batch in plan.get_step(step) for row in batch]
        assert sorted(rows) == list(range(len(lengths)))


def test_order_is_pinned_by_the_seed() -> None:
    plan = BatchPlan(LENGTHS, 2, 2, 42)
    assert [plan.get_step(step) for step in range(3)] == PINNED
    assert BatchPlan(LENGTHS, 2, 2, 43).get_step(0) != PINNED[0]


PINNED = [[[6, 7], [5, 0]], [[9, 4], [3, 2]], [[1, 8]]]


def test_step_can_be_computed_without_earlier_steps() -> None:
    walked = BatchPlan(LENGTHS, 2, 2, 7)
    steps = [walked.get_step(step) for step in range(9)]
    assert BatchPlan(LENGTHS, 2, 2, 7).get_step(8) == steps[8]


def test_rows_of_similar_length_share_a_batch_longest_first() -> None:
    plan = BatchPlan(LENGTHS, 5, 2, 3)
    batches = [[LENGTHS[row] for row in batch] for batch in plan.get_step(0)]
    assert batches == [[31, 30, 29, 28, 9], [8, 7, 6, 5, 4]]


@pytest.mark.parametrize(
    ("epochs", "max_steps", "steps"),
    [(1.0, 0, 3), (2.0, 0, 6), (0.5, 0, 2), (0.01, 0, 1), (3.0, 4, 4), (1.0, 9, 3)],
)
def test_step_count_follows_epochs_and_max_steps(epochs: float, max_steps: int, steps: int) -> None:
    spec = TrainingSpec(micro_batch=2, gradient_accumulation=2, epochs=epochs, max_steps=max_steps)
    assert spec.count_steps(len(LENGTHS)) == steps


@given(st.lists(st.integers(1, 500), min_size=1, max_size=60), st.integers(1, 5), st.integers(1, 4))
def test_packing_fills_micro_batches_and_keeps_rows_of_a_step(
    lengths: list[int], micro_batch: int, accumulation: int
) -> None:
    plan = BatchPlan(lengths, micro_batch, accumulation, 7)
    steps = range(plan.steps_per_epoch)
    divided = [plan.get_step(step) for step in steps]
    plan.room = sum(lengths[row] for row in plan.find_longest(plan.steps_per_epoch, padded=False))
    for before, filled in zip(divided, map(plan.get_step, steps), strict=True):
        assert sorted(chain(*filled)) == sorted(chain(*before))
        assert len(filled) <= len(before)
        assert all(sum(lengths[row] for row in rows) <= plan.room for rows in filled)


def test_longest_row_comes_first_when_micro_batches_are_packed() -> None:
    plan = BatchPlan(LENGTHS, 1, 10, 0)
    plan.room = 31
    batches = [[LENGTHS[row] for row in batch] for batch in plan.get_step(0)]
    assert batches == [[31], [30], [29], [28], [9, 8, 7, 6], [5, 4]]


@given(
    st.lists(st.integers(1, 500), min_size=1, max_size=60),
    st.integers(1, 5),
    st.integers(2, 4),
    st.integers(2, 4),
)
def test_ranks_share_packed_rows_by_their_tokens(
    lengths: list[int], micro_batch: int, accumulation: int, ranks: int
) -> None:
    plan = BatchPlan(lengths, micro_batch, accumulation, 7)
    steps = range(plan.steps_per_epoch)
    divided = [plan.get_step(step) for step in steps]
    plan.room = sum(lengths[row] for row in plan.find_longest(plan.steps_per_epoch, padded=False))
    plan.ranks = ranks

    def cost(step: list[list[int]]) -> tuple[int, int]:
        tokens = [sum(lengths[row] for row in rows) for rows in step]
        return -(-len(step) // ranks), max(sum(tokens[rank::ranks]) for rank in range(ranks))

    for before, shared in zip(divided, map(plan.get_step, steps), strict=True):
        assert sorted(chain(*shared)) == sorted(chain(*before))
        assert cost(shared) <= cost(before)
        assert all(sum(lengths[row] for row in rows) <= plan.room for rows in shared)


def test_two_ranks_get_equal_shares_of_short_rows() -> None:
    plan = BatchPlan([30, 10, 10, 6, 5], 1, 5, 0)
    plan.room = 50

    def count_tokens() -> list[int]:
        return [sum(int(plan._lengths[row]) for row in rows) for rows in plan.get_step(0)]

    assert count_tokens() == [50, 11]
    plan.ranks = 2
    assert count_tokens() == [31, 30]


def test_fullest_micro_batch_is_one_of_the_plan() -> None:
    plan = BatchPlan(LENGTHS, 1, 4, 0)
    plan.room = 60
    steps = [plan.get_step(step) for step in range(plan.steps_per_epoch)]
    fullest = plan.find_fullest(plan.steps_per_epoch)
    assert any(fullest in step for step in steps)
    totals = [sum(LENGTHS[row] for row in chain(*step)) for step in steps]
    assert sorted(fullest) in [sorted(rows) for rows in steps[totals.index(max(totals))]]


def test_batch_is_padded_with_an_untrained_row() -> None:
    batch = collate([encoded([1, 2, 3], [True, True, True]), encoded([4, 5], [True, True])])
    filled = batch.pad_to_tokens(8)
    assert (filled.tokens, filled.lengths) == (8, (3, 2, 3))
    assert filled.ids[:5].tolist() == batch.ids.tolist()
    assert filled.sources is batch.sources
    assert batch.pad_to_tokens(5) is batch


def test_equal_lengths_keep_their_order() -> None:
    assert batch_by_length([3, 1, 2], [0, 5, 5, 5], 2) == [[3, 1], [2]]


def test_collate_concatenates_rows_and_tracks_targets() -> None:
    batch = collate(
        [encoded([9, 8, 7, 2], [False, False, True, True]), encoded([6, 2], [False, True])]
    )
    assert batch.ids.tolist() == [9, 8, 7, 2, 6, 2]
    assert batch.lengths == (4, 2)
    assert batch.sources.tolist() == [1, 2, 4]
    assert batch.targets.tolist() == [7, 2, 2]
    assert batch.owners.tolist() == [0, 0, 1]
    assert batch.tokens == 6


def test_padding_is_masked_and_sources_point_to_same_tokens() -> None:
    batch = collate(
        [encoded([6, 2], [False, True]), encoded([9, 8, 7, 2], [False, False, True, True])]
    )
    ids, mask = batch.to_padded()
    assert ids.shape == (2, 4)
    assert mask.tolist() == [[1, 1, 0, 0], [1, 1, 1, 1]]
    assert ids.flatten()[batch.get_padded_sources()].tolist() == batch.ids[batch.sources].tolist()


def test_first_token_of_a_row_is_not_a_target() -> None:
    batch = collate([encoded([1, 2, 3], [True, True, True]), encoded([4, 5], [True, True])])
    assert batch.targets.tolist() == [2, 3, 5]


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
