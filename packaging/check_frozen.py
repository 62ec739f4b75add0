"""Run the frozen program as a user would: `python packaging/check_frozen.py [PROGRAM]`.

Without PROGRAM, freezes this checkout first, into build/. The check shows the help of every command,
creates a project, reports on the installation, and opens every page of the window in each language,
without an engine, a display, or a network. Whatever fails, or prints to stderr, makes the exit status 1.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
import venv
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import typer
from man_page import commands_under

from lora_studio import __version__
from lora_studio.cli.app import app
from lora_studio.core.problems import STEPS

CHECKOUT = Path(__file__).resolve().parent.parent
BUILD = CHECKOUT / "build"

#: Seconds until a command counts as hung, on a machine that is busy with other work.
PATIENCE = 300.0

#: The pages that `--check-window` must have shown; a step's page has the name of the step.
PAGES = {*STEPS, "home", "runs", "evaluation", "playground", "settings"}


def prepare_environment(folder: Path) -> Path:
    """Return the programs' folder of an environment with what freeze.py needs, recreated when that changes."""
    programs = folder / ("Scripts" if sys.platform == "win32" else "bin")
    stamp = hashlib.sha256(f"{CHECKOUT} {sys.version}".encode())
    for name in ("pyproject.toml", "lora_studio/__init__.py"):  # requirements and version
        stamp.update((CHECKOUT / name).read_bytes())
    stamp_file = folder / "stamp"
    if not stamp_file.exists() or stamp_file.read_text() != stamp.hexdigest():
        shutil.rmtree(folder, ignore_errors=True)
        venv.create(folder, with_pip=True, symlinks=sys.platform != "win32")
        pip = [programs / "python", "-m", "pip", "install", "--quiet"]
        subprocess.run([*pip, "--editable", f"{CHECKOUT}[packaging]"], check=True)
        stamp_file.write_text(stamp.hexdigest())
    return programs


