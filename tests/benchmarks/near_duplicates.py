"""Measure precision and recall of the near-duplicate search by the share of edited words.

    python -m tests.benchmarks.near_duplicates [--rows 4000]

Rows are made of words drawn by Zipf's law from a made-up vocabulary; every fourth row gets a copy in
which a share of the words is replaced, deleted or followed by a new one, each equally often. An
original and its copy should be grouped, any other two rows should not.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

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


#: Rows written at a time; duplicates copy a row of the same block.
_BLOCK = 1000
#: Share of the rows with each planted fault.
_SHARES = {
    "lint.duplicates": 0.02,
    "lint.near_duplicates": 0.01,
    "lint.left_out": 0.005,
    "lint.encoding": 0.002,
    "lint.control_characters": 0.002,
    "lint.personal_data": 0.002,
    "lint.repeated_roles": 0.001,
}


def write_rows(file: Path, rows: int, seed: int = 1) -> Counter[str]:
    """Write JSON lines and return the number of rows with each planted fault.

    A question has 20 words, an answer 60 (medians).
    """
    writer, rng = Writer(seed), np.random.default_rng(seed)
    words = np.array(vocabulary(5000, writer.rng), dtype=object)
    planted: Counter[str] = Counter()
    with file.open("w", encoding="utf-8") as stream:
        for start in range(0, rows, _BLOCK):
            block = list(_iter_texts(words, rng, min(_BLOCK, rows - start)))
            faults = rng.choice(
                [*_SHARES, ""], len(block) // 2, p=[*_SHARES.values(), 1 - sum(_SHARES.values())]
            ).tolist()
            planted.update(code for code in faults if code)
            # Faults are planted in the second half, so that originals and copies have no others.
            for row, code in enumerate(faults, len(block) - len(faults)):
                if code:
                    block[row] = _plant(writer, code, block[row], block[row - len(faults)])
            stream.writelines(json.dumps({"messages": _list_turns(*row)}) + "\n" for row in block)
    return planted


def _iter_texts(
    words: NDArray[np.object_], rng: np.random.Generator, rows: int
) -> Iterator[tuple[str, ...]]:
    """Yield questions and answers whose words follow Zipf's law: the n-th is 1 / n as frequent."""
    lengths = np.exp(rng.normal(np.log([20, 60]), [0.5, 0.7], (rows, 2))).astype(int).clip(12, 1000)
    weights = np.cumsum(1 / np.arange(1, len(words) + 1))
    chosen = np.searchsorted(weights, rng.random(lengths.sum()) * weights[-1])
    text = words[chosen].tolist()
    ends = np.cumsum(lengths).tolist()
    sides = [" ".join(text[start:end]) for start, end in pairwise([0, *ends])]
    yield from zip(sides[::2], sides[1::2], strict=True)


def _plant(
    writer: Writer, code: str, row: tuple[str, ...], other: tuple[str, ...]
) -> tuple[str, ...]:
    """Return a row with a fault; a duplicate is a copy of `other`."""
    question, answer = row
    match code:
        case "lint.duplicates":
            return other
        case "lint.near_duplicates":
            return writer.edited(other[0], 0.02), writer.edited(other[1], 0.02)
        case "lint.left_out":
            return question, ""
        case "lint.encoding":
            return question, f"{answer} café à la crème".encode().decode("latin-1")
        case "lint.control_characters":
            return question, f"{answer}\x00"
        case "lint.personal_data":
            return f"{question} ada@example.org", answer
        case "lint.repeated_roles":
            return question, answer, "and that is all there is to say"
    return row


def _list_turns(*texts: str) -> list[dict[str, str]]:
    roles = ("user", "assistant", "assistant")
    return [{"role": role, "content": text} for role, text in zip(roles, texts, strict=False)]


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
