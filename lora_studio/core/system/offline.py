"""Offline mode, in which no part of the program contacts another computer.

The switch is the environment variable that huggingface_hub reads, so workers inherit it.
"""

from __future__ import annotations

import ipaddress
import os
import re
from urllib.parse import urlsplit

from lora_studio.core.messages import Template, Text
from lora_studio.core.problems import ProblemError, Where, fail

#: The variable of huggingface_hub, and those of other libraries.
VARIABLE = "HF_HUB_OFFLINE"
_OTHERS = ("TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE", "UV_OFFLINE")
#: Names of this computer that resolve without a DNS query.
_LOCAL_NAMES = ("localhost", "localhost.localdomain", "ip6-localhost", "ip6-loopback")
#: A server's address without anything that libraries split in different ways.
_ADDRESS = re.compile(r"(?:https?://)?([^/@#?\\\s]+)(?:/[^@#?\\\s]*)?", re.IGNORECASE)
_YES = ("1", "on", "yes", "true")


def is_on() -> bool:
    """Return whether offline mode is on: no network call may be made."""
    return os.environ.get(VARIABLE, "").lower() in _YES


def switch(on: bool) -> None:
    """Turn offline mode on or off for this process and every worker that it starts from now on."""
    for name in (VARIABLE, *_OTHERS):
        if on:
            os.environ[name] = "1"
        else:
            os.environ.pop(name, None)


#: The remedy of every problem that offline mode causes.
REMEDY: Template = (
    "Turn offline mode off in the settings (or remove --offline and HF_HUB_OFFLINE), or use local "
    "files."
)


def offline_error(what: Text, where: Where | None = None) -> ProblemError:
    """Return the problem for an action that needs the network; `what` is a whole sentence."""
    return fail("offline", what, REMEDY, where=where)


def is_local_host(host: object) -> bool:
    """Return whether an address is this computer's own: loopback, or a socket that is a file."""
    name = format_host(host)
    if name in ("", "None") or name.startswith(("/", "\0")):
        return True
    if name.lower().rstrip(".") in _LOCAL_NAMES:
        return True
    try:
        address = ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


def is_local_address(address: str) -> bool:
    """Return whether a server's address, with or without a scheme, is on this computer; "" is.

    An address whose host libraries could read in different ways isn't.
    """
    if not address:
        return True
    if (parts := _ADDRESS.fullmatch(address)) is None:
        return False
    try:
        return is_local_host(urlsplit(f"//{parts[1]}").hostname)
    except ValueError:
        return False


def format_host(host: object) -> str:
    """Return an address as text."""
    return host.decode("utf-8", "replace") if isinstance(host, bytes) else str(host)
