"""Watch every connection of this process: refuse it in offline mode, count it for the network report.

An audit hook sees what any library does through Python's sockets, and it can't be removed. Bytes are
counted in the methods of `socket.socket`. What native code does is not visible here: it is turned off
(`switches.py`) or declared with `note_contact`.
"""

from __future__ import annotations

import atexit
import functools
import math
import os
import re
import secrets
import socket
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from lora_studio.core import limits
from lora_studio.core.network.purposes import Purpose
from lora_studio.core.system import offline, paths
from lora_studio.core.system.files import create_folder, write_atomic
from lora_studio.core.system.foreign_files import read_bytes
from lora_studio.core.system.offline import is_local_host


@dataclass
class _Counts:
    """The counts of one contact; `sent` and `received` are None if nothing was counted."""

    first: float
    last: float
    connections: int = 0
    uncounted: int = 0
    sent: int | None = None
    received: int | None = None


_Key = tuple[str, int | None, Purpose]


class ContactTable:
    """Counts connections and bytes by host, port and purpose, and writes them to the process's record.

    Safe to use from several threads. If the record was removed since it was last written, counting
    starts again from that write.
    """

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        """Start without contacts."""
        self._now = now
        self.clear()

    def clear(self) -> None:
        """Forget everything, as in a forked process."""
        self._lock = threading.RLock()
        self._counts: dict[_Key, _Counts] = {}
        self._written: dict[_Key, _Counts] = {}
        self._started = self._now()
        self.is_changed = False

    def add_connection(
        self, host: str, port: int | None, purpose: Purpose, *, is_counted: bool = True
    ) -> bool:
        """Count a connection and return whether it is the first one of its kind.

        `is_counted` says whether its bytes will be counted.
        """
        with self._lock:
            known = len(self._counts)
            counts = self._get(host, port, purpose)
            counts.connections += 1
            counts.uncounted += not is_counted
            return len(self._counts) > known

    def add_bytes(
        self, host: str, port: int | None, purpose: Purpose, sent: int, received: int
    ) -> None:
        """Count bytes over an open connection."""
        with self._lock:
            counts = self._get(host, port, purpose)
            counts.sent = (counts.sent or 0) + sent
            counts.received = (counts.received or 0) + received

    def list_contacts(self) -> list[Contact]:
        """Return the contacts so far."""
        with self._lock:
            return [
                Contact(host=host, port=port, purpose=purpose, **vars(counts))
                for (host, port, purpose), counts in self._counts.items()
            ]

    def save(self, session: str) -> None:
        """Write the record of this process; raises OSError."""
        with self._lock:
            pid = os.getpid()
            if self._written and not get_record_file(session, pid).exists():
                self._forget_written()
            self.is_changed = False
            if not self._written:
                prune_records(session)
            write_record(
                ContactRecord(
                    session=session,
                    pid=pid,
                    started=self._started,
                    contacts=tuple(self.list_contacts()),
                )
            )
            self._written = {key: replace(counts) for key, counts in self._counts.items()}

    def _get(self, host: str, port: int | None, purpose: Purpose) -> _Counts:
        key: _Key = (host, port, purpose)
        if key not in self._counts and len(self._counts) >= MAX_CONTACTS:
            key = (OTHERS, None, purpose)
        now = self._now()
        counts = self._counts.setdefault(key, _Counts(first=now, last=now))
        counts.last = now
        self.is_changed = True
        return counts

    def _forget_written(self) -> None:
        """Subtract what the removed record said, and drop contacts that haven't changed since."""
        for key, before in self._written.items():
            counts = self._counts[key]
            if counts.last == before.last:
                del self._counts[key]
                continue
            counts.connections -= before.connections
            counts.uncounted -= before.uncounted
            counts.sent = None if counts.sent is None else counts.sent - (before.sent or 0)
            counts.received = (
                None if counts.received is None else counts.received - (before.received or 0)
            )
            counts.first = counts.last
        self._written = {}


#: Variable with the session that this process belongs to, for its children.
SESSION_VARIABLE = "LORA_STUDIO_SESSION"
#: Variable with the purpose of all connections of a child process that runs another program.
PURPOSE_VARIABLE = "LORA_STUDIO_NETWORK_PURPOSE"

#: Seconds between two writes of the record while bytes arrive. A new contact is written at once.
_INTERVAL = 2.0
#: Names of addresses that are remembered.
_MAX_NAMES = 4096


class OfflineError(OSError):
    """Offline mode is on, and something tried to contact another computer."""

    def __init__(self, host: str) -> None:
        """`host` is the address that was not contacted."""
        super().__init__(f"Offline mode is on: {host} was not contacted")
        self.host = host


