"""Telemetry of libraries is off in every process of the engine."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from lora_studio.core.network import connections


def run(program: str, **environment: str) -> str:
    clean = {name: value for name, value in os.environ.items() if name not in connections.VARIABLES}
    ended = subprocess.run(
        [sys.executable, "-c", f"import lora_studio.engine\n{program}"],
        capture_output=True, text=True, check=True, env=clean | environment,
    )  # fmt: skip
    return ended.stdout.strip()


@pytest.mark.slow
def test_libraries_find_their_telemetry_turned_off() -> None:
    program = (
        "from huggingface_hub import constants\n"
        "from mlflow.telemetry.utils import is_telemetry_disabled\n"
        "print(constants.HF_HUB_DISABLE_TELEMETRY, is_telemetry_disabled())"
    )
    assert run(program) == "True True"


def test_setting_of_the_user_stays() -> None:
    program = "import os; print(os.environ['WANDB_ERROR_REPORTING'])"
    assert run(program) == "false"
    assert run(program, WANDB_ERROR_REPORTING="true") == "true"
