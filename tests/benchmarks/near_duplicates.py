"""Measure precision and recall of the near-duplicate search by the share of edited words.

    python -m tests.benchmarks.near_duplicates [--rows 4000]

Rows are made of words drawn by Zipf's law from a made-up vocabulary; every fourth row gets a copy in
which a share of the words is replaced, deleted or followed by a new one, each equally often. An
original and its copy should be grouped, any other two rows should not.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Sequence
from itertools import accumulate

import numpy as np

from lora_studio.engine.dataset.quality.near_duplicates import (
    DuplicateGroups,
    NearDuplicateSearch,
    Sides,
    compute_sketches,
    find_boilerplate,
    join_near_duplicates,
    normalize,
)
from tests.helpers.runs.jobs import make_job

_LETTERS = "etaoinshrdlcumwfgypbvkjxqz"


def vocabulary(words: int, rng: random.Random) -> list[str]:
    """Return made-up words of 2 to 9 letters, 5.2 on average as in English."""
    weights = [1 / (rank + 2) for rank in range(len(_LETTERS))]
    return ["".join(rng.choices(_LETTERS, weights, k=rng.choice((2, 3, 4, 5, 5, 6, 7, 9)))) for _ in range(words)]  # fmt: skip


class Writer:
    """Write texts and edit them."""

    def __init__(self, seed: int) -> None:
        """Create the same texts for the same seed."""
        self.rng = random.Random(seed)
        self._words = vocabulary(5000, self.rng)
        self._weights = list(accumulate(1 / (rank + 1) for rank in range(5000)))

    def text(self, shortest: int, longest: int) -> str:
        """Return a text with this many words."""
        count = self.rng.randint(shortest, longest)
        return " ".join(self.rng.choices(self._words, cum_weights=self._weights, k=count))

    def edited(self, text: str, share: float) -> str:
        """Return the text with a share of its words edited, at least one."""
        words = text.split()
        for index in sorted(self.rng.sample(range(len(words)), max(1, round(share * len(words)))), reverse=True):  # fmt: skip
            new = self.rng.choices(self._words, cum_weights=self._weights)
            words[index : index + 1] = self.rng.choice((new, [], [words[index], *new]))
        return " ".join(words)


def grouped(rows: Sequence[Sides]) -> list[int]:
    """Return the leader of each row's group."""
    sides = [tuple(map(normalize, row)) for row in rows]
    common = find_boilerplate(sides[:2000])
    keys, prints = compute_sketches(sides, np.zeros(len(sides), dtype=np.uint64), common)
    groups = DuplicateGroups(len(sides))
    comparison = NearDuplicateSearch(lambda row: sides[row], common)
    join_near_duplicates(groups, lambda band: keys[:, band], prints, comparison, make_job())
    return groups.find_leaders().tolist()


def measure(rows: int, share: float, seed: int = 1) -> tuple[float, float]:
    """Return (precision, recall) over pairs of rows; a fifth of the rows are edited copies.

    Precision is 1 if no pair was found.
    """
    writer = Writer(seed)
    originals = [(writer.text(12, 40), writer.text(20, 120)) for _ in range(rows * 4 // 5)]
    copies = [tuple(writer.edited(side, share) for side in row) for row in originals[: rows // 5]]
    leaders = grouped([*originals, *copies])
    hits = sum(leaders[len(originals) + i] == leaders[i] for i in range(len(copies)))
    sizes = np.bincount(leaders)
    pairs = int((sizes * (sizes - 1) // 2).sum())
    return (hits / pairs if pairs else 1.0), hits / len(copies)


def main() -> None:
    """Print a line for each share of edited words."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=4000)
    rows = parser.parse_args().rows
    for share in (0.02, 0.05, 0.1, 0.15, 0.2, 0.3):
        began = time.perf_counter()
        precision, recall = measure(rows, share)
        print(
            f"{share:4.0%} of the words edited: precision {precision:.3f}, recall {recall:.3f}, "
            f"{rows / (time.perf_counter() - began):,.0f} rows/s"
        )


if __name__ == "__main__":
    main()
