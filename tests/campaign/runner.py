"""Run families in several processes for some time, and collect what is wrong."""

from __future__ import annotations

import contextlib
import hashlib
import math
import random
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.campaign.family import Family, Figures, Finding
from tests.campaign.pool import ChildDiedError, ChildProcess

CORPUS = Path(__file__).with_name("corpus")

#: A family is given up after so many inputs that ended its process.
_MAX_DEATHS = 30


class _Schedule:
    """Divides the time of a campaign among its families."""

    def __init__(self, families: Sequence[Family], seconds: float, jobs: int) -> None:
        self._seconds, self._jobs = seconds, jobs
        self._until = time.time() + seconds
        self._weights = {family.name: family.weight for family in families}

    def get_share(self, family: Family) -> float:
        """Return the seconds for a family: what is left, divided by the weights of those that haven't ended."""
        left = max(0.0, self._until - time.time())
        return left * min(1.0, self._jobs * family.weight / sum(self._weights.values()))

    def finish(self, family: Family) -> None:
        """Note that a family has ended."""
        del self._weights[family.name]

    def has_reached_goal(self, family: Family, figures: Figures) -> bool:
        """Return whether a family has counted as much as the whole campaign needs."""
        name, number = family.goal
        return number > 0 and figures.outcomes.get(name, 0) >= number * self._seconds / 3600


@dataclass
class Campaign:
    """The figures of each family; threads add to them."""

    families: Sequence[Family]
    seed: int
    most: int = 1 << 40
    #: Called with each family as soon as its time is up.
    report: Callable[[Family, Figures], None] = lambda family, figures: None
    figures: dict[str, Figures] = field(default_factory=dict)
    _schedule: _Schedule = field(init=False, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self, seconds: float, jobs: int) -> None:
        """Run all families; each gets its share of the time that is left to the processes when it starts.

        Those with a goal come first and end when they have reached it, so that the others share the rest.
        """
        self.figures = {family.name: Figures() for family in self.families}
        self._schedule = _Schedule(self.families, seconds, jobs)
        waiting = sorted(self._group_families(), key=_get_rank)

        def work() -> None:
            while True:
                with self._lock:
                    if not waiting:
                        return
                    group = waiting.pop()
                child = ChildProcess(group, self.seed)
                try:
                    for family in group:
                        child = self._run_family(family, child)
                        with self._lock:
                            self._schedule.finish(family)
                            self.report(family, self.figures[family.name])
                finally:
                    child.close()

        # Daemons, so that Ctrl+C ends the campaign; its processes end with it.
        threads = [threading.Thread(target=work, daemon=True) for _ in range(jobs)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _group_families(self) -> list[list[Family]]:
        """Return the families that run in one process each: those that share what they start."""
        groups: dict[str, list[Family]] = {}
        for family in self.families:
            groups.setdefault(family.shares or family.name, []).append(family)
        return list(groups.values())

    def _run_family(self, family: Family, child: ChildProcess) -> ChildProcess:
        """Run one family for its share of the time, or up to its goal or number of inputs, beginning with the first.

        The time in which the process starts doesn't count. Returns the process for the next family.
        """
        figures = self.figures[family.name]
        first, deaths, until = 0, 0, math.inf
        while time.time() < until and first < self.most and deaths < _MAX_DEATHS:
            if self._schedule.has_reached_goal(family, figures):
                break
            count = 1 if family.goal[1] else min(self.most - first, 100_000)
            try:
                child.wait_until_ready()
                if until == math.inf:
                    with self._lock:
                        until = time.time() + self._schedule.get_share(family)
                peak = 0
                for answer in child.run_batch(family, first, count, until):
                    figures.add(answer)
                    first += answer["inputs"]
                    peak = answer["peak"]
            except ChildDiedError as error:
                deaths += 1
                figures.inputs += max(0, error.index - first + 1)
                finding = Finding(
                    family.name, error.index, error.kind, error.signature, error.details
                )
                figures.findings.setdefault(error.signature, finding)
                first = max(first, error.index) + 1
                child = ChildProcess([family], self.seed)
                continue
            if peak > _MAX_PEAK:
                child.close()
                child = ChildProcess([family], self.seed)
        return child


def _get_rank(group: Sequence[Family]) -> tuple[bool, float]:
    """Return a key by which groups are sorted: those with a goal last, and the longest of them after the others."""
    return group[0].goal[1] > 0, sum(family.weight for family in group)


#: A process that has used so much memory is replaced, so that one input doesn't hide the next.
_MAX_PEAK = 990_000_000


def generate(family: Family, seed: int, index: int) -> bytes:
    """Return the input of a family by its number."""
    return family.generate(random.Random(f"{seed}/{family.name}/{index}"))


def save(family: Family, content: bytes, signature: str) -> Path:
    """Add an input to the corpus and return its file."""
    slug = re.sub(r"[^a-z0-9]+", "-", signature.lower()).strip("-")[:60]
    file = CORPUS / family.name / f"{slug}-{hashlib.sha256(content).hexdigest()[:8]}"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    return file


def list_corpus(family: Family) -> list[Path]:
    """Return the past failures of a family."""
    folder = CORPUS / family.name
    return sorted(file for file in folder.iterdir() if file.is_file()) if folder.is_dir() else []


def replay(family: Family, files: Sequence[Path]) -> Iterator[tuple[Path, str]]:
    """Run files of the corpus and yield those that fail, with the signature."""
    if not files:
        return
    with contextlib.closing(_Restarting([family])) as child:
        for file in files:
            if fault := child.find_fault(family, file.read_bytes()):
                yield file, fault


def run_smoke(families: Sequence[Family]) -> list[str]:
    """Run the corpus and a fixed number of inputs of families in one process; return what fails."""
    failed = []
    with contextlib.closing(_Restarting(families)) as child:
        for family in families:
            for file in list_corpus(family):
                if fault := child.find_fault(family, file.read_bytes()):
                    failed.append(f"{family.name}/{file.name}: {fault}")
            figures = Figures()
            try:
                for answer in child.process.run_batch(family, 0, family.smoke, math.inf):
                    figures.add(answer)
            except ChildDiedError as error:
                failed.append(f"{family.name} input {error.index}: {error.signature}")
                child.restart()
                continue
            findings = figures.findings.values()
            failed += [f"{family.name} input {each.index}: {each.signature}" for each in findings]
    return failed


class _Restarting:
    """A process that is replaced when an input ends it."""

    def __init__(self, families: Sequence[Family]) -> None:
        self._families = families
        self.process = ChildProcess(families, 0)

    def find_fault(self, family: Family, content: bytes) -> str:
        """Run an input; return what is wrong, "" if nothing is."""
        try:
            outcome, kind = self.process.run_content(family, content)
        except ChildDiedError as error:
            self.restart()
            return error.signature
        if kind == "memory":
            self.restart()
        return f"{kind}: {outcome}" if kind else ""

    def restart(self) -> None:
        """Replace the process."""
        self.close()
        self.process = ChildProcess(self._families, 0)

    def close(self) -> None:
        """End the process."""
        self.process.close()