@functools.cache
def start() -> None:
    """Watch the connections of this process from now on; call it before libraries are imported."""
    apply()
    os.environ.setdefault(
        SESSION_VARIABLE, f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}"
    )
    _patch_sockets()
    sys.addaudithook(_audit)
    atexit.register(save)
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_TABLE.clear)


def get_session() -> str:
    """Return the session of this process, which its workers share; "" before `start`."""
    return os.environ.get(SESSION_VARIABLE, "")


@contextmanager
def contacting(purpose: Purpose, *, with_threads: bool = False) -> Iterator[None]:
    """Declare why hosts are contacted in the block, in this thread and where its context is copied to.

    With `with_threads`, also in threads that a library starts and that declare nothing themselves.
    """
    before = _purpose.get()
    _purpose.set(purpose)
    if with_threads:
        _shared.append(purpose)
    try:
        yield
    finally:
        _purpose.set(before)
        _thread.until = None  # of a request that failed before its answer
        if with_threads:
            _shared.remove(purpose)


def limit_receiving(until: float | None) -> None:
    """Let receiving in this thread fail with TimeoutError after a time of the monotonic clock.

    A timeout of a socket starts again with each byte, so a server that drips could hold it forever.
    """
    _thread.until = until


def note_contact(host: str, port: int | None, purpose: Purpose) -> None:
    """Count a connection that this process doesn't make itself: of native code or another program."""
    _TABLE.add_connection(_name(host), port, purpose, is_counted=False)
    save()


def require_allowed(host: object) -> None:
    """Raise OfflineError if offline mode forbids contacting this host."""
    if offline.is_on() and not offline.is_local_host(host):
        raise OfflineError(offline.format_host(host))


def save() -> None:
    """Write the record of this process, unless nothing has changed; failures are ignored."""
    if _TABLE.is_changed and (session := get_session()):
        with suppress(OSError):
            _TABLE.save(session)


# --- what is seen ---------------------------------------------------------------------------------

_TABLE = ContactTable()
_thread = threading.local()
_purpose: ContextVar[Purpose | None] = ContextVar("purpose", default=None)
_shared: list[Purpose] = []
#: Address -> the name that was looked up for it.
_names: dict[str, str] = {}
#: The contact of each connected socket; sockets with TLS share the file descriptor of a plain one.
_sockets: weakref.WeakKeyDictionary[socket.socket, tuple[str, int, Purpose]] = (
    weakref.WeakKeyDictionary()
)
_by_descriptor: dict[int, tuple[str, int, Purpose]] = {}
_saved_at = 0.0

#: Audit events of connections and look-ups, and which argument names the other computer.
_EVENTS = {
    "socket.connect": 1, "socket.sendto": 1, "socket.sendmsg": 1, "socket.getaddrinfo": 0,
    "socket.gethostbyname": 0, "socket.gethostbyaddr": 0,
}  # fmt: skip


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    index = _EVENTS.get(event)
    if index is None or len(arguments) <= index:
        return
    address = arguments[index]
    host = address[0] if isinstance(address, tuple) and address else address
    require_allowed(host)
    if index and isinstance(address, tuple) and len(address) > 1:
        _count_connection(arguments[0], offline.format_host(host), address[1])


def _count_connection(connection: socket.socket, host: str, port: object) -> None:
    """Count a new connection, or the first datagram to a host."""
    if connection.family not in (socket.AF_INET, socket.AF_INET6) or not isinstance(port, int):
        return
    contact = (_name(host), port, _get_purpose() or Purpose.UNKNOWN)
    if connection.type == socket.SOCK_DGRAM and _sockets.get(connection) == contact:
        return
    _sockets[connection] = contact
    _by_descriptor[connection.fileno()] = contact
    _patch_tls()
    if _TABLE.add_connection(*contact):
        save()


def _require_allowed_connection(connection: socket.socket) -> None:
    """Raise OfflineError for a connection that was opened before offline mode was turned on."""
    if offline.is_on() and (contact := _sockets.get(connection)) is not None:
        require_allowed(contact[0])


def _count_bytes(connection: socket.socket, sent: int, received: int) -> None:
    global _saved_at
    contact = _sockets.get(connection)
    if contact is None:
        return
    host, port, purpose = contact
    _TABLE.add_bytes(host, port, _get_purpose() or purpose, sent, received)
    if time.monotonic() - _saved_at > _INTERVAL:
        _saved_at = time.monotonic()
        save()


def _get_purpose() -> Purpose | None:
    """Return the purpose that this thread, a library's caller, or the parent process declared."""
    declared = _purpose.get()
    if declared is None and _shared:
        declared = _shared[-1]
    if declared is None and (inherited := os.environ.get(PURPOSE_VARIABLE)) in set(Purpose):
        declared = Purpose(inherited or "")
    return declared


