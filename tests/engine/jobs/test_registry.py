"""Every command has exactly one handler, in the module of its step, and importing them is cheap."""

from __future__ import annotations

import subprocess
import sys
from typing import get_args

import pytest

from lora_studio.core.protocol import commands
from lora_studio.engine import jobs

COMMANDS = (*get_args(commands.Job), *get_args(commands.Question))


@pytest.mark.parametrize("command_type", COMMANDS, ids=lambda command: command.__name__)
def test_command_has_a_handler(command_type: type[commands.Job]) -> None:
    assert jobs.get_handler(command_type).__module__.startswith("lora_studio.engine.jobs.")


def test_handlers_exist_for_commands_only() -> None:
    assert jobs.get_registered_commands() == set(COMMANDS)


def test_second_handler_of_a_command_is_refused() -> None:
    with pytest.raises(ValueError, match="Train already has a handler"):
        jobs.handles(commands.Train)(lambda command, job: None)


def test_importing_all_handlers_imports_no_heavy_library() -> None:
    code = (
        "import sys\nfrom lora_studio.engine import worker\n"
        "print(sorted({'torch', 'transformers', 'datasets', 'huggingface_hub'} & {*sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
