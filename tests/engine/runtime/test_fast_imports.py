"""Fast imports: what training doesn't import, and compilation that waits for the first call."""

from __future__ import annotations

import gc
import importlib.util
import inspect
import json
import subprocess
import sys
from typing import Any, get_args

import pytest
import torch

from lora_studio.core.protocol import commands
from lora_studio.engine import jobs
from lora_studio.engine.runtime import fast_imports


@pytest.mark.slow
def test_training_imports_no_compiler_and_nothing_unused() -> None:
    code = (
        "import gc, sys\n"
        "from lora_studio.engine.runtime import fast_imports\n"
        "fast_imports.hide_rarely_used_packages()\n"
        "with fast_imports.speed_up_imports():\n"
        "    from lora_studio.engine.backends import choice\n"
        "    from lora_studio.engine.training import train_run\n"
        "names = ('bitsandbytes', 'torch._inductor.compile_fx', 'torchao', 'sklearn')\n"
        "print(*(sys.modules.get(name) is not None for name in names), gc.get_freeze_count() > 100_000)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["True", "False", "False", "False", "True"], (
        done.stdout + done.stderr
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [
        "commands.OpenChat(model=ModelSpec())",
        "commands.Evaluate(run='none')",
        "commands.Classify(run='none', texts=('A',))",
    ],
    ids=["chat", "evaluation", "classification"],
)
def test_jobs_that_answer_import_no_compiler(command: str) -> None:
    code = (
        "import contextlib, gc, sys\n"
        "from pathlib import Path\n"
        "from lora_studio.core.model.spec import ModelSpec\n"
        "from lora_studio.core.protocol import commands\n"
        "from lora_studio.engine import jobs, worker_rank\n"
        "from lora_studio.engine.runtime import fast_imports\n"
        "fast_imports.hide_rarely_used_packages()\n"
        "with contextlib.suppress(Exception):\n"
        f"    jobs.run_command({command}, worker_rank.create_silent_job())\n"
        "ignores_imported = gc.get_freeze_count() > 100_000\n"
        "from lora_studio.engine.chat.adapters import AdapterSwitch\n"
        "with contextlib.suppress(Exception):\n"
        "    AdapterSwitch(None)._load(Path('none'))\n"
        "names = ('peft', 'bitsandbytes', 'torch._inductor.compile_fx')\n"
        "print(*(sys.modules.get(name) is not None for name in names), ignores_imported)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["True", "True", "False", "True"], done.stdout + done.stderr


def test_hidden_package_can_be_imported_once_it_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fast_imports, "_RARELY_USED", ("wave", "json"))
    monkeypatch.delitem(sys.modules, "wave", raising=False)
    fast_imports.hide_rarely_used_packages()
    assert importlib.util.find_spec("wave") is None
    assert importlib.import_module("json") is json, "a package that is in use stays"
    fast_imports.show_rarely_used_packages()
    assert importlib.util.find_spec("wave") is not None
    assert importlib.import_module("json") is json


def test_compilation_is_deferred_to_the_first_call() -> None:
    graphs: list[Any] = []

    def backend(graph: torch.fx.GraphModule, _: list[torch.Tensor]) -> Any:
        graphs.append(graph)
        return graph.forward

    with fast_imports.speed_up_imports():

        @torch.compile(backend=backend)
        def doubled(values: torch.Tensor) -> torch.Tensor:
            """Twice as much."""
            return values * 2

    assert (doubled.__name__, doubled.__doc__) == ("doubled", "Twice as much.")
    assert not graphs
    for _ in range(2):
        assert doubled(torch.ones(3)).tolist() == [2.0, 2.0, 2.0]
    assert len(graphs) == 1


def test_previous_state_is_restored_after_an_error() -> None:
    before = torch.compile
    try:
        with fast_imports.speed_up_imports():
            assert torch.compile is not before
            assert not gc.isenabled()
            raise ImportError
    except ImportError:
        pass
    assert torch.compile is before
    assert gc.isenabled()


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
