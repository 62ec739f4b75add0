"""The checks of the GPU tier by name, and what each of them gets and reports."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


def get_smi_name(device: str) -> str:
    """Return the name of a CUDA device for nvidia-smi, which ignores CUDA_VISIBLE_DEVICES."""
    index = int(device.partition(":")[2] or 0)
    visible = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    return visible[index].strip() if index < len(visible) else str(index)


class UnavailableCheckError(Exception):
    """This computer lacks something that a check needs; the message says what."""


@dataclass
class CheckContext:
    """The device to check, an empty folder, and what the check reports.

    `figures` go into the report in any case; each of the `failures` is a sentence.
    """

    device: str
    folder: Path
    figures: dict[str, Any] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    @property
    def is_cpu(self) -> bool:
        """Return whether the check runs on the CPU."""
        return self.device == "cpu"

    def expect(self, holds: bool, failure: str) -> None:
        """Note a failure unless something holds; the check continues, so that all its figures are reported."""
        if not holds:
            self.failures.append(failure)


@dataclass(frozen=True)
class Check:
    """A check with its name, what it shows, and the seconds that it may take on an H100.

    One that is `on_request` runs only if it's named.
    """

    name: str
    title: str
    run: Callable[[CheckContext], None]
    seconds: int
    needs_gpu: bool = False
    on_request: bool = False


CHECKS: dict[str, Check] = {}

#: Seconds on an H100 that all checks may take together, without those that run only if they're named.
MOST_SECONDS = 600


def check(
    name: str,
    title: str,
    *,
    seconds: int,
    needs_gpu: bool = False,
    on_request: bool = False,
) -> Callable[[Callable[[CheckContext], None]], Callable[[CheckContext], None]]:
    """Register a function as a check."""

    def register(function: Callable[[CheckContext], None]) -> Callable[[CheckContext], None]:
        CHECKS[name] = Check(name, title, function, seconds, needs_gpu, on_request)
        return function

    return register
