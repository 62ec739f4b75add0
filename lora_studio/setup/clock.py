"""A network that is closed because this computer's clock and a server's certificate do not go together."""

from __future__ import annotations

import re
from datetime import datetime
from urllib.parse import urlsplit

from lora_studio.core.problems import ProblemError, fail

#: How uv and OpenSSL say that a certificate is not valid yet, or no longer.
_SAYS = re.compile(r"certificate (not valid yet|is not yet valid|(has )?expired)")
_ADDRESS = re.compile(r"https://[^\s`)]+")


def wrong(said: str, address: str = "") -> ProblemError | None:
    """The problem of a clock, where a program's words tell of one.

    `address` is what was asked for, where the words do not name it.
    """
    if not _SAYS.search(said):
        return None
    named = _ADDRESS.search(said)
    host = urlsplit(named[0] if named else address).hostname or "the server"
    return fail(
        "engine.clock",
        f"The certificate of {host} is not valid by this computer's clock, which says "
        f"{datetime.now():%Y-%m-%d %H:%M}.",
        "Set the date and time of this computer right, then start the set-up again: what was downloaded "
        "is kept. Where they are right, the server's certificate is out of date: use another index, or a "
        "wheel folder from another machine.",
    )
