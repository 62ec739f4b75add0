"""Check the output of `lora-studio engine install --json`: `python3 engine_events.py FILE [BYTES]`.

BYTES is a file with the number of downloaded bytes. Even after an interruption, it must be close to the
planned number, because finished downloads must not be repeated.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path


def main(file: Path, came: Path | None) -> str:
    """Return a sentence about the setup; raises SystemExit if it didn't go as planned."""
    events = [
        json.loads(line) for line in file.read_text("utf-8").splitlines() if line.startswith("{")
    ]
    plans = [event for event in events if event["kind"] == "engine_planned"]
    ready = [event for event in events if event["kind"] == "engine_ready"]
    if not plans or not ready or events[-1]["kind"] != "done":
        sys.exit(f"The set-up did not end well: {events[-1] if events else 'nothing was said'}")
    first = plans[0]
    parts = [
        f"Planned: {first['packages']} packages, {first['download'] / 1e6:.0f} MB to download, "
        f"{ready[-1]['bytes'] / 1e6:.0f} MB installed"
    ]
    if came is not None:
        received = int(came.read_text())
        parts.append(f"{received / 1e6:.0f} MB came over the line")
        # Allows for the pages of the index, and for downloads in progress when the connection was cut.
        if received > 1.15 * first["download"] + 40e6:
            sys.exit(f"{parts}: what had come was fetched again.")
    return "; ".join(parts)


if __name__ == "__main__":
    print(main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None))
