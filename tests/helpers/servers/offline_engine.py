"""The real worker without a network: `python -m tests.helpers.servers.offline_engine FILE`.

Connections are refused, and their addresses are written to FILE, one per line.
"""

from __future__ import annotations

import socket
import sys
from pathlib import Path
from typing import Any


def _refuse(file: Path) -> None:
    def refused(*about: Any, **_: Any) -> None:
        with file.open("a", encoding="utf-8") as opened:
            opened.write(f"{about[-1] if about else '?'}\n")
        raise OSError("no network")

    socket.socket.connect = refused
    socket.getaddrinfo = refused


if __name__ == "__main__":
    _refuse(Path(sys.argv[1]))
    from lora_studio.engine.worker import main

    main()
