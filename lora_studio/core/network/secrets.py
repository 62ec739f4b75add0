"""Keep secrets out of what is shown, recorded, and logged: passwords in addresses, keys, tokens.

A library, a server, or a proxy may repeat an address or a key in an error. Whatever a worker reports or logs
of an error goes through `without_secrets`.
"""

from __future__ import annotations

import os
import re
import sys
import traceback
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

#: What replaces a secret.
_HIDDEN = "***"

#: Variables whose values are secrets, and addresses with a password in the value of any.
_SECRET_NAME = re.compile(r"(?i)token|secret|passw|api_?key|credential|_key\Z")
_USER_INFO = re.compile(r"(?<=://)[^/\s?#\"'<>\\]*@")
_QUERY = re.compile(
    r"(?i)([?&;][\w.-]*(?:token|secret|passw|key|sig|signature|auth|credential)[\w.-]*=)[^&\s#\"'<>\\]+"
)
_AUTHORIZATION = re.compile(r"(?i)\b(bearer|basic)(\s+)[A-Za-z0-9._~+/=-]{8,}")

#: Shortest value of a variable that is removed: a shorter one may be any word.
_SHORTEST = 8


def without_secrets(text: str) -> str:
    """Return a text without passwords and tokens in its addresses, and without this process's keys."""
    for secret in _list_own_secrets():
        text = text.replace(secret, _HIDDEN)
    text = _USER_INFO.sub(f"{_HIDDEN}@", text)
    text = _QUERY.sub(rf"\g<1>{_HIDDEN}", text)
    return _AUTHORIZATION.sub(rf"\g<1>\g<2>{_HIDDEN}", text)


def without_secrets_in(value: Any) -> Any:
    """Return a JSON value without secrets in its texts; keys of objects stay."""
    if isinstance(value, str):
        return without_secrets(value)
    if isinstance(value, list):
        return [without_secrets_in(item) for item in value]
    if isinstance(value, dict):
        return {name: without_secrets_in(item) for name, item in value.items()}
    return value


def print_exception(error: BaseException) -> None:
    """Print the traceback of an error without secrets: the output of a worker becomes its log."""
    sys.stderr.write(without_secrets("".join(traceback.format_exception(error))))


def split_credentials(address: str) -> tuple[str, str, str]:
    """Return an address without its user name and password, and these two, "" for none."""
    parts = urlsplit(address)
    if "@" not in parts.netloc:
        return address, "", ""
    plain = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    return plain, unquote(parts.username or ""), unquote(parts.password or "")


def _list_own_secrets() -> list[str]:
    """Return the secrets in the environment, the longest first."""
    secrets = {value for name, value in os.environ.items() if _SECRET_NAME.search(name)}
    for value in os.environ.values():
        if "://" in value and "@" in value:
            credentials = value.partition("://")[2].partition("/")[0].rpartition("@")[0]
            password = credentials.partition(":")[2]
            secrets |= {password, unquote(password)}
    return sorted((each for each in secrets if len(each) >= _SHORTEST), key=len, reverse=True)