def freeze() -> Path:
    """Freeze this checkout, and return the program."""
    began = time.monotonic()
    programs = prepare_environment(BUILD / "environment")
    prepared = time.monotonic()
    subprocess.run(
        [programs / "python", CHECKOUT / "packaging" / "freeze.py", BUILD / "frozen"],
        env=os.environ | {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"},
        check=True,
    )
    frozen = time.monotonic()
    print(f"Environment: {prepared - began:.0f} s, frozen: {frozen - prepared:.0f} s", flush=True)
    return BUILD / "frozen" / "lora-studio" / "lora-studio"


def has_shared_library() -> bool:
    """Return whether this Python has its library as a file, which the frozen program includes."""
    name = sysconfig.get_config_var("INSTSONAME") or ""
    folders = (sysconfig.get_config_var("LIBDIR") or "", f"{sys.base_prefix}/lib")
    is_there = ".so" in name and any(Path(folder, name).is_file() for folder in folders)
    return is_there or sys.platform != "linux"


class Frozen:
    """The frozen program, with a home folder of its own whose name has a space and non-ASCII letters."""

    def __init__(self, program: Path, folder: Path) -> None:
        """Run `program` as a user whose home is in `folder`."""
        self.program, self.home = program, folder / "Zoë Müller"
        self.home.mkdir()
        kept = ("PATH", "SYSTEMROOT", "TEMP", "TMP")
        self.environment = {name: os.environ[name] for name in kept if name in os.environ} | {
            "HOME": str(self.home), "USERPROFILE": str(self.home), "APPDATA": str(self.home),
            "LOCALAPPDATA": str(self.home), "LANG": "C.UTF-8", "QT_QPA_PLATFORM": "offscreen", "HF_HUB_OFFLINE": "1",
        }  # fmt: skip

    def run(self, *arguments: str, status: int = 0, language: str = "en") -> str:
        """Return the output of a command.

        Raises RuntimeError if it ends with another exit status, or prints to stderr.
        """
        ended = subprocess.run(
            [self.program, *arguments], env=self.environment | {"LANGUAGE": language}, cwd=self.home,
            stdin=subprocess.DEVNULL, capture_output=True, encoding="utf-8", timeout=PATIENCE,
        )  # fmt: skip
        if ended.returncode != status or ended.stderr:
            raise RuntimeError(
                f"{' '.join(arguments)}: exit status {ended.returncode}\n{ended.stdout}{ended.stderr}"
            )
        return ended.stdout


def check_help(frozen: Frozen, path: str) -> None:
    """Show the help of a command or group."""
    words = path.split()[1:]
    shown = " ".join(frozen.run(*words, "--help").split())
    expect(f"Usage: {' '.join(path.split()[:2])} " in shown, f"{path} --help: {shown}")


def check_commands(frozen: Frozen) -> None:
    """Run what works without an engine."""
    expect(frozen.run("--version").strip() == __version__, "--version")
    expect("PyTorch" not in frozen.run("doctor"), "doctor")
    report = json.loads(frozen.run("doctor", "--json"))
    expect(report["version"] == __version__ and all(report["packages"].values()), "doctor --json")
    frozen.run("engine", "status", status=1)  # none is installed
    data = frozen.home / "rows.jsonl"
    data.write_text('{"prompt": "Hi", "completion": "Hello"}\n' * 4, encoding="utf-8")
    frozen.run("new", "project", "--model", "builtin:SmolLM2-135M-Instruct", "--data", str(data))
    expect((frozen.home / "project" / "project.lorastudio").is_file(), "new has created nothing")
    frozen.run("runs", "project")


def check_window(frozen: Frozen, language: str, title: str) -> None:
    """Open every page of the window in a language, in which the page of the settings has a title."""
    shown = frozen.run("--check-window", language=language)
    pages = dict(line.split(": ") for line in shown.splitlines() if ": " in line)
    expect(pages.keys() >= PAGES, f"--check-window has not shown every page: {shown}")
    expect(pages["settings"] == title, f"Settings in {language}: {pages['settings']}")


def expect(is_met: bool, what: str) -> None:
    """Raise RuntimeError with what isn't as it should be."""
    if not is_met:
        raise RuntimeError(what)


def list_groups(command: typer.core.TyperGroup, path: str) -> Iterator[str]:
    """Yield the full names of a group and of the groups in it."""
    yield path
    for name, part in command.commands.items():
        if isinstance(part, typer.core.TyperGroup):
            yield from list_groups(part, f"{path} {name}")


def main(program: Path) -> int:
    """Run all checks, as many at a time as there are cores, and return the exit status."""
    began = time.monotonic()
    failures: list[Exception] = []
    command = typer.main.get_command(app)
    assert isinstance(command, typer.core.TyperGroup)
    names = [name for name, _ in commands_under(command, "lora-studio")]
    groups = list(list_groups(command, "lora-studio"))
    with (
        tempfile.TemporaryDirectory(prefix="lora-studio-", ignore_cleanup_errors=True) as folder,
        ThreadPoolExecutor(os.cpu_count()) as pool,
    ):
        frozen = Frozen(program, Path(folder))
        checks: list[Callable[[], None]] = [
            partial(check_window, frozen, "en", "Settings"),
            partial(check_window, frozen, "de", "Einstellungen"),
            partial(check_commands, frozen),
            *(partial(check_help, frozen, name) for name in (*groups, *names)),
        ]
        for future in [pool.submit(check) for check in checks]:
            try:
                future.result()
            except (RuntimeError, ValueError, subprocess.TimeoutExpired) as failure:
                failures.append(failure)
                print(f"FAILED: {failure}", file=sys.stderr)
    seconds = time.monotonic() - began
    print(f"{len(names)} commands and {len(PAGES)} pages of the frozen program: {seconds:.0f} s")
    return 1 if failures else 0


if __name__ == "__main__":
    if len(sys.argv) > 2 or sys.argv[1:2] == ["--help"]:
        sys.exit(__doc__)
    if sys.argv[1:]:
        sys.exit(main(Path(sys.argv[1]).resolve()))
    if not has_shared_library():
        print(f"SKIPPED: the frozen program. {sys.executable} has no shared library.")
        sys.exit(0)
    sys.exit(main(freeze()))
