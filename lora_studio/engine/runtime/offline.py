"""Offline mode as it is enforced: no socket of this process reaches another computer."""

from __future__ import annotations

import os
import sys
from typing import Any

from lora_studio.core.system import offline


class OfflineError(OSError):
    """Offline mode is on, and something wanted to reach another computer."""


#: What opens, or looks for, another computer, and where its arguments name that.
_EVENTS = {
    "socket.connect": 1, "socket.sendto": 1, "socket.sendmsg": 1, "socket.getaddrinfo": 0,
    "socket.gethostbyname": 0, "socket.gethostbyaddr": 0,
}  # fmt: skip


def enforce() -> None:
    """From now on refuses every address but this computer's, where offline mode is on.

    An audit hook sees what every library does through Python's sockets, and cannot be taken out
    again. Loopback stays open: an Ollama server of this computer, processes that train together.
    """
    if not offline.is_on():
        return
    for name in ("HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE"):
        os.environ[name] = "1"
    os.environ.setdefault("WANDB_MODE", "offline")
    sys.addaudithook(_watch)


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    place = _EVENTS.get(event)
    if place is None or len(arguments) <= place:
        return
    host = arguments[place]
    if isinstance(host, tuple):
        host = host[0] if host else ""
    if not offline.is_here(host):
        raise OfflineError(f"Offline mode is on: {offline.name(host)} is not reached")
