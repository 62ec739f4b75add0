"""Tokenizers with one damaged file: each can be used, or is refused with the name of the file.

An input is the seed of a damage.
"""

from __future__ import annotations

import functools
import random
import shutil
from pathlib import Path

from tests.campaign.family import SimpleFamily


def generate_seed(rng: random.Random) -> bytes:
    """Return the seed of a layout and of a damage."""
    return str(rng.randrange(1 << 32)).encode()


@functools.cache
def _write_intact(folder: Path) -> dict[str, Path]:
    from tests.helpers.models.damaged_tokenizers import create_tokenizers

    folder.mkdir(exist_ok=True)
    return create_tokenizers(folder)


def run_damage(content: bytes, sandbox: Path) -> str:
    """Damage a copy of an intact tokenizer, and load and use it."""
    from tests.helpers.models.damaged_tokenizers import LAYOUTS, check_tokenizer, damage_tokenizer

    rng = random.Random(content)
    intact = _write_intact(sandbox.parent / "shared")
    target = sandbox / "tokenizer"
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(intact[rng.choice(LAYOUTS)], target)
    damage_tokenizer(target, intact, rng)
    problem = check_tokenizer(target)
    return "used" if problem is None else problem.code


#: Each is tried first in a process of its own.
FAMILIES = [
    SimpleFamily("tokenizers", generate_seed, run_damage, seconds=20.0, weight=1.5, smoke=0, starts_programs=True)
]  # fmt: skip
