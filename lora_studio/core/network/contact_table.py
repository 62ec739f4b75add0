"""Counts the contacts of one process."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from lora_studio.core.network import record
from lora_studio.core.network.purposes import Purpose


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

    def list_contacts(self) -> list[record.Contact]:
        """Return the contacts so far."""
        with self._lock:
            return [
                record.Contact(host=host, port=port, purpose=purpose, **vars(counts))
                for (host, port, purpose), counts in self._counts.items()
            ]

    def save(self, session: str) -> None:
        """Write the record of this process; raises OSError."""
        with self._lock:
            pid = os.getpid()
            if self._written and not record.get_record_file(session, pid).exists():
                self._forget_written()
            self.is_changed = False
            if not self._written:
                record.prune_records(session)
            record.write_record(
                record.ContactRecord(
                    session=session,
                    pid=pid,
                    started=self._started,
                    contacts=tuple(self.list_contacts()),
                )
            )
            self._written = {key: replace(counts) for key, counts in self._counts.items()}

    def _get(self, host: str, port: int | None, purpose: Purpose) -> _Counts:
        key: _Key = (host, port, purpose)
        if key not in self._counts and len(self._counts) >= record.MAX_CONTACTS:
            key = (record.OTHERS, None, purpose)
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
