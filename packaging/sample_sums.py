"""Write the rows of the sample project with rewards: `python packaging/sample_sums.py`.

Each prompt asks for a small sum or difference. Each held-out prompt asks for one that is in no other row, with
its numbers in either order.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path

FOLDER = Path(__file__).parent.parent / "resources" / "sample_rewards"
SEED = 2026
TRAINED, HELD_OUT = 400, 48

SYSTEM = "You are a calculator."

_QUESTIONS = {
    "+": (
        "What is {a} + {b}?",
        "What is {a} plus {b}?",
        "{a} + {b} =",
        "Add {a} and {b}.",
        "How much is {a} + {b}?",
        "{a} + {b} = ?",
        "Can you add {b} to {a}?",
        "What do {a} and {b} make together?",
        "Tell me the sum of {a} and {b}.",
    ),
    "-": (
        "What is {a} - {b}?",
        "What is {a} minus {b}?",
        "{a} - {b} =",
        "Take {b} away from {a}.",
        "How much is {a} - {b}?",
        "{a} - {b} = ?",
        "Can you subtract {b} from {a}?",
        "What is left of {a} without {b}?",
        "Tell me {a} less {b}.",
    ),
}


def _list_sums() -> list[tuple[int, str, int]]:
    """Return all sums and differences that are asked for, of numbers up to 10."""
    numbers = range(1, 11)
    added = [(a, "+", b) for a in numbers for b in numbers]
    return added + [(a, "-", b) for a in numbers for b in numbers if b < a]


def _split(
    sums: list[tuple[int, str, int]],
) -> tuple[list[tuple[int, str, int]], list[tuple[int, str, int]]]:
    """Return the sums to train on and those to hold out."""
    held_out: list[tuple[int, str, int]] = []
    for a, sign, b in sums:
        if len(held_out) < HELD_OUT and (b, sign, a) not in held_out:
            held_out.append((a, sign, b))
    kept = set(held_out) | {(b, sign, a) for a, sign, b in held_out}
    return [each for each in sums if each not in kept], held_out


def _iter_rows(
    sums: list[tuple[int, str, int]], count: int, chance: random.Random
) -> Iterator[dict[str, str]]:
    """Yield distinct rows; each sum comes about equally often."""
    questions = {each: chance.sample(_QUESTIONS[each[1]], 9) for each in sums}
    for number in range(count):
        a, sign, b = each = sums[number % len(sums)]
        result = a + b if sign == "+" else a - b
        yield {
            "system": SYSTEM,
            "prompt": questions[each].pop().format(a=a, b=b),
            "reference": f"{a} {sign} {b} = {result}",
        }


def create_rows() -> dict[str, list[dict[str, str]]]:
    """Return the rows of each file by its name."""
    chance = random.Random(SEED)
    sums = _list_sums()
    chance.shuffle(sums)
    trained, held_out = _split(sums)
    rows = {
        "sums.jsonl": list(_iter_rows(trained, TRAINED, chance)),
        "held_out.jsonl": list(_iter_rows(held_out, HELD_OUT, chance)),
    }
    chance.shuffle(rows["sums.jsonl"])
    return rows


def main() -> None:
    """Write both files."""
    for name, rows in create_rows().items():
        content = "".join(json.dumps(row) + "\n" for row in rows)
        (FOLDER / name).write_text(content, "utf-8")


if __name__ == "__main__":
    main()
