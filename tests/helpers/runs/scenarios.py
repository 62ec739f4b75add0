"""Steps of scenarios that the fake engine plays, and waiting for what they cause in the window."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from lora_studio.core.protocol import events


def emit(event: events.Event) -> dict[str, Any]:
    """Return the step that sends an event."""
    return {"emit": json.loads(events.to_line(event))}


def wait_until(holds: Callable[[], object], seconds: float = 20) -> None:
    """Run the event loop until something holds, at most some seconds."""
    from PySide6.QtTest import QTest

    for _ in range(int(seconds * 50)):
        if holds():
            return
        QTest.qWait(10)
        time.sleep(0.01)  # the event loop of a test doesn't let Python's other threads run
