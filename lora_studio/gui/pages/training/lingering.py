"""A warning that stays for a while after it was seen last: what lies at a limit goes to and fro."""

from __future__ import annotations

import time

from lora_studio.core.curves.verdict import TrainingVerdict

#: Seconds: long enough to read it, and for a page not to jump with every other step.
STAYS = 10.0


class StickyWarning:
    """Given what is wrong now again and again; tells what to show."""

    def __init__(self, stays: float = STAYS) -> None:
        """Nothing is wrong at first."""
        self._stays = stays
        self._kept: TrainingVerdict | None = None
        self._seen = 0.0

    def of(self, found: TrainingVerdict | None) -> TrainingVerdict | None:
        """The latest warning, as long as it is young enough."""
        now = time.monotonic()
        if found is not None:
            self._kept, self._seen = found, now
        elif now - self._seen > self._stays:
            self._kept = None
        return self._kept

    def clear(self) -> None:
        """Forgets it at once."""
        self._kept = None
