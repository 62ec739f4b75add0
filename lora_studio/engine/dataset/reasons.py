"""Reasons for skipping rows, as data: in memory, in Arrow files and in caches."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache

from lora_studio.core.dataset.samples import UnusableKind, UnusableRow
from lora_studio.core.messages import Text


@dataclass(frozen=True)
class SkipReason:
    """Why a row is skipped: `text` completes the sentence "Row 5 is skipped: …"."""

    text: Text
    kind: UnusableKind = UnusableKind.CONTENT

    @classmethod
    def from_error(cls, error: UnusableRow) -> SkipReason:
        """Return the reason that an exception carries."""
        return cls(error.reason, error.kind)

    def to_error(self) -> UnusableRow:
        """Return the exception to raise."""
        return UnusableRow(self.text, self.kind)

    def __str__(self) -> str:
        """Return the reason in English."""
        return str(self.text)


NO_FORMAT = SkipReason(Text(template="the format of the source is unknown"))


@lru_cache(maxsize=4096)
def dump_reason(reason: SkipReason) -> str:
    """Return a reason as one line of JSON: its kind, and its template with the values."""
    return json.dumps([reason.kind, reason.text.model_dump(exclude_defaults=True)], sort_keys=True)


@lru_cache(maxsize=4096)
def load_reason(line: str) -> SkipReason:
    """Return the reason that `dump_reason` wrote; raises ValueError for anything else."""
    kind, message = json.loads(line)
    return SkipReason(Text.model_validate(message), UnusableKind(kind))
