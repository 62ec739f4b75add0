"""Watches the memory of this process where the system ends it in place of refusing a piece.

A GPU refuses, and so does a limit on address space. Linux gives out more memory than there is and
ends a process when it is used; a control group does the same at its limit. So a thread looks at the
limits many times a second, and training asks it between pieces of work, in the middle of a forward
pass too, and can go on with less at a time.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import psutil
import torch

from lora_studio.core import formatting
from lora_studio.core.system import memory_limits
from lora_studio.engine.training.memory.ladder import MemoryPressureError

#: Seconds between two looks, each of which takes about 0.1 ms.
_INTERVAL = 0.02

#: Share of a limit at which it counts as reached.
_SHARE = 0.92


@dataclass
class _Limit:
    """One limit; `held` in bytes, None where it cannot be told any more."""

    name: str
    limit: Callable[[], int]
    held: Callable[[], int | None]
    at_rest: int = 0
    line: float = 0.0

    def rest(self) -> None:
        """Takes what is held now for what is needed at least: half of what is left may be used."""
        self.line = 0.0
        self.at_rest = self.held() or 0

    def reached(self) -> str | None:
        """A sentence once it is reached; other programs may have moved the limit."""
        limit = self.limit()
        self.line = max(_SHARE * limit, (self.at_rest + limit) / 2)
        held = self.held()
        if held is None or held < self.line:
            return None
        return (
            f"Memory ran out: {formatting.memory(held)} of the {formatting.memory(limit)} of {self.name} "
            "were in use."
        )


class MemoryWatch:
    """Looks at every limit of this process within a `with` block; `check` raises what it saw."""

    def __init__(self, device: torch.device) -> None:
        """Watches nothing for a device with memory of its own."""
        self._limits = _limits() if device.type == "cpu" else []
        self._reached: str | None = None
        self._looking = threading.Lock()  # nothing seen before a rest counts after it
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, name="memory watch", daemon=True)
        self._hooks: list[Any] = []

    def check(self, *_: object) -> None:
        """Raises MemoryPressureError once after a limit was reached; costs nothing otherwise."""
        if self._reached is not None:
            why, self._reached = self._reached, None
            raise MemoryPressureError(why)

    def rest(self) -> None:
        """What was given back counts from now on."""
        with self._looking:
            for limit in self._limits:
                limit.rest()
            self._reached = None

    def check_between_layers(self, model: torch.nn.Module) -> None:
        """Also asks before every block of a model: one pass alone may go beyond the limit."""
        if self._limits:
            for block in _blocks(model):
                self._hooks.append(block.register_forward_pre_hook(self.check))

    def __enter__(self) -> MemoryWatch:
        self.rest()
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

    def _look(self) -> None:
        while not self._ended.wait(_INTERVAL):
            for limit in self._limits:
                with self._looking:
                    if self._reached is None:
                        self._reached = limit.reached()


def _limits() -> list[_Limit]:
    process = psutil.Process()

    def own_share() -> int:
        return process.memory_info().rss + psutil.virtual_memory().available

    found = [_Limit("this computer", own_share, lambda: process.memory_info().rss)]
    if (space := memory_limits.address_space()) is not None:
        found.append(_Limit("address space", lambda: space, memory_limits.mapped))
    for group in memory_limits.groups():
        if (limit := group.limit()) is not None:
            found.append(_of_group(group, limit))
    return found


def _of_group(group: memory_limits.ControlGroup, limit: int) -> _Limit:
    made = _Limit("its control group", lambda: limit, group.held)

    def held() -> int | None:
        # The cheap question first: cached files are charged too, and rarely fill a group.
        charged = group.charged()
        return charged if charged is None or charged < made.line else group.held()

    made.held = held
    return made


def _blocks(model: torch.nn.Module) -> list[torch.nn.Module]:
    """The blocks of a transformer: the members of its longest list of layers."""
    lists = [list(item) for item in model.modules() if isinstance(item, torch.nn.ModuleList)]
    return max(lists, key=len, default=[])
