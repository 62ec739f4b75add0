"""Run the steps on fake CUDA tensors in a process that pretends to have CUDA."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.faults.preloaded import PreloadedPython
from tests.helpers.models import fake_cuda

_CHECKOUT = Path(__file__).resolve().parents[3]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        bool(fake_cuda.explain_unsupported()), reason=fake_cuda.explain_unsupported() or "supported"
    ),
]


#: Without plugins and conftest.py: importing Qt takes as long as a step, and slows all others down. The
#: settings of plugins are then unknown.
_OPTIONS = (
    "-q", "--noconftest", "-p", "no:cacheprovider", "-o", "addopts=",
    "-W", "ignore::pytest.PytestConfigWarning",
)  # fmt: skip


@pytest.fixture(scope="module")
def preloaded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PreloadedPython]:
    """Yield a Python with torch and transformers imported, and nothing of this program."""
    python = PreloadedPython(tmp_path_factory.mktemp("preloaded"))
    yield python
    python.close()


def run(preloaded: PreloadedPython, folder: Path, *arguments: str) -> None:
    """Run the steps in a fork of a process that has imported PyTorch and transformers, and nothing else."""
    file = Path(__file__).with_name("fake_cuda_steps.py")
    command = preloaded.command("pytest", *_OPTIONS, str(file), *arguments)
    environment = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    with (
        (folder / "output.txt").open("w+") as output,
        # It ends when its standard input does.
        subprocess.Popen(
            command,
            cwd=_CHECKOUT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
        ) as process,
    ):
        status = process.wait()
        output.seek(0)
        said = output.read()
    assert status == 0, said
    assert " passed" in said
    assert "skipped" not in said


def test_steps_stay_on_one_fake_gpu(preloaded: PreloadedPython, tmp_path: Path) -> None:
    run(preloaded, tmp_path, "-m", "not thorough")


@pytest.mark.thorough
def test_steps_of_every_recipe_stay_on_one_fake_gpu(
    preloaded: PreloadedPython, tmp_path: Path
) -> None:
    run(preloaded, tmp_path, "-m", "thorough")
