"""Offline mode, enforced: no socket of this process reaches another computer."""

from __future__ import annotations

import os
import sys
from typing import Any

from lora_studio.core.system import offline


class OfflineError(OSError):
    """Offline mode is on, and something tried to reach another computer."""

    def __init__(self, host: str) -> None:
        """`host` is the address that was not contacted."""
        super().__init__(f"Offline mode is on: {host} was not contacted")
        self.host = host


#: Audit events of connections and look-ups, and which argument names the other computer.
_EVENTS = {
    "socket.connect": 1, "socket.sendto": 1, "socket.sendmsg": 1, "socket.getaddrinfo": 0,
    "socket.gethostbyname": 0, "socket.gethostbyaddr": 0,
}  # fmt: skip


def enforce() -> None:
    """Refuse every address but this computer's from now on, where offline mode is on.

    An audit hook sees what every library does through Python's sockets and can't be removed.
    Loopback stays open for a local Ollama server and for processes that train together.
    """
    if not offline.is_on():
        return
    for name in ("HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE"):
        os.environ[name] = "1"
    os.environ.setdefault("WANDB_MODE", "offline")
    sys.addaudithook(_audit)


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    index = _EVENTS.get(event)
    if index is None or len(arguments) <= index:
        return
    host = arguments[index]
    if isinstance(host, tuple):
        host = host[0] if host else ""
    if not offline.is_local_host(host):
        raise OfflineError(offline.format_host(host))
