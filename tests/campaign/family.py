"""What a family of malformed inputs is, and what is wrong with the answer to one."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

#: How an input ended; an input that is several attempts has a count for each ending.
Outcome = str | dict[str, int]


class Family(Protocol):
    """Generates inputs of one kind and gives them to the program."""

    #: Name on the command line and of the folder in the corpus.
    name: str
    #: Processor seconds that one input may take, those of the programs that it starts included.
    seconds: float
    #: Share of the campaign's time, relative to the other families.
    weight: float
    #: What the family counts, such as kills, and how many of them are enough for an hour; "" and 0 for no end.
    goal: tuple[str, int]
    #: Number of inputs in the fast tests.
    smoke: int
    #: Whether an input may start programs and connect to this computer.
    starts_programs: bool
    #: Families with the same word share a process and what it starts, which an empty input does.
    shares: str

    def generate(self, rng: random.Random) -> bytes:
        """Return an input; the same one for the same state of `rng`."""

    def run(self, content: bytes, sandbox: Path) -> Outcome:
        """Give an input to the program and return how it ended, in a word, or counts to add up.

        Raises any exception that isn't documented, and WrongResultError.
        """


class WrongResultError(Exception):
    """Raised by a family if the program accepts an input and does something wrong with it."""


@dataclass(frozen=True)
class SimpleFamily:
    """A family that consists of two functions."""

    name: str
    generate: Callable[[random.Random], bytes]
    run: Callable[[bytes, Path], Outcome]
    seconds: float = 2.0
    weight: float = 1.0
    goal: tuple[str, int] = ("", 0)
    smoke: int = 300
    starts_programs: bool = False
    shares: str = ""


class Finding(NamedTuple):
    """One input with a wrong outcome; `signature` is the same for all that have the same cause."""

    family: str
    index: int
    kind: str
    signature: str
    details: str


@dataclass
class Figures:
    """What was run of one family; seconds of processor time (of a clock, if it starts programs), bytes of memory."""

    inputs: int = 0
    seconds: float = 0.0
    slowest: float = 0.0
    peak: int = 0
    outcomes: dict[str, int] = field(default_factory=dict)
    findings: dict[str, Finding] = field(default_factory=dict)

    def count(self, outcome: Outcome, seconds: float) -> None:
        """Add one input."""
        self.inputs += 1
        self.seconds += seconds
        self.slowest = max(self.slowest, seconds)
        for ending, number in (outcome if isinstance(outcome, dict) else {outcome: 1}).items():
            self.outcomes[ending] = self.outcomes.get(ending, 0) + number

    def add(self, answer: dict[str, Any]) -> None:
        """Add the answer of a child about some inputs."""
        self.inputs += answer["inputs"]
        self.seconds += answer["seconds"]
        self.slowest = max(self.slowest, answer["slowest"])
        self.peak = max(self.peak, answer["peak"])
        for outcome, count in answer["outcomes"].items():
            self.outcomes[outcome] = self.outcomes.get(outcome, 0) + count
        for entry in answer["findings"]:
            finding = Finding(*entry)
            self.findings.setdefault(finding.signature, finding)


#: Endings that the line of a family lists.
_MOST_OUTCOMES = 12


def describe_figures(name: str, figures: Figures) -> str:
    """Return the line of a family."""
    rate = figures.inputs / figures.seconds if figures.seconds else 0
    outcomes = sorted(figures.outcomes.items(), key=lambda item: -item[1])
    return (
        f"{name:<18} {figures.inputs:>9,} inputs  {rate:>8,.0f}/s  {len(figures.findings):>3} findings  "
        f"slowest {figures.slowest:7.3f} s  peak {figures.peak / 1e6:5.0f} MB  "
        + ", ".join(f"{outcome} {count:,}" for outcome, count in outcomes[:_MOST_OUTCOMES])
    )
