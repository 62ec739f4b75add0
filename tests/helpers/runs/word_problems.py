"""Arithmetic word problems with their answers, made from a seed."""

from __future__ import annotations

import random

_TEMPLATES = (
    ("{name} puts {a} jars on each of {b} shelves and breaks {c}. How many jars are left?", lambda a, b, c: a * b - c),
    ("A ferry carries {a} people. At the island {c} get off and {b} get on. How many are on board now?", lambda a, b, c: a - c + b),
    ("{name} saves {a} coins a week. How many coins are there after {b} weeks, if {c} were there at first?", lambda a, b, c: a * b + c),
    ("A baker fills {b} trays with {a} rolls each and adds {c} loose ones. How many rolls is that?", lambda a, b, c: a * b + c),
    ("{name} reads {a} pages on Monday, {b} on Tuesday, and {c} on Wednesday. How many pages in all?", lambda a, b, c: a + b + c),
    ("A rope of {a} meters is cut {b} times, {c} centimeters each. How many centimeters were cut off?", lambda a, b, c: b * c),
)  # fmt: skip
_NAMES = ("Mira", "Jonas", "Aylin", "Pablo", "Wanda")


def make_word_problems(count: int, seed: int = 0) -> list[dict[str, str]]:
    """Return rows with a question and its answer, a number; all questions differ."""
    dice = random.Random(seed)
    rows: dict[str, str] = {}
    while len(rows) < count:
        sentence, solve = _TEMPLATES[len(rows) % len(_TEMPLATES)]
        a, b, c = dice.randint(20, 60), dice.randint(3, 9), dice.randint(2, 9)
        question = sentence.format(name=dice.choice(_NAMES), a=a, b=b, c=c)
        rows.setdefault(question, str(solve(a, b, c)))
    return [{"question": question, "answer": answer} for question, answer in rows.items()]
