"""How long two programs take until their window is on the screen, by turns, against each other.

  python packaging/startup.py DISPLAY COMMAND… -- COMMAND…

Prints seconds, and the median over the turns of how many times as long the first takes as the second
right after it: whatever else the machine does meets both. The number of turns is fixed in advance. The
exit status is 1 when the median is above 1.3. Needs an X server of its own, and xwininfo.
"""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys
import tempfile
import time

#: How often each is started, after a first time that fills the system's file cache.
TURNS = 7
ALLOWED = 1.3
PATIENCE = 60.0


def shown(display: str) -> bool:
    """Whether the program's window is mapped; Qt keeps a hidden one of the same name beside it."""
    listed = _said("xwininfo", "-display", display, "-root", "-tree")
    return any(
        "IsViewable" in _said("xwininfo", "-display", display, "-id", window)
        for window in re.findall(r'(0x[0-9a-f]+) "LoRA Studio": \("', listed)
    )


def _said(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True).stdout


def seconds(display: str, command: list[str]) -> float:
    """Seconds from the start of the command until its window is there; then it is ended."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
        environment = os.environ | {"DISPLAY": display, "HOME": home, "QT_QPA_PLATFORM": "xcb"}
        began = time.monotonic()
        process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
        while not shown(display):
            if process.poll() is not None or time.monotonic() - began > PATIENCE:
                sys.exit(f"No window of {command[0]} came up.")
            time.sleep(0.01)
        took = time.monotonic() - began
        process.kill()  # it has just begun: there is nothing to put in order
        process.wait(PATIENCE)
    return took


def main(display: str, first: list[str], second: list[str]) -> int:
    """Measures by turns, the one that begins changing, and compares."""
    taken: tuple[list[float], list[float]] = ([], [])
    for turn in range(TURNS + 1):
        for which in (0, 1) if turn % 2 else (1, 0):
            took = seconds(display, (first, second)[which])
            if turn:
                taken[which].append(took)
    for command, times in zip((first, second), taken, strict=True):
        each = ", ".join(f"{t:.2f}" for t in times)
        print(f"{statistics.median(times):.2f} s (median of {each}): {command[0]}")
    found = [one / other for one, other in zip(*taken, strict=True)]
    ratio = statistics.median(found)
    print(f"ratio {ratio:.2f} ({min(found):.2f} to {max(found):.2f}), at most {ALLOWED} allowed")
    return 0 if ratio <= ALLOWED else 1


if __name__ == "__main__":
    split = sys.argv.index("--")
    sys.exit(main(sys.argv[1], sys.argv[2:split], sys.argv[split + 1 :]))
