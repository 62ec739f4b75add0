"""Run folders with one damaged file, and everything that reads or changes a run."""

from __future__ import annotations

import functools
import json
import random
import shutil
from pathlib import Path
from typing import Any

from tests.campaign.family import SimpleFamily, WrongResultError


def generate_damage(rng: random.Random) -> bytes:
    """Return the number of a damage and of a verb; one of five verbs takes seconds."""
    return json.dumps({
        "damage": rng.randrange(10_000), "verb": rng.randrange(1000), "is_heavy": rng.random() < 0.2, "seed": rng.randrange(1000),
    }).encode()  # fmt: skip


@functools.cache
def _build_run(folder: Path) -> tuple[Any, Any]:
    """Build the run that is copied for each input, and describe it."""
    from tests.helpers import damaged_runs, run_verbs

    folder.mkdir(exist_ok=True)
    pair = damaged_runs.build_interrupted(folder / "project")
    return pair, run_verbs.take_snapshot(pair.run)


def run_damage(content: bytes, sandbox: Path) -> str:
    """Damage a copy of the run and carry out the verb: it names the damage, or its result is right."""
    from tests.helpers import damaged_runs, run_verbs

    try:
        plan = {name: int(value) for name, value in json.loads(content).items()}
    except (ValueError, AttributeError, TypeError):
        return "noise"
    pair, whole = _build_run(sandbox.parent / "shared")
    copy = sandbox / "copy"
    shutil.rmtree(copy, ignore_errors=True)
    damages = damaged_runs.list_damages(pair.run)
    damage = damages[plan.get("damage", 0) % len(damages)]
    verbs = list(run_verbs.HEAVY if plan.get("is_heavy") else run_verbs.LIGHT)
    verb = verbs[plan.get("verb", 0) % len(verbs)]
    copied = pair.copy(copy)
    damaged_runs.apply(damage, copied, plan.get("seed", 0))
    before = run_verbs.take_snapshot(copied.run)
    outcome = run_verbs.VERBS[verb](copied.run)
    if faults := run_verbs.find_faults(whole, before, copied.run, damage, verb, outcome):
        raise WrongResultError(f"{verb} after {damage}: {'; '.join(faults)}")
    return "done" if outcome.is_done else "named"


FAMILIES = [
    SimpleFamily(
        "run-folders", generate_damage, run_damage, seconds=60.0, weight=1.5, smoke=0, starts_programs=True
    )
]  # fmt: skip
