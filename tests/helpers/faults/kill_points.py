"""Kill a worker at a certain call of one of its own functions, in a certain step of its training."""

from __future__ import annotations

import importlib
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lora_studio.engine.training.step_metrics import StepMetrics


@dataclass(frozen=True)
class KillPoint:
    """A call of a function, such as "package.module:Class.method", counted from 1 after `steps` steps."""

    function: str
    steps: int
    call: int

    def arm(self) -> None:
        """Replace the function in this process: that call kills the process without a chance to clean up."""
        module, _, path = self.function.partition(":")
        *owners, name = path.split(".")
        owner = importlib.import_module(module)
        for each in owners:
            owner = getattr(owner, each)
        steps, calls = _count_calls(StepMetrics, "emit_step"), 0
        original = getattr(owner, name)

        def call_or_die(*arguments: Any, **options: Any) -> Any:
            nonlocal calls
            calls += steps() >= self.steps
            if calls == self.call:
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*arguments, **options)

        setattr(owner, name, call_or_die)


def _count_calls(owner: Any, name: str) -> Callable[[], int]:
    """Return what says how many calls of a method have returned since."""
    original, calls = getattr(owner, name), 0

    def call_and_count(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        result = original(*arguments, **options)
        calls += 1
        return result

    setattr(owner, name, call_and_count)
    return lambda: calls
