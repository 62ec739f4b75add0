"""Every command has exactly one handler, and importing them is cheap."""

from __future__ import annotations

import inspect
import subprocess
import sys
from typing import get_args

import pytest

from lora_studio.core.protocol import commands
from lora_studio.engine import jobs

COMMANDS = (*get_args(commands.Job), *get_args(commands.Question))


@pytest.mark.parametrize("command_type", COMMANDS, ids=lambda command: command.__name__)
def test_command_has_one_handler(command_type: type[commands.Job]) -> None:
    assert (command_type in jobs._FUNCTIONS) + (command_type in jobs._HANDLERS) == 1
    handler = jobs.get_handler(command_type)
    assert len(inspect.signature(handler).parameters) == 2


def test_importing_all_handlers_imports_no_heavy_library() -> None:
    code = (
        "import sys\nfrom lora_studio.engine import worker\n"
        "print(sorted({'torch', 'transformers', 'datasets', 'huggingface_hub'} & {*sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
