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
    """Return the number of a damage and of a verb, and which run; a third of the verbs take seconds."""
    return json.dumps({
        "damage": rng.randrange(10_000), "verb": rng.randrange(1000), "is_heavy": rng.random() < 0.35, "seed": rng.randrange(1000),
        "is_finished": rng.random() < 0.6,
    }).encode()  # fmt: skip


@functools.cache
def _build_run(folder: Path, *, is_finished: bool) -> tuple[Any, Any]:
    """Build the run that is copied for each input, and describe it: all jobs done, or a killed training."""
    from tests.helpers.runs import damaged_runs, run_verbs

    folder.mkdir(exist_ok=True)
    build = damaged_runs.build_finished if is_finished else damaged_runs.build_interrupted
    pair = build(folder / "project")
    return pair, run_verbs.take_snapshot(pair.run)


def run_damage(content: bytes, sandbox: Path) -> dict[str, int] | str:
    """Damage a copy of the run and carry out the verb: it names the damage, or its result is right."""
    from tests.helpers.runs import damaged_runs, run_verbs

    try:
        plan = {name: int(value) for name, value in json.loads(content).items()}
    except (ValueError, AttributeError, TypeError):
        return "noise"
    is_finished = bool(plan.get("is_finished"))
    shared = sandbox.parent / ("finished" if is_finished else "interrupted")
    pair, whole = _build_run(shared, is_finished=is_finished)
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
    kind = verb if plan.get("is_heavy") else "light"
    return {"damages": 1, "done" if outcome.is_done else "named": 1, kind: 1}


FAMILIES = [
    SimpleFamily(
        "run-folders", generate_damage, run_damage, seconds=60.0, weight=1.5, smoke=0, starts_programs=True
    )
]  # fmt: skip
