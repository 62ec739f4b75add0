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
    program = 'window_libraries="" certificates=""\nmissing_packages test'
    packages = run_functions(program, other_python, tmp_path).split()
    assert [name for name in packages if "python" in name] == []


@pytest.mark.parametrize(
    ("python", "libraries", "extras", "is_missing"),
    [
        pytest.param("/usr/bin/python3", "", "engine,test", True, id="Debian's Python alone"),
        pytest.param("/usr/bin/python3", "", "engine", False, id="without the tests"),
        pytest.param("/usr/bin/python3", "libpython3.13.so.1.0 (libc6)", "test", False, id="there"),
        pytest.param("/opt/bin/python3", "", "test", False, id="Python of the user"),
    ],
)
def test_tests_need_the_library_of_python(
    tmp_path: Path, python: str, libraries: str, extras: str, is_missing: bool
) -> None:
    write_program(tmp_path / "bin" / "ldconfig", f'echo "\t{libraries}"')
    program = f"""find_python() {{ echo {python}; }}
    {python}() {{ echo python3.13; }}
    window_libraries="" certificates=""
    missing_packages {extras}"""
    packages = run_functions(program, tmp_path / "bin", tmp_path).split()
    assert ("libpython3.13" in packages) == is_missing


@pytest.mark.parametrize(
    ("present", "is_missing"),
    [
        pytest.param("debian.crt", False, id="Debian"),
        pytest.param("fedora.pem", False, id="Fedora"),
        pytest.param("other.pem", True, id="none"),
    ],
)
def test_certificates_are_found_where_distributions_have_them(
    other_python: Path, tmp_path: Path, present: str, is_missing: bool
) -> None:
    (tmp_path / present).write_text("")
    write_program(other_python / "ldconfig", "")
    program = 'window_libraries="" certificates="debian.crt fedora.pem"\nmissing_packages demo'
    packages = run_functions(program, other_python, tmp_path).split()
    assert ("ca-certificates" in packages) == is_missing


def test_certificates_of_fedora_are_known() -> None:
    known = re.search(r'^readonly certificates="(.*)"$', SCRIPT.read_text("utf-8"), re.MULTILINE)
    assert known is not None
    debian, fedora = known[1].split()
    assert debian == "/etc/ssl/certs/ca-certificates.crt"
    assert fedora == "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem"


@pytest.mark.parametrize(
    ("vendor", "kind", "found"),
    [
        pytest.param("0x10de", "0x030000", True, id="GeForce"),
        pytest.param("0x10de", "0x030200", True, id="without display outputs"),
        pytest.param("0x10de", "0x020700", False, id="network adapter of NVIDIA"),
        pytest.param("0x10de", "0x040300", False, id="audio device of NVIDIA"),
        pytest.param("0x8086", "0x030000", False, id="Intel graphics"),
    ],
)
def test_only_a_display_controller_is_a_gpu(
    tmp_path: Path, vendor: str, kind: str, found: bool
) -> None:
    write_program(tmp_path / "bin" / "grep", 'exec grep "$@"')
    device = tmp_path / "pci" / "0000:01:00.0"
    device.mkdir(parents=True)
    (device / "vendor").write_text(f"{vendor}\n")
    (device / "class").write_text(f"{kind}\n")
    program = "if has_nvidia_gpu pci; then echo found; fi"
    assert run_functions(program, tmp_path / "bin", tmp_path) == ("found" if found else "")


@pytest.mark.parametrize(
    ("present", "runs"),
    [
        pytest.param("bin/nvidia-smi", True, id="nvidia-smi"),
        pytest.param("nvidiactl", True, id="container without nvidia-smi"),
        pytest.param("other", False, id="no GPU"),
    ],
)
def test_gpu_is_checked_where_there_is_one(tmp_path: Path, present: str, runs: bool) -> None:
    for name in ("ruff", "python", "mypy", "lint-imports", "pytest"):
        write_program(tmp_path / "bin" / name, f'echo {name} "$@"')
    write_program(tmp_path / present, "")
    said = run_functions("nvidia_device=nvidiactl\nrun_tests", tmp_path / "bin", tmp_path)
    assert ("python -m tests.gpu --out" in said) == runs


def install(folder: Path, nvidia_smi: str | None, index: str = "", pip: str = "") -> list[str]:
    """Return what the set-up says before and after it downloads PyTorch, which can't use a GPU.

    `nvidia_smi` is the body of that program, None if there is none; `pip` runs instead of its update.
    """
    programs, python = folder / "bin", folder / ".venv" / "bin" / "python"
    for name in ("awk", "cat", "sha256sum"):
        write_program(programs / name, f'exec {name} "$@"')
    write_program(programs / "uname", "echo Linux x86_64")
    write_program(programs / "python3", "")
    if nvidia_smi is not None:
        write_program(programs / "nvidia-smi", nvidia_smi)
    write_program(
        python,
        f"""case "$*" in
            *sys.prefix*) echo "{folder}/.venv" ;; *"import sys, torch"*) exit 1 ;;
            *"pip>="*) {pip or ":"} ;; *--editable*) echo DOWNLOAD ;;
        esac""",
    )
    (folder / "pyproject.toml").write_text("")
    program = f"""find_python() {{ echo python3; }}
    has_nvidia_gpu() {{ true; }}
    LORA_STUDIO_TORCH_INDEX={index}
    install_python_packages engine"""
    before, after = run_functions(program, programs, folder).split("DOWNLOAD")
    return [" ".join(said.split()) for said in (before, after)]


@pytest.mark.parametrize(
    ("nvidia_smi", "problem"),
    [
        pytest.param(None, "isn't installed", id="none"),
        pytest.param("echo NVIDIA-SMI has failed; exit 9", "doesn't respond", id="not loaded"),
        pytest.param("echo No devices were found", "doesn't respond", id="no devices"),
        pytest.param("echo 470.256.02", "(470.256.02) is too old", id="too old"),
    ],
)
def test_driver_is_named_before_torch_is_downloaded(
    tmp_path: Path, nvidia_smi: str | None, problem: str
) -> None:
    before, after = install(tmp_path, nvidia_smi)
    assert f"NVIDIA's driver {problem}, so training uses the CPU." in before
    assert "install driver 525 or newer" in before
    assert after == ("" if nvidia_smi is None else before[before.index("NVIDIA's driver") :])


def test_torch_of_an_index_needs_a_newer_driver(tmp_path: Path) -> None:
    before, after = install(tmp_path, "echo 550.54.14, 8.9", "https://mirror.example/whl/cu130")
    assert "driver" not in before
    assert "from LORA_STUDIO_TORCH_INDEX needs a newer NVIDIA driver" in after
    assert "Unset the variable or update the driver" in after
    assert "525" not in after


def test_working_driver_is_no_problem_before_the_download(tmp_path: Path) -> None:
    before, after = install(tmp_path, "echo 580.65.06, 8.9")
    assert "driver" not in before
    assert "Update NVIDIA's driver" in after


def test_mirror_without_a_newer_pip_ends_nothing(tmp_path: Path) -> None:
    before, _ = install(tmp_path, "echo 580.65.06, 8.9", pip="exit 1")
    assert "pip can't be updated" in before
