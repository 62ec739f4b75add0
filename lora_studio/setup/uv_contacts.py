"""Count the hosts that uv contacts: it is a program of its own, and its log names each connection."""

from __future__ import annotations

import re
from collections import deque

from lora_studio.core.network.connections import note_contact
from lora_studio.core.network.purposes import Purpose

#: What makes uv log its connections: the modules of its HTTP client that open them.
LOG_FILTER = ("RUST_LOG", "reqwest::connect=debug,hyper_util::client::legacy::connect::http=debug")

_LOG_LINE = re.compile(r"\s*DEBUG (?P<message>.*)")
_NAME = re.compile(r"starting new connection.*?(?:Some\(\"|//)(?P<host>[^\"/:)\s]+)")
_PROXY = re.compile(r"proxy\(.*?//(?:[^@/]*@)?(?P<host>[^/:)\s]+).*\) intercepts")
_ADDRESS = re.compile(r"connecting to (?P<address>.+):(?P<port>\d+)\s*$")


class UvContacts:
    """Reads uv's output and counts each connection that its log names."""

    def __init__(self) -> None:
        """Start without a connection."""
        self._started: deque[str] = deque()
        self._last = ""

    def read_line(self, line: str) -> bool:
        """Count the connection that a line is about; return whether it is a line of that log."""
        match = _LOG_LINE.fullmatch(line)
        if match is None:
            return False
        message = match["message"]
        if (proxy := _PROXY.search(message)) is not None:
            if self._started:
                self._started[-1] = proxy["host"]
        elif (name := _NAME.search(message)) is not None:
            self._started.append(name["host"])
        elif (address := _ADDRESS.match(message)) is not None:
            # Several addresses of one host are tried in turn.
            self._last = self._started.popleft() if self._started else self._last
            host = self._last or address["address"].strip("[]")
            note_contact(host, int(address["port"]), Purpose.ENGINE_SETUP)
        return True
