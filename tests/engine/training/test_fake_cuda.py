"""Run the steps on fake CUDA tensors in a process that pretends to have CUDA."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.models import fake_cuda

_CHECKOUT = Path(__file__).resolve().parents[3]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        bool(fake_cuda.explain_unsupported()), reason=fake_cuda.explain_unsupported() or "supported"
    ),
]


def run(*arguments: str) -> None:
    file = Path(__file__).with_name("fake_cuda_steps.py")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
    done = subprocess.run(
        [*command, str(file), *arguments],
        cwd=_CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout


def test_steps_stay_on_one_fake_gpu() -> None:
    run("-m", "not thorough")


@pytest.mark.thorough
def test_steps_of_every_recipe_stay_on_one_fake_gpu() -> None:
    run("-m", "thorough")
