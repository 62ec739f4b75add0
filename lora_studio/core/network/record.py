"""The record of contacted hosts: one small file per process, in the user's log folder.

It holds host names, ports, purposes, counts and times: no addresses of pages, no headers, no content.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from lora_studio.core import limits
from lora_studio.core.network.purposes import Purpose
from lora_studio.core.system import paths
from lora_studio.core.system.files import write_atomic
from lora_studio.core.system.foreign_files import read_bytes
from lora_studio.core.system.mounts import create_folder
from lora_studio.core.system.offline import is_local_host

#: How long a record is kept, in seconds, and how many at most.
KEPT_SECONDS, MAX_RECORDS = 7 * 24 * 3600.0, 1000
#: Different hosts, ports and purposes in the record of one process; more are counted as `OTHERS`.
MAX_CONTACTS = 300
OTHERS = "(others)"

_HOST = re.compile(r"[\w.:%()*-]{1,253}")


def clean_host(host: object) -> str:
    """Return a host name that is safe to show, "?" for anything else."""
    return host if isinstance(host, str) and _HOST.fullmatch(host) else "?"


def _read_purpose(value: object) -> object:
    """Return a purpose; those of other versions of the program are unknown."""
    return value if value in set(Purpose) else Purpose.UNKNOWN


class Contact(BaseModel):
    """How often a host was contacted for one purpose, and the bytes of requests and answers.

    `uncounted` connections belong to another program or to native code, which don't report their bytes:
    `sent` and `received` are None if all do. Encryption adds a few percent to what they count. `first`
    and `last` are Unix times.
    """

    model_config = ConfigDict(defer_build=True, frozen=True)

    host: Annotated[str, BeforeValidator(clean_host)]
    port: int | None = Field(None, ge=0, le=65535)
    purpose: Annotated[Purpose, BeforeValidator(_read_purpose)]
    connections: int = Field(0, ge=0)
    uncounted: int = Field(0, ge=0)
    sent: int | None = Field(None, ge=0)
    received: int | None = Field(None, ge=0)
    first: float
    last: float

    @property
    def is_local(self) -> bool:
        """Return whether the host is this computer."""
        return is_local_host(self.host)


class ContactRecord(BaseModel):
    """The contacts of one process. `session` is shared by a window or command and its workers."""

    model_config = ConfigDict(defer_build=True, frozen=True)

    session: str
    pid: int
    started: float
    contacts: tuple[Contact, ...] = Field((), max_length=MAX_CONTACTS + len(Purpose))


def get_record_folder() -> Path:
    """Return the folder of the records."""
    return paths.get_log_folder() / "network"


def get_record_file(session: str, pid: int) -> Path:
    """Return the file of a process."""
    return get_record_folder() / f"{session}-{pid}.json"


def write_record(record: ContactRecord) -> None:
    """Write the record of a process; raises OSError."""
    file = get_record_file(record.session, record.pid)
    create_folder(file.parent)
    write_atomic(file, record.model_dump_json())


def read_records(session: str = "", now: float | None = None) -> list[ContactRecord]:
    """Return the kept records, of one session if given, oldest first; unreadable ones are left out."""
    records = []
    for file in _list_files(session, now)[0]:
        if session and not file.name.startswith(f"{session}-"):
            continue
        with suppress(OSError, ValidationError):
            records.append(
                ContactRecord.model_validate_json(read_bytes(file, limits.NETWORK_RECORD))
            )
    return sorted(records, key=lambda record: record.started)


def prune_records(session: str = "", now: float | None = None) -> None:
    """Remove records that are too old or too many, except those of a session that still runs."""
    for file in _list_files(session, now)[1]:
        with suppress(OSError):
            file.unlink()


def clear_records() -> None:
    """Remove all records; raises OSError. Running processes start counting again."""
    for file in get_record_folder().glob("*.json"):
        file.unlink(missing_ok=True)


def _list_files(session: str, now: float | None) -> tuple[list[Path], list[Path]]:
    """Return the files to keep and those to remove, newest first.

    Those of a running session count as newest: the clock may have been set since they were written.
    """
    oldest = (time.time() if now is None else now) - KEPT_SECONDS
    dated: list[tuple[float, Path]] = []
    with suppress(OSError):
        for file in get_record_folder().glob("*.json"):
            with suppress(OSError):
                is_own = bool(session) and file.name.startswith(f"{session}-")
                dated.append((math.inf if is_own else file.stat().st_mtime, file))
    dated.sort(key=lambda entry: entry[0], reverse=True)
    kept = [file for at, file in dated[:MAX_RECORDS] if at >= oldest]
    return kept, [file for _, file in dated[len(kept) :]]


def merge_contacts(contacts: Iterable[Contact]) -> list[Contact]:
    """Return one contact per host, port and purpose, the latest first."""
    groups: dict[tuple[str, int | None, Purpose], list[Contact]] = {}
    for contact in contacts:
        groups.setdefault((contact.host, contact.port, contact.purpose), []).append(contact)
    merged = [
        Contact(
            host=host,
            port=port,
            purpose=purpose,
            connections=sum(one.connections for one in group),
            uncounted=sum(one.uncounted for one in group),
            sent=_sum([one.sent for one in group]),
            received=_sum([one.received for one in group]),
            first=min(one.first for one in group),
            last=max(one.last for one in group),
        )
        for (host, port, purpose), group in groups.items()
    ]
    return sorted(merged, key=lambda contact: contact.last, reverse=True)


def _sum(counts: Sequence[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if known else None
