"""Every damage to every file of a run, against everything that reads a run."""

from __future__ import annotations

import faulthandler
import os
import random
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from lora_studio.core.problems import Where, warning
from lora_studio.core.runs.folder import RunFolder
from tests.helpers.runs import damaged_runs, run_verbs
from tests.helpers.runs.damaged_runs import Damage, RunPair

#: Processor seconds for each sample in the slow tier, and for each state of a run in the thorough tier.
_SAMPLE_SECONDS = 2.0
_STATE_SECONDS = float(os.environ.get("LORA_STUDIO_DAMAGE_SECONDS", "600"))

#: Seconds after which a verb that waits for something is shown with its traceback.
_PATIENCE = 300.0


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> RunPair:
    return damaged_runs.build_interrupted_and_merged(tmp_path_factory.mktemp("pair") / "project")


def check_damages(
    pair: RunPair,
    damages: Iterable[Damage],
    choose_verbs: Callable[[Damage], Iterable[str]],
    folder: Path,
    seconds: float,
) -> list[str]:
    """Carry out verbs on damaged copies of a run until the time is up; return all faults.

    A verb that has changed nothing leaves its copy to the next.
    """
    whole, faults, until = run_verbs.take_snapshot(pair.run), [], time.process_time() + seconds
    cases = 0
    for number, damage in enumerate(damages):
        copy, before = None, {}
        for verb in choose_verbs(damage):
            if time.process_time() > until:
                print(f"{cases} cases of {number} damages in {seconds:.0f} s")
                return faults
            if copy is None:
                copy = pair.copy(folder / f"{number}-{verb}")
                damaged_runs.apply(damage, copy)
                before = run_verbs.take_snapshot(copy.run)
            faulthandler.dump_traceback_later(_PATIENCE, file=sys.__stderr__)
            outcome = run_verbs.VERBS[verb](copy.run)
            faulthandler.cancel_dump_traceback_later()
            broken = run_verbs.find_faults(whole, before, copy.run, damage, verb, outcome)
            faults += [f"{verb} after {damage}: {fault}" for fault in broken]
            if run_verbs.take_snapshot(copy.run) != before:
                copy.delete()
                copy = None
            cases += 1
        if copy is not None:
            copy.delete()
    print(f"all {cases} cases")
    return faults


def test_warning_excuses_only_the_file_that_it_names(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    where = Where(file=str(run.gguf / "a.gguf"))
    named = warning("selftest.file_missing", "a.gguf is missing.", "Export again.", where=where)
    outcome = run_verbs.Outcome(is_done=True, warnings=[named])
    whole = dict.fromkeys(("gguf/a.gguf", "gguf/b.gguf", "merged/config.json"), "whole")
    damage = Damage("gguf/a.gguf", "delete")
    faults = run_verbs.find_faults(whole, {}, run, damage, "selftest", outcome)
    assert [fault.split()[0] for fault in faults] == ["gguf/b.gguf", "merged/config.json"]


@pytest.mark.slow
@pytest.mark.parametrize("state", ["interrupted", "merged"])
def test_sample_of_damages_is_named_or_repaired(state: str, pair: RunPair, tmp_path: Path) -> None:
    if state == "merged":
        pair = RunPair(pair.other, pair.run)
    chance = random.Random(7)
    damages = damaged_runs.list_damages(pair.run)
    chance.shuffle(damages)
    verbs = list(run_verbs.LIGHT)
    faults = check_damages(
        pair, damages, lambda _: chance.sample(verbs, 2), tmp_path, _SAMPLE_SECONDS
    )
    assert not faults, "\n".join(faults)


@pytest.mark.slow
@pytest.mark.thorough
@pytest.mark.timeout(20 * _STATE_SECONDS + 1800)  # of a busy machine
@pytest.mark.parametrize("weight", ["light", "heavy"])
@pytest.mark.parametrize("state", ["interrupted", "finished"])
def test_damages_are_named_or_repaired_by_every_verb(
    state: str, weight: str, tmp_path: Path
) -> None:
    """Light verbs meet every damage; heavy ones those to what they deliver, and one other each."""
    build = {
        "interrupted": damaged_runs.build_interrupted,
        "finished": damaged_runs.build_finished,
    }[state]
    pair = build(tmp_path / "project")
    seed = random.SystemRandom().randrange(1 << 32)  # libraries have seeded the other generator
    print(f"seed: {seed}")
    chance = random.Random(seed)
    damages = damaged_runs.list_damages(pair.run)
    chance.shuffle(damages)

    def choose_verbs(damage: Damage) -> Iterable[str]:
        if weight == "light":
            return run_verbs.LIGHT
        return {*run_verbs.list_delivering(damage.file), chance.choice(list(run_verbs.HEAVY))}

    faults = check_damages(pair, damages, choose_verbs, tmp_path, _STATE_SECONDS)
    assert not faults, "\n".join(faults)
