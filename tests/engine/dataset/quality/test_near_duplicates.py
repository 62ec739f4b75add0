"""Near-duplicates: how sketches estimate similarity, and which rows count as near-duplicates."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lora_studio.engine.dataset.quality.near_duplicates import (
    PRINTS,
    SHORT,
    THRESHOLD,
    DuplicateGroups,
    NearDuplicateSearch,
    Sides,
    compute_sketches,
    find_boilerplate,
    hash_shingles,
    jaccard_similarity,
    join_near_duplicates,
    normalize,
)
from lora_studio.engine.runtime.failures import CancelledError
from tests.benchmarks.near_duplicates import Writer, grouped, measure
from tests.helpers.runs.jobs import make_job

NOTHING = np.zeros(0, dtype=np.uint64)
LONG = "Light from the sun takes about eight minutes and twenty seconds to reach the earth."


def near(one: Sides, other: Sides) -> bool:
    rows = [tuple(map(normalize, one)), tuple(map(normalize, other))]
    return NearDuplicateSearch(lambda row: rows[row], NOTHING).is_near_duplicate(0, 1)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("  What is\t it?\n", "what is it"),
        ("“Straße”, ﬁne…", "strasse fine"),
        ("3-2 = 1; a*b", "3-2 = 1 a*b"),
        ("، سلام؟ دنیا", "سلام دنیا"),
        ("...", ""),
    ],
    ids=["spaces", "typographic", "arithmetic", "Persian", "only punctuation"],
)
def test_normalize_drops_case_spacing_and_punctuation(text: str, expected: str) -> None:
    assert normalize(text) == expected


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (("Why?", LONG), ("why", LONG.upper()), True),
        (("Why?", LONG), ("Why?", LONG.replace("about", "roughly")), True),
        (("Why?", LONG), ("How?", LONG), False),  # short sides have to be equal
        ((LONG, "Yes"), (LONG, "No"), False),  # one document, two answers
        ((LONG, LONG), (LONG, LONG[::-1]), False),
        ((LONG + " Now?", "Yes"), (LONG, "Yes"), True),
        (("What is 12 + 15?", "27"), ("What is 12 + 16?", "28"), False),
        ((LONG,), (LONG, LONG), False),
    ],
    ids=[
        "case",
        "one word",
        "short sides differ",
        "answers differ",
        "reversed",
        "short suffix",
        "numbers",
        "missing side",
    ],
)
def test_rows_are_near_duplicates_when_every_side_is(
    one: Sides, other: Sides, expected: bool
) -> None:
    assert near(one, other) is expected


def test_texts_beyond_the_compared_size_are_told_apart_by_length() -> None:
    writer = Writer(3)
    long = writer.text(20_000, 20_000)
    assert near((long,), (long + " end",))
    assert not near((long,), (long + " " + writer.text(20_000, 20_000),))


@pytest.mark.parametrize("share", [0.0, 0.05, 0.1, 0.2, 0.4])
def test_sketch_agreement_estimates_shingle_similarity(share: float) -> None:
    writer = Writer(7)
    one = writer.text(300, 300)
    other = writer.edited(one, share) if share else one
    _, prints = compute_sketches([(one,), (other,)], np.zeros(2, np.uint64), NOTHING)
    truth = jaccard_similarity(hash_shingles((one,))[0], hash_shingles((other,))[0], NOTHING)
    estimate = float((prints[0] == prints[1]).mean())
    assert estimate == pytest.approx(truth, abs=4 * (0.25 / PRINTS) ** 0.5)
    assert estimate == 1.0 or share


def test_sketch_does_not_depend_on_other_rows() -> None:
    writer = Writer(1)
    rows = [(writer.text(1, 3), writer.text(0, 400)) for _ in range(50)] + [("", "")]
    contexts = np.arange(len(rows), dtype=np.uint64)
    keys, prints = compute_sketches(rows, contexts, NOTHING)
    for row in (0, 17, 50):
        alone = compute_sketches([rows[row]], contexts[row : row + 1], NOTHING)
        assert np.array_equal(alone[0][0], keys[row])
        assert np.array_equal(alone[1][0], prints[row])


def test_rows_with_different_contexts_share_no_key() -> None:
    keys, _ = compute_sketches([(LONG,), (LONG,)], np.array([1, 2], dtype=np.uint64), NOTHING)
    assert not (keys[0] == keys[1]).any()


def test_shared_template_does_not_make_rows_near_duplicates() -> None:
    writer = Writer(5)
    frame = "Read this review and say whether its author liked the film, in one word. Review: "
    reviews = [writer.text(8, 15) for _ in range(300)]
    rows = [(frame * 4 + review, "positive") for review in reviews]
    assert grouped(rows) == list(range(300))
    copied = [*rows, (frame * 4 + reviews[7].upper() + "!", "positive")]
    assert grouped(copied) == [*range(300), 7]


def test_boilerplate_needs_enough_rows() -> None:
    assert len(find_boilerplate([(LONG,)] * 9)) == 0
    assert np.array_equal(find_boilerplate([(LONG,)] * 10), hash_shingles((LONG,))[0])


@pytest.mark.parametrize(
    ("share", "least", "most"), [(0.02, 0.99, 1.0), (0.05, 0.98, 1.0), (0.1, 0.85, 1.0), (0.2, 0.0, 0.03)]
)  # fmt: skip
def test_edited_copies_are_detected_by_share_of_edited_words(
    share: float, least: float, most: float
) -> None:
    precision, recall = measure(600, share, seed=2)
    assert precision == 1.0
    assert least <= recall <= most


def test_row_with_many_copies_is_one_group() -> None:
    writer = Writer(9)
    row = writer.text(60, 60)
    rows = [(writer.edited(row, 0.03),) for _ in range(8)] + [(writer.text(60, 60),) for _ in range(80)]  # fmt: skip
    leaders = grouped(rows)
    assert leaders == [0] * 8 + list(range(8, 88))


def test_similarity_is_zero_to_one_and_ignores_boilerplate() -> None:
    one, other = hash_shingles((LONG,))[0], hash_shingles((LONG[::-1],))[0]
    assert jaccard_similarity(one, one, NOTHING) == 1.0
    assert jaccard_similarity(one, other, NOTHING) == 0.0
    assert (
        jaccard_similarity(one, one, one) == 1.0
    )  # nothing but find_boilerplate is compared whole
    half = np.union1d(one, other)
    assert jaccard_similarity(half, one, one) == 0.0
    assert 0 < THRESHOLD < 1
    assert SHORT > 9


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=40))
def test_groups_join_transitively_and_are_led_by_first_row(pairs: list[tuple[int, int]]) -> None:  # fmt: skip
    groups = DuplicateGroups(31)
    sets = [{row} for row in range(31)]
    for one, other in pairs:
        groups.join(one, other)
        merged = sets[one] | sets[other]
        for row in merged:
            sets[row] = merged
    assert groups.find_leaders().tolist() == [min(sets[row]) for row in range(31)]


def test_join_equal_groups_equal_keys() -> None:
    rng = random.Random(1)
    keys = np.array([rng.randrange(5) for _ in range(40)], dtype=np.uint64)
    groups = DuplicateGroups(40)
    groups.join_equal(keys)
    assert groups.find_leaders().tolist() == [keys.tolist().index(key) for key in keys.tolist()]


QUESTION = " ".join(f"word{number}" for number in range(400))
ALIKE: dict[str, list[Sides]] = {
    "labels": [(LONG.lower(), f"label {number}") for number in range(600)],
    "long answers": [
        (QUESTION, " ".join(f"{word}{number}" for word in ("alpha", "beta", "gamma", "delta", "eps")))
        for number in range(600)
    ],
    "rejected answers": [
        (QUESTION, QUESTION[::-1], f"no {number * 7919} {number * 104_729} {number * 1_299_709} it is wrong")
        for number in range(600)
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", ALIKE)
def test_rows_that_share_a_long_side_are_not_compared_one_by_one(name: str) -> None:
    rows = ALIKE[name]
    read: list[int] = []

    def get_sides(row: int) -> Sides:
        read.append(row)
        return rows[row]

    bands, prints = compute_sketches(rows, np.zeros(len(rows), dtype=np.uint64), NOTHING)
    groups = DuplicateGroups(len(rows))
    search = NearDuplicateSearch(get_sides, NOTHING)
    join_near_duplicates(groups, lambda band: bands[:, band], prints, search, make_job())
    assert len(read) < len(rows) / 10
    assert len(set(groups.find_leaders().tolist())) == len(rows)


def test_sketching_stops_on_a_cancel() -> None:
    def check() -> None:
        raise CancelledError

    with pytest.raises(CancelledError):
        compute_sketches([("a",)], np.zeros(1, dtype=np.uint64), NOTHING, check)
