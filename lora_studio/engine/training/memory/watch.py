"""Watch this process's memory where the system kills it instead of refusing an allocation.

A GPU refuses (`limit_device_memory` sees to it), and so does a limit on address space. Linux grants more memory than there is and kills a
process that uses it; a control group does the same at its limit. So a thread checks the limits many
times a second. Training polls the result between micro-batches and before every block of the model, so
that it can continue with less in memory at a time.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import psutil
import torch

from lora_studio.core.messages import Template, Text, text
from lora_studio.core.system import memory_limits
from lora_studio.engine.devices import devices
from lora_studio.engine.devices.oom_capture import MemoryPressureError
from lora_studio.engine.kernels.sequence_packing import find_blocks

#: Seconds between two checks, each of which takes about 0.1 ms.
_INTERVAL = 0.02

#: Share of a limit at which it counts as reached.
_SHARE = 0.92

#: The reason in a MemoryPressureError, by kind of limit.
_COMPUTER: Template = "Out of memory: {used:memory} of this computer's {limit:memory} is in use."
_ADDRESS_SPACE: Template = (
    "Out of memory: {used:memory} of {limit:memory} of address space is in use."
)
_CONTROL_GROUP: Template = (
    "Out of memory: {used:memory} of the {limit:memory} limit of the control group (cgroup) is in "
    "use."
)


@dataclass
class MemoryLimit:
    """One limit in bytes; `used` returns None where it can't be read any more."""

    template: Template
    limit: Callable[[], int]
    used: Callable[[], int | None]
    baseline: int = 0
    threshold: float = 0.0

    def reset(self) -> None:
        """Take the current use as the baseline; half of the memory left above it may be used."""
        self.threshold = 0.0
        self.baseline = self.used() or 0

    def describe_excess(self) -> Text | None:
        """Return a sentence once the limit is reached; other programs may have moved it."""
        limit = self.limit()
        self.threshold = max(_SHARE * limit, (self.baseline + limit) / 2)
        used = self.used()
        if used is None or used < self.threshold:
            return None
        return text(self.template, used=used, limit=limit)


class MemoryWatch:
    """Checks every limit of this process within a `with` block; `check` raises if one was reached."""

    def __init__(self, device: torch.device, limits: list[MemoryLimit] | None = None) -> None:
        """Watch `limits`, by default this process's; none for a device with memory of its own."""
        if limits is None:
            limits = get_memory_limits(device)
        self._device, self._limits = device, limits
        self._exceeded: Text | None = None
        self._checking = (
            threading.Lock()
        )  # a check that began before a reset doesn't count after it
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="memory watch", daemon=True)
        self._hooks: list[Any] = []

    @property
    def is_exceeded(self) -> bool:
        """Return whether the next `check` raises."""
        return self._exceeded is not None

    def check(self, *_: object) -> None:
        """Raise MemoryPressureError once after a limit was reached; costs nothing otherwise."""
        if self._exceeded is not None:
            reason, self._exceeded = self._exceeded, None
            raise MemoryPressureError(reason)

    def reset(self) -> None:
        """Clear the result, and measure from the memory in use now."""
        devices.limit_device_memory(self._device)
        with self._checking:
            for limit in self._limits:
                limit.reset()
            self._exceeded = None

    def check_between_layers(self, model: torch.nn.Module) -> None:
        """Also check before every block of a model: a single pass may exceed the limit."""
        if self._limits:
            for block in find_blocks(model):
                self._hooks.append(block.register_forward_pre_hook(self.check))

    def __enter__(self) -> MemoryWatch:
        self.reset()
        if self._limits:
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()
        for hook in self._hooks:
            hook.remove()

    def _run(self) -> None:
        while not self._ended.wait(_INTERVAL):
            for limit in self._limits:
                with self._checking:
                    if self._exceeded is None:
                        self._exceeded = limit.describe_excess()


def get_memory_limits(device: torch.device) -> list[MemoryLimit]:
    """Return the limits of this process: the computer's memory, address space and control groups.

    An Apple GPU uses the computer's memory, which swaps before an allocation fails. Returns an empty list
    for other GPUs, which have their own memory.
    """
    if device.type == "mps":
        return [_create_mps_limit()]
    if device.type != "cpu":
        return []
    process = psutil.Process()

    def available() -> int:
        return process.memory_info().rss + psutil.virtual_memory().available

    limits = [MemoryLimit(_COMPUTER, available, lambda: process.memory_info().rss)]
    if (space := memory_limits.get_address_space_limit()) is not None:
        limits.append(MemoryLimit(_ADDRESS_SPACE, lambda: space, memory_limits.get_mapped_bytes))
    for group in memory_limits.list_control_groups():
        if (limit := group.read_limit()) is not None:
            limits.append(_read_control_group_limit(group, limit))
    return limits


def _create_mps_limit() -> MemoryLimit:
    def available() -> int:
        return torch.mps.driver_allocated_memory() + psutil.virtual_memory().available

    return MemoryLimit(_COMPUTER, available, torch.mps.driver_allocated_memory)


def _read_control_group_limit(group: memory_limits.ControlGroup, limit: int) -> MemoryLimit:
    watched = MemoryLimit(_CONTROL_GROUP, lambda: limit, group.read_held)

    def used() -> int | None:
        # The cheap counter first: it includes cached files, and rarely reaches the threshold.
        charged = group.read_charged()
        return charged if charged is None or charged < watched.threshold else group.read_held()

    watched.used = used
    return watched
