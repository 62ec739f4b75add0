"""Looks over what `lora-studio engine install --json` said: `python3 engine_events.py FILE [BYTES]`.

BYTES is a file with the number of bytes that came over the line: after an interruption these have to
be about what was planned, since what had come must not be fetched again.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path


def main(file: Path, came: Path | None) -> str:
    """A sentence about the set-up; raises SystemExit where it was not as it should be."""
    said = [
        json.loads(line) for line in file.read_text("utf-8").splitlines() if line.startswith("{")
    ]
    plans = [event for event in said if event["kind"] == "engine_planned"]
    ready = [event for event in said if event["kind"] == "engine_ready"]
    if not plans or not ready or said[-1]["kind"] != "done":
        sys.exit(f"The set-up did not end well: {said[-1] if said else 'nothing was said'}")
    first = plans[0]
    parts = [
        f"Planned: {first['packages']} packages, {first['download'] / 1e6:.0f} MB to download, "
        f"{ready[-1]['bytes'] / 1e6:.0f} MB installed"
    ]
    if came is not None:
        over = int(came.read_text())
        parts.append(f"{over / 1e6:.0f} MB came over the line")
        # Beside the wheels: the index's pages, and downloads in progress when the connection was cut.
        if over > 1.15 * first["download"] + 40e6:
            sys.exit(f"{parts}: what had come was fetched again.")
    return "; ".join(parts)


if __name__ == "__main__":
    print(main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None))
