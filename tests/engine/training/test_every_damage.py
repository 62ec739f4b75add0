"""Files of a run, damaged at random, against everything that reads a run."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from tests.helpers import damaged_runs, run_verbs
from tests.helpers.damaged_runs import Damage, RunPair

#: Seconds for the sample in the slow tier, and for each state of a run in the thorough tier.
_SAMPLE_SECONDS, _STATE_SECONDS = 4.0, 75.0


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> RunPair:
    return damaged_runs.build_interrupted(tmp_path_factory.mktemp("interrupted") / "project")


def check_damages(
    pair: RunPair,
    damages: Iterable[Damage],
    choose_verbs: Callable[[], Iterable[str]],
    folder: Path,
    seconds: float,
) -> list[str]:
    """Carry out verbs on damaged copies of a run until the time is up; return all faults."""
    whole, faults, until = run_verbs.take_snapshot(pair.run), [], time.monotonic() + seconds
    cases = 0
    for number, damage in enumerate(damages):
        for verb in choose_verbs():
            if time.monotonic() > until:
                print(f"{cases} cases in {seconds:.0f} s")
                return faults
            copy = pair.copy(folder / f"{number}-{verb}")
            damaged_runs.apply(damage, copy)
            before = run_verbs.take_snapshot(copy.run)
            outcome = run_verbs.VERBS[verb](copy.run)
            broken = run_verbs.find_faults(whole, before, copy.run, damage, verb, outcome)
            faults += [f"{verb} after {damage}: {fault}" for fault in broken]
            cases += 1
    print(f"all {cases} cases")
    return faults


@pytest.mark.slow
def test_sample_of_damages_is_named_or_repaired(interrupted: RunPair, tmp_path: Path) -> None:
    chance = random.Random(7)
    damages = damaged_runs.list_damages(interrupted.run)
    chance.shuffle(damages)
    verbs = list(run_verbs.LIGHT)
    faults = check_damages(
        interrupted, damages, lambda: chance.sample(verbs, 2), tmp_path, _SAMPLE_SECONDS
    )
    assert not faults, "\n".join(faults)


@pytest.mark.slow
@pytest.mark.thorough
@pytest.mark.parametrize("state", ["interrupted", "finished"])
def test_damages_are_named_or_repaired_by_every_verb(state: str, tmp_path: Path) -> None:
    build = {
        "interrupted": damaged_runs.build_interrupted,
        "finished": damaged_runs.build_finished,
    }[state]
    pair = build(tmp_path / "project")
    seed = random.randrange(1 << 32)
    print(f"seed: {seed}")
    chance = random.Random(seed)
    damages = damaged_runs.list_damages(pair.run)
    chance.shuffle(damages)
    heavy, light = list(run_verbs.HEAVY), list(run_verbs.LIGHT)
    faults = check_damages(
        pair,
        damages,
        lambda: [chance.choice(heavy), *chance.sample(light, 2)],
        tmp_path,
        _STATE_SECONDS,
    )
    assert not faults, "\n".join(faults)
