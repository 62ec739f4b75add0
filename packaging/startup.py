"""How long two programs take until their window is on the screen, by turns, against each other.

  python packaging/startup.py DISPLAY COMMAND… -- COMMAND…

Prints seconds, the smallest of each counts. The exit status is 1 when the first takes more than 1.3
times as long as the second. Needs an X server of its own, and xwininfo.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time

#: How often each is started at least and at most, after a first time that fills the system's file cache.
#: Whatever else the machine does only adds to a time, so that more turns bring the smallest ones nearer.
TURNS, MOST_TURNS = 3, 10
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
    """Measures A-B-A-B and compares."""
    taken: tuple[list[float], list[float]] = ([], [])
    for turn in range(MOST_TURNS + 1):
        for command, times in zip((first, second), taken, strict=True):
            took = seconds(display, command)
            if turn:
                times.append(took)
        if turn >= TURNS and min(taken[0]) <= ALLOWED * min(taken[1]):
            break
    for command, times in zip((first, second), taken, strict=True):
        print(f"{min(times):.2f} s ({', '.join(f'{t:.2f}' for t in times)}): {command[0]}")
    ratio = min(taken[0]) / min(taken[1])
    print(f"ratio {ratio:.2f}, at most {ALLOWED} allowed")
    return 0 if ratio <= ALLOWED else 1


if __name__ == "__main__":
    split = sys.argv.index("--")
    sys.exit(main(sys.argv[1], sys.argv[2:split], sys.argv[split + 1 :]))
