"""What the set-up of a checkout installs on other computers: which Python, and which PyTorch."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "packaging" / "bootstrap.sh"

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="the script installs system packages on Linux alone"
)


def run_functions(program: str, programs: Path, folder: Path) -> str:
    """Return what a program prints that calls the script's functions, with `programs` as its PATH."""
    functions = re.findall(
        r"^\w+\(\) \{.*?^\}", SCRIPT.read_text("utf-8"), re.DOTALL | re.MULTILINE
    )
    text = "\n".join([*functions, program])
    done = subprocess.run(
        ["/bin/bash", "-euo", "pipefail", "-c", text],
        env={"PATH": str(programs)}, cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


def write_program(path: Path, body: str) -> None:
    """Write a shell script that has the system's programs, whatever its caller has."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\nPATH=/usr/bin:/bin\n{body}\n")
    path.chmod(0o755)


@pytest.mark.parametrize(
    ("gpus", "versions"),
    [
        pytest.param("550.54.14, 8.9", "<2.11", id="RTX 4090 and a driver for CUDA 12"),
        pytest.param("570.86.15, 12.0", "<2.11", id="RTX 5090 and a driver for CUDA 12"),
        pytest.param("535.183.01, 7.5", "<2.11", id="T4 and a driver for CUDA 12"),
        pytest.param("580.65.06, 12.0", "", id="RTX 5090 and a driver for CUDA 13"),
        pytest.param("580.65.06, 7.5", "", id="T4 and a driver for CUDA 13"),
        pytest.param("580.65.06, 7.0", "<2.11", id="V100"),
        pytest.param("580.65.06, 6.1", "<2.8", id="GTX 1080 Ti"),
        pytest.param("580.65.06, 6.1\n580.65.06, 8.9", "", id="two GPUs: the newer one trains"),
        pytest.param("580.65.06, 10.0", "", id="B200: 10.0 isn't 1.0"),
        pytest.param("470.256.02, 6.1", "", id="no build supports the driver"),
        pytest.param("NVIDIA-SMI has failed because it couldn't communicate", "", id="no driver"),
    ],
)
def test_torch_has_a_build_for_the_driver_and_gpu(gpus: str, versions: str, tmp_path: Path) -> None:
    write_program(tmp_path / "bin" / "nvidia-smi", f"cat <<'END'\n{gpus}\nEND")
    write_program(tmp_path / "bin" / "awk", 'exec awk "$@"')
    write_program(tmp_path / "bin" / "uname", "echo Linux x86_64")
    assert run_functions("torch_versions", tmp_path / "bin", tmp_path) == versions


@pytest.fixture
def other_python(tmp_path: Path) -> Path:
    """Return a folder of programs in which Python has an unsupported version.

    Its virtual environment has a uv that installs a Python where it is asked to.
    """
    installed = '"$5/cpython-3.12.1-linux-x86_64-gnu/bin"'
    write_program(
        tmp_path / "uv",
        f'[ "$1 $2 $3 $4" = "python install 3.12 --install-dir" ] || exit 3\n'
        f"mkdir -p {installed} && ln -s {sys.executable} {installed}/python3",
    )
    write_program(
        tmp_path / "bin" / "python3",
        f'case "$*" in *version_info*) exit 1 ;; "-m venv "*) mkdir -p "$3/bin" && '
        f'cp {tmp_path}/uv "$3/bin/uv" && ln -s /bin/true "$3/bin/python" ;; esac',
    )
    return tmp_path / "bin"


def test_python_is_downloaded_if_the_system_has_another(other_python: Path, tmp_path: Path) -> None:
    folder = tmp_path / "a clone"
    folder.mkdir()
    program = "find_python || { download_python; find_python; }"
    python = folder / ".python" / "cpython-3.12.1-linux-x86_64-gnu" / "bin" / "python3"
    assert run_functions(program, other_python, folder).splitlines()[-1] == str(python)


def test_another_python_with_venv_needs_no_python_package(
    other_python: Path, tmp_path: Path
) -> None:
    write_program(other_python / "gcc", "")
    write_program(other_python / "ldconfig", "")
    program = 'window_libraries=""\nmissing_packages'
    packages = run_functions(program, other_python, tmp_path).split()
    assert [name for name in packages if "python" in name] == []
