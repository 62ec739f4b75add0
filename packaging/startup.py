"""Compare the startup times of two programs until their window is on the screen.

  python packaging/startup.py DISPLAY COMMAND… -- COMMAND…

It starts both in turn, so that other load on the machine affects both, and prints seconds and the
median of the ratio of the first program's time to the second's. The number of turns is fixed. The exit
status is 1 if the median ratio is above 1.3. Needs its own X server, and xwininfo.
"""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys
import tempfile
import time

#: Number of measured starts of each program, after a first one that fills the system's file cache.
TURNS = 7
ALLOWED = 1.3
PATIENCE = 60.0


def shown(display: str) -> bool:
    """Return whether the program's window is mapped; Qt also has a hidden one with the same name."""
    listed = _read_output("xwininfo", "-display", display, "-root", "-tree")
    return any(
        "IsViewable" in _read_output("xwininfo", "-display", display, "-id", window)
        for window in re.findall(r'(0x[0-9a-f]+) "LoRA Studio": \("', listed)
    )


def _read_output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True).stdout


def seconds(display: str, command: list[str]) -> float:
    """Return the seconds from the start of the command until its window is mapped, and kill it."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
        environment = os.environ | {"DISPLAY": display, "HOME": home, "QT_QPA_PLATFORM": "xcb"}
        began = time.monotonic()
        process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
        while not shown(display):
            if process.poll() is not None or time.monotonic() - began > PATIENCE:
                sys.exit(f"No window of {command[0]} came up.")
            time.sleep(0.01)
        took = time.monotonic() - began
        process.kill()  # nothing to clean up, because it has just started
        process.wait(PATIENCE)
    return took


def main(display: str, first: list[str], second: list[str]) -> int:
    """Measure in turn, alternating which program starts first, and compare."""
    taken: tuple[list[float], list[float]] = ([], [])
    for turn in range(TURNS + 1):
        for index in (0, 1) if turn % 2 else (1, 0):
            took = seconds(display, (first, second)[index])
            if turn:
                taken[index].append(took)
    for command, times in zip((first, second), taken, strict=True):
        each = ", ".join(f"{t:.2f}" for t in times)
        print(f"{statistics.median(times):.2f} s (median of {each}): {command[0]}")
    ratios = [first_time / second_time for first_time, second_time in zip(*taken, strict=True)]
    ratio = statistics.median(ratios)
    print(f"ratio {ratio:.2f} ({min(ratios):.2f} to {max(ratios):.2f}), at most {ALLOWED} allowed")
    return 0 if ratio <= ALLOWED else 1


if __name__ == "__main__":
    split = sys.argv.index("--")
    sys.exit(main(sys.argv[1], sys.argv[2:split], sys.argv[split + 1 :]))
