"""Runs of the `lora-studio` command that start quickly."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.helpers.faults.preloaded import get_shared


def run_studio(
    *arguments: object,
    typed: str | None = None,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run `lora-studio` as a process of its own, and return its output.

    It and its workers are forks of a process that has imported what they need. `environment`
    replaces this process's, and `LORA_STUDIO_ENGINE` in it takes precedence.
    """
    preloaded = get_shared()
    variables = os.environ if environment is None else environment
    return subprocess.run(
        preloaded.module_command("lora_studio", *map(str, arguments)),
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=900,
        check=False,
        input=typed,
        cwd=folder,
        env=preloaded.engine_variable() | dict(variables),
    )