def _name(host: str) -> str:
    """Return the name by which an address was looked up, else the address."""
    if offline.is_local_host(host):
        return "localhost" if host in ("", "localhost") else host
    return clean_host(_names.get(host, host))


# --- the methods that are counted -----------------------------------------------------------------

_SENDING = ("send", "sendall", "sendto")
_RECEIVING = ("recv", "recv_into", "recvfrom")


def _patch_sockets() -> None:
    for name in _SENDING:
        setattr(socket.socket, name, _counting_sent(getattr(socket.socket, name)))
    for name in _RECEIVING:
        setattr(socket.socket, name, _counting_received(getattr(socket.socket, name)))
    original = socket.getaddrinfo

    @functools.wraps(original)
    def getaddrinfo(host: Any, *arguments: Any, **named: Any) -> Any:
        answers = original(host, *arguments, **named)
        if host:
            if len(_names) > _MAX_NAMES:
                _names.clear()
            _names.update({str(answer[4][0]): offline.format_host(host) for answer in answers})
        return answers

    socket.getaddrinfo = getaddrinfo


def _patch_tls() -> None:
    """Count what TLS sockets send and receive too; not before, because importing `ssl` takes long."""
    ssl = sys.modules.get("ssl")
    if ssl is None or hasattr(ssl.SSLSocket.read, "__wrapped__"):
        return
    ssl.SSLSocket.send = _counting_sent(ssl.SSLSocket.send, _find_plain)
    ssl.SSLSocket.read = _counting_received(ssl.SSLSocket.read, _find_plain)


def _find_plain(connection: Any) -> None:
    """Count a TLS socket as the plain one that it was made from."""
    if connection not in _sockets and not connection.server_side:
        contact = _by_descriptor.get(connection.fileno())
        if contact is not None:
            _sockets[connection] = contact


def _counting_sent(
    original: Callable[..., Any], prepare: Callable[[Any], None] = lambda _: None
) -> Callable[..., Any]:
    @functools.wraps(original)
    def counted(self: socket.socket, data: Any, *arguments: Any) -> Any:
        prepare(self)
        _require_allowed_connection(self)
        count = original(self, data, *arguments)
        _count_bytes(self, memoryview(data).nbytes if count is None else count, 0)
        return count

    return counted


def _counting_received(
    original: Callable[..., Any], prepare: Callable[[Any], None] = lambda _: None
) -> Callable[..., Any]:
    @functools.wraps(original)
    def counted(self: socket.socket, *arguments: Any, **named: Any) -> Any:
        prepare(self)
        _require_allowed_connection(self)
        until = getattr(_thread, "until", None)
        if until is not None and time.monotonic() > until:
            raise TimeoutError("the server takes too long to answer")
        answer = original(self, *arguments, **named)
        data = answer[0] if isinstance(answer, tuple) else answer
        _count_bytes(self, 0, data if isinstance(data, int) else len(data))
        return answer

    return counted


def apply() -> None:
    """Set the libraries' own switches in the environment; call it before they are imported."""
    turn_off()
    # Xet transfers files in native code, where connections can be neither counted nor refused. The Hub
    # offers the same files over HTTP; only those above its limit need Xet (`engine/hub/client.py`).
    os.environ["HF_HUB_DISABLE_XET"] = "1"
    if offline.is_on():
        offline.switch(True)  # the environment may have set only one of its variables


# The record of contacted hosts: one small file per process, in the user's log folder.
#
# It holds host names, ports, purposes, counts and times: no addresses of pages, no headers, no content.

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


#: Variables that turn off what a library would send, with the value that does so. Sources: the
#: documentation of huggingface_hub (HF_HUB_DISABLE_TELEMETRY), MLflow (MLFLOW_DISABLE_TELEMETRY),
#: Weights & Biases (WANDB_ERROR_REPORTING) and Unsloth (UNSLOTH_DISABLE_STATISTICS); the sources of
#: datasets (HF_UPDATE_DOWNLOAD_COUNTS) and transformers, which asks a service on the Hub to convert
#: weights (DISABLE_SAFETENSORS_CONVERSION). DO_NOT_TRACK is a convention (https://donottrack.sh).
VARIABLES = {
    "DO_NOT_TRACK": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DISABLE_TELEMETRY": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "WANDB_ERROR_REPORTING": "false",
    "UNSLOTH_DISABLE_STATISTICS": "1",
    "HF_UPDATE_DOWNLOAD_COUNTS": "0",
    "HF_HUB_DISABLE_UPDATE_CHECK": "1",
    "DISABLE_SAFETENSORS_CONVERSION": "1",
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
}


def turn_off() -> None:
    """Turn off telemetry in this process and its children; call it before a library is imported.

    A variable that the user has set stays as it is.
    """
    for name, value in VARIABLES.items():
        os.environ.setdefault(name, value)
